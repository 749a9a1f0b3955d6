"""Values as they are written: alternatives between commas, quotes, '*' and '..'."""

import re

QUOTED = r'"(?>(?:[^"]|"")*)"'
# How a filter begins is written once, for the text and for --where alike.
NAME = r'(?P<name>\w++(?:-\w++)*+|"\w[^"]*")'
ORDER = r">=|<=|>|<"
_PLAIN_NAME = re.compile(r"\w+(?:-\w+)*")
_SEGMENT = re.compile(rf"(?P<quoted>{QUOTED})|(?P<star>\*+)|(?P<dots>\.\.+)|(?P<text>.)", re.S)
# What keyboards, phones and word processors write for a quote and a minus. A single curly quote is
# an apostrophe, and longer dashes are text.
_TYPED = {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u201f": '"', "\u2212": "-"}
# Parentheses group filters, so a value with them is quoted.
_NO_PLAIN = rf'\s",*<>=.(){"".join(_TYPED)}'
_PLAIN_VALUE = re.compile(rf"[^{_NO_PLAIN}]+(?:\.[^{_NO_PLAIN}]+)*")
_QUOTED_OR_TYPED = re.compile(rf"{QUOTED}|[{''.join(_TYPED)}]")
_QUOTED_OR_PARENTHESIS = re.compile(rf"{QUOTED}|[()]")
CLOSES_NOTHING = "')' closes no '('"
NOT_CLOSED = "'(' is not closed"
_MARKS = {"star": "*", "dots": ".."}


def in_ascii(text: str) -> str:
    """The text with curly quotes and minus signs in ASCII; between ASCII quotes they stay."""
    return _QUOTED_OR_TYPED.sub(lambda match: _TYPED.get(match[0], match[0]), text)


def segments(value: str) -> list[tuple[str, str]]:
    """('text' | 'star' | 'dots', text) of a value; quotes are removed, adjacent texts joined."""
    found: list[tuple[str, str]] = []
    for match in _SEGMENT.finditer(value):
        kind, text = match.lastgroup or "text", match[0]
        if kind == "quoted":
            kind, text = "text", unquoted(text)
        if kind == "text" and found and found[-1][0] == "text":
            text = found.pop()[1] + text
        found.append((kind, text))
    return found


def plain_text(value: str) -> str:
    """The value without its quotes."""
    return "".join(text for _, text in segments(value))


def unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


def quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def as_value(text: str) -> str:
    """The text as a value, quoted where it would be read as something else."""
    text = text.strip()
    return text if _PLAIN_VALUE.fullmatch(text) else quoted(text)


def as_name(name: str) -> str:
    """The field's name as it is written in a filter."""
    return name if _PLAIN_NAME.fullmatch(name) else quoted(name)


def alternatives(raw: str) -> tuple[str, ...]:
    """The values between commas, each in its plainest written form; empty ones are dropped."""
    parts, start, inside_quotes = [], 0, False
    for position, character in enumerate(raw):
        if character == '"':
            inside_quotes = not inside_quotes
        elif character == "," and not inside_quotes:
            parts.append(raw[start:position])
            start = position + 1
    parts.append(raw[start:])
    return tuple(filter(None, (plainest(part.strip()) for part in parts)))


def plainest(value: str) -> str:
    parts: list[tuple[str, str]] = []
    for kind, text in segments(value):
        repeated = kind != "text" and parts and parts[-1][0] == kind
        if text.strip() and not repeated:
            parts.append((kind, text))
    return "".join(_MARKS.get(kind) or as_value(text) for kind, text in parts)


def closing(text: str) -> int | None:
    """Where the first parenthesis stands, outside quotes, that closes none of the text."""
    opened = 0
    for match in _QUOTED_OR_PARENTHESIS.finditer(text):
        opened += {"(": 1, ")": -1}.get(match[0], 0)
        if opened < 0:
            return match.start()
    return None


def imbalance(text: str) -> str:
    """What is wrong with the parentheses outside quotes; '' if each has its counterpart."""
    if closing(text) is not None:
        return CLOSES_NOTHING
    marks = [match[0] for match in _QUOTED_OR_PARENTHESIS.finditer(text)]
    return NOT_CLOSED if marks.count("(") > marks.count(")") else ""


def shortened(text: str) -> str:
    """At most 60 characters on one line, for messages."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def ending(text: str) -> str:
    """The last 60 characters at most, on one line, for messages."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"...{line[-57:]}"

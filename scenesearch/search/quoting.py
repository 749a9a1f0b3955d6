"""Values as they are written: alternatives between commas, quotes, '*' and '..'."""

import re

_QUOTED = r'"(?>(?:[^"]|"")*)"'
_SEGMENT = re.compile(rf"(?P<quoted>{_QUOTED})|(?P<star>\*+)|(?P<dots>\.\.+)|(?P<text>.)", re.S)
_PLAIN_VALUE = re.compile(r'[^\s",*<>=.]+(?:\.[^\s",*<>=.]+)*')
# What keyboards, phones and word processors write for a quote and a minus. A single curly quote is
# an apostrophe, and longer dashes are text.
_TYPED = {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u201f": '"', "\u2212": "-"}
_QUOTED_OR_TYPED = re.compile(rf"{_QUOTED}|[{''.join(_TYPED)}]")
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
    return tuple(filter(None, (_plainest(part.strip()) for part in parts)))


def _plainest(value: str) -> str:
    parts: list[tuple[str, str]] = []
    for kind, text in segments(value):
        repeated = kind != "text" and parts and parts[-1][0] == kind
        if text.strip() and not repeated:
            parts.append((kind, text))
    return "".join(_MARKS.get(kind) or as_value(text) for kind, text in parts)


def shortened(text: str) -> str:
    """At most 60 characters on one line, for messages."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."

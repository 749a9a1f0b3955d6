"""Changes the keywords of an XMP packet and nothing else in it: every other byte stays.

A parser that writes the packet anew would lose its comments, prefixes and spaces. So the parser
only says where things lie, and the text is cut and joined there. The result is parsed again before
it is given out.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat
from xml.sax.saxutils import escape

from scenesearch.errors import SceneSearchError, first_line
from scenesearch.pictures.words import one_line
from scenesearch.pictures.xmp import MAX_XMP_BYTES, read_xmp

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC: Final = "http://purl.org/dc/elements/1.1/"
_KEYWORDS: Final = f"{_DC}}}subject"
# Keywords as paths, each with what stands between two levels.
_PATHS: Final = {
    "http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject": "|",
    "http://www.digikam.org/ns/1.0/}TagsList": "/",
    "http://ns.microsoft.com/photo/1.0/}LastKeywordXMP": "/",
}
_CONTAINERS: Final = frozenset(f"{_RDF}{name}" for name in ("Bag", "Seq", "Alt"))
_MAX_DEPTH: Final = 100
_NAME = re.compile(rb"<([^\s/>]+)")
_TAG_END = re.compile(rb"""(?:[^>"']|"[^"]*"|'[^']*')*>""")
_ENCODING = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)["']""")

_EMPTY: Final = f"""\
<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="scenesearch">
 <rdf:RDF xmlns:rdf="{_RDF.removesuffix("}")}">
  <rdf:Description rdf:about="">
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()


class XmpError(SceneSearchError):
    """The packet cannot be changed; the message is the reason, without the file."""


def keywords_of(packet: bytes) -> tuple[str, ...]:
    """The keywords (dc:subject) of a packet; none of one that is damaged."""
    return tuple(filter(None, map(one_line, read_xmp(packet, []).texts("dc:subject"))))


def with_keywords(
    packet: bytes | None, *, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> bytes:
    """The packet with other keywords; None stands for a file that there is not yet.

    A keyword that is there already is not added again. Keywords as paths are removed where their
    last level is meant. Raises XmpError for what is no XMP in UTF-8.
    """
    whole = _EMPTY if packet is None else packet
    body = whole.strip(b"\0 \r\n\t")
    begin = whole.index(body)
    found = _find(body)
    there = {keyword.casefold() for keyword in keywords_of(body)}
    wanted = [keyword for keyword in dict.fromkeys(add) if keyword.casefold() not in there]
    edits = [*_removed(body, found, remove)]
    if wanted:
        edits += _added(body, found, wanted)
    changed = _applied(body, edits)
    notes: list[str] = []
    now = {one.casefold() for one in filter(None, map(one_line, _subjects(changed, notes)))}
    lacking = {one.casefold() for one in add} - now
    left = now & {one.casefold() for one in remove}
    if notes or lacking or left:
        raise XmpError("its keywords are written in a form that cannot be changed here")
    return whole[:begin] + changed + whole[begin + len(body) :]


def _subjects(packet: bytes, notes: list[str]) -> list[str]:
    return read_xmp(packet, notes).texts("dc:subject")


# --- where things lie ----------------------------------------------------------------------------


@dataclass
class _Element:
    """An element in the bytes of a packet. `tag_end` is the end of its start tag; `close` and `end`
    are those of its end tag, which an empty element (`<a/>`) has not."""

    name: str
    start: int
    tag_end: int
    is_empty: bool
    close: int = 0
    end: int = 0
    text: str = ""
    children: list["_Element"] = field(default_factory=list)


@dataclass
class _Found:
    """The picture's own descriptions, and the lists of keywords in them."""

    descriptions: list[_Element] = field(default_factory=list)
    lists: list[_Element] = field(default_factory=list)


def _find(body: bytes) -> _Found:
    if len(body) > MAX_XMP_BYTES:
        raise XmpError("it has more than 4 MiB")
    encoding = _ENCODING.match(body.removeprefix(b"\xef\xbb\xbf"))
    if encoding is not None and encoding[1].lower() not in (b"utf-8", b"us-ascii"):
        raise XmpError(f"it is written in {encoding[1].decode()}, not in UTF-8")
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    reader = _Reader(body, lambda: parser.CurrentByteIndex)
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        body.decode()
        parser.Parse(body, True)
    except UnicodeDecodeError:
        raise XmpError("it is not written in UTF-8") from None
    except (expat.ExpatError, ValueError) as error:
        raise XmpError(f"it is damaged: {first_line(error)}") from None
    if not reader.found.descriptions:
        raise XmpError("it describes no picture")
    return reader.found


def _refuse_document_type(*_: Any) -> None:
    raise ValueError("it has a document type")


class _Reader:
    """What expat calls; `at` is where in the bytes it is."""

    def __init__(self, body: bytes, at: Callable[[], int]) -> None:
        self.found = _Found()
        self._body, self._at = body, at
        self._open: list[_Element] = []
        self._rdf_at = 0
        self._about = ""
        self._is_own = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        start = self._at()
        match = _TAG_END.match(self._body, start)
        if match is None or len(self._open) >= _MAX_DEPTH:
            raise ValueError("its elements are too deep")
        element = _Element(tag, start, match.end(), match[0].endswith(b"/>"))
        depth = len(self._open) + 1
        if not self._rdf_at and tag == f"{_RDF}RDF":
            self._rdf_at = depth
        elif self._rdf_at and depth == self._rdf_at + 1:
            about = attributes.get(f"{_RDF}about", attributes.get("about", ""))
            self._is_own = not about or not self._about or about == self._about
            if self._is_own:
                self._about = self._about or about
                self.found.descriptions.append(element)
        elif (
            self._rdf_at
            and self._is_own
            and depth == self._rdf_at + 2
            and (tag == _KEYWORDS or tag in _PATHS)
        ):
            self.found.lists.append(element)
        if self._open and self._rdf_at and depth > self._rdf_at + 2:
            self._open[-1].children.append(element)
        self._open.append(element)

    def data(self, text: str) -> None:
        if self._open and self._rdf_at and len(self._open) > self._rdf_at + 1:
            self._open[-1].text += text

    def end(self, tag: str) -> None:
        element = self._open.pop()
        if element.is_empty:
            element.close = element.end = element.tag_end
        else:
            element.close = self._at()
            element.end = self._body.index(b">", element.close) + 1
        if len(self._open) + 1 == self._rdf_at:
            self._rdf_at = 0


# --- what is cut and joined ----------------------------------------------------------------------

# From where to where, and what comes there.
_Edit = tuple[int, int, bytes]


def _removed(body: bytes, found: _Found, remove: Iterable[str]) -> Iterator[_Edit]:
    unwanted = {keyword.casefold() for keyword in remove}
    if not unwanted:
        return
    for one in found.lists:
        between = _PATHS.get(one.name)
        for container in one.children:
            for item in container.children if container.name in _CONTAINERS else ():
                text = one_line(item.text) or ""
                last = text.rpartition(between)[2] if between else text
                if last.casefold() in unwanted:
                    yield _with_space_before(body, item.start), item.end, b""
        if not one.children and (one_line(one.text) or "").casefold() in unwanted:
            yield _with_space_before(body, one.start), one.end, b""


def _added(body: bytes, found: _Found, keywords: Sequence[str]) -> Iterator[_Edit]:
    lists = [one for one in found.lists if one.name == _KEYWORDS]
    if not lists:
        yield _new_list(body, found.descriptions[0], keywords)
        return
    one = lists[0]
    if not one.children and one.text.strip() and not one.is_empty:
        # A single keyword without a list around it becomes the first of one.
        rdf = _prefix(body, found.descriptions[0].start)
        items = b"".join(_item(rdf, keyword) for keyword in keywords)
        yield one.tag_end, one.tag_end, b"<%sBag><%sli>" % (rdf, rdf)
        yield one.close, one.close, b"</%sli>%s</%sBag>" % (rdf, items, rdf)
        return
    container = next((child for child in one.children if child.name in _CONTAINERS), None)
    if container is None:
        raise XmpError("its keywords are written in a form that cannot be changed here")
    rdf = _prefix(body, container.start)
    if container.children:
        last = container.children[-1]
        space = body[_with_space_before(body, last.start) : last.start]
        text = b"".join(space + _item(rdf, keyword) for keyword in keywords)
        yield last.end, last.end, text
    elif container.is_empty:
        name = _raw_name(body, container.start)
        items = b"".join(_item(rdf, keyword) for keyword in keywords)
        yield container.tag_end - 2, container.tag_end, b">%s</%s>" % (items, name)
    else:
        items = b"".join(_item(rdf, keyword) for keyword in keywords)
        yield container.tag_end, container.tag_end, items


def _new_list(body: bytes, description: _Element, keywords: Sequence[str]) -> _Edit:
    rdf = _prefix(body, description.start)
    items = b"".join(b"     %s\n" % _item(rdf, keyword) for keyword in keywords)
    text = b'   <dc:subject xmlns:dc="%s">\n    <%sBag>\n%s    </%sBag>\n   </dc:subject>\n' % (
        _DC.encode(),
        rdf,
        items,
        rdf,
    )
    if description.is_empty:
        name = _raw_name(body, description.start)
        return description.tag_end - 2, description.tag_end, b">\n%s  </%s>" % (text, name)
    at = _with_space_before(body, description.close)
    rest = body[at : description.close].lstrip(b"\r\n") or b"  "
    return at, description.close, b"\n" + text + rest


def _item(rdf: bytes, keyword: str) -> bytes:
    return b"<%sli>%s</%sli>" % (rdf, escape(keyword).encode(), rdf)


def _raw_name(body: bytes, at: int) -> bytes:
    """The name of the element that begins here as it is written, with its prefix."""
    match = _NAME.match(body, at)
    if match is None:
        raise XmpError("it is damaged")
    return match[1]


def _prefix(body: bytes, at: int) -> bytes:
    """The prefix of the element that begins here, with its colon; empty for none."""
    prefix, colon, _ = _raw_name(body, at).rpartition(b":")
    return prefix + colon


def _with_space_before(body: bytes, at: int) -> int:
    """Where the white space before this place begins."""
    start = at
    while start and body[start - 1 : start] in b" \t\r\n":
        start -= 1
    return start


def _applied(body: bytes, edits: Iterable[_Edit]) -> bytes:
    parts: list[bytes] = []
    done = 0
    for start, end, text in sorted(edits, key=lambda edit: edit[:2]):
        parts += [body[done : max(done, start)], text]
        done = max(done, end)
    return b"".join([*parts, body[done:]])

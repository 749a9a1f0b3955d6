"""Reads XMP as RDF: the properties of the picture's own description, by namespace.

A packet also describes other things: the faces in the picture, the pictures that it was made from.
Those descriptions lie inside properties and never speak for the picture. The packet is parsed in
one pass that keeps only the properties read here, with limits far above what programs write.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from scenesearch.errors import first_line

MAX_XMP_BYTES: Final = 4 * 1024 * 1024
# Lightroom writes one brush as tens of thousands of elements, about ten deep.
_MAX_PARTS: Final = 100_000
_MAX_DEPTH: Final = 100
# Items of one property, such as tags or the languages of a title.
_MAX_ITEMS: Final = 1_000

# Names are 'namespace}name', as expat joins them.
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE: Final = "http://www.w3.org/XML/1998/namespace}lang"
_NAMESPACES: Final = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "exifEX": "http://cipa.jp/exif/1.0/",
    "aux": "http://ns.adobe.com/exif/1.0/aux/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "MP": "http://ns.microsoft.com/photo/1.2/",
    "MPRI": "http://ns.microsoft.com/photo/1.2/t/RegionInfo#",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
}


def _qualified(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{_NAMESPACES[prefix]}}}{local}"


# The properties that are read, under their usual prefixes.
_READ: Final = {
    _qualified(name): name
    for name in (
        *("dc:title", "dc:description", "dc:subject", "lr:hierarchicalSubject"),
        *("digiKam:TagsList", "MicrosoftPhoto:LastKeywordXMP", "Iptc4xmpExt:PersonInImage"),
        *("mwg-rs:Regions", "MP:RegionInfo", "xmp:Rating", "MicrosoftPhoto:Rating"),
        *("exif:DateTimeOriginal", "photoshop:DateCreated", "exif:DateTimeDigitized"),
        *("xmp:CreateDate", "exif:GPSLatitude", "exif:GPSLongitude", "aux:Lens"),
        "exifEX:LensModel",
    )
}
_CONTAINERS: Final = frozenset(f"{_RDF}{name}" for name in ("Bag", "Seq", "Alt"))


class Xmp:
    """The properties of a packet under their usual prefixed names, such as 'dc:title'."""

    def __init__(self, properties: Mapping[str, list[Element]], notes: list[str]) -> None:
        self._properties = properties
        self._notes = notes

    def text(self, name: str) -> str | None:
        """The property's value; of several languages the default, else the first."""
        return next(iter(self.texts(name)), None)

    def texts(self, name: str) -> list[str]:
        """The property's values, whichever of its forms RDF gives them."""
        found: list[str] = []
        for one in self._properties.get(name, ()):
            for item in _items(one):
                text = _literal(item)
                if text and len(found) == _MAX_ITEMS:
                    local = name.partition(":")[2]
                    note = f"XMP data has more than {_MAX_ITEMS:,} {local} items; the first count"
                    self._notes.append(note)
                    return found
                if text:
                    found.append(text)
        return found

    def named_faces(self) -> list[str]:
        """The names that the regions of the picture have, those of faces only."""
        return [*self._region_names(), *self._microsoft_names()][:_MAX_ITEMS]

    def _region_names(self) -> Iterator[str]:
        listed, named, kind = map(_qualified, ("mwg-rs:RegionList", "mwg-rs:Name", "mwg-rs:Type"))
        for regions in self._properties.get("mwg-rs:Regions", ()):
            for region in _structures(_parts(regions).get(listed)):
                parts = _parts(region)
                is_face = kind not in parts or _literal(parts[kind]) == "Face"
                if is_face and named in parts and (name := _literal(parts[named])):
                    yield name

    def _microsoft_names(self) -> Iterator[str]:
        listed, named = map(_qualified, ("MPRI:Regions", "MPReg:PersonDisplayName"))
        for regions in self._properties.get("MP:RegionInfo", ()):
            for region in _structures(_parts(regions).get(listed)):
                parts = _parts(region)
                if named in parts and (name := _literal(parts[named])):
                    yield name


def read_xmp(packet: bytes, notes: list[str]) -> Xmp:
    """The packet's properties; a packet that is not XMP gives a note."""
    if len(packet) > MAX_XMP_BYTES:
        notes.append("XMP data of more than 4 MiB")
        return Xmp({}, notes)
    target = _OwnProperties()
    # Directly: half of the time of a parser of Python's own goes into names that are not read.
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = target.start
    parser.EndElementHandler = target.end
    parser.CharacterDataHandler = target.data
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        parser.Parse(packet.strip(b"\0 \n"), True)
    except _LimitReached as reached:
        notes.append(f"XMP data has more than {reached}; what comes before counts")
    except (expat.ExpatError, ValueError) as error:
        notes.append(f"XMP data is damaged: {first_line(error)}")
        return Xmp({}, notes)
    return Xmp(target.found, notes)


def _refuse_document_type(*_: Any) -> None:
    """XMP has none. Without one there are no entities, whose expansion has no end, and no default
    attributes, for which expat needs quadratic time."""
    raise ValueError("it has a document type")


class _LimitReached(Exception):  # noqa: N818
    """The message names the limit."""


class _OwnProperties:
    """What expat calls: collects the properties of the picture's own description.

    Those are the attributes and the children of the elements right below rdf:RDF that are about the
    same thing as the first of them.
    """

    def __init__(self) -> None:
        self.found: dict[str, list[Element]] = {}
        self._parts = self._depth = 0
        self._rdf_at = 0  # depth of rdf:RDF; 0 outside
        self._about = ""
        self._is_own = False
        # Builds the property that is being read, which lies at this depth.
        self._builder: TreeBuilder | None = None
        self._built_at = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._parts += 1 + len(attributes)
        if self._parts > _MAX_PARTS:
            raise _LimitReached(f"{_MAX_PARTS:,} elements and attributes")
        if self._depth > _MAX_DEPTH:
            raise _LimitReached(f"{_MAX_DEPTH} elements one inside the other")
        if self._builder is not None:
            self._builder.start(tag, attributes)
        elif not self._rdf_at:
            if tag == f"{_RDF}RDF":
                self._rdf_at = self._depth
        elif self._depth == self._rdf_at + 1:
            self._begin_description(attributes)
        elif self._depth == self._rdf_at + 2 and self._is_own and tag in _READ:
            self._builder, self._built_at = TreeBuilder(), self._depth
            self._builder.start(tag, attributes)

    def data(self, text: str) -> None:
        if self._builder is not None:
            self._builder.data(text)

    def end(self, tag: str) -> None:
        if self._builder is not None:
            self._builder.end(tag)
            if self._depth == self._built_at:
                self.found.setdefault(_READ[tag], []).append(self._builder.close())
                self._builder = None
        elif self._depth == self._rdf_at:
            self._rdf_at = 0
        self._depth -= 1

    def _begin_description(self, attributes: Mapping[str, str]) -> None:
        about = attributes.get(f"{_RDF}about", attributes.get("about", ""))
        self._is_own = not about or not self._about or about == self._about
        if not self._is_own:
            return
        self._about = self._about or about
        for key, value in attributes.items():
            if key in _READ:
                self.found.setdefault(_READ[key], []).append(_literal_element(key, value))


# --- the forms of RDF ----------------------------------------------------------------------------


def _literal_element(tag: str, text: str) -> Element:
    element = Element(tag)
    element.text = text
    return element


def _items(element: Element) -> list[Element]:
    """The items of a property that is a bag, a sequence or a choice; else the property itself."""
    container = next((child for child in element if child.tag in _CONTAINERS), None)
    if container is None:
        return [element]
    items = [
        item for item in container if item.tag == f"{_RDF}li" or item.tag.startswith(f"{_RDF}_")
    ]
    if container.tag == f"{_RDF}Alt":
        items.sort(key=lambda item: item.get(_LANGUAGE) not in (None, "x-default"))
    return items


def _parts(element: Element) -> dict[str, Element]:
    """The properties of a structure, as attributes, as children, or in a description of its own."""
    inner = next((child for child in element if child.tag == f"{_RDF}Description"), None)
    parts: dict[str, Element] = {}
    for one in (element,) if inner is None else (element, inner):
        for key, value in one.attrib.items():
            if not key.startswith(_RDF):
                parts.setdefault(key, _literal_element(key, value))
        for child in one:
            parts.setdefault(child.tag, child)
    return parts


def _structures(element: Element | None) -> list[Element]:
    return [] if element is None else _items(element)


def _literal(element: Element) -> str:
    """The text of a value, perhaps with qualifiers beside it; '' for a structure."""
    value = _parts(element).get(f"{_RDF}value") if len(element) else None
    if value is not None:
        return _literal(value) if not len(value) else ""
    if len(element):
        return ""
    return element.get(f"{_RDF}resource", element.text or "")

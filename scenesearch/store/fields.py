"""Payload fields, each declared once: index, filter, page widget and help come from here."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from scenesearch.library import MetadataType

Widget = Literal["choice", "date_range", "number_range", "text", "none"]

_OPERATORS: dict[MetadataType, tuple[str, ...]] = {
    "keyword": ("=", "!=", "in", "prefix"),
    "boolean": ("=", "!="),
    "integer": ("=", "!=", "in", "range"),
    "float": ("range",),
    "datetime": ("range",),
    "text": ("=",),
    "geo": ("near",),
}

_DEFAULT_WIDGET: dict[MetadataType, Widget] = {
    "keyword": "choice",
    "boolean": "choice",
    "integer": "number_range",
    "float": "number_range",
    "datetime": "date_range",
    "text": "text",
    "geo": "none",
}


@dataclass(frozen=True)
class PayloadField:
    """One searchable key of a point's payload.

    `multiple` says that a point holds a list of values, any of which may match. `widget` is the
    filter the page offers; 'none' keeps a field searchable but out of the page. Of a
    `hierarchical` field a point holds a path and its ancestors, so that 'folder=2020' finds
    what lies in 2020 and everything below.
    """

    name: str
    type: MetadataType
    label: str
    help: str = ""
    multiple: bool = False
    hierarchical: bool = False
    widget: Widget = "none"

    @property
    def operators(self) -> tuple[str, ...]:
        """What can be asked of the field: '=', '!=', 'in', 'range', 'prefix', 'near'."""
        return _OPERATORS[self.type]

    @property
    def value_noun(self) -> str:
        """What a picture has that has a value: 'a date', 'a camera', 'tags', 'a value of price'."""
        if self.name not in BUILTIN_NAMES:
            return f"a value of {self.name}"
        if self.multiple:
            return self.label.lower()
        return _NOUNS.get(self.name) or f"a {self.label.lower()}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PayloadField":
        known = {field.name for field in fields(cls)}  # a later version may have written more
        return cls(**{key: part for key, part in value.items() if key in known})


BUILTIN_FIELDS: tuple[PayloadField, ...] = (
    PayloadField("image_id", "keyword", "Image", "name of the picture inside the library"),
    PayloadField("sha256", "keyword", "Content", "SHA-256 of the file"),
    PayloadField(
        "folder",
        "keyword",
        "Folder",
        "folder inside the library, with all below it",
        multiple=True,
        hierarchical=True,
        widget="choice",
    ),
    PayloadField("taken", "datetime", "Taken", "when the picture was taken", widget="date_range"),
    PayloadField("modified", "datetime", "Modified", "when the file was last changed"),
    PayloadField("camera", "keyword", "Camera", "make and model", widget="choice"),
    PayloadField("lens", "keyword", "Lens", "model of the lens"),
    PayloadField("exposure_s", "float", "Exposure", "shutter time in seconds"),
    PayloadField("aperture", "float", "Aperture", "f-number"),
    PayloadField("iso", "integer", "ISO", "sensitivity"),
    PayloadField("focal_length_mm", "float", "Focal length", "of the lens itself, in millimetres"),
    PayloadField("location", "geo", "Place", "where the picture was taken"),
    PayloadField(
        "orientation", "keyword", "Shape", "landscape, portrait or square", widget="choice"
    ),
    PayloadField("width", "integer", "Width", "pixels, as displayed"),
    PayloadField("height", "integer", "Height", "pixels, as displayed"),
    PayloadField("size_bytes", "integer", "File size", "bytes"),
    PayloadField("phash", "keyword", "Look", "perceptual hash, to find near-duplicates"),
    PayloadField("title", "text", "Title", "words of its title"),
    PayloadField("rating", "float", "Rating", "stars, 1-5; -1 is rejected"),
    PayloadField("captions", "text", "Captions", "words of its descriptions", multiple=True),
    PayloadField(
        "tags", "keyword", "Tags", "labels of the picture", multiple=True, widget="choice"
    ),
)

_NOUNS = {
    "image_id": "a name",
    "sha256": "a content hash",
    "taken": "a date",
    "modified": "a date of its file",
    "exposure_s": "an exposure time",
    "aperture": "an aperture",
    "iso": "an ISO sensitivity",
    "location": "a place",
    "phash": "a perceptual hash",
}

BUILTIN_NAMES = frozenset(field.name for field in BUILTIN_FIELDS)


def custom_fields(types: Mapping[str, MetadataType]) -> tuple[PayloadField, ...]:
    """Declarations for a manifest's own columns; those of built-in names are left as they are."""
    return tuple(
        PayloadField(
            name,
            type_,
            name.replace("_", " ").capitalize(),
            "column of the manifest",
            widget=_DEFAULT_WIDGET[type_],
        )
        for name, type_ in types.items()
        if name not in BUILTIN_NAMES
    )


def by_name(fields: Iterable[PayloadField]) -> dict[str, PayloadField]:
    """The fields under their names."""
    return {field.name: field for field in fields}

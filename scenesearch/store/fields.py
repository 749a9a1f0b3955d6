"""Payload fields, each declared once: index, filter, page widget, help and the check of a
stranger's values come from here."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from scenesearch.pictures.records import MetadataType

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


# What a page may offer for a type.
_WIDGETS: dict[MetadataType, tuple[Widget, ...]] = {
    "keyword": ("choice", "text"),
    "boolean": ("choice",),
    "integer": ("choice", "number_range"),
    "float": ("number_range",),
    "datetime": ("date_range",),
    "text": ("text",),
    "geo": (),
}

# Longer names of files and longer texts come from nobody honest, in characters.
LONGEST_NAME = 65_536
LONGEST_TEXT = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What a value has to be beside its type: a whole match of `form` (a regular expression), of
    at most `longest` characters; a number between `least` and `most`."""

    form: str = ""
    longest: int = LONGEST_TEXT
    least: float = -math.inf
    most: float = math.inf


# What a picture's file alone says: always one value of the declared type.
CONTENT_HASH = r"[0-9a-f]{64}"
_PIXELS = Limits(least=0, most=2**31)


@dataclass(frozen=True)
class PayloadField:
    """One searchable key of a point's payload.

    `of_the_file` says that only the file fills it, and no manifest. `limits` are those of its
    values. Neither is recorded in a collection: for built-in fields this version's hold.
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
    of_the_file: bool = field(default=False, compare=False, repr=False)
    limits: Limits = field(default=Limits(), compare=False, repr=False)

    @property
    def is_consistent(self) -> bool:
        """Whether widget and shape go with the type; a declaration of strangers may claim any."""
        shaped = not (self.multiple or self.hierarchical) or self.type in ("keyword", "text")
        widgets: tuple[Widget, ...] = ("none", *_WIDGETS[self.type])
        return shaped and self.widget in widgets and (self.multiple or not self.hierarchical)

    @property
    def is_fixed(self) -> bool:
        """Whether a collection can hold a built-in field of this name in no other type: what only
        files fill, and lists that there were from the beginning."""
        return self.of_the_file or self.multiple

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
        return {one.name: getattr(self, one.name) for one in fields(self) if one.compare}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PayloadField":
        # A later version may have written more.
        known = {one.name for one in fields(cls) if one.compare}
        read = cls(**{key: part for key, part in value.items() if key in known})
        texts = (read.name, read.label, read.help)
        if read.type not in _OPERATORS or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"field {read.name!r} is of no type that there is")
        return read


BUILTIN_FIELDS: tuple[PayloadField, ...] = (
    PayloadField(
        "image_id",
        "keyword",
        "Image",
        "name of the picture inside the library",
        of_the_file=True,
        limits=Limits(longest=LONGEST_NAME),
    ),
    PayloadField(
        "sha256",
        "keyword",
        "Content",
        "SHA-256 of the file",
        of_the_file=True,
        limits=Limits(form=CONTENT_HASH),
    ),
    PayloadField(
        "folder",
        "keyword",
        "Folder",
        "folder inside the library, with all below it",
        multiple=True,
        hierarchical=True,
        widget="choice",
        of_the_file=True,
        limits=Limits(longest=LONGEST_NAME),
    ),
    PayloadField("taken", "datetime", "Taken", "when the picture was taken", widget="date_range"),
    PayloadField(
        "modified", "datetime", "Modified", "when the file was last changed", of_the_file=True
    ),
    PayloadField("camera", "keyword", "Camera", "make and model", widget="choice"),
    PayloadField("lens", "keyword", "Lens", "model of the lens"),
    PayloadField("exposure_s", "float", "Exposure", "shutter time in seconds"),
    PayloadField("aperture", "float", "Aperture", "f-number"),
    PayloadField("iso", "integer", "ISO", "sensitivity"),
    PayloadField("focal_length_mm", "float", "Focal length", "of the lens itself, in millimetres"),
    PayloadField("location", "geo", "Place", "where the picture was taken"),
    PayloadField(
        "orientation",
        "keyword",
        "Shape",
        "landscape, portrait or square",
        widget="choice",
        of_the_file=True,
        limits=Limits(form="landscape|portrait|square"),
    ),
    PayloadField(
        "width", "integer", "Width", "pixels, as displayed", of_the_file=True, limits=_PIXELS
    ),
    PayloadField(
        "height", "integer", "Height", "pixels, as displayed", of_the_file=True, limits=_PIXELS
    ),
    PayloadField(
        "size_bytes",
        "integer",
        "File size",
        "bytes",
        of_the_file=True,
        limits=Limits(least=0, most=2**53),
    ),
    PayloadField(
        "phash",
        "keyword",
        "Look",
        "perceptual hash, to find near-duplicates",
        of_the_file=True,
        limits=Limits(form=r"[0-9a-f]{16}"),
    ),
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

# Kept beside them and not searched; so is `own`, what of the rest the file itself says.
UNSEARCHED_FIELDS: tuple[PayloadField, ...] = (
    PayloadField(
        "path",
        "keyword",
        "Path",
        "where the original lies",
        of_the_file=True,
        limits=Limits(longest=2 * LONGEST_NAME),
    ),
    PayloadField("etag", "keyword", "Version", "of an archive or a server", of_the_file=True),
    PayloadField("sidecar", "keyword", "Sidecar", "version of the XMP file", of_the_file=True),
)


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

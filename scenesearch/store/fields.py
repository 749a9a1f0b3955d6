"""Payload fields, each declared once: its index, filter, widget, help and checks come from here."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal

from scenesearch.pictures.records import MetadataType

Widget = Literal["choice", "date_range", "number_range", "text", "none"]

# The widgets that fit each type, beside 'none'; a manifest's column gets the first.
_WIDGETS: dict[MetadataType, tuple[Widget, ...]] = {
    "keyword": ("choice", "text"),
    "boolean": ("choice",),
    "integer": ("number_range", "choice"),
    "float": ("number_range",),
    "datetime": ("date_range",),
    "text": ("text",),
    "geo": (),
}

# Nobody honest has longer file names or texts, in characters.
LONGEST_NAME = 65_536
LONGEST_TEXT = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What a value must be beside its type: text that matches `form` (a regular expression) and
    has at most `longest` characters; a number between `least` and `most`."""

    form: str = ""
    longest: int = LONGEST_TEXT
    least: float = -math.inf
    most: float = math.inf


CONTENT_HASH = r"[0-9a-f]{64}"


@dataclass(frozen=True)
class PayloadField:
    """One searchable key of a point's payload.

    With `of_the_file` its values, always one of the declared type, come from the file alone and
    never from a manifest. `limits` are those of its values. Neither is recorded in a collection:
    built-in fields have those of this version. With `multiple` a point has a list of values, any
    of which may match. `widget` is the filter that the page offers; with 'none' a field can be
    searched but is not on the page. With `hierarchical` a point has a path and its ancestors, so
    that 'folder=2020' finds everything in 2020 and below.
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
        """Whether widget and flags fit the type; a stranger's declaration may claim anything."""
        shaped = not (self.multiple or self.hierarchical) or self.type in ("keyword", "text")
        widgets: tuple[Widget, ...] = ("none", *_WIDGETS[self.type])
        return shaped and self.widget in widgets and (self.multiple or not self.hierarchical)

    @property
    def is_fixed(self) -> bool:
        """Whether a built-in field of this name always has this type in a collection: fields that
        only files fill, and the lists that have existed from the beginning."""
        return self.of_the_file or self.name in ("captions", "tags")

    @property
    def value_noun(self) -> str:
        """What a picture with a value has: 'a date', 'a camera', 'tags', 'a value of price'."""
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
        if read.type not in _WIDGETS or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"field {read.name!r} has an unknown type")
        return read


_NAME = Limits(longest=LONGEST_NAME)
_PATH = Limits(longest=2 * LONGEST_NAME)
_HASH = Limits(form=CONTENT_HASH)
_PIXELS = Limits(least=0, most=2**31)
_BYTES = Limits(least=0, most=2**53)
_SHAPE = Limits(form="landscape|portrait|square")
_PHASH = Limits(form=r"[0-9a-f]{16}")
# Of the text in a picture: a dense page of a newspaper has 20,000 characters.
LONGEST_WRITTEN = 50_000
_WRITTEN = Limits(longest=LONGEST_WRITTEN)

_file_field = partial(PayloadField, of_the_file=True)

BUILTIN_FIELDS: tuple[PayloadField, ...] = (
    _file_field(
        "image_id", "keyword", "Image", "name of the picture inside the library", limits=_NAME
    ),
    _file_field("sha256", "keyword", "Content", "SHA-256 of the file", limits=_HASH),
    _file_field(
        "folder",
        "keyword",
        "Folder",
        "folder inside the library, with all below it",
        multiple=True,
        hierarchical=True,
        widget="choice",
        limits=_NAME,
    ),
    PayloadField(
        "taken", "datetime", "Taken", "local time when the picture was taken", widget="date_range"
    ),
    PayloadField("taken_at", "datetime", "Taken at", "that moment, where its time zone is known"),
    PayloadField(
        "taken_until", "datetime", "Taken until", "end of the period, where no time is known"
    ),
    PayloadField("taken_guessed", "boolean", "Date guessed", "from the name of the file"),
    _file_field("modified", "datetime", "Modified", "when the file was last changed"),
    PayloadField("camera", "keyword", "Camera", "make and model", widget="choice"),
    PayloadField("lens", "keyword", "Lens", "model of the lens"),
    PayloadField("exposure_s", "float", "Exposure", "shutter time in seconds"),
    PayloadField("aperture", "float", "Aperture", "f-number"),
    PayloadField("iso", "integer", "ISO", "sensitivity"),
    PayloadField("focal_length_mm", "float", "Focal length", "of the lens itself, in millimetres"),
    PayloadField("location", "geo", "Place", "where the picture was taken"),
    _file_field(
        "orientation",
        "keyword",
        "Shape",
        "landscape, portrait or square",
        widget="choice",
        limits=_SHAPE,
    ),
    _file_field("width", "integer", "Width", "pixels, as displayed", limits=_PIXELS),
    _file_field("height", "integer", "Height", "pixels, as displayed", limits=_PIXELS),
    _file_field("size_bytes", "integer", "File size", "bytes", limits=_BYTES),
    _file_field(
        "phash", "keyword", "Look", "perceptual hash, to find near-duplicates", limits=_PHASH
    ),
    PayloadField("title", "text", "Title", "words of its title"),
    PayloadField("rating", "float", "Rating", "stars, 1-5; -1 is rejected"),
    PayloadField("captions", "text", "Captions", "words of its descriptions", multiple=True),
    PayloadField(
        "tags", "keyword", "Tags", "labels of the picture", multiple=True, widget="choice"
    ),
    PayloadField(
        "people", "keyword", "People", "who is in the picture", multiple=True, widget="choice"
    ),
    PayloadField("favourite", "boolean", "Favourite", "marked as one", widget="choice"),
    _file_field(
        "text", "text", "Text", "what is written in the picture, line by line", limits=_WRITTEN
    ),
    _file_field(
        "text_words",
        "keyword",
        "Words of the text",
        "the words that are written in the picture, in lower case, without accents",
        multiple=True,
        limits=_NAME,
    ),
)

# The field that holds the words of a text, each once, so that they are found by a part of them.
WORDS_OF = {"text": "text_words"}

# The fields of every library. Those of the text in pictures are added when it is first read: an
# index takes disk and memory, also an empty one.
STANDARD_FIELDS = tuple(
    field for field in BUILTIN_FIELDS if field.name not in {*WORDS_OF, *WORDS_OF.values()}
)

# Companions of a date: the same moment, where its time zone is known; the first moment after it,
# where it is a period; whether it was guessed.
INSTANT = {"taken": "taken_at"}
PERIOD_END = {"taken": "taken_until"}
GUESS = {"taken": "taken_guessed"}
COMPANIONS = {"taken": ("taken_at", "taken_until", "taken_guessed")}

_NOUNS = {
    "image_id": "a name",
    "sha256": "a content hash",
    "taken": "a date",
    "taken_at": "a date with a time zone",
    "taken_until": "a date without a time",
    "taken_guessed": "a guessed date",
    "favourite": "a mark as a favourite",
    "modified": "a date of its file",
    "exposure_s": "an exposure time",
    "aperture": "an aperture",
    "iso": "an ISO sensitivity",
    "location": "a place",
    "phash": "a perceptual hash",
    "text": "text in it",
    "text_words": "text in it",
}

BUILTIN_NAMES = frozenset(field.name for field in BUILTIN_FIELDS)

# Stored with them, but not searched. So is `own`: which captions, tags and other values the file
# itself has, and where they come from; `by_hand` (store/hand_tags.py); and where lines of text lie
# (store/written.py).
UNSEARCHED_FIELDS: tuple[PayloadField, ...] = (
    _file_field("path", "keyword", "Path", "where the original lies", limits=_PATH),
    _file_field("etag", "keyword", "Version", "of an archive or a server"),
    _file_field("sidecar", "keyword", "Sidecar", "version of the files beside the picture"),
    _file_field("metadata_version", "integer", "Reader", "version of what read its metadata"),
    _file_field("text_version", "integer", "Text reader", "version of what read its text"),
)


def words_field(name: str, fields: Mapping[str, PayloadField]) -> str:
    """The field with the words of this text, '' if it has none among the fields of a library.

    A library may have a column of a table under the name of ours.
    """
    words = WORDS_OF.get(name, "")
    ours = words in fields and by_name(BUILTIN_FIELDS)[name] == fields.get(name)
    return words if ours else ""


def custom_fields(types: Mapping[str, MetadataType]) -> tuple[PayloadField, ...]:
    """Declarations for a manifest's own columns, without those with built-in names."""
    return tuple(
        PayloadField(
            name,
            type_,
            name.replace("_", " ").capitalize(),
            "column of the manifest",
            widget=next(iter(_WIDGETS[type_]), "none"),
        )
        for name, type_ in types.items()
        if name not in BUILTIN_NAMES
    )


def by_name(fields: Iterable[PayloadField]) -> dict[str, PayloadField]:
    """The fields under their names."""
    return {field.name: field for field in fields}

"""The records of a library: pictures with their ids and typed metadata."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.originals import LocalFile, Original, OriginalError

MetadataType = Literal["keyword", "integer", "float", "boolean", "datetime", "text", "geo"]


@dataclass(frozen=True)
class GeoPoint:
    """A place in degrees: latitude -90..90, longitude -180..180."""

    latitude: float
    longitude: float


Value = str | int | float | bool | datetime | GeoPoint | tuple[str, ...]

# Limits for the metadata of a picture, from its file or a table; more is cut or left out, with a
# note.
MAX_CAPTIONS = 100
MAX_CAPTION_CHARS = 5_000
MAX_TAGS = 200
MAX_TAG_CHARS = 200
# Limit for a query: every sentence is encoded, a tenth of a second for 500 characters.
MAX_QUERY_CHARACTERS = 2_000

# Library names are also names of folders, and collections' names begin with them.
LIBRARY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")

# Namespace of all point ids; changing it orphans every point of every library.
_POINT_NAMESPACE = uuid.UUID("6a4ec1a4-3c5e-5a0f-9c3e-6f2d8f0b7f11")


class LibraryNameError(SceneSearchError):
    """The name cannot name a library."""


@dataclass(frozen=True)
class ImageRecord:
    """One picture of a library, before it is opened.

    `image_id` is its stable name inside the library (a path relative to the images folder with
    forward slashes, or an id of a manifest); `original` is where its bytes are. `takeout` is the
    JSON of Google Takeout that lies beside it in an archive.
    """

    image_id: str
    original: Original
    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)
    takeout: str = ""

    @property
    def path(self) -> Path:
        """The picture's local file; pictures of manifests and of the task's format have one."""
        if not isinstance(self.original, LocalFile):
            raise OriginalError(f"{self.original} is not a file of this machine")
        return self.original.path


def point_id(library: str, image_id: str) -> str:
    """UUIDv5 of library and image id: ingesting a picture twice writes the same point."""
    return str(uuid.uuid5(_POINT_NAMESPACE, f"{library}\n{image_id}"))


def check_library_name(name: str) -> str:
    """Return the name, or raise LibraryNameError: it becomes folder and collection names."""
    if not LIBRARY_NAME.fullmatch(name):
        raise LibraryNameError(
            f"{name!r} cannot name a library: use 1-48 of a-z, 0-9, '-' and '_', "
            "beginning with a letter or digit"
        )
    return name

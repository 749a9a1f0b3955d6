"""What a source of pictures is, and what of it could not be used."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.records import ImageRecord, MetadataType


class SourceError(SceneSearchError):
    """A path that cannot be ingested from; the message is one sentence for the user."""


@dataclass(frozen=True)
class Problem:
    """Something of a source that was left out: a row, a folder, a name."""

    where: str
    reason: str


@dataclass(frozen=True)
class Source:
    """The `count` pictures of one path given by the user.

    `fields` are the custom metadata columns; `problems` what could not be used before any
    picture was opened, `notes` what else is to be known; `root` how the paths of its pictures
    begin, also of those that are gone, `listing` the file that names them, where there is one.
    `leaves_out` says of a path below the root whether it is left out (`ingest.sources.excludes`).
    """

    records: Callable[[], Iterator[ImageRecord]]
    count: int
    fields: Mapping[str, MetadataType] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    root: str = ""
    listing: str = ""
    notes: tuple[Problem, ...] = ()
    leaves_out: Callable[[str], bool] = lambda path: False

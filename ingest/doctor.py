"""Compares a library's store, rejects, thumbnails and originals: what is wrong, and what mends it.

    scenesearch library doctor photos

Reads every payload and asks the file system for every original, opens none. Memory holds eight
bytes for each picture.
"""

import hashlib
import shlex
import sys
import time
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ingest.payload import file_payload
from ingest.prune import is_gone
from ingest.sources.walk import is_archive, walk
from scenesearch.encoder.base import EncoderError, EncoderReplaced
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.presence import presence
from scenesearch.home.rejects import FILE_NAME, Reject, Rejects
from scenesearch.home.roots import SOURCES, RootsError, read_roots
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import OriginalError, is_url
from scenesearch.pictures.thumbnails import THUMBNAIL_SIDE, thumbnail_path, write_thumbnail
from scenesearch.search.presence import Presence
from scenesearch.store.base import CollectionSpec, IndexBusy, Point, VectorStore
from scenesearch.store.catalog import CatalogEntry, collections_of
from scenesearch.store.fields import BUILTIN_FIELDS, STANDARD_FIELDS, by_name
from scenesearch.store.pages import OnWait, pages, retry_while_busy

Level = Literal["wrong", "advice", "mended"]

_EXAMPLES = 5

# A command names so many folders of a library.
_NAMED_ROOTS = 10

# A thumbnail is written in less.
_BEGUN_S = 3600.0


# The states of a picture that are findings: check, level and text, in the order of the report.
_STATES: dict[str, tuple[str, Level, str]] = {
    "offline": ("offline", "advice", "originals whose folder is away"),
    "missing": ("missing", "wrong", "originals that are not where they were"),
    "changed": ("changed", "wrong", "originals that have changed since they were ingested"),
    "elsewhere": (
        "elsewhere",
        "advice",
        "originals outside the folders and addresses that this installation has ingested from, "
        "which are not opened",
    ),
    "unreachable": ("unreachable", "advice", "originals that cannot be reached now"),
    "no thumbnail": ("thumbnails", "wrong", "pictures without a thumbnail"),
    "thumbnail made": ("thumbnails", "mended", "thumbnails made"),
    "remote": ("remote", "advice", "originals at addresses, which were not asked for"),
}


@dataclass
class Finding:
    """Something about a library: `text` is a sentence with the number in it, `mend` the command.

    'wrong' is what spoils answers or fails commands, 'advice' what does not, 'mended' what was
    wrong until now.
    """

    check: str
    text: str
    mend: str = ""
    level: Level = "wrong"
    examples: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass
class _Tally:
    """How many, and the first few of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)

    def finding(
        self, check: str, what: str, mend: str, level: Level = "wrong"
    ) -> Iterator[Finding]:
        """One, with the number and the examples; none where nothing was counted."""
        if self.count:
            yield Finding(check, f"{what}: {self.count}", mend, level, self.examples)


class _Keys:
    """Which of many strings there were, by the first eight bytes of their hash."""

    def __init__(self) -> None:
        self._numbers = array("Q")
        self._sorted = True

    def add(self, text: str) -> None:
        self._numbers.append(_number(text))
        self._sorted = False

    def __contains__(self, text: str) -> bool:
        if not self._sorted:
            self._numbers = array("Q", sorted(self._numbers))
            self._sorted = True
        wanted = _number(text)
        at = bisect_left(self._numbers, wanted)
        return at < len(self._numbers) and self._numbers[at] == wanted


def examine_store(store: VectorStore, *, mend: bool = False) -> list[Finding]:
    """What stopped processes have left behind, in no library."""
    found = []
    words = {
        "folder": "a stopped process left {} unfinished",
        "lock": "a process that has ended left its name on {}",
        "collection": "collection {} is unfinished: a stopped process began to make it",
    }
    for left in store.leftovers(remove=mend):
        if left.kind == "alias":
            found.append(
                Finding(
                    "alias",
                    f"library {left.name} leads to no collection",
                    f"scenesearch library promote {left.name}",
                )
            )
        else:
            level: Level = "mended" if mend else "wrong"
            text = words[left.kind].format(left.name)
            found.append(Finding(left.kind, text, "scenesearch library doctor --mend", level))
    return found


def examine(
    library: str,
    *,
    store: VectorStore,
    library_dir: Path,
    find_encoder: Callable[[CollectionSpec], Path],
    originals: AllowedOriginals,
    mend: bool = False,
    remote: bool = False,
    max_megapixels: float = 200,
    on_progress: Callable[[int, int], None] | None = None,
    on_wait: OnWait | None = None,
) -> list[Finding]:
    """Everything that is wrong with a library; with `mend`, what is safe to mend is mended.

    Originals at addresses are asked for only with `remote`, and those that `originals` does not
    hold never. Raises CollectionMissing for a library that has no collection.
    """
    collections = collections_of(store, library)
    findings = [*_collections(store, library, collections, find_encoder, mend)]
    live = next((one.name for one in collections if one.role == "live"), None)
    if live is None:
        return findings
    away = presence(library_dir / SOURCES)
    look = _Examination(
        library, store, live, library_dir, originals, mend, remote, max_megapixels, away
    )
    others = [one.name for one in collections if one.name != live]

    def compare() -> list[Finding]:
        # An ingest writes thumbnails before their points: it would be found in the middle of it.
        with store.working_on(live):
            return [
                *look.points(on_progress, on_wait),
                *look.thumbnails(others, on_wait),
                *look.rejects(),
                *look.folders(),
            ]

    return findings + retry_while_busy(compare, on_wait=on_wait)


def _collections(
    store: VectorStore,
    library: str,
    collections: Sequence[CatalogEntry],
    find_encoder: Callable[[CollectionSpec], Path],
    mend: bool,
) -> Iterator[Finding]:
    if all(one.role != "live" for one in collections):
        names = ", ".join(one.name for one in collections)
        yield Finding(
            "alias",
            f"library {library} has collections ({names}) and none is live",
            f"scenesearch library promote {library}",
        )
    for one in collections:
        if one.role == "building":
            # Unless a build is at work.
            with suppress(IndexBusy), store.working_on(one.name, wait_s=0):
                count = store.count(one.name)
                store.release(one.name)
                yield Finding(
                    "unfinished",
                    f"{one.name} is not complete ({count} pictures)",
                    f"scenesearch library build {library} --encoder {one.spec.encoder}, "
                    f"or scenesearch library prune {library} --unfinished",
                )
        if one.role in ("live", "previous"):
            try:
                find_encoder(one.spec)
            except EncoderError as error:
                yield _encoder_gone(library, one, error)
        if one.role == "live":
            yield from _fields(store, library, one, mend)


def _encoder_gone(library: str, one: CatalogEntry, error: EncoderError) -> Finding:
    if one.role == "previous" and isinstance(error, EncoderReplaced):
        return Finding(
            "encoder",
            f"{one.name}, where a rollback leads, cannot be searched any more: its {error.name} is "
            "not the one here",
            f"scenesearch library prune {library} --previous",
            "advice",
        )
    return Finding("encoder", f"{one.name}: {error}", "")


def _fields(store: VectorStore, library: str, live: CatalogEntry, mend: bool) -> Iterator[Finding]:
    build = f"scenesearch library build {library}, then scenesearch library promote {library}"
    declared = by_name(live.spec.fields)
    lacking = [one for one in STANDARD_FIELDS if one.name not in declared]
    if lacking:
        if mend:
            store.add_fields(live.name, lacking)
        names = ", ".join(one.name for one in lacking)
        yield Finding(
            "fields",
            f"{live.name} does not declare {names}, which this version searches",
            f"scenesearch library doctor {library} --mend",
            "mended" if mend else "wrong",
        )
    for one in BUILTIN_FIELDS:
        if one.name in declared and declared[one.name].type != one.type:
            yield Finding(
                "fields",
                f"{live.name} declares {one.name} as {declared[one.name].type}, it is {one.type}",
                build,
            )
    if not live.spec.words:
        yield Finding(
            "words",
            f"{live.name} is from before captions and names were searched as words",
            build,
            "advice",
        )


@dataclass
class _Examination:
    """One look at a library's live collection and at the files that belong to it."""

    library: str
    store: VectorStore
    live: str
    library_dir: Path
    originals: AllowedOriginals
    mend: bool
    remote: bool
    max_megapixels: float
    presence: Presence
    offline: int = 0
    paths: _Keys = field(default_factory=_Keys)
    contents: _Keys = field(default_factory=_Keys)

    def points(
        self, on_progress: Callable[[int, int], None] | None, on_wait: OnWait | None
    ) -> Iterator[Finding]:
        """Originals and thumbnails of every picture."""
        tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
        total, seen = self.store.count(self.live), 0
        keys = ("path", "size_bytes", "modified", "etag", "sha256")
        for page in pages(self.store, self.live, payload=keys, on_wait=on_wait):
            for point in page:
                path = str(point.payload.get("path", ""))
                self.paths.add(path)
                self.contents.add(str(point.payload.get("sha256", "")))
                state, reason = self._original(point, path)
                if not state:
                    state, reason = self._thumbnail(point)
                if state:
                    tallies[state].add(f"{path}: {reason}" if reason else path)
            seen += len(page)
            if on_progress is not None:
                on_progress(seen, max(total, seen))
        self.offline = tallies["offline"].count
        ingest = f"scenesearch ingest {self._filled_from()} --library {self.library}"
        doctor = f"scenesearch library doctor {self.library}"
        elsewhere = f"scenesearch ingest FOLDER --library {self.library}"
        mend = {
            "missing": f"{ingest} --prune removes them, with --remove-absent also those of folders "
            "that are gone as a whole; where they have moved to, ingest that folder first",
            "changed": ingest,
            "elsewhere": f"{elsewhere}, or SCENESEARCH_ORIGINALS",
            "no thumbnail": f"{doctor} --mend",
            "remote": f"{doctor} --remote",
        }
        for state, (check, level, what) in _STATES.items():
            yield from tallies[state].finding(check, what, mend.get(state, ""), level)

    def thumbnails(self, others: Sequence[str], on_wait: OnWait | None) -> Iterator[Finding]:
        """Those of no picture in any collection of the library."""
        folder = self.library_dir / "thumbnails"
        if not folder.is_dir():
            return
        for name in others:
            for page in pages(self.store, name, payload=("sha256",), on_wait=on_wait):
                for point in page:
                    self.contents.add(str(point.payload.get("sha256", "")))
        unused = _Tally()
        # Not what somebody else put here, nor what a link leads to.
        own = [p for p in folder.glob("??/*.jpg") if _is_thumbnail(folder, p)]
        found = [p for p in own if p.stem not in self.contents]
        # What a killed process had begun to write; one that is alive takes less than that.
        begun = [p for p in folder.glob("??/.tmp-*") if _age_s(p) > _BEGUN_S]
        for path in sorted([*found, *begun]):
            if path.parent.is_symlink():
                continue
            unused.add(str(path))
            if self.mend:
                path.unlink(missing_ok=True)
        if self.mend:
            yield from unused.finding(
                "thumbnails", "thumbnails of no picture deleted", "", "mended"
            )
        else:
            mend = f"scenesearch library doctor {self.library} --mend"
            yield from unused.finding("thumbnails", "thumbnails of no picture", mend)

    def rejects(self) -> Iterator[Finding]:
        """Rows of files that are gone or in the library by now, and how many wait."""
        stale, waiting = _Tally(), _Tally()
        forgotten: list[str] = []
        for reject in self._rejects():
            if reject.image_id is None:
                continue  # a row of a manifest, a folder
            gone = not is_url(reject.path) and is_gone(reject.path)
            if gone or reject.path in self.paths:
                stale.add(reject.path)
                forgotten.append(reject.path)
            else:
                waiting.add(f"{reject.path}: {reject.reason}")
        if self.mend and forgotten:
            with closing(Rejects(self.library_dir / FILE_NAME)) as table:
                table.forget(forgotten)
        yield from stale.finding(
            "rejects",
            "rejects of files that are gone or in the library by now",
            f"scenesearch library doctor {self.library} --mend",
            "mended" if self.mend else "wrong",
        )
        yield from waiting.finding(
            "rejects",
            "pictures that could not be ingested",
            f"scenesearch library rejects --library {self.library}",
            "advice",
        )

    def folders(self) -> Iterator[Finding]:
        """Folders that are not there, and pictures below them that nobody has ingested."""
        try:
            roots = self._roots()
        except RootsError as error:
            yield Finding("folders", str(error))
            return
        rejected = _Keys()
        for reject in self._rejects():
            rejected.add(reject.path)
        for root in roots:
            if is_url(root):
                continue
            folder = Path(root)
            if root in self.presence.away:
                yield self._away(root)
                continue
            new = _Tally()
            for path in walk(folder):
                text = str(path)
                if not (is_archive(path.name) or text in self.paths or text in rejected):
                    new.add(text)
            yield from new.finding(
                "folders",
                f"pictures under {root} that are not in the library",
                f"scenesearch ingest {shlex.quote(root)} --library {self.library}",
                "advice",
            )

    def _away(self, root: str) -> Finding:
        """A folder that is not there, or holds nothing."""
        state = "is empty" if Path(root).is_dir() else "is not there"
        text = f"{root}, which the library was filled from, {state}"
        if not self.offline:
            return Finding("folders", text, level="advice")
        place, library = shlex.quote(root), self.library
        return Finding(
            "folders",
            text,
            f"connect its disk, or scenesearch library relocate {place} NEW {library} where its "
            f"pictures have moved to NEW; if they are deleted, scenesearch ingest {place} "
            f"--library {library} --prune --remove-absent",
        )

    def _original(self, point: Point, path: str) -> tuple[str, str]:
        """What is the matter with the original, ('', '') when it is as it was; and the reason."""
        if self.presence.offline(path):
            return "offline", ""
        if not self.originals.allows(path):
            return "elsewhere", ""
        if is_url(path) and not self.remote:
            return "remote", ""
        original = self.originals.original(point.payload)
        try:
            now = file_payload(original, original.state())
        except OriginalError as error:
            return ("missing", "") if error.missing else ("unreachable", str(error))
        return ("", "") if point.payload.items() >= now.items() else ("changed", "")

    def _thumbnail(self, point: Point) -> tuple[str, str]:
        """As `_original`, of the thumbnail, which is made when it is missing."""
        try:
            folder = self.library_dir / "thumbnails"
            thumbnail = thumbnail_path(folder, str(point.payload.get("sha256", "")))
            if thumbnail.exists():
                return "", ""
            if not self.mend:
                return "no thumbnail", ""
            opened = open_image(
                self.originals.original(point.payload),
                reduce_to=2 * THUMBNAIL_SIDE,
                max_megapixels=self.max_megapixels,
            )
        except ImageError as error:
            return "no thumbnail", str(error)
        if opened.sha256 != point.payload.get("sha256"):
            return "no thumbnail", "changed since it was ingested"
        write_thumbnail(opened.image, thumbnail)
        return "thumbnail made", ""

    def _rejects(self) -> list[Reject]:
        file = self.library_dir / FILE_NAME
        if not file.exists():
            return []
        with closing(Rejects(file)) as table:
            return list(table.all())

    def _filled_from(self) -> str:
        """The folders of the library that are there, where they can be named in a command."""
        try:
            roots = self._roots()
        except RootsError:
            return "FOLDER"
        here = [root for root in roots if root not in self.presence.away]
        return " ".join(map(shlex.quote, here)) if 0 < len(here) <= _NAMED_ROOTS else "FOLDER"

    def _roots(self) -> list[str]:
        """Those that were ingested here: a backup may name any folder of this machine."""
        roots = read_roots(self.library_dir / SOURCES)
        return [place for place, root in roots.items() if not root.restored]


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # it has its name by now
        return 0.0


def _is_thumbnail(folder: Path, path: Path) -> bool:
    try:
        return thumbnail_path(folder, path.stem) == path
    except ImageError:
        return False


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, sys.byteorder)


def is_well(findings: Sequence[Finding]) -> bool:
    """Nothing is wrong any more."""
    return all(one.level != "wrong" for one in findings)

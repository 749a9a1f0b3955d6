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
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ingest.points import file_payload
from ingest.walk import ARCHIVE_SUFFIX, walk
from scenesearch.encoder.base import EncoderError
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.rejects import FILE_NAME, Rejects
from scenesearch.home.roots import SOURCES, RootsError, read_roots
from scenesearch.pictures.opening import (
    THUMBNAIL_SIDE,
    ImageError,
    open_image,
    thumbnail_path,
    write_thumbnail,
)
from scenesearch.pictures.originals import OriginalError, is_url, original_of
from scenesearch.store.base import CollectionSpec, IndexBusy, Point, VectorStore
from scenesearch.store.catalog import Held, collections_of
from scenesearch.store.fields import BUILTIN_FIELDS, by_name
from scenesearch.store.pages import OnWait, pages, shared

Level = Literal["wrong", "advice", "mended"]

_EXAMPLES = 5

# A thumbnail is written in less.
_BEGUN_S = 3600.0


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

    Originals at addresses are asked for only with `remote`, those that `originals` does not hold
    never. Raises CollectionMissing for a
    library that has no collection.
    """
    held = collections_of(store, library)
    findings = [*_collections(store, library, held, find_encoder, mend)]
    live = next((one for one in held if one.role == "live"), None)
    if live is None:
        return findings
    visit = _Visit(library, store, live, library_dir, originals, mend, remote, max_megapixels)
    others = [one.name for one in held if one is not live]

    def compare() -> list[Finding]:
        # An ingest writes thumbnails before their points: it would be found in the middle of it.
        with store.working_on(live.name):
            return [
                *visit.points(on_progress, on_wait),
                *visit.thumbnails(others, on_wait),
                *visit.rejects(),
                *visit.folders(),
            ]

    return findings + shared(compare, on_wait=on_wait)


def _collections(
    store: VectorStore,
    library: str,
    held: Sequence[Held],
    find_encoder: Callable[[CollectionSpec], Path],
    mend: bool,
) -> Iterator[Finding]:
    if all(one.role != "live" for one in held):
        names = ", ".join(one.name for one in held)
        yield Finding(
            "alias",
            f"library {library} has collections ({names}) and none is live",
            f"scenesearch library promote {library}",
        )
    for one in held:
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
                yield Finding("encoder", f"{one.name}: {error}", "")
        if one.role == "live":
            yield from _fields(store, library, one, mend)


def _fields(store: VectorStore, library: str, live: Held, mend: bool) -> Iterator[Finding]:
    build = f"scenesearch library build {library}, then scenesearch library promote {library}"
    declared = by_name(live.spec.fields)
    lacking = [one for one in BUILTIN_FIELDS if one.name not in declared]
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


class _Visit:
    """One look at a library's live collection and at what lies beside it."""

    def __init__(
        self,
        library: str,
        store: VectorStore,
        live: Held,
        library_dir: Path,
        originals: AllowedOriginals,
        mend: bool,
        remote: bool,
        max_megapixels: float,
    ) -> None:
        self._library = library
        self._store = store
        self._live = live
        self._thumbnails = library_dir / "thumbnails"
        self._rejects_file = library_dir / FILE_NAME
        self._roots_file = library_dir / SOURCES
        self._originals = originals
        self._mend = mend
        self._remote = remote
        self._max_megapixels = max_megapixels
        self._paths = _Keys()
        self._contents = _Keys()

    def points(
        self, on_progress: Callable[[int, int], None] | None, on_wait: OnWait | None
    ) -> Iterator[Finding]:
        """Originals and thumbnails of every picture."""
        missing, changed, unreachable, remote = _Tally(), _Tally(), _Tally(), _Tally()
        elsewhere = _Tally()
        without, mended = _Tally(), _Tally()
        total, seen = self._store.count(self._live.name), 0
        keys = ("path", "size_bytes", "modified", "etag", "sha256")
        for page in pages(self._store, self._live.name, payload=keys, on_wait=on_wait):
            for point in page:
                path = str(point.payload.get("path", ""))
                self._paths.add(path)
                self._contents.add(str(point.payload.get("sha256", "")))
                if not self._originals.allows(path):
                    elsewhere.add(path)
                    continue
                if is_url(path) and not self._remote:
                    remote.add(path)
                    continue
                fault = self._original(point, path)
                if fault == "":
                    self._thumbnail(point, path, without, mended)
                elif fault == "missing":
                    missing.add(path)
                elif fault == "changed":
                    changed.add(path)
                else:
                    unreachable.add(f"{path}: {fault}")
            seen += len(page)
            if on_progress is not None:
                on_progress(seen, max(total, seen))
        ingest = f"scenesearch ingest {self._filled_from()} --library {self._library}"
        yield from self._told(
            "missing",
            missing,
            "originals that are not where they were",
            f"{ingest}, or where they are now; with --prune those that are gone are removed",
        )
        yield from self._told(
            "changed", changed, "originals that have changed since they were ingested", ingest
        )
        yield from self._told(
            "elsewhere",
            elsewhere,
            "originals outside the folders and addresses that this installation has ingested "
            "from, which are not opened",
            f"scenesearch ingest FOLDER --library {self._library}, or SCENESEARCH_ORIGINALS",
            level="advice",
        )
        yield from self._told(
            "unreachable", unreachable, "originals that cannot be reached now", "", level="advice"
        )
        doctor = f"scenesearch library doctor {self._library}"
        yield from self._told(
            "thumbnails", without, "pictures without a thumbnail", f"{doctor} --mend", level="wrong"
        )
        yield from self._told("thumbnails", mended, "thumbnails made", "", level="mended")
        yield from self._told(
            "remote",
            remote,
            "originals at addresses, which were not asked for",
            f"{doctor} --remote",
            level="advice",
        )

    def thumbnails(self, others: Sequence[str], on_wait: OnWait | None) -> Iterator[Finding]:
        """Those of no picture in any collection of the library."""
        if not self._thumbnails.is_dir():
            return
        for name in others:
            for page in pages(self._store, name, payload=("sha256",), on_wait=on_wait):
                for point in page:
                    self._contents.add(str(point.payload.get("sha256", "")))
        orphans, mended = _Tally(), _Tally()
        # Not what somebody else put here, nor what a link leads to.
        own = [p for p in self._thumbnails.glob("??/*.jpg") if _is_thumbnail(self._thumbnails, p)]
        found = [p for p in own if p.stem not in self._contents and not p.parent.is_symlink()]
        # What a process that was killed had begun to write; one at work takes less than that.
        begun = [
            p
            for p in self._thumbnails.glob("??/.tmp-*")
            if _age_s(p) > _BEGUN_S and not p.parent.is_symlink()
        ]
        for path in sorted([*found, *begun]):
            if self._mend:
                path.unlink(missing_ok=True)
                mended.add(str(path))
            else:
                orphans.add(str(path))
        yield from self._told(
            "thumbnails",
            orphans,
            "thumbnails of no picture",
            f"scenesearch library doctor {self._library} --mend",
        )
        yield from self._told(
            "thumbnails", mended, "thumbnails of no picture deleted", "", level="mended"
        )

    def rejects(self) -> Iterator[Finding]:
        """Rows of files that are gone or in the library by now, and how many wait."""
        if not self._rejects_file.exists():
            return
        stale, waiting = _Tally(), _Tally()
        table = Rejects(self._rejects_file)
        try:
            for reject in table.all():
                if reject.image_id is None:
                    continue  # a row of a manifest, a folder
                if reject.path in self._paths or self._is_gone(reject.path):
                    stale.add(reject.path)
                    if self._mend:
                        table.forget([reject.path])
                else:
                    waiting.add(f"{reject.path}: {reject.reason}")
        finally:
            table.close()
        yield from self._told(
            "rejects",
            stale,
            "rejects of files that are gone or in the library by now",
            f"scenesearch library doctor {self._library} --mend",
            level="mended" if self._mend else "wrong",
        )
        yield from self._told(
            "rejects",
            waiting,
            "pictures that could not be ingested",
            f"scenesearch library rejects --library {self._library}",
            level="advice",
        )

    def folders(self) -> Iterator[Finding]:
        """Folders that are not there, and pictures below them that nobody has ingested."""
        try:
            roots = self._roots()
        except RootsError as error:
            yield Finding("folders", str(error))
            return
        rejected = _Keys()
        if self._rejects_file.exists():
            table = Rejects(self._rejects_file)
            for reject in table.all():
                rejected.add(reject.path)
            table.close()
        for root in roots:
            if is_url(root):
                continue
            folder = Path(root)
            if not folder.exists():
                yield Finding("folders", f"{root}, which the library was filled from, is not there")
            if not folder.is_dir():
                continue
            new = _Tally()
            for path in walk(folder, lambda problem: None):
                text = str(path)
                if path.suffix.lower() == ARCHIVE_SUFFIX or text in self._paths:
                    continue
                if text not in rejected:
                    new.add(text)
            yield from self._told(
                "folders",
                new,
                f"pictures under {root} that are not in the library",
                f"scenesearch ingest {shlex.quote(root)} --library {self._library}",
                level="advice",
            )

    def _original(self, point: Point, path: str) -> str:
        """'' for an original that is as it was, else 'missing', 'changed' or a reason."""
        original = self._originals.original(point.payload)
        try:
            now = file_payload(original, original.state())
        except OriginalError as error:
            return "missing" if error.missing else str(error)
        return "" if point.payload.items() >= now.items() else "changed"

    def _thumbnail(self, point: Point, path: str, without: _Tally, mended: _Tally) -> None:
        try:
            thumbnail = thumbnail_path(self._thumbnails, str(point.payload.get("sha256", "")))
        except ImageError as error:
            without.add(f"{path}: {error}")
            return
        if thumbnail.exists():
            return
        if not self._mend:
            without.add(path)
            return
        try:
            opened = open_image(
                self._originals.original(point.payload),
                reduce_to=2 * THUMBNAIL_SIDE,
                max_megapixels=self._max_megapixels,
            )
        except ImageError as error:
            without.add(f"{path}: {error}")
            return
        if opened.sha256 == point.payload.get("sha256"):
            write_thumbnail(opened.image, thumbnail)
            mended.add(path)
        else:
            without.add(f"{path}: changed since it was ingested")

    def _filled_from(self) -> str:
        """The folders of the library, where they can be named in a command."""
        try:
            roots = self._roots()
        except RootsError:
            return "FOLDER"
        return " ".join(map(shlex.quote, roots)) if 0 < len(roots) <= 3 else "FOLDER"

    def _roots(self) -> list[str]:
        """Those that were ingested here: a backup may name any folder of this machine."""
        roots = read_roots(self._roots_file)
        return [place for place, root in roots.items() if not root.restored]

    def _is_gone(self, path: str) -> bool:
        if is_url(path):
            return False
        try:
            original_of(path).state()
        except OriginalError as error:
            return error.missing
        return False

    def _told(
        self, check: str, tally: _Tally, what: str, mend: str, *, level: Level = "wrong"
    ) -> Iterator[Finding]:
        if tally.count:
            yield Finding(check, f"{what}: {tally.count}", mend, level, tally.examples)


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

"""Folders and a library kept alike: new, changed and removed pictures within seconds.

Between bursts of changes an embedded library is let go, so that searches find it free. What was
not heard (a disk that was away, more at once than the system reports) is found by a look at
everything each hour.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from ingest.archives import archive_source
from ingest.changes import Changes, Settled
from ingest.journal import Journal, journal_file
from ingest.moves import hand_over
from ingest.pipeline import IngestOptions, following, ingest
from ingest.prune import find_gone, is_gone, remove
from ingest.report import IngestReport
from ingest.sidecar import pictures_of
from ingest.source import Roots, Source
from ingest.sources import find_sources
from ingest.thumbnails import sweep
from ingest.walk import ARCHIVE_SUFFIX, is_hidden, is_unicode, is_wanted, walk
from scenesearch.encoder.base import Encoder
from scenesearch.home.rejects import Rejects
from scenesearch.pictures.formats import RAW_SUFFIXES, suffix_of, without_rendered
from scenesearch.pictures.originals import LocalFile
from scenesearch.pictures.records import ImageRecord
from scenesearch.store.base import CollectionMissing, IndexBusy, StoreUnavailable, VectorStore
from scenesearch.store.pages import shared

_T = TypeVar("_T")

# How often the watcher looks up when nothing happens.
_LOOK_S = 0.2

# After a store's trouble outlasted an ingest's own patience.
_TROUBLE_S = 30.0


@dataclass(frozen=True)
class Watched:
    """What is kept alike, with all that ingest needs; `say` tells a person of trouble."""

    folders: Sequence[Path]
    roots: Roots
    library: str
    encoder: Encoder
    store: VectorStore
    say: Callable[[str], None]
    library_dir: Path | None = None
    thumbnails_dir: Path | None = None
    rejects: Rejects | None = None
    options: IngestOptions = field(default_factory=IngestOptions)
    settle_s: float = 1.0
    sweep_s: float = 3600.0


def watch(
    watched: Watched,
    stop: threading.Event,
    *,
    on_progress: Callable[[IngestReport], None] | None = None,
) -> Iterator[IngestReport]:
    """First everything, then each burst of changes as it settles; ends when `stop` is set.

    Each report counts one burst. Raises WatchError when a folder cannot be watched, StoreError
    where waiting does not help.
    """
    changes = Changes(watched.folders, settle_s=watched.settle_s)

    def progress(report: IngestReport) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # ends the run as Ctrl-C does, with all acknowledged kept
        if on_progress is not None:
            on_progress(report)

    keeper = _Keeper(watched, progress)
    try:
        yield keeper.everything(watched.options)
        swept = time.monotonic()
        while not stop.wait(_LOOK_S):
            if changes.lost() or time.monotonic() - swept > watched.sweep_s:
                yield keeper.everything(replace(watched.options, prune=True))
                swept = time.monotonic()
            settled = changes.settled()
            if not settled:
                continue
            try:
                report = keeper.burst(settled)
            except (IndexBusy, StoreUnavailable) as error:
                watched.say(f"{error}; trying again in {_TROUBLE_S:.0f} s")
                changes.put_back(settled)
                stop.wait(_TROUBLE_S)
                continue
            if report is not None:
                yield report
    finally:
        changes.close()


class _Keeper:
    def __init__(self, watched: Watched, on_progress: Callable[[IngestReport], None]) -> None:
        self._watched = watched
        self._on_progress = on_progress
        own, shard = watched.library_dir, watched.options.shard
        self._journal = journal_file(own, shard) if own is not None else None
        for folder in watched.folders:
            watched.roots.add(folder)

    def everything(self, options: IngestOptions) -> IngestReport:
        """All folders as a plain ingest has them; an empty one may be filled later."""
        filled = [folder for folder in self._watched.folders if _holds_pictures(folder)]
        sources = find_sources(filled, roots=self._watched.roots)
        return self._ingest(sources, options)

    def burst(self, settled: Settled) -> IngestReport | None:
        """What has changed; None when none of it concerns the library."""
        # What came into a new folder before it was watched has not been heard.
        below = [p for folder in settled.folders for p in walk(folder, lambda problem: None)]
        described = pictures_of([*settled.files, *settled.gone])
        source = self._source(sorted({*settled.files, *below, *described}))
        gone = [path for path in settled.gone if self._concerns(path)]
        folders = [path for path in settled.gone_folders if self._concerns(path)]
        if source is None and not gone and not folders:
            return None
        options = replace(self._watched.options, prune=False)
        report = self._ingest([] if source is None else [source], options)
        # Pictures that were moved have their new place by now, and with it their vector.
        if (gone or folders) and not report.interrupted:
            self._remove(gone, folders, report)
        return report

    def _ingest(self, sources: Sequence[Source], options: IngestOptions) -> IngestReport:
        watched = self._watched

        def start() -> IngestReport:
            return ingest(
                sources,
                library=watched.library,
                encoder=watched.encoder,
                store=watched.store,
                library_dir=watched.library_dir,
                thumbnails_dir=watched.thumbnails_dir,
                rejects=watched.rejects,
                options=options,
                on_progress=self._on_progress,
            )

        try:
            watched.store.resolve(watched.library)
        except CollectionMissing:
            report = start()  # makes it, and nobody can have it yet
            if report.collection:
                watched.store.release(watched.library)
            return report
        return self._in_turn(start)

    def _remove(self, gone: Sequence[Path], folders: Sequence[Path], report: IngestReport) -> None:
        """Take out the pictures of these paths, unless their whole root has gone."""
        watched = self._watched
        lost = [folder for folder in watched.folders if not _holds_anything(folder)]
        for folder in lost:
            sentence = f"{folder} is empty or gone: nothing of it is removed from the library"
            watched.say(sentence)
            report.kept.append(sentence)
        gone, folders = (
            [path for path in paths if not any(path.is_relative_to(root) for root in lost)]
            for paths in (gone, folders)
        )

        if watched.rejects is not None:
            watched.rejects.forget(str(path) for path in gone if is_gone(str(path)))

        def start() -> None:
            with closing(Journal(self._journal)) as journal:
                take_out(journal)

        def take_out(journal: Journal) -> None:
            ids = [watched.roots.image_id(path) for path in gone]
            found = watched.store.retrieve(watched.library, ids)
            points = [
                point
                for point in found.values()
                if not os.path.lexists(str(point.payload.get("path", "")))
            ]
            # Below a folder, or inside an archive, may have been any number of pictures.
            roots = [f"{folder}{os.sep}" for folder in folders]
            roots += [f"{path}!" for path in gone if suffix_of(path.name) == ARCHIVE_SUFFIX]
            if roots:
                points += find_gone(
                    watched.store, watched.library, roots, watched.options.shard, seen_to_go=True
                ).points
            points = [p for p in points if watched.options.shard.holds(p.image_id)]
            follow = following(watched.store, watched.library, watched.library_dir)
            hand_over(watched.store, watched.library, journal, points, follow=follow)
            remove(watched.store, watched.library, points, journal, rejects=watched.rejects)
            sweep(watched.store, watched.library, journal, watched.thumbnails_dir)
            report.removals = sorted(point.image_id for point in points)
            report.removed = len(points)

        def alone() -> None:
            with watched.store.working_on(watched.library):
                start()

        if watched.library in watched.store.aliases():  # else nothing could be used so far
            self._in_turn(alone)

    def _source(self, files: Sequence[Path]) -> Source | None:
        """The pictures and archives among these files."""
        wanted = [path for path in files if self._concerns(path) and is_wanted(path)]
        archives = [LocalFile(path) for path in wanted if suffix_of(path.name) == ARCHIVE_SUFFIX]
        pictures = [path for path in wanted if suffix_of(path.name) != ARCHIVE_SUFFIX]
        pictures = [path for path in pictures if not _is_rendered_raw(path)]
        if not archives and not pictures:
            return None
        roots = self._watched.roots
        packed = archive_source(archives, roots)

        def records() -> Iterator[ImageRecord]:
            for path in pictures:
                yield ImageRecord(roots.image_id(path), LocalFile(path))
            yield from packed.records()

        return Source(
            records, len(pictures) + packed.count, fields=packed.fields, problems=packed.problems
        )

    def _concerns(self, path: Path) -> bool:
        """Whether the path lies in a watched folder and on the way there nothing is hidden."""
        roots = (folder for folder in self._watched.folders if path.is_relative_to(folder))
        root = next(roots, None)
        if root is None or not is_unicode(path):
            return False
        return not any(is_hidden(part) for part in path.relative_to(root).parts)

    def _in_turn(self, do: Callable[[], _T]) -> _T:
        """What `do` gives once nobody else has the library, which is let go afterwards."""
        watched = self._watched
        done = shared(do, on_wait=watched.say)
        watched.store.release(watched.library)
        return done


def _holds_pictures(folder: Path) -> bool:
    return next(walk(folder, lambda problem: None), None) is not None


def _holds_anything(folder: Path) -> bool:
    try:
        return next(folder.iterdir(), None) is not None
    except OSError:
        return False


def _is_rendered_raw(path: Path) -> bool:
    """A camera's RAW beside which a rendered picture of the same name lies."""
    if suffix_of(path.name) not in RAW_SUFFIXES:
        return False
    try:
        names = sorted(beside.name for beside in path.parent.iterdir())
    except OSError:
        return False
    return path.name not in set(without_rendered(names))

"""Keeps a library up to date with folders: new, changed and removed pictures within seconds.

Between bursts of changes an embedded library is released, so that searches find it free. Changes
that the system did not report (a disk that was away, too many at once) are found by a full scan
each hour.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from ingest.folder_watcher import Changes, FolderWatcher
from ingest.journal import Journal, journal_file
from ingest.moves import Moves
from ingest.pipeline import IngestOptions, ingest
from ingest.prune import find_gone, is_empty, is_gone
from ingest.report import IngestReport
from ingest.sidecar import pictures_of
from ingest.sources.archives import files_source
from ingest.sources.base import Source
from ingest.sources.excludes import FILE_NAME, Excludes, FolderExcludes
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from ingest.sources.walk import is_archive, is_unicode, is_wanted, walk
from ingest.thumbnails import delete_unused_thumbnails
from scenesearch.encoder.base import Encoder
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.rejects import Rejects
from scenesearch.pictures.formats import RAW_SUFFIXES, suffix_of, without_rendered
from scenesearch.pictures.originals import LocalFile
from scenesearch.store.base import CollectionMissing, IndexBusy, StoreUnavailable, VectorStore
from scenesearch.store.pages import retry_while_busy

_T = TypeVar("_T")

# How often changes are asked for.
_LOOK_S = 0.2

# The pause after a store failed for longer than an ingest's own patience.
_TROUBLE_S = 30.0


@dataclass(frozen=True)
class Watched:
    """The folders and the library, with all that ingest needs; `say` shows a message."""

    folders: Sequence[Path]
    roots: Roots
    library: str
    encoder: Encoder
    store: VectorStore
    say: Callable[[str], None]
    library_dir: Path | None = None
    thumbnails_dir: Path | None = None
    rejects: Rejects | None = None
    excludes: Excludes = field(default_factory=Excludes)
    options: IngestOptions = field(default_factory=IngestOptions)
    quiet_s: float = 1.0
    full_scan_s: float = 3600.0


def watch(
    watched: Watched,
    stop: threading.Event,
    *,
    on_progress: Callable[[IngestReport], None] | None = None,
) -> Iterator[IngestReport]:
    """First a full ingest, then one of each burst of changes; ends when `stop` is set.

    Each report counts one burst. Raises WatchError when a folder cannot be watched, StoreError
    where waiting does not help.
    """
    watcher = FolderWatcher(watched.folders, quiet_s=watched.quiet_s)

    def progress(report: IngestReport) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # ends the run as Ctrl-C does, with all acknowledged kept
        if on_progress is not None:
            on_progress(report)

    updater = _Updater(watched, progress)
    try:
        yield updater.ingest_all(watched.options)
        scanned = time.monotonic()
        while not stop.wait(_LOOK_S):
            if watcher.watch_again() or time.monotonic() - scanned > watched.full_scan_s:
                yield updater.ingest_all(replace(watched.options, prune=True))
                scanned = time.monotonic()
            changes = watcher.take_changes()
            if not changes:
                continue
            if any(path.name == FILE_NAME for path in (*changes.files, *changes.gone)):
                yield updater.ingest_all(replace(watched.options, prune=True))
                continue
            try:
                report = updater.ingest_changes(changes)
            except (IndexBusy, StoreUnavailable) as error:
                watched.say(f"{error}; trying again in {_TROUBLE_S:.0f} s")
                watcher.put_back(changes)
                stop.wait(_TROUBLE_S)
                continue
            if report is not None:
                yield report
    finally:
        watcher.close()


class _Updater:
    def __init__(self, watched: Watched, on_progress: Callable[[IngestReport], None]) -> None:
        self._watched = watched
        self._on_progress = on_progress
        own, shard = watched.library_dir, watched.options.shard
        self._journal = journal_file(own, shard) if own is not None else None
        self._read_excludes()
        for folder in watched.folders:
            watched.roots.add(folder)

    def ingest_all(self, options: IngestOptions) -> IngestReport:
        """All folders, as a plain ingest reads them; an empty one may be filled later."""
        self._read_excludes()
        filled = [
            folder
            for folder in self._watched.folders
            if any(walk(folder, excludes=self._excludes[folder]))
        ]
        watched = self._watched
        excludes = watched.excludes if filled else None
        sources = find_sources(filled, roots=watched.roots, excludes=excludes)
        return self._ingest(sources, options)

    def ingest_changes(self, changes: Changes) -> IngestReport | None:
        """Bring in and remove what has changed; None when none of it concerns the library."""
        # There was no event about what came into a new folder before it was watched.
        self._read_excludes()
        below = [
            path
            for folder in changes.folders
            if (excludes := self._excludes_of(folder))
            and not excludes.leaves_out_below(f"{excludes.relative(str(folder))}/")
            for path in walk(folder, excludes=excludes)
        ]
        described = pictures_of([*changes.files, *changes.gone])
        source = self._source(sorted({*changes.files, *below, *described}))
        gone = [path for path in changes.gone if self._concerns(path)]
        folders = [path for path in changes.gone_folders if self._concerns(path)]
        if source is None and not gone and not folders:
            return None
        options = replace(self._watched.options, prune=False)
        report = self._ingest([] if source is None else [source], options)
        # Moved pictures are at their new place by now, and have kept their vector.
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
        """Remove the pictures of these paths, unless their whole root has gone."""
        watched = self._watched
        lost = [folder for folder in watched.folders if is_empty(folder)]
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

        def remove_points() -> None:
            store, library = watched.store, watched.library
            with store.working_on(library), closing(Journal(self._journal)) as journal:
                found = store.retrieve(library, [watched.roots.image_id(path) for path in gone])
                points = [
                    point
                    for point in found.values()
                    if not os.path.lexists(str(point.payload.get("path", "")))
                ]
                # Below a folder or inside an archive there may have been any number of pictures.
                roots = [f"{folder}{os.sep}" for folder in folders]
                roots += [f"{path}!" for path in gone if is_archive(path.name)]
                shard = watched.options.shard
                if roots:
                    gone_there = find_gone(
                        store, library, roots, shard, confirm=watched.options.confirm_absent
                    )
                    points += gone_there.points
                    for sentence in gone_there.kept:
                        watched.say(sentence)
                    report.kept += gone_there.kept
                points = [point for point in points if shard.holds(point.image_id)]
                Moves(store, library, journal, watched.library_dir, watched.rejects).remove(points)
                own = watched.library_dir
                with LibraryFiles(own).texts_if_any() if own else nullcontext() as texts:
                    delete_unused_thumbnails(store, library, journal, watched.thumbnails_dir, texts)
                report.count_removed(points)

        if watched.library in watched.store.aliases():  # else nothing could be used so far
            self._in_turn(remove_points)

    def _source(self, files: Sequence[Path]) -> Source | None:
        """The pictures and archives among these files."""
        wanted = [path for path in files if self._concerns(path) and is_wanted(path)]
        usable = [LocalFile(p) for p in wanted if is_archive(p.name) or not self._has_rendered(p)]
        if not usable:
            return None
        return files_source(
            lambda problems: iter(usable), self._watched.roots, leaves_out=self._leaves_out
        )

    def _concerns(self, path: Path) -> bool:
        """Whether the path is in a watched folder and not left out."""
        inside = self._excludes_of(path) is not None
        return inside and is_unicode(path) and not self._leaves_out(str(path))

    def _read_excludes(self) -> None:
        """What is left out of each folder, as the files of patterns say now."""
        watched = self._watched
        self._excludes = {folder: watched.excludes.below(folder) for folder in watched.folders}

    def _excludes_of(self, path: Path) -> FolderExcludes | None:
        inside = (folder for folder in self._watched.folders if path.is_relative_to(folder))
        return next((self._excludes[folder] for folder in inside), None)

    def _leaves_out(self, path: str) -> bool:
        excludes = self._excludes_of(Path(path))
        return excludes is not None and excludes.leaves_out_at(path)

    def _has_rendered(self, path: Path) -> bool:
        """Whether it is a RAW file and a rendered picture of the same name is in its folder."""
        if suffix_of(path.name) not in RAW_SUFFIXES:
            return False
        try:
            names = sorted(file.name for file in path.parent.iterdir())
        except OSError:
            return False
        wanted = [name for name in names if not self._leaves_out(str(path.parent / name))]
        return path.name not in set(without_rendered(wanted))

    def _in_turn(self, do: Callable[[], _T]) -> _T:
        """The result of `do`, called when nobody else has the library, which is then released."""
        watched = self._watched
        done = retry_while_busy(do, on_wait=watched.say)
        watched.store.release(watched.library)
        return done

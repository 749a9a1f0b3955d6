"""What changes the library: background jobs that fill it (adding folders, retrying, the sample,
another encoder's collection), and tags by hand. The only module of the page that imports `ingest`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ingest.build import BuildOptions, BuildReport, build
from ingest.collection import declared_types
from ingest.first_run import FirstRun, nothing_usable
from ingest.pipeline import IngestOptions, ingest
from ingest.read_text import ReadTextOptions, read_text
from ingest.relocate import find_relocated, relocation_offer
from ingest.report import IngestReport
from ingest.sources.base import Source, SourceError
from ingest.sources.excludes import Excludes
from ingest.sources.find import find_sources, rejected_source
from ingest.sources.roots import Roots
from ingest.tagging import Tagging, TagReport, checked_tags
from ingest.text_reader import TextReaderError, check_text_reader
from ingest.text_report import TextReport
from scenesearch.encoder.onnx import usable_cores
from scenesearch.home.rejects import Reject
from scenesearch.home.restore import is_unfinished, take_back_unfinished
from scenesearch.home.settings import Settings
from scenesearch.home.tag_changes import KeptChange, TagChange
from scenesearch.pictures.records import MetadataType
from scenesearch.runtime.files import make_private, private_folder
from scenesearch.sample.library import write_library
from ui.jobs import Job
from ui.resources import installation, job_store, leased_store, library_files, start_job
from ui.settings import page_settings

SAMPLE_SIZE = 300

# The types of the library's fields, which columns of the same names get.
Types = Mapping[str, MetadataType]

# When nothing could be used, so many of the rejected files are named.
MAX_REASONS = 5


def start_ingest(
    folders: Sequence[Path],
    *,
    manifest: Path | None = None,
    exclude: Sequence[str] = (),
    reads_text: bool = False,
    title: str,
) -> Job:
    """Add the folders' pictures, without what the patterns leave out; a manifest describes the
    pictures of a single folder, and those that it lists are added first. Then read the text in
    them, if that is wanted. Raises SourceError for a pattern that cannot be read."""
    excludes = Excludes(tuple(exclude))

    def sources(roots: Roots, declared: Types) -> list[list[Source]]:
        _refuse_moved(folders)
        plain = [find_sources(folders, roots=roots, excludes=excludes, declared=declared)]
        if manifest is None:
            return plain
        return [find_sources(folders, roots=roots, manifest=manifest, declared=declared), *plain]

    def work(job: Job) -> IngestReport:
        report = _ingest(job, sources)
        if reads_text and report.collection and not report.interrupted:
            report.text = _read_text(job)
            report.interrupted = report.text.interrupted
        return report

    return start_job(title, work)


def can_read_text() -> bool:
    """Whether what reads text in pictures is installed."""
    try:
        check_text_reader()
    except TextReaderError:
        return False
    return True


def _read_text(job: Job) -> TextReport:
    settings, files = page_settings(), library_files()

    def show(report: TextReport) -> None:
        detail = f"reading text: {report.with_text:,} of {report.read:,} pictures show some"
        job.tick(report.seen, report.total, detail)

    with job_store(job) as store, files.open_texts() as texts:
        return read_text(
            settings.library,
            store=store,
            originals=installation().originals,
            texts=texts,
            options=ReadTextOptions(
                workers=_workers(settings),
                seconds=settings.ocr_seconds,
                max_megapixels=settings.max_megapixels,
            ),
            on_progress=show,
        )


def _refuse_moved(folders: Sequence[Path]) -> None:
    """Raise SourceError where the pictures are those of a folder that is not there."""
    library, files = page_settings().library, library_files()
    found = find_relocated(
        folders, library=library, library_dir=files.folder, open_store=leased_store
    )
    for old, new in found:
        raise SourceError(relocation_offer(old, new, library))


def start_retry(rejected: Sequence[Reject]) -> Job:
    """Try the rejected pictures again, whether or not their files have changed."""
    return start_job(
        "Trying left-out pictures again",
        lambda job: _ingest(job, lambda roots, declared: [[rejected_source(rejected)]], retry=True),
    )


def start_sample() -> Job:
    """Draw the sample library and add its pictures."""

    def work(job: Job) -> IngestReport:
        folder = private_folder(page_settings().data_dir / "demo-pictures")
        job.detail = "drawing the pictures"
        write_library(folder, size=SAMPLE_SIZE, progress=lambda done: job.tick(done, SAMPLE_SIZE))
        make_private(folder)
        return _ingest(job, lambda roots, declared: [find_sources([folder], roots=roots)])

    return start_job("Loading the sample library", work)


def start_build(encoder_name: str) -> Job:
    """Build another encoder's collection beside the live one, which keeps answering searches."""

    def work(job: Job) -> BuildReport:
        settings, here = page_settings(), installation()
        with job_store(job) as store:
            encoder = here.load_encoder(encoder_name, for_ingest=True)
            here.remember_encoder(encoder)
            return build(
                settings.library,
                encoder=encoder,
                store=store,
                originals=here.originals,
                options=BuildOptions(
                    workers=_workers(settings),
                    batch_size=settings.batch_size or BuildOptions.batch_size,
                    max_megapixels=settings.max_megapixels,
                ),
                on_progress=lambda report: job.tick(report.seen, report.total),
            )

    return start_job(f"Building with encoder {encoder_name}", work)


def tag_pictures(
    image_ids: Sequence[str], *, added: Sequence[str] = (), removed: Sequence[str] = ()
) -> TagReport:
    """Add tags to these pictures, or remove them; raises SceneSearchError."""
    what = "a ticked picture" if len(image_ids) == 1 else f"{len(image_ids):,} ticked pictures"
    change = TagChange(what, checked_tags(added), checked_tags(removed))
    with _tagging() as tagging:
        return tagging.apply(tagging.changes.begin(change, image_ids))


def last_tag_change() -> KeptChange | None:
    """The change of tags that an undo would take back."""
    files = library_files()
    if not files.tag_changes.is_file():
        return None
    with files.open_tag_changes() as changes:
        return changes.last()


def undo_tags(number: int) -> TagReport | None:
    """Undo the last change of tags; None where it is another one by now."""
    with _tagging() as tagging:
        last = tagging.changes.last()
        return tagging.undo(last) if last is not None and last.number == number else None


@contextmanager
def _tagging() -> Iterator[Tagging]:
    library, files = page_settings().library, library_files()
    with leased_store() as store, files.open_tag_changes() as changes:
        yield Tagging(store, library, changes, installation().originals)


def _ingest(
    job: Job, find: Callable[[Roots, Types], list[list[Source]]], *, retry: bool = False
) -> IngestReport:
    """One run for each list of sources; the report adds them up."""
    settings, here, files = page_settings(), installation(), library_files()
    folder = FirstRun(files.folder)
    job.detail = "looking for pictures"
    with job_store(job) as store:
        if is_unfinished(files.folder):
            take_back_unfinished(store, settings.library, files.folder)
        declared = declared_types(store, settings.library)
    runs = find(Roots(files.sources), declared)
    with job_store(job) as store, files.open_rejects() as rejects:
        encoder = here.library_encoder(store, settings.library, for_ingest=True)
        here.remember_encoder(encoder)
        whole = IngestReport(settings.library, "")

        def show_counts(report: IngestReport) -> None:
            job.tick(
                whole.seen + report.seen,
                whole.seen + report.total,
                f"{report.written:,} added, {report.skipped:,} unchanged, "
                f"{report.rejected:,} left out",
            )

        for sources in runs:
            report = ingest(
                sources,
                library=settings.library,
                encoder=encoder,
                store=store,
                library_dir=files.folder,
                thumbnails_dir=files.thumbnails,
                rejects=rejects,
                options=IngestOptions(
                    workers=_workers(settings),
                    batch_size=settings.batch_size,
                    max_megapixels=settings.max_megapixels,
                    retry_rejects=retry,
                ),
                on_progress=show_counts,
            )
            whole.add(report)
            whole.interrupted = report.interrupted
            if report.interrupted:
                break
    if not whole.collection:
        folder.discard()
        if whole.rejected and not whole.interrupted:
            reasons = [f"{one.path}: {one.reason}" for one in whole.rejects[:MAX_REASONS]]
            raise SourceError(nothing_usable(whole, reasons))
    return whole


def _workers(settings: Settings) -> int:
    """All cores but one, which is left to the visitors."""
    return settings.threads or max(1, usable_cores() - 1)

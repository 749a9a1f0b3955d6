"""What several commands share: their options, the store and encoder that the settings name."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands.console import fail, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.report import IngestReport
    from scenesearch.encoder.base import Encoder
    from scenesearch.home.settings import Settings
    from scenesearch.store.base import VectorStore

LibraryOption = Annotated[
    str | None,
    typer.Option("--library", "-l", help="Name of the library; default: SCENESEARCH_LIBRARY."),
]
# The commands of `library` take the name in either place.
LibraryArgument = Annotated[
    str | None,
    typer.Argument(
        help="Name of the library, here or after --library; default: SCENESEARCH_LIBRARY.",
        metavar="LIBRARY",
    ),
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        "-e",
        help="Encoder, by name or folder; default: the library's own, for a new one "
        "SCENESEARCH_ENCODER.",
    ),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="EXPR",
        help="Filters as in the text, may be repeated: 'orientation:landscape taken:2019..2021 "
        "width:>2000 camera:canon tag:sea,boat folder:2020/* caption:boat has:caption "
        "-camera:nikon near:55.75,37.62,50km'; camera=Canon is exactly that value.",
    ),
]


def library_name(name: str) -> str:
    from scenesearch.pictures.records import check_library_name

    return check_library_name(name)


def chosen_library(argument: str | None, option: str | None, default: str) -> str:
    """The library that is named as an argument or by --library, else the default."""
    if argument is not None and option is not None and argument != option:
        fail(f"two libraries are named, {argument} and {option}: name one")
    named = argument if argument is not None else option
    return library_name(default if named is None else named)


def check_known(settings: "Settings", name: str) -> None:
    """Raise CollectionMissing where neither the data folder nor the store has the library."""
    if not settings.library_dir(name).is_dir():
        with open_store(settings, reading=True) as store:
            store.describe(name)


@contextmanager
def open_store(
    settings: "Settings",
    *,
    patient: bool = False,
    reading: bool = False,
    lock_wait_s: float = 30,
) -> Iterator["VectorStore"]:
    """The store that the settings name; a `patient` one outlives a server's restart, and says so.

    Searches do without: somebody is waiting for their answer. Who is only `reading` shows a
    server the read-only key, where there is one. An embedded library that one process keeps for
    `lock_wait_s` is busy: optimizing and deleting take long.
    """
    from scenesearch.store.open import open_store

    store = open_store(
        edge_dir=settings.edge_dir,
        qdrant_url=settings.qdrant_url,
        qdrant_api_key=settings.reader_key if reading else settings.writer_key,
        grpc_port=settings.qdrant_grpc_port,
        timeout_s=settings.qdrant_timeout_s,
        patience_s=settings.qdrant_patience_s if patient else None,
        on_wait=say if patient or settings.qdrant_url is None else None,
        lock_wait_s=lock_wait_s,
    )
    with closing(store):
        yield store


@contextmanager
def metering(settings: "Settings") -> Iterator["Meter"]:
    """Serves metrics meanwhile, where an address is set; gives what counts runs of ingest."""
    if settings.metrics_address is None:
        yield Meter()
        return
    from scenesearch.home.prometheus import REJECTS, IngestMeter, TimedEncoder, serve

    close = serve(settings.metrics_address)
    try:
        yield Meter(IngestMeter(), TimedEncoder, lambda name, n: REJECTS.labels(name).set(n))
    finally:
        close()


@dataclass(frozen=True)
class Meter:
    """Told of the counts of a run while it goes on; `timed` gives an encoder whose time counts."""

    count: "Callable[[IngestReport], None]" = lambda report: None
    timed: "Callable[[Encoder], Encoder]" = lambda encoder: encoder
    count_rejects: "Callable[[str, int], None]" = lambda library, count: None


def load_encoder(settings: "Settings", name: str | None, *, verify: bool = False) -> "Encoder":
    """The encoder of that name or folder, else the default of new libraries.

    With `verify`, every byte of its folder is checked before much work starts.
    """
    from scenesearch.encoder.registry import find_encoder

    return _load(settings, find_encoder(name or settings.encoder, settings.models_dir), verify)


def library_encoder(
    settings: "Settings",
    name: str | None,
    store: "VectorStore",
    library: str,
    *,
    verify: bool = False,
) -> "Encoder":
    """The encoder asked for, else the one whose vectors the library holds now.

    A library that is not there yet gets the default.
    """
    from scenesearch.encoder.registry import find_by_fingerprint
    from scenesearch.store.base import CollectionMissing

    if name is not None:
        return load_encoder(settings, name, verify=verify)
    try:
        spec = store.describe(library)
    except CollectionMissing:
        return load_encoder(settings, None, verify=verify)
    folder = find_by_fingerprint(
        spec.fingerprint,
        spec.encoder,
        default=settings.encoder,
        shelf=settings.models_dir,
        file=settings.known_encoders,
    )
    return _load(settings, folder, verify)


def _load(settings: "Settings", folder: "Path", verify: bool) -> "Encoder":
    from scenesearch.encoder.folder import verify_encoder
    from scenesearch.encoder.onnx import OnnxEncoder

    if verify:
        verify_encoder(folder)
    # Pictures are only encoded by ingest here, whose workers call the encoder side by side.
    return OnnxEncoder(folder, threads=settings.threads, image_threads=1, device=settings.device)

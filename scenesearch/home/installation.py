"""What the settings of an installation name, opened: its store, its encoders, its libraries' files.

    installation = Installation(Settings())
    with installation.store(reading=True) as store:
        encoder = installation.library_encoder(store, "photos")
        result = installation.searcher(encoder, store, "photos").search("a dog in the snow")

Only entry points make one: the command line, a notebook, the page.
"""

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from scenesearch.encoder.base import Encoder, EncoderError, EncoderReplaced
from scenesearch.encoder.registry import find_by_fingerprint, find_encoder, remember_encoder
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.presence import presence
from scenesearch.home.roots import SOURCES, RootsError, read_roots
from scenesearch.home.settings import Settings
from scenesearch.pictures.originals import is_url
from scenesearch.pictures.records import check_library_name
from scenesearch.search.presence import Presence
from scenesearch.store.base import CollectionMissing, CollectionSpec, VectorStore
from scenesearch.store.open import open_store

if TYPE_CHECKING:
    from scenesearch.encoder.onnx import OnnxEncoder
    from scenesearch.encoder.text_cache import TextEmbeddingCache
    from scenesearch.search.searcher import Searcher


@dataclass(frozen=True)
class Installation:
    """Opens what the settings name.

    `on_wait` is called with a sentence when something has to wait for the store.
    """

    settings: Settings
    on_wait: Callable[[str], None] | None = None

    # The store

    def open_store(
        self, *, reading: bool = False, patient: bool = False, lock_wait_s: float = 30
    ) -> VectorStore:
        """The store, for the caller to close.

        With `reading`, a server is shown the read-only key where there is one. A `patient` store
        outlives a server's restart, as an ingest must; a search must not, since a person is
        waiting for the answer. An embedded library is busy when another process keeps it for
        `lock_wait_s`; optimizing and deleting take long.
        """
        now = self.settings
        return open_store(
            edge_dir=now.edge_dir,
            qdrant_url=now.qdrant_url,
            qdrant_api_key=now.reader_key if reading else now.writer_key,
            grpc_port=now.qdrant_grpc_port,
            timeout_s=now.qdrant_timeout_s,
            patience_s=now.qdrant_patience_s if patient else None,
            on_wait=self.on_wait if patient or now.qdrant_url is None else None,
            lock_wait_s=lock_wait_s,
        )

    def store(
        self, *, reading: bool = False, patient: bool = False, lock_wait_s: float = 30
    ) -> closing[VectorStore]:
        """The same store for a `with` block, closed at its end."""
        return closing(self.open_store(reading=reading, patient=patient, lock_wait_s=lock_wait_s))

    # Encoders

    def encoder_folder(self, name: str | None = None) -> Path:
        """The folder of an encoder, given by name or folder; by default that of new libraries.
        Raises EncoderError where there is none."""
        return find_encoder(name or self.settings.encoder, self.settings.models_dir)

    def encoder_of(self, spec: CollectionSpec) -> Path:
        """The folder of the encoder whose vectors the collection holds; raises EncoderError."""
        now = self.settings
        return find_by_fingerprint(
            spec.fingerprint,
            spec.encoder,
            library=spec.library,
            default=now.encoder,
            shelf=now.models_dir,
            file=now.known_encoders,
        )

    def has_replaced(self, spec: CollectionSpec) -> bool:
        """Whether the collection's encoder is gone and another one has its name: nothing can
        search the collection any more."""
        try:
            self.encoder_of(spec)
        except EncoderReplaced:
            return True
        except EncoderError:  # it may come back
            return False
        return False

    def load_encoder(
        self,
        name: str | None = None,
        *,
        of: CollectionSpec | None = None,
        verify: bool = False,
        for_ingest: bool = False,
    ) -> "OnnxEncoder":
        """The encoder of that name or folder, or the one whose vectors a collection holds.

        With `verify`, every byte of the folder is checked before much work starts. `for_ingest`
        encodes pictures on the device of the settings, one thread a call, since the workers of an
        ingest call it side by side.
        """
        # Not needed to look at a library: 0.1 s of a command that does only that.
        from scenesearch.encoder.folder import verify_encoder
        from scenesearch.encoder.onnx import OnnxEncoder

        folder = self.encoder_folder(name) if of is None else self.encoder_of(of)
        if verify:
            verify_encoder(folder)
        return OnnxEncoder(
            folder,
            threads=self.settings.threads,
            image_threads=1 if for_ingest else None,
            device=self.settings.device if for_ingest else "cpu",
        )

    def library_encoder(
        self,
        store: VectorStore,
        library: str,
        name: str | None = None,
        *,
        verify: bool = False,
        for_ingest: bool = False,
    ) -> "OnnxEncoder":
        """The encoder of that name or folder; by default the one whose vectors the library (or
        collection) holds, and for a library that does not exist yet that of new libraries."""
        spec = None
        if name is None:
            with suppress(CollectionMissing):
                spec = store.describe(library)
        return self.load_encoder(name, of=spec, verify=verify, for_ingest=for_ingest)

    def remember_encoder(self, encoder: Encoder) -> None:
        """Note its folder, so that it can be found by its fingerprint later."""
        remember_encoder(self.settings.known_encoders, encoder.info)

    # Libraries

    def searcher(
        self,
        encoder: Encoder,
        store: VectorStore,
        library: str,
        *,
        texts: "TextEmbeddingCache | None" = None,
    ) -> "Searcher":
        """Searches a library, or one of its collections; see `Searcher` for `texts`."""
        from scenesearch.search.searcher import Searcher

        return Searcher(
            encoder,
            store,
            library,
            texts=texts,
            max_megapixels=self.settings.max_megapixels,
            presence=self.presence,
        )

    def presence(self, library: str) -> Presence:
        """Which folders of the library are away now."""
        return presence(self.files(library).sources)

    def library_name(self, name: str | None = None) -> str:
        """The library of that name, by default the settings' own; raises for a bad name."""
        return check_library_name(name or self.settings.library)

    def files(self, library: str) -> LibraryFiles:
        """What the library keeps beside its collection; raises SettingsError for a bad name."""
        return LibraryFiles(self.settings.library_dir(library))

    @property
    def originals(self) -> AllowedOriginals:
        """The originals that may be opened: below the roots of all libraries, and what the
        settings add. The roots are read again when they have changed."""
        files = sorted((self.settings.data_dir / "libraries").glob(f"*/{SOURCES}"))
        added = tuple(part.strip() for part in self.settings.originals.split(",") if part.strip())
        return _originals(tuple((file, _stamp(file)) for file in files), added)


@lru_cache(maxsize=8)
def _originals(
    files: tuple[tuple[Path, tuple[int, int, int]], ...], added: tuple[str, ...]
) -> AllowedOriginals:
    places = [part if is_url(part) else str(Path(part).expanduser().absolute()) for part in added]
    for file, _ in files:
        try:
            roots = read_roots(file)
        except RootsError:  # an ingest and `library doctor` say so; nothing of it is opened
            continue
        places += [place for place, root in roots.items() if not root.restored]
    return AllowedOriginals(places)


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns

"""Blue/green in both homes: a collection built beside the live one, promoted, rolled back."""

import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from PIL import Image

from ingest.build import BuildOptions, BuildReport, build
from ingest.pipeline import ingest
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.search.searcher import Searcher
from scenesearch.store import catalog
from scenesearch.store.ask import Ask
from scenesearch.store.base import CollectionMissing, EncoderMismatch, StoreError, VectorStore
from scenesearch.store.edge import EdgeStore
from scenesearch.store.pages import pages
from tests.conftest import ColourEncoder
from tests.integration.test_store_contract import HOMES, opened

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")

HERE = AllowedOriginals([tempfile.gettempdir()])


class WarmEncoder(ColourEncoder):
    """Another picture side: every vector has a warmer red."""

    def __init__(self) -> None:
        super().__init__("warm", "3a3a")
        self.info = replace(self.info, image_fingerprint="warm-pictures")

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        self.encoded += len(pixels)
        return self._unit(pixels.mean(axis=(2, 3)) + np.array([0.2, 0, 0], np.float32))


def colour_encoder(fingerprint: str = "c0104f", name: str = "colour") -> ColourEncoder:
    encoder = ColourEncoder(name, fingerprint)
    encoder.info = replace(encoder.info, image_fingerprint="colour-pictures")
    return encoder


@pytest.fixture(params=HOMES, ids=lambda home: home.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    with opened(request.param, tmp_path) as store:
        yield store


@pytest.fixture
def library(store: VectorStore, photos: Path, tmp_path: Path) -> str:
    """Six pictures, described by a manifest with a column of its own."""
    name = f"test{uuid.uuid4().hex[:8]}"
    manifest = tmp_path / "photos.csv"
    rows = "".join(
        f"{path.relative_to(photos).as_posix()},a {path.stem} thing,{len(path.stem)}\n"
        for path in sorted(photos.rglob("*.jpg"))
    )
    manifest.write_text("image,caption,letters\n" + rows)
    sources = find_sources([photos], roots=Roots(), manifest=manifest)
    ingest(sources, library=name, encoder=colour_encoder(), store=store)
    return name


def everything(store: VectorStore, collection: str) -> dict[str, dict[str, object]]:
    return {point.image_id: dict(point.payload) for point in store.scroll(collection)}


def test_a_build_encodes_every_original_and_carries_every_payload_over(
    store: VectorStore, library: str
) -> None:
    encoder = WarmEncoder()
    report = build(library, encoder=encoder, store=store, originals=HERE)
    assert (report.collection, report.live) == (f"{library}-warm-1", f"{library}-colour-1")
    assert (report.encoded, report.copied, report.unusable) == (6, 0, {})
    assert everything(store, report.collection) == everything(store, report.live)
    assert everything(store, report.live)["red.jpg"]["letters"] == 3
    assert [field.name for field in store.describe(report.collection).fields][-1] == "letters"
    assert store.resolve(library) == report.live
    picture = encoder.encode_images([Image.open(_path(store, library, "red.jpg"))])[0]
    written = store.retrieve(report.collection, ["red.jpg"], with_vectors=True)["red.jpg"].vector
    np.testing.assert_allclose(written, picture, atol=1e-3)


def test_another_text_side_encodes_no_picture(store: VectorStore, library: str) -> None:
    retrained = colour_encoder("7e87", "colour-2")
    report = build(library, encoder=retrained, store=store, originals=HERE)
    assert (retrained.encoded, report.encoded, report.copied) == (0, 0, 6)
    for image_id, point in store.retrieve(library, ["red.jpg"], with_vectors=True).items():
        copied = store.retrieve(report.collection, [image_id], with_vectors=True)[image_id]
        np.testing.assert_allclose(copied.vector, point.vector, atol=1e-6)
        assert copied.payload == point.payload


def test_missing_and_changed_originals_are_reported_and_left_out(
    store: VectorStore, library: str, photos: Path
) -> None:
    (photos / "red.jpg").unlink()
    Image.new("RGB", (48, 64), (1, 2, 3)).save(photos / "green.jpg")
    report = build(library, encoder=WarmEncoder(), store=store, originals=HERE)
    assert {name: one.reason for name, one in report.unusable.items()} == {
        "red.jpg": "no such file",
        "green.jpg": "changed since it was ingested",
    }
    assert report.encoded == 4
    assert store.count(report.collection) == 4


def test_a_build_that_was_stopped_goes_on_where_it_was(store: VectorStore, library: str) -> None:
    def stop_after_two(report: BuildReport) -> None:
        if report.encoded >= 2:
            raise KeyboardInterrupt

    first = build(
        library,
        encoder=WarmEncoder(),
        store=store,
        originals=HERE,
        options=BuildOptions(workers=1, batch_size=1),
        on_progress=stop_after_two,
    )
    assert first.interrupted
    assert store.describe(first.collection).state == "building"
    with pytest.raises(StoreError, match="not complete"):
        catalog.promote(store, library, first.collection)
    encoder = WarmEncoder()
    second = build(library, encoder=encoder, store=store, originals=HERE)
    assert second.collection == first.collection
    assert second.kept == first.encoded
    assert second.encoded == encoder.encoded == 6 - first.encoded
    assert store.describe(second.collection).state == "ready"


def test_a_build_follows_what_is_ingested_and_removed_meanwhile(
    store: VectorStore, library: str, photos: Path
) -> None:
    def meanwhile(report: BuildReport) -> None:
        if report.seen == report.total and not (photos / "new.jpg").exists():
            Image.new("RGB", (64, 48), (200, 120, 40)).save(photos / "new.jpg")
            sources = find_sources([photos], roots=Roots())
            ingest(sources, library=library, encoder=colour_encoder(), store=store)
            store.delete(library, ["red.jpg"])

    report = build(
        library, encoder=WarmEncoder(), store=store, originals=HERE, on_progress=meanwhile
    )
    ids = everything(store, report.collection).keys()
    assert ids == everything(store, library).keys()
    assert "new.jpg" in ids and "red.jpg" not in ids


def test_promote_moves_readers_and_rollback_moves_them_back(
    store: VectorStore, library: str
) -> None:
    old = store.resolve(library)
    new = build(library, encoder=WarmEncoder(), store=store, originals=HERE).collection
    assert catalog.promote(store, library, new) == old
    assert store.resolve(library) == new
    assert Searcher(WarmEncoder(), store, library).search("red", k=1).hits[0].image_id == "red.jpg"
    assert [(one.name, one.role) for one in catalog.collections_of(store, library)] == [
        (old, "previous"),
        (new, "live"),
    ]
    assert catalog.rollback_target(store, library) == old
    catalog.promote(store, library, old)
    assert store.resolve(library) == old
    assert catalog.rollback_target(store, library) == new  # and there again


def test_a_resident_searcher_never_mixes_two_encoders(
    store: VectorStore, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenesearch.search.searcher._ALIAS_FRESH_S", 1000.0)
    searcher = Searcher(colour_encoder(), store, library)
    new = build(library, encoder=WarmEncoder(), store=store, originals=HERE).collection
    before = searcher.search("red", k=6, exact=True)
    catalog.promote(store, library, new)
    # For a moment the one it knows is asked, with its own encoder: never the new one's vectors.
    after = searcher.search("red", k=6, exact=True)
    assert [hit.image_id for hit in after.hits] == [hit.image_id for hit in before.hits]
    expected = [hit.score for hit in before.hits]
    assert [hit.score for hit in after.hits] == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr("scenesearch.search.searcher._ALIAS_FRESH_S", -1.0)
    with pytest.raises(EncoderMismatch, match="encoder warm"):
        searcher.search("red")
    catalog.promote(store, library, catalog.rollback_target(store, library))
    assert searcher.search("red", k=1).hits[0].image_id == "red.jpg"


def test_no_read_fails_while_the_alias_moves(store: VectorStore, library: str) -> None:
    new = build(library, encoder=WarmEncoder(), store=store, originals=HERE).collection
    old, vector = store.resolve(library), colour_encoder().encode_texts(["red"])[0]
    failures: list[Exception] = []
    answered, done = [0], Event()

    def read() -> None:
        while not done.is_set():
            try:
                assert store.search(library, Ask(vector, limit=1))[0].image_id == "red.jpg"
                answered[0] += 1
            except Exception as error:
                failures.append(error)
                return

    reader = Thread(target=read)
    reader.start()
    for collection in (new, old) * 5:
        store.set_alias(library, collection)
        before = answered[0]
        while answered[0] == before and reader.is_alive():
            time.sleep(0.001)
    done.set()
    reader.join()
    assert failures == []
    assert answered[0] >= 10


def test_without_a_promote_there_is_nothing_to_go_back_to(store: VectorStore, library: str) -> None:
    with pytest.raises(StoreError, match="nothing to go back to"):
        catalog.rollback_target(store, library)


def test_a_build_does_not_touch_what_a_rollback_leads_to(store: VectorStore, library: str) -> None:
    old = store.resolve(library)
    new = build(library, encoder=WarmEncoder(), store=store, originals=HERE).collection
    catalog.promote(store, library, new)
    again = build(library, encoder=colour_encoder(), store=store, originals=HERE)
    assert again.collection == f"{library}-colour-2"
    assert store.describe(old).state == "ready"


def test_a_collection_of_another_library_is_not_promoted(store: VectorStore, library: str) -> None:
    with pytest.raises(StoreError, match=f"collection of library {library}, not other"):
        catalog.promote(store, "other", store.resolve(library))


def test_a_library_that_is_not_there_is_said(store: VectorStore) -> None:
    with pytest.raises(CollectionMissing, match="no library 'nosuch'"):
        build("nosuch", encoder=WarmEncoder(), store=store, originals=HERE)


def test_pages_hold_every_point_once(
    store: VectorStore, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenesearch.store.pages.PAGE", 4)
    read = [[point.image_id for point in page] for page in pages(store, library, payload=())]
    assert [len(page) for page in read] == [4, 2]
    assert {name for page in read for name in page} == everything(store, library).keys()


SLOW_BUILD = """
import sys, time
from pathlib import Path
import ingest.build
from ingest.build import BuildOptions, build
ingest.build._WRITE_BATCH = 1
from scenesearch.store.edge import EdgeStore
from tests.integration.test_library_build import HERE, WarmEncoder

class SlowEncoder(WarmEncoder):
    def encode_pixels(self, pixels):
        time.sleep(0.3)
        return super().encode_pixels(pixels)

def told(report):
    print(report.encoded, flush=True)

build("pets", encoder=SlowEncoder(), store=EdgeStore(Path(sys.argv[1])), originals=HERE,
      options=BuildOptions(workers=1, batch_size=1), on_progress=told)
"""


@pytest.mark.slow
def test_the_live_collection_answers_during_a_build_which_outlives_a_kill(
    tmp_path: Path, photos: Path
) -> None:
    with closing(EdgeStore(tmp_path / "edge")) as store:
        sources = find_sources([photos], roots=Roots())
        ingest(sources, library="pets", encoder=colour_encoder(), store=store)
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW_BUILD, str(tmp_path / "edge")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert child.stdout is not None
    answered = 0
    with closing(EdgeStore(tmp_path / "edge")) as store:
        for line in child.stdout:
            searcher = Searcher(colour_encoder(), store, "pets")
            assert searcher.search("green", k=1).hits[0].image_id == "green.jpg"
            store.release("pets")
            answered += 1
            if int(line) >= 3:
                break
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert answered >= 2
    with closing(EdgeStore(tmp_path / "edge")) as store:
        assert store.describe("pets").encoder == "colour"
        encoder = WarmEncoder()
        report = build("pets", encoder=encoder, store=store, originals=HERE)
        assert (report.kept + encoder.encoded, store.count(report.collection)) == (6, 6)
        assert report.kept >= 1
        catalog.promote(store, "pets", report.collection)
        found = Searcher(encoder, store, "pets").search("green", k=6, exact=True)
        assert found.hits[0].image_id == "green.jpg"


def _path(store: VectorStore, library: str, image_id: str) -> str:
    return str(store.retrieve(library, [image_id])[image_id].payload["path"])

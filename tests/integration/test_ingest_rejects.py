"""What ingest remembers of pictures it had to leave out, and when it opens them again."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import ingest.picture_reader as picture_reader
from ingest.pipeline import IngestOptions, ingest
from ingest.report import IngestReport
from ingest.sources.find import find_sources, rejected_source
from ingest.sources.roots import Roots
from scenesearch.commands.app import app
from scenesearch.home.rejects import Rejects
from scenesearch.store.edge import EdgeStore
from scenesearch.store.filters import OneOf
from tests.conftest import ColourEncoder
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def rejects(tmp_path: Path) -> Iterator[Rejects]:
    table = Rejects(tmp_path / "rejects.sqlite")
    yield table
    table.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that are opened, as they are."""
    names: list[str] = []
    real = picture_reader.open_image

    def counting(path: Path, **options: object) -> object:
        names.append(path.name)
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(picture_reader, "open_image", counting)
    return names


def run(
    folder: Path,
    store: EdgeStore,
    rejects: Rejects,
    options: IngestOptions | None = None,
    manifest: Path | None = None,
) -> IngestReport:
    return ingest(
        find_sources([folder], roots=Roots(), manifest=manifest),
        library="photos",
        encoder=ColourEncoder(),
        store=store,
        rejects=rejects,
        options=options,
    )


def test_permanent_reject_is_not_opened_again_until_its_file_changes(
    photos: Path, store: EdgeStore, rejects: Rejects, opened: list[str]
) -> None:
    whole = (photos / "red.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[:300])
    run(photos, store, rejects)
    opened.clear()
    again = run(photos, store, rejects)
    assert opened == []
    assert (again.seen, again.skipped, [r.tries for r in again.rejects]) == (7, 6, [1])
    (photos / "cut.jpg").write_bytes(whole + b"\0")
    assert run(photos, store, rejects).written == 1
    assert list(rejects.all()) == []


def test_unreadable_picture_is_tried_by_every_run(
    photos: Path, store: EdgeStore, rejects: Rejects
) -> None:
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    run(photos, store, rejects)
    run(photos, store, rejects)
    (row,) = rejects.all()
    assert (row.kind, row.tries) == ("transient", 2)
    (photos / "red.jpg").rename(photos / "nowhere.jpg")
    run(photos, store, rejects)
    assert list(rejects.all()) == []


def test_retry_opens_an_unchanged_file_with_what_its_manifest_said(
    photos: Path, store: EdgeStore, rejects: Rejects, opened: list[str]
) -> None:
    manifest = photos / "about.csv"
    manifest.write_text("image,tags,price\nred.jpg,warm,2.5\nblue.jpg,cold,3\n")
    small = IngestOptions(max_megapixels=0.001)
    assert len(run(manifest, store, rejects, small).rejects) == 2
    opened.clear()
    report = ingest(
        [rejected_source(list(rejects.all()))],
        library="photos",
        encoder=ColourEncoder(),
        store=store,
        rejects=rejects,
        options=IngestOptions(retry_rejects=True),
    )
    assert (report.written, sorted(opened)) == (2, ["blue.jpg", "red.jpg"])
    (warm,) = store.scroll("photos", where=(OneOf("tags", ("warm",)),))
    assert (warm.image_id, warm.payload["price"]) == ("red.jpg", 2.5)
    assert list(rejects.all()) == []


def test_manifest_rows_are_in_the_table_too(
    photos: Path, store: EdgeStore, rejects: Rejects
) -> None:
    manifest = photos / "about.csv"
    manifest.write_text("image\nred.jpg\nmissing.jpg\n")
    run(manifest, store, rejects)
    (row,) = rejects.all()
    assert row.path.endswith("about.csv:3")
    assert row.image_id is None


def test_mended_row_of_a_manifest_is_forgotten_and_others_rows_are_not(
    photos: Path, store: EdgeStore, rejects: Rejects, tmp_path: Path
) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("image\nred.jpg\nmissing.jpg\ngone.jpg\n")
        run(photos, store, rejects, manifest=tmp_path / name)
    (tmp_path / "a.csv").write_text("image\nred.jpg\nblue.jpg\ngone.jpg\n")
    run(photos, store, rejects, manifest=tmp_path / "a.csv")
    left = [(Path(row.path).name, row.tries) for row in rejects.all()]
    assert left == [("a.csv:4", 2), ("b.csv:3", 1), ("b.csv:4", 1)]


def test_command_lists_exports_and_retries(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(write_tiny_encoder(tmp_path / "tiny")))
    runner = CliRunner()

    def scenesearch(*words: object) -> str:
        result = runner.invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    (photos / "note.jpg").write_text("hello")
    scenesearch("ingest", photos)
    listed = scenesearch("library", "rejects")
    assert f"{photos / 'note.jpg'}: not a picture" in listed
    assert "(permanent, 1 try, " in listed
    scenesearch("library", "rejects", "--export", tmp_path / "out.csv")
    scenesearch("library", "rejects", "--export", tmp_path / "out.json")
    with (tmp_path / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["image_id"] == "note.jpg"
    assert [r["path"] for r in json.loads((tmp_path / "out.json").read_text())] == [row["path"]]
    assert json.loads(scenesearch("library", "rejects", "--kind", "transient", "--json")) == []
    report = json.loads(scenesearch("library", "rejects", "--retry", "--json"))
    assert (report["seen"], report["rejected"]) == (1, 1)
    (row_after,) = Rejects.read(tmp_path / "data" / "libraries" / "photos" / "rejects.sqlite")
    assert row_after.tries == 2


class ShortOfMemory(ColourEncoder):
    """Has room for one picture at a time, and for a red one not even then."""

    def encode_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        red, green, blue = pixels.mean(axis=(0, 2, 3))
        if len(pixels) > 1 or (red > 0.3 and green < 0 and blue < 0):
            raise MemoryError
        return super().encode_pixels(pixels)


def test_what_the_encoder_has_no_memory_for_is_a_reject_and_the_rest_is_written(
    photos: Path, store: EdgeStore, rejects: Rejects
) -> None:
    shutil.copy(photos / "red.jpg", photos / "zzz-its-twin.jpg")
    sources = [find_sources([photos], roots=Roots())]
    report = ingest(
        sources[0],
        library="photos",
        encoder=ShortOfMemory(),
        store=store,
        rejects=rejects,
        options=IngestOptions(batch_size=3),
    )
    left_out = sorted(Path(row.path).name for row in rejects.all())
    assert left_out == ["red.jpg", "zzz-its-twin.jpg"]
    assert report.written == store.count("photos") == report.total - 2
    assert {row.reason for row in rejects.all()} == {"there was not enough memory for it"}
    again = run(photos, store, rejects)
    assert (again.written, list(rejects.all())) == (2, [])


def test_a_thumbnail_or_a_hash_without_memory_is_a_reject(
    photos: Path, store: EdgeStore, rejects: Rejects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("ingest.picture_reader.perceptual_hash", none)
    report = run(photos, store, rejects)
    assert (report.written, report.rejected) == (0, report.total)

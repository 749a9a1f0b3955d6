"""Reading the text of a library: counted, resumable, once for each content. A stand-in reads."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ingest import read_text as module
from ingest.payload import TEXT_VERSION
from ingest.pipeline import IngestOptions, ingest
from ingest.read_text import ReadTextOptions, read_text
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from ingest.text_reader import Reading
from ingest.text_report import TextReport
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.picture_texts import PictureTexts
from scenesearch.store.base import CollectionSpec, StoreError
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import STANDARD_FIELDS, PayloadField
from scenesearch.store.written import WrittenLine
from tests.cli import CommandLine
from tests.conftest import COLOURS, ROOT, ColourEncoder
from tests.tiny_encoder import write_tiny_encoder

BOX = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0)


class NamedColours:
    """Reads the name of a plain picture's colour in it; white and black say nothing."""

    def __init__(self, *, seconds: float) -> None:
        self.seconds = seconds

    def read(self, picture: Image.Image) -> Reading:
        pixel = picture.resize((1, 1)).getpixel((0, 0))
        assert isinstance(pixel, tuple)
        name = min(
            COLOURS, key=lambda n: sum(abs(a - b) for a, b in zip(COLOURS[n], pixel, strict=True))
        )
        if name in ("white", "black"):
            return Reading()
        return Reading((WrittenLine(f"it is {name}", BOX, 0.9),), complete=name != "blue")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TextReader", NamedColours)


class Filled:
    """A library that can be ingested and read again."""

    def __init__(self, store: EdgeStore, encoder: ColourEncoder, photos: Path, folder: Path):
        self.store, self.encoder, self.photos, self.folder = store, encoder, photos, folder

    def ingest(self) -> None:
        ingest(
            find_sources([self.photos], roots=Roots()),
            library="photos",
            encoder=self.encoder,
            store=self.store,
            library_dir=self.folder,
        )

    def read(
        self, on_progress: Callable[[TextReport], None] | None = None, **options: Any
    ) -> TextReport:
        with LibraryFiles(self.folder).open_texts() as texts:
            return read_text(
                "photos",
                store=self.store,
                originals=AllowedOriginals([str(self.photos)]),
                texts=texts,
                options=ReadTextOptions(**options),
                on_progress=on_progress,
            )

    def texts(self, collection: str = "photos") -> dict[str, Any]:
        return {p.image_id: p.payload.get("text") for p in self.store.scroll(collection)}


@pytest.fixture
def filled(store: EdgeStore, colour_encoder: ColourEncoder, photos: Path, tmp_path: Path) -> Filled:
    library = Filled(store, colour_encoder, photos, tmp_path / "library")
    library.ingest()
    return library


SAID = {
    "red.jpg": "it is red",
    "green.jpg": "it is green",
    "blue.jpg": "it is blue",
    "trip/yellow.jpg": "it is yellow",
    "trip/white.jpg": None,
    "trip/black.jpg": None,
}


def test_each_picture_is_read_once_and_counted(filled: Filled) -> None:
    report = filled.read()
    assert (report.total, report.seen, report.read) == (6, 6, 6)
    assert (report.with_text, report.cut, report.failed) == (4, 1, 0)
    assert filled.texts() == SAID
    again = filled.read()
    assert (again.seen, again.read, again.skipped) == (6, 0, 6)


def test_a_library_has_the_fields_of_text_from_its_first_reading_on(filled: Filled) -> None:
    def declared() -> set[str]:
        return {field.name for field in filled.store.describe("photos").fields}

    assert declared().isdisjoint({"text", "text_words"})
    filled.read()
    filled.ingest()
    assert declared() >= {"text", "text_words"}


def test_lines_have_their_boxes_and_confidences_beside_them(filled: Filled) -> None:
    filled.read()
    payload = filled.store.retrieve("photos", ["red.jpg"])["red.jpg"].payload
    assert payload["text_words"] == ["it", "is", "red"]
    assert payload["text_lines"] == [{"box": list(BOX), "confidence": 0.9}]
    assert payload["text_version"] == TEXT_VERSION


def test_a_renamed_picture_and_a_copy_need_no_reading(filled: Filled, photos: Path) -> None:
    filled.read()
    (photos / "copy.jpg").write_bytes((photos / "red.jpg").read_bytes())
    (photos / "green.jpg").rename(photos / "leaf.jpg")
    filled.ingest()
    texts = filled.texts()
    assert (texts["copy.jpg"], texts["leaf.jpg"]) == ("it is red", "it is green")
    assert filled.read().read == 0


def test_a_second_ingest_keeps_the_text_and_another_content_loses_it(
    filled: Filled, photos: Path
) -> None:
    filled.read()
    (photos / "red.xmp").write_text("<x/>")  # its metadata are read anew
    Image.new("RGB", (60, 48), COLOURS["yellow"]).save(photos / "green.jpg")
    filled.ingest()
    texts = filled.texts()
    assert (texts["red.jpg"], texts["green.jpg"]) == ("it is red", None)
    report = filled.read()
    assert (report.read, filled.texts()["green.jpg"]) == (1, "it is yellow")


def test_other_collections_take_the_text_without_reading(filled: Filled) -> None:
    spec = filled.store.describe("photos")
    filled.store.create_collection("photos-other-2", spec)
    points = filled.store.scroll("photos", with_vectors=True)
    filled.store.upsert("photos-other-2", list(points))
    assert filled.read().read == 6
    assert filled.texts("photos-other-2") == SAID


def test_a_picture_that_cannot_be_opened_is_named_and_tried_again(
    filled: Filled, photos: Path
) -> None:
    data = (photos / "red.jpg").read_bytes()
    (photos / "red.jpg").unlink()
    report = filled.read()
    assert (report.failed, report.read) == (1, 5)
    assert list(report.reasons) == [str(photos / "red.jpg")]
    (photos / "red.jpg").write_bytes(data)
    assert filled.read().read == 1


def test_a_file_with_another_content_than_was_ingested_is_not_read(
    filled: Filled, photos: Path
) -> None:
    Image.new("RGB", (64, 48), COLOURS["blue"]).save(photos / "red.jpg")
    report = filled.read()
    assert report.reasons == {str(photos / "red.jpg"): "changed since it was ingested"}
    assert filled.texts()["red.jpg"] is None


def test_originals_outside_the_folders_of_the_library_are_not_opened(
    filled: Filled, tmp_path: Path
) -> None:
    with LibraryFiles(filled.folder).open_texts() as texts:
        report = read_text(
            "photos",
            store=filled.store,
            originals=AllowedOriginals([str(tmp_path / "elsewhere")]),
            texts=texts,
        )
    assert (report.read, report.failed) == (0, 6)


def test_after_ctrl_c_a_run_goes_on(filled: Filled) -> None:
    def stop(report: TextReport) -> None:
        if report.read == 2:
            raise KeyboardInterrupt

    stopped = filled.read(stop, workers=1)
    assert stopped.interrupted
    again = filled.read()
    assert not again.interrupted
    assert (again.read + again.reused, again.reused >= 2) == (6, True)  # what was read is kept
    assert filled.texts() == SAID


def test_the_text_of_a_removed_picture_is_forgotten(filled: Filled, photos: Path) -> None:
    filled.read()
    (photos / "red.jpg").unlink()
    ingest(
        find_sources([photos], roots=Roots()),
        library="photos",
        encoder=filled.encoder,
        store=filled.store,
        library_dir=filled.folder,
        options=IngestOptions(prune=True),
    )
    with LibraryFiles(filled.folder).open_texts() as texts:
        rows = texts._table.select("SELECT payload FROM texts")
        assert "it is red" not in {json.loads(row).get("text") for (row,) in rows}


def test_a_row_that_somebody_else_wrote_is_not_used(tmp_path: Path) -> None:
    with closing(PictureTexts(tmp_path / "texts.sqlite")) as texts:
        texts.add("a" * 64, 1, {"text": 7, "text_version": 1})
        texts.add("b" * 64, 1, {"text": "fine", "text_version": 1})
        assert list(texts.of(["a" * 64, "b" * 64], 1)) == ["b" * 64]
        assert texts.of(["b" * 64], 2) == {}


def test_a_column_of_the_name_is_not_overwritten(
    store: EdgeStore, colour_encoder: ColourEncoder, tmp_path: Path
) -> None:
    info = colour_encoder.info
    own = PayloadField("text", "keyword", "Text", "column of the manifest", widget="choice")
    others = list(STANDARD_FIELDS)
    spec = CollectionSpec("photos", info.name, info.fingerprint, 4, (*others, own))
    store.create_collection("photos-1", spec)
    store.set_alias("photos", "photos-1")
    with (
        closing(PictureTexts(tmp_path / "texts.sqlite")) as texts,
        pytest.raises(StoreError, match="as a column of a table"),
    ):
        read_text("photos", store=store, originals=AllowedOriginals([]), texts=texts)


# The command line


@pytest.fixture
def run(
    tmp_path: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[CommandLine]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(write_tiny_encoder(tmp_path / "tiny")))
    yield CommandLine(monkeypatch, capsys)


@pytest.fixture
def with_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra were installed."""
    monkeypatch.setattr("ingest.text_reader.find_spec", lambda name: object())


@pytest.mark.usefixtures("with_package")
def test_ingest_reads_text_where_it_is_asked_to(
    run: CommandLine, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run("ingest", photos, "--json").document
    assert "text" not in plain
    monkeypatch.setenv("SCENESEARCH_OCR", "true")
    assert "text" not in run("ingest", photos, "--no-ocr", "--json").document
    report = run("ingest", photos, "--json").document
    assert (report["skipped"], report["text"]["read"]) == (6, 6)
    found = run("search", 'text:"is red"', "--json").document
    assert [hit["payload"]["text"] for hit in found["hits"]] == ["it is red"]


@pytest.mark.usefixtures("with_package")
def test_read_text_counts_on_one_line(run: CommandLine, photos: Path) -> None:
    run("ingest", photos)
    ran = run("library", "read-text", "photos")
    assert ran.status == 0
    assert ran.out.startswith(
        "photos: text of 6 pictures read, 1 of them only in part, 4 of them show text, 0 known, "
        "0 read before, 0 failed, "
    )


def test_without_the_extra_the_message_names_it(
    run: CommandLine, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    run("ingest", photos)
    for command in (("ingest", photos, "--ocr"), ("library", "read-text")):
        ran = run(*command)
        assert ran.status == 2
        assert ran.sentence == (
            "reading text from pictures needs its extra: pip install -e '.[ocr]'"
        )


@pytest.mark.slow
def test_a_search_never_loads_what_reads_text(photos: Path, tmp_path: Path) -> None:
    encoder = write_tiny_encoder(tmp_path / "tiny")
    script = (
        "import sys\n"
        "from scenesearch.commands.app import app\n"
        f"app(['ingest', {str(photos)!r}], standalone_mode=False)\n"
        "import scenesearch\n"
        "with scenesearch.open('photos') as library:\n"
        "    library.search('no parking')\n"
        "import serve.app, ui.ingest_jobs\n"
        "print(sorted({'cv2', 'rapidocr'} & set(sys.modules)))\n"
    )
    environment = {
        **os.environ,
        "SCENESEARCH_DATA_DIR": str(tmp_path / "data"),
        "SCENESEARCH_ENCODER": str(encoder),
        "PYTHONPATH": str(ROOT),
    }
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_killed_run_goes_on(photos: Path, tmp_path: Path, run: CommandLine) -> None:
    run("ingest", photos)
    script = (
        "import time\n"
        "from ingest import read_text, text_reader\n"
        "from tests.integration.test_read_text import NamedColours\n"
        "class Slow(NamedColours):\n"
        "    def read(self, picture):\n"
        "        time.sleep(0.3)\n"
        "        return super().read(picture)\n"
        "read_text.TextReader = Slow\n"
        "text_reader.find_spec = lambda name: object()\n"
        "from scenesearch.commands.app import app\n"
        "app(['library', 'read-text', '--workers', '1'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    file = tmp_path / "data" / "libraries" / "photos" / "texts.sqlite"

    def kept() -> int:
        if not file.is_file():
            return 0
        with closing(PictureTexts(file)) as texts:
            ((count,),) = texts._table.select("SELECT count(*) FROM texts")
        return int(count)

    while kept() < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = kept()
    assert before >= 2
    store = EdgeStore(tmp_path / "data" / "edge")
    with closing(store), closing(PictureTexts(file)) as texts:
        report = read_text(
            "photos", store=store, originals=AllowedOriginals([str(photos)]), texts=texts
        )
        assert (report.read, report.reused) == (6 - before, before)
        assert {p.image_id: p.payload.get("text") for p in store.scroll("photos")} == SAID

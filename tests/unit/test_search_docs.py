"""Every example of docs/search.md, run over eight pictures whose vectors are their captions'."""

import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from ingest.sources.roots import Roots
from scenesearch.commands.app import app
from scenesearch.encoder.base import EncoderInfo, ImageInput, TextInput
from scenesearch.errors import SceneSearchError
from scenesearch.home.installation import Installation
from scenesearch.home.roots import SOURCES
from scenesearch.store import edge
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from scenesearch.store.written import WrittenLine, written_payload

PAGE = (Path(__file__).parent.parent.parent / "docs" / "search.md").read_text()

BOX = (0.1, 0.1, 0.5, 0.1, 0.5, 0.2, 0.1, 0.2)
PICTURES: dict[str, dict[str, Any]] = {
    "2020/may/beach-dog.jpg": {
        "captions": ["a dog on a beach"],
        "camera": "Canon EOS 5D",
        "taken": "2020-05-10T12:00:00Z",
        "tags": ["holiday", "sea"],
        "width": 4000,
        "orientation": "landscape",
        "location": {"lat": 55.75, "lon": 37.62},
    },
    "2020/may/beach-people.jpg": {
        "captions": ["people and a dog on a beach"],
        "camera": "Canon PowerShot",
        "taken": "2020-05-11T12:00:00Z",
        "tags": ["holiday"],
        "width": 1600,
        "orientation": "landscape",
    },
    "2021/IMG_12.jpg": {
        "captions": ["a dog in snow"],
        "camera": "Nikon D90",
        "taken": "2021-01-05T12:00:00Z",
        "width": 1200,
        "orientation": "portrait",
    },
    "2021/boats.jpg": {
        "captions": ["two boats at sunset"],
        "camera": "Nikon D90",
        "taken": "2021-07-01T20:00:00Z",
        "tags": ["boat"],
        "width": 2400,
        "orientation": "portrait",
    },
    "2019/kite.jpg": {
        "captions": ["a red kite"],
        "taken": "2019-08-01T12:00:00Z",
        "tags": ["holiday"],
        "width": 800,
        "orientation": "square",
        "phash": "f0f0f0f00f0f0f0f",
    },
    "2019/kite_small.jpg": {"captions": ["a red kite"], "phash": "f0f0f0f00f0f0f0e"},
    "2019/street.jpg": {
        "captions": ["a street at night"],
        "width": 800,
        **written_payload(
            [WrittenLine("NO PARKING", BOX, 0.99), WrittenLine("gate 12", BOX, 1)], 1
        ),
    },
    "2019/portrait.jpg": {"captions": ["a smiling woman"], "width": 900},
}
VOCABULARY = [
    *("dog", "beach", "people", "snow", "two", "boats", "sunset"),
    *("red", "kite", "street", "night", "smiling", "woman"),
]
FIELDS = (*BUILTIN_FIELDS, PayloadField("print", "boolean", "Print"))


class CaptionEncoder:
    """Texts and pictures are the words they hold; a picture's red channel numbers its caption."""

    info = EncoderInfo(
        name="caption",
        fingerprint="cap",
        dimension=len(VOCABULARY) + 1,
        full_dimension=len(VOCABULARY) + 1,
        image=ImageInput(size=(8, 8), resize="squash", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        text=TextInput(context_length=64),
        calibration={
            "method": "logistic",
            "cosine": 12.0,
            "intercept": -5.0,
            "picture_queries": {"cosine": 6.0, "intercept": -2.0},
        },
    )

    def encode_texts(self, texts: Sequence[str], *, documents: bool = False) -> NDArray[np.float32]:
        rows = np.array(
            [[text.split().count(word) for word in VOCABULARY] + [0.1] for text in texts],
            np.float32,
        )
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        return np.asarray(image.resize((8, 8)), np.float32).transpose(2, 0, 1)

    def encode_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        captions = [payload["captions"][0] for payload in PICTURES.values()]
        return self.encode_texts([captions[round(float(picture[0].max()))] for picture in pixels])

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        return self.encode_pixels(np.stack([self.preprocess(image) for image in images]))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the examples are run in, beside their library."""
    folder = tmp_path_factory.mktemp("docs")
    encoder = CaptionEncoder()
    points = []
    for number, (image_id, payload) in enumerate(PICTURES.items()):
        path = folder / image_id.replace("/", "-").replace(".jpg", ".png")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        (vector,) = encoder.encode_texts(payload["captions"])
        parts = image_id.split("/")[:-1]
        folders = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        known = {
            "path": str(path),
            "sha256": hashlib.sha256(image_id.encode()).hexdigest(),
            "folder": folders,
            **payload,
        }
        points.append(Point(image_id, vector, known))
    Image.new("RGB", (8, 8), (3, 0, 0)).save(folder / "query.png")
    Roots(folder / "data" / "libraries" / "photos" / SOURCES).add(folder)
    store = EdgeStore(folder / "data" / "edge")
    info = encoder.info
    spec = CollectionSpec("photos", info.name, info.fingerprint, info.dimension, FIELDS)
    store.create_collection("photos-caption-1", spec)
    store.set_alias("photos", "photos-caption-1")
    store.upsert("photos", points)
    with closing(store), pytest.MonkeyPatch.context() as patch:
        # Commands open and close this one, for opening takes longer than all else they do.
        patch.setattr(edge, "EdgeStore", lambda *_, **__: store)
        patch.setattr(store, "close", lambda: None)
        yield folder


@pytest.fixture
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(world)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(world / "data"))
    for name in ("LIBRARY", "QDRANT_URL", "MIN_RELEVANCE", "ENCODER"):
        monkeypatch.delenv(f"SCENESEARCH_{name}", raising=False)
    monkeypatch.setattr(Installation, "load_encoder", lambda *_, **__: CaptionEncoder())
    return world


EXAMPLES = re.findall(r"^scenesearch (search .*?)\s+# (.+)$", PAGE, re.MULTILINE)


def test_every_example_has_its_outcome_written_behind_it() -> None:
    assert len(EXAMPLES) == PAGE.count("\nscenesearch ") > 30


@pytest.mark.parametrize(("command", "outcome"), EXAMPLES, ids=[case[0] for case in EXAMPLES])
def test_an_example_finds_what_the_page_says(here: Path, command: str, outcome: str) -> None:
    result = CliRunner().invoke(app, shlex.split(command))
    if outcome.startswith("refused: "):
        assert isinstance(result.exception, SceneSearchError)
        assert outcome.removeprefix("refused: ") in str(result.exception)
        return
    assert result.exit_code == (1 if outcome == "nothing" else 0), result.output
    paths = re.findall(
        r"^ *\d+  (?: *\d+% \w+ +-?\d\.\d{3}  )?(\S+)\.png", result.stdout, re.MULTILINE
    )
    found = [Path(path).name.replace("-", "/", 1) for path in paths]
    expected = [] if outcome == "nothing" else outcome.split()
    names = [name.replace(".jpg", "").replace("/", "-").replace("-", "/", 1) for name in expected]
    assert found == names, result.output


def test_the_python_example_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})  # noqa: S102 - our own page
    assert capsys.readouterr().out == (
        "1 2020/may/beach-dog.jpg 100% strong\n2 2021/IMG_12.jpg 88% strong\n"
    )

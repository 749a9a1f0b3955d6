"""Fixtures shared by all tests: a real embedded store, a tiny encoder that knows colours."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from scenesearch.encoder.base import EncoderInfo, ImageInput, TextInput
from scenesearch.runtime.files import make_private
from scenesearch.store import edge, edge_build
from scenesearch.store.edge import EdgeStore
from scenesearch.store.edge_lock import HolderLock

os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test asserts on time: the machine may have other work.
hypothesis.settings.register_profile("scenesearch", deadline=None)
hypothesis.settings.load_profile("scenesearch")

ROOT = Path(__file__).parent.parent

# A store that is open takes 200 MB there, and a few tests have several.
_NEEDED_BYTES = 8_000_000_000

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (30, 60, 220),
    "yellow": (235, 220, 40),
    "white": (245, 245, 245),
    "black": (10, 10, 10),
}


class ColourEncoder:
    """Pictures and words become their colours: 'a red boat' lies near a red picture.

    The vector is the mean RGB around mid grey with a constant fourth part, so that no picture
    has a vector of length zero.
    """

    def __init__(self, name: str = "colour", fingerprint: str = "c0104f") -> None:
        self.info = EncoderInfo(
            name=name,
            fingerprint=fingerprint,
            dimension=4,
            full_dimension=4,
            image=ImageInput(
                size=(8, 8),
                resize="squash",
                interpolation="bilinear",
                mean=(0.5, 0.5, 0.5),
                std=(0.5, 0.5, 0.5),
            ),
            text=TextInput(context_length=16),
            calibration={"method": "logistic", "cosine": 12.0, "intercept": -9.0},
        )
        self.encoded = 0

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        pixels = np.asarray(image.resize((8, 8)), np.float32) / 127.5 - 1
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def encode_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        self.encoded += len(pixels)
        return self._unit(pixels.mean(axis=(2, 3)))

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        return self.encode_pixels(np.stack([self.preprocess(image) for image in images]))

    def encode_texts(self, texts: Sequence[str], *, documents: bool = False) -> NDArray[np.float32]:
        means = []
        for text in texts:
            named = [COLOURS[word] for word in text.lower().split() if word in COLOURS]
            means.append(np.mean(named or [(127.5, 127.5, 127.5)], axis=0) / 127.5 - 1)
        return self._unit(np.array(means, np.float32))

    @staticmethod
    def _unit(means: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors = np.concatenate([means, np.full((len(means), 1), 0.1)], axis=1)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit.astype(np.float32)


def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders of the fast tests lie in memory where that has much room: a test of the
    store waits for the disk as long as it works. Some slow ones limit the memory, so theirs do not.
    """
    memory = edge_build.MEMORY
    if (
        "not slow" in config.option.markexpr
        and "TMPDIR" not in os.environ
        and os.access(memory, os.W_OK)
        and shutil.disk_usage(memory).free > _NEEDED_BYTES
    ):
        os.environ["TMPDIR"] = tempfile.tempdir = str(memory)


def pytest_collection_finish() -> None:
    """Leave what collecting made, torch among it, out of every later search for garbage.

    The page has one after each run of its script.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def copied_shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty shard of each kind is built once, by the store itself, and copied from then on.

    Building one takes 0.15 s of processor time, a copy 0.02 s, and a thousand tests make one.
    """
    built: dict[str, Path] = {}
    build = edge_build.build_shard

    def build_or_copy(target: Path, config: Any, indexes: Any) -> None:
        described = {
            key: [
                type(index),
                *(repr(getattr(index, name)) for name in dir(index) if name[0] != "_"),
            ]
            for key, index in indexes.items()
        }
        kind = f"{config!r} {described}"
        if kind not in built:
            template = tmp_path_factory.mktemp("shards") / "shard"
            build(template, config, indexes)
            built[kind] = template
        shutil.copytree(built[kind], target, copy_function=edge_build.copy_sparse)
        make_private(target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge, "build_shard", build_or_copy)
        yield


@pytest.fixture
def colour_encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    """A real embedded store in a temporary folder."""
    edge = EdgeStore(tmp_path / "edge")
    yield edge
    edge.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than a moment for a library that another process keeps."""
    acquire = HolderLock.acquire

    def soon(lock: HolderLock, wait_s: float, *rest: Any) -> None:
        acquire(lock, min(wait_s, 0.2), *rest)

    monkeypatch.setattr(HolderLock, "acquire", soon)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one plain picture of each colour, some in a subfolder."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for number, (name, colour) in enumerate(COLOURS.items()):
        size = (64, 48) if number % 2 else (48, 64)
        place = folder if number < 3 else folder / "trip"
        Image.new("RGB", size, colour).save(place / f"{name}.jpg")
    return folder


@pytest.fixture
def shared_data() -> Path:
    """The shared data beside the project; the test is skipped where there is none."""
    shared = Path(os.environ.get("SCENESEARCH_SHARED", ROOT.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip("needs the shared photographs (SCENESEARCH_SHARED)")
    return shared


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Two threads on towers as small as those of the tests wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

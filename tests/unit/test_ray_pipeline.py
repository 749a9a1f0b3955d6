"""What the Ray engine hands to Ray Data; a stand-in runs the stages in this process, in order."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ingest.picture_reader import Changed, PictureReader
from ingest.pipeline import IngestOptions, ingest
from ingest.report import IngestReport
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder


class Dataset:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        assert rows
        self.rows = rows

    def map_batches(
        self, stage: Any, *, batch_size: int, fn_constructor_args: tuple[Any, ...] = (), **_: Any
    ) -> "Dataset":
        do: Callable[[Any], Any] = stage(*fn_constructor_args) if fn_constructor_args else stage
        done = []
        for start in range(0, len(self.rows), batch_size):
            items = [row["item"] for row in self.rows[start : start + batch_size]]
            done += [{"item": item} for item in do({"item": np.array(items, object)})["item"]]
        return Dataset(done)

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        yield from self.rows


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that were read for their hash alone."""
    ray, data = ModuleType("ray"), ModuleType("ray.data")
    context = SimpleNamespace(execution_options=SimpleNamespace())
    data.DataContext = SimpleNamespace(get_current=lambda: context)  # type: ignore[attr-defined]
    data.from_items = lambda rows, override_num_blocks: Dataset(rows)  # type: ignore[attr-defined]
    data.ActorPoolStrategy = lambda size: size  # type: ignore[attr-defined]
    ray.data = data  # type: ignore[attr-defined]
    ray.is_initialized = lambda: True  # type: ignore[attr-defined]
    ray.exceptions = SimpleNamespace(RayTaskError=LookupError, RayError=ArithmeticError)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    monkeypatch.setattr("ingest.ray_engine.memory.set_limit", lambda *_, **__: None)
    names: list[str] = []
    sha256 = PictureReader.sha256

    def counted(self: PictureReader, changed: Changed) -> Any:
        names.append(changed.candidate.record.image_id)
        return sha256(self, changed)

    monkeypatch.setattr(PictureReader, "sha256", counted)
    return names


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with closing(EdgeStore(tmp_path / "edge")) as store:
        yield store


def run(folder: Path, store: EdgeStore) -> tuple[int, int, int]:
    """How many were written, encoded, moved."""
    encoder = ColourEncoder()
    report: IngestReport = ingest(
        find_sources([folder], roots=Roots()),
        library="photos",
        encoder=encoder,
        store=store,
        options=IngestOptions(workers=2, batch_size=2, engine="ray"),
    )
    assert encoder.encoded == report.encoded
    return report.written, report.encoded, report.moved


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, each of another size."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in (1, 2, 3):
        pixels = noise.integers(0, 255, (20, 20 * number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_pictures_of_different_sizes_are_read_once(
    folder: Path, store: EdgeStore, hashed: list[str]
) -> None:
    assert run(folder, store) == (3, 3, 0)
    assert run(folder, store) == (0, 0, 0)
    assert hashed == []


def test_only_a_picture_that_may_have_a_twin_is_read_for_its_hash(
    folder: Path, store: EdgeStore, hashed: list[str]
) -> None:
    shutil.copy(folder / "2.png", folder / "copy.png")
    assert run(folder, store) == (4, 3, 0)
    assert hashed == ["2.png", "copy.png"]


def test_a_copy_and_a_move_of_what_the_library_holds_are_not_encoded(
    folder: Path, store: EdgeStore, hashed: list[str]
) -> None:
    run(folder, store)
    shutil.copy(folder / "1.png", folder / "copy.png")
    (folder / "2.png").rename(folder / "moved.png")
    Image.new("RGB", (9, 9), "red").save(folder / "new.png")
    assert run(folder, store) == (3, 1, 1)
    assert hashed == ["copy.png", "moved.png"]


def test_a_copy_of_a_picture_in_an_earlier_window_is_not_encoded(
    folder: Path, store: EdgeStore, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.ray_engine._WINDOW", 2)
    shutil.copy(folder / "1.png", folder / "4.png")
    assert run(folder, store) == (4, 3, 0)
    assert hashed == ["4.png"]


def test_pictures_that_exchange_names_over_two_windows_are_not_encoded(
    folder: Path, store: EdgeStore, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, store)
    monkeypatch.setattr("ingest.ray_engine._WINDOW", 1)
    (folder / "1.png").rename(folder / "aside")
    (folder / "3.png").rename(folder / "1.png")
    (folder / "aside").rename(folder / "3.png")
    assert run(folder, store) == (2, 0, 2)
    assert hashed == ["1.png", "3.png"]

"""The engine for a cluster, on this machine: same counts, same points as the local one.

pip install -e '.[ray]' and pytest tests/integration/test_ingest_ray.py
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingest.pipeline import IngestOptions, ingest
from ingest.ray_engine import RayError
from ingest.report import IngestReport
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.encoder.base import Encoder
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.home.rejects import Rejects
from scenesearch.store.base import VectorStore
from scenesearch.store.edge import EdgeStore
from scenesearch.store.server import ServerStore
from tests.integration.qdrant_loopback import QdrantLoopback
from tests.tiny_encoder import write_tiny_encoder

COUNTS = ["seen", "written", "skipped", "encoded", "reused", "rejected", "removed", "moved"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        yield
        ray.shutdown()


def run(
    folder: Path, store: VectorStore, encoder: Encoder, engine: str, rejects: Rejects
) -> IngestReport:
    return ingest(
        find_sources([str(folder)], roots=Roots()),
        library="photos",
        encoder=encoder,
        store=store,
        rejects=rejects,
        options=IngestOptions(workers=2, batch_size=4, engine=engine, prune=True),  # type: ignore[arg-type]
    )


def counts(report: IngestReport) -> dict[str, int]:
    return {name: asdict(report)[name] for name in COUNTS}


def alike(one: VectorStore, other: VectorStore) -> int:
    """The number of points, which must be the same in both."""
    here, there = (
        {p.image_id: p for p in store.scroll("photos", with_vectors=True)} for store in (one, other)
    )
    assert here.keys() == there.keys()
    for image_id, point in here.items():
        assert dict(point.payload) == dict(there[image_id].payload)
        assert np.allclose(point.vector, there[image_id].vector, atol=1e-5), image_id
    return len(here)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")
def test_counts_and_points_are_those_of_the_local_engine(photos: Path, tmp_path: Path) -> None:
    """Fresh, then with twins, changed, renamed, deleted and broken ones; embedded and server."""
    encoder = OnnxEncoder(write_tiny_encoder(tmp_path / "tiny"), image_threads=1)
    server = QdrantLoopback()
    homes: dict[str, VectorStore] = {
        "local": EdgeStore(tmp_path / "local"),
        "ray": EdgeStore(tmp_path / "ray"),
        "ray server": ServerStore(f"http://127.0.0.1:{server.rest_port}", grpc_port=server.port),
    }
    tables = {name: Rejects(tmp_path / f"{name}.sqlite") for name in homes}

    def everywhere() -> dict[str, int]:
        found = [
            counts(run(photos, home, encoder, name.split()[0], tables[name]))
            for name, home in homes.items()
        ]
        assert found[0] == found[1] == found[2]
        assert alike(homes["local"], homes["ray"]) == alike(homes["local"], homes["ray server"])
        return found[0]

    for number in range(10):
        shutil.copy(photos / "red.jpg", photos / f"copy{number}.jpg")
    (photos / "note.jpg").write_text("hello")
    first = everywhere()
    assert (first["written"], first["encoded"], first["rejected"]) == (16, 6, 1)
    (photos / "green.jpg").rename(photos / "renamed.jpg")
    Image.new("RGB", (40, 40), (1, 2, 3)).save(photos / "blue.jpg")
    (photos / "copy3.jpg").unlink()
    second = everywhere()
    assert (second["written"], second["encoded"]) == (2, 1)
    assert (second["removed"], second["moved"]) == (1, 1)
    assert everywhere()["skipped"] == 15
    for table in tables.values():
        assert [Path(reject.path).name for reject in table.all()] == ["note.jpg"]
        table.close()
    for home in homes.values():
        home.close()
    server.close()


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.usefixtures("cluster")
def test_real_photographs_get_the_same_points(shared_data: Path, tmp_path: Path) -> None:
    encoder = OnnxEncoder(find_encoder("lite"), image_threads=1)
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    taken = sorted((shared_data / "data" / "open-world" / "images").iterdir())
    for path in taken:
        shutil.copy(path, photographs)
    with closing(EdgeStore(tmp_path / "a")) as here, closing(EdgeStore(tmp_path / "b")) as there:
        local = run(photographs, here, encoder, "local", Rejects(tmp_path / "a.sqlite"))
        ray = run(photographs, there, encoder, "ray", Rejects(tmp_path / "b.sqlite"))
        assert counts(local) == counts(ray)
        assert alike(here, there) == local.written == len(taken)


def test_without_ray_is_one_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    encoder = OnnxEncoder(write_tiny_encoder(tmp_path / "tiny"))
    with (
        closing(EdgeStore(tmp_path / "edge")) as store,
        closing(Rejects(tmp_path / "rejects.sqlite")) as rejects,
        pytest.raises(RayError, match=r"pip install -e '\.\[ray\]'"),
    ):
        run(photos, store, encoder, "ray", rejects)

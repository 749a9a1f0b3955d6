"""What earlier versions made opens in this one.

tests/data/ keeps a library of each released format: an embedded one, and a backup. They are never
made anew; a new format adds its own beside them:

    python -m tests.integration.test_migrations 0.1
"""

import json
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingest.pipeline import ingest
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.home.backup import open_backup, write_backup
from scenesearch.home.restore import restore
from scenesearch.search.searcher import Searcher
from scenesearch.store.ask import Ask, Hybrid
from scenesearch.store.base import FORMAT_VERSION, CollectionSpec, Point, StoreError
from scenesearch.store.edge import EdgeStore
from tests.conftest import COLOURS, ColourEncoder

DATA = Path(__file__).parents[1] / "data"
VERSIONS = sorted(path.name[8:-7] for path in DATA.glob("library-*.tar.xz"))


def make(version: str) -> None:
    """A library of six plain pictures with captions, as this version writes it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos" / "trip").mkdir(parents=True)
        rows = ["image,caption,tags"]
        for number, (colour, rgb) in enumerate(COLOURS.items()):
            file = f"{'trip/' if number > 2 else ''}{colour}.jpg"
            Image.new("RGB", (64, 48), rgb).save(folder / "photos" / file)
            rows.append(f'{file},a {colour} wall,"wall;{colour}"')
        (folder / "photos.csv").write_text("\n".join(rows) + "\n")
        with closing(EdgeStore(folder / "edge")) as store:
            ingest(
                find_sources([folder / "photos"], roots=Roots(), manifest=folder / "photos.csv"),
                library="photos",
                encoder=ColourEncoder(),
                store=store,
            )
            write_backup(store, "photos", DATA / f"library-{version}.zip")
        with tarfile.open(DATA / f"library-{version}.tar.xz", "x:xz", preset=9) as archive:
            archive.add(folder / "edge", "edge")


def test_a_library_of_this_layout_is_kept() -> None:
    assert VERSIONS
    assert all((DATA / f"library-{version}.zip").exists() for version in VERSIONS)


def check(store: EdgeStore) -> None:
    """The library answers, and goes on: searches, filters, words, new pictures, new fields."""
    encoder = ColourEncoder()
    spec = store.describe("photos")
    assert (spec.encoder, spec.dimension) == ("colour", 4)
    assert store.count("photos") == 6
    searcher = Searcher(encoder, store, "photos")
    assert searcher.search("red").hits[0].image_id == "red.jpg"
    assert len(searcher.search("red folder:trip", min_relevance=0.0).hits) == 3
    assert searcher.search("tag:wall", k=10).hits
    assert dict(store.facet("photos", "folder", limit=5)) == {".": 3, "trip": 3}
    (point,) = store.retrieve("photos", ["blue.jpg"], with_vectors=True).values()
    assert point.payload["captions"] == ["a blue wall"]
    vector = encoder.encode_texts(["green"])[0]
    assert np.allclose(point.vector, encoder.encode_texts(["blue"])[0], atol=0.02)
    assert store.search("photos", Ask(vector, limit=6, rank_by=Hybrid("a blue wall")))
    store.upsert("photos", [Point("new.jpg", vector, {"captions": ["new"], "folder": "trip"})])
    assert store.count("photos") == 7


@pytest.mark.parametrize("version", VERSIONS)
def test_an_embedded_library_of_an_earlier_version_opens(version: str, tmp_path: Path) -> None:
    with tarfile.open(DATA / f"library-{version}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    with closing(EdgeStore(tmp_path / "edge")) as store:
        check(store)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_backup_of_an_earlier_version_is_restored(version: str, tmp_path: Path) -> None:
    with (
        closing(EdgeStore(tmp_path / "edge")) as store,
        open_backup(DATA / f"library-{version}.zip") as backup,
    ):
        backup.verify()
        restore(store, backup, "photos")
        check(store)


def test_a_collection_without_a_format_version_is_of_the_first() -> None:
    spec = CollectionSpec("photos", "tiny", "f00d", 4, ())
    known = spec.to_json()
    assert known.pop("layout") == FORMAT_VERSION == 1
    assert CollectionSpec.from_json(known) == spec


def test_a_newer_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    known = CollectionSpec("photos", "tiny", "f00d", 4, ()).to_json()
    with pytest.raises(
        StoreError, match=r"newer scenesearch \(format 99, this one reads up to 1\).*upgrade"
    ):
        CollectionSpec.from_json(known | {"layout": 99})

    with closing(EdgeStore(tmp_path)) as store:
        store.create_collection("photos-tiny-1", CollectionSpec("photos", "tiny", "f00d", 4, ()))
    (file,) = [path for path in tmp_path.rglob("*.json") if '"layout"' in path.read_text()]
    content = json.loads(file.read_text())
    part = next(part for part in (content, *content.values()) if "layout" in part)
    part["layout"] = 99
    file.write_text(json.dumps(content))
    with (
        closing(EdgeStore(tmp_path)) as store,
        pytest.raises(StoreError, match="newer scenesearch"),
    ):
        store.describe("photos-tiny-1")


if __name__ == "__main__":
    make(sys.argv[1])

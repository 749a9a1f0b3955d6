"""A library whose payloads a stranger wrote, past every check of ours: whatever it claims, no
command ends in a traceback, opens a file or address outside, or deletes anything outside.

    make attack
"""

import contextlib
import hashlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from starlette.testclient import TestClient

import scenesearch
from ingest.sources.roots import Roots
from ingest.watch import Watched as Folders
from ingest.watch import watch
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.errors import SceneSearchError
from scenesearch.home.allowed_originals import NOT_HERE
from scenesearch.home.installation import Installation
from scenesearch.store import payload
from scenesearch.store.base import Point
from scenesearch.store.edge import EdgeStore
from tests.cli import CommandLine
from tests.tiny_encoder import declare, write_tiny_encoder
from tests.unit.ui_world import gallery, open_page, open_view
from ui import pictures, resources
from ui.gallery.routes import gallery_app
from ui.pictures import Picture
from ui.selection import originals_zip
from ui.settings import page_settings

pytestmark = pytest.mark.slow

NAMES = (
    "image_id", "path", "sha256", "phash", "width", "height", "size_bytes", "orientation", "folder",
    "taken", "modified", "camera", "lens", "exposure_s", "aperture", "iso", "focal_length_mm",
    "location", "title", "rating", "captions", "tags", "own", "etag", "sidecar", "undeclared",
)  # fmt: skip


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def hostile_values(outside: Path, url: str) -> list[Any]:
    return [
        None, True, 0, -1, 2**62, 0.5, -1e308, "", "x", "\x00", "a\x00b", "\x1b[31m\r\n", "../../x",
        str(outside / "victim"), str(outside / "victim.jpg"), url, f"{url}.tar!x.jpg", "ab" * 32,
        "AB" * 32, "ab" * 31 + "/.", "\u202e\u2028'\"<b>{x}", "9999-12-31T23:59:59Z", "0001-01-01",
        "x" * 200_000, [], [[]], ["a", 1, None], {}, {"lat": "north"}, {"lat": 1e300, "lon": 0},
        {"lat": 5}, {"fields": 3}, {"fields": [1]}, nested(20), ["y" * 1000] * 50,
    ]  # fmt: skip


class Watched(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """An address that notes whoever asks it."""
    Watched.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Watched)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/secret.jpg"
    server.shutdown()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Pictures of somebody else, also where a thumbnail's path could be led to."""
    folder = tmp_path / "outside"
    for place in (folder, folder / str(folder)[:2]):
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "white").save(place / "victim.jpg")
    return folder


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(write_tiny_encoder(tmp_path / "tiny")))
    return CommandLine(monkeypatch, capsys)


def state_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def hostile(run: CommandLine, tmp_path: Path, outside: Path, address: str) -> int:
    """The library `photos`: two honest pictures, and each field with each hostile value."""
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (8, 8), (200, 10, 10)).save(folder / "red.png")
    Image.new("RGB", (8, 8), (10, 10, 200)).save(folder / "sub" / "blue.png")
    (folder / "away").symlink_to(outside, target_is_directory=True)
    (folder / "link.jpg.not").symlink_to(outside / "victim.jpg")
    assert run("ingest", folder).status == 0
    honest = {"sha256": "cd" * 32, "width": 8, "height": 8, "folder": ["."], "size_bytes": 9}
    rows: list[dict[str, Any]] = []
    for name in NAMES:
        for value in hostile_values(outside, address):
            where = str(folder / f"gone-{len(rows)}.jpg")  # prune and watch look at it
            rows.append(honest | {"path": where, "captions": ["red"]} | {name: value})
    rows += [dict.fromkeys(NAMES), {}]
    for path in (
        f"{folder}/../outside/victim.jpg", f"{folder}/away/victim.jpg", f"{folder}/link.jpg.not",
        f"{folder}//..//outside/victim.jpg", f"{folder}x/../outside/victim.jpg", "/etc/passwd",
        f"{folder}/a.tar!../../outside/victim.jpg", "file:///etc/passwd", "pictures/red.png",
    ):  # fmt: skip
        rows.append(honest | {"path": path, "sha256": str(outside / "victim")})
    random = np.random.default_rng(0)
    points = []
    for number, row in enumerate(rows):
        vector = random.standard_normal(3).astype(np.float32)
        row.setdefault("image_id", f"h{number}.jpg")
        points.append(Point(f"h{number}.jpg", vector / np.linalg.norm(vector), row))
    unchecked = pytest.MonkeyPatch()
    unchecked.setattr(payload, "_payload_of", lambda point: dict(point.payload))
    unchecked.setattr(payload, "payload_words", lambda row: None)
    with closing(EdgeStore(tmp_path / "edge")) as store:
        store.upsert("photos", points)
        store.flush("photos")
    unchecked.undo()
    return len(points)


def test_no_command_is_led_outside_or_to_a_traceback(
    run: CommandLine, hostile: int, tmp_path: Path, outside: Path, address: str
) -> None:
    before = state_of(outside)
    began = time.monotonic()
    other = write_tiny_encoder(tmp_path / "other")
    declare(other, name="other", image={"size": [4, 4], "resize": "squash", "mean": [0, 0, 0.5],
                                        "std": [1, 1, 1]})  # fmt: skip
    (tmp_path / "queries.csv").write_text("query_text,images\nred,red.png\nblue,sub/blue.png\n")
    folder = tmp_path / "pictures"
    commands: list[tuple[Any, ...]] = [
        ("search", "red", "-k", 1000, "--all"),
        ("search", "red", "--json", "-k", 100, "--all"),
        ("search", "red", "--sheet", "sheet.jpg", "-k", 100, "--all"),
        ("search", "red", "--why", 1, "--all"),
        ("search", "red", "--facet", "camera", "--facet", "tags", "--facet", "folder", "--all"),
        *(("search", "red", "--sort", field, "-k", 100, "--all")
          for field in ("taken", "-taken", "width", "title", "rating", "camera", "-image_id")),
        ("search", "red", "--where", "camera=x", "--all"),
        ("search", "width:>0"),
        ("search", "--like", "red.png", "--all"),
        ("library", "list"),
        ("library", "duplicates", "--library", "photos"),
        ("library", "doctor", "photos"),
        ("library", "doctor", "photos", "--mend", "--remote"),
        ("library", "backup", "photos", "--out", "photos.zip"),
        ("library", "restore", "photos.zip", "--library", "copy"),
        ("library", "build", "photos", "--encoder", other),
        ("library", "promote", "photos", "--force"),
        ("library", "rollback", "photos"),
        ("evaluate", "--library", "photos", "--queries", "queries.csv", "--out", "report"),
        ("feedback", "right", "red", "red.png", "h40.jpg", "h500.jpg"),
        ("feedback", "export", "marks"),
        ("status",),
        ("ingest", folder, "--prune", "--dry-run"),
        ("ingest", folder, "--prune"),
        ("ingest", folder),
        ("library", "doctor", "photos", "--mend"),
    ]  # fmt: skip
    for words in commands:
        ran = run(*words)  # a traceback would come out of it as the exception itself
        assert "Traceback" not in ran.err, words
        assert ran.status in (0, 1), (words, ran.err[-600:])
    with scenesearch.open("photos") as library:
        answer = library.search("red", k=200, min_relevance=0)
        assert "<figure" in answer._repr_html_()
        for hit in answer:
            with contextlib.suppress(SceneSearchError):
                library.picture(hit.image_id)
    assert state_of(outside) == before
    assert Watched.asked == []
    exported = list((tmp_path / "marks").rglob("*.jpg"))
    assert not any(path.read_bytes() == (outside / "victim.jpg").read_bytes() for path in exported)
    print(f"\n{hostile} hostile points, {len(commands)} commands: {time.monotonic() - began:.0f} s")


@pytest.fixture
def page_of_its_own(
    tmp_path: Path, hostile: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The page over the hostile library, nothing cached before."""
    tiny = OnnxEncoder(tmp_path / "tiny")
    monkeypatch.setattr(Installation, "load_encoder", lambda *_, **__: tiny)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    resources.store().close()
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.mark.usefixtures("page_of_its_own")
def test_the_page_shows_nothing_of_outside(tmp_path: Path, outside: Path, address: str) -> None:
    before = state_of(outside)
    page = open_page()
    assert not page.exception
    visitor = TestClient(gallery_app())
    portion, shown = gallery(page), 0
    while True:
        for item in portion["items"]:
            shown += 1
            for what in ("thumb", "view", "full", "download", "details"):
                asked = {"id": item["id"], "answer": gallery(page)["answer"]}
                answer = visitor.get(f"/gallery/{what}", params=asked)
                assert answer.status_code in (200, 404), (what, item["id"])
        if portion["next"] is None:
            break
        asked = {"answer": gallery(page)["answer"], "after": portion["next"]}
        portion = visitor.get("/gallery/items", params=asked).json()
    assert shown > 0
    for view in ("contents", "map", "evaluation"):
        assert not open_view(view).exception, view
    chosen = [
        Picture("v.jpg", {"path": path, "sha256": "cd" * 32})
        for path in (str(outside / "victim.jpg"), address, f"{tmp_path}/pictures/away/victim.jpg")
    ]
    for one in chosen:
        original = one.original
        with pytest.raises(SceneSearchError, match="not here"):
            original.read()
        made = pictures.thumbnail(tmp_path, "cd" * 32, original)
        assert made == pictures.placeholder()
    assert NOT_HERE.encode() in originals_zip(chosen, page_settings())
    assert isinstance(
        resources.installation().originals.allows(str(tmp_path / "pictures" / "red.png")), bool
    )
    assert resources.installation().originals.allows(str(tmp_path / "pictures" / "red.png"))
    assert state_of(outside) == before
    assert Watched.asked == []


def test_watching_removes_what_is_gone_and_nothing_else(
    run: CommandLine, hostile: int, tmp_path: Path, outside: Path
) -> None:
    before = state_of(outside)
    folder, own = tmp_path / "pictures", tmp_path / "libraries" / "photos"
    stop = threading.Event()
    told: list[str] = []
    with closing(EdgeStore(tmp_path / "edge")) as store:
        watched = Folders(
            [folder],
            Roots(own / "sources.json"),
            "photos",
            OnnxEncoder(tmp_path / "tiny"),
            store,
            told.append,
            thumbnails_dir=own / "thumbnails",
            quiet_s=0.1,
            full_scan_s=0.5,
        )
        for number, _ in enumerate(watch(watched, stop)):
            if number == 0:
                (folder / "sub" / "blue.png").unlink()
            if number >= 3:
                stop.set()
        left = {point.image_id for point in store.scroll("photos")}
    assert "red.png" in left
    assert "sub/blue.png" not in left
    assert state_of(outside) == before
    print(json.dumps({"left": len(left), "of": hostile}))

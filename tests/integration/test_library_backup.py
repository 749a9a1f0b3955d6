"""One file, out of one home and into the other; and files from strangers."""

import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from scenesearch.home.backup import Backup, BackupError, Beside, open_backup, write_backup
from scenesearch.home.feedback import FILE_NAME, Feedback, Mark
from scenesearch.home.restore import SideFiles, restore
from scenesearch.home.roots import Root
from scenesearch.home.saved_collections import SavedCollection
from scenesearch.pictures.records import GeoPoint
from scenesearch.store.ask import Ask
from scenesearch.store.base import CollectionSpec, Point, StoreUnavailable, VectorStore
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from scenesearch.store.filters import Near, OneOf
from tests.integration.test_store_contract import HOMES, opened

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")

FIELDS = (*BUILTIN_FIELDS, PayloadField("photo date.v2", "keyword", "Theirs"))
BESIDE = Beside(
    {"/pictures": Root("")},
    (Mark("a boat", "trip/boat.jpg", right=True, marked="2026-11-25T06:00:00Z"),),
    (
        SavedCollection("a boat tag:sea", "a boat tag:sea"),
        SavedCollection("Cats", "cats", 0.5, added=("blank.jpg",), excluded=("trip/boat.jpg",)),
    ),
)
PAYLOADS: dict[str, dict[str, Any]] = {
    "trip/boat.jpg": {
        "path": "/pictures/trip/boat.jpg",
        "sha256": "ab" * 32,
        "captions": ["A red boat\u2028on the water", 'they said "hello"'],
        "taken": "2021-12-31T23:59:59Z",
        "location": {"lat": 46.5, "lon": 8.25},
        "photo date.v2": "A-1",
    },
    "Ärger 🐈.jpg": {"path": "/pictures/x.jpg", "sha256": "cd" * 32, "width": 640, "tags": ["cat"]},
    "blank.jpg": {},
}


@pytest.fixture(params=HOMES, ids=lambda home: home.__name__)
def home(request: pytest.FixtureRequest) -> Callable[[Path], VectorStore]:
    found: Callable[[Path], VectorStore] = request.param
    return found


@pytest.fixture
def name() -> str:
    return f"test{uuid.uuid4().hex[:8]}"


def fill(store: VectorStore, library: str, extra: int = 0) -> dict[str, Point]:
    spec = CollectionSpec(
        library, "colour", "c0104f", 4, FIELDS, image_fingerprint="1m", created="2026-01-01"
    )
    store.create_collection(f"{library}-colour-1", spec)
    store.set_alias(library, f"{library}-colour-1")
    payloads = PAYLOADS | {f"{n}.jpg": {"width": n} for n in range(extra)}
    vectors = np.random.default_rng(0).standard_normal((len(payloads), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    points = [
        Point(image_id, vector, payload)
        for (image_id, payload), vector in zip(payloads.items(), vectors, strict=True)
    ]
    store.upsert(library, points)
    return {point.image_id: point for point in points}


@pytest.fixture
def good(tmp_path: Path) -> Iterator[Path]:
    """A sound backup of three pictures."""
    with closing(EdgeStore(tmp_path / "origin")) as store:
        fill(store, "pets")
        write_backup(store, "pets", tmp_path / "pets.zip")
    yield tmp_path / "pets.zip"


def brought_back(file: Path, store: VectorStore, library: str, **how: bool) -> str:
    with open_backup(file) as backup:
        backup.verify()
        return restore(store, backup, library, **how)


def test_there_and_back_through_both_homes(
    home: Callable[[Path], VectorStore],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scenesearch.store.pages.PAGE", 3)
    with closing(EdgeStore(tmp_path / "origin")) as embedded:
        written = fill(embedded, name, extra=5)
        spec = embedded.describe(name)
        write_backup(embedded, name, tmp_path / "there.zip", beside=BESIDE)
    with opened(home, tmp_path / "other") as store:
        assert brought_back(tmp_path / "there.zip", store, name) == f"{name}-colour-1"
        assert store.describe(name) == spec
        found = store.search(name, Ask(written["blank.jpg"].vector, limit=1))
        assert found[0].image_id == "blank.jpg"
        where = (OneOf("photo date.v2", ("A-1",)), Near("location", GeoPoint(46.5, 8.2), 30_000))
        assert store.count(name, where=where) == 1
        write_backup(store, name, tmp_path / "back.zip")
    with closing(EdgeStore(tmp_path / "again")) as embedded:
        brought_back(tmp_path / "back.zip", embedded, "renamed")
        assert embedded.describe("renamed").library == "renamed"
        back = embedded.retrieve("renamed", list(written), with_vectors=True)
        for image_id, point in written.items():
            assert back[image_id].payload == dict(point.payload) | {"image_id": image_id}
            np.testing.assert_allclose(back[image_id].vector, point.vector, atol=1e-6)


def test_a_backup_keeps_folders_feedback_and_saved_requests(good: Path, tmp_path: Path) -> None:
    with closing(EdgeStore(tmp_path / "origin")) as store:
        write_backup(store, "pets", tmp_path / "with.zip", beside=BESIDE)
    with open_backup(tmp_path / "with.zip") as backup:
        found = backup.beside()
        assert found.sources == {"/pictures": Root("", restored=True)}
        assert (found.marks, found.requests) == (BESIDE.marks, BESIDE.requests)
    with open_backup(good) as backup:
        assert backup.beside() == Beside()


@pytest.mark.parametrize(("requests", "version"), [(BESIDE.requests, 3), (BESIDE.requests[:1], 2)])
def test_only_names_of_requests_need_the_latest_version(
    good: Path, tmp_path: Path, requests: tuple[SavedCollection, ...], version: int
) -> None:
    with closing(EdgeStore(tmp_path / "origin")) as store:
        write_backup(store, "pets", tmp_path / "with.zip", beside=Beside(requests=requests))
    with zipfile.ZipFile(tmp_path / "with.zip") as archive:
        assert json.loads(archive.read("scenesearch-backup.json"))["version"] == version


def test_no_backup_is_overwritten(good: Path, tmp_path: Path) -> None:
    with (
        closing(EdgeStore(tmp_path / "origin")) as store,
        pytest.raises(BackupError, match="already exists"),
    ):
        write_backup(store, "pets", good)


def test_a_library_that_is_there_is_replaced_only_when_asked(
    home: Callable[[Path], VectorStore], good: Path, name: str, tmp_path: Path
) -> None:
    with opened(home, tmp_path / "other") as store:
        first = brought_back(good, store, name)
        with pytest.raises(BackupError, match="--replace makes the backup its live collection"):
            brought_back(good, store, name)
        second = brought_back(good, store, name, replace_live=True)
        assert (first, second) == (f"{name}-colour-1", f"{name}-colour-2")
        assert store.resolve(name) == second
        assert store.describe(name).previous == first


def test_a_restore_that_fails_leaves_nothing(
    home: Callable[[Path], VectorStore],
    good: Path,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with opened(home, tmp_path / "other") as store:
        before = store.collections()

        def full(*_: object) -> None:
            raise StoreUnavailable("the disk is full")

        monkeypatch.setattr(store, "upsert", full)
        with pytest.raises(StoreUnavailable):
            brought_back(good, store, name)
        assert store.collections() == before
        assert name not in store.aliases()


def test_what_a_killed_restore_left_makes_way_for_the_next(
    home: Callable[[Path], VectorStore], good: Path, name: str, tmp_path: Path
) -> None:
    with opened(home, tmp_path / "other") as store:
        left = CollectionSpec(name, "colour", "c0104f", 4, FIELDS, state="building")
        store.create_collection(f"{name}-colour-1", left)
        assert brought_back(good, store, name) == f"{name}-colour-1"
        assert store.count(name) == 3


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(good: Path, tmp_path: Path, share: float) -> None:
    data = good.read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(BackupError, match=r"cut\.zip is (cut short|no scenesearch backup|damaged)"):
        brought_back(cut, _never(), "pets")


def test_a_changed_byte_is_noticed_wherever_it_is(good: Path, tmp_path: Path) -> None:
    data = bytearray(good.read_bytes())
    names_at = data.rindex(b"PK\x01\x02")  # from here on the zip's own list
    for at in range(0, names_at, 37):
        changed = bytearray(data)
        changed[at] ^= 0x10
        (tmp_path / "changed.zip").write_bytes(changed)
        try:
            with open_backup(tmp_path / "changed.zip") as backup:
                backup.verify()
                points = [point for chunk in backup.chunks() for point in chunk]
        except BackupError:
            continue
        # A byte that nobody reads, such as a date in a local header.
        assert len(points) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no scenesearch backup"),
        (b"hello " * 1000, "is no scenesearch backup"),
        (b"PK\x03\x04 not really", "is cut short or damaged"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "foreign").write_bytes(content)
    with pytest.raises(BackupError, match=message):
        brought_back(tmp_path / "foreign", _never(), "pets")


def test_a_zip_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("../../etc/passwd", "root")
    with pytest.raises(BackupError, match="a zip file but no scenesearch backup"):
        brought_back(tmp_path / "foreign.zip", _never(), "pets")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="No such file"):
        brought_back(tmp_path / "none.zip", _never(), "pets")


def forged(good: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """The backup with its parts changed and every checksum right again."""
    with zipfile.ZipFile(good) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts.pop("scenesearch-backup.json"))
    change(manifest, parts)
    for chunk in manifest["chunks"]:
        for side in ("payloads", "vectors"):
            data = parts.get(chunk[side]["name"], b"-")
            chunk[side]["sha256"] = hashlib.sha256(data).hexdigest()
            chunk[side].setdefault("bytes", len(data))
    file = good.with_name("forged.zip")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        written = json.dumps(manifest).encode()
        archive.writestr("scenesearch-backup.json", written)
        archive.comment = hashlib.sha256(written).hexdigest().encode()
    return file


def lines(manifest: dict[str, Any], parts: dict[str, bytes], *rows: bytes) -> None:
    parts["points/000000.jsonl"] = b"".join(row + b"\n" for row in rows)
    del manifest["chunks"][0]["payloads"]["bytes"]


def row(manifest: dict[str, Any], parts: dict[str, bytes], **values: Any) -> None:
    last = json.dumps({"image_id": "c.jpg"} | values).encode()
    lines(manifest, parts, ROW, b'{"image_id": "b.jpg"}', last)


def array(manifest: dict[str, Any], parts: dict[str, bytes], value: np.ndarray) -> None:
    out = io.BytesIO()
    np.save(out, value, allow_pickle=True)
    parts["vectors/000000.npy"] = out.getvalue()
    del manifest["chunks"][0]["vectors"]["bytes"]


def beside(manifest: dict[str, Any], parts: dict[str, bytes], name: str, content: object) -> None:
    data = parts[name] = json.dumps(content).encode()
    declared = {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest["files"].append(declared)


UNIT = np.eye(4, dtype=np.float32)[:3]
ROW = b'{"image_id": "a.jpg"}'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, p: m.update(version=4), "written by a later version"),
        (lambda m, p: m.update(format="zip"), "format: Input should be"),
        (lambda m, p: m["spec"].update(library="../up"), "spec.library"),
        (lambda m, p: m["spec"].update(dimension=10**9), "spec.dimension"),
        (lambda m, p: m["spec"]["fields"].append({"name": 'a"b', "type": "text", "label": ""}),
         "cannot name a payload field"),
        (lambda m, p: m["chunks"][0]["payloads"].update(name="../../secret"), "payloads.name"),
        (lambda m, p: m["chunks"][0]["payloads"].update(bytes=10**12), "payloads.bytes"),
        (lambda m, p: m["chunks"][0]["payloads"].update(bytes=5), "not as long as it says"),
        (lambda m, p: m["chunks"][0].update(points=10**6), "chunks.0.points"),
        (lambda m, p: m.update(points=4), "it says 4 pictures and holds 3"),
        (lambda m, p: p.pop("vectors/000000.npy"), "vectors/000000.npy is missing"),
        (lambda m, p: lines(m, p, ROW), "has 1 lines, not 3"),
        (lambda m, p: lines(m, p, ROW, ROW, b"[]"), "line 3: no object with an image_id"),
        (lambda m, p: lines(m, p, ROW, ROW, b'{"image_id": 3}'), "line 3: no object with an"),
        (lambda m, p: lines(m, p, ROW, ROW, b'{"image_id": ""}'), "an image id is empty"),
        (lambda m, p: lines(m, p, ROW, ROW, b'{"image_id": "\\ud800"}'), "line 3: "),
        (lambda m, p: lines(m, p, ROW, ROW, b'{"image_id": "c", "x": NaN}'), "not a JSON number"),
        (lambda m, p: lines(m, p, ROW, ROW, b'{"image_id": "c", "x": ' + b"[" * 10**5),
         "line 3: "),
        (lambda m, p: lines(m, p, ROW, ROW, b'{"image_id": "c", "x": [[[[[[[[[]]]]]]]]]}'),
         "'x' is no value of that field"),
        (lambda m, p: lines(m, p, ROW, ROW, b'{"image_id": "c", "x": 9223372036854775808}'),
         "'x' is no value of that field"),
        (lambda m, p: lines(m, p, ROW, ROW, b'{"image_id": "c", "path": "\\u0000"}'),
         "'path' is no value of that field"),
        (lambda m, p: row(m, p, sha256="../../x"), "line 3: 'sha256' is no value"),
        (lambda m, p: row(m, p, width="3"), "line 3: 'width' is no value"),
        (lambda m, p: row(m, p, path=["/x"]), "line 3: 'path' is no value"),
        (lambda m, p: row(m, p, location={"lat": 91, "lon": 0}), "line 3: 'location' is no value"),
        (lambda m, p: row(m, p, own={"fields": 3}), "line 3: 'own' is no value"),
        (lambda m, p: lines(m, p, ROW, b'{"image_id": "b"}', ROW), "'a.jpg' twice"),
        (lambda m, p: m["spec"]["fields"].append(m["spec"]["fields"][0]), "declares a field twice"),
        (lambda m, p: m["spec"]["fields"][1].update(type="integer"), "is keyword, not int"),
        (lambda m, p: next(f for f in m["spec"]["fields"] if f["name"] == "captions").update(
            type="integer"), "'captions' is text, not integer"),
        (lambda m, p: m["spec"]["fields"][0].update(widget="date_range"), "is impossible for"),
        (lambda m, p: array(m, p, UNIT[:2]), r"holds float32 \(2, 4\), not float32 \(3, 4\)"),
        (lambda m, p: array(m, p, UNIT.astype(np.float64)), "holds float64"),
        (lambda m, p: array(m, p, np.array([{}, {}, {}], object)), "holds object"),
        (lambda m, p: array(m, p, 2 * UNIT), "not of unit length"),
        (lambda m, p: array(m, p, UNIT * np.nan), "not of unit length"),
        (lambda m, p: p.update({"vectors/000000.npy": b"\x93NUMPY\x01\x00" + b"x" * 168})
         or m["chunks"][0]["vectors"].pop("bytes"), "is no array"),
        (lambda m, p: beside(m, p, "../up.json", []), "files.0.name"),
        (lambda m, p: beside(m, p, "library/sources.json", {"/": 1}), r"sources\.json, /: Input"),
        (lambda m, p: beside(m, p, "library/sources.json", {"x": ""}), "neither an absolute path"),
        (lambda m, p: beside(m, p, "library/sources.json", {"/": "../"}), "no prefix of image ids"),
        (lambda m, p: beside(m, p, "library/feedback.json", [{"text": "a", "image_id": "b",
         "mark": "maybe", "marked": ""}]), r"feedback\.json, 0\.mark: Input should be"),
        (lambda m, p: beside(m, p, "library/requests.json", ["a" * 20_000]), "too long"),
    ],
)  # fmt: skip
def test_a_forged_file_is_refused_before_anything_is_written(
    good: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None], message: str
) -> None:
    with pytest.raises(BackupError, match=message) as refused:
        brought_back(forged(good, change), _never(), "pets")
    assert "\n" not in str(refused.value)


def test_a_picture_named_twice_is_refused_and_nothing_stays(good: Path, tmp_path: Path) -> None:
    twice = forged(good, lambda m, p: lines(m, p, ROW, ROW, ROW))
    with closing(EdgeStore(tmp_path / "other")) as store:
        with pytest.raises(BackupError, match=r"names the picture 'a\.jpg' twice"):
            brought_back(twice, store, "pets")
        assert store.collections() == []


def test_what_a_restore_puts_beside_is_taken_back_when_it_fails(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    beside = SideFiles(own, {"sources.json": b"{}"}, BESIDE.marks)
    with closing(EdgeStore(tmp_path / "other")) as store, open_backup(good) as backup:

        def away(*_: object) -> None:
            assert (own / "sources.json").exists()  # in place before the alias moves
            raise StoreUnavailable("the disk is full")

        monkeypatch.setattr(store, "set_alias", away)
        with pytest.raises(StoreUnavailable):
            restore(store, backup, "pets", beside=beside)
        assert store.collections() == []
        assert not (own / "sources.json").exists()
        assert not (own / "restoring.json").exists()
        with closing(Feedback(own / FILE_NAME)) as table:
            assert table.all() == []
        monkeypatch.undo()
        assert restore(store, backup, "pets", beside=beside) == "pets-colour-1"
        with closing(Feedback(own / FILE_NAME)) as table:
            assert tuple(table.all()) == BESIDE.marks
        assert (own / "sources.json").read_bytes() == b"{}"


def test_a_second_restore_of_a_library_waits_for_no_other(good: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with (
        FileLock(own / "restoring.lock"),
        closing(EdgeStore(tmp_path / "other")) as store,
        open_backup(good) as backup,
        pytest.raises(BackupError, match="being restored by another process"),
    ):
        restore(store, backup, "pets", beside=SideFiles(own))


def _never() -> Any:
    """A store that nothing may be asked of."""

    class Never:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was called")

    return Never()


def test_a_verified_backup_is_what_restore_takes(good: Path) -> None:
    with open_backup(good) as backup:
        assert isinstance(backup, Backup)
        told: list[tuple[int, int]] = []
        backup.verify(lambda done, total: told.append((done, total)))
        assert told == [(3, 3)]

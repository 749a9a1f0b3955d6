"""What the page's views stand on: uploads and paths, selection, saved requests, password, jobs."""

import csv
import io
import itertools
import os
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenesearch.errors import SceneSearchError
from scenesearch.home.ingested import Ingested
from scenesearch.home.settings import Settings
from scenesearch.runtime.events import LOGGER
from scenesearch.search import library_map
from ui import resources, uploads
from ui.access import hash_password, password_fits
from ui.jobs import Job, Jobs
from ui.kept import MOST, forget_request, read_saved, save_request
from ui.selection import Picked, originals_zip, table

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


# --- uploads and paths -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("boat.JPG", "boat.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\é clair.png", "é clair.png"),
        (".htaccess", "htaccess"),
        ("<script>.png", "_script_.png"),
        ("a\x00b\n.png", "a_b_.png"),
        ("con.png", "_con.png"),
        ("com¹.png", "_com¹.png"),
        ("NUL", "_NUL"),
        ("photo\u202egnp.exe.png", "photo_gnp.exe.png"),
        ("a\u2028b\x7f\x1b[2J.png", "a_b___2J.png"),
        ("a\udcff.png", "a_.png"),
        ("a.png\x00.exe", "a.png_.exe"),
        ("x.png. . ", "x.png"),
        ("...", "picture"),
        ("", "picture"),
    ],
)
def test_an_uploaded_name_becomes_a_harmless_file_name(given: str, kept: str) -> None:
    assert uploads.safe_name(given) == kept


def test_a_long_name_keeps_its_suffix() -> None:
    name = uploads.safe_name("x" * 500 + ".jpeg")
    assert len(name) == uploads.LONGEST_NAME
    assert name.endswith("x.jpeg")


@pytest.mark.parametrize("name", ["写" * 300 + ".png", "a." + "写" * 300, "😀" * 200, "." * 400])
def test_a_long_name_in_any_script_fits_a_file_system(name: str, tmp_path: Path) -> None:
    kept = uploads.keep_picture(name, PNG, tmp_path, most_bytes=10**6)
    assert kept.read_bytes() == PNG
    assert len(kept.name.encode()) <= uploads.LONGEST_NAME


def test_two_pictures_of_one_name_stay_two_and_the_same_one_stays_one(tmp_path: Path) -> None:
    most = 10**6
    first = uploads.keep_picture("a.png", PNG, tmp_path, most_bytes=most)
    other = uploads.keep_picture("a.png", PNG + b"x", tmp_path, most_bytes=most)
    again = uploads.keep_picture("a.png", PNG, tmp_path, most_bytes=most)
    assert (first.name, other.name, again.name) == ("a.png", "a-2.png", "a.png")
    assert first.read_bytes() == PNG


def test_a_link_in_the_upload_folder_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.png").symlink_to(target)
    kept = uploads.keep_picture("a.png", PNG, tmp_path / "own", most_bytes=10**6)
    assert kept.name == "a-2.png"
    assert not target.exists()


def test_too_large_an_upload_is_refused_with_its_size(tmp_path: Path) -> None:
    with pytest.raises(uploads.UploadError, match=r"a.png is too large: 3 MB, at most 2 MB"):
        uploads.keep_picture("a.png", bytes(3 * 10**6), tmp_path, most_bytes=2 * 10**6)
    assert list(tmp_path.iterdir()) == []


def test_folders_are_allowed_by_the_setting_else_at_home_and_only_on_localhost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    setting = os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "gone"), str(tmp_path / "b")])
    assert uploads.allowed_roots(setting, local=False) == [tmp_path / "a", tmp_path / "b"]
    assert uploads.allowed_roots("", local=False) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    assert uploads.allowed_roots("", local=True)[0] == tmp_path


@pytest.mark.parametrize("typed", ["", "/", "..", "\0", "~nobody-at-all/x", "b", "allowed-too"])
def test_a_typed_path_outside_the_allowed_folders_is_refused(tmp_path: Path, typed: str) -> None:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed-too").mkdir()
    path = str(tmp_path / typed) if typed == "allowed-too" else typed
    with pytest.raises(uploads.UploadError):
        uploads.confined(path, [tmp_path / "allowed"])


# --- selection -------------------------------------------------------------------------------


def picked(path: Path, **payload: object) -> Picked:
    return Picked(path.name, {"path": str(path), **payload})


def test_a_zip_holds_the_originals_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "originals", lambda: Ingested([str(tmp_path)]))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(folder.encode())
    chosen = [picked(tmp_path / part) for part in ("a/x.png", "b/x.png", "gone.png")]
    chosen.append(picked(Path("/elsewhere/y.png")))
    with zipfile.ZipFile(io.BytesIO(originals_zip(chosen, Settings()))) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert held["x.png"] == b"a"
    assert held["x-2.png"] == b"b"
    assert b"gone.png: no such file" in held["left out.txt"]
    assert b"/elsewhere/y.png: the original is not here" in held["left out.txt"]


def test_no_cell_of_a_table_becomes_a_formula(tmp_path: Path) -> None:
    chosen = [picked(tmp_path / "a.png", captions=['=HYPERLINK("http://x")'], camera="-1")]
    data = table(chosen, Settings())
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert rows[0]["title"] == '\'=HYPERLINK("http://x")'
    assert rows[0]["camera"] == "'-1"


def test_a_page_for_reading_gives_away_neither_paths_nor_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "originals", lambda: Ingested([str(tmp_path)]))
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 0.0), 3: "E", 4: (2.0, 21.0, 0.0)})
    original = tmp_path / "x.jpg"
    Image.new("RGB", (64, 48), "red").save(original, exif=exif, comment=b"at home")
    assert b"Exif" in original.read_bytes() and b"at home" in original.read_bytes()
    chosen = [picked(original), picked(tmp_path / "gone.png")]
    public = Settings(page_read_only=True)
    with zipfile.ZipFile(io.BytesIO(originals_zip(chosen, public))) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    copy = Image.open(io.BytesIO(held["x.jpg"]))
    assert copy.size == (64, 48) and not copy.getexif() and b"at home" not in held["x.jpg"]
    assert held["left out.txt"] == b"gone.png: it cannot be read now"
    assert str(tmp_path) not in table(chosen, public).decode("utf-8-sig")
    with_places = Settings(page_read_only=True, page_places=True)
    with zipfile.ZipFile(io.BytesIO(originals_zip(chosen, with_places))) as archive:
        assert archive.read("x.jpg") == original.read_bytes()


# --- saved requests --------------------------------------------------------------------------


def test_saved_requests_come_last_first_once_each_and_are_not_endless(tmp_path: Path) -> None:
    file = tmp_path / "library" / "saved.json"
    for number in range(MOST + 5):
        save_request(file, f"text {number}")
    save_request(file, "text 20")
    saved = read_saved(file)
    assert saved[:2] == ["text 20", f"text {MOST + 4}"]
    assert len(saved) == len(set(saved)) == MOST
    forget_request(file, "text 20")
    assert "text 20" not in read_saved(file)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1, null]"])
def test_a_damaged_file_of_requests_holds_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "saved.json").write_text(text)
    assert read_saved(tmp_path / "saved.json") == []


# --- password --------------------------------------------------------------------------------


def test_a_password_fits_its_hash_and_no_other() -> None:
    hashed = hash_password("öpen sesame")
    assert "sesame" not in hashed
    assert hash_password("öpen sesame") != hashed
    assert password_fits("öpen sesame", hashed)
    assert not password_fits("open sesame", hashed)


@pytest.mark.parametrize("hashed", ["", "plain", "a:b", "scrypt:!:!", "scrypt::", "md5:YQ==:YQ=="])
def test_of_a_damaged_hash_there_is_no_password(hashed: str) -> None:
    assert not password_fits("", hashed)


# --- jobs ------------------------------------------------------------------------------------


def test_a_job_waits_while_paused_and_ends_when_cancelled() -> None:
    jobs, begun = Jobs(), threading.Event()

    def work(job: Job) -> None:
        for number in itertools.count():
            begun.set()
            job.tick(number, 0)
            time.sleep(0.001)

    job = jobs.start("Counting", work)
    assert begun.wait(5)
    job.pause()
    jobs.wait(0.2)
    reached = job.done
    jobs.wait(0.1)
    assert (job.state, job.done) == ("paused", reached)
    job.cancel()
    jobs.wait(5)
    assert (job.state, job.done) == ("cancelled", reached)


def test_a_job_that_fails_keeps_its_sentence_and_an_error_of_ours_its_details_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)  # whoever configured the log before

    def told(job: Job) -> None:
        raise SceneSearchError("the disk is full")

    def broken(job: Job) -> None:
        raise ZeroDivisionError("secret")

    jobs = Jobs()
    job = jobs.start("Filling", told)
    jobs.wait(5)
    assert (job.state, job.error) == ("failed", "the disk is full")
    job = jobs.start("Dividing", broken)
    jobs.wait(5)
    assert job.state == "failed"
    assert "secret" not in job.error
    assert "secret" in caplog.text


# --- the map's layout ------------------------------------------------------------------------


def test_principal_components_find_the_direction_of_most_difference() -> None:
    spread = np.zeros((5, 3), np.float32)
    spread[:, 1] = [0, 1, 2, 3, 4]
    spread[:, 2] = [0, 0.1, 0, 0.1, 0]
    found = library_map.principal_components(spread)
    assert found[:, 0] == pytest.approx([-2, -1, 0, 1, 2], abs=0.02)
    assert np.abs(found[:, 1]).max() < 0.1


def test_one_picture_or_none_has_a_layout_too() -> None:
    assert library_map.principal_components(np.zeros((0, 4), np.float32)).shape == (0, 2)
    assert library_map.principal_components(np.ones((1, 4), np.float32)).tolist() == [[0, 0]]


def test_neighbours_of_two_groups_lie_apart() -> None:
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    groups = generator.normal(0, 0.01, (24, 8)).astype(np.float32)
    groups[12:, 0] += 5
    found = library_map.neighbours(groups)
    inside = np.linalg.norm(found[:12] - found[:12].mean(axis=0), axis=1).max()
    assert np.linalg.norm(found[:12].mean(axis=0) - found[12:].mean(axis=0)) > inside


def test_a_layout_is_kept_for_its_pictures_alone(tmp_path: Path) -> None:
    points = np.ones((3, 2), np.float32)
    library_map.save_map(tmp_path, "old", points)
    library_map.save_map(tmp_path, "new", points)
    assert library_map.read_map(tmp_path, "old", 3) is None
    assert library_map.read_map(tmp_path, "new", 4) is None
    kept = library_map.read_map(tmp_path, "new", 3)
    assert kept is not None and kept.tolist() == points.tolist()
    (tmp_path / "tsne-new.npy").write_bytes(b"damaged")
    assert library_map.read_map(tmp_path, "new", 3) is None


def test_the_icon_of_the_page_is_its_own() -> None:
    from ui.pictures import page_icon

    assert isinstance(page_icon(), Image.Image)

"""What visitors bring: names made safe, uploads saved, paths confined."""

import os
from pathlib import Path

import pytest

from scenesearch.home import uploads
from scenesearch.pictures import file_names

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


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
    assert file_names.safe_name(given) == kept


def test_a_long_name_keeps_its_suffix() -> None:
    name = file_names.safe_name("x" * 500 + ".jpeg")
    assert len(name) == file_names.MAX_NAME_BYTES
    assert name.endswith("x.jpeg")


@pytest.mark.parametrize("name", ["写" * 300 + ".png", "a." + "写" * 300, "😀" * 200, "." * 400])
def test_a_long_name_in_any_script_fits_a_file_system(name: str, tmp_path: Path) -> None:
    kept = uploads.save_picture(name, PNG, tmp_path, max_bytes=10**6)
    assert kept.read_bytes() == PNG
    assert len(kept.name.encode()) <= file_names.MAX_NAME_BYTES


def test_two_pictures_of_one_name_stay_two_and_the_same_one_stays_one(tmp_path: Path) -> None:
    most = 10**6
    first = uploads.save_picture("a.png", PNG, tmp_path, max_bytes=most)
    other = uploads.save_picture("a.png", PNG + b"x", tmp_path, max_bytes=most)
    again = uploads.save_picture("a.png", PNG, tmp_path, max_bytes=most)
    assert (first.name, other.name, again.name) == ("a.png", "a-2.png", "a.png")
    assert first.read_bytes() == PNG


def test_a_link_in_the_upload_folder_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.png").symlink_to(target)
    kept = uploads.save_picture("a.png", PNG, tmp_path / "own", max_bytes=10**6)
    assert kept.name == "a-2.png"
    assert not target.exists()


def test_too_large_an_upload_is_refused_with_its_size(tmp_path: Path) -> None:
    with pytest.raises(uploads.UploadError, match=r"a.png is too large: 3 MB, at most 2 MB"):
        uploads.save_picture("a.png", bytes(3 * 10**6), tmp_path, max_bytes=2 * 10**6)
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
        uploads.allowed_folder(path, [tmp_path / "allowed"])

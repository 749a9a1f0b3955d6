"""What lies in the data folder is for its owner alone, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from scenesearch.encoder.shelf import adding_to_shelf
from scenesearch.home.feedback import Feedback
from scenesearch.home.saved_collections import save_request
from scenesearch.home.uploads import save_manifest
from scenesearch.runtime.files import private_file, private_folder
from tests.cli import CommandLine
from tests.tiny_encoder import declare, write_tiny_encoder


@pytest.fixture(params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """Files and folders, of which the first has rights for others than the owner."""
    return [
        f"{path.relative_to(folder)} {stat.S_IMODE(path.lstat().st_mode):o}"
        for path in (folder, *sorted(folder.rglob("*")))
        if stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]


def without_way_in(folder: Path, data: Path) -> bool:
    """Whether nobody else gets into the folder: one on the way to it lets none in."""
    ways = [folder, *folder.parents]
    return any(not at.stat().st_mode & 0o077 for at in ways[: ways.index(data) + 1])


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "made" / "data"))
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(write_tiny_encoder(tmp_path / "tiny")))
    return CommandLine(monkeypatch, capsys)


def test_folders_are_0700_and_files_0600_whatever_writes_them(
    umask: int, photos: Path, tmp_path: Path, command: CommandLine
) -> None:
    data = tmp_path / "made" / "data"
    (photos / "broken.jpg").write_text("no picture")
    assert command("ingest", photos).status == 0
    own = data / "libraries" / "photos"
    with closing(Feedback(own / "feedback.sqlite")) as feedback:
        feedback.mark("red", ["red.jpg"], right=True)
        save_request(own / "saved-requests.json", "red")
        save_manifest("a.csv", b"image", own / "tables", max_bytes=100)
        with adding_to_shelf(data / "models", "mine", replace=False) as workplace:
            write_tiny_encoder(workplace / "mine")
        assert {"collections", "locks", "aliases"} <= {p.name for p in (data / "edge").iterdir()}
        assert {"rejects.sqlite", "sources.json", "thumbnails"} <= {p.name for p in own.iterdir()}
        assert (own / "feedback.sqlite-wal").exists()
        # The engine writes its own files, in folders that let nobody else in.
        rest = [line for line in open_to_others(data) if "/shard/" not in line]
        assert rest == []
    shards = list((data / "edge" / "collections").glob("*/shard"))
    assert shards
    assert all(without_way_in(shard, data) for shard in shards)
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o000], indirect=True)
def test_what_is_measured_and_drawn_is_for_its_owner_alone(
    umask: int, photos: Path, tmp_path: Path, command: CommandLine
) -> None:
    data = tmp_path / "made" / "data"
    assert command("ingest", photos).status == 0
    queries = tmp_path / "queries.csv"
    queries.write_text("query_text,images\nred,red.jpg\n")
    other = write_tiny_encoder(tmp_path / "other")
    declare(other, name="other", image={"size": [4, 4], "resize": "squash", "mean": [0, 0, 0.5],
                                        "std": [1, 1, 1]})  # fmt: skip
    assert command("library", "build", "photos", "--encoder", other).status == 0
    assert command("library", "promote", "photos", "--queries", queries).status in (0, 1)
    assert any((data / "libraries" / "photos" / "evaluations").rglob("summary.json"))
    assert command("demo", "--size", 20).status == 0
    assert [line for line in open_to_others(data) if "/shard/" not in line] == []


def test_a_backup_is_for_its_owner_alone_and_an_export_has_the_rights_of_the_umask(
    umask: int, photos: Path, tmp_path: Path, command: CommandLine
) -> None:
    (photos / "broken.jpg").write_text("no picture")
    assert command("ingest", photos).status == 0
    backup, export = tmp_path / "photos.zip", tmp_path / "rejects.csv"
    assert command("library", "backup", "--out", backup).status == 0
    assert command("library", "rejects", "--export", export).status == 0
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert stat.S_IMODE(export.stat().st_mode) == 0o666 & ~umask
    assert command("library", "restore", backup, "--library", "restored").status == 0
    assert (tmp_path / "made" / "data" / "libraries" / "restored" / "sources.json").exists()
    assert open_to_others(tmp_path / "made" / "data" / "libraries" / "restored") == []


def test_folders_that_are_there_keep_their_rights(umask: int, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)
    private_folder(there / "new")
    shared = there / "shared.sqlite"
    shared.touch()
    shared.chmod(0o640)
    private_file(shared)
    private_file(there / "own.sqlite")
    rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (there, *there.iterdir())}
    assert rights == {"there": 0o755, "new": 0o700, "shared.sqlite": 0o640, "own.sqlite": 0o600}


def test_a_file_where_a_folder_is_needed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        private_folder(tmp_path / "file")
    with pytest.raises(OSError):
        private_folder(tmp_path / "file" / "below")

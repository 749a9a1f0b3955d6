"""`scenesearch collections` and `watch-collection`: saved requests that follow the library."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scenesearch.commands import watch_collection
from scenesearch.home import webhook_message
from scenesearch.home.collection_watch import WatchState
from scenesearch.pictures.xmp_keywords import keywords_of
from tests.cli import CommandLine, Ran
from tests.receiver import Receiver, receiving

COLOURS = {
    "red.png": (200, 10, 10),
    "trip/orange.png": (200, 60, 10),
    "green.png": (10, 200, 10),
    "blue.png": (10, 10, 200),
}


def paint(tmp_path: Path, name: str, colour: tuple[int, int, int]) -> None:
    file = tmp_path / "photos" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(file)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """A library of two red pictures, a green and a blue one."""
    command_line = CommandLine.in_new_home(tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("SCENESEARCH_MIN_RELEVANCE", "0.5")
    for name, colour in COLOURS.items():
        paint(tmp_path, name, colour)
    assert command_line("ingest", tmp_path / "photos").status == 0
    return command_line


def pictures(run: CommandLine, name: str) -> list[str]:
    return [hit["image_id"] for hit in shown(run, name)["hits"]]


def shown(run: CommandLine, name: str) -> Any:
    return run("collections", "show", name, "--json").document


def test_a_collection_follows_the_library(run: CommandLine, tmp_path: Path) -> None:
    assert run("collections", "save", "Warm", "red").status == 0
    assert pictures(run, "Warm") == ["red.png", "trip/orange.png"]
    paint(tmp_path, "scarlet.png", (220, 0, 0))
    run("ingest", tmp_path / "photos")
    assert set(pictures(run, "Warm")) == {"red.png", "trip/orange.png", "scarlet.png"}
    ran = run("collections", "list")
    assert ran.out == "      3  Warm  red\n"


def test_pictures_are_added_and_excluded_by_hand(run: CommandLine, tmp_path: Path) -> None:
    run("collections", "save", "Warm", "red")
    assert run("collections", "add", "Warm", tmp_path / "photos" / "blue.png").status == 0
    assert run("collections", "exclude", "Warm", "red.png").sentence == (
        "1 excluded: collection Warm (1 added, 1 excluded by hand)"
    )
    assert pictures(run, "Warm") == ["blue.png", "trip/orange.png"]
    (tmp_path / "photos" / "blue.png").rename(tmp_path / "photos" / "azure.png")
    run("ingest", tmp_path / "photos")
    assert pictures(run, "Warm") == ["azure.png", "trip/orange.png"]
    run("collections", "forget", "Warm", "azure.png", "red.png")
    assert pictures(run, "Warm") == ["red.png", "trip/orange.png"]
    assert run("collections", "add", "Warm", "none.png").sentence == (
        "library photos has no picture none.png"
    )


def test_a_collection_without_a_request_holds_what_was_added(run: CommandLine) -> None:
    run("collections", "save", "Chosen")
    assert run("collections", "show", "Chosen").status == 1
    run("collections", "add", "Chosen", "green.png", "blue.png")
    assert pictures(run, "Chosen") == ["blue.png", "green.png"]


def test_a_request_with_filters_and_a_cut_of_its_own(run: CommandLine) -> None:
    run("collections", "save", "All", "red", "-w", "folder:trip", "--min-relevance", "0")
    assert pictures(run, "All") == ["trip/orange.png"]
    assert shown(run, "All")["request"] == "red folder:trip"
    run("collections", "save", "Either", "-w", "folder:trip or image_id:blue.png", "-w", "width:8")
    assert set(pictures(run, "Either")) == {"trip/orange.png", "blue.png"}


def test_collections_are_renamed_replaced_and_deleted(run: CommandLine) -> None:
    run("collections", "save", "Warm", "red")
    run("collections", "add", "Warm", "green.png")
    assert "already" in run("collections", "save", "Warm", "blue").sentence
    assert run("collections", "save", "Warm", "blue", "--replace").status == 0
    assert pictures(run, "Warm") == ["green.png", "blue.png"]
    assert run("collections", "rename", "Warm", "Cold").status == 0
    assert run("collections", "show", "Warm").sentence == "there is no collection 'Warm'"
    assert run("collections", "show", "cold").sentence.endswith("did you mean Cold?")
    assert run("collections", "delete", "Cold").status == 0
    assert run("collections", "list", "--json").document == []
    assert run("collections", "delete", "Cold").status == 2


def test_the_picture_of_a_collection_is_chosen(run: CommandLine) -> None:
    run("collections", "save", "Warm", "red")
    assert run("collections", "picture", "Warm", "trip/orange.png").status == 0
    assert shown(run, "Warm")["picture"] == "trip/orange.png"
    run("collections", "picture", "Warm")
    assert shown(run, "Warm")["picture"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["save", " "], "' ' cannot name a collection"),
        (["save", "x", "width:>wide"], "width:>wide"),
        (["save", "x", "-w", "sizes:3"], "sizes"),
        (["show", "x"], "there is no collection 'x'"),
        (["export", "x"], "say what to export"),
        (["save", "x", "dog", "-people"], "scenesearch collections save -- x dog -people"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    run: CommandLine, words: list[str], sentence: str
) -> None:
    ran = run("collections", *words)
    assert ran.status == 2
    assert sentence in ran.sentence


def test_a_backup_keeps_collections(run: CommandLine, tmp_path: Path) -> None:
    run("collections", "save", "Warm", "red")
    run("collections", "exclude", "Warm", "red.png")
    run("library", "backup", "--out", tmp_path / "b.zip")
    assert run("library", "restore", tmp_path / "b.zip", "--library", "second").status == 0
    ran = run("collections", "show", "Warm", "--library", "second", "--json")
    assert [hit["image_id"] for hit in ran.document["hits"]] == ["trip/orange.png"]


# --- export --------------------------------------------------------------------------------------


def test_a_collection_is_exported(run: CommandLine, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    run("collections", "save", "Warm", "red")
    paint(tmp_path, "trip/red.png", (200, 10, 11))
    run("ingest", photos)
    (photos / "trip" / "orange.png").unlink()
    ran = run("collections", "export", "Warm", "--zip", "w.zip", "--csv", "w.csv", "--xmp")
    assert ran.status == 0
    with zipfile.ZipFile(tmp_path / "w.zip") as archive:
        assert sorted(archive.namelist()) == ["left out.txt", "red-2.png", "red.png"]
        assert archive.read("red.png") == (photos / "red.png").read_bytes()
    with (tmp_path / "w.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image_id"] for row in rows} == {"red.png", "trip/orange.png", "trip/red.png"}
    assert keywords_of((photos / "red.png.xmp").read_bytes()) == ("Warm",)
    assert "already exists" in run("collections", "export", "Warm", "--zip", "w.zip").sentence
    run("tag", "--undo")
    assert not list(photos.rglob("*.xmp"))


def test_an_empty_collection_is_not_exported(run: CommandLine, tmp_path: Path) -> None:
    run("collections", "save", "None", "width:9")
    assert run("collections", "export", "None", "--zip", "n.zip").status == 1
    assert not (tmp_path / "n.zip").exists()


# --- watching ------------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """What the command was told: a line for each picture."""
    return tmp_path / "told"


def command(tmp_path: Path, told: Path, status: int = 0) -> str:
    script = tmp_path / "note.py"
    script.write_text(
        "import sys\n"
        f"open({str(told)!r}, 'a').write(sys.stdin.read() + repr(sys.argv[1:]) + '\\n')\n"
        f"sys.exit({status})\n"
    )
    return shlex.join([sys.executable, str(script), "$(touch shell)"])


def watch(run: CommandLine, *options: str) -> Ran:
    return run("watch-collection", "Warm", *options)


def test_only_what_is_new_is_reported(run: CommandLine, tmp_path: Path, told: Path) -> None:
    run("collections", "save", "Warm", "red")
    ran = watch(run, "--exec", command(tmp_path, told))
    assert ran.status == 1
    assert ran.sentence == "collection Warm is watched from now on: its 2 pictures are not new"
    paint(tmp_path, "$(touch shell);.png", (230, 0, 0))
    run("ingest", tmp_path / "photos")
    ran = watch(run, "--exec", command(tmp_path, told))
    assert (ran.status, ran.out) == (0, f"{tmp_path}/photos/$(touch shell);.png\n")
    line, arguments = told.read_text().splitlines()
    row = json.loads(line)
    assert (row["library"], row["collection"]) == ("photos", "Warm")
    assert row["image_id"] == "$(touch shell);.png"
    assert arguments == "['$(touch shell)']"
    assert not (tmp_path / "shell").exists()
    assert watch(run, "--exec", command(tmp_path, told)).status == 1
    assert len(told.read_text().splitlines()) == 2


def test_all_is_reported_where_it_is_asked_for(run: CommandLine) -> None:
    run("collections", "save", "Warm", "red")
    ran = watch(run, "--all", "--json")
    assert [row["image_id"] for row in ran.document] == ["red.png", "trip/orange.png"]
    assert watch(run, "--all").status == 1


def test_what_a_command_failed_on_stays_new(run: CommandLine, tmp_path: Path, told: Path) -> None:
    run("collections", "save", "Warm", "red")
    ran = watch(run, "--all", "--exec", command(tmp_path, told, status=3))
    assert ran.status == 2
    assert "ended with status 3: its pictures stay new" in ran.sentence
    assert watch(run, "--all", "--exec", command(tmp_path, told)).status == 0
    assert len(told.read_text().splitlines()) == 6


def test_what_is_renamed_or_comes_back_is_not_new(run: CommandLine, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    run("collections", "save", "Warm", "red")
    watch(run)
    (photos / "red.png").rename(photos / "crimson.png")
    run("ingest", photos)
    assert watch(run).status == 1
    run("collections", "exclude", "Warm", "crimson.png")
    assert watch(run).status == 1
    run("collections", "forget", "Warm", "crimson.png")
    assert watch(run).status == 1
    run("collections", "rename", "Warm", "Hot")
    run("collections", "rename", "Hot", "Warm")
    assert watch(run).sentence == "collection Warm has no new pictures"


def test_another_request_begins_anew(run: CommandLine) -> None:
    run("collections", "save", "Warm", "red")
    watch(run)
    run("collections", "save", "Warm", "blue", "--replace")
    ran = watch(run)
    assert ran.status == 1
    assert ran.sentence == "collection Warm has another request by now: its 1 pictures are not new"


@pytest.mark.parametrize(
    ("cmd", "sentence"),
    [
        ("no-such-program", "--exec no-such-program: there is no such program"),
        ("echo 'x", "--exec echo 'x: a quote is not closed"),
        ("", "--exec : there is no such program"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused_first(
    run: CommandLine, cmd: str, sentence: str
) -> None:
    run("collections", "save", "Warm", "red")
    assert watch(run, "--exec", cmd).sentence == sentence


def test_two_do_not_watch_one_collection(run: CommandLine, tmp_path: Path) -> None:
    run("collections", "save", "Warm", "red")
    with WatchState(tmp_path / "data" / "libraries" / "photos", "Warm").alone():
        ran = watch(run)
    assert ran.status == 2
    assert ran.sentence == "the collection Warm is being watched by another process"


def test_a_damaged_state_is_one_sentence(run: CommandLine, tmp_path: Path) -> None:
    run("collections", "save", "Warm", "red")
    watch(run)
    (file,) = (tmp_path / "data/libraries/photos/watched").glob("*.json")
    file.write_text("{}")
    assert "is damaged: delete it to begin anew" in watch(run).sentence


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """An address; what it does not accept is tried again without a pause."""
    monkeypatch.setattr(watch_collection, "_FIRST_PAUSE_S", 0.0)
    with receiving() as found:
        yield found


def test_an_address_is_told_and_what_it_does_not_accept_stays_new(
    run: CommandLine, tmp_path: Path, receiver: Receiver
) -> None:
    run("collections", "save", "Warm", "red")
    (tmp_path / "secret").write_text("a secret of both sides\n")
    options = ("--all", "--post", receiver.url, "--secret-file", str(tmp_path / "secret"))
    receiver.status = 503
    ran = watch(run, *options)
    assert ran.status == 2
    assert "answers with status 503: its pictures stay new" in ran.sentence
    receiver.status = 204
    assert watch(run, *options).status == 0
    assert watch(run, *options).status == 1
    assert len(receiver.bodies) == 5  # four that were refused
    assert len(set(receiver.deliveries)) == 1
    assert receiver.is_signed("a secret of both sides")
    document = receiver.documents[-1]
    assert (document["library"], document["collection"]) == ("photos", "Warm")
    assert [one["image_id"] for one in document["pictures"]] == ["red.png", "trip/orange.png"]


def test_what_an_address_was_told_is_remembered_message_by_message(
    run: CommandLine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_message, "MAX_PICTURES", 1)
    run("collections", "save", "Warm", "red")
    receiver.before = lambda: setattr(receiver, "status", 500 if len(receiver.bodies) > 1 else 200)
    assert watch(run, "--all", "--post", receiver.url).status == 2
    told = len(receiver.told)
    receiver.before = lambda: None
    receiver.status = 200
    assert watch(run, "--post", receiver.url).status == 0
    assert receiver.told[0] == "red.png"
    assert set(receiver.told[1:]) == {"trip/orange.png"}
    assert len(receiver.told) == told + 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--post", "example.org"], "--post: give an address that begins with http://"),
        (["--post", "http://a:b@example.org/"], "--post: the address must not have a user"),
        (["--secret-file", "secret"], "--secret-file needs --post"),
        (["--post", "http://127.0.0.1/", "--secret-file", "none"], "none: No such file"),
        (["--post", "http://127.0.0.1/", "--secret-file", "short"], "has 16 to 200 characters"),
    ],
)
def test_an_address_that_cannot_be_called_is_refused_first(
    run: CommandLine, tmp_path: Path, options: list[str], sentence: str
) -> None:
    (tmp_path / "short").write_text("short")
    run("collections", "save", "Warm", "red")
    ran = watch(run, *options)
    assert ran.status == 2
    assert sentence in ran.sentence


@pytest.mark.slow
def test_a_killed_watcher_reports_again(run: CommandLine, tmp_path: Path, told: Path) -> None:
    """It is killed after the command has run, and before that is written down."""
    run("collections", "save", "Warm", "red")
    script = tmp_path / "kill.py"
    script.write_text(
        "import os, signal, sys\n"
        f"open({str(told)!r}, 'a').write(sys.stdin.read())\n"
        "os.kill(os.getppid(), signal.SIGKILL)\n"
    )
    words = [sys.executable, "-m", "scenesearch.cli", "watch-collection", "Warm", "--all"]
    killer = shlex.join([sys.executable, str(script)])
    assert subprocess.run([*words, "--exec", killer], check=False).returncode == -signal.SIGKILL
    assert watch(run, "--all", "--exec", command(tmp_path, told)).status == 0
    assert len(told.read_text().splitlines()) == 2 + 3


@pytest.mark.slow
def test_it_looks_again_until_it_is_stopped(run: CommandLine, tmp_path: Path, told: Path) -> None:
    run("collections", "save", "Warm", "red")
    words = [sys.executable, "-m", "scenesearch.cli", "watch-collection", "Warm", "--every", "1"]
    with subprocess.Popen(
        [*words, "--exec", command(tmp_path, told)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "watched from now on" not in process.stderr.readline():
            assert process.poll() is None
        paint(tmp_path, "scarlet.png", (230, 0, 0))
        run("ingest", tmp_path / "photos")
        deadline = time.monotonic() + 60
        while not told.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0
    assert json.loads(told.read_text().splitlines()[0])["image_id"] == "scarlet.png"

"""`scenesearch library`: build, promote, roll back, list, prune, as a person drives them."""

import hashlib
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from PIL import Image

from scenesearch.commands.app import library_app
from scenesearch.store.edge import EdgeStore
from tests.cli import CommandLine
from tests.tiny_encoder import WORD_VECTORS, declare, write_tiny_encoder

MIXTURES = {
    "red": (200, 10, 10),
    "green": (10, 200, 10),
    "blue": (10, 10, 200),
    "red green": (200, 200, 10),
    "green blue": (10, 200, 200),
    "red blue": (200, 10, 200),
    "red red green": (200, 100, 10),
    "green green blue": (10, 200, 100),
}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    return CommandLine.in_new_home(tmp_path, monkeypatch, capsys)


@pytest.fixture
def library(run: CommandLine, tmp_path: Path) -> Path:
    """Eight mixtures of colours under `photos`, and queries that ask for each; its folder."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = ["query_text,images"]
    for words, colour in MIXTURES.items():
        name = f"{words.replace(' ', '-')}.png"
        Image.new("RGB", (8, 8), colour).save(folder / name)
        rows.append(f"{words},{name}")
    (tmp_path / "queries.csv").write_text("\n".join(rows) + "\n")
    assert run("ingest", folder).status == 0
    return folder


def retold_encoder(folder: Path) -> Path:
    """Other words before each text: pictures have the same vectors."""
    write_tiny_encoder(folder)
    declare(folder, name="retold", text={"context_length": 6, "prefix": "photo "})
    return folder


def confused_encoder(folder: Path) -> Path:
    """Takes red for green, green for blue, blue for red."""
    write_tiny_encoder(folder)
    model = onnx.load(folder / "text.onnx")
    wrong = WORD_VECTORS[[0, 1, 3, 4, 2]].astype(np.float32)
    words = next(i for i, t in enumerate(model.graph.initializer) if t.name == "words")
    model.graph.initializer[words].CopyFrom(onnx.numpy_helper.from_array(wrong, "words"))
    onnx.save(model, folder / "text.onnx")
    declare(folder, name="confused")
    return folder


@pytest.mark.slow
def test_a_better_told_encoder_goes_live_and_back(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    built = run("library", "build", "--encoder", retold_encoder(tmp_path / "retold"), "--json")
    assert {key: built.document[key] for key in ("collection", "encoded", "copied", "live")} == {
        "collection": "photos-retold-1",
        "encoded": 0,
        "copied": 8,
        "live": "photos-tiny-1",
    }
    unproven = run("library", "promote")
    assert unproven.status == 2
    assert "photos-tiny-1 has none: give --queries FILE" in unproven.sentence

    promoted = run("library", "promote", "--queries", "queries.csv")
    assert promoted.status == 0
    printed = promoted.out.splitlines()
    assert printed[:2] == ["A: photos-tiny-1, which was live", "B: photos-retold-1, the new one"]
    assert printed[3].split() == ["A", "B", "B", "-", "A", "95", "%", "interval", "p"]
    row = next(line.split() for line in printed if line.strip().startswith("recall@1 "))
    assert row == ["recall@1", "1.000", "1.000", "+0.000", "+0.000", "to", "+0.000", "1.0000"]
    assert printed[-2].startswith("no difference")
    assert printed[-1] == (
        "photos-retold-1 is live; `scenesearch library rollback photos` goes back to photos-tiny-1"
    )
    # The default encoder is another one: the library's own is taken for searching and ingesting.
    assert run("search", "red", "--json", "--min-relevance", 0).document["encoder"] == "retold"
    assert run("ingest", library, "--json").document["skipped"] == 8
    assert "encoder retold" in run("search", "red", "--encoder", "lite").sentence

    listed = run("library", "list", "--json").document["collections"]
    assert [(row["collection"], row["state"], row["pictures"]) for row in listed] == [
        ("photos-tiny-1", "previous", 8),
        ("photos-retold-1", "live", 8),
    ]
    assert listed[0]["evaluation"]["metrics"]["recall@1"] == 1
    table = run("library", "list").out.splitlines()
    assert table[0].split() == [
        "library",
        "collection",
        "state",
        "encoder",
        "pictures",
        "Recall@10",
    ]
    assert table[2].split("  ")[-1].strip() == "100.0 % (8 queries, gallery of 8)"

    assert "photos-tiny-1 is live again" in run("library", "rollback").out
    assert run("search", "red", "--json", "--min-relevance", 0).document["encoder"] == "tiny"
    # Both have kept evaluations of the same pictures by now.
    assert run("library", "promote", "-c", "photos-retold-1").status == 0


@pytest.mark.slow
def test_what_is_kept_of_an_evaluation_does_not_tell_where_the_queries_lie(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    queries = tmp_path / "of the operator" / "queries.csv"
    queries.parent.mkdir()
    text = Path("queries.csv").read_text().splitlines()
    told = [f"{text[0]},mood", *(f"{line},glad" for line in text[1:])]  # a column that is not read
    queries.write_text("\n".join(told) + "\n")
    run("library", "build", "--encoder", retold_encoder(tmp_path / "retold"))
    assert run("library", "promote", "--queries", queries).status == 0
    kept = list((tmp_path / "data" / "libraries" / "photos").rglob("summary.json"))
    assert kept
    for file in kept:
        assert "queries.csv: nothing is read from the columns mood" in file.read_text()
        assert "of the operator" not in file.read_text()
        assert "of the operator" not in file.with_name("report.html").read_text()


@pytest.mark.slow
def test_a_worse_encoder_is_not_promoted_but_by_force(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    run("library", "build", "--encoder", confused_encoder(tmp_path / "confused"))
    refused = run("library", "promote", "--queries", "queries.csv")
    assert refused.status == 1
    assert "it answers worse than the live one: recall@1 1.000 -> 0.000" in refused.err
    assert refused.sentence.startswith("photos-confused-1 is not promoted, photos-tiny-1 stays")
    assert run("library", "status", "--json").document["collection"] == "photos-tiny-1"
    assert run("library", "promote", "--force").status == 0
    assert run("library", "status", "--json").document["collection"] == "photos-confused-1"


@pytest.mark.slow
def test_a_requirement_that_is_not_met_stops_a_promote(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    run("library", "build", "--encoder", retold_encoder(tmp_path / "retold"))
    words = ("library", "promote", "--queries", "queries.csv", "--require")
    refused = run(*words, "recall@1>1", "--json")
    assert refused.status == 1
    assert refused.document["reasons"] == ["recall@1 is 1.0000, required > 1"]
    assert refused.document["promoted"] is False
    assert run(*words, "recall@1>=100%").status == 0


@pytest.mark.slow
def test_an_evaluation_of_other_pictures_than_there_are_now_stops_a_promote(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    run("library", "build", "--encoder", retold_encoder(tmp_path / "retold"))
    evaluated = ("library", "promote", "--queries", "queries.csv", "--require", "recall@1>1")
    assert run(*evaluated).status == 1
    with closing(EdgeStore(tmp_path / "data" / "edge")) as store:
        for collection in store.collections():
            store.delete(collection, ["red.png"])
    refused = run("library", "promote")
    assert refused.status == 2
    assert "photos-tiny-1 is of other pictures than it holds now: give" in refused.sentence
    assert run("library", "status", "--json").document["collection"] == "photos-tiny-1"


def test_pictures_that_the_new_collection_lacks_stop_a_promote(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    (library / "red.png").rename(tmp_path / "away.png")
    other = write_tiny_encoder(tmp_path / "other")
    declared = json.loads((other / "encoder.json").read_text())
    declare(other, name="other", image={**declared["image"], "interpolation": "bilinear"})
    built = run("library", "build", "--encoder", other, "--json").document
    assert [one["image_id"] for one in built["unusable"]] == ["red.png"]
    refused = run("library", "promote", "--queries", "queries.csv")
    assert refused.status == 1
    assert "pictures of photos-tiny-1 that are not in it: 1 (red.png)" in refused.err
    assert "--allow-missing goes without them" in refused.err
    allowed = run("library", "promote", "--queries", "queries.csv", "--allow-missing", "--json")
    assert allowed.document["comparison"]["gallery"] == 7
    assert allowed.document["promoted"] is True
    assert run("library", "rollback", "--json").document["collection"] == "photos-tiny-1"


def test_prune_removes_what_a_killed_prune_had_begun_to_delete(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "data" / "edge" / "collections" / ".old-photos-tiny-0"
    (begun / "segments").mkdir(parents=True)
    assert run("library", "prune", "--yes").out.startswith("deleted: nothing to delete")
    assert not begun.exists()
    assert run("library", "doctor").status == 0


@pytest.mark.slow
def test_prune_keeps_the_live_one_and_where_a_rollback_leads(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    for name in ("retold", "confused"):
        make = retold_encoder if name == "retold" else confused_encoder
        run("library", "build", "--encoder", make(tmp_path / name))
        assert run("library", "promote", "--force").status == 0
    asked = run("library", "prune")
    assert asked.status == 2
    assert asked.sentence == "no terminal to ask whether to delete them: give --yes"
    pruned = run("library", "prune", "--yes", "--json").document
    assert pruned == {
        "library": "photos",
        "deleted": ["photos-tiny-1"],
        "kept": [
            {"collection": "photos-retold-1", "state": "previous"},
            {"collection": "photos-confused-1", "state": "live"},
        ],
    }
    assert run("library", "prune", "--yes").out.startswith("deleted: nothing to delete")
    assert run("library", "prune", "--yes", "--previous").out.startswith(
        "deleted: photos-retold-1; kept: photos-confused-1 (live)"
    )
    assert "has been deleted" in run("library", "rollback").sentence


def test_an_encoder_that_has_gone_is_named(run: CommandLine, library: Path, tmp_path: Path) -> None:
    run("library", "build", "--encoder", retold_encoder(tmp_path / "retold"))
    run("library", "promote", "--force")
    (tmp_path / "retold" / "encoder.json").unlink()
    assert "encoder retold" in run("search", "red").sentence
    assert "--encoder or put it on the shelf" in run("search", "red").sentence


def test_promote_without_a_build_says_how_to_make_one(run: CommandLine, library: Path) -> None:
    ran = run("library", "promote")
    assert ran.status == 2
    assert "`scenesearch library build photos --encoder NAME` makes one" in ran.sentence


def test_a_backup_is_restored_under_another_name_and_searched(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    run("feedback", "right", "a sunset", "red.png")
    assert run("library", "backup", "photos", "--out", "photos.zip").out.startswith(
        "photos.zip: 8 pictures of photos-tiny-1, encoder tiny"
    )
    checked = run("library", "restore", "photos.zip", "--check", "--json").document
    assert (checked["pictures"], checked["restored"], checked["library"]) == (8, False, "photos")
    assert "already exists: --library NAME" in run("library", "restore", "photos.zip").sentence
    restored = run("library", "restore", "photos.zip", "--library", "copy")
    assert restored.out == "copy-tiny-1: 8 pictures, live as library copy\n"
    assert "not on this machine" not in restored.err
    found = run("search", "red", "--library", "copy", "--json", "--min-relevance", 0).document
    assert found["hits"][0]["image_id"] == "red.png"
    said = run("feedback", "list", "--library", "copy", "--json").document
    assert [(mark["text"], mark["image_id"]) for mark in said] == [("a sunset", "red.png")]
    # The folders came along: the same pictures have the same ids and are known.
    assert run("ingest", library, "--library", "copy", "--json").document["skipped"] == 8
    (tmp_path / "photos.zip").write_bytes((tmp_path / "photos.zip").read_bytes()[:-500])
    assert "is cut short or damaged" in run("library", "restore", "photos.zip").sentence


def test_originals_of_a_restored_library_are_opened_once_their_folder_is_ingested(
    run: CommandLine, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("library", "backup", "--out", "photos.zip")
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "other"))
    restored = run("library", "restore", "photos.zip")
    assert f"`scenesearch ingest {library} --library photos`" in restored.err
    assert "their originals are not here" in run("search", "red", "--sheet", "sheet.jpg").err
    assert "words only, red.png cannot be opened" in run("search", "red", "--why", 1).err
    assert "8 skipped" in run("ingest", library).out
    found = run("search", "red", "--why", 1)
    assert "not here" not in found.err and "words only" not in found.err


def test_a_restore_says_which_encoder_is_missing(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    run("library", "backup", "--out", "photos.zip")
    (tmp_path / "tiny" / "encoder.json").unlink()
    restored = run("library", "restore", "photos.zip", "--library", "copy")
    assert restored.status == 0
    assert "searching it needs the encoder tiny" in restored.err


VERBS = {
    command.name: {param.name: param for param in command.params}
    for command in typer.main.get_command(library_app).commands.values()  # type: ignore[attr-defined]
    if command.name != "plan"  # which is about no library
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_library_command_takes_the_name_in_either_place(verb: str) -> None:
    assert VERBS[verb]["library"].param_type_name == "argument"
    assert VERBS[verb]["named"].opts == ["--library", "-l"]


@pytest.mark.slow
def test_a_library_is_named_before_or_after_its_option(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    for words in (
        ["photos"],
        ["--library", "photos"],
        ["-l", "photos"],
        ["photos", "-l", "photos"],
    ):
        assert run("library", "status", *words, "--json").document["library"] == "photos"
        assert run("library", "list", *words, "--json").document["collections"]
        assert run("library", "rejects", *words, "--json").document == []
        assert run("library", "duplicates", *words, "-k", 1, "--json").document["pictures"] == 8
        assert run("library", "doctor", *words, "--json").status in (0, 1)
        assert run("status", *words, "--json").document["pictures"] == 8
    assert run("library", "backup", "-l", "photos", "--out", "photos.zip").status == 0
    assert run("library", "restore", "photos.zip", "copy").out.endswith("live as library copy\n")
    twice = run("library", "status", "photos", "--library", "copy")
    assert (twice.status, twice.sentence) == (
        2,
        "two libraries are named, photos and copy: name one",
    )
    # As an empty variable of a script gives it: not the default, which 'prune --yes' would change.
    assert "cannot name a library" in run("library", "prune", "", "--yes").sentence


def test_an_unknown_library_or_collection_is_told_the_nearest(
    run: CommandLine, library: Path
) -> None:
    for command in (
        "search red -l photo",
        "library status photo",
        "library list photo",
        "library rejects photo",
        "library duplicates photo",
        "library build photo",
        "library promote photo",
        "library rollback photo",
        "library prune photo",
        "library backup photo",
        "feedback list -l photo",
        "feedback right red red.png -l photo",
        "evaluate --queries queries.csv -l photo",
    ):
        ran = run(*command.split())
        assert ran.status == 2, command
        expected = "no library 'photo'; there are: photos; did you mean photos?"
        assert ran.sentence == expected, command
    assert run("library", "promote", "photos", "--collection", "photos-tiny-2").sentence == (
        "library photos has no collection 'photos-tiny-2'; there are: photos-tiny-1; "
        "did you mean photos-tiny-1?"
    )


def test_a_plan_needs_no_encoder_folder_for_one_whose_speed_is_known(run: CommandLine) -> None:
    planned = run("library", "plan", "--images", 10**6, "-e", "clip-vit-base-patch32", "--json")
    assert (planned.document["encoder"], planned.document["dimension"]) == (
        "clip-vit-base-patch32",
        512,
    )
    assert [one["device"] for one in planned.document["encoding"]][-1] == "RTX 3080"
    assert "no encoder 'nosuch'" in run("library", "plan", "--images", 5, "-e", "nosuch").sentence
    wrong = run("library", "plan", "--images", 5, "-e", "lite", "--devices", "many")
    assert '--devices \'many\': expected "16 cores" or "NAME=PICTURES_PER_S"' in wrong.sentence


def test_a_plan_times_an_encoder_that_nobody_has_measured(run: CommandLine) -> None:
    planned = run("library", "plan", "--images", 1000, "--devices", "4 cores", "--json")
    assert "timing" in planned.err
    (row,) = planned.document["encoding"]
    assert row["source"] == "timed here, one core, batch 8"
    assert row["images_per_s"] > 0


def test_doctor_exits_with_one_while_something_is_wrong(
    run: CommandLine, library: Path, tmp_path: Path
) -> None:
    well = run("library", "doctor")
    assert (well.status, well.out) == (0, "photos: nothing is wrong\n")
    thumbnails = tmp_path / "data" / "libraries" / "photos" / "thumbnails"
    content = hashlib.sha256((library / "blue.png").read_bytes()).hexdigest()
    next(thumbnails.glob(f"*/{content}.jpg")).unlink()
    (library / "red.png").unlink()
    ill = run("library", "doctor", "--all", "--json")
    assert ill.status == 1
    assert [one["check"] for one in ill.document["findings"]] == ["missing", "thumbnails"]
    mended = run("library", "doctor", "--mend")
    assert mended.status == 1
    assert mended.out.splitlines()[0] == "wrong: originals that are not where they were: 1"
    assert mended.out.splitlines()[-1] == "photos: 1 thing wrong"
    assert run("ingest", library, "--prune").status == 0
    assert run("library", "doctor", "--mend").status == 0

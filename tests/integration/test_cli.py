"""The command line as a person uses it: a real store, a tiny encoder folder, and a process of its
own where that makes a difference."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli import run_here
from tests.tiny_encoder import write_tiny_encoder

Run = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-m", "scenesearch.cli"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    encoder = write_tiny_encoder(tmp_path / "tiny")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SCENESEARCH_")}
    return kept | {
        "SCENESEARCH_DATA_DIR": str(tmp_path / "data"),
        "SCENESEARCH_ENCODER": str(encoder),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """The command in this process."""

    def command(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
        return run_here(*words, environment=environment | more, folder=tmp_path)

    return command


@pytest.fixture
def run_process(environment: dict[str, str], tmp_path: Path) -> Run:
    """The command in a process of its own."""

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, words)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return command


def document(result: subprocess.CompletedProcess[str]) -> Any:
    assert result.stderr.count("Traceback") == 0, result.stderr
    return json.loads(result.stdout)


def one_sentence(result: subprocess.CompletedProcess[str]) -> str:
    """What a failed command says: its last line on stderr, and no traceback."""
    assert "Traceback" not in result.stderr, result.stderr
    assert result.returncode == 2
    return result.stderr.strip().splitlines()[-1]


def test_the_counts_of_a_run_are_kept_in_a_file(run: Run, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    assert run("ingest", photos, "--progress", file).returncode == 0
    counts = json.loads(file.read_text())
    assert (counts["seen"], counts["total"]) == (6, 6)
    ran = run("ingest", photos, "--watch", "--progress", file)
    assert "--progress tells of one run, and --watch goes on" in one_sentence(ran)


def test_ingest_then_search_finds_the_picture(run_process: Run, photos: Path) -> None:
    ingested = document(run_process("ingest", photos, "--json"))
    assert {
        key: ingested[key] for key in ("seen", "written", "skipped", "rejected", "removed")
    } == {
        "seen": 6,
        "written": 6,
        "skipped": 0,
        "rejected": 0,
        "removed": 0,
    }
    found = document(run_process("search", "green", "--json", "-k", 2, "--min-relevance", 0))
    assert set(found) >= {"query", "encoder", "library", "hits", "timing_ms"}
    assert (found["encoder"], found["library"], len(found["hits"])) == ("tiny", "photos", 2)
    first = found["hits"][0]
    assert set(first) >= {"rank", "image_id", "path", "score", "relevance", "payload"}
    assert (first["rank"], first["image_id"]) == (1, "green.jpg")
    assert first["path"] == str(photos / "green.jpg")


def test_where_narrows_the_answer(run: Run, photos: Path) -> None:
    run("ingest", photos)
    found = document(
        run("search", "red", "--json", "--min-relevance", 0, "--where", "folder=trip and width>48")
    )
    assert [hit["image_id"] for hit in found["hits"]] == ["trip/yellow.jpg", "trip/black.jpg"]


def test_search_exits_like_grep(run: Run, photos: Path) -> None:
    run("ingest", photos)
    assert run("search", "blue", "--min-relevance", 0).returncode == 0
    nothing = run("search", "blue", "--min-relevance", 1)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "nothing in library photos matches 'blue'; nearest is blue.jpg" in nothing.stderr
    assert run("search", "blue", "--where", "nonsense").returncode == 2


def test_sheet_is_a_picture(run: Run, photos: Path, tmp_path: Path) -> None:
    run("ingest", photos)
    assert run("search", "blue", "--min-relevance", 0, "--sheet", "out/s.jpg").returncode == 0
    with Image.open(tmp_path / "out" / "s.jpg") as sheet:
        assert sheet.width > 1000


def test_broken_pictures_are_listed_and_stop_nothing(run: Run, photos: Path) -> None:
    (photos / "cut.jpg").write_bytes((photos / "red.jpg").read_bytes()[:300])
    (photos / "note.jpg").write_text("hello")
    result = run("ingest", photos)
    assert result.returncode == 0
    assert "6 written" in result.stdout
    assert "2 rejected" in result.stdout
    assert f"rejected: {photos / 'cut.jpg'}: damaged" in result.stderr
    status = document(run("library", "status", "--json"))
    assert (status["pictures"], len(status["rejects"])) == (6, 2)
    listed = document(run("library", "rejects", "--json"))
    assert [(Path(row["path"]).name, row["kind"], row["tries"]) for row in listed] == [
        ("cut.jpg", "permanent", 1),
        ("note.jpg", "permanent", 1),
    ]


def test_evaluate_measures_a_folder_and_writes_its_files(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    queries = tmp_path / "queries.tsv"
    queries.write_text(
        "query_text\timages\nred\tred.jpg\ngreen\tgreen.jpg\nyellow red\tred.jpg,trip/yellow.jpg\n"
    )
    measured = document(
        run("evaluate", "--queries", queries, "--images", photos, "--out", "out", "--json")
    )
    assert (measured["encoder"], measured["gallery"], measured["queries"]) == ("tiny", 6, 3)
    assert measured["metrics"]["recall@1"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert measured["metrics"]["success@1"] == 1
    assert set(measured["ci95"]) == set(measured["metrics"])
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written >= {"run.trec", "qrels.trec", "per_query.parquet", "summary.json"}
    assert not (tmp_path / "data").exists()


def test_evaluate_finds_task_names_in_subfolders(run: Run, photos: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.csv"
    queries.write_text("|query_id|query_text|image\n0|yellow.jpg#0|red green|yellow.jpg\n")
    measured = document(run("evaluate", "--queries", queries, "--images", photos, "--json"))
    assert measured["metrics"]["recall@1"] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ingest", "nowhere"], "nowhere does not exist"),
        (["ingest"], "nothing to ingest"),
        (["ingest", "photos", "--library", "../up"], "cannot name a library"),
        (["ingest", "photos", "--encoder", "nosuch"], "no encoder 'nosuch'"),
        (["search", "red"], "photos"),
        (["search", "red", "--library", "other"], "other"),
        (["evaluate", "--queries", "none.csv", "--images", "photos"], "none.csv"),
    ],
)
def test_mistake_is_one_sentence(run: Run, photos: Path, words: list[str], sentence: str) -> None:
    assert sentence in one_sentence(run(*words))


def test_empty_folder_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in one_sentence(run("ingest", "empty"))


def test_setting_that_does_not_fit_names_its_variable(run: Run, photos: Path) -> None:
    result = run("ingest", photos, SCENESEARCH_BATCH_SIZE="many")
    assert "SCENESEARCH_BATCH_SIZE" in one_sentence(result)


def test_server_that_is_down_is_one_sentence(run: Run, photos: Path) -> None:
    result = run(
        "search",
        "red",
        SCENESEARCH_QDRANT_URL="http://127.0.0.1:9",
        SCENESEARCH_QDRANT_TIMEOUT_S="1",
    )
    assert "http://127.0.0.1:9" in one_sentence(result)


def test_another_encoder_than_the_librarys_is_refused(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    run("ingest", photos)
    assert "tiny" in one_sentence(run("search", "red", "--encoder", "lite"))


def test_a_librarys_own_encoder_is_taken_when_none_is_given(run: Run, photos: Path) -> None:
    run("ingest", photos)
    found = run("search", "red", "--min-relevance", 0, "--json", SCENESEARCH_ENCODER="lite")
    assert document(found)["encoder"] == "tiny"
    assert document(run("ingest", photos, "--json", SCENESEARCH_ENCODER="lite"))["skipped"] == 6


def test_names_from_strangers_cannot_steer_the_terminal(run: Run, photos: Path) -> None:
    (photos / "red.jpg").rename(photos / "a\x1b[2Jb.jpg")
    run("ingest", photos)
    result = run("search", "red", "--min-relevance", 0)
    assert "\x1b" not in result.stdout
    assert "a�[2Jb.jpg" in result.stdout


def test_second_process_has_its_turn_while_another_has_the_library_open(
    run: Run, photos: Path, environment: dict[str, str]
) -> None:
    run("ingest", photos)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert run("search", "red", "--min-relevance", 0).returncode == 0
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.wait()


HOLD = """
import time
from scenesearch.home.settings import Settings
from scenesearch.store.edge import EdgeStore
store = EdgeStore(Settings().edge_dir)
store.count("photos")
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_ingest_is_continued_by_the_next(
    run: Run, environment: dict[str, str], tmp_path: Path, how: signal.Signals
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(1500):
        shade = (number % 256, number // 256, 90)
        Image.new("RGB", (64, 64), shade).save(many / f"{number:04}.png")
    words = ["ingest", str(many), "--batch-size", "4", "--workers", "1"]
    first = subprocess.Popen(
        [*COMMAND, *words],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Whatever started the tests may have made them deaf to Ctrl-C, as `nohup` does.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    written = tmp_path / "data" / "libraries" / "photos" / "thumbnails"
    while first.poll() is None and sum(1 for _ in written.glob("*/*.jpg")) < 200:
        time.sleep(0.02)
    assert first.poll() is None, "the ingest ended before it could be stopped"
    first.send_signal(how)
    _, messages = first.communicate(timeout=60)
    if how is signal.SIGINT:
        assert first.returncode == 130
        assert messages.strip().endswith("run the same command again to continue")
        assert "Traceback" not in messages
    second = document(run(*words, "--json"))
    assert second["skipped"] > 0
    assert second["written"] + second["skipped"] == second["seen"] == 1500
    assert document(run("library", "status", "--json"))["pictures"] == 1500


def test_damaged_encoder_is_refused_before_any_picture(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    data = bytearray((tmp_path / "tiny" / "image.onnx").read_bytes())
    data[-1] ^= 1
    (tmp_path / "tiny" / "image.onnx").write_bytes(data)
    assert "does not have its declared hash" in one_sentence(run("ingest", photos))

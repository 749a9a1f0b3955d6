"""Backup, restore and restore --replace killed with SIGKILL: nothing or everything, and the next
run goes on.

Each trial is a process of its own that kills itself at the n-th thing it does to the disk (a file
opened for writing, renamed, deleted, a folder made, a table opened), or is killed at some moment.

    make attack
"""

import contextlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenesearch.home.backup import BackupError, open_backup
from scenesearch.home.feedback import FILE_NAME, Feedback, Mark
from scenesearch.home.library_files import SAVED_REQUESTS as SAVED
from scenesearch.home.restore import take_back_unfinished
from scenesearch.home.roots import SOURCES, Root, read_roots, roots_json
from scenesearch.home.saved_collections import read_collections, save_request
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PICTURES = 40
STEPS, LAST, MOMENTS = 6, 5, 3
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "sqlite3.connect"}


Fresh = Callable[[Path | None], Path]


def work(argv: list[str], data_dir: str, kill_at: int) -> None:
    """The command, in a process that ends at its `kill_at`-th step; 0 to go to the end."""
    from scenesearch.cli import main

    os.environ["SCENESEARCH_DATA_DIR"] = data_dir
    os.chdir(data_dir)
    sys.argv = ["scenesearch", *argv]
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    steps = itertools.count(1)

    def step(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in WRITES or (
            event == "open"
            and isinstance(arguments[2], int)
            and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if writes and str(arguments[0]).startswith(f"{data_dir}/"):
            number = next(steps)
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if kill_at == 0:
                with open(f"{data_dir}.steps", "w") as file:  # noqa: PTH123
                    file.write(str(number))

    sys.addaudithook(step)
    main()


FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["scenesearch.commands.backup", "tests.attack.test_backup_kills"])


def ran(argv: list[str], data_dir: Path, kill_at: int = 0, after_s: float | None = None) -> int:
    """The exit status, negative where it was killed."""
    process = FORK.Process(target=work, args=(argv, str(data_dir), kill_at))
    process.start()
    if after_s is not None:
        process.join(after_s)
        process.kill()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def fill(data_dir: Path, library: str, marks: list[Mark], root: str, requests: list[str]) -> None:
    spec = CollectionSpec(library, "colour", "c0104f", 4, BUILTIN_FIELDS)
    vectors = np.random.default_rng(0).standard_normal((PICTURES, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with closing(EdgeStore(data_dir / "edge")) as store:
        store.create_collection(f"{library}-colour-1", spec)
        store.set_alias(library, f"{library}-colour-1")
        points = [Point(f"{n}.jpg", v, {"title": root}) for n, v in enumerate(vectors)]
        store.upsert(library, points)
        store.flush(library)
    own = data_dir / "libraries" / library
    own.mkdir(parents=True)
    (own / SOURCES).write_bytes(roots_json({root: Root("")}))
    with closing(Feedback(own / FILE_NAME)) as table:
        table.take_over(marks)
    for text in requests:
        save_request(own / SAVED, text)


OLD_MARKS = [Mark("a cat", "1.jpg", True, "2026-01-01T00:00:00Z")]
NEW_MARKS = [Mark("a dog", f"{n}.jpg", n % 2 == 0, "2026-02-02T00:00:00Z") for n in range(9)]
NEW_MARKS.append(Mark("a cat", "1.jpg", False, "2026-02-02T00:00:00Z"))  # the one here stays


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup, `pets.zip`, and beside it a data folder with another library of that name."""
    folder = tmp_path_factory.mktemp("made")
    fill(folder / "origin", "pets", NEW_MARKS, "/new", ["dogs", "cats"])
    assert ran(["library", "backup", "pets", "--out", str(folder / "pets.zip")],
               folder / "origin") == 0  # fmt: skip
    fill(folder / "live", "pets", OLD_MARKS, "/old", ["birds"])
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[Path | None], Path]:
    numbers = itertools.count()

    def make(of: Path | None) -> Path:
        number = next(numbers)
        shutil.rmtree(tmp_path / f"{number - 1}", ignore_errors=True)
        data_dir = tmp_path / f"{number}"
        if of is None:
            data_dir.mkdir()
        else:
            os.system(f"cp -a --sparse=always {of} {data_dir}")  # noqa: S605
        return data_dir

    return make


def trials(argv: list[str], fresh: Fresh, of: Path | None) -> Iterator[Path]:
    """Data folders of processes that were killed, spread over all their steps and over time."""
    data_dir = fresh(of)
    began = time.monotonic()
    assert ran(argv, data_dir) == 0
    lasted_s = time.monotonic() - began
    steps = int(Path(f"{data_dir}.steps").read_text())
    chosen = sorted({round(1 + n * (steps - 1) / (STEPS - 1)) for n in range(STEPS)}
                    | set(range(max(1, steps - LAST), steps + 1)))  # fmt: skip
    chance = random.Random(1)
    print(f"\n{' '.join(argv[:2])}: {steps} steps, killed at {len(chosen)} and {MOMENTS} moments")
    for kill_at in chosen:
        data_dir = fresh(of)
        assert ran(argv, data_dir, kill_at) == -signal.SIGKILL, kill_at
        yield data_dir
    for _ in range(MOMENTS):
        data_dir = fresh(of)
        ran(argv, data_dir, kill_at=-1, after_s=chance.uniform(0.2, 1.0) * lasted_s)
        yield data_dir


def state(data_dir: Path) -> dict[str, Any]:
    """What a reader finds of the library `pets`; its pictures are all there or none."""
    with closing(EdgeStore(data_dir / "edge")) as store:
        live = store.aliases().get("pets")
        titles = Counter(p.payload["title"] for p in store.scroll("pets")) if live else {}
        collections = store.collections()
    own = data_dir / "libraries" / "pets"
    marks: list[Mark] = []
    if (own / FILE_NAME).exists():
        with closing(Feedback(own / FILE_NAME)) as table:
            marks = table.all()
    return {
        "live": live,
        "titles": dict(titles),
        "collections": collections,
        "roots": list(read_roots(own / SOURCES)),
        "marks": marks,
        "requests": [one.request for one in read_collections(own / SAVED)],
        "journal": (own / "restoring.json").exists(),
    }


def whole(found: dict[str, Any]) -> bool:
    return (
        found["titles"] == {"/new": PICTURES}
        and found["roots"] == ["/new"]
        and len(found["marks"]) == len(NEW_MARKS)
        and found["requests"] == ["cats", "dogs"]
    )


def test_a_killed_restore_left_nothing_or_everything(made: Path, fresh: Fresh) -> None:
    argv = ["library", "restore", str(made / "pets.zip")]
    counts: Counter[str] = Counter()
    for data_dir in trials(argv, fresh, None):
        found = state(data_dir)
        if found["live"]:
            assert whole(found), found
            counts["everything"] += 1
            assert ran([*argv, "--replace"], data_dir) == 0
        else:
            counts["nothing"] += 1
            assert ran(argv, data_dir) == 0
            found = state(data_dir)
            assert found["collections"] == [found["live"]]
        found = state(data_dir)
        assert whole(found) and not found["journal"], found
    print(json.dumps(counts))
    assert counts["nothing"] and counts["everything"]


def test_a_killed_replace_left_the_old_library_or_the_new_one(made: Path, fresh: Fresh) -> None:
    argv = ["library", "restore", str(made / "pets.zip"), "--replace"]
    old = state(made / "live")
    counts: Counter[str] = Counter()
    for data_dir in trials(argv, fresh, made / "live"):
        found = state(data_dir)
        # What the library here has stays: its folders, its saved requests, its word on a picture.
        assert (found["roots"], found["requests"]) == (["/old"], ["birds"])
        assert OLD_MARKS[0] in found["marks"]
        if found["titles"] == {"/new": PICTURES}:
            counts["new"] += 1
            assert len(found["marks"]) == len(NEW_MARKS)
        else:
            counts["old"] += 1
            assert (found["live"], found["titles"]) == ("pets-colour-1", {"/old": PICTURES})
            with closing(EdgeStore(data_dir / "edge")) as store:
                take_back_unfinished(store, "pets", data_dir / "libraries" / "pets")
            assert state(data_dir) == old
            assert ran(argv, data_dir) == 0
            found = state(data_dir)
            assert found["collections"] == ["pets-colour-1", "pets-colour-2"]
            assert found["titles"] == {"/new": PICTURES}
            assert len(found["marks"]) == len(NEW_MARKS)
            assert not found["journal"]
    print(json.dumps(counts))
    assert counts["old"] and counts["new"]


def test_a_killed_backup_left_no_file_or_a_whole_one(made: Path, fresh: Fresh) -> None:
    argv = ["library", "backup", "pets", "--out", "out.zip"]
    counts: Counter[str] = Counter()
    for data_dir in trials(argv, fresh, made / "origin"):
        file = data_dir / "out.zip"
        if not file.exists():
            counts["no file"] += 1
            assert ran(argv, data_dir) == 0
        else:
            counts["whole"] += 1
        with contextlib.suppress(BackupError), open_backup(file) as backup:
            backup.verify()
            assert backup.contents.points == PICTURES
            counts["verified"] += 1
        assert whole(state(data_dir))
    print(json.dumps(counts))
    assert counts["verified"] == counts["no file"] + counts["whole"]

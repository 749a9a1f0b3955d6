"""The queue before an embedded collection: first come, first served, whoever dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from scenesearch.store import edge_lock
from scenesearch.store.edge_lock import HolderLock, LockHeld

# Takes the lock when it can and keeps it until it is killed.
OTHER = """
import sys
from pathlib import Path
from scenesearch.store.edge_lock import HolderLock

lock = HolderLock(Path(sys.argv[1]), "another")
lock.acquire(600)
print("has it", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "photos.lock"


@contextmanager
def other(path: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def has_it(process: "subprocess.Popen[str]") -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "has it\n"


def waiting(path: Path) -> int:
    queue = path.with_suffix(".queue")
    return len(list(queue.iterdir())) if queue.is_dir() else 0


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.002)


def lined_up(path: Path, names: str, served: list[str]) -> list[Thread]:
    """Threads that want the lock, each come when the one before it waited; they note their turn."""

    def want(name: str) -> None:
        lock = HolderLock(path, name)
        lock.acquire(600)
        served.append(name)
        lock.release()

    threads = []
    for name in names:
        before = waiting(path)
        threads.append(Thread(target=want, args=(name,)))
        threads[-1].start()
        until(lambda before=before: waiting(path) > before)  # type: ignore[misc]
    return threads


def test_first_come_is_first_served_and_who_comes_again_is_last(path: Path) -> None:
    lock, served = HolderLock(path, "first"), list[str]()
    lock.acquire(0)
    assert not lock.is_wanted()
    threads = lined_up(path, "abcd", served)
    assert lock.is_wanted()
    lock.release()
    lock.acquire(600)
    assert served == list("abcd")
    assert not lock.is_wanted()
    lock.release()
    for thread in threads:
        thread.join()
    assert waiting(path) == 0


def test_killed_waiter_is_passed_over(path: Path) -> None:
    lock, served = HolderLock(path, "first"), list[str]()
    lock.acquire(0)
    with other(path) as killed:
        until(lambda: waiting(path) == 1)
        threads = lined_up(path, "ab", served)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        lock.release()
        for thread in threads:
            thread.join()
    assert served == ["a", "b"]
    assert waiting(path) == 0  # its ticket is gone as well


def test_killed_waiter_alone_is_nobody_to_let_go_for(path: Path) -> None:
    lock = HolderLock(path, "first")
    lock.acquire(0)
    with other(path) as killed:
        until(lock.is_wanted)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert not lock.is_wanted()
    lock.release()


def test_killed_holder_is_followed_by_the_next(path: Path) -> None:
    served: list[str] = []
    with other(path) as killed:
        assert has_it(killed)
        threads = lined_up(path, "ab", served)
        assert served == []
        os.kill(killed.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert served == ["a", "b"]
    assert not path.with_suffix(".holder.json").exists()


class Clock:
    """Time that passes only while somebody sleeps, with what happens meanwhile."""

    def __init__(self, meanwhile: Callable[[float], object] = lambda now: None) -> None:
        self.now = 1000.0
        self._meanwhile = meanwhile

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._meanwhile(self.now - 1000)


def test_one_who_keeps_it_is_waited_for_so_long_and_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, told = Clock(), list[str]()
    monkeypatch.setattr(edge_lock, "time", clock)
    holder = HolderLock(path, "scenesearch ingest")
    holder.acquire(0)
    with holder.doing("deleting it"), pytest.raises(LockHeld) as held:
        HolderLock(path, "a search").acquire(5, lambda held: told.append(str(held)))
    name = f"`scenesearch ingest` (process {os.getpid()}), which is deleting it"
    assert str(held.value) == name
    assert told == [name]
    assert clock.now == pytest.approx(1005, abs=0.1)
    assert waiting(path) == 0
    holder.release()


def test_while_it_goes_from_hand_to_hand_nobody_gives_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, waiter = HolderLock(path, "a"), HolderLock(path, "b")

    def meanwhile(now: float) -> None:
        if now < 12:
            holder._write_note(f"search number {now // 3}")
        elif holder._lock.is_locked:
            holder.release()

    monkeypatch.setattr(edge_lock, "time", Clock(meanwhile))
    holder.acquire(0)
    waiter.acquire(5)
    waiter.release()


def test_stopped_process_at_the_head_of_the_queue_is_passed_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(edge_lock, "time", clock)
    stopped = edge_lock._Ticket(path.with_suffix(".queue"))  # alive, and does nothing
    lock = HolderLock(path, "a")
    lock.acquire(600)
    assert 1002 <= clock.now < 1004
    lock.release()
    stopped.leave()


def test_where_no_ticket_and_no_note_can_be_written_the_lock_works(path: Path) -> None:
    path.with_suffix(".queue").write_text("in the way")
    path.with_suffix(".holder.json").mkdir()
    first, second = HolderLock(path, "a"), HolderLock(path, "b")
    first.acquire(0)
    assert not first.is_wanted()
    with pytest.raises(LockHeld, match="another process"):
        second.acquire(0)
    first.release()
    second.acquire(0)
    second.release()


def test_lock_that_cannot_be_used_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError):
        HolderLock(tmp_path / "file" / "photos.lock", "a").acquire(0)

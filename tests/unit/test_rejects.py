"""The table of rejects by itself."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from scenesearch.home.rejects import Reject, Rejects, RejectsError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "library" / "rejects.sqlite"


def test_another_try_keeps_the_first_and_counts(file: Path) -> None:
    table = Rejects(file)
    table.add([Reject("/a.jpg", "damaged", image_id="a.jpg", size_bytes=9, modified="then")])
    (first,) = table.all()
    table.add([Reject("/a.jpg", "empty file", image_id="a.jpg", size_bytes=0, modified="now")])
    (again,) = Rejects.read(file)
    assert (first.tries, again.tries) == (1, 2)
    assert (again.reason, again.size_bytes, again.modified) == ("empty file", 0, "now")
    assert first.first_try == again.first_try <= again.last_try


def test_permanent_reject_holds_until_size_or_time_change_and_a_transient_one_never() -> None:
    reject = Reject("/a.jpg", "damaged", size_bytes=9, modified="then")
    assert reject.holds_for(9, "then")
    assert not reject.holds_for(8, "then")
    assert not reject.holds_for(9, "now")
    gone = Reject("/a.jpg", "no such file", transient=True, size_bytes=9, modified="then")
    assert not gone.holds_for(9, "then")


def test_rows_are_found_by_path_by_kind_and_forgotten(file: Path) -> None:
    table = Rejects(file)
    table.add(Reject(f"/{n}.jpg", "lost", transient=n % 2 == 0) for n in range(1200))
    assert len(table.of([f"/{n}.jpg" for n in range(1100, 1300)])) == 100
    assert sum(row.transient for row in table.all()) == 600
    table.forget(f"/{n}.jpg" for n in range(1199))
    assert [row.path for row in table.all()] == ["/1199.jpg"]
    assert table.count() == 1


def test_what_a_manifest_said_is_kept_with_the_reject(file: Path) -> None:
    Rejects(file).add([Reject("/a.jpg", "damaged", described={"tags": ["sea"], "price": 2.5})])
    (row,) = Rejects.read(file)
    assert row.described == {"tags": ["sea"], "price": 2.5}


def test_several_writers_lose_nothing(file: Path) -> None:
    def write(writer: int) -> None:
        table = Rejects(file)
        for number in range(50):
            table.add([Reject(f"/{writer}-{number}.jpg", "damaged")])
        table.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(Rejects.read(file)) == 200


def test_no_table_is_no_rejects_and_makes_none(file: Path) -> None:
    assert Rejects.read(file) == []
    assert not file.parent.exists()


def test_damaged_table_is_one_sentence(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("this is no database, but long enough to be looked at" * 100)
    with pytest.raises(
        RejectsError,
        match=r"rejects\.sqlite cannot be used: damaged .*copy it",
    ):
        Rejects.read(file)


def test_a_table_with_other_columns_is_one_sentence_for_whoever_reads_it(file: Path) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE rejects (path TEXT PRIMARY KEY, reason TEXT)")
        other.execute("INSERT INTO rejects VALUES ('/a.jpg', 'damaged')")
    with Rejects(file) as table:
        for read in (table.all, lambda: table.of(["/a.jpg"])):
            with pytest.raises(RejectsError, match=r"rejects\.sqlite cannot be used"):
                read()


def test_the_table_is_plain_sqlite(file: Path) -> None:
    Rejects(file).add([Reject("/a.jpg", "damaged")])
    rows = sqlite3.connect(file).execute("SELECT path, reason, kind, tries FROM rejects").fetchall()
    assert rows == [("/a.jpg", "damaged", "permanent", 1)]

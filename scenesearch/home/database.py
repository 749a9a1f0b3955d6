"""SQLite files of a library: written where they can be, read where they cannot.

On a full or read-only disk SQLite does not even open a file that was written with a log
(`journal_mode = WAL`). Its rows are then read into memory, and a write says what is in the way.
"""

import shutil
import sqlite3
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from scenesearch.errors import UNWRITABLE, SceneSearchError, obstacle
from scenesearch.runtime.files import private_file, private_folder

# How long one process waits while another writes.
_BUSY_S = 30.0

# More than SQLite adds to a disk to open a file.
_PROBE_BYTES = 2**18

# Fewer than SQLite's limit of parameters in one statement.
_PARAMETERS = 500

_Row = TypeVar("_Row")


class Database:
    """The tables of one file, made when missing. Threads may share it, one at a time.

    Without a file the tables are in memory. The statements of `schema` have ';' between them.
    `what` names the content in messages; they are raised as `error`. With `synced=False` a row
    costs no sync: the last ones may be lost when the power fails, never when the process dies.
    """

    def __init__(
        self,
        file: Path | None,
        schema: str,
        *,
        what: str,
        error: type[SceneSearchError],
        synced: bool = True,
    ) -> None:
        self._file = file or Path(":memory:")
        self._what = what
        self._error = error
        self._in_the_way: str | None = None
        with self._errors():
            try:
                self._connection = _in_memory() if file is None else _connect(file)
                if not synced:
                    self._connection.execute("PRAGMA synchronous = NORMAL")
                _execute_patiently(self._connection, "PRAGMA journal_mode = WAL")  # no reader waits
                for statement in schema.split(";"):
                    _execute_patiently(self._connection, statement)
            except (OSError, sqlite3.OperationalError) as error:
                if file is None or (found := _in_the_way(file, error)) not in UNWRITABLE:
                    raise
                self._in_the_way = found
                self._connection = _in_memory(file)
                self._connection.executescript(schema)

    def select(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows, one after the other."""
        with self._errors():
            yield from self._connection.execute(query, values)

    def select_among(self, query: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a query with '{}' in place of the values, which may be any number."""
        for start in range(0, len(values), _PARAMETERS):
            part = values[start : start + _PARAMETERS]
            yield from self.select(query.format(", ".join("?" * len(part))), part)

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run the statement for each row, for all or none; returns how many rows changed."""
        with self.transaction() as connection:
            return connection.executemany(statement, rows).rowcount

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The writes inside the block happen together or not at all."""
        with self._errors():
            if self._in_the_way is not None:
                raise self._refused("cannot be written", self._in_the_way)
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns errors into one sentence. Only what is no database is called damaged."""
        try:
            yield
        except UnicodeEncodeError:
            raise self._error(f"text for the {self._what} is not valid Unicode") from None
        except (OSError, MemoryError, sqlite3.Error, ValueError) as error:
            if found := _in_the_way(self._file, error):
                raise self._refused("cannot be used", found) from None
            if isinstance(error, sqlite3.OperationalError):
                raise self._refused("cannot be used", str(error)) from None
            raise self._refused(
                "cannot be used",
                f"damaged ({error}); copy it elsewhere, then delete it to start anew",
            ) from None

    def _refused(self, how: str, why: str) -> SceneSearchError:
        return self._error(f"the {self._what} in {self._file} {how}: {why}")


class Table(Database, ABC, Generic[_Row]):
    """A file with one table; a class for each kind of row says which."""

    NAME: ClassVar[str]
    SCHEMA: ClassVar[str]
    ORDER: ClassVar[str]  # the columns by which rows are listed
    WHAT: ClassVar[str]
    ERROR: ClassVar[type[SceneSearchError]]
    SYNCED: ClassVar[bool] = True

    def __init__(self, file: Path) -> None:
        super().__init__(file, self.SCHEMA, what=self.WHAT, error=self.ERROR, synced=self.SYNCED)

    @classmethod
    def read(cls, file: Path) -> list[_Row]:
        """All rows, in order. A missing file has none, and is not made."""
        if not file.exists():
            return []
        with cls(file) as table:
            return table.all()

    def all(self) -> list[_Row]:
        """Every row, in order."""
        return self._rows("true")

    def count(self) -> int:
        ((number,),) = self.select(f"SELECT count(*) FROM {self.NAME}")  # noqa: S608
        return int(number)

    def _rows(self, where: str, values: Sequence[Any] = ()) -> list[_Row]:
        """The rows for which the condition holds, in order."""
        query = f"SELECT * FROM {self.NAME} WHERE {where} ORDER BY {self.ORDER}"  # noqa: S608
        with self._errors():
            return [self._read_row(*row) for row in self.select(query, values)]

    @staticmethod
    @abstractmethod
    def _read_row(*columns: Any) -> _Row:
        """The row of these columns."""


def now() -> str:
    """The time as the tables write it."""
    return as_time(time.time())


def as_time(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339, in UTC, to the second."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _connect(file: Path) -> sqlite3.Connection:
    private_folder(file.parent)
    return sqlite3.connect(
        private_file(file), timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )


def _execute_patiently(connection: sqlite3.Connection, statement: str) -> None:
    """SQLite itself does not wait when two processes begin the log of a file at the same moment."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _in_memory(file: Path | None = None) -> sqlite3.Connection:
    """The content of the file in memory; nothing where there is no file."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    if file is None or not file.exists():
        return memory
    log = _log_of(file)
    if not log.exists() or log.stat().st_size == 0:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as there:
            there.backup(memory)
        return memory
    # A killed process left rows in the log. SQLite adds them only to a file it can write to.
    with tempfile.TemporaryDirectory(prefix="scenesearch-") as folder:
        for one in (file, log):
            shutil.copyfile(one, Path(folder) / one.name)
        with closing(_connect(Path(folder) / file.name)) as there:
            there.backup(memory)
    return memory


def _in_the_way(file: Path, error: BaseException) -> str | None:
    """As `obstacle`. Where SQLite does not say why it cannot open or write, the system does."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
        return obstacle(error)
    try:
        for one in (file, _log_of(file)):
            if one.exists():
                one.open("rb").close()
        with tempfile.NamedTemporaryFile(dir=file.parent) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as reason:
        return obstacle(reason)
    return obstacle(error)


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")

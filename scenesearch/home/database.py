"""One SQLite file of a library: written where it can be, read where it cannot.

On a full or read-only disk SQLite will not even open a file that was written with a log
(`journal_mode = WAL`). What is in it is then read into memory, and writing says what is in the way.
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from scenesearch.errors import UNWRITABLE, SceneSearchError, obstacle
from scenesearch.runtime.files import private_file, private_folder

# How long one process waits while another writes.
_BUSY_S = 30.0

# More than SQLite adds to a disk to open a file.
_PROBE_BYTES = 2**18


class Database:
    """The tables of one file, made when missing; usable from several threads one after the other.

    Without a file they are in memory. The statements of `schema` have ';' between them.
    `what` it holds and `error` are for its sentences. With `synced=False` a row costs no sync: what
    was last written may be lost with the power, never with the process.
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
        with self.faults():
            try:
                self._connection = _in_memory() if file is None else _connect(file)
                if not synced:
                    self._connection.execute("PRAGMA synchronous = NORMAL")
                _patiently(self._connection, "PRAGMA journal_mode = WAL")  # readers never wait
                for statement in schema.split(";"):
                    _patiently(self._connection, statement)
            except (OSError, sqlite3.OperationalError) as error:
                if file is None or (found := _in_the_way(file, error)) not in UNWRITABLE:
                    raise
                self._in_the_way = found
                self._connection = _in_memory(file)
                self._connection.executescript(schema)

    def select(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows, one after the other."""
        with self.faults():
            yield from self._connection.execute(query, values)

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run the statement for each row, all or none."""
        with self.at_once() as connection:
            connection.executemany(statement, rows)

    @contextmanager
    def at_once(self) -> Iterator[sqlite3.Connection]:
        """What is done inside is done together, or not at all."""
        with self.faults():
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

    @contextmanager
    def faults(self) -> Iterator[None]:
        """What goes wrong inside is one sentence, which calls damaged only what is no database."""
        try:
            yield
        except UnicodeEncodeError:
            raise
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


def _connect(file: Path) -> sqlite3.Connection:
    private_folder(file.parent)
    return sqlite3.connect(
        private_file(file), timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """SQLite itself does not wait where two processes begin a file's log at the same moment."""
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
    """What the file holds, or nothing where there is none, in memory."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    if file is None or not file.exists():
        return memory
    log = _log_of(file)
    if not log.exists() or log.stat().st_size == 0:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)) as there:
            there.backup(memory)
        return memory
    # A process that was killed left rows in the log, which only a file that can be written takes.
    with tempfile.TemporaryDirectory(prefix="scenesearch-") as folder:
        for one in (file, log):
            shutil.copyfile(one, Path(folder) / one.name)
        with closing(_connect(Path(folder) / file.name)) as there:
            there.backup(memory)
    return memory


def _in_the_way(file: Path, error: BaseException) -> str | None:
    """As `obstacle`; where SQLite does not say why it could not open or write, the system does."""
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

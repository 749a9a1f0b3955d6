"""The webhooks of a library's collections, what each has seen, and what it is still to be told.

    <data dir>/libraries/<library>/webhooks/webhooks.sqlite
                                            <id>.lock    held by whoever looks or tells for it

What is found new becomes a delivery and counts as seen in one step, and a delivery stays until it
was accepted: a process may be killed at any moment. Each try is written down before it is made, so
that one that never ends, or whose end cannot be written, is not made again at once.
"""

import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from scenesearch.errors import SceneSearchError
from scenesearch.home.collection_watch import Seen, content_of
from scenesearch.home.database import Database, now
from scenesearch.home.webhook_message import in_messages, message_of
from scenesearch.runtime.files import FILE_MODE
from scenesearch.search.answer import Hit

FOLDER = "webhooks"
_FILE = "webhooks.sqlite"

MAX_WEBHOOKS = 100
# Messages of one webhook that may wait. What is new beyond them stays new.
MAX_WAITING = 100

# The pause after a failure doubles with each that follows.
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 6 * 3600.0

_ID_BYTES = 12

_SCHEMA = """
CREATE TABLE IF NOT EXISTS webhooks (
  id TEXT PRIMARY KEY, collection TEXT NOT NULL, url TEXT NOT NULL, secret TEXT NOT NULL,
  owner TEXT NOT NULL, created TEXT NOT NULL, request TEXT NOT NULL, scope TEXT NOT NULL,
  problem TEXT, failures INTEGER NOT NULL DEFAULT 0, next_try REAL NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0, last_delivered TEXT,
  UNIQUE (owner, collection, url)
);
CREATE TABLE IF NOT EXISTS seen (
  webhook TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (webhook, content)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL, webhook TEXT NOT NULL, created TEXT NOT NULL,
  pictures INTEGER NOT NULL, body BLOB NOT NULL, tries INTEGER NOT NULL DEFAULT 0, error TEXT
);
CREATE INDEX IF NOT EXISTS waiting ON deliveries (webhook, tries, number)
"""

_COLUMNS = (
    "id, collection, url, secret, owner, created, request, scope, problem, failures, next_try, "
    "delivered, last_delivered"
)

_UNFINISHED = "the last try was not finished"


class WebhookError(SceneSearchError):
    """A webhook cannot be kept; the message is one sentence for the user."""


class TooManyWebhooks(WebhookError):  # noqa: N818 - says what is the matter
    """A library has as many webhooks as it may have."""


@dataclass(frozen=True)
class Webhook:
    """An address that is told what a collection gets.

    `owner` is the key that made it, `scope` that key's filter, `request` what the collection asked
    for when it was looked at last. `problem` says why it cannot be looked at, None where it can.
    """

    id: str
    collection: str
    url: str
    secret: str
    owner: str
    created: str
    request: str
    scope: str
    problem: str | None = None
    failures: int = 0
    next_try: float = 0.0
    delivered: int = 0
    last_delivered: str | None = None

    def __repr__(self) -> str:
        """Without the secret, for logs."""
        return f"<Webhook {self.id} of {self.owner}>"

    @property
    def pause_s(self) -> float:
        """How long to wait before the next try; none where the clock was set back."""
        left = self.next_try - time.time()
        return left if 0 < left <= LONGEST_PAUSE_S else 0.0


@dataclass(frozen=True)
class Delivery:
    """A message that waits to be accepted."""

    id: str
    created: str
    pictures: int
    body: bytes
    tries: int
    error: str | None


class Webhooks(Database):
    """The webhooks of a library, in a file that is made when missing."""

    def __init__(self, library_dir: Path) -> None:
        self._folder = library_dir / FOLDER
        super().__init__(self._folder / _FILE, _SCHEMA, what="webhooks", error=WebhookError)

    @staticmethod
    def exist(library_dir: Path) -> bool:
        """Whether there is a file; opening makes one."""
        return (library_dir / FOLDER / _FILE).exists()

    @staticmethod
    def folders(libraries_dir: Path) -> list[Path]:
        """The folders of the libraries that have such a file."""
        return sorted(file.parents[1] for file in libraries_dir.glob(f"*/{FOLDER}/{_FILE}"))

    # The webhooks

    def all(self) -> list[Webhook]:
        """All of them, the oldest first."""
        return self._those("true", ())

    def find(self, webhook_id: str) -> Webhook | None:
        found = self._those("id = ?", (webhook_id,))
        return found[0] if found else None

    def add(
        self,
        collection: str,
        url: str,
        secret: str,
        owner: str,
        request: str,
        scope: str,
        hits: Iterable[Hit],
    ) -> tuple[Webhook, bool]:
        """A webhook that has seen these pictures, and whether it is new. One of this owner for the
        same collection and address only gets the secret."""
        with self.transaction() as connection:
            same = (owner, collection, url)
            where = "owner = ? AND collection = ? AND url = ?"
            if there := self._those(where, same):
                connection.execute(
                    "UPDATE webhooks SET secret = ?, next_try = 0 WHERE id = ?",
                    (secret, there[0].id),
                )
                return self._those(where, same)[0], False
            if self._number("SELECT count(*) FROM webhooks") >= MAX_WEBHOOKS:
                raise TooManyWebhooks(
                    f"the library has {MAX_WEBHOOKS} webhooks already: delete one first"
                )
            webhook_id = secrets.token_hex(_ID_BYTES)
            row = (webhook_id, collection, url, secret, owner, now(), request, scope)
            connection.execute(
                "INSERT INTO webhooks (id, collection, url, secret, owner, created, request, "
                "scope) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            _see(connection, webhook_id, hits)
            return Webhook(*row), True

    def delete(self, webhook_id: str) -> None:
        with self.transaction() as connection:
            for statement in (
                "DELETE FROM webhooks WHERE id = ?",
                "DELETE FROM seen WHERE webhook = ?",
                "DELETE FROM deliveries WHERE webhook = ?",
            ):
                connection.execute(statement, (webhook_id,))
        # An id is never given twice: whoever holds the lock of a file that is gone does no harm.
        self._lock_file(webhook_id).unlink(missing_ok=True)

    def rename_collection(self, name: str, new: str) -> None:
        """Follow a collection; where its new name has a webhook to the same address, that stays."""
        self.write(
            "UPDATE OR IGNORE webhooks SET collection = ? WHERE collection = ?", [(new, name)]
        )

    def note_problem(self, webhook: Webhook, problem: str | None) -> None:
        if webhook.problem != problem:
            self.write("UPDATE webhooks SET problem = ? WHERE id = ?", [(problem, webhook.id)])

    def lock(self, webhook_id: str) -> FileLock:
        """Held by the only process that looks and delivers for the webhook."""
        return FileLock(self._lock_file(webhook_id), timeout=0, mode=FILE_MODE)

    # What it has seen, and what it is told

    def new(self, webhook: Webhook, hits: Sequence[Hit]) -> list[Hit]:
        """Those of the hits that it has not seen."""
        rows = self.select("SELECT content FROM seen WHERE webhook = ?", (webhook.id,))
        return Seen(webhook.request, frozenset(content for (content,) in rows)).new(hits)

    def begin_anew(self, webhook: Webhook, request: str, scope: str, hits: Iterable[Hit]) -> None:
        """From now on it watches another request, or with another filter; these pictures are not
        new. What waits was found with the filter of before: with another one it is dropped."""
        with self.transaction() as connection:
            connection.execute(
                "UPDATE webhooks SET request = ?, scope = ? WHERE id = ?",
                (request, scope, webhook.id),
            )
            connection.execute("DELETE FROM seen WHERE webhook = ?", (webhook.id,))
            if scope != webhook.scope:
                connection.execute("DELETE FROM deliveries WHERE webhook = ?", (webhook.id,))
            _see(connection, webhook.id, hits)

    def deliver(self, webhook: Webhook, library: str, new: Sequence[Hit]) -> bool:
        """Keep messages of the new pictures, which count as seen; whether there was room for
        all of them."""
        with self.transaction() as connection:
            if self.find(webhook.id) is None:  # deleted in the meantime
                return True
            room = MAX_WAITING - self._waiting(webhook.id)
            for number, hits in enumerate(in_messages(new)):
                if number >= room:
                    return False
                delivery_id = secrets.token_hex(_ID_BYTES)
                body = message_of(delivery_id, library, webhook.collection, hits)
                connection.execute(
                    "INSERT INTO deliveries (id, webhook, created, pictures, body) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (delivery_id, webhook.id, now(), len(hits), body),
                )
                _see(connection, webhook.id, hits)
        return True

    def is_full(self, webhook: Webhook) -> bool:
        """Whether so much waits that nothing new is kept."""
        return self._waiting(webhook.id) >= MAX_WAITING

    def waiting(self, webhook: Webhook) -> list[Delivery]:
        """What waits, the oldest first."""
        return self._deliveries(webhook.id, "number", MAX_WAITING)

    def begin_try(self, webhook: Webhook) -> Delivery | None:
        """What is to be sent next, noted as tried; None where nothing waits. What has failed comes
        after what has not."""
        due = self._deliveries(webhook.id, "tries, number", 1)
        if not due:
            return None
        pause = min(FIRST_PAUSE_S * 2.0 ** min(webhook.failures, 32), LONGEST_PAUSE_S)
        with self.transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET tries = tries + 1, error = ? WHERE id = ?",
                (_UNFINISHED, due[0].id),
            )
            connection.execute(
                "UPDATE webhooks SET failures = failures + 1, next_try = ? WHERE id = ?",
                (time.time() + pause, webhook.id),
            )
        return due[0]

    def end_try(self, webhook: Webhook, delivery: Delivery, error: str | None) -> None:
        """What became of it: it was accepted, or why not."""
        with self.transaction() as connection:
            if error is not None:
                connection.execute(
                    "UPDATE deliveries SET error = ? WHERE id = ?", (error, delivery.id)
                )
                return
            connection.execute("DELETE FROM deliveries WHERE id = ?", (delivery.id,))
            connection.execute(
                "UPDATE webhooks SET failures = 0, next_try = 0, delivered = delivered + 1, "
                "last_delivered = ? WHERE id = ?",
                (now(), webhook.id),
            )

    def try_now(self, webhook_id: str) -> None:
        """Wait no longer with what has failed."""
        self.write("UPDATE webhooks SET failures = 0, next_try = 0 WHERE id = ?", [(webhook_id,)])

    def _those(self, where: str, values: Sequence[str]) -> list[Webhook]:
        query = f"SELECT {_COLUMNS} FROM webhooks WHERE {where} ORDER BY created, id"  # noqa: S608
        return [Webhook(*row) for row in self.select(query, values)]

    def _deliveries(self, webhook_id: str, order: str, most: int) -> list[Delivery]:
        query = (
            "SELECT id, created, pictures, body, tries, error FROM deliveries WHERE webhook = ? "  # noqa: S608
            f"ORDER BY {order} LIMIT {most}"
        )
        return [Delivery(*row) for row in self.select(query, (webhook_id,))]

    def _waiting(self, webhook_id: str) -> int:
        return self._number("SELECT count(*) FROM deliveries WHERE webhook = ?", (webhook_id,))

    def _number(self, query: str, values: Sequence[str] = ()) -> int:
        ((number,),) = self.select(query, values)
        return int(number)

    def _lock_file(self, webhook_id: str) -> Path:
        return self._folder / f"{webhook_id}.lock"


def _see(connection: sqlite3.Connection, webhook_id: str, hits: Iterable[Hit]) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO seen (webhook, content) VALUES (?, ?)",
        ((webhook_id, content_of(hit)) for hit in hits),
    )

"""Calls the webhooks: looks what their collections got, and sends it until it is accepted.

Every server over the same data folder does so; a lock for each webhook keeps them from doing it
twice. What a webhook has seen and is still to be sent is in its library (`home/webhooks.py`).
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from http import HTTPStatus
from pathlib import Path

from filelock import Timeout

from scenesearch.errors import SceneSearchError
from scenesearch.home.saved_collections import SavedCollection, find_collection
from scenesearch.home.webhook_message import headers_of
from scenesearch.home.webhooks import Webhook, Webhooks
from scenesearch.runtime.cancel import cancelled_by
from scenesearch.runtime.events import LOGGER
from scenesearch.runtime.http_post import post
from scenesearch.runtime.web_address import HostList, PostError
from serve.collections import members_of
from serve.keys import Caller, Keys
from serve.libraries import Libraries
from serve.problems import as_refused

# How often each webhook has a turn, and the least time between two looks at its collection.
_TURN_S = 2.0
_LOOK_S = 5.0

_CALL_S = 10.0
_CALLS_A_TURN = 20

# An address that does not answer keeps one of them for as long as a call may take.
_THREADS = 4


def owner_of(webhook: Webhook, keys: Keys, library: str) -> Caller | None:
    """Who has made it, with what its key may see now; None where it may not have it any more."""
    caller = keys.named(webhook.owner)
    if caller is None or not caller.may("write") or not caller.sees(library):
        return None
    return caller


class WebhookDelivery:
    """Looks and sends, from `start` to `close`."""

    def __init__(self, libraries: Libraries, keys: Keys) -> None:
        self._libraries = libraries
        self._keys = keys
        self._local = HostList(libraries.installation.settings.api_webhook_hosts)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhooks")
        self._guard = threading.Lock()
        self._busy: set[str] = set()
        self._said: dict[str, str | None] = {}  # the last error of each
        # When each was looked at, and how library and collection were: as long as they are so,
        # there is nothing new.
        self._looked: dict[str, tuple[float, str | None]] = {}

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Returns once every call has ended; what it was about is sent by the next server."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        installation = self._libraries.installation
        while not self._stop.is_set():
            for folder in Webhooks.folders(installation.settings.data_dir / "libraries"):
                if not self._libraries.named or folder.name in self._libraries.named:
                    with self._logged(str(folder)):
                        self._begin_turns(folder)
            self._stop.wait(_TURN_S)

    def _begin_turns(self, folder: Path) -> None:
        """Give each webhook of a library a turn that has none now."""
        with Webhooks(folder) as webhooks:
            there = webhooks.all()
        for webhook in there:
            with self._guard:
                if webhook.id in self._busy:
                    continue
                self._busy.add(webhook.id)
            self._pool.submit(self._turn, folder, webhook.id)

    def _turn(self, folder: Path, webhook_id: str) -> None:
        try:
            with (
                self._logged(f"webhook {webhook_id}"),
                Webhooks(folder) as webhooks,
                webhooks.lock(webhook_id),
            ):
                webhook = webhooks.find(webhook_id)
                if webhook is None:  # deleted a moment ago
                    webhooks.delete(webhook_id)  # the lock's file is there again
                    return
                caller = owner_of(webhook, self._keys, folder.name)
                if caller is not None:
                    self._look(webhooks, webhook, folder.name, caller)
                    self._send(webhooks, webhook_id, caller)
        finally:
            with self._guard:
                self._busy.discard(webhook_id)

    @contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        """Errors inside are logged, the same one once, and end nothing else."""
        said = None
        try:
            yield
        except (Timeout, KeyboardInterrupt):  # another server has it, or this one is being stopped
            return
        except (SceneSearchError, OSError) as error:
            said = str(error)
            if self._said.get(what) != said:
                LOGGER.error("%s: %s", what, said, extra={"event": "webhook"})
        except Exception as error:  # a bug, which must not end all others
            said = repr(error)
            if self._said.get(what) != said:
                LOGGER.exception("%s", what, extra={"event": "webhook"})
        self._said[what] = said

    # Looking

    def _look(self, webhooks: Webhooks, webhook: Webhook, library: str, caller: Caller) -> None:
        """Keep what the collection got since the last time."""
        looked_at, looked_state = self._looked.get(webhook.id, (-_LOOK_S, None))
        if time.monotonic() - looked_at < _LOOK_S:
            return
        self._looked[webhook.id] = time.monotonic(), None
        problem = None
        try:
            files = self._libraries.installation.files(library)
            collection = find_collection(files.saved_requests, webhook.collection)
            state = self._state(library, caller, collection)
            if state == looked_state or self._look_now(
                webhooks, webhook, library, caller, collection
            ):
                self._looked[webhook.id] = time.monotonic(), state
        except SceneSearchError as error:
            refused = as_refused(error)
            problem = str(refused)
            if problem != webhook.problem and refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                LOGGER.error("webhook %s: %s", webhook.id, error, extra={"event": "webhook"})
        webhooks.note_problem(webhook, problem)

    def _look_now(
        self,
        webhooks: Webhooks,
        webhook: Webhook,
        library: str,
        caller: Caller,
        collection: SavedCollection,
    ) -> bool:
        """Look, whatever has changed; whether this was all there is to see."""
        is_same = (collection.asked, caller.where) == (webhook.request, webhook.scope)
        if is_same and webhooks.is_full(webhook):
            return False
        opened = self._libraries.open(caller, library)
        with cancelled_by(self._check_stop):
            hits = list(members_of(opened, caller, collection))
        is_whole = opened.version() is not None
        if not is_same:
            webhooks.begin_anew(webhook, collection.asked, caller.where, hits)
            return is_whole
        new = webhooks.new(webhook, hits)
        return (not new or webhooks.deliver(webhook, library, new)) and is_whole

    def _state(self, library: str, caller: Caller, collection: SavedCollection) -> str:
        """Another text when there may be something new. It opens no library."""
        parts = (
            self._libraries.store.version(library),
            collection,
            caller.where,
            date.today().isoformat(),
        )
        return repr(parts)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt

    # Sending

    def _send(self, webhooks: Webhooks, webhook_id: str, caller: Caller) -> None:
        """Send what waits, until something is not accepted."""
        for _ in range(_CALLS_A_TURN):
            webhook = webhooks.find(webhook_id)
            if (
                webhook is None
                or webhook.scope != caller.where  # what waits may be more than the key may see
                or webhook.pause_s > 0
                or self._stop.is_set()
            ):
                return
            delivery = webhooks.begin_try(webhook)
            if delivery is None:
                return
            headers = headers_of(delivery.id, delivery.body, webhook.secret)
            try:
                post(webhook.url, delivery.body, headers, local=self._local, timeout_s=_CALL_S)
            except PostError as error:
                LOGGER.warning("webhook %s: %s", webhook.id, error, extra={"event": "webhook"})
                webhooks.end_try(webhook, delivery, str(error))
                return
            webhooks.end_try(webhook, delivery, None)

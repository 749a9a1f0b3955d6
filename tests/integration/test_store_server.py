"""How the server's store behaves when the server does not: over a loopback that speaks HTTP.

The loopback answers what a test scripts, so these tests prove what is sent, tried again and
said, not what a server would find.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from scenesearch.store import server, server_faults
from scenesearch.store.base import (
    CollectionMissing,
    CollectionSpec,
    Point,
    StoreError,
    StoreUnavailable,
)
from scenesearch.store.fields import PayloadField
from scenesearch.store.open import open_store
from scenesearch.store.server import ServerStore
from tests.integration.qdrant_loopback import QdrantLoopback

SPEC = CollectionSpec("photos", "tiny", "ab", 2, (PayloadField("folder", "keyword", "Folder"),))
VECTOR = np.array([1, 0], np.float32)

Answer = tuple[int, dict[str, str], Any]  # status, headers, JSON (or bytes)
OK = {"usage": None, "time": 0.0, "status": "ok"}
LISTED: Answer = (200, {}, {**OK, "result": {"collections": [{"name": "photos-tiny-1"}]}})
NO_ALIASES: Answer = (200, {}, {**OK, "result": {"aliases": []}})
UPSERTED: Answer = (200, {}, {**OK, "result": {"operation_id": 1, "status": "completed"}})
DESCRIBED: Answer = (
    200,
    {},
    {
        **OK,
        "result": {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "points_count": 0,
            "payload_schema": {},
            "config": {
                "params": {"vectors": {"size": 2, "distance": "Cosine"}},
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
                "metadata": {"scenesearch": SPEC.to_json()},
            },
        },
    },
)


def refusal(status: int, text: str, **headers: str) -> Answer:
    return (status, headers, {"time": 0.0, "status": {"error": text}})


class Loopback:
    """An HTTP server that answers by script and remembers what it was asked.

    The version is asked for at first contact, and answered beside the script unless it is None.
    """

    def __init__(self) -> None:
        self.version: str | None = "1.19.0"
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.answer: Callable[[str, str], Answer] = lambda method, path: LISTED
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                path = self.path.partition("?")[0]
                if path == "/" and loopback.version is not None:
                    self.reply(200, {}, {"title": "qdrant", "version": loopback.version})
                    return
                loopback.requests.append((self.command, path, headers, body))
                status, answered, content = loopback.answer(self.command, path)
                with suppress(ConnectionError):  # whoever asked may have given up
                    self.reply(status, answered, content)

            def reply(self, status: int, answered: dict[str, str], content: Any) -> None:
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(raw)), **answered}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def script(self, *answers: Answer) -> None:
        """Give these answers in turn, the last one for ever."""
        queue = list(answers)
        self.answer = lambda method, path: queue.pop(0) if len(queue) > 1 else queue[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture
def store(loopback: Loopback) -> Iterator[ServerStore]:
    opened = ServerStore(loopback.url, api_key="secret", grpc_port=None, timeout_s=2)
    yield opened
    opened.close()


def test_a_server_that_is_not_there_is_one_sentence_with_its_url(loopback: Loopback) -> None:
    loopback.close()
    for port in (None, int(loopback.url.rpartition(":")[2])):
        store = ServerStore(loopback.url, grpc_port=port, timeout_s=1)
        with pytest.raises(StoreUnavailable) as fault:
            store.collections()
        assert str(fault.value) == f"cannot use Qdrant at {loopback.url}: connection refused"
        store.close()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_said_at_once(loopback: Loopback, store: ServerStore, status: int) -> None:
    loopback.script(refusal(status, "Invalid API key"))
    with pytest.raises(StoreUnavailable, match=rf"Qdrant at {loopback.url} refused the API key"):
        store.collections()
    assert len(loopback.requests) == 1
    assert "secret" not in str(loopback.requests[0][:2])
    assert loopback.requests[0][2]["api-key"] == "secret"


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_for_a_moment_is_asked_again(
    loopback: Loopback, store: ServerStore, status: int
) -> None:
    loopback.script(refusal(status, "busy"), refusal(status, "busy"), LISTED)
    assert store.collections() == ["photos-tiny-1"]
    assert len(loopback.requests) == 3


def test_a_request_to_wait_longer_than_one_would_is_not_followed(
    loopback: Loopback, store: ServerStore
) -> None:
    loopback.script(refusal(429, "slow down", Retry_After="600"))
    with pytest.raises(StoreUnavailable, match="it limits requests"):
        store.collections()
    assert len(loopback.requests) == 1


def test_a_server_that_stays_busy_is_given_up(loopback: Loopback, store: ServerStore) -> None:
    loopback.script(refusal(503, "starting"))
    with pytest.raises(StoreUnavailable, match=f"cannot use Qdrant at {loopback.url}: status 503"):
        store.collections()
    assert 3 <= len(loopback.requests) <= 30  # with growing pauses, not in a tight loop


def test_a_server_that_does_not_answer_in_time_is_given_up(loopback: Loopback) -> None:
    release = threading.Event()

    def hang(method: str, path: str) -> Answer:
        release.wait(10)
        return LISTED

    loopback.answer = hang
    store = ServerStore(loopback.url, grpc_port=None, timeout_s=1)
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        store.collections()
    release.set()
    store.close()


def test_an_upsert_outlives_a_short_failure_and_arrives_once_in_batches(
    loopback: Loopback, store: ServerStore
) -> None:
    failures = [refusal(503, "restarting"), refusal(503, "restarting")]

    def answer(method: str, path: str) -> Answer:
        if method == "GET":
            return DESCRIBED
        return failures.pop() if failures else UPSERTED

    loopback.answer = answer
    store.upsert("photos-tiny-1", [Point(f"{n}.jpg", VECTOR, {"folder": "a"}) for n in range(600)])

    puts = [body["points"] for method, _, _, body in loopback.requests if method == "PUT"]
    assert [len(points) for points in puts] == [256, 256, 256, 256, 88]
    assert puts[0] == puts[1] == puts[2]  # the same batch, tried three times
    written = [point["payload"]["image_id"] for points in puts[2:] for point in points]
    assert written == [f"{n}.jpg" for n in range(600)]
    assert puts[0][0]["vector"] == [1.0, 0.0]


def test_high_dimensions_travel_in_smaller_batches(loopback: Loopback, store: ServerStore) -> None:
    wide = CollectionSpec("photos", "tiny", "ab", 60_000, ())
    described = json.loads(json.dumps(DESCRIBED[2]))
    described["result"]["config"]["metadata"]["scenesearch"] = wide.to_json()
    loopback.answer = lambda method, path: (200, {}, described) if method == "GET" else UPSERTED
    vector = np.ones(60_000, np.float32)
    store.upsert("photos-tiny-1", [Point(f"{n}.jpg", vector, {}) for n in range(8)])
    puts = [len(body["points"]) for method, _, _, body in loopback.requests if method == "PUT"]
    assert puts == [6, 2]


def test_a_collection_is_indexed_before_it_is_ready(loopback: Loopback, store: ServerStore) -> None:
    def answer(method: str, path: str) -> Answer:
        if path == "/aliases":
            return NO_ALIASES
        if method == "GET":
            return (200, {}, {**OK, "result": {"collections": []}})
        if path.endswith("/index"):
            return UPSERTED
        return (200, {}, {**OK, "result": True})

    loopback.answer = answer
    store.create_collection("photos-tiny-1", SPEC)

    asked = [(m, path, body) for m, path, _, body in loopback.requests if m != "GET"]
    assert [(method, path) for method, path, _ in asked] == [
        ("PUT", "/collections/photos-tiny-1"),
        ("PUT", "/collections/photos-tiny-1/index"),
        ("PATCH", "/collections/photos-tiny-1"),
    ]
    made, indexed, recorded = (body for _, _, body in asked)
    assert made["vectors"] == {"size": 2, "distance": "Cosine"}
    assert made["strict_mode_config"]["unindexed_filtering_retrieve"] is False
    assert indexed["field_name"] == "folder"
    assert indexed["field_schema"] == {"type": "keyword", "prefix": True}
    assert CollectionSpec.from_json(recorded["metadata"]["scenesearch"]) == SPEC


def test_a_collection_of_somebody_else_is_said_to_be(
    loopback: Loopback, store: ServerStore
) -> None:
    foreign = json.loads(json.dumps(DESCRIBED[2]))
    foreign["result"]["config"]["metadata"] = None
    loopback.script((200, {}, foreign))
    with pytest.raises(StoreError, match=r"collection docs at .* was not made by scenesearch"):
        store.describe("docs")


def test_an_unknown_collection_is_missing(loopback: Loopback, store: ServerStore) -> None:
    answers: dict[str, Answer] = {"/collections": LISTED, "/aliases": NO_ALIASES}
    unknown = refusal(404, "Not found: Collection `nope` doesn't exist!")
    loopback.answer = lambda method, path: answers.get(path, unknown)
    with pytest.raises(CollectionMissing, match=r"'nope'.*photos-tiny-1"):
        store.count("nope")


def test_a_web_server_that_is_no_qdrant_is_told_apart(
    loopback: Loopback, store: ServerStore
) -> None:
    for answer in ((200, {}, b"<html>hello</html>"), (404, {}, b"<html>not here</html>")):
        loopback.version = None
        loopback.script(answer)
        with pytest.raises(StoreUnavailable, match="what answers there is no Qdrant server"):
            store.collections()


def test_a_request_the_server_will_not_do_gives_its_words(
    loopback: Loopback, store: ServerStore
) -> None:
    loopback.answer = lambda method, path: (
        DESCRIBED if method == "GET" else refusal(400, "Index required but not found")
    )
    with pytest.raises(StoreError, match="refused the request: Index required"):
        store.count("photos-tiny-1")


def test_health_names_version_and_place(loopback: Loopback, store: ServerStore) -> None:
    loopback.script(LISTED)
    assert store.health() == f"Qdrant server 1.19.0 at {loopback.url}, 1 collection"


@pytest.mark.parametrize("url", ["ftp://host", "http://host:notaport", "::::"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="is no address of a Qdrant server"):
        ServerStore(url)


def test_a_password_in_the_url_stays_out_of_messages(loopback: Loopback) -> None:
    loopback.close()
    url = loopback.url.replace("//", "//someone:hunter2@")
    store = ServerStore(url, grpc_port=None, timeout_s=1)
    with pytest.raises(StoreUnavailable) as fault:
        store.collections()
    assert "hunter2" not in str(fault.value)
    store.close()


def test_a_url_opens_the_server_and_none_the_embedded_store(
    loopback: Loopback, tmp_path: Path
) -> None:
    server = open_store(edge_dir=tmp_path, qdrant_url=loopback.url, grpc_port=None, timeout_s=1)
    assert server.collections() == ["photos-tiny-1"]
    server.close()
    embedded = open_store(edge_dir=tmp_path, qdrant_url=None)
    assert embedded.collections() == []
    assert "embedded" in embedded.health()
    embedded.close()


@pytest.fixture
def grpc_loopback() -> Iterator[QdrantLoopback]:
    server = QdrantLoopback(api_key="secret")
    yield server
    server.close()


def grpc_store(server: QdrantLoopback, api_key: str = "secret") -> ServerStore:
    url = f"http://127.0.0.1:{server.rest_port}"
    return ServerStore(url, api_key, grpc_port=server.port, timeout_s=3)


def test_a_wrong_key_is_said_at_once_over_grpc(grpc_loopback: QdrantLoopback) -> None:
    store = grpc_store(grpc_loopback, "wrong")
    with pytest.raises(StoreUnavailable, match="refused the API key"):
        store.collections()
    assert grpc_loopback.calls.count("List") == 2  # over both ports, and not again
    store.close()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_writing_over_grpc_outlives_a_short_failure(
    grpc_loopback: QdrantLoopback, code: grpc.StatusCode
) -> None:
    store = grpc_store(grpc_loopback)
    store.create_collection("photos-tiny-1", SPEC)
    grpc_loopback.calls.clear()
    grpc_loopback.failures = [(code, "one moment")] * 3

    store.upsert("photos-tiny-1", [Point("a.jpg", VECTOR, {"folder": "x"})])

    assert store.count("photos-tiny-1") == 1
    assert len(grpc_loopback.calls) == 6  # what it declares and the upsert, 3 failures, a count
    store.close()


@pytest.mark.parametrize(
    "words",
    [
        "Service internal error: 0 of 0 read operations failed",
        "Service internal error: 1 of 1 read operations failed:\n  Service internal error: Tonic "
        "status error: code: 'The service is currently unavailable', message: \"dns error\"",
        "Service internal error: The replica set for shard 0 on peer 7 does not have enough active "
        "replicas",
        "Service internal error: The replica set for shard 0 on peer 7 has no active replica",
        "Service internal error: Failed to propose operation: leader is not established within 10s",
        "Service internal error: Waiting for consensus operation commit failed. Timeout set at: 10 "
        "seconds",
    ],
)
def test_a_cluster_that_changes_is_waited_for(loopback: Loopback, words: str) -> None:
    error = _InternalError(words)
    assert server_faults.understand(error) == server_faults.Fault(
        "passing", "the cluster is not ready yet", lost=True
    )
    loopback.script(refusal(500, words), LISTED)
    with closing(ServerStore(loopback.url, grpc_port=None, timeout_s=2)) as store:
        assert store.collections() == ["photos-tiny-1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("Forbidden: Global manage access is required", "this API key may only read"),
        ("Forbidden: Write access to collection photos is required", "this API key may only read"),
        ("Forbidden: Global access is required", "this API key is limited to some collections"),
        ("Forbidden: Manage access for this operation is required", "limited to some collections"),
        ("Forbidden: Access to collection photos is required", "limited to some collections"),
        ("Invalid API key or JWT", "refused the API key"),
    ],
)
def test_what_a_key_lacks_is_said(
    loopback: Loopback, grpc_loopback: QdrantLoopback, words: str, said: str
) -> None:
    with closing(ServerStore(loopback.url, grpc_port=None, timeout_s=2)) as store:
        loopback.script(refusal(403, words))
        with pytest.raises(StoreUnavailable, match=said):
            store.collections()
    with closing(grpc_store(grpc_loopback)) as store:
        store.collections()
        grpc_loopback.failures = [(grpc.StatusCode.PERMISSION_DENIED, words)]
        with pytest.raises(StoreUnavailable, match=said):
            store.collections()


def test_a_failure_of_the_server_itself_is_not_waited_for(loopback: Loopback) -> None:
    loopback.script(refusal(500, "Service internal error: task 17 panicked"))
    with (
        closing(ServerStore(loopback.url, grpc_port=None, timeout_s=2)) as store,
        pytest.raises(StoreUnavailable, match="status 500: Service internal error: task 17"),
    ):
        store.collections()
    assert len(loopback.requests) == 1


class _InternalError(grpc.RpcError):
    def __init__(self, words: str) -> None:
        self._words = words

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INTERNAL

    def details(self) -> str:
        return self._words


def test_a_collection_whose_making_was_interrupted_can_be_made_again(
    grpc_loopback: QdrantLoopback,
) -> None:
    store = grpc_store(grpc_loopback)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_create_index", crash)
        with pytest.raises(KeyboardInterrupt):
            store.create_collection("photos-tiny-1", SPEC)
    with pytest.raises(StoreError, match=r"is unfinished.*prune photos --unfinished` deletes it"):
        store.describe("photos-tiny-1")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_CREATION_S", 0.2)  # so long another process might be at it
        store.create_collection("photos-tiny-1", SPEC)

    assert store.describe("photos-tiny-1") == SPEC
    store.close()

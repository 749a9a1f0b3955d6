"""First contact with a server, and several addresses: over doubles that speak gRPC and REST."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from scenesearch.store.ask import Ask
from scenesearch.store.base import CollectionSpec, Point, StoreError, StoreUnavailable
from scenesearch.store.fields import PayloadField
from scenesearch.store.server import ServerStore
from scenesearch.store.server_nodes import open_nodes
from tests.integration.qdrant_loopback import QdrantLoopback
from tests.integration.tcp_proxy import TcpProxy

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")

SPEC = CollectionSpec("photos", "tiny", "ab", 2, (PayloadField("folder", "keyword", "Folder"),))
VECTOR = np.array([1, 0], np.float32)


def point(name: str) -> Point:
    return Point(name, VECTOR, {"folder": "x"})


@pytest.fixture
def servers() -> Iterator[list[QdrantLoopback]]:
    """Two servers that know nothing of each other."""
    both = [QdrantLoopback(), QdrantLoopback()]
    yield both
    for server in both:
        server.close()


def opened(server: QdrantLoopback, grpc_port: int | None) -> ServerStore:
    return ServerStore(f"http://127.0.0.1:{server.rest_port}", grpc_port=grpc_port, timeout_s=5)


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("version", ["1.18.3", "1.16.0", "0.11.7", "unheard of"])
def test_an_older_server_is_refused_with_both_versions(rest: bool, version: str) -> None:
    server = QdrantLoopback(version=version)
    with closing(server), closing(opened(server, None if rest else server.port)) as store:
        with pytest.raises(StoreError, match=rf"is version {version}; scenesearch needs 1\.19"):
            store.create_collection("photos-tiny-1", SPEC)
        assert "Create" not in server.calls


@pytest.mark.parametrize("version", ["1.19.0", "1.20.1", "2.0.0", "v1.19.2-dev"])
def test_the_lowest_version_and_newer_ones_are_taken(version: str) -> None:
    server = QdrantLoopback(version=version)
    with closing(server), closing(opened(server, server.port)) as store:
        store.create_collection("photos-tiny-1", SPEC)
        assert store.describe("photos-tiny-1") == SPEC


def test_the_version_is_asked_for_once() -> None:
    server = QdrantLoopback()
    with closing(server), closing(opened(server, server.port)) as store:
        for _ in range(3):
            store.collections()
        assert server.calls.count("HealthCheck") == 1


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://localhost", 6334),
        ("http://localhost:6333", 6334),
        ("localhost:6333", 6334),
        ("https://qdrant.example.org", 6334),
        ("http://localhost:6410", None),
        ("https://qdrant.example.org:443/prefix", None),
    ],
)
def test_a_grpc_port_is_assumed_beside_the_usual_port_alone(url: str, port: int | None) -> None:
    nodes = open_nodes(url, None, "auto", 5)
    client = nodes.current.client._client
    assert (client._grpc_port if client._prefer_grpc else None) == port
    nodes.close()


def test_a_grpc_port_of_another_server_is_refused(servers: list[QdrantLoopback]) -> None:
    one, other = servers
    with closing(opened(other, other.port)) as store:
        store.create_collection("theirs", SPEC)
    with (
        closing(opened(one, other.port)) as store,
        pytest.raises(StoreError, match=r"are two different Qdrant servers; set .*GRPC_PORT"),
    ):
        store.collections()


def test_servers_that_hold_collections_of_the_same_names_are_told_apart(
    servers: list[QdrantLoopback],
) -> None:
    for server in servers:
        with closing(opened(server, server.port)) as store:
            store.create_collection("photos-tiny-1", SPEC)
    one, other = servers
    with (
        closing(opened(one, other.port)) as store,
        pytest.raises(StoreError, match="two different Qdrant servers"),
    ):
        store.upsert("photos-tiny-1", [point("a.jpg")])
    assert "Upsert" not in other.calls


def test_of_two_empty_servers_neither_keeps_a_collection(servers: list[QdrantLoopback]) -> None:
    one, other = servers
    with (
        closing(opened(one, other.port)) as store,
        pytest.raises(StoreError, match="two different Qdrant servers"),
    ):
        store.create_collection("photos-tiny-1", SPEC)
    for server in servers:
        with closing(opened(server, server.port)) as store:
            assert store.collections() == []


def test_a_collection_made_at_first_contact_makes_no_second_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One port is asked before another worker makes a collection, the other after."""
    server = QdrantLoopback()
    with (
        closing(server),
        closing(opened(server, None)) as maker,
        closing(opened(server, server.port)) as store,
    ):
        rest = store._requests.nodes.current.client.http.collections_api
        list_now = rest.get_collections
        before = [list_now()]
        maker.create_collection("photos-tiny-1", SPEC)
        monkeypatch.setattr(rest, "get_collections", lambda: before.pop() if before else list_now())
        assert store.describe("photos-tiny-1") == SPEC
        assert not before


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ada:secret@[::1]:6333/prefix?key=secret", "http://[::1]:6333/prefix"),
        ("qdrant:6333", "http://qdrant:6333"),
        ("ada:secret@qdrant:6333", "http://qdrant:6333"),
        ("https://qdrant.example.org", "https://qdrant.example.org"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    nodes = open_nodes(url, None, None, 5)
    assert nodes.shown == shown
    nodes.close()


def test_what_a_cluster_says_while_it_makes_a_collection_is_waited_for() -> None:
    server = QdrantLoopback()
    with closing(server):
        for port in (server.port, None):
            with closing(opened(server, port)) as store:
                store.create_collection(f"photos-tiny-{port or 0}", SPEC)
                server.troubles = {"Get": ["making"] * 2, "Query": ["making"], "Upsert": ["making"]}
                store.upsert(f"photos-tiny-{port or 0}", [point("a.jpg")])
                (hit,) = store.search(f"photos-tiny-{port or 0}", Ask(VECTOR, limit=1))
                assert hit.image_id == "a.jpg"
                assert not any(server.troubles.values())


class Cluster:
    """Three nodes over the same data, each with a cable that can be pulled."""

    def __init__(self, *, rest: bool) -> None:
        first = QdrantLoopback()
        self.nodes = [first, QdrantLoopback(beside=first), QdrantLoopback(beside=first)]
        self.cables = [TcpProxy(node.rest_port) for node in self.nodes]
        self.rest = rest
        self.url = ", ".join(f"http://127.0.0.1:{cable.port}" for cable in self.cables)

    def store(self, *, patience_s: float = 20) -> ServerStore:
        # One port stands for both protocols' loss, so these run over REST.
        return ServerStore(self.url, grpc_port=None, timeout_s=5, patience_s=patience_s)

    def close(self) -> None:
        for cable in self.cables:
            cable.stop()
        for node in reversed(self.nodes):
            node.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster(rest=True)
    yield made
    made.close()


def test_reads_and_writes_go_on_when_each_node_is_lost_in_turn(cluster: Cluster) -> None:
    with closing(cluster.store()) as store:
        store.create_collection("photos-tiny-1", SPEC)
        for lost, cable in enumerate(cluster.cables):
            cable.stop()
            store.upsert("photos-tiny-1", [point(f"{lost}.jpg")])
            assert store.count("photos-tiny-1") == lost + 1
            assert len(store.search("photos-tiny-1", Ask(VECTOR, limit=9))) == lost + 1
            cable.start()
        assert store.retried == 0  # another node answered at once, nothing was waited for


def test_a_node_that_is_back_is_used_again(cluster: Cluster) -> None:
    first, *others = cluster.cables
    with closing(cluster.store()) as store:
        first.stop()
        assert store.collections() == []
        first.start()
        for cable in others:
            cable.stop()
        cluster.nodes[0].calls.clear()
        assert store.collections() == []
        assert cluster.nodes[0].calls == ["HealthCheck", "List"]


def test_with_every_node_away_all_are_named(cluster: Cluster) -> None:
    with closing(cluster.store(patience_s=0.1)) as store:
        for cable in cluster.cables:
            cable.stop()
        with pytest.raises(StoreUnavailable) as fault:
            store.collections()
    assert str(fault.value) == f"cannot use Qdrant at {cluster.url}: connection refused"


def test_health_names_the_nodes_that_do_not_answer(cluster: Cluster) -> None:
    with closing(cluster.store()) as store:
        assert "no answer" not in store.health()
        cluster.cables[1].stop()
        time.sleep(1.1)  # until its last answer is old
        assert store.health().endswith(f"; no answer from {cluster.url.split(', ')[1]}")


def test_a_node_of_an_older_version_is_refused_when_it_is_its_turn(cluster: Cluster) -> None:
    cluster.nodes[1].version = "1.18.3"
    with closing(cluster.store()) as store:
        store.collections()
        cluster.cables[0].stop()
        with pytest.raises(StoreError, match=r"is version 1\.18\.3"):
            store.collections()


def test_a_machine_that_answers_nothing_at_all_is_passed_over(cluster: Cluster) -> None:
    # A listener whose queue is full takes no connection and refuses none, like a host that is off.
    with socket.socket() as silent, socket.socket() as filler:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fillers = [filler]
        filler.connect(silent.getsockname())
        for _ in range(4):
            more = socket.socket()
            more.setblocking(False)
            more.connect_ex(silent.getsockname())
            fillers.append(more)
        url = f"http://127.0.0.1:{silent.getsockname()[1]},{cluster.url}"
        with closing(ServerStore(url, grpc_port=None, timeout_s=60)) as store:
            answered: list[list[str]] = []
            asking = threading.Thread(target=lambda: answered.append(store.collections()))
            asking.start()
            asking.join(20)
            assert answered == [[]]  # and not after the request's time limit
        for one in fillers:
            one.close()


@pytest.mark.parametrize("url", ["", " , ", "http://a:6333,ftp://b", "http://a,http://b..c:6333"])
def test_a_list_with_no_address_in_it_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="address"):
        ServerStore(url)


def test_a_name_that_cannot_be_resolved_is_a_sentence() -> None:
    for port in (None, 6334):
        with (
            closing(ServerStore("http://no-such-host.invalid:6333", grpc_port=port)) as store,
            pytest.raises(StoreUnavailable) as fault,
        ):
            store.collections()
        assert str(fault.value) == (
            "cannot use Qdrant at http://no-such-host.invalid:6333: its name cannot be resolved"
        )

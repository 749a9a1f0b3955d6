"""Addresses that somebody else has chosen: which are called, and how a call ends."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from scenesearch.runtime.http_post import addresses_of, post
from scenesearch.runtime.web_address import HostList, PostError, is_public, parse_target
from tests.receiver import Receiver, receiving

NONE = HostList("")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def send(url: str, local: HostList | None = None, timeout_s: float = 60) -> None:
    post(url, b"{}", {"Content-Type": "application/json"}, local=local, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "place"),
    [
        ("http://Example.ORG", "example.org", 80, "/", "example.org"),
        ("https://example.org.:8443/a/b?c=d", "example.org", 8443, "/a/b?c=d", "example.org:8443"),
        ("http://[::1]:80/", "::1", 80, "/", "[::1]"),
    ],
)
def test_an_address_is_taken_apart(url: str, host: str, port: int, path: str, place: str) -> None:
    target = parse_target(url)
    assert (target.host, target.port, target.path, target.place) == (host, port, path, place)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "//example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "http://",
        "http:///path",
        "http://user:word@example.org/",
        "http://example.org@127.0.0.1/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://example.org:x/",
        "http://[fe80::1%25eth0]/",
        "http://[::1",
        "http://example.org/#part",
        "http://example.org/a b",
        "http://example.org/\r\nHost: other",
        "http://example.org\\@127.0.0.1/",
        "http://exämple.org/",
        "http://example.org/" + "x" * 2000,
    ],
)
def test_what_is_no_address_to_call_is_refused(url: str) -> None:
    with pytest.raises(PostError):
        parse_target(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0",  # noqa: S104
        "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.88.99.1", "198.18.0.1", "224.0.0.1",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1",
        "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "2001::1", "2001:db8::1",
        "2002:7f00:1::",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1"])
def test_this_machine_is_not_called_however_it_is_written(host: str) -> None:
    with pytest.raises(PostError, match="has no public address"):
        addresses_of(parse_target(f"http://{host}/"), NONE)


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Names get these addresses, another list each time; returns what was asked."""
    left, asked = list(answers), list[str]()

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (at, port)) for at in left.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_of_a_name_only_public_addresses_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["127.0.0.1", "1.1.1.1", "10.0.0.1"])
    found = addresses_of(parse_target("http://mixed.example/"), NONE)
    assert [one[4] for one in found] == [("1.1.1.1", 80)]


def test_a_name_is_resolved_once_and_its_checked_address_is_called(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    url = receiver.url.replace("127.0.0.1", "changing.example")
    asked = resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    send(url, HostList("changing.example"))
    assert asked == ["changing.example"]
    assert receiver.headers[0]["Host"] == url.split("/")[2]


def test_a_host_of_the_list_may_be_local_and_with_a_port_that_alone() -> None:
    hosts = HostList("n8n.lan, 127.0.0.1:5678, [::1]:80")
    for url in (
        "https://n8n.lan/",
        "http://N8N.lan:99/",
        "http://127.0.0.1:5678/",
        "http://[::1]/",
    ):
        assert parse_target(url) in hosts, url
    for url in ("http://127.0.0.1/", "http://localhost:5678/", "http://[::1]:81/"):
        assert parse_target(url) not in hosts, url


@pytest.mark.parametrize("setting", ["a b", "http://x", "x/y", "user@x", "x:port", ":80"])
def test_what_is_no_host_is_no_setting(setting: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        HostList(setting)


def test_a_status_of_2xx_is_accepted_and_no_other(receiver: Receiver) -> None:
    for status in (200, 202, 204):
        receiver.status = status
        send(receiver.url)
    for status in (400, 404, 410, 500, 503):
        receiver.status = status
        with pytest.raises(PostError, match=f"answers with status {status}"):
            send(receiver.url)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.where = 307, receiver.url
    with pytest.raises(PostError, match="sends elsewhere"):
        send(receiver.url)
    assert len(receiver.bodies) == 1


def answering(pieces: Iterator[bytes]) -> str:
    """The address of a server that answers with these pieces, one after the other."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with server, server.accept()[0] as connection, suppress(OSError):
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)
                threading.Event().wait(0.05)

    threading.Thread(target=answer, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_who_answers_byte_by_byte_is_left() -> None:
    drops = itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], itertools.repeat(b"x"))
    with pytest.raises(PostError, match=r"has not answered within 0\.5 s"):
        send(answering(drops), timeout_s=0.5)


def test_who_is_no_web_server_is_named() -> None:
    with pytest.raises(PostError, match="does not answer as a web server does"):
        send(answering(iter([b"220 mail.example.org ESMTP\r\n"])))


def test_who_does_not_listen_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(PostError, match="cannot be reached: Connection refused"):
        send(f"http://127.0.0.1:{port}/")


def test_a_certificate_that_nobody_knows_is_not_trusted(receiver: Receiver) -> None:
    with pytest.raises(PostError, match="no connection that can be trusted"):
        send(receiver.url.replace("http:", "https:"))

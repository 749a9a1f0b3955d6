"""Posting to an address that somebody else has chosen.

The host is resolved once, its addresses are checked, and the connection goes to one of those that
were checked: a name whose DNS answers change cannot lead elsewhere. Redirects are not followed, no
proxy is asked, and nothing of the answer but its status is used.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from scenesearch.runtime.web_address import HostList, PostError, Target, is_public, parse_target

_MOST_ADDRESSES = 4


def addresses_of(target: Target, local: HostList | None) -> list[tuple[Any, ...]]:
    """Where the target may be reached, as `socket.getaddrinfo` says it: at public addresses, and
    for hosts of the list at any. None: all hosts may be local. Raises PostError."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    if local is not None and target not in local:
        found = [one for one in found if is_public(str(one[4][0]).partition("%")[0])]
    if not found:
        # The same for a name that is not there: who may not call local hosts need not learn which
        # there are.
        where = "address" if local is None else "public address"
        raise PostError(f"{target.place} has no {where}")
    return list(found[:_MOST_ADDRESSES])


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    local: HostList | None,
    timeout_s: float,
) -> None:
    """Send the body; returns once it was accepted with a status of 2xx. `local` is as for
    `addresses_of`. Raises PostError, at the latest `timeout_s` after the name was resolved, which
    has the system's own limits."""
    target = parse_target(url)
    connection = _Connection(target, addresses_of(target, local), timeout_s)
    # Each read may take `timeout_s`: who sends a byte now and then would keep us for ever.
    ending = threading.Timer(timeout_s, connection.end)
    ending.daemon = True
    ending.start()
    try:
        connection.request("POST", target.path, body, {"Connection": "close", **headers})
        status = connection.getresponse().status
        if connection.is_ended:  # in the middle of the headers
            raise TimeoutError
    except (TimeoutError, OSError, http.client.HTTPException) as error:
        raise PostError(f"{target.place} {_why(error, connection, timeout_s)}") from None
    finally:
        ending.cancel()
        connection.close()
    if 300 <= status < 400:
        raise PostError(f"{target.place} sends elsewhere (status {status}), which is not followed")
    if not 200 <= status < 300:
        raise PostError(f"{target.place} answers with status {status}")


def _why(error: Exception, connection: "_Connection", timeout_s: float) -> str:
    if connection.is_ended or isinstance(error, TimeoutError):
        return f"has not answered within {timeout_s:g} s"
    if isinstance(error, ssl.SSLError):
        return f"has no connection that can be trusted: {error.reason or 'TLS failed'}"
    if isinstance(error, OSError):
        return f"cannot be reached: {error.strerror or 'the connection was closed'}"
    return "does not answer as a web server does"


class _Connection(http.client.HTTPConnection):
    """A connection to one of the addresses that were checked."""

    def __init__(self, target: Target, addresses: list[tuple[Any, ...]], timeout_s: float) -> None:
        super().__init__(target.host, target.port)
        self._target = target
        self._addresses = addresses
        self._until = time.monotonic() + timeout_s
        self.is_ended = False

    def connect(self) -> None:
        self.sock = self._reach()
        if self._target.scheme == "https":
            context = ssl.create_default_context()
            # The handshake comes after, so that `end` finds the socket.
            self.sock = context.wrap_socket(
                self.sock, server_hostname=self._target.host, do_handshake_on_connect=False
            )
            self.sock.do_handshake()

    def _reach(self) -> socket.socket:
        for number, (family, kind, protocol, _, address) in enumerate(self._addresses, start=1):
            reaching = socket.socket(family, kind, protocol)
            # The last one may take all the time that is left.
            share = len(self._addresses) - number + 1
            reaching.settimeout(max(0.01, (self._until - time.monotonic()) / share))
            try:
                reaching.connect(address)
            except OSError:
                reaching.close()
                if share == 1:
                    raise
                continue
            reaching.settimeout(max(0.01, self._until - time.monotonic()))
            return reaching
        raise OSError  # there is always an address

    def end(self) -> None:
        """Ends every wait of the other thread."""
        self.is_ended = True
        if self.sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

"""A web server on this machine that keeps what it is sent, for what calls addresses."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 60


class Receiver:
    """What it was sent: `bodies`, and their `headers`. It answers with `status`, which a test may
    change; `where` is the Location of its answers, and `before` is called before each."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.where: str | None = None
        self.before: Callable[[], object] = lambda: None
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    @property
    def documents(self) -> list[Any]:
        return [json.loads(body) for body in self.bodies]

    @property
    def told(self) -> list[str]:
        """The ids of all pictures that it was told, in order."""
        return [one["image_id"] for document in self.documents for one in document["pictures"]]

    @property
    def deliveries(self) -> list[str]:
        return [headers["X-Scenesearch-Delivery"] for headers in self.headers]

    def is_signed(self, secret: str) -> bool:
        """Whether each body has the signature of the secret."""
        return all(
            headers.get("X-Hub-Signature-256")
            == "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            for headers, body in zip(self.headers, self.bodies, strict=True)
        )


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.headers.append(dict(self.headers))
            receiver.bodies.append(body)
            receiver.before()
            self.send_response(receiver.status)
            if receiver.where is not None:
                self.send_header("Location", receiver.where)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield receiver
        server.shutdown()


def until(condition: Callable[[], Any]) -> Any:
    """What the condition is, once it is true."""
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return found

"""A model hub on this machine that speaks as much of the hub's protocol as a download needs."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Repositories by id: file name -> content. The rest is what can go wrong."""

    repositories: dict[str, dict[str, bytes]]
    url: str = ""
    gated: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)  # files whose body ends half-way
    stalled: set[str] = field(default_factory=set)  # files whose body stops half-way and waits
    forged: set[str] = field(default_factory=set)  # files whose content is not the declared one
    longer: set[str] = field(default_factory=set)  # files of one byte more than declared
    small: set[str] = field(default_factory=set)  # files of which git's hash is declared
    released: threading.Event = field(default_factory=threading.Event)
    began_to_stall: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._answer_about(found[1], found[2])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._send_file(found[1], found[3])
        else:
            self._refuse(404, "EntryNotFound")

    def _answer_about(self, repo_id: str, revision: str | None) -> None:
        files = self.served.repositories.get(repo_id)
        if repo_id in self.served.gated:
            return self._refuse(403, "GatedRepo")
        if files is None:
            return self._refuse(404, "RepoNotFound")
        if revision not in (None, "main", SHA):
            return self._refuse(404, "RevisionNotFound")
        siblings = [
            {"rfilename": name, "size": len(content), **self._hashes(name, content)}
            for name, content in files.items()
        ]
        about = {"id": repo_id, "sha": SHA, "siblings": siblings, "cardData": {"license": "mit"}}
        body = json.dumps(about | {"tags": [], "downloads": 0, "private": False}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self._finish(body)
        return None

    def _hashes(self, name: str, content: bytes) -> dict[str, Any]:
        if name in self.served.small:
            blob = b"blob %d\0" % len(content) + content
            return {"blobId": hashlib.sha1(blob, usedforsecurity=False).hexdigest()}
        sha256 = hashlib.sha256(content).hexdigest()
        return {"blobId": "b", "lfs": {"sha256": sha256, "size": len(content), "pointerSize": 100}}

    def _send_file(self, repo_id: str, name: str) -> None:
        content = self.served.repositories.get(repo_id, {}).get(name)
        if content is None:
            return self._refuse(404, "EntryNotFound")
        if name in self.served.forged:
            content = bytes(len(content))
        if name in self.served.longer:
            content += b" "
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", SHA)
        if self.command == "GET" and name in self.served.cut | self.served.stalled:
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            if name in self.served.stalled:
                self.served.began_to_stall.set()
                self.served.released.wait(30)
            self.close_connection = True
            self.connection.close()
            return None
        self._finish(content)
        return None

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self._finish(b"{}")

    def _finish(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

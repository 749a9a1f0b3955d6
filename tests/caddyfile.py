"""Reads as much of Caddy's configuration as deploy/Caddyfile has, and answers as it says: what
stands in for the proxy where no Docker runs."""

import base64
import http.client
import os
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# A directive's words, and those of the lines in its braces.
Directives = dict[str, list[str]]


@dataclass
class Site:
    """The matchers of the one site, and what is done for each, in order; '' fits every path."""

    matchers: dict[str, list[str]] = field(default_factory=dict)
    handlers: list[tuple[str, Directives]] = field(default_factory=list)

    def handler(self, path: str) -> Directives:
        """What is done for a path: the first whose matcher fits."""
        return next(done for name, done in self.handlers if self._fits(name, path))

    def _fits(self, name: str, path: str) -> bool:
        if not name:
            return True
        return any(
            path.startswith(one[:-1]) if one.endswith("*") else path == one
            for one in self.matchers[name]
        )


def read(text: str) -> Site:
    """The site of a file; an unknown form fails."""
    site, blocks = Site(), list[list[str]]()
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words == ["}"]:
            blocks.pop()
        elif words[-1] == "{":
            blocks.append(words[:-1])
            if words[0] == "handle":
                site.handlers.append((words[1] if len(words) > 2 else "", {}))
            elif len(blocks) == 3:
                site.handlers[-1][1][words[0]] = []
        elif len(blocks) == 1:
            assert words[0].startswith("@") and words[1] == "path", line
            site.matchers[words[0]] = words[2:]
        elif blocks[1][0] == "handle" and len(blocks) == 2:
            site.handlers[-1][1][words[0]] = words[1:]
        elif blocks[1][0] == "handle":
            site.handlers[-1][1][blocks[2][0]] += words
        else:
            assert blocks[1][0] in ("header", "request_body"), line
    assert not blocks
    return site


def serve(site: Site, port: int, addresses: Mapping[str, str], folder: Path) -> None:
    """Answer with TLS until the process ends; `addresses` are those of the services."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            done = site.handler(self.path.partition("?")[0])
            given = self.headers.get("Authorization", "")
            if "basic_auth" in done and not _knows_password(given):
                self._say(401, b"")
            elif "respond" in done:
                self._say(int(done["respond"][0]), b"")
            else:
                self._pass_on(addresses[done["reverse_proxy"][0]])

        do_POST = do_GET  # noqa: N815

        def _pass_on(self, address: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asking = http.client.HTTPConnection(address, timeout=60)
            try:
                asking.request(self.command, self.path, body, dict(self.headers))
                answer = asking.getresponse()
                self._say(answer.status, answer.read())
            except OSError:
                self._say(502, b"")
            finally:
                asking.close()

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*_certificate(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def _knows_password(header: str) -> bool:
    kind, _, said = header.partition(" ")
    user = base64.b64decode(said).decode().partition(":")[0] if kind == "Basic" else None
    return user is not None and user == os.environ["PAGE_USER"]


def _certificate(folder: Path) -> tuple[Path, Path]:
    """One that signs itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=smoke.internal"
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return certificate, key

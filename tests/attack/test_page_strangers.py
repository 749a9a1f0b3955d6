"""Strangers before a page with a password: they try every route, upload, guess, and get nothing."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from scenesearch.encoder.onnx import OnnxEncoder
from tests.browser.conftest import ServedPage, serving
from tests.tiny_encoder import write_tiny_encoder
from tests.unit.ui_world import build_library, reds
from ui.access import hash_password

pytestmark = pytest.mark.slow

WORD = "open sesame"
UPLOADS, UPLOAD_MB = 8, 40
ODD = (
    "/_stcore//metrics",
    "/%5fstcore/metrics",
    "/_stcore/health/",
    "/./media/x",
    "/_STCORE/METRICS",
    "/_stcore/health%00",
    "/_stcore/health;/../metrics",
)
GUESSES_FOR_S = 20.0

# What the server itself says that it answers to.
_ROUTES = """
import json, sys
from pathlib import Path
from scenesearch.home.settings import Settings
from streamlit import config
import ui
from ui.gallery.routes import gallery_app
from ui.server import PageServer
config.get_config_options(force_reparse=True)
config.set_option("server.enableStaticServing", True)
config.set_option("server.scriptHealthCheckEnabled", True)
app = PageServer(Path(ui.__file__).with_name("app.py"), Settings())._build_starlette_app()
routes = [*app.routes, *gallery_app().routes]
found = [(route.path, sorted(getattr(route, "methods", None) or [])) for route in routes]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    world = tmp_path_factory.mktemp("strangers")
    encoder = write_tiny_encoder(world / "encoder")
    build_library(world / "data", OnnxEncoder(encoder, threads=1), reds(20))
    with serving(world / "data", encoder, page_password=hash_password(WORD)) as started:
        yield started


def routes() -> list[tuple[str, list[str]]]:
    done = subprocess.run(
        [sys.executable, "-c", _ROUTES], capture_output=True, text=True, check=True, timeout=60
    )
    found: list[tuple[str, list[str]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def filled(path: str) -> str:
    """A route with something for its parameters."""
    for name in ("{file_id:path}", "{path:path}", "{session_id}", "{file_id}", "{session_id:path}"):
        path = path.replace(name, "0123abcd")
    return path or "/"


def test_no_route_of_the_server_gives_a_stranger_anything(page: ServedPage) -> None:
    known = routes()
    assert len(known) > 12
    assert any("upload_file" in path for path, _ in known)
    answers: Counter[str] = Counter()
    with httpx.Client(base_url=page.address, timeout=20) as stranger:
        for path, methods in known:
            for method in {*methods, "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}:
                for accept in ("*/*", "text/html"):
                    answer = stranger.request(method, filled(path), headers={"accept": accept})
                    answers[str(answer.status_code)] += 1
                    assert answer.headers["x-content-type-options"] == "nosniff"
                    if path == "/_stcore/health" and method in ("GET", "HEAD"):
                        assert answer.text in ("ok", "")
                        continue
                    assert answer.status_code == 401, (method, path, answer.status_code)
                    assert len(answer.content) < 2500
                    assert "set-cookie" not in answer.headers
        for odd in ODD:
            assert stranger.get(odd).status_code in (400, 401), odd
    with pytest.raises(InvalidStatus) as refused:
        connect(page.address.replace("http", "ws") + "/_stcore/stream")
    assert refused.value.response.status_code == 403
    print(f"\n{len(known)} routes, {sum(answers.values())} requests: {dict(answers)}")


def resident_bytes(page: ServedPage) -> int:
    pages = Path(f"/proc/{page.process_id}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_uploads_of_strangers_are_not_kept(page: ServedPage) -> None:
    before = resident_bytes(page)
    body = bytes(UPLOAD_MB * 2**20)
    statuses: Counter[str] = Counter()
    for number in range(UPLOADS):
        try:
            answer = httpx.put(
                f"{page.address}/_stcore/upload_file/session/{number}",
                files={"file": ("x.jpg", body)},
                timeout=60,
            )
            statuses[str(answer.status_code)] += 1
        except httpx.TransportError:  # the server hangs up on the rest of it
            statuses["hung up"] += 1
    grown = (resident_bytes(page) - before) / 2**20
    assert set(statuses) <= {"401", "hung up"}
    assert grown < UPLOAD_MB
    print(f"\n{UPLOADS} x {UPLOAD_MB} MB sent: {dict(statuses)}, memory grew by {grown:.1f} MiB")


def test_guessing_is_slowed_down_and_a_known_browser_still_gets_in(page: ServedPage) -> None:
    with httpx.Client(base_url=page.address, timeout=20) as friend:
        assert friend.post("/", data={"password": WORD}).status_code == 303
        statuses: Counter[int] = Counter()
        ends = time.monotonic() + GUESSES_FOR_S
        with httpx.Client(base_url=page.address, timeout=20) as stranger:
            while time.monotonic() < ends:
                guess = {"password": f"guess {sum(statuses.values())}"}
                # An address of one's own choosing changes nothing without a configured proxy.
                forged = {"X-Forwarded-For": f"198.51.100.{sum(statuses.values()) % 250}"}
                statuses[stranger.post("/", data=guess, headers=forged).status_code] += 1
        assert set(statuses) == {401, 429}
        assert statuses[401] <= 10  # looked at: 3 at once, then after 1, 2, 4, 8 ... seconds
        assert friend.get("/media/none.jpg").status_code == 404  # its login goes on
        cookie = next(iter(friend.cookies.jar))
        friend.cookies.clear()
        again = {"cookie": f"{cookie.name}={cookie.value}"}
        assert friend.post("/", data={"password": WORD}, headers=again).status_code == 303
    print(f"\n{sum(statuses.values())} guesses in {GUESSES_FOR_S:.0f} s: {statuses[401]} looked at")


def test_only_a_configured_proxy_is_believed(tmp_path: Path) -> None:
    encoder = write_tiny_encoder(tmp_path / "encoder")
    (tmp_path / "data").mkdir()
    hashed = hash_password(WORD)

    def statuses(address: str) -> list[int]:
        with httpx.Client(base_url=address, timeout=20) as client:
            return [
                client.post(
                    "/", data={"password": "x"}, headers={"X-Forwarded-For": f"198.51.100.{number}"}
                ).status_code
                for number in range(8)
            ]

    def cookie(address: str) -> str:
        forged = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
        answer = httpx.post(address, data={"password": WORD}, headers=forged, timeout=20)
        return answer.headers.get("set-cookie", "")

    with serving(tmp_path / "data", encoder, page_password=hashed) as alone:
        assert "Secure" not in cookie(alone.address)
        assert 429 in statuses(alone.address)
    behind_a_proxy = serving(
        tmp_path / "data", encoder, page_password=hashed, page_proxies="127.0.0.1"
    )
    with behind_a_proxy as proxied:
        assert statuses(proxied.address) == [401] * 8
        assert "Secure" in cookie(proxied.address)

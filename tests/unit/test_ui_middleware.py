"""The middleware before the page: who may pass, how guessing is slowed down, its headers."""

import asyncio
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from streamlit import config

from scenesearch.home.settings import Settings
from tests.unit.ui_world import any_host as any_host  # each test's fixture
from ui import access, middleware
from ui.access import AccessError, Sessions, hash_password, signing_key
from ui.login_throttle import ALL_CLIENTS, MAX_CLIENTS, PER_CLIENT, LoginThrottle
from ui.middleware import HEADERS, AccessMiddleware

SESAME = "open sesame"
HASHED = hash_password(SESAME)
SCHEMES = ("http", "https")


class Behind:
    """Stands for Streamlit: says what reached it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(scope["path"])
        if scope["type"] == "websocket":
            socket = WebSocket(scope, receive, send)
            await socket.accept()
            with suppress(WebSocketDisconnect):
                while True:
                    await socket.send_text(await socket.receive_text())
            return
        headers = [(b"x-frame-options", b"DENY"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"the page"})


def page(
    tmp_path: Path, *, scheme: str = "http", behind: Behind | None = None, **settings: Any
) -> TestClient:
    """A browser of its own before a page with a password."""
    now = Settings(data_dir=tmp_path, **({"page_password": SecretStr(HASHED)} | settings))
    return TestClient(
        AccessMiddleware(behind or Behind(), now),
        base_url=f"{scheme}://testserver",
        follow_redirects=False,
    )


def log_in(client: TestClient, password: str = SESAME, path: str = "/") -> Any:
    return client.post(path, data={"password": password})


STRANGERS = [
    ("GET", "/"),
    ("GET", "/library"),
    ("GET", "/media/0123abcd.jpg"),
    ("GET", "/_stcore/metrics"),
    ("GET", "/_stcore/host-config"),
    ("GET", "/_stcore/health/../metrics"),
    ("POST", "/_stcore/health"),
    ("PUT", "/_stcore/upload_file/a/b"),
    ("DELETE", "/_stcore/upload_file/a/b"),
    ("OPTIONS", "/_stcore/upload_file/a/b"),
    ("GET", "/_stcore/bidi-components/a/b.js"),
    ("GET", "/component/a/b.js"),
    ("GET", "/static/js/index.js"),
    ("GET", "/auth/login"),
    ("GET", "/logout"),
    ("POST", "/_stcore/agent/run"),
]


@pytest.mark.parametrize(("method", "path"), STRANGERS)
def test_before_the_password_no_request_reaches_the_page(
    method: str, path: str, tmp_path: Path
) -> None:
    behind = Behind()
    answer = page(tmp_path, behind=behind).request(method, path)
    assert behind.reached == []
    assert answer.status_code == (303 if path == "/logout" else 401)
    assert "the page" not in answer.text


def test_the_health_check_is_open(tmp_path: Path) -> None:
    behind = Behind()
    assert page(tmp_path, behind=behind).get("/_stcore/health").status_code == 200
    assert behind.reached == ["/_stcore/health"]


def test_without_a_password_the_page_is_open(tmp_path: Path) -> None:
    client = page(tmp_path, page_password=None)
    assert client.get("/media/x.jpg").text == "the page"
    with client.websocket_connect("/_stcore/stream") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"


def test_a_browser_is_asked_for_the_password_and_led_back(tmp_path: Path) -> None:
    client = page(tmp_path)
    asked = client.get("/?q=red", headers={"accept": "text/html"})
    assert asked.status_code == 401 and 'type="password"' in asked.text
    assert log_in(client, "open barley").status_code == 401
    answer = log_in(client, path="/?q=red%20dog")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?q=red%20dog")
    assert client.get("/?q=red").text == "the page"
    assert client.get("/media/x.jpg").text == "the page"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_cookie_is_for_this_site_alone_and_no_script(scheme: str, tmp_path: Path) -> None:
    cookie = log_in(page(tmp_path, scheme=scheme)).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert f"Max-Age={access.MAX_AGE_S}" in cookie
    assert ("Secure" in cookie) is (scheme == "https")
    assert SESAME not in cookie and HASHED not in cookie


@pytest.mark.parametrize("path", ["//example.org", "//example.org/x", "/\\example.org"])
def test_nobody_is_led_to_another_site(path: str) -> None:
    back = middleware._requested({"path": path, "query_string": b""})
    assert back.startswith("/") and not back.startswith(("//", "/\\"))


def test_a_login_outlives_the_process_and_ends_with_its_time(tmp_path: Path) -> None:
    cookie = access.sessions(tmp_path, HASHED).log_in()
    access.sessions.cache_clear()
    assert access.sessions(tmp_path, HASHED).is_valid(cookie)
    key = signing_key(tmp_path / access.KEY_FILE)
    assert not Sessions(key, HASHED, max_age_s=-1).is_valid(cookie)


def test_another_password_ends_logins(tmp_path: Path) -> None:
    cookie = access.sessions(tmp_path, HASHED).log_in()
    access.sessions.cache_clear()
    assert not access.sessions(tmp_path, hash_password(SESAME)).is_valid(cookie)


@pytest.mark.parametrize("forged", [None, "", "x", "a.b.c", "é", "W10.awtQDw.AAAA", "x" * 100_000])
def test_what_we_have_not_signed_is_no_login(forged: str | None, tmp_path: Path) -> None:
    its = access.sessions(tmp_path, HASHED)
    other = Sessions(b"k" * 32, HASHED).log_in()
    for cookie in (forged, other, its.log_in()[:-2], its.log_in() + "x"):
        assert not its.is_valid(cookie)
        assert its.browser_of(cookie) is None


def test_who_logs_out_is_out_with_every_copy_of_the_cookie(tmp_path: Path) -> None:
    client = page(tmp_path)
    cookie = log_in(client).headers["set-cookie"].partition(";")[0]
    with client.websocket_connect("/_stcore/stream") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
        assert client.get("/logout").headers["location"] == "/"
        socket.send_text("still here?")
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
    client.cookies.clear()
    assert client.get("/media/x", headers={"cookie": cookie}).status_code == 401


def test_a_websocket_is_refused_before_it_opens(tmp_path: Path) -> None:
    behind = Behind()
    client = page(tmp_path, behind=behind)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/_stcore/stream"):
        pass
    assert behind.reached == []
    log_in(client)
    with client.websocket_connect("/_stcore/stream") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"


@pytest.mark.parametrize(
    "path", ["/", "/media/x.jpg", "/_stcore/health", "/_stcore/upload_file/a/b"]
)
def test_every_answer_says_how_it_may_be_used_once(path: str, tmp_path: Path) -> None:
    client = page(tmp_path)
    for _ in range(2):  # refused, then let in
        answer = client.get(path)
        for name, value in HEADERS.items():
            assert answer.headers.get_list(name) == [value]
        log_in(client)


def test_another_name_of_the_machine_is_refused(tmp_path: Path) -> None:
    config.set_option("server.allowedHosts", ["testserver"])
    client = page(tmp_path, page_password=None)
    assert client.get("/media/x.jpg").status_code == 200
    assert client.get("/media/x.jpg", headers={"host": "evil.example"}).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/_stcore/stream", headers={"host": "evil.example"}),
    ):
        pass


@pytest.mark.parametrize(
    "body", [b"", b"password", b"password=" + b"x" * 2000, b"x" * 10**6, b"\xff=%ff", b"a=1&b=2"]
)
def test_what_is_no_password_costs_no_hash(
    body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "password_matches", lambda *_: pytest.fail("it was hashed"))
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert page(tmp_path).post("/", content=body, headers=form).status_code == 401


# --- guesses ---------------------------------------------------------------------------------


def test_wrong_passwords_are_answered_slower_and_slower_and_then_unlooked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def fits(given: str, _: str) -> bool:
        looked_at.append(given)
        return given == SESAME

    monkeypatch.setattr(middleware, "password_matches", fits)
    client = page(tmp_path)
    answers = [log_in(client, f"guess {number}") for number in range(10)]
    assert [answer.status_code for answer in answers] == [401] * PER_CLIENT.free + [429] * (
        10 - PER_CLIENT.free
    )
    assert len(looked_at) == PER_CLIENT.free
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert log_in(client).status_code == 429  # the right one too, or guessing would not be slowed


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def guess_on(throttle: LoginThrottle, clock: Clock, address: str, for_s: float) -> int:
    """Somebody who guesses as often as it is looked at; how often that is."""
    looked_at, ends = 0, clock.now + for_s
    while clock.now < ends:
        wait = throttle.begin(address)
        looked_at += wait == 0
        clock.now += wait or 0.001
    return looked_at


def test_one_stranger_has_few_guesses_a_day_and_keeps_out_nobody_else() -> None:
    clock = Clock()
    throttle = LoginThrottle(now=clock)
    assert guess_on(throttle, clock, "192.0.2.1", 86_400) < 86_400 / PER_CLIENT.longest_s + 20
    throttle.begin("192.0.2.1")
    assert throttle.begin("192.0.2.1") > 0
    clock.now += ALL_CLIENTS.longest_s  # who comes from elsewhere waits that long at most
    assert throttle.begin("198.51.100.7") == 0


def test_pauses_grow_are_bounded_and_are_forgotten() -> None:
    clock = Clock()
    throttle = LoginThrottle(now=clock)
    waits = []
    for _ in range(20):
        throttle.begin("192.0.2.1")
        waits.append(throttle.begin("192.0.2.1"))
        clock.now += waits[-1]
    assert waits[: PER_CLIENT.free - 1] == [0] * (PER_CLIENT.free - 1) or waits == sorted(waits)
    assert max(waits) == PER_CLIENT.longest_s
    clock.now += 10 * PER_CLIENT.forget_s
    assert [throttle.begin("192.0.2.1") for _ in range(PER_CLIENT.free)] == [0] * PER_CLIENT.free


def test_many_addresses_together_are_slowed_down_too_and_known_browsers_are_not() -> None:
    clock = Clock()
    throttle = LoginThrottle(now=clock)
    looked_at = 0
    for number in range(20_000):
        looked_at += throttle.begin(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}") == 0
        clock.now += 0.01
    assert looked_at < ALL_CLIENTS.free + 200 / ALL_CLIENTS.longest_s + 20
    assert throttle.begin("192.0.2.1") > 0
    assert throttle.begin("192.0.2.1", "a browser that was let in before") == 0
    assert len(throttle) <= MAX_CLIENTS


def test_ipv6_counts_by_network_and_an_ipv4_address_is_one_however_it_is_written() -> None:
    throttle = LoginThrottle(now=Clock())
    for number in range(PER_CLIENT.free):
        assert throttle.begin(f"2001:db8::{number:x}") == 0
    assert throttle.begin("2001:db8::ffff") > 0
    assert throttle.begin("2001:db8:1::1") == 0
    for address in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"):
        assert throttle.begin(address) == 0
    assert throttle.begin("::ffff:192.0.2.1") > 0


def test_a_right_password_is_no_wrong_guess() -> None:
    throttle = LoginThrottle(now=Clock())
    for _ in range(200):
        assert throttle.begin("192.0.2.1") == 0
        throttle.succeeded("192.0.2.1")


def test_guesses_at_once_gain_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(
        middleware, "password_matches", lambda given, _: bool(looked_at.append(given))
    )
    its = AccessMiddleware(Behind(), Settings(data_dir=tmp_path, page_password=SecretStr(HASHED)))

    async def guess() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"password=x", "more_body": False}

        async def send(message: Any) -> None:
            pass

        form = [(b"content-type", b"application/x-www-form-urlencoded"), (b"host", b"h")]
        scope = {
            "type": "http", "method": "POST", "path": "/", "scheme": "http", "headers": form,
            "client": ("192.0.2.1", 1), "query_string": b"",
        }  # fmt: skip
        await its(scope, receive, send)

    async def all_at_once() -> None:
        await asyncio.gather(*(guess() for _ in range(50)))

    asyncio.run(all_at_once())
    assert len(looked_at) == PER_CLIENT.free


# --- the key ---------------------------------------------------------------------------------


def test_the_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / access.KEY_FILE
    key = signing_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    assert signing_key(file) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == [access.KEY_FILE]


@pytest.mark.parametrize("damage", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_named(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / access.KEY_FILE).write_bytes(damage)
    with pytest.raises(AccessError, match=r"page\.key is not a key for logins: delete it"):
        signing_key(tmp_path / access.KEY_FILE)


def test_where_the_key_cannot_be_kept_the_page_works_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(access, "log_message", told.append)
    (tmp_path / "file").write_text("")
    assert len(signing_key(tmp_path / "no" / access.KEY_FILE)) == 32
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only")))
    assert len(signing_key(tmp_path / "other" / access.KEY_FILE)) == 32
    assert told and "logins end with the page" in told[0]
    assert not list((tmp_path / "other").iterdir())


# --- OIDC ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/media/x.jpg", "/_stcore/stream", "/_stcore/upload_file/a/b"]
)
def test_with_login_nobody_passes_who_has_not_logged_in(path: str, tmp_path: Path) -> None:
    behind = Behind()
    client = page(tmp_path, behind=behind, page_login=True)
    forged = {"cookie": "_streamlit_user=forged"}
    assert client.get(path, headers=forged).status_code == 401
    assert "not set up" in client.get(path, headers={"accept": "text/html"}).text
    assert log_in(client).status_code == 401  # the password is not asked for
    assert behind.reached == []


def test_with_login_who_has_logged_in_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    secrets = {
        "auth": {"cookie_secret": "s" * 32, "redirect_uri": "http://photos.example/oauth2callback"}
    }
    monkeypatch.setattr(middleware, "secrets_singleton", Secrets(secrets))
    monkeypatch.setattr(middleware, "get_cookie_secret", lambda: "s" * 32)
    monkeypatch.setattr(middleware, "get_origin_from_redirect_uri", lambda: "http://photos.example")
    client = page(tmp_path, page_login=True)

    def status(user: str, secret: str = "s" * 32) -> int:
        value = create_signed_value(secret, "_streamlit_user", user)
        text = value.decode() if isinstance(value, bytes) else value
        return client.get("/media/x", headers={"cookie": f"_streamlit_user={text}"}).status_code

    logged_in = '{"origin": "http://photos.example", "is_logged_in": true}'
    assert status(logged_in) == 200
    assert status(logged_in, secret="t" * 32) == 401
    assert status('{"origin": "http://other.example", "is_logged_in": true}') == 401
    assert status('{"origin": "http://photos.example", "is_logged_in": false}') == 401
    assert status("[]") == 401


class Secrets(dict[str, Any]):
    def load_if_toml_exists(self) -> bool:
        return True

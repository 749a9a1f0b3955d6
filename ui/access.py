"""Who may see the page: everybody, who knows a password, or who logs in with OIDC."""

import base64
import hashlib
import hmac
import os
import secrets
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path

import streamlit as st
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from scenesearch.errors import SceneSearchError
from scenesearch.home.logs import log_message
from scenesearch.home.settings import Settings
from scenesearch.runtime.files import private_folder

_N, _R, _P = 2**14, 8, 1  # OWASP's least for scrypt that fits 16 MB

# A login ends after so long, whatever its visitor did meanwhile.
LASTS_S = 7 * 24 * 3600

# Logins that were ended by hand and are remembered as such until they would have ended anyway.
MOST_ENDED = 10_000

KEY_FILE = "page.key"
_KEY_BYTES = 32


class AccessError(SceneSearchError):
    """The key that signs logins cannot be used; the message is one sentence for the operator."""


def hash_password(password: str) -> str:
    """What SCENESEARCH_PAGE_PASSWORD holds: a salted scrypt hash, of no use to who reads it."""
    salt = secrets.token_bytes(16)
    return f"scrypt:{_text(salt)}:{_text(_digest(password, salt))}"


def password_fits(password: str, hashed: str) -> bool:
    """Whether it is the password of that hash; of a damaged hash there is none."""
    try:
        kind, salt, digest = hashed.split(":")
        expected = base64.urlsafe_b64decode(digest)
        found = _digest(password, base64.urlsafe_b64decode(salt))
    except ValueError:
        return False
    return kind == "scrypt" and hmac.compare_digest(found, expected)


class Sessions:
    """Logins as signed cookies: nothing is kept of them here but those ended by hand.

    `hashed` is the hash of the password: with another one no earlier login counts.
    """

    def __init__(self, key: bytes, hashed: str, *, lasts_s: float = LASTS_S) -> None:
        # Cookies know no ports: two pages on one machine must not log each other out.
        self.cookie = f"scenesearch-{hashlib.sha256(key).hexdigest()[:8]}"
        self.lasts_s = lasts_s
        self._signer = URLSafeTimedSerializer(
            key, salt="page", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._password = hmac.new(key, hashed.encode(), hashlib.sha256).hexdigest()[:32]
        self._ended: OrderedDict[str, None] = OrderedDict()

    def begin(self) -> str:
        """The cookie of who has just given the password."""
        text = self._signer.dumps([secrets.token_urlsafe(12), self._password])
        return text if isinstance(text, str) else text.decode()

    def admits(self, cookie: str | None) -> bool:
        """Whether it is the cookie of a login that goes on."""
        try:
            browser, password = self._signer.loads(cookie or "", max_age=self.lasts_s)
        except (BadSignature, ValueError):
            return False
        return hmac.compare_digest(str(password), self._password) and browser not in self._ended

    def browser_of(self, cookie: str | None) -> str | None:
        """The name of a browser that was once let in, also when its login is over."""
        try:
            return str(self._signer.loads(cookie or "", max_age=self.lasts_s)[0])
        except SignatureExpired as over:
            return str(self._signer.load_payload(over.payload)[0]) if over.payload else None
        except (BadSignature, ValueError):
            return None

    def end(self, cookie: str | None) -> None:
        """Logged out: the cookie counts no longer, wherever else it was copied to."""
        if cookie is not None and self.admits(cookie):
            self._ended[self._signer.loads(cookie)[0]] = None
            while len(self._ended) > MOST_ENDED:
                self._ended.popitem(last=False)


@lru_cache(maxsize=1)
def sessions(data_dir: Path, hashed: str) -> Sessions:
    """Those of this page, which outlive its process where the data folder can be written."""
    return Sessions(signing_key(data_dir / KEY_FILE), hashed)


def signing_key(file: Path) -> bytes:
    """The key kept in the file, made there the first time, for its owner's eyes alone.

    Where it cannot be kept, one for this process, and the log says so. Raises AccessError for a
    file that holds something else.
    """
    try:
        return _kept_key(file)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise AccessError(f"{file}: the key of logins cannot be read: {error.strerror}") from None
    key = secrets.token_bytes(_KEY_BYTES)
    temporary = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    try:
        private_folder(file.parent)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(key)
            os.link(temporary, file)  # never over the key of another page that was faster
        finally:
            temporary.unlink()
    except FileExistsError:
        return _kept_key(file)
    except OSError as error:
        log_message(
            f"{file}: the key of logins cannot be kept ({error.strerror}): they end with the page"
        )
    return key


def _kept_key(file: Path) -> bytes:
    key = file.read_bytes()
    if len(key) != _KEY_BYTES:
        raise AccessError(f"{file} is no key of logins: delete it, and visitors log in again")
    if os.name == "posix" and file.stat().st_mode & 0o077:
        file.chmod(0o600)
    return key


def admitted(settings: Settings) -> bool:
    """Whether this visitor may go on; if not, why is on the screen.

    `ui.gate` has asked before; this is for a page that was started without it.
    """
    if settings.page_login:
        return _logged_in()
    if settings.page_password is None:
        return True
    its = sessions(settings.data_dir, settings.page_password.get_secret_value())
    if its.admits(st.context.cookies.get(its.cookie)):
        return True
    st.title("scenesearch", anchor=False)
    st.text("You are not logged in: load the page again.")
    return False


def log_out_link(settings: Settings) -> None:
    """The way out, for who had to log in."""
    if settings.page_login:
        st.button("Log out", key="log-out", type="tertiary", on_click=st.logout)
    elif settings.page_password is not None:
        st.html('<p class="log-out"><a href="./logout">Log out</a></p>')


def _logged_in() -> bool:
    if st.user.get("is_logged_in", False):
        return True
    st.title("scenesearch", anchor=False)
    if "is_logged_in" in st.user:
        st.button("Log in", type="primary", on_click=st.login)
    else:  # nobody is let in by a mistake in the set-up
        st.text("Logging in is not set up: .streamlit/secrets.toml has no section [auth].")
    return False


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()

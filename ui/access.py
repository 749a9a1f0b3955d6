"""Who may see the page (everybody, those with the password, those with an OIDC login), and what
a read-only page shows them."""

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
from scenesearch.store.fields import PayloadField

_N, _R, _P = 2**14, 8, 1  # the smallest scrypt that OWASP recommends for 16 MB

# A login ends after this time, whatever the visitor did meanwhile.
MAX_AGE_S = 7 * 24 * 3600

# So many logouts are remembered, until their cookies would have expired anyway.
MAX_LOGGED_OUT = 10_000

KEY_FILE = "page.key"
_KEY_BYTES = 32

# Columns of a manifest that give a place, as numbers or by name.
_PLACE_FIELDS = {"lat", "latitude", "lon", "lng", "long", "longitude", "altitude", "gps"} | {
    *("place", "city", "town", "village", "country", "region", "province", "county"),
    *("address", "street", "postcode", "zip"),
}


class AccessError(SceneSearchError):
    """The key that signs logins cannot be used; the message is one sentence for the operator."""


# --- passwords and logins --------------------------------------------------------------------


def hash_password(password: str) -> str:
    """The value of SCENESEARCH_PAGE_PASSWORD: a salted scrypt hash, useless to whoever reads it."""
    salt = secrets.token_bytes(16)
    return f"scrypt:{_base64(salt)}:{_base64(_scrypt(password, salt))}"


def password_matches(password: str, hashed: str) -> bool:
    """Whether the hash is that of the password; a damaged hash matches no password."""
    try:
        kind, salt, digest = hashed.split(":")
        expected = base64.urlsafe_b64decode(digest)
        found = _scrypt(password, base64.urlsafe_b64decode(salt))
    except ValueError:
        return False
    return kind == "scrypt" and hmac.compare_digest(found, expected)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


class Sessions:
    """Logins as signed cookies; the server remembers only which of them were logged out.

    `hashed` is the hash of the password: changing the password ends all logins.
    """

    def __init__(self, key: bytes, hashed: str, *, max_age_s: int = MAX_AGE_S) -> None:
        # Cookies ignore ports: two pages on one machine must not log each other out.
        self.cookie = f"scenesearch-{hashlib.sha256(key).hexdigest()[:8]}"
        self.max_age_s = max_age_s
        self._signer = URLSafeTimedSerializer(
            key, salt="page", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._password = hmac.new(key, hashed.encode(), hashlib.sha256).hexdigest()[:32]
        self._logged_out: OrderedDict[str, None] = OrderedDict()

    def log_in(self) -> str:
        """A new cookie, for a browser that has just sent the password."""
        text = self._signer.dumps([secrets.token_urlsafe(12), self._password])
        return text if isinstance(text, str) else text.decode()

    def is_valid(self, cookie: str | None) -> bool:
        """Whether it is the cookie of a current login."""
        try:
            browser, password = self._signer.loads(cookie or "", max_age=self.max_age_s)
        except (BadSignature, ValueError):
            return False
        return (
            hmac.compare_digest(str(password), self._password) and browser not in self._logged_out
        )

    def browser_of(self, cookie: str | None) -> str | None:
        """The name of a browser that was logged in once, even if its login is over."""
        try:
            return str(self._signer.loads(cookie or "", max_age=self.max_age_s)[0])
        except SignatureExpired as expired:
            return str(self._signer.load_payload(expired.payload)[0]) if expired.payload else None
        except (BadSignature, ValueError):
            return None

    def log_out(self, cookie: str | None) -> None:
        """End the login: its cookie becomes invalid, wherever else it was copied to."""
        if cookie is not None and self.is_valid(cookie):
            self._logged_out[self._signer.loads(cookie)[0]] = None
            while len(self._logged_out) > MAX_LOGGED_OUT:
                self._logged_out.popitem(last=False)


@lru_cache(maxsize=1)
def sessions(data_dir: Path, hashed: str) -> Sessions:
    """This page's logins; they outlive the process if the data folder can be written."""
    return Sessions(signing_key(data_dir / KEY_FILE), hashed)


def signing_key(file: Path) -> bytes:
    """The key in the file, which is made the first time and which only its owner can read.

    If the file cannot be written, the key lasts as long as this process, and the log says so.
    Raises AccessError for a file that holds something else.
    """
    try:
        return _read_key(file)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise AccessError(
            f"{file}: the key that signs logins cannot be read: {error.strerror}"
        ) from None
    key = secrets.token_bytes(_KEY_BYTES)
    temporary = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    try:
        private_folder(file.parent)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(key)
            os.link(temporary, file)  # never overwrites the key of another page that was faster
        finally:
            temporary.unlink()
    except FileExistsError:
        return _read_key(file)
    except OSError as error:
        log_message(
            f"{file}: the key that signs logins cannot be saved ({error.strerror}): logins end "
            "with the page"
        )
    return key


def _read_key(file: Path) -> bytes:
    key = file.read_bytes()
    if len(key) != _KEY_BYTES:
        raise AccessError(f"{file} is not a key for logins: delete it, and visitors log in again")
    if os.name == "posix" and file.stat().st_mode & 0o077:
        file.chmod(0o600)
    return key


# --- in the page -----------------------------------------------------------------------------


def is_logged_in(settings: Settings) -> bool:
    """Whether this visitor may see the page; if not, the screen says why.

    `ui.middleware` has checked this before; here it protects a page started without it.
    """
    if settings.page_login:
        return _has_oidc_login()
    if settings.page_password is None:
        return True
    logins = sessions(settings.data_dir, settings.page_password.get_secret_value())
    if logins.is_valid(st.context.cookies.get(logins.cookie)):
        return True
    st.title("scenesearch", anchor=False)
    st.text("You are not logged in: reload the page.")
    return False


def _has_oidc_login() -> bool:
    if st.user.get("is_logged_in", False):
        return True
    st.title("scenesearch", anchor=False)
    if "is_logged_in" in st.user:
        st.button("Log in", type="primary", on_click=st.login)
    else:  # a mistake in the configuration lets nobody in
        st.text("Logging in is not set up: .streamlit/secrets.toml has no section [auth].")
    return False


def log_out_link(settings: Settings) -> None:
    """Where logging in is needed, the way out."""
    if settings.page_login:
        st.button("Log out", key="log-out", type="tertiary", on_click=st.logout)
    elif settings.page_password is not None:
        st.html('<p class="log-out"><a href="./logout">Log out</a></p>')


# --- what a read-only page shows -------------------------------------------------------------


def shows_paths(settings: Settings) -> bool:
    """Whether visitors may read the paths of files on this machine."""
    return not settings.page_read_only


def shows_places(settings: Settings) -> bool:
    """Whether visitors may learn where a picture was taken."""
    return settings.page_places or not settings.page_read_only


def is_place(field: PayloadField) -> bool:
    """Whether the field tells where a picture was taken."""
    name = field.name.casefold()
    return field.type == "geo" or name in _PLACE_FIELDS or name.startswith(("gps_", "gps "))

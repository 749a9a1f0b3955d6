"""Who may see the page: everybody, who knows a password, or who logs in with OIDC."""

import base64
import hashlib
import hmac
import secrets
import time

import streamlit as st

from scenesearch.settings import Settings

_N, _R, _P = 2**14, 8, 1  # OWASP's least for scrypt that fits 16 MB
_WRONG_COSTS_S = 1.0


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


def admitted(settings: Settings) -> bool:
    """Whether this visitor may go on; if not, what lets them in is on the screen."""
    if settings.page_login:
        return _logged_in()
    if settings.page_password is None or st.session_state.get("admitted"):
        return True
    st.title("scenesearch", anchor=False)
    with st.form("password"):
        password = st.text_input("Password", type="password")
        if st.form_submit_button("Open", type="primary"):
            if password_fits(password, settings.page_password.get_secret_value()):
                st.session_state["admitted"] = True
                st.rerun()
            time.sleep(_WRONG_COSTS_S)
            st.text("This is not the password.")
    return False


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

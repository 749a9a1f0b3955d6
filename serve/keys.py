"""Who asks: the keys of `SCENESEARCH_API_KEYS`, what each allows and which pictures it may see.

    [{"name": "site", "sha256": "5f2c...", "scopes": ["read"], "libraries": ["photos"],
      "where": "folder:public/*"}]

Only the SHA-256 of a key is kept. That is enough: a key is 256 random bits, not a password that
could be guessed. `where` is a filter in the grammar of `--where`; other pictures are not there for
this key (`Request.scope`). Without keys whoever reaches the server may do everything, so it only
listens to this machine.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.records import LIBRARY_NAME, MAX_QUERY_CHARACTERS

Scope = Literal["read", "write", "admin"]

# Each includes those before it.
_SCOPES: tuple[Scope, ...] = ("read", "write", "admin")

_PREFIX = "ss_"  # so that scanners for leaked secrets, and people, know what it is
_SECRET_BYTES = 32


class KeysError(SceneSearchError):
    """The setting of the keys cannot be used; the message is one sentence for the operator."""


class ApiKey(BaseModel):
    """An entry of the setting. No `libraries` means all that the server offers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    libraries: tuple[Annotated[str, Field(pattern=rf"^{LIBRARY_NAME.pattern}$")], ...] = ()
    where: Annotated[str, Field(max_length=MAX_QUERY_CHARACTERS)] = ""

    @model_validator(mode="after")
    def _admin_sees_everything(self) -> Self:
        if self.where.strip() and "admin" in self.scopes:
            raise ValueError("a key with a filter cannot have the scope admin")
        return self


@dataclass(frozen=True)
class Caller:
    """Whoever asks. `libraries` are the only ones it may see, None for all."""

    name: str
    scopes: frozenset[Scope]
    libraries: frozenset[str] | None = None
    where: str = ""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    def sees(self, library: str) -> bool:
        return self.libraries is None or library in self.libraries


# Whoever asks a server without keys.
LOCAL = Caller("local", frozenset(_SCOPES))


class Keys:
    """The keys of a server; false where there are none."""

    def __init__(self, keys: Sequence[ApiKey] = ()) -> None:
        self._callers = [(key.sha256, _caller(key)) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._callers)

    @property
    def callers(self) -> tuple[Caller, ...]:
        return tuple(caller for _, caller in self._callers)

    def named(self, name: str) -> Caller | None:
        """The caller of that name; without keys there is one."""
        return next((one for one in self.callers or (LOCAL,) if one.name == name), None)

    def caller(self, key: str) -> Caller | None:
        """Whose key it is; None for nobody's."""
        digest = _digest(key)
        found = None
        for sha256, caller in self._callers:  # all of them, so that the time says nothing
            if hmac.compare_digest(sha256, digest):
                found = caller
        return found


def read_keys(setting: str | None) -> Keys:
    """The keys of the setting; raises KeysError naming what is wrong with it."""
    if setting is None or not setting.strip():
        return Keys()
    try:
        keys = TypeAdapter(tuple[ApiKey, ...]).validate_python(
            tuple(json.loads(setting)), strict=False
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise KeysError(f"SCENESEARCH_API_KEYS: {where or 'key'}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError):
        raise KeysError("SCENESEARCH_API_KEYS is not a JSON list of keys") from None
    for what in ("name", "sha256"):
        if len({getattr(key, what) for key in keys}) < len(keys):
            raise KeysError(f"SCENESEARCH_API_KEYS: two keys have the same {what}")
    if not keys:
        raise KeysError("SCENESEARCH_API_KEYS is an empty list: leave it empty for no keys")
    return Keys(keys)


def new_key(
    name: str, scopes: Sequence[Scope], libraries: Sequence[str] = (), where: str = ""
) -> tuple[str, str]:
    """A new key, and its entry for the setting, as JSON; raises KeysError."""
    secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    entry: dict[str, object] = {
        "name": name,
        "sha256": _digest(secret),
        "scopes": list(scopes),
    }
    entry |= {"libraries": list(libraries)} if libraries else {}
    entry |= {"where": where} if where else {}
    text = json.dumps(entry, ensure_ascii=False)
    read_keys(f"[{text}]")
    return secret, text


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _caller(key: ApiKey) -> Caller:
    highest = max(_SCOPES.index(scope) for scope in key.scopes)
    return Caller(
        key.name,
        frozenset(_SCOPES[: highest + 1]),
        frozenset(key.libraries) or None,
        key.where.strip(),
    )

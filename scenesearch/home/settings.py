"""Settings of this installation, from the environment, `.env`, a TOML file and defaults, in order.

Only entry points (the command line, the page) read them; everything below takes what it
needs as arguments. `.env.example` and docs/settings.md list each one.
"""

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.sources import DotEnvSettingsSource

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.records import LIBRARY_NAME
from scenesearch.runtime.web_address import HostList

PREFIX = "SCENESEARCH_"

# The path of the TOML file, if it is not at its usual place.
CONFIG_VARIABLE = f"{PREFIX}CONFIG"

# Not read by Settings: the path of the file, and where tests find photographs.
OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, f"{PREFIX}SHARED"})

# Without a name or password in it, which logs would show.
_SERVER_URL = re.compile(r"https?://[^/?#@\s]+(/[^?#@\s]*)?")

Source = Literal["environment", ".env", "file", "default"]


class SettingsError(SceneSearchError):
    """A file of settings cannot be read; the message is one sentence for the user."""


def config_file() -> Path:
    """The TOML file of settings: SCENESEARCH_CONFIG, else config.toml in the user's own folder."""
    named = os.environ.get(CONFIG_VARIABLE)
    usual = Path(platformdirs.user_config_dir("scenesearch", appauthor=False)) / "config.toml"
    return Path(named) if named else usual


class Settings(BaseSettings):
    """Every setting has a default that works on one machine without a server."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, dotenv_settings, _toml(settings_cls)

    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("scenesearch", appauthor=False)),
        description="Folder for embedded collections, encoders, thumbnails and rejects.",
    )
    library: str = Field(default="photos", description="Library that commands use by default.")
    encoder: str = Field(
        default="lite",
        description="Encoder of new libraries: a bundled or shelved name, or an encoder folder.",
    )
    min_relevance: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Hits below this relevance (0-1) are not shown; empty: where at most one in "
        "ten things that a library does not show is found.",
    )
    qdrant_url: str | None = Field(
        default=None,
        description="Qdrant server, e.g. http://localhost:6333, or nodes of a cluster with ',' "
        "between; empty: embedded.",
    )
    qdrant_api_key: SecretStr | None = Field(
        default=None, description="API key of the Qdrant server."
    )
    qdrant_read_only_api_key: SecretStr | None = Field(
        default=None,
        description="Read-only key of the Qdrant server; search, evaluation, status, backup and a "
        "read-only page prefer it.",
    )
    qdrant_grpc_port: int | Literal["auto"] | None = Field(
        default="auto",
        description="gRPC port of the Qdrant server; auto: 6334 if the port is 6333, "
        "else, and when empty, REST only.",
    )
    qdrant_timeout_s: float = Field(
        default=60, gt=0, description="Time limit of one server request, seconds."
    )
    qdrant_patience_s: float = Field(
        default=120,
        gt=0,
        description="How long an ingest waits for a server that is away or busy, seconds.",
    )
    device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="Where commands that ingest or build encode pictures; cuda needs "
        "onnxruntime-gpu (see the ingest-gpu image). The page always uses the CPU.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads for the encoder; empty: all cores."
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Pictures encoded together at ingest; empty: measured during the run.",
    )
    ocr: bool = Field(
        default=False,
        description="Ingest also reads the text in pictures, as with --ocr; needs the extra 'ocr'.",
    )
    ocr_seconds: float = Field(
        default=20,
        gt=0,
        description="Processor time for reading the text in one picture, seconds; then what has "
        "been read of it counts.",
    )
    max_megapixels: float = Field(
        default=200, gt=0, description="Larger pictures are rejected (decompression bombs)."
    )
    memory_mb: int | None = Field(
        default=None,
        ge=16,
        description="Memory in which each process decodes pictures, MB; larger ones are rejected. "
        "Empty: what the process may use less 550, at most 850.",
    )
    originals: str = Field(
        default="",
        description="Folders and addresses, separated by ',', whose pictures may be opened though "
        "nothing was ingested from them here; for libraries that other machines fill.",
    )
    page_read_only: bool = Field(
        default=False,
        description="For a public page: it searches, but adds, promotes and saves nothing.",
    )
    page_folders: str = Field(
        default="",
        description="Folders whose pictures a visitor of the page may add, with ':' between them "
        "(';' on Windows); empty: on localhost the home folder and mounted disks, else none.",
    )
    page_upload_mb: int = Field(
        default=50, ge=1, le=1024, description="Largest file a visitor of the page may upload, MB."
    )
    page_hosts: str = Field(
        default="",
        description="Names under which visitors reach the page, with ',' between them, "
        "'*.example.org' for all of a domain; empty: on localhost its own names, else any.",
    )
    page_password: SecretStr | None = Field(
        default=None,
        description="Hash of the page's password; `scenesearch ui --hash-password` makes it.",
    )
    page_login: bool = Field(
        default=False,
        description="Visitors log in with the OIDC provider in .streamlit/secrets.toml.",
    )
    page_places: bool = Field(
        default=False,
        description="A read-only page also shows where pictures were taken.",
    )
    page_proxies: str = Field(
        default="",
        description="Addresses of trusted proxies before the page, separated by ',', from which a "
        "visitor's address and https are taken; also networks like 10.0.0.0/8.",
    )
    api_url: str | None = Field(
        default=None,
        description="A `scenesearch serve` that the page asks in place of a library of its own, "
        "e.g. http://localhost:8600; empty: none.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="The page's key of that server; no browser sees it."
    )
    api_keys: SecretStr | None = Field(
        default=None,
        description="Keys of `scenesearch serve`, a JSON list; `scenesearch serve --new-key NAME` "
        "makes an entry. Empty: it answers this machine alone, without keys.",
    )
    api_read_only: bool = Field(
        default=False,
        description="`scenesearch serve` searches, but adds, changes and removes nothing, whatever "
        "a key allows.",
    )
    api_folders: str = Field(
        default="",
        description="Folders that a client of `scenesearch serve` may have ingested, with all "
        "below them, with ':' between them (';' on Windows); empty: none.",
    )
    api_origins: str = Field(
        default="",
        description="Web sites whose pages may ask `scenesearch serve` (CORS), like "
        "https://example.org, with ',' between them; empty: none.",
    )
    api_webhook_hosts: str = Field(
        default="",
        description="Hosts that webhooks of `scenesearch serve` may call though they are on this "
        "machine or a private network, like n8n.lan or 192.168.1.20:5678, with ',' between them; "
        "empty: none.",
    )
    api_body_mb: int = Field(
        default=32, ge=1, le=1024, description="Largest request of `scenesearch serve`, MB."
    )
    api_max_limit: int = Field(
        default=100, ge=1, le=10_000, description="Most hits of an answer of `scenesearch serve`."
    )
    api_timeout_s: float = Field(
        default=30,
        gt=0,
        description="Time that a request of `scenesearch serve` may take, seconds; also how long "
        "it waits for the end of a request.",
    )
    api_concurrency: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Requests that `scenesearch serve` works on at a time; more are told to come "
        "back.",
    )
    metrics_address: str | None = Field(
        default=None,
        description="Page and ingest serve Prometheus metrics here, e.g. 127.0.0.1:9464; "
        "empty: not at all.",
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto",
        description="Format of messages on stderr: text or json; auto: json for the page and "
        "`ingest --watch` without a terminal.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged; debug logs the words of queries."
    )

    @field_validator(
        "qdrant_url",
        "qdrant_api_key",
        "qdrant_read_only_api_key",
        "qdrant_grpc_port",
        "api_url",
        "api_key",
        "api_keys",
        "threads",
        "batch_size",
        "memory_mb",
        "metrics_address",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        """An empty variable means none."""
        return None if value == "" else value

    @field_validator("api_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not _SERVER_URL.fullmatch(value):
            raise ValueError("give http://HOST:PORT or https://HOST")
        return value

    @field_validator("metrics_address")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            host, _, port = value.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError("give HOST:PORT, e.g. 127.0.0.1:9464")
        return value

    @field_validator("api_webhook_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        HostList(value)
        return value

    @property
    def reader_key(self) -> str | None:
        """The API key for reading: the read-only key if there is one."""
        key = self.qdrant_read_only_api_key or self.qdrant_api_key
        return key.get_secret_value() if key else None

    @property
    def writer_key(self) -> str | None:
        """The API key for writing; the server refuses if there is only a read-only key."""
        key = self.qdrant_api_key or self.qdrant_read_only_api_key
        return key.get_secret_value() if key else None

    @cached_property
    def edge_dir(self) -> Path:
        """The folder of the embedded collections."""
        return self.data_dir / "edge"

    @cached_property
    def models_dir(self) -> Path:
        """The shelf: a folder of encoders by name, see `scenesearch models`."""
        return self.data_dir / "models"

    @cached_property
    def known_encoders(self) -> Path:
        """The file that lists encoders which are neither bundled nor on the shelf."""
        return self.data_dir / "encoders.json"

    def library_dir(self, library: str) -> Path:
        """The folder of what a library keeps beside its collection, see `LibraryFiles`.

        Raises SettingsError for a name that would lead elsewhere.
        """
        if not LIBRARY_NAME.fullmatch(library):
            raise SettingsError(f"{library!r} cannot name a library")
        return self.data_dir / "libraries" / library


MASK = "********"


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def shown_value(settings: Settings, name: str) -> Any:
    """The value of a setting to be read by people and programs; secrets are masked."""
    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, str) and "@" in value and "://" in value:
        return f"{value.partition('://')[0]}://{MASK}@{value.rpartition('@')[2]}"
    return value if value is None or isinstance(value, int | float | str) else str(value)


def sources() -> dict[str, Source]:
    """Where the value of each setting comes from."""
    places: tuple[tuple[Source, Mapping[str, Any]], ...] = (
        ("environment", _ours(os.environ)),
        (".env", _ours(DotEnvSettingsSource(Settings).env_vars)),
        ("file", _toml(Settings)()),
    )
    return {
        name: next((place for place, values in places if name in values), "default")
        for name in Settings.model_fields
    }


def unknown_settings() -> list[tuple[str, str]]:
    """Names that are set but are no setting, and where: variables with our prefix, TOML keys."""
    known = Settings.model_fields.keys()
    variables = {f"{PREFIX}{name.upper()}" for name in known} | OTHER_VARIABLES
    dotenv = DotEnvSettingsSource(Settings).env_vars
    found = []
    for place, names in (("the environment", _ours(os.environ)), (".env", _ours(dotenv))):
        spelled = (f"{PREFIX}{name.upper()}" for name in names)
        found += [(name, place) for name in spelled if name not in variables]
    file = config_file()
    return found + [(name, str(file)) for name in _toml(Settings)() if name not in known]


def _ours(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables with our prefix, by the name of their setting; case does not matter."""
    return {
        name[len(PREFIX) :].lower(): value
        for name, value in variables.items()
        if name.upper().startswith(PREFIX)
    }


def _toml(settings_cls: type[BaseSettings]) -> TomlConfigSettingsSource:
    file = config_file()
    try:
        there = file.is_file()
    except PermissionError:  # the home folder of a service may belong to another user
        there = False
    if not there:
        if os.environ.get(CONFIG_VARIABLE):
            raise SettingsError(f"{CONFIG_VARIABLE}: there is no file {file}")
        return TomlConfigSettingsSource(settings_cls, toml_file=None)
    try:
        return TomlConfigSettingsSource(settings_cls, toml_file=file)
    except (ValueError, OSError) as error:  # tomllib's own error is a ValueError
        raise SettingsError(f"{file} cannot be read: {error}") from None

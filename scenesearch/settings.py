"""Settings of this installation: `SCENESEARCH_*` variables and a `.env` file.

Only entry points (the command line, the page) read them; everything below takes what it
needs as arguments. `.env.example` lists each one.
"""

from functools import cached_property
from pathlib import Path

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting has a default that works on one machine without a server."""

    model_config = SettingsConfigDict(env_prefix="SCENESEARCH_", env_file=".env", extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("scenesearch", appauthor=False)),
        description="Folder for embedded collections, encoders, thumbnails and rejects.",
    )
    library: str = Field(
        default="photos", description="Library that commands use unless told another."
    )
    encoder: str = Field(
        default="lite",
        description="Encoder of new libraries: a bundled or shelved name, or an encoder folder.",
    )
    min_relevance: float = Field(
        default=0.05, ge=0, le=1, description="Hits below this relevance (0-1) are not shown."
    )
    qdrant_url: str | None = Field(
        default=None,
        description="Qdrant server, e.g. http://localhost:6333; empty: embedded Qdrant Edge.",
    )
    qdrant_api_key: SecretStr | None = Field(
        default=None, description="API key of the Qdrant server."
    )
    qdrant_grpc_port: int | None = Field(
        default=6334, description="gRPC port of the Qdrant server; empty: REST only."
    )
    qdrant_timeout_s: float = Field(
        default=60, gt=0, description="Time limit of one server request, seconds."
    )
    qdrant_patience_s: float = Field(
        default=120,
        gt=0,
        description="How long an ingest waits for a server that is away or busy, seconds.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads for the encoder; empty: all cores."
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Pictures encoded together at ingest; empty: found out by the run.",
    )
    max_megapixels: float = Field(
        default=200, gt=0, description="Larger pictures are rejected (decompression bombs)."
    )
    qdrant_read_only_api_key: SecretStr | None = Field(
        default=None,
        description="API key of the Qdrant server that a read-only page uses instead.",
    )
    page_read_only: bool = Field(
        default=False,
        description="A page for the public: it searches, and neither adds, promotes nor saves.",
    )
    page_folders: str = Field(
        default="",
        description="Folders whose pictures a visitor of the page may add, with ':' between them "
        "(';' on Windows); empty: on localhost the home folder and mounted disks, else none.",
    )
    page_upload_mb: int = Field(
        default=50, ge=1, le=1024, description="Largest file a visitor of the page may upload, MB."
    )
    page_password: SecretStr | None = Field(
        default=None,
        description="Hash of the page's password; `scenesearch ui --hash-password` makes it.",
    )
    page_login: bool = Field(
        default=False,
        description="Visitors log in with the OIDC provider of .streamlit/secrets.toml.",
    )

    @field_validator("qdrant_grpc_port", "threads", "batch_size", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        """An empty variable is how the environment says 'none'."""
        return None if value == "" else value

    @cached_property
    def edge_dir(self) -> Path:
        """Root of the embedded collections."""
        return self.data_dir / "edge"

    @cached_property
    def models_dir(self) -> Path:
        """The shelf: encoders by name, see `scenesearch models`."""
        return self.data_dir / "models"

    @cached_property
    def known_encoders(self) -> Path:
        """Where folders of encoders lie that are neither bundled nor on the shelf."""
        return self.data_dir / "encoders.json"

    def library_dir(self, library: str) -> Path:
        """Where a library keeps what is not in its collection: thumbnails, rejects, sources."""
        return self.data_dir / "libraries" / library

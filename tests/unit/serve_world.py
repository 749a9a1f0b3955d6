"""A small library on disk and the server over it, in this process, for the tests of `serve`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scenesearch.home.installation import Installation
from scenesearch.home.settings import Settings
from scenesearch.pictures.records import MetadataType
from serve.app import make_app
from serve.keys import Keys, Scope, new_key, read_keys
from serve.launch import make_service
from serve.service import Service
from tests.conftest import COLOURS, ColourEncoder
from tests.unit.ui_world import LIBRARY, Shot, build_library

# Half of them are for everybody.
SHOTS = [
    Shot(name, colour, payload={"folder": [name.partition("/")[0]], **payload})
    for name, colour, payload in (
        ("public/red.png", COLOURS["red"], {"tags": ["wall"], "camera": "Canon A1"}),
        ("public/blue.png", COLOURS["blue"], {"tags": ["sea"], "price": 5}),
        ("private/green.png", COLOURS["green"], {"tags": ["secret"], "camera": "Nikon F"}),
        ("private/red.png", (210, 40, 40), {"tags": ["wall", "secret"], "price": 9}),
    )
]
CUSTOM: Mapping[str, MetadataType] = {"price": "integer", "seen": "datetime", "spot": "geo"}


def make_library(folder: Path, shots: Sequence[Shot] = SHOTS) -> Path:
    """The library `photos` in a data folder, with two folders of pictures."""
    return build_library(folder, ColourEncoder(), shots, custom=CUSTOM)


def service_of(folder: Path, keys: Keys | None = None, **settings: Any) -> Service:
    """The service over the data folder; nothing is started."""
    return make_service(Settings(data_dir=folder, library=LIBRARY, **settings), keys or Keys())


@contextmanager
def serving(
    folder: Path, keys: Keys | None = None, *, allow_write: bool = False, **settings: Any
) -> Iterator[TestClient]:
    """A client of the server over the data folder."""
    app = make_app(service_of(folder, keys, **settings), allow_write=allow_write)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


class KeyRing:
    """Keys by name, with the headers that show them."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self._entries: list[str] = []

    def add(
        self, name: str, scope: Scope = "read", libraries: Sequence[str] = (), where: str = ""
    ) -> None:
        secret, entry = new_key(name, [scope], libraries, where)
        self._secrets[name] = secret
        self._entries.append(entry)

    @property
    def keys(self) -> Keys:
        return read_keys(f"[{','.join(self._entries)}]")

    def headers(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._secrets[name]}"}


@pytest.fixture
def colour_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's encoder is the one that knows colours."""
    monkeypatch.setattr(Installation, "load_encoder", lambda *_, **__: ColourEncoder())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the library, which the tests of a module only read."""
    folder = tmp_path_factory.mktemp("library")
    make_library(folder)
    return folder


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    """A client of the server over `folder`, which needs no key."""
    with serving(folder) as client:
        yield client


def problem(response: Any, status: int) -> str:
    """The sentence of a problem document with this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = json.loads(response.content)
    assert document.keys() == {"type", "title", "status", "detail"}
    assert document["status"] == status
    return str(document["detail"])


def ids(response: Any) -> list[str]:
    """The ids of the hits, in order."""
    assert response.status_code == 200, response.text
    return [hit["image_id"] for hit in response.json()["hits"]]

"""A small library on disk and the page over it, for the tests of `ui`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit import config
from streamlit.testing.v1 import AppTest

import ui
from ingest.sources.roots import Roots
from scenesearch.encoder.base import Encoder
from scenesearch.home.roots import SOURCES
from scenesearch.pictures.opening import open_image
from scenesearch.pictures.records import MetadataType
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, custom_fields
from ui.access import sessions

LIBRARY = "photos"

# Declared where a picture has a value only: each takes time in every test.
_RARE = {"modified", "lens", "exposure_s", "aperture", "iso", "focal_length_mm", "phash"}


@dataclass(frozen=True)
class Shot:
    """A plain picture and what is known of it."""

    name: str
    colour: tuple[int, int, int]
    size: tuple[int, int] = (64, 48)
    payload: Mapping[str, Any] = field(default_factory=dict)


def reds(count: int) -> list[Shot]:
    """Pictures ever less red, the first as red as the word; taken from 2020-01-01, a day apart."""
    return [
        Shot(
            f"red-{number:02}.png",
            (220, 30 + 2 * number, 30 + 2 * number),
            payload={
                "taken": (datetime(2020, 1, 1, 12, tzinfo=UTC) + timedelta(days=number)).isoformat()
            },
        )
        for number in range(count)
    ]


def build_library(
    data_dir: Path,
    encoder: Encoder,
    shots: Sequence[Shot],
    *,
    custom: Mapping[str, MetadataType] | None = None,
) -> Path:
    """Paint the pictures, index them as `photos`; returns the folder they lie in."""
    folder = data_dir / "pictures"
    folder.mkdir(parents=True)
    unused = _RARE.difference(*(shot.payload for shot in shots))
    spec = CollectionSpec(
        LIBRARY,
        encoder.info.name,
        encoder.info.fingerprint,
        encoder.info.dimension,
        tuple(one for one in BUILTIN_FIELDS if one.name not in unused)
        + custom_fields(custom or {}),
    )
    points = []
    for shot in shots:
        path = folder / shot.name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", shot.size, shot.colour).save(path)
        opened = open_image(path)
        payload = {
            "image_id": shot.name,
            "path": str(path),
            "sha256": opened.sha256,
            "width": opened.width,
            "height": opened.height,
            "orientation": opened.orientation,
            "folder": ["."],
            "size_bytes": opened.size_bytes,
            **shot.payload,
        }
        (vector,) = encoder.encode_images([opened.image])
        points.append(Point(shot.name, vector, payload))
    Roots(data_dir / "libraries" / LIBRARY / SOURCES).add(folder)
    with closing(EdgeStore(data_dir / "edge")) as store:
        store.create_collection(f"{LIBRARY}-{encoder.info.name}-1", spec)
        store.set_alias(LIBRARY, f"{LIBRARY}-{encoder.info.name}-1")
        store.upsert(LIBRARY, points)
        store.flush(LIBRARY)
    return folder


@pytest.fixture(autouse=True)
def any_host() -> Iterator[None]:
    """The middleware takes every host name, and knows no login of another test."""
    before = config.get_option("server.allowedHosts")
    config.set_option("server.allowedHosts", [])
    sessions.cache_clear()
    yield
    config.set_option("server.allowedHosts", before)
    sessions.cache_clear()


def open_page() -> AppTest:
    """The page after its first run."""
    return AppTest.from_file(str(Path(ui.__file__).with_name("app.py")), default_timeout=180).run()


def open_view(name: str) -> AppTest:
    """One view of the page by itself, as the module `ui.views.<name>` draws it."""
    script = f"from ui.views import {name} as view\nview.show()\n"
    return AppTest.from_string(script, default_timeout=60).run()


def gallery(page: AppTest, key: str = "gallery") -> dict[str, Any]:
    """What the gallery of this key is told; nothing if it is not on the screen."""
    for component in page.get("bidi_component"):
        if component.key == key:
            told: dict[str, Any] = json.loads(component.proto.json)
            return told
    return {}


def tiles(page: AppTest) -> dict[str, list[dict[str, str]]]:
    """The rows of tiles before a request, by their titles."""
    return {row["title"]: row["tiles"] for row in gallery(page, "tiles").get("rows", ())}


def choose_tile(page: AppTest, kind: str, text: str) -> AppTest:
    """The page after a browser has said that this tile was clicked."""
    home = AppTest.from_string("from ui.views import home\nhome._choose()\n")
    home.session_state["tiles"] = {"chosen": {"kind": kind, "text": text}}
    home.run()
    for key in ("q", "next_collection"):
        if key in home.session_state:
            page.session_state[key] = home.session_state[key]
    return page.run()


def pick(page: AppTest, *image_ids: str) -> AppTest:
    """The page after a browser has said that these pictures are ticked."""
    page.session_state["picked"] = list(image_ids)
    return page.run()

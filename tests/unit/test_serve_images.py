"""`/v1/images`: what is known of pictures, their bytes, changes, removal."""

import io
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from scenesearch.home.installation import Installation
from scenesearch.home.settings import Settings
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.store.edge import EdgeStore
from scenesearch.store.hand_tags import HandTags, with_hand_tags
from tests.unit.serve_world import (
    LIBRARY,
    colour_encoders,  # noqa: F401 - a fixture
    ids,
    make_library,
    problem,
)
from tests.unit.serve_world import client as client  # a fixture

pytestmark = pytest.mark.usefixtures("colour_encoders")

RED = "/v1/images/public/red.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_library(tmp_path)
    return tmp_path


def file_of(folder: Path, name: str = "public/red.png") -> Path:
    return folder / "pictures" / name


def test_a_picture_is_known_by_its_id(client: TestClient, folder: Path) -> None:
    known = client.get(RED).json()
    assert known["image_id"] == "public/red.png"
    assert known["path"] == str(file_of(folder))
    assert known["payload"]["tags"] == ["wall"]
    assert problem(client.get("/v1/images/nowhere.png"), 404) == (
        f"library {LIBRARY} has no picture nowhere.png"
    )


def test_a_thumbnail_is_a_small_jpeg_that_may_be_kept(client: TestClient, folder: Path) -> None:
    Image.new("RGB", (900, 600), "red").save(file_of(folder))
    response = client.get(f"{RED}/thumbnail")
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["cache-control"] == "private, max-age=3600"
    assert max(Image.open(io.BytesIO(response.content)).size) == 320
    tag = {"If-None-Match": response.headers["etag"]}
    assert client.get(f"{RED}/thumbnail", headers=tag).status_code == 304


def test_a_thumbnail_that_cannot_be_made_is_not_found(client: TestClient, folder: Path) -> None:
    file_of(folder).unlink()
    assert "there is no thumbnail of public/red.png" in problem(client.get(f"{RED}/thumbnail"), 404)


def test_an_original_is_the_file_as_it_is(client: TestClient, folder: Path) -> None:
    response = client.get(f"{RED}/original")
    assert response.content == file_of(folder).read_bytes()
    assert response.headers["content-type"] == "image/png"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-disposition"] == "inline; filename*=UTF-8''red.png"
    assert response.headers["x-content-type-options"] == "nosniff"
    tag = {"If-None-Match": response.headers["etag"]}
    assert client.get(f"{RED}/original", headers=tag).status_code == 304


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, None),
        ("bytes=-7", -7, None),
        ("bytes=0-99999", 0, None),
    ],
)
def test_a_part_of_an_original_is_sent(
    client: TestClient, folder: Path, asked: str, start: int, end: int | None
) -> None:
    whole = file_of(folder).read_bytes()
    response = client.get(f"{RED}/original", headers={"Range": asked})
    assert response.status_code == 206
    assert response.content == whole[start:end]
    first = start % len(whole)
    last = first + len(response.content) - 1
    assert response.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    assert response.headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize("asked", ["bytes=5-2", "lines=1-2", "bytes=0-1,4-5", "bytes=-"])
def test_what_is_no_single_range_gives_all(client: TestClient, folder: Path, asked: str) -> None:
    response = client.get(f"{RED}/original", headers={"Range": asked})
    assert (response.status_code, response.content) == (200, file_of(folder).read_bytes())


@pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(client: TestClient, folder: Path, asked: str) -> None:
    response = client.get(f"{RED}/original", headers={"Range": asked})
    size = file_of(folder).stat().st_size
    assert problem(response, 416) == f"the picture has {size} bytes"
    assert response.headers["content-range"] == f"bytes */{size}"


def test_a_range_of_another_version_gives_all(client: TestClient) -> None:
    headers = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert client.get(f"{RED}/original", headers=headers).status_code == 200


@pytest.mark.parametrize("kind", ["thumbnail", "original"])
def test_a_picture_outside_the_ingested_folders_is_not_opened(
    client: TestClient, folder: Path, tmp_path: Path, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere.png"
    Image.new("RGB", (8, 8)).save(elsewhere)
    with closing(EdgeStore(folder / "edge")) as store:
        point = store.retrieve(LIBRARY, ["public/red.png"], with_vectors=True)["public/red.png"]
        forged = {**point.payload, "path": str(elsewhere), "sha256": "0" * 64}
        store.upsert(LIBRARY, [type(point)(point.image_id, point.vector, forged)])
    assert "is not here" in problem(client.get(f"{RED}/{kind}"), 404)


def test_a_file_that_is_no_picture_any_more_is_not_sent(client: TestClient, folder: Path) -> None:
    file_of(folder).write_text("root:x:0:0")
    assert "no picture any more" in problem(client.get(f"{RED}/original"), 404)


def test_the_words_that_made_a_picture_relevant_are_told(client: TestClient) -> None:
    why = client.get(f"{RED}/why?q=red+boat").json()
    assert [one["word"] for one in why["words"]] == ["red", "boat"]
    assert why["words"][0]["effect"] > 0
    assert why["heat"] is None
    seen = client.get(f"{RED}/why?q=red&heat=true").json()
    assert len(seen["heat"]) == len(seen["heat"][0]) == 7
    assert "filters alone" in problem(client.get(f"{RED}/why?q=width:>1"), 400)


# --- changes -----------------------------------------------------------------------------------


def test_what_is_said_of_a_picture_changes(client: TestClient) -> None:
    asked = {
        "captions": ["a red wall"],
        "tags": ["brick", "new"],
        "fields": {"price": 7, "seen": "2024-05-01T12:00:00", "spot": {"lat": 1.5, "lon": 2}},
    }
    payload = client.patch(RED, json=asked).json()["payload"]
    assert payload["captions"] == ["a red wall"]
    assert payload["tags"] == ["brick", "new"]
    assert (payload["price"], payload["spot"]) == (7, {"lat": 1.5, "lon": 2.0})
    for where in ("price:7", "tag:brick", "caption:wall", "seen:2024", "spot:1.5,2,1km"):
        assert ids(client.post("/v1/search", json={"where": where})) == ["public/red.png"]
    assert client.get(RED).json()["payload"] == payload


def test_null_takes_a_value_away_and_what_is_not_named_stays(client: TestClient) -> None:
    blue = "/v1/images/public/blue.png"
    payload = client.patch(blue, json={"fields": {"price": None}}).json()["payload"]
    assert "price" not in payload
    assert payload["tags"] == ["sea"]
    assert client.patch(blue, json={"tags": []}).json()["payload"].get("tags") is None


def test_tags_sent_stand_in_for_those_changed_by_hand(client: TestClient, folder: Path) -> None:
    with closing(EdgeStore(folder / "edge")) as store:
        point = store.retrieve(LIBRARY, ["public/red.png"], with_vectors=True)["public/red.png"]
        by_hand = with_hand_tags(point.payload, HandTags(added=("holiday",)))
        store.upsert(LIBRARY, [type(point)(point.image_id, point.vector, by_hand)])
    assert "holiday" in client.get(RED).json()["payload"]["tags"]
    assert client.patch(RED, json={"tags": ["brick"]}).json()["payload"]["tags"] == ["brick"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"path": "/etc/passwd"}, "fields.path: this cannot be changed; there are captions, price"),
        ({"sha256": "0" * 64}, "fields.sha256: this cannot be changed"),
        ({"own": {}}, "fields.own: this cannot be changed"),
        ({"colour": "red"}, "fields.colour: this cannot be changed"),
        ({"price": "much"}, "fields.price: not a value of a integer field"),
        ({"price": 2**70}, "fields.price: not a value of a integer field"),
        ({"price": True}, "fields.price: not a value of a integer field"),
        ({"seen": "yesterday"}, "fields.seen: not a value of a datetime field"),
        ({"spot": {"lat": 100, "lon": 0}}, "fields.spot: not a value of a geo field"),
        ({"spot": {"lat": "x", "lon": 0}}, "fields.spot: not a value of a geo field"),
        ({"price": {"a": [1]}}, "fields.price: not a value of a integer field"),
    ],
)
def test_what_cannot_be_said_is_refused(
    client: TestClient, fields: dict[str, Any], said: str
) -> None:
    before = client.get(RED).json()
    assert said in problem(client.patch(RED, json={"fields": fields}), 422)
    assert client.get(RED).json() == before


def test_a_removed_picture_is_gone_with_its_thumbnail(client: TestClient, folder: Path) -> None:
    client.get(f"{RED}/thumbnail")
    sha256 = client.get(RED).json()["payload"]["sha256"]
    thumbnails = Installation(Settings(data_dir=folder)).files(LIBRARY).thumbnails
    kept = thumbnail_path(thumbnails, sha256)
    assert kept.exists()
    assert client.delete(RED).status_code == 204
    assert client.get(RED).status_code == 404
    assert not kept.exists()
    assert file_of(folder).exists()  # it is not ours
    assert client.delete(RED).status_code == 404


def test_the_thumbnail_of_a_copy_stays(client: TestClient, folder: Path) -> None:
    with closing(EdgeStore(folder / "edge")) as store:
        point = store.retrieve(LIBRARY, ["public/red.png"], with_vectors=True)["public/red.png"]
        twin = {**point.payload, "image_id": "twin.png"}
        store.upsert(LIBRARY, [type(point)("twin.png", point.vector, twin)])
    client.get(f"{RED}/thumbnail")
    client.delete(RED)
    file_of(folder).unlink()
    assert client.get("/v1/images/twin.png/thumbnail").status_code == 200

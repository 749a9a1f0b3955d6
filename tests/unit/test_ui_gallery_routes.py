"""What the gallery fetches: portions, details, bytes; and what nobody gets by these addresses."""

import base64
import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr
from starlette.testclient import TestClient
from streamlit import config

from scenesearch.home.settings import Settings
from scenesearch.pictures.thumbnails import thumbnail_path, write_thumbnail
from scenesearch.search.request import Request
from scenesearch.search.searcher import Searcher
from tests.conftest import ColourEncoder
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import LIBRARY, Shot, build_library, reds
from tests.unit.ui_world import any_host as any_host  # each test's fixture
from ui.access import hash_password
from ui.gallery.answers import Answer, Answers, SearchAnswer, answers
from ui.gallery.listing import Listing, newest_first
from ui.gallery.routes import gallery_app
from ui.middleware import AccessMiddleware
from ui.resources import open_library
from ui.settings import read_settings_again

PLACE: dict[str, Any] = {"location": {"lat": 55.75, "lon": 37.62}, "city": "Moscow"}


@pytest.fixture
def visitor() -> TestClient:
    return TestClient(gallery_app())


def library(tmp_path: Path, encoder: ColourEncoder, *shots: Shot, count: int = 3) -> Path:
    return build_library(tmp_path, encoder, [*reds(count), *shots])


def searched(text: str, k: int = 60) -> str:
    """The token of an answer whose first portion has so many pictures."""
    with open_library() as opened:
        request = opened.parse(text)

        def go_on(opened: Any, after: str, k: int) -> Any:
            return opened.searcher.search(request, k=k, after=after, collapse=True)

        result = opened.searcher.search(request, k=k, collapse=True)
        return answers().keep(SearchAnswer(request, result, go_on, ranked=True))


def opened_picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


# --- bytes


def test_a_thumbnail_is_a_small_webp(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder, Shot("a b/é.png", (0, 0, 255), size=(1200, 900)))
    answer = visitor.get("/gallery/thumb", params={"id": "a b/é.png", "h": 220})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert opened_picture(answer.content).size == (293, 220)
    double = visitor.get("/gallery/thumb", params={"id": "a b/é.png", "h": 440})
    assert double.headers["content-type"] == "image/jpeg"
    assert opened_picture(double.content).size == (320, 240)


def test_an_address_with_the_pictures_version_is_kept_for_ever(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder)
    token = searched("red")
    (first, *_) = visitor.get("/gallery/items", params={"answer": token}).json()["items"]
    for address in ("thumb", "view", "full"):
        asked = {"id": first["id"], "v": first["v"]}
        kept = visitor.get(f"/gallery/{address}", params=asked)
        assert kept.headers["cache-control"] == "private, max-age=31536000, immutable"
        other = visitor.get(f"/gallery/{address}", params=asked | {"v": "f" * 16})
        assert other.headers["cache-control"] == "private, no-cache"


def test_a_picture_fills_the_screen_and_is_zoomed_into(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder, Shot("big.png", (0, 0, 255), size=(3000, 2000)))
    view = visitor.get("/gallery/view", params={"id": "big.png"})
    assert opened_picture(view.content).size == (1600, 1067)
    full = visitor.get("/gallery/full", params={"id": "big.png"})
    assert opened_picture(full.content).size == (3000, 2000)


def test_without_an_original_there_is_a_thumbnail_and_a_reason(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    folder = library(tmp_path, colour_encoder)
    (folder / "red-00.png").unlink()
    thumb = visitor.get("/gallery/thumb", params={"id": "red-00.png"})
    assert thumb.status_code == 200
    assert thumb.headers["cache-control"] == "private, no-cache"
    view = visitor.get("/gallery/view", params={"id": "red-00.png"})
    assert view.status_code == 404
    assert view.json()["error"].startswith("The original cannot be shown: no such file")
    told = visitor.get("/gallery/details", params={"id": "red-00.png"}).json()
    assert told["problem"] == view.json()["error"]


def test_a_download_is_the_original(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    folder = library(tmp_path, colour_encoder, Shot("a/<b> ü.png", (0, 0, 255)))
    answer = visitor.get("/gallery/download", params={"id": "a/<b> ü.png"})
    assert answer.content == (folder / "a" / "<b> ü.png").read_bytes()
    assert answer.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''_b_%20%C3%BC.png"
    )
    assert answer.headers["content-type"] == "application/octet-stream"


# --- portions


def test_portions_follow_one_another_without_gaps_or_repeats(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder, count=40)
    token, seen, after = searched("red", k=7), [], None
    while True:
        asked = {"answer": token, "limit": 7} | ({"after": after} if after else {})
        told = visitor.get("/gallery/items", params=asked).json()
        seen += [item["id"] for item in told["items"]]
        if (after := told["next"]) is None:
            break
    assert seen == [f"red-{number:02}.png" for number in range(40)]


def test_a_listing_is_read_to_its_end(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder, count=5)
    with open_library() as opened:
        ids = opened.searcher.every_id(Request())
    token = answers().keep(Answer([*ids, "gone.png"]))
    first = visitor.get("/gallery/items", params={"answer": token, "limit": 4}).json()
    assert [item["id"] for item in first["items"]] == ids[:4]
    rest = visitor.get("/gallery/items", params={"answer": token, "after": first["next"]}).json()
    assert [item["id"] for item in rest["items"]] == ids[4:]  # what is gone is left out
    assert rest["next"] is None


def by_date(*gone: str) -> str:
    """The token of the library by date; these pictures leave it afterwards."""
    with open_library() as opened:
        token = answers().keep(Listing(newest_first(opened, cast("Searcher", opened.searcher))))
        opened.store.delete(LIBRARY, gone)  # type: ignore[union-attr]
    return token


def test_a_listing_has_a_shape(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    january = {"taken": "2020-01-31T12:00:00+00:00"}
    wide = Shot("wide.png", (0, 0, 255), size=(90, 30), payload=january)
    tall = Shot("tall.png", (0, 255, 0), size=(30, 60), payload={"taken": "2019-07-12"})
    undated = Shot("undated.png", (0, 255, 255))
    build_library(tmp_path, colour_encoder, [undated, tall, *reds(1), wide])
    told = visitor.get("/gallery/shape", params={"answer": by_date()}).json()
    aspects = np.frombuffer(base64.b64decode(told["aspects"]), "<u2")
    assert aspects.tolist() == [30_000, 13_333, 5_000, 13_333]
    assert told["months"] == [["2020-01", 0], ["2019-07", 2], ["", 3]]


def test_any_part_of_a_listing_is_told_with_its_places(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder, count=10)
    token = by_date("red-03.png")
    asked = {"answer": token, "after": "5", "limit": "3"}
    told = visitor.get("/gallery/items", params=asked).json()
    assert [(item["id"], item["at"]) for item in told["items"]] == [
        ("red-04.png", 5),
        ("red-02.png", 7),  # what is gone leaves a gap
    ]


def test_a_listing_says_where_a_picture_stands(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder, count=10)
    token = by_date()

    def place(image_id: str, answer: str = token) -> Any:
        return visitor.get("/gallery/place", params={"answer": answer, "id": image_id})

    assert place("red-03.png").json() == {"at": 6}
    assert place("nobody's").json() == {"at": None}
    assert place("red-03.png", searched("red")).status_code == 404  # known as far as it was read
    assert place("red-03.png", "forgotten").status_code == 410


def test_the_portion_that_falls_under_the_cut_says_where(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    library(tmp_path, colour_encoder, Shot("dark.png", (90, 80, 80)))
    with open_library() as opened:
        request = opened.parse("red")
        found = opened.searcher.search(request, min_relevance=0.0)
    result = replace(found, min_relevance=0.9)
    weak = next(n for n, hit in enumerate(result.hits) if (hit.relevance or 0) < 0.9)
    assert SearchAnswer(request, result, lambda *_: result, ranked=True).nearest == weak > 0
    assert SearchAnswer(request, result, lambda *_: result, ranked=False).nearest is None


def test_an_item_has_what_the_grid_needs(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    hostile = "<img src=x onerror=alert(1)> **b**"
    shot = Shot("wall.png", (220, 30, 30), payload={"captions": [hostile], "taken": "2019-07-12"})
    build_library(tmp_path, colour_encoder, [shot])
    with open_library() as opened:
        payload = opened.store.retrieve(LIBRARY, ["wall.png"])["wall.png"].payload
    path = thumbnail_path(tmp_path / "libraries" / LIBRARY / "thumbnails", payload["sha256"])
    write_thumbnail(Image.new("RGB", (320, 240), (220, 30, 30)), path)
    told = visitor.get("/gallery/items", params={"answer": searched("red")}).json()
    (item,) = told["items"]
    colours = base64.b64decode(item.pop("colours"))
    assert len(colours) == 48
    assert colours[:3] == pytest.approx((220, 30, 30), abs=3)
    assert item == {
        "id": "wall.png",
        "title": hostile,
        "w": 64,
        "h": 48,
        "v": payload["sha256"][:16],
        "date": "2019-07-12",
        "score": "95%",
        "note": "",
    }


def test_a_forgotten_answer_is_gone(visitor: TestClient) -> None:
    answer = visitor.get("/gallery/items", params={"answer": "nobody's"})
    assert answer.status_code == 410
    assert answer.json() == {"error": "this answer was forgotten: ask again"}


def test_the_answers_that_were_asked_for_last_are_kept() -> None:
    kept = Answers(most=2)
    tokens = [kept.keep(Answer([str(number)])) for number in range(2)]
    assert kept.get(tokens[0]) is not None
    last = kept.keep(Answer(["x"]))
    assert [kept.get(token) is not None for token in (*tokens, last)] == [True, False, True]
    assert len({*tokens, last}) == 3


# --- details


def test_details_tell_facts_in_plain_words(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    lines = {
        "text": "Gate 12\nExit",
        "text_lines": [
            {"box": [0.1, 0.2, 0.4, 0.2, 0.4, 0.3, 0.1, 0.3], "confidence": 0.9},
            {"box": [0.5, 0.2, 0.7, 0.2, 0.7, 0.3, 0.5, 0.3], "confidence": 0.9},
        ],
    }
    shot = Shot(
        "wall.png",
        (220, 30, 30),
        payload={"taken": "2019-07-12T14:30:00", "captions": ["a wall"], **PLACE, **lines},
    )
    build_library(tmp_path, colour_encoder, [shot])
    asked = {"id": "wall.png", "answer": searched("red")}
    told = visitor.get("/gallery/details", params=asked).json()
    assert told["title"] == "a wall"
    assert ["Size", "64 × 48 pixels"] in told["facts"]
    assert ["Taken", "12 July 2019, 14:30"] in told["facts"]
    assert told["found"] == "95% relevant · cosine 1.000"
    assert told["place"] == {"lat": 55.75, "lon": 37.62}
    assert told["path"] == str(tmp_path / "pictures" / "wall.png")
    assert told["problem"] is None
    assert told["lines"][0] == {"text": "Gate 12", "box": [0.1, 0.2, 0.4, 0.3], "marked": False}


def test_why_tells_words_and_a_map(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder)
    asked = {"id": "red-00.png", "answer": searched("red")}
    told = visitor.get("/gallery/why", params=asked).json()
    assert [word for word, _ in told["words"]] == ["red"]
    assert told["more"] == 0
    kind, _, data = told["heat"].partition(",")
    assert kind == "data:image/png;base64"
    assert opened_picture(base64.b64decode(data)).mode == "RGBA"
    unasked = visitor.get("/gallery/why", params={"id": "red-00.png"})
    assert unasked.status_code == 400


# --- what nobody gets


STRANGE_IDS = ("", "no.png", "../red-00.png", "/etc/passwd", "red-00.png\0", "x" * 5000, "\ud800")


def test_a_picture_that_the_library_has_not_is_not_found(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder, count=1)
    for address in ("thumb", "view", "full", "download", "details", "why"):
        for image_id in STRANGE_IDS:
            asked = image_id.encode("utf-8", "surrogatepass")
            answer = visitor.get(f"/gallery/{address}", params={"id": asked})
            assert answer.status_code == 404, (address, image_id)
            assert answer.json() == {"error": "there is no such picture"}


def test_a_wrong_number_or_cursor_is_named(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder, count=1)
    token = searched("red")
    for number in ("0", "-1", "x", "9" * 9, "²", "241"):
        answer = visitor.get("/gallery/items", params={"answer": token, "limit": number})
        assert answer.status_code == 400
        assert answer.json() == {"error": "limit: a number from 1 to 240 is meant"}
    for after in ("x", "-1", "1" * 9, "²"):
        answer = visitor.get("/gallery/items", params={"answer": token, "after": after})
        assert answer.status_code == 400
        assert "damaged" in answer.json()["error"]


def test_a_file_outside_the_ingested_folders_is_never_read(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    library(tmp_path, colour_encoder, Shot("out.png", (0, 0, 255), payload={"path": str(secret)}))
    for address in ("view", "full", "download"):
        answer = visitor.get(f"/gallery/{address}", params={"id": "out.png"})
        assert answer.status_code == 404
        assert "lies outside the folders" in answer.json()["error"]


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only page that shows no places."""
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", "true")
    read_settings_again()


def test_a_public_page_tells_no_place_and_no_path(
    tmp_path: Path, colour_encoder: ColourEncoder, public: None, visitor: TestClient
) -> None:
    shot = Shot("wall.png", (220, 30, 30), payload=PLACE)
    folder = build_library(tmp_path, colour_encoder, [shot], custom={"city": "keyword"})
    asked = {"id": "wall.png", "answer": searched("red")}
    answer = visitor.get("/gallery/details", params=asked)
    told = answer.json()
    assert told["place"] is None and told["path"] is None and told["mark"] is None
    assert "Moscow" not in answer.text and "55.75" not in answer.text
    assert str(tmp_path) not in answer.text
    (folder / "wall.png").unlink()
    for address in ("view", "full", "download", "why"):
        gone = visitor.get(f"/gallery/{address}", params=asked)
        assert gone.status_code == 404
        assert gone.json() == {"error": "The original cannot be shown now."}


def test_a_public_page_gives_a_copy_without_metadata(
    tmp_path: Path, colour_encoder: ColourEncoder, public: None, visitor: TestClient
) -> None:
    folder = build_library(tmp_path, colour_encoder, [Shot("wall.jpg", (220, 30, 30))])
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x8825] = {1: "N", 2: (55.0, 45.0, 0.0)}
    Image.new("RGB", (64, 48), (220, 30, 30)).save(
        folder / "wall.jpg", exif=exif, comment=b"secret words"
    )
    assert b"Maker" in (folder / "wall.jpg").read_bytes()
    for address in ("download", "view", "full"):
        answer = visitor.get(f"/gallery/{address}", params={"id": "wall.jpg"})
        assert answer.status_code == 200
        assert not opened_picture(answer.content).getexif()
        assert b"secret words" not in answer.content and b"Maker" not in answer.content
    name = visitor.get("/gallery/download", params={"id": "wall.jpg"})
    assert name.headers["content-disposition"] == "attachment; filename*=UTF-8''wall.jpg"


# --- who asks


ADDRESSES = ("thumb", "view", "full", "download", "items", "details", "why")


def test_without_a_login_nothing_is_told(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    library(tmp_path, colour_encoder, count=1)
    now = Settings(data_dir=tmp_path, page_password=SecretStr(hash_password("sesame")))
    visitor = TestClient(AccessMiddleware(gallery_app(), now))
    asked = {"id": "red-00.png", "answer": searched("red")}
    for address in ADDRESSES:
        answer = visitor.get(f"/gallery/{address}", params=asked)
        assert answer.status_code == 401
        assert "red" not in answer.text
    visitor.post("/", data={"password": "sesame"}, follow_redirects=False)
    for address in ADDRESSES:
        assert visitor.get(f"/gallery/{address}", params=asked).status_code == 200


def test_another_host_name_is_refused(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    library(tmp_path, colour_encoder, count=1)
    config.set_option("server.allowedHosts", ["localhost"])
    app = AccessMiddleware(gallery_app(), Settings(data_dir=tmp_path))
    visitor = TestClient(app, base_url="http://evil.example")
    for address in ADDRESSES:
        asked = {"id": "red-00.png"}
        assert visitor.get(f"/gallery/{address}", params=asked).status_code == 403


def test_another_site_cannot_show_them(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    library(tmp_path, colour_encoder, count=1)
    for address in ("thumb", "view", "download", "details"):
        answer = visitor.get(f"/gallery/{address}", params={"id": "red-00.png"})
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_under_a_base_path_they_lie_below_it(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    library(tmp_path, colour_encoder, count=1)
    visitor = TestClient(gallery_app("/photos"))
    asked = {"id": "red-00.png"}
    assert visitor.get("/photos/gallery/thumb", params=asked).status_code == 200
    assert visitor.get("/gallery/thumb", params=asked).status_code == 404


def test_many_at_once_are_answered(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    library(tmp_path, colour_encoder, count=12)
    token, seen = searched("red"), list[int]()
    with TestClient(gallery_app()) as visitor:

        def ask(number: int) -> None:
            address = ("thumb", "view", "details", "items")[number % 4]
            asked = {"id": f"red-{number % 12:02}.png", "answer": token}
            seen.append(visitor.get(f"/gallery/{address}", params=asked).status_code)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(48)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [200] * 48

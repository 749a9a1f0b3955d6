"""A server in the place of a library of the page's own: the same answers, and what goes wrong."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from scenesearch.home.installation import Installation
from scenesearch.pictures.opening import decode_image, open_image
from scenesearch.pictures.originals import OriginalError
from scenesearch.search.grammar import parse, parse_order
from scenesearch.search.request import QueryError, Request, Upload
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import CollectionMissing
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField
from scenesearch.store.filters import (
    AllOf,
    AnyOf,
    Condition,
    Has,
    HasWords,
    Near,
    Not,
    OneOf,
    Range,
    Within,
)
from tests.conftest import ColourEncoder
from tests.unit.serve_world import SHOTS, make_library, serving
from tests.unit.ui_world import LIBRARY, open_page
from ui import api_library
from ui.api_client import (
    ApiBusyError,
    ApiClient,
    ApiError,
    ApiKeyRefusedError,
    ApiUnavailableError,
    ApiVersionError,
)
from ui.api_library import ApiLibrary, ApiOriginal, ApiSearcher, ApiStore, as_written

# --- the same answers ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the server."""
    folder = tmp_path_factory.mktemp("server")
    make_library(folder)
    return folder


@pytest.fixture(scope="module")
def library(folder: Path) -> Iterator[ApiLibrary]:
    """The library over a server in this process."""
    # So few hits at a time that every longer answer is several of the server's.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Installation, "load_encoder", lambda *_, **__: ColourEncoder())
        with serving(folder, api_max_limit=2) as client:
            asking = ApiClient("http://localhost", None)
            asking._http = client  # type: ignore[assignment]
            yield ApiLibrary(asking, LIBRARY)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EdgeStore, Searcher]]:
    """A copy of the same library, opened here."""
    folder = tmp_path_factory.mktemp("own")
    make_library(folder)
    with closing(EdgeStore(folder / "edge")) as store:
        yield store, Searcher(ColourEncoder(), store, LIBRARY)


WHERE: list[tuple[Condition, ...]] = [
    (),
    (OneOf("tags", ("wall", "sea")),),
    (OneOf("folder", ("public",)), OneOf("camera", ("Canon A1",))),
    (Range("price", at_least=5, at_most=7),),
    (Not(Has("price")),),
    (AnyOf((OneOf("tags", ("secret",)), Range("width", above=1000))),),
]


@pytest.mark.parametrize("where", WHERE)
def test_the_server_reads_as_the_store_does(
    library: ApiLibrary, own: tuple[EdgeStore, Searcher], where: tuple[Condition, ...]
) -> None:
    store, searcher = own
    there = ApiStore(library)
    ids = [point.image_id for point in store.scroll(LIBRARY, where=where)]
    assert [point.image_id for point in there.scroll(LIBRARY, where=where, batch_size=1)] == ids
    assert there.count(LIBRARY, where=where) == len(ids)
    asking = ApiSearcher(library)
    assert asking.passed_by_none(where) == []
    if where:
        request = Request(where=where)
        found = [hit.image_id for hit in asking.search(request, k=4).hits]
        assert found == [hit.image_id for hit in searcher.search(request, k=4).hits]
        assert asking.count(request) == searcher.count(request)


def test_points_fields_and_values_are_those_of_the_store(
    library: ApiLibrary, own: tuple[EdgeStore, Searcher]
) -> None:
    store, _ = own
    there, names = ApiStore(library), [shot.name for shot in SHOTS]
    for image_id, point in there.retrieve(LIBRARY, [*names, "none.png"]).items():
        kept = dict(store.retrieve(LIBRARY, [image_id])[image_id].payload)
        assert {**kept, "path": ""} == {**point.payload, "path": ""}
    assert set(there.retrieve(LIBRARY, names)) == set(names)
    assert there.facet(LIBRARY, "camera") == store.facet(LIBRARY, "camera")
    assert there.describe(LIBRARY).fields == store.describe(LIBRARY).fields
    (point,) = there.retrieve(LIBRARY, [SHOTS[0].name]).values()
    (bare,) = there.scroll(LIBRARY, where=(OneOf("image_id", (SHOTS[0].name,)),), payload=("tags",))
    assert bare.payload == {"tags": point.payload["tags"]}


def test_more_ids_than_an_address_holds_are_asked_for_in_turn(
    library: ApiLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_library, "_MOST_ID_CHARACTERS", 20)
    names = [shot.name for shot in SHOTS]
    assert set(ApiStore(library).retrieve(LIBRARY, names)) == set(names)


@pytest.mark.parametrize("order", ["", "-price", "varied", "alone", "marked"])
@pytest.mark.parametrize("text", ["red", "red -blue", 'red + "blue"^2 -tag:secret', "tag:wall"])
def test_the_server_answers_as_the_searcher_does(
    library: ApiLibrary, own: tuple[EdgeStore, Searcher], text: str, order: str
) -> None:
    _, searcher = own
    options: dict[str, Any] = {"k": 4, "min_relevance": 0.0, "collapse": True, "facets": ("tags",)}
    if order == "-price":
        options["sort"] = parse_order(order, searcher.fields)
    elif order == "varied":
        options["diversity"] = 0.5
    elif order == "alone":
        options["hybrid"] = False
    elif order == "marked":
        options |= {"right": ("public/blue.png",), "wrong": ("private/red.png",)}
    request = searcher.parse(text, where=(OneOf("folder", ("public", "private")),))
    mine, theirs = (one.search(request, **options) for one in (searcher, ApiSearcher(library)))
    assert [(hit.rank, hit.image_id, hit.relevance, hit.band) for hit in theirs.hits] == [
        (hit.rank, hit.image_id, hit.relevance, hit.band) for hit in mine.hits
    ]
    assert theirs.facets == mine.facets
    assert (theirs.notices, theirs.excluded) == (mine.notices, mine.excluded)
    assert (theirs.next, theirs.query) == (None, mine.query)


def test_a_picture_and_words_together_are_asked_for(
    library: ApiLibrary, own: tuple[EdgeStore, Searcher], folder: Path
) -> None:
    _, searcher = own
    data = (folder / "pictures" / "public" / "blue.png").read_bytes()
    request = searcher.parse("red")
    request = replace(request, parts=(Upload(data, "mine.png", weight=2), *request.parts))
    options: dict[str, Any] = {"k": 4, "min_relevance": 0.0}
    mine, theirs = (one.search(request, **options) for one in (searcher, ApiSearcher(library)))
    assert [hit.image_id for hit in theirs.hits] == [hit.image_id for hit in mine.hits]
    with pytest.raises(QueryError, match="explains requests in words alone"):
        ApiSearcher(library).why(request, "public/red.png", decode_image(data).image)


def test_a_page_ends_where_it_did_and_the_next_one_follows(library: ApiLibrary) -> None:
    asking = ApiSearcher(library)
    first = asking.search("red", k=3, min_relevance=0.0)
    rest = asking.search("red", k=3, min_relevance=0.0, after=first.next)
    ids = [hit.image_id for hit in (*first.hits, *rest.hits)]
    assert (len(first.hits), len(set(ids)), rest.next) == (3, 4, None)


def test_a_filter_that_nothing_passes_is_explained(library: ApiLibrary) -> None:
    (notice,) = ApiSearcher(library).passed_by_none((OneOf("tags", ("none",)),))
    assert "tags" in notice


def test_what_the_page_hides_is_words_for_the_server_too(library: ApiLibrary) -> None:
    fields = [field for field in ApiSearcher(library).fields if field.name != "camera"]
    fields = [field for field in fields if field.name != "taken"]
    request = parse("camera:canon taken:never red", fields)
    result = ApiSearcher(library).search(request, k=4, min_relevance=0.0)
    assert len(result.hits) == 4
    assert set(request.notices) <= set(result.notices)


def test_marks_thumbnails_originals_and_reasons_come_from_the_server(
    library: ApiLibrary, folder: Path
) -> None:
    image_id = "private/green.png"
    library.mark("a wall", image_id, "right")
    assert library.marks_of("a wall") == ((image_id,), ())
    library.mark("a wall", image_id, "none")
    assert library.marks_of("a wall") == ((), ())
    thumbnail = library.thumbnail(image_id)
    assert thumbnail is not None and thumbnail.startswith(b"\xff\xd8")
    assert library.thumbnail("none.png") is None
    file = folder / "pictures" / image_id
    original = ApiOriginal(library, image_id, str(file))
    assert original.name == "green.png"
    assert original.read() == file.read_bytes()
    assert original.read(1, 3) == file.read_bytes()[1:4]
    assert original.state().size_bytes == len(file.read_bytes())
    image = open_image(original).image
    why = ApiSearcher(library).why(parse("green", BUILTIN_FIELDS), image_id, image)
    assert [one.word for one in why.words] == ["green"]
    assert why.heat is not None and why.heat.cells.shape == (7, 7)
    file.unlink()
    with pytest.raises(OriginalError):
        original.read()


def test_offline_pictures_are_those_that_the_server_calls_so(library: ApiLibrary) -> None:
    library.note("/away/a.jpg", offline=True)
    assert library.offline("/away/a.jpg")
    library.note("/away/a.jpg", offline=False)
    assert not library.offline("/away/a.jpg")


def test_a_library_that_the_server_has_not_is_missing(library: ApiLibrary) -> None:
    with pytest.raises(CollectionMissing, match="no library 'none' at http://localhost"):
        ApiLibrary(library.client, "none").describe()


FIELDS = (*BUILTIN_FIELDS, PayloadField("note", "text", "Note"))


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ((OneOf("tags", ("a, b", 'c"d', "e*")),), 'tags="a, b","c""d","e*"'),
        ((OneOf("favourite", (True,)),), "favourite:true"),
        (
            (
                Range(
                    "taken",
                    at_least=datetime(2019, 1, 1, tzinfo=UTC),
                    below=datetime(2019, 2, 1, tzinfo=UTC),
                ),
            ),
            "taken:>=2019-01-01 taken:<2019-02-01",
        ),
        ((Range("rating", at_least=1.5),), "rating:>=1.5"),
        ((HasWords("note", "red wall"),), 'note:"red wall"'),
        ((Within("location", 48.5, -2.25, 49, 3),), "location:48.5,-2.25,49,3"),
        ((Not(AllOf((Has("tags"), Has("camera")))),), "-(has:tags has:camera)"),
    ],
)
def test_the_pages_conditions_are_written_in_the_grammar(
    where: tuple[Condition, ...], text: str
) -> None:
    assert " ".join(map(str, as_written(where, FIELDS))) == text


def test_a_condition_that_no_widget_makes_is_refused() -> None:
    with pytest.raises(QueryError, match="Near"):
        as_written((Near("location", (0, 0), 5),), FIELDS)  # type: ignore[arg-type]


# --- what goes wrong -------------------------------------------------------------------------

Answer = tuple[int, dict[str, str], bytes]


class Fake:
    """Something at an address that answers each request by `answer(path)`."""

    def __init__(self) -> None:
        self.answer: Callable[[str], Answer] = lambda path: (404, {}, b"")
        self.keys: list[str | None] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.keys.append(self.headers["Authorization"])
                status, headers, body = fake.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    yield made
    made.server.shutdown()
    made.server.server_close()


def problem(status: int, detail: str, **headers: str) -> Answer:
    body = json.dumps({"status": status, "detail": detail}).encode()
    return status, {"Content-Type": "application/problem+json", **headers}, body


def good(**more: Any) -> Callable[[str], Answer]:
    """What a server of one empty library says."""
    answers: dict[str, Any] = {
        "/v1/libraries": {
            "libraries": [{"name": LIBRARY, "pictures": 0, "encoder": "e", "dimension": 4}],
            "version": version("scenesearch"),
            "max_limit": 100,
            "may_write": False,
        },
        "/v1/fields": {"fields": [], "min_relevance": 0.5},
    }
    answers["/v1/libraries"] |= more

    def answer(path: str) -> Answer:
        body = json.dumps(answers[path.partition("?")[0]]).encode()
        return 200, {"Content-Type": "application/json"}, body

    return answer


FAULTS: list[tuple[Callable[[str], Answer], type[ApiError], str, str]] = [
    (
        lambda _: problem(401, "a valid key is needed"),
        ApiKeyRefusedError,
        "does not know the key in SCENESEARCH_API_KEY",
        "The API server refuses this page",
    ),
    (
        lambda _: problem(403, "key site has not the scope read"),
        ApiKeyRefusedError,
        "refuses: key site has not the scope read",
        "The API server refuses this page",
    ),
    (
        lambda _: problem(429, "the server is busy", **{"Retry-After": "0"}),
        ApiBusyError,
        "says: the server is busy",
        "The API server is busy",
    ),
    (
        lambda _: problem(503, "the library is being made; try again"),
        ApiUnavailableError,
        "says: the library is being made; try again",
        "The API server does not answer",
    ),
    (
        lambda _: (200, {"Content-Type": "text/html"}, b"<h1>Hello</h1>"),
        ApiVersionError,
        "it answers with no JSON",
        "The API server does not fit this page",
    ),
    (
        lambda _: (302, {"Location": "http://elsewhere.invalid/"}, b""),
        ApiVersionError,
        "it answers with status 302",
        "The API server does not fit this page",
    ),
    (
        lambda _: problem(404, "there is nothing at /v1/libraries"),
        ApiVersionError,
        "it answers with status 404",
        "The API server does not fit this page",
    ),
    (
        good(version="99.0.0"),
        ApiVersionError,
        "is scenesearch 99.0.0, this page is",
        "The API server does not fit this page",
    ),
    (
        good(libraries=[{"name": LIBRARY}]),
        ApiVersionError,
        "it answers with KeyError",
        "The API server does not fit this page",
    ),
]


@pytest.mark.parametrize(("answer", "kind", "sentence", "title"), FAULTS)
def test_each_fault_is_one_sentence_and_the_next_question_is_answered(
    fake: Fake, answer: Callable[[str], Answer], kind: type[ApiError], sentence: str, title: str
) -> None:
    fake.answer = answer
    library = ApiLibrary(ApiClient(fake.url, "secret"), LIBRARY)
    with pytest.raises(kind) as raised:
        library.describe()
    assert sentence in str(raised.value)
    assert "secret" not in str(raised.value)
    fake.answer = good()
    assert library.describe().encoder == "e"
    assert set(fake.keys) == {"Bearer secret"}


@pytest.fixture
def page_of_a_server(tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SCENESEARCH_LIBRARY", LIBRARY)
    monkeypatch.setenv("SCENESEARCH_API_URL", fake.url)
    monkeypatch.setenv("SCENESEARCH_API_KEY", "secret")
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.mark.slow
@pytest.mark.usefixtures("page_of_a_server")
def test_the_page_tells_each_fault_and_recovers(fake: Fake) -> None:
    kinds = {kind: fault for fault in FAULTS for kind in fault[1:2]}
    for answer, _, sentence, title in kinds.values():
        fake.answer = answer
        page = open_page()
        assert not page.exception
        assert [one.value for one in page.subheader] == [f":material/error: {title}"]
        assert any(sentence in text.value for text in page.text)
        fake.answer = good()
        page = page.button(key="retry").click().run()
        assert "This library is empty" in page.subheader[0].value
        st.cache_resource.clear()


@pytest.mark.usefixtures("page_of_a_server")
def test_a_server_that_is_away_is_told(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.server.shutdown()
    fake.server.server_close()
    page = open_page()
    assert page.subheader[0].value == ":material/error: The API server does not answer"
    assert any(f"the API server {fake.url} cannot be reached" in one.value for one in page.text)


@pytest.mark.usefixtures("page_of_a_server")
def test_a_missing_library_is_not_offered_to_be_filled_here(fake: Fake) -> None:
    fake.answer = good(libraries=[])
    page = open_page()
    assert "There is no library of this name yet" in page.subheader[0].value
    assert any("Pictures are added on the server" in one.value for one in page.text)
    assert [one.label for one in page.button] == ["Search", "Look again"]

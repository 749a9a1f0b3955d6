"""scenesearch.open: a library in a notebook, answers that show themselves, reasons."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scenesearch
from scenesearch.home.installation import Installation
from scenesearch.home.settings import Settings
from scenesearch.notebook import Library
from scenesearch.pictures.thumbnails import thumbnail_path, write_thumbnail
from scenesearch.search.request import QueryError
from scenesearch.store.base import CollectionMissing
from scenesearch.store.edge import EdgeStore
from tests.conftest import COLOURS, ColourEncoder
from tests.tiny_encoder import declare, write_tiny_encoder
from tests.unit.ui_world import LIBRARY, Shot, build_library

HOSTILE = '"><img src=x onerror=alert(1)>.png'


@contextmanager
def opened(folder: Path, encoder: ColourEncoder) -> Iterator[Library]:
    shots = [
        Shot("red.png", COLOURS["red"], payload={"tags": ["wall"]}),
        Shot("blue.png", COLOURS["blue"]),
        Shot(HOSTILE, COLOURS["green"]),
    ]
    build_library(folder, encoder, shots)
    settings = Settings(data_dir=folder, library=LIBRARY)
    store = EdgeStore(folder / "edge")
    with Library(Installation(settings), LIBRARY, store, encoder) as library:
        yield library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """For tests that only read."""
    with opened(tmp_path_factory.mktemp("library"), ColourEncoder()) as library:
        yield library


@pytest.fixture
def own_library(tmp_path: Path, colour_encoder: ColourEncoder) -> Iterator[Library]:
    """In the test's own folder, with its own encoder, to be changed."""
    with opened(tmp_path, colour_encoder) as library:
        yield library


def test_a_library_of_that_name_is_opened_with_its_own_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scenesearch.encoder.onnx import OnnxEncoder

    folder = write_tiny_encoder(tmp_path / "tiny")
    declare(folder, calibration={"method": "logistic", "cosine": 20, "intercept": -15})
    build_library(tmp_path, OnnxEncoder(folder), [Shot("red.png", (255, 0, 0))])
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(folder))
    with scenesearch.open(LIBRARY) as library:
        assert [hit.image_id for hit in library.search("red")] == ["red.png"]
        # Another process has its turn meanwhile, and this one is none the wiser.
        with closing(EdgeStore(tmp_path / "edge")) as other:
            assert other.count(LIBRARY) == 1
        assert [hit.image_id for hit in library.search("red")] == ["red.png"]
    with pytest.raises(CollectionMissing):
        scenesearch.open("nowhere")
    assert EdgeStore(tmp_path / "edge").count(LIBRARY) == 1  # nothing is held any longer


def test_an_answer_is_its_hits(library: Library) -> None:
    answer = library.search("red", min_relevance=0.5)
    assert len(answer) == 1
    assert [hit.image_id for hit in answer] == [answer[0].image_id] == ["red.png"]
    assert len(library.search("red", min_relevance=0)) == 3


def test_a_picture_asks_as_file_bytes_or_image(library: Library, tmp_path: Path) -> None:
    blue = Image.new("RGB", (20, 10), COLOURS["blue"])
    file = tmp_path / "query.jpg"
    blue.save(file)
    for picture in (file, str(file), file.read_bytes(), blue):
        assert library.search(image=picture, k=1)[0].image_id == "blue.png"
    assert library.search(like="blue", k=1, min_relevance=0)[0].image_id != "blue.png"
    with pytest.raises(QueryError, match=r"none\.jpg: no such file"):
        library.search(image=tmp_path / "none.jpg")
    with pytest.raises(QueryError, match="is no name of a file"):
        library.search(image="a\0b.jpg")
    with pytest.raises(QueryError, match="a path, bytes or a Pillow image, not int"):
        library.search(image=3)  # type: ignore[arg-type]


def test_filters_sort_and_facets_are_taken_as_the_command_line_takes_them(library: Library) -> None:
    assert [hit.image_id for hit in library.search("red", where="tag:wall")] == ["red.png"]
    ids = [hit.image_id for hit in library.search("red", where="width>10", sort="-image_id", k=3)]
    assert ids == sorted(ids, reverse=True)
    for facets in (["tags"], "tag"):
        assert library.search("red", facets=facets).facets == {"tags": (("wall", 1),)}
    with pytest.raises(QueryError, match=r"--facet camra: .*did you mean camera"):
        library.search("red", facets="camra")
    with pytest.raises(QueryError, match=r"--sort tacken: .*did you mean taken"):
        library.search("red", sort="tacken")


def test_a_grid_shows_thumbnails_inside_and_escapes_what_strangers_wrote(
    own_library: Library, tmp_path: Path
) -> None:
    hit = own_library.search("red", k=1)[0]
    thumbnail = thumbnail_path(
        tmp_path / "libraries" / LIBRARY / "thumbnails", str(hit.payload["sha256"])
    )
    write_thumbnail(Image.new("RGB", (64, 48), (1, 2, 3)), thumbnail)
    page = own_library.search("red <b> note:<i>", min_relevance=0)._repr_html_()
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "<b> note" not in page and "&lt;b&gt; note" in page
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt;" in page
    assert page.count("<figure") == 3


def test_a_printed_answer_is_a_line_a_hit_and_the_notices(library: Library) -> None:
    answer = library.search("red note: x", min_relevance=0.5)
    head, line, notice = str(answer).splitlines()
    assert head == "1 picture of library photos for 'red note: x'"
    assert line == "  1   95% strong   red.png"
    assert notice.startswith("note: was read as words")
    assert repr(answer) == str(answer)
    assert str(answer[0]) == repr(answer[0]) == "<Hit 1   95% strong   red.png>"
    assert str(library.search("tag:wall")).splitlines()[1:] == ["  1  red.png"]


def test_a_printed_answer_stays_short(library: Library) -> None:
    hits = tuple(replace(hit, rank=n) for n, hit in enumerate(library.search("red"), 1))
    assert hits
    many = replace(library.search("red"), hits=hits * 40)
    lines = str(many).splitlines()
    assert len(lines) == 12
    assert lines[-1].strip() == f"… and {len(many) - 10} more"
    hostile = replace(hits[0], image_id="a\nb\x1b[31m.png")
    assert "\x1b" not in repr(hostile) and "\n" not in repr(hostile)


def test_a_printed_answer_of_nothing_names_the_nearest(library: Library) -> None:
    said = str(library.search("yellow", min_relevance=0.99)).splitlines()
    assert said[0] == "0 pictures of library photos for 'yellow'"
    assert said[1].startswith("the nearest:  1  ")


def test_hits_of_filters_alone_have_no_score_and_no_relevance(library: Library) -> None:
    for answer in (library.search("tag:wall"), library.search("-red", sort="image_id")):
        document = answer.to_json()["hits"]
        assert document
        for hit, written in zip(answer, document, strict=True):
            assert (hit.score, hit.relevance, hit.band, hit.likeness) == (None, None, None, "")
            assert (written["score"], written["relevance"], written["band"]) == (None, None, None)


def test_a_grid_of_filters_alone_has_no_relevance(library: Library) -> None:
    page = library.search("tag:wall")._repr_html_()
    assert "<b>1.</b>" in page
    assert "strong" not in page


def test_a_grid_of_nothing_says_so_and_shows_the_nearest(library: Library) -> None:
    page = library.search("yellow", min_relevance=0.99)._repr_html_()
    assert "Nothing in photos matches “yellow”" in page
    assert page.count("<figure") == 3


def test_a_picture_that_is_gone_leaves_a_grey_cell(own_library: Library, tmp_path: Path) -> None:
    for file in (tmp_path / "pictures").iterdir():
        file.unlink()
    assert own_library.search("red", k=1)._repr_html_().count("data:image/jpeg") == 1


# Why


def test_a_word_that_makes_the_hit_counts_and_one_that_says_nothing_does_not(
    library: Library,
) -> None:
    found = library.why("a red boat", "red.png", heat=False)
    effects = {effect.word: effect.effect for effect in found.words}
    assert list(effects) == ["a", "red", "boat"]
    assert effects["red"] > 1 > abs(effects["boat"])
    assert found.relevance == pytest.approx(0.95, abs=0.01)


def test_a_subtracted_or_weighted_word_has_its_effect_too(library: Library) -> None:
    found = library.why("red^2 wall - blue camera:x", "red.png", heat=False)
    assert [effect.word for effect in found.words] == ["red", "wall", "blue"]
    assert found.words[0].effect > 0


def test_the_only_word_counts_by_what_is_above_an_average_picture(library: Library) -> None:
    for name in ("red", "blue"):
        alone = library.why("red", name, heat=False)
        odds, average = alone.relevance / (1 - alone.relevance), 0.05 / 0.95
        assert alone.words[0].effect == pytest.approx(np.log(odds / average), abs=1e-4)
        beside = library.why("red - wall", name, heat=False)
        assert beside.words[0].effect == pytest.approx(alone.words[0].effect, abs=1e-4)


def test_words_that_are_too_many_to_look_at_are_counted(library: Library) -> None:
    found = library.why("red " * 50, "red", heat=False)
    assert (len(found.words), found.more_words) == (40, 10)
    assert found.to_json()["more_words"] == 10
    assert library.why("red", "red", heat=False).more_words == 0


def test_the_map_is_warm_where_the_thing_is(
    own_library: Library, tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    picture = Image.new("RGB", (80, 80), (128, 128, 128))
    picture.paste(COLOURS["red"], (0, 0, 20, 20))
    picture.save(tmp_path / "pictures" / "red.png")
    found = own_library.why("red", "red")
    assert found.heat is not None
    assert found.heat.box == (0, 0, 1, 1)
    hottest = np.unravel_index(found.heat.cells.argmax(), found.heat.cells.shape)
    assert max(hottest) <= 1
    assert found.heat.cells[-1, -1] < found.heat.cells.max() / 2
    document = found.to_json()
    assert (len(document["heat"]), len(document["heat"][0])) == (7, 7)


def test_a_map_of_the_middle_square_says_so(
    own_library: Library, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    middle = colour_encoder.info.image.model_copy(update={"resize": "shortest_edge_crop"})
    info = replace(colour_encoder.info, image=middle)
    monkeypatch.setattr(colour_encoder, "info", info)
    found = own_library.why("red", "red")  # 64 x 48 pixels
    assert found.heat is not None
    assert found.heat.box == pytest.approx((0.125, 0, 0.875, 1))


def test_filters_alone_have_no_reasons(library: Library) -> None:
    with pytest.raises(QueryError, match="filters alone have no reasons"):
        library.why("tag:wall", "red.png")

"""What `scenesearch search` prints, over the eight pictures of docs/search.md."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from scenesearch.commands.app import app
from scenesearch.errors import SceneSearchError
from scenesearch.pictures.contact_sheet import SheetEntry, contact_sheet, notes_of
from scenesearch.search.retrieval import Candidate, Nearest
from tests.unit.test_search_docs import here as here  # these tests' fixtures
from tests.unit.test_search_docs import world as world

pytestmark = pytest.mark.usefixtures("here")


def search(*words: object) -> Result:
    return CliRunner().invoke(app, ["search", *map(str, words)])


def document(*words: object) -> Any:
    result = search("--json", *words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return json.loads(result.stdout)


def test_a_hit_has_rank_relevance_band_score_path_and_caption() -> None:
    line = search("two boats at sunset").stdout
    assert line.split()[:4] == ["1", "100%", "strong", "1.000"]
    assert line.rstrip().endswith("2021-boats.png  two boats at sunset")


def test_copies_are_counted_on_their_line() -> None:
    assert search("kite").stdout.rstrip().endswith("a red kite  (and 1 like it)")


def test_filters_alone_are_listed_without_relevance() -> None:
    (line,) = search("camera:*5d").stdout.splitlines()
    assert line.split()[0] == "1" and line.split()[1].endswith("beach-dog.png")


def test_notices_and_what_was_left_out_are_told_beside_the_answer() -> None:
    result = search("dog - people note: x")
    assert "note: was read as words" in result.stderr
    assert "1 picture is left out because it shows what is subtracted" in result.stderr
    assert "note:" not in result.stdout


def test_nothing_names_the_nearest_and_how_to_see_it() -> None:
    result = search("a zeppelin")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "nothing in library photos matches 'a zeppelin'; nearest is 2019/kite.jpg" in (
        result.stderr
    )
    assert "see it with --all" in result.stderr
    assert search("a zeppelin", "--all").exit_code == 0


def test_facets_are_printed_below_the_hits() -> None:
    lines = search("dog", "--facet", "camera", "--facet", "tags").stdout.splitlines()
    assert lines[-2:] == [
        "camera: Canon EOS 5D 1, Canon PowerShot 1, Nikon D90 1",
        "tags: holiday 2, sea 1",
    ]


def test_the_document_has_everything_that_is_documented() -> None:
    found = document("dog on a beach", "--facet", "tags", "--why", 1, "-k", 1)
    assert set(found) == {
        *("query", "encoder", "library", "hits", "partial", "next", "notices", "facets"),
        *("excluded", "min_relevance", "timing_ms", "why"),
    }
    assert (found["query"], found["encoder"]) == ("dog on a beach", "caption")
    assert set(found["hits"][0]) == {
        *("rank", "image_id", "path", "score", "relevance", "band", "copies"),
        *("offline", "payload"),
    }
    assert found["facets"]["tags"] == [
        {"value": "holiday", "count": 2},
        {"value": "sea", "count": 1},
    ]
    words = {word["word"]: word["effect"] for word in found["why"]["words"]}
    assert words["dog"] > 1 > abs(words["a"])
    assert len(found["why"]["heat"]) == 7


def test_the_next_page_follows_its_cursor() -> None:
    first = document("dog", "-k", 2)
    second = document("dog", "-k", 2, "--after", first["next"])
    ids = [hit["image_id"] for hit in [*first["hits"], *second["hits"]]]
    assert len(set(ids)) == len(ids) == 3
    assert second["next"] is None


def test_reasons_are_bars_and_shades() -> None:
    printed = search("dog on a beach", "--why", 1).stdout
    reasons = printed[printed.index("why 2020/may/beach-dog.jpg, 100%:") :].splitlines()
    assert [line.split()[0] for line in reasons[1:5]] == ["dog", "on", "a", "beach"]
    assert "█" in reasons[1] and "█" not in reasons[2]
    assert len(reasons) == 1 + 4 + 7


def test_reasons_have_the_relevance_of_the_hit_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    # As where hubness gives the nearest's relevance to the first place.
    first = Nearest.first

    def other(self: Nearest, *given: Any) -> list[Candidate]:
        return [candidate._replace(relevance=0.42) for candidate in first(self, *given)]

    monkeypatch.setattr(Nearest, "first", other)
    assert "why 2020/may/beach-dog.jpg, 42%:" in search("dog on a beach", "--why", 1).stdout
    found = document("dog on a beach", "--why", 1)
    assert found["why"]["relevance"] == found["hits"][0]["relevance"] == 0.42


def test_words_that_were_not_looked_at_are_counted_below_the_bars() -> None:
    printed = search("dog " * 45, "--why", 1, "--all").stdout
    assert "  and 5 more words, which were not examined" in printed.splitlines()


def test_a_facet_may_be_named_as_a_filter_is() -> None:
    assert set(document("dog", "--facet", "tag")["facets"]) == {"tags"}
    refused = str(search("dog", "--facet", "tgas").exception)
    assert refused == "--facet tgas: this library has no field 'tgas'; did you mean tags?"


def test_a_map_is_saved_over_the_picture(tmp_path: Path) -> None:
    file = tmp_path / "why.png"
    assert search("dog on a beach", "--why", 1, "--heat", file).exit_code == 0
    with Image.open(file) as picture:
        assert picture.size == (8, 8)
    assert "written as .jpg or .png" in search("dog", "--why", 1, "--heat", "why.xyz").stderr


def test_a_hit_whose_original_is_gone_is_explained_by_its_words(here: Path) -> None:
    hidden = here / "2021-boats.png"
    content = hidden.read_bytes()
    hidden.unlink()
    try:
        result = search("two boats", "--why", 1)
    finally:
        hidden.write_bytes(content)
    assert result.exit_code == 0
    assert "words only, 2021/boats.jpg cannot be opened: no such file" in result.stderr
    assert "boats" in result.stdout.splitlines()[-1]


def test_a_rank_that_is_not_there_is_said() -> None:
    result = search("kite", "--why", 5)
    assert result.exit_code == 0
    assert "--why 5: the answer has no hit at that rank" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dog", "--all", "--min-relevance", "0.5"], "--all means --min-relevance 0"),
        (["dog", "--heat", "a.png"], "--heat needs --why RANK"),
        (["--image", "none.jpg"], "none.jpg: no such file"),
        ([""], "the query is empty"),
        (["dog", "--after", "x"], "cursor of the next page is damaged"),
        (["dog", "--sort", "tacken"], "did you mean taken"),
        (["dog", "--facet", "location"], "cannot be counted"),
        (["dog", "--like", "zzz"], "has no such picture"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], message: str) -> None:
    result = search(*words)
    told = result.stderr if isinstance(result.exception, SystemExit) else str(result.exception)
    assert message in told
    assert "\n" not in told.strip()
    assert result.exit_code != 0


# How the words and options are given


def found(*words: object) -> list[str]:
    return [hit["image_id"] for hit in document(*words)["hits"]]


def test_words_without_quotes_are_one_request() -> None:
    assert found("two", "boats", "at", "sunset", "-k", 1) == found("two boats at sunset", "-k", 1)
    assert document("two", "boats", "-k", 1, "at", "sunset")["query"] == "two boats at sunset"
    assert found("dog", "-", "people") == found("dog - people")
    assert document("--", "dog", "-people")["query"] == "dog -people"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["dog", "-people"], 'write "dog -people" in quotes, or scenesearch search -- dog -people'),
        (["-people"], "write scenesearch search -- -people"),
        (["dog", "-k", "3", "-people", "here"], '"dog -people here" in quotes'),
        (["dog", "-k3", "-people", "--all"], "or scenesearch search -k3 --all -- dog -people"),
        (["dog", "-people", "-l", "my photos"], "search -l 'my photos' -- dog -people"),
        (["dog", "--where", "-camera:nikon", "-people"], '"dog -people" in quotes'),
        (["at", "-5", "degrees"], '"at -5 degrees" in quotes'),
        (["dog", "-horse"], '"dog -horse" in quotes'),
        (["dog", "-kite"], '"dog -kite" in quotes'),
        (["dog", "-woman"], '"dog -woman" in quotes'),
        (["room", "-well-lit,"], '"room -well-lit," in quotes'),
        (["dog", "-landscape"], "or -l andscape"),
        (["dog", "-elephant"], "or -e lephant"),
        (["dog", '-"red car"'], """'dog -"red car"' in quotes"""),
    ],
)
def test_a_word_that_is_read_as_an_option_is_told_how_to_write(words: list[str], hint: str) -> None:
    result = search(*words)
    assert isinstance(result.exception, SceneSearchError)
    assert " is no option: " in str(result.exception)
    assert hint in str(result.exception)
    assert result.stdout == ""


@pytest.mark.parametrize("option", [["-k2"], ["-k", 2], ["--limit", 2], ["--limit=2"]])
def test_the_number_of_pictures_has_two_names(option: list[object]) -> None:
    assert len(found("dog", *option)) == 2


def test_options_with_values_behind_them_are_options() -> None:
    assert found("dog", "-wcamera:nikon") == found("dog camera:nikon")
    assert found("dog", "--sort", "-taken", "-w", "-camera:nikon") == found(
        "dog -camera:nikon", "--sort=-taken"
    )


# What is not compared, and what nothing passes


@pytest.mark.parametrize("words", [["width:>1"], ["--", "-people"], ["--sort", "taken", "has:tag"]])
def test_an_answer_without_words_has_neither_score_nor_relevance(words: list[str]) -> None:
    hits = document(*words)["hits"]
    assert hits
    assert {(hit["score"], hit["relevance"], hit["band"]) for hit in hits} == {(None, None, None)}
    assert "%" not in search(*words).stdout


def test_an_answer_in_words_that_is_sorted_keeps_its_relevance() -> None:
    hits = document("dog", "--sort", "taken")["hits"]
    assert all(hit["relevance"] > 0.5 and hit["band"] == "strong" for hit in hits)


def test_a_filter_that_no_picture_passes_is_named_beside_the_answer() -> None:
    result = search("dog", "--where", "rating:>3 width:>1")
    assert result.exit_code == 1
    assert "rating:>3: no picture of this library has a rating" in result.stderr
    assert "width" not in result.stderr.replace("'dog rating:>3 width:>1'", "")
    assert document("rating:>3")["notices"] == [
        "rating:>3: no picture of this library has a rating"
    ]


def test_a_contact_sheet_of_filters_alone_has_no_relevance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(
        "scenesearch.pictures.contact_sheet.write_contact_sheet",
        lambda file, title, entries: written.extend(entry.title for entry in entries),
    )
    search("camera:*5d", "--sheet", tmp_path / "sheet.jpg")
    search("two boats", "--sheet", tmp_path / "sheet.jpg")
    assert written == ["1.  2020/may/beach-dog.jpg", "1.  99% strong  2021/boats.jpg"]


def test_below_a_picture_of_a_contact_sheet_stand_its_caption_and_the_text_in_it() -> None:
    seen = {"captions": ["a street", "a road"], "text": "NO\nPARKING"}
    assert notes_of(seen) == ["a street", "“NO\nPARKING”"]
    assert notes_of({"text": "EXIT"}) == ["“EXIT”"]
    assert notes_of({}) == []


def test_a_contact_sheet_has_room_for_every_note(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (320, 240), "red").save(picture)
    notes = ["a street", "“NO PARKING”"]
    bare = contact_sheet("red", [SheetEntry(picture, "1. a.png")])
    full = contact_sheet("red", [SheetEntry(picture, "1. a.png", notes)])
    assert full.height == bare.height + 2 * 18
    below = full.crop((0, bare.height - 16, full.width, full.height))
    assert len(below.getcolors(10_000) or ()) > 2  # letters

"""Saved requests, which are live collections."""

import json
from pathlib import Path
from threading import Thread

import pytest

from scenesearch.home.saved_collections import (
    MAX_NAMED,
    MAX_SAVED,
    CollectionError,
    SavedCollection,
    change_collection,
    checked_name,
    delete_collection,
    find_collection,
    follow_renames,
    read_collections,
    save_collection,
    save_request,
)
from scenesearch.search.request import MAX_CHARACTERS

DOGS = SavedCollection("Dogs", "a dog", added=("a.jpg",), excluded=("b.jpg",))


def texts(file: Path) -> list[str]:
    return [one.request for one in read_collections(file)]


def test_saved_requests_come_last_first_once_each_and_are_not_endless(tmp_path: Path) -> None:
    file = tmp_path / "library" / "saved.json"
    save_collection(file, DOGS)
    for number in range(MAX_SAVED + 5):
        save_request(file, f"text {number}")
    save_request(file, "text 20")
    saved = texts(file)
    assert saved[:2] == ["text 20", f"text {MAX_SAVED + 4}"]
    assert saved[-1] == "a dog"  # has a name
    assert len(saved) == len(set(saved)) == MAX_SAVED + 1
    delete_collection(file, "text 20")
    assert "text 20" not in texts(file)


def test_a_file_of_an_early_version_is_read_and_texts_stay_texts(tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    file.write_text('["a dog", "a cat"]')
    assert read_collections(file)[0] == SavedCollection("a dog", "a dog")
    save_collection(file, DOGS)
    assert json.loads(file.read_bytes()) == [
        {"name": "Dogs", "request": "a dog", "added": ["a.jpg"], "excluded": ["b.jpg"]},
        "a dog",
        "a cat",
    ]
    assert read_collections(file)[0] == DOGS


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1, null]", '[{"name": "x"}]'])
def test_a_damaged_file_of_requests_holds_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "saved.json").write_text(text)
    assert read_collections(tmp_path / "saved.json") == []


@pytest.mark.parametrize(
    "said",
    [
        {"name": "", "request": "a"},
        {"name": "a", "request": 1},
        {"name": "a", "request": "\ud800"},
        {"name": "a", "request": "x" * (MAX_CHARACTERS + 1)},
        {"name": "a" * 101, "request": "x"},
        {"name": "a", "request": "x", "min_relevance": 2},
        {"name": "a", "request": "x", "min_relevance": True},
        {"name": "a", "request": "x", "added": "a.jpg"},
        {"name": "a", "request": "x", "excluded": [None]},
        {"name": "a", "request": "x", "picture": 7},
    ],
)
def test_what_no_collection_can_be_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match=r"its|a collection"):
        SavedCollection.from_json(said)


def test_pictures_by_hand_are_added_or_excluded_never_both() -> None:
    assert DOGS.adding(["b.jpg", "c.jpg"]) == SavedCollection(
        "Dogs", "a dog", added=("a.jpg", "b.jpg", "c.jpg")
    )
    assert DOGS.excluding(["a.jpg"]).excluded == ("b.jpg", "a.jpg")
    assert DOGS.forgetting(["a.jpg", "b.jpg"]) == SavedCollection("Dogs", "a dog")
    with pytest.raises(CollectionError, match="at most 10,000 can be"):
        DOGS.adding(map(str, range(10_000)))


def test_a_name_is_taken_once_and_a_new_request_keeps_what_was_said_by_hand(
    tmp_path: Path,
) -> None:
    file = tmp_path / "saved.json"
    save_collection(file, DOGS)
    with pytest.raises(CollectionError, match="there is a collection 'Dogs' already"):
        save_collection(file, SavedCollection("Dogs", "a hound"))
    save_collection(file, SavedCollection("Dogs", "a hound"), replaces=True)
    assert find_collection(file, "Dogs").added == ("a.jpg",)
    assert texts(file) == ["a hound"]
    with pytest.raises(CollectionError, match="did you mean Dogs"):
        find_collection(file, "Dog")


def test_renaming_to_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    save_collection(file, DOGS)
    save_collection(file, SavedCollection("Cats", "a cat"))
    with pytest.raises(CollectionError, match="already"):
        change_collection(file, "Cats", lambda one: SavedCollection("Dogs", one.request))
    assert [one.name for one in read_collections(file)] == ["Cats", "Dogs"]


def test_names_are_one_line_and_not_endless(tmp_path: Path) -> None:
    assert checked_name(" Two\n dogs ") == "Two dogs"
    for name in ("", "\x00", "x" * 101):
        with pytest.raises(CollectionError):
            checked_name(name)
    file = tmp_path / "saved.json"
    rows = [{"name": f"n{number}", "request": "x"} for number in range(MAX_NAMED)]
    file.write_text(json.dumps(rows))
    with pytest.raises(CollectionError, match="delete one first"):
        save_collection(file, DOGS)


def test_a_request_saved_while_others_are_renamed_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    save_request(file, "like:a.jpg")
    visitor = Thread(target=save_request, args=(file, "a dog"))

    def renamed(one: SavedCollection) -> SavedCollection:
        visitor.start()
        visitor.join(0.3)  # it has to wait
        text = one.request.replace("a.jpg", "b.jpg")
        return SavedCollection(text, text)

    follow_renames(file, renamed, once=1)
    visitor.join()
    assert texts(file) == ["a dog", "like:b.jpg"]


def test_requests_that_become_one_or_too_long_are_not_listed_twice_or_cut(tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    for text in ("like:a.jpg", "like:b.jpg", "like:c.jpg"):
        save_request(file, text)
    new = {"like:a.jpg": "like:b.jpg", "like:c.jpg": "like:" + "c" * MAX_CHARACTERS}

    def renamed(one: SavedCollection) -> SavedCollection:
        text = new.get(one.request, one.request)
        return SavedCollection(text, text)

    follow_renames(file, renamed, once=1)
    assert texts(file) == ["like:b.jpg"]
    follow_renames(tmp_path / "none.json", renamed, once=1)
    assert not (tmp_path / "none.json").exists()


def test_the_same_renames_are_followed_once(tmp_path: Path) -> None:
    """A run that was killed asks again; pictures may have exchanged their names."""
    file = tmp_path / "saved.json"
    save_collection(file, DOGS)

    def exchanged(one: SavedCollection) -> SavedCollection:
        return SavedCollection(one.name, one.request, added=one.excluded, excluded=one.added)

    follow_renames(file, exchanged, once=7)
    follow_renames(file, exchanged, once=7)
    assert find_collection(file, "Dogs").added == ("b.jpg",)
    follow_renames(file, exchanged, once=8)
    assert find_collection(file, "Dogs") == DOGS

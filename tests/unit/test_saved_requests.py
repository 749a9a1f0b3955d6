"""Requests that visitors saved."""

from pathlib import Path
from threading import Thread

import pytest

from scenesearch.home.saved_requests import (
    MAX_SAVED,
    change_requests,
    forget_request,
    read_saved,
    save_request,
)
from scenesearch.search.request import MAX_CHARACTERS


def test_saved_requests_come_last_first_once_each_and_are_not_endless(tmp_path: Path) -> None:
    file = tmp_path / "library" / "saved.json"
    for number in range(MAX_SAVED + 5):
        save_request(file, f"text {number}")
    save_request(file, "text 20")
    saved = read_saved(file)
    assert saved[:2] == ["text 20", f"text {MAX_SAVED + 4}"]
    assert len(saved) == len(set(saved)) == MAX_SAVED
    forget_request(file, "text 20")
    assert "text 20" not in read_saved(file)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1, null]"])
def test_a_damaged_file_of_requests_holds_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "saved.json").write_text(text)
    assert read_saved(tmp_path / "saved.json") == []


def test_a_request_saved_while_others_are_renamed_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    save_request(file, "like:a.jpg")
    visitor = Thread(target=save_request, args=(file, "a dog"))

    def renamed(text: str) -> str:
        visitor.start()
        visitor.join(0.3)  # it has to wait
        return text.replace("a.jpg", "b.jpg")

    change_requests(file, renamed)
    visitor.join()
    assert read_saved(file) == ["a dog", "like:b.jpg"]


def test_requests_that_become_one_or_too_long_are_not_listed_twice_or_cut(tmp_path: Path) -> None:
    file = tmp_path / "saved.json"
    for text in ("like:a.jpg", "like:b.jpg", "like:c.jpg"):
        save_request(file, text)
    new = {"like:a.jpg": "like:b.jpg", "like:c.jpg": "like:" + "c" * MAX_CHARACTERS}
    change_requests(file, lambda text: new.get(text, text))
    assert read_saved(file) == ["like:b.jpg"]
    change_requests(tmp_path / "none.json", str.upper)
    assert not (tmp_path / "none.json").exists()

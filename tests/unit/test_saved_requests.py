"""Requests that visitors saved."""

from pathlib import Path

import pytest

from scenesearch.home.saved_requests import MAX_SAVED, forget_request, read_saved, save_request


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

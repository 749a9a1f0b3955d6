"""Passwords of the page and their hashes."""

import pytest

from ui.access import hash_password, password_matches


def test_a_password_matches_its_hash_and_no_other() -> None:
    hashed = hash_password("öpen sesame")
    assert "sesame" not in hashed
    assert hash_password("öpen sesame") != hashed
    assert password_matches("öpen sesame", hashed)
    assert not password_matches("open sesame", hashed)


@pytest.mark.parametrize("hashed", ["", "plain", "a:b", "scrypt:!:!", "scrypt::", "md5:YQ==:YQ=="])
def test_of_a_damaged_hash_there_is_no_password(hashed: str) -> None:
    assert not password_matches("", hashed)

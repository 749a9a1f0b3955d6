"""The base of every error a user can cause or mend."""

from collections.abc import Iterable
from difflib import get_close_matches


class SceneSearchError(Exception):
    """Its message is one sentence for the user; entry points print it without a traceback."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean photos?' for a name that is nearly one of those known, else ''."""
    by_case = {each.casefold(): each for each in known}
    near = get_close_matches(name.casefold(), by_case, n=1)
    return f"; did you mean {by_case[near[0]]}?" if near else ""


def first_line(error: BaseException) -> str:
    """What another's exception says, for a sentence of ours."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

"""The base of every error a user can cause or mend."""


class SceneSearchError(Exception):
    """Its message is one sentence for the user; entry points print it without a traceback."""


def first_line(error: BaseException) -> str:
    """What another's exception says, for a sentence of ours."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

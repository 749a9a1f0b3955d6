"""The base of every error a user can cause or mend."""


class SceneSearchError(Exception):
    """Its message is one sentence for the user; entry points print it without a traceback."""

"""The command line in this process: a tenth of the time that a process of its own takes."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from scenesearch.cli import run


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The last line on stderr: what went wrong."""
        return self.err.strip().splitlines()[-1].removeprefix("scenesearch: ")


class CommandLine:
    """`run("search", "a dog")` is `scenesearch search "a dog"`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object) -> Ran:
        self._monkeypatch.setattr("sys.argv", ["scenesearch", *map(str, words)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run()
        captured = self._capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)

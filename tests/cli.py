"""The command line in this process: a tenth of the time that a process of its own takes."""

import io
import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scenesearch.cli import run
from tests.tiny_encoder import write_tiny_encoder


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

    @classmethod
    def in_new_home(
        cls, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> "CommandLine":
        """Run in the folder, with its `data`, an encoder that knows colours, and no other
        settings."""
        monkeypatch.chdir(folder)
        for name in ("LIBRARY", "QDRANT_URL", "MIN_RELEVANCE"):
            monkeypatch.delenv(f"SCENESEARCH_{name}", raising=False)
        monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(folder / "data"))
        monkeypatch.setenv("SCENESEARCH_ENCODER", str(write_tiny_encoder(folder / "tiny")))
        return cls(monkeypatch, capsys)

    def __call__(self, *words: object) -> Ran:
        self._monkeypatch.setattr("sys.argv", ["scenesearch", *map(str, words)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run()
        captured = self._capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)


def run_here(
    *words: object, environment: Mapping[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives for the command in that environment and folder."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in os.environ.keys() - environment.keys():
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        if folder is not None:
            patch.chdir(folder)
        patch.setattr("sys.argv", ["scenesearch", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run()
    code = ended.value.code
    printed = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(words, code if isinstance(code, int) else 0, *printed)

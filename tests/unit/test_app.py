"""The command itself: its version, and completion in the shell."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from scenesearch.commands.app import app

# None of them is needed to complete a word, and each takes longer than a person waits for it.
HEAVY = ("numpy", "PIL", "onnxruntime", "qdrant_edge", "qdrant_client", "streamlit", "torch")


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"scenesearch {version('scenesearch')}\n")


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _scenesearch_completion scenesearch"),
        ("zsh", "#compdef scenesearch"),
        ("fish", "complete --command scenesearch"),
    ],
)
def test_a_shell_gets_its_script(shell: str, line: str) -> None:
    result = CliRunner().invoke(
        app, prog_name="scenesearch", env={"_SCENESEARCH_COMPLETE": f"source_{shell}"}
    )
    assert result.exit_code == 0
    assert line in result.stdout
    assert f"_SCENESEARCH_COMPLETE=complete_{shell}" in result.stdout


def test_a_word_is_completed_without_heavy_imports() -> None:
    code = (
        "import atexit, sys; sys.argv = ['scenesearch']\n"
        f"atexit.register(lambda: print(*(m for m in {HEAVY} if m in sys.modules), sep='\\n'))\n"
        "from scenesearch.cli import main; main()"
    )
    words = {"COMP_WORDS": "scenesearch library pr", "COMP_CWORD": "2"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | words | {"_SCENESEARCH_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (0, ["promote", "prune"], "")

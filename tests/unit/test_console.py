"""What a progress bar leaves above the sentence of a command that fails."""

import pytest

from scenesearch.commands.console import fail, progress_bar


def test_a_bar_that_never_moved_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), progress_bar() as progress:
        progress.add_task("ingesting", total=None)
        fail("this API key may only read")
    assert capsys.readouterr().err == "scenesearch: this API key may only read\n"


def test_a_bar_that_had_moved_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="is there already"), progress_bar() as progress:
        progress.update(progress.add_task("checking", total=5), completed=5)
        progress.add_task("restoring", total=5)
        raise ValueError("photos is there already")
    err = capsys.readouterr().err
    assert "checking" in err
    assert "restoring" not in err


def test_a_bar_of_a_command_that_succeeds_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        progress.add_task("ingesting", total=0)
    assert "ingesting" in capsys.readouterr().err


def test_on_a_terminal_an_unmoved_bar_is_erased(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # to rich it is a terminal then
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(ValueError), progress_bar() as progress:
        progress.add_task("ingesting", total=None)
        progress.refresh()
        raise ValueError
    erase_line, shown = "\x1b[2K", capsys.readouterr().err
    assert "ingesting" in shown
    assert "ingesting" not in shown.rpartition(erase_line)[2]

"""Settings: precedence, secrets, unknown names, and the documents that list them."""

import json
from pathlib import Path

import pytest

from scenesearch.commands.config import markdown_table
from scenesearch.home.settings import Settings, config_file, unknown_settings
from tests.cli import CommandLine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENESEARCH_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    return CommandLine(monkeypatch, capsys)


def test_the_environment_counts_before_dotenv_before_the_file_before_the_default(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file().write_text('library = "file"\nencoder = "file"\nthreads = 3\n')
    Path(".env").write_text("SCENESEARCH_LIBRARY=dotenv\nSCENESEARCH_ENCODER=dotenv\nOTHER=1\n")
    monkeypatch.setenv("SCENESEARCH_LIBRARY", "environment")
    shown = run("config", "show", "--json").document["settings"]
    chosen = {name: tuple(shown[name].values()) for name in ("library", "encoder", "threads")}
    assert chosen == {
        "library": ("environment", "environment"),
        "encoder": ("dotenv", ".env"),
        "threads": (3, "file"),
    }
    assert shown["min_relevance"] == {"value": None, "from": "default"}


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_keys_and_passwords_are_never_shown(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SCENESEARCH_QDRANT_API_KEY", "hunter2")
    monkeypatch.setenv("SCENESEARCH_QDRANT_READ_ONLY_API_KEY", "hunter3")
    monkeypatch.setenv("SCENESEARCH_QDRANT_URL", "https://me:hunter4@example.org:6333")
    ran = run("config", "show", *form)
    assert "hunter" not in ran.out + ran.err
    assert "https://********@example.org:6333" in ran.out


def test_an_unknown_variable_is_reported_with_the_nearest_name(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_QDRANT_ULR", "http://localhost:6333")
    ran = run("config", "show")
    assert ran.status == 0
    assert ran.sentence == (
        "SCENESEARCH_QDRANT_ULR in the environment is no setting; "
        "did you mean SCENESEARCH_QDRANT_URL?"
    )


def test_an_unknown_variable_like_no_other_is_reported_without_a_guess(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_FOO", "1")
    assert run("config", "show").sentence == "SCENESEARCH_FOO in the environment is no setting"


def test_unknown_names_in_dotenv_and_file_are_found_and_others_left_alone(run: CommandLine) -> None:
    config_file().write_text('libary = "x"\n')
    Path(".env").write_text("SCENESEARCH_THREAD=2\nQDRANT_PORT=1\nPHOTOS=/x\n")
    assert unknown_settings() == [
        ("SCENESEARCH_THREAD", ".env"),
        ("libary", str(config_file())),
    ]


@pytest.mark.parametrize(
    ("text", "said"), [("library = ", "cannot be read"), (None, "there is no file")]
)
def test_a_broken_or_missing_file_is_one_sentence(
    run: CommandLine, text: str | None, said: str
) -> None:
    config_file().write_text(text) if text else config_file().unlink()
    ran = run("config", "show")
    assert ran.status == 2
    assert said in ran.sentence
    assert str(config_file()) in ran.sentence
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("address", ["9464", "localhost", "localhost:0", "localhost:70000"])
def test_an_address_of_metrics_without_a_port_is_refused(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("SCENESEARCH_METRICS_ADDRESS", address)
    ran = run("config", "show")
    assert ran.status == 2
    assert ran.sentence.startswith("SCENESEARCH_METRICS_ADDRESS: ")


def test_readers_take_the_read_only_key_and_writers_the_other() -> None:
    both = Settings(qdrant_api_key="w", qdrant_read_only_api_key="r")  # type: ignore[arg-type]
    assert (both.reader_key, both.writer_key) == ("r", "w")
    one = Settings(qdrant_api_key="w")  # type: ignore[arg-type]
    assert (one.reader_key, one.writer_key) == ("w", "w")
    other = Settings(qdrant_read_only_api_key="r")  # type: ignore[arg-type]
    assert (other.reader_key, other.writer_key) == ("r", "r")


def test_the_table_in_the_documentation_is_that_of_the_code() -> None:
    written = (ROOT / "docs" / "settings.md").read_text().splitlines()
    table = [line for line in written if line.startswith("|")]
    assert table == markdown_table(), "run `scenesearch config describe --markdown`"


def test_the_example_lists_each_setting_under_its_description() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    for name, field in Settings.model_fields.items():
        at = next(
            (n for n, line in enumerate(lines) if line.startswith(f"#SCENESEARCH_{name.upper()}=")),
            None,
        )
        assert at is not None, name
        assert f"# {field.description}" in lines[max(0, at - 2) : at]


def test_describe_names_each_setting(run: CommandLine) -> None:
    out = run("config", "describe").out
    assert all(f"SCENESEARCH_{name.upper()} (default: " in out for name in Settings.model_fields)


def test_json_of_show_is_one_document(run: CommandLine) -> None:
    document = json.loads(run("config", "show", "--json").out)
    assert document["file"] == str(config_file())
    assert document["settings"].keys() == Settings.model_fields.keys()

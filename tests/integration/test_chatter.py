"""What C libraries write to stderr themselves comes through the log."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no fork")

CHILD = """
import os, sys
from scenesearch.runtime import native_stderr
from scenesearch.home import logs
from scenesearch.home.settings import Settings
native_stderr.start()
logs.configure(Settings(log_format=sys.argv[1]))
exec(sys.argv[2])
"""


def heard(log_format: str, code: str) -> list[str]:
    told = subprocess.run(
        [sys.executable, "-c", CHILD, log_format, code], capture_output=True, text=True, check=False
    )
    return told.stderr.splitlines()


def test_what_a_library_writes_to_stderr_is_a_json_document() -> None:
    (line,) = heard("json", "os.write(2, b'TIFFReadDirectory: odd \\x1b tag\\n')")
    document = json.loads(line)
    assert document["message"] == "TIFFReadDirectory: odd \x1b tag"
    assert (document["level"], document["event"]) == ("WARNING", "library")


def test_for_a_person_it_is_a_sentence_without_control_characters() -> None:
    assert heard("text", "os.write(2, b'odd \\x1b tag\\n')") == ["scenesearch: odd � tag"]


def test_the_last_words_of_a_process_that_crashes_are_heard() -> None:
    code = "os.write(2, b'memory allocation of 9 bytes failed\\n'); os.abort()"
    assert heard("text", code) == ["scenesearch: memory allocation of 9 bytes failed"]


def test_pythons_own_stderr_stays_as_it_is() -> None:
    assert heard("text", "print('as it is', file=sys.stderr)") == ["as it is"]


@pytest.mark.slow
def test_libtiffs_own_lines_do_not_break_a_json_log(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(buffer, "TIFF", compression="tiff_lzw")
    data = bytearray(buffer.getvalue())
    for position in range(60, 400):
        data[position] ^= 0x5A
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "bad.tif").write_bytes(data)
    told = subprocess.run(
        [
            *(sys.executable, "-c", "from scenesearch.cli import main; main()"),
            *("ingest", str(tmp_path / "photos")),
        ],
        env=os.environ
        | {"SCENESEARCH_DATA_DIR": str(tmp_path / "data"), "SCENESEARCH_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=False,
    )
    documents = [json.loads(line) for line in told.stderr.splitlines()]
    assert "library" in {document["event"] for document in documents}

"""`scenesearch mcp`: the official client starts it and asks it over standard input and output."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from scenesearch.encoder.onnx import OnnxEncoder
from tests.tiny_encoder import declare, write_tiny_encoder
from tests.unit.ui_world import LIBRARY, Shot, build_library

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    tiny = write_tiny_encoder(tmp_path / "tiny")
    declare(tiny, calibration={"method": "logistic", "cosine": 20, "intercept": -15})
    build_library(tmp_path, OnnxEncoder(tiny), [Shot("red.png", (255, 0, 0))])
    return {
        **os.environ,
        "SCENESEARCH_DATA_DIR": str(tmp_path),
        "SCENESEARCH_ENCODER": str(tiny),
        "SCENESEARCH_LIBRARY": LIBRARY,
    }


def test_an_assistant_finds_a_picture_and_sees_it(environment: dict[str, str]) -> None:
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "scenesearch.cli", "mcp"], env=environment
    )

    async def ask() -> list[str]:
        async with Client(server) as client:
            found = await client.call_tool("search_pictures", {"text": "red", "limit": 1})
            told = json.loads(found.content[0].text)  # type: ignore[union-attr]
            assert [hit["image_id"] for hit in told["hits"]] == ["red.png"]
            return [one.type for one in found.content]

    assert asyncio.run(ask()) == ["text", "image"]


def test_it_ends_with_its_input_and_at_a_signal(environment: dict[str, str]) -> None:
    words = [sys.executable, "-m", "scenesearch.cli", "mcp"]
    ended = subprocess.run(
        words, env=environment, input=b"", capture_output=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, b"")
    with subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        process.stdin.write(json.dumps(ping).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM

"""docs/api.md and docs/openapi.json say what the server does."""

import json
import re
from pathlib import Path
from typing import Any

from scenesearch.home.webhook_message import headers_of
from serve.app import routed_app
from serve.keys import read_keys
from tests.openapi import FILE, document

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
DOCUMENT = json.loads(document())


def test_the_openapi_document_is_that_of_the_code() -> None:
    assert FILE.read_text(encoding="utf-8") == document(), "the API has changed: make openapi"


def test_every_route_is_in_the_documentation_and_the_other_way_round() -> None:
    table = TEXT.partition("## Routes")[2].partition("\n\n`{id}`")[0]
    documented: set[tuple[str, str]] = set()
    for row in table.splitlines():
        cell = row.split("|")[1] if row.startswith("|") else ""
        for method, path in re.findall(r"`(?:(GET|POST|PATCH|DELETE) )?(/[^`]+)`", cell):
            documented.add((method or "GET", re.sub(r"\{\w+\}", "ID", path)))
    documented.add(("DELETE", "/v1/jobs/ID"))  # in the words of its row
    described = {
        (method.upper(), re.sub(r"\{\w+(:path)?\}", "ID", path))
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
    }
    assert documented == described


def test_each_error_is_described_as_a_problem() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, said in methods.items():
            assert {"4XX", "5XX"} <= said["responses"].keys(), (method, path)
            assert "422" not in said["responses"], (method, path)
    assert {"Problem", "NewImages"} <= DOCUMENT["components"]["schemas"].keys()


def test_every_reference_leads_somewhere() -> None:
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', document()))
    assert names <= DOCUMENT["components"]["schemas"].keys()


def test_every_route_but_the_open_ones_asks_for_a_key() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, said in methods.items():
            is_open = path in ("/healthz", "/readyz")
            assert ("security" in said) != is_open, (method, path)


def test_the_entry_of_a_key_in_the_documentation_has_the_form_of_the_setting() -> None:
    (entry,) = re.findall(r"```json\n(\[.*?\])\n```", TEXT, re.S)
    assert read_keys(entry.replace("5f2c...", "5f2c" * 16))


def test_the_check_of_a_signature_in_the_documentation_takes_ours_and_no_other() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT.partition("## Webhooks")[2], re.S)
    said: dict[str, Any] = {}
    exec(code, said)  # noqa: S102 - our own documentation
    signature = headers_of("1", b"{}", "a secret of both")["X-Hub-Signature-256"]
    assert said["is_ours"](b"{}", signature, "a secret of both")
    assert not said["is_ours"](b"{ }", signature, "a secret of both")
    assert not said["is_ours"](b"{}", signature, "another secret")


def test_building_the_document_opens_nothing() -> None:
    assert routed_app().state._state == {}

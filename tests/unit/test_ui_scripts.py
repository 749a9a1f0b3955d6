"""What runs in the browser: how its parts are joined, and how it is fetched."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import ui
from ui.scripts import PARTS, loader, script, scripts_app, version


@pytest.fixture
def visitor() -> TestClient:
    return TestClient(scripts_app())


def test_every_script_of_the_page_is_part_of_a_component() -> None:
    folder = Path(ui.__file__).parent
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.js")}
    assert found == {part for parts in PARTS.values() for part in parts}


@pytest.mark.parametrize("name", PARTS)
def test_the_joined_script_imports_nothing_and_exports_what_mounts_it(name: str) -> None:
    assert re.findall(r"^(?:import|export) .*", script(name), re.MULTILINE) == [
        next(line for line in script(name).splitlines() if line.startswith("export default "))
    ]


@pytest.mark.parametrize("name", PARTS)
def test_no_two_parts_of_a_script_declare_the_same_name(name: str) -> None:
    declared = re.findall(
        r"^(?:async )?(?:function|class|const|let) (\w+)", script(name), re.MULTILINE
    )
    assert sorted(declared) == sorted(set(declared))


@pytest.mark.parametrize("name", PARTS)
def test_the_browser_keeps_a_script_by_its_version(name: str, visitor: TestClient) -> None:
    answer = visitor.get(f"/scripts/{name}", params={"v": version(name)})
    assert answer.text == script(name)
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"


def test_a_script_of_another_version_is_asked_for_each_time(visitor: TestClient) -> None:
    answer = visitor.get("/scripts/map", params={"v": "another"})
    assert answer.headers["cache-control"] == "private, no-cache"


def test_another_site_cannot_load_a_script(visitor: TestClient) -> None:
    answer = visitor.get("/scripts/map")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_loader_asks_for_the_script_of_now() -> None:
    assert f"scripts/tiles?v={version('tiles')}" in loader("tiles")


@pytest.mark.parametrize("name", ["other", "map.js", "..%2Fmake.js", "map/map.js", ""])
def test_there_is_no_other_script(name: str, visitor: TestClient) -> None:
    assert visitor.get(f"/scripts/{name}").status_code == 404


def test_under_a_base_path_scripts_lie_below_it() -> None:
    visitor = TestClient(scripts_app("/photos"))
    assert visitor.get("/photos/scripts/map").status_code == 200
    assert visitor.get("/scripts/map").status_code == 404

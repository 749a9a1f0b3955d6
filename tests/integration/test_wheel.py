"""The wheel: built, installed into an environment that has nothing of this checkout, and used."""

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def built_wheel(folder: Path) -> Path:
    """From a copy: a build leaves its files in the tree that it builds."""
    source = folder / "source"
    source.mkdir()
    for name in ("scenesearch", "ingest", "serve", "training", "ui"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
            *("--no-index", "--wheel-dir", folder, source),
        ],
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment_with(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel in it. What the wheel depends on is read from this one, for
    there may be no network: as a plain path, so that its editable install stays out."""
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"),
            *("--quiet", "--no-deps", "--no-index", wheel),
        ],
        check=True,
    )
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "bin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the environment's programs."""
    wheel = built_wheel(tmp_path_factory.mktemp("build"))
    return environment_with(wheel, tmp_path_factory.mktemp("environment"))


def run(program: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if key != "PYTHONPATH" and not key.startswith("SCENESEARCH_")
    }
    return subprocess.run(
        [program, *words],
        cwd=cwd,
        env=kept | {"SCENESEARCH_DATA_DIR": str(cwd / "data")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    ran = run(installed / "scenesearch", "demo", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "recall@10" in ran.stdout.lower()
    found = run(
        installed / "scenesearch",
        "search",
        "a red boat",
        "--library",
        "demo",
        "--json",
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["hits"]


def test_everything_that_runs_comes_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "import scenesearch, ingest, training, ui;"
        "print(*(one.__file__ for one in (scenesearch, ingest, training, ui)), sep='\\n')"
    )
    ran = run(installed / "python", "-c", code, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    environment = installed.parent.resolve()
    for line in ran.stdout.splitlines():
        assert Path(line).resolve().is_relative_to(environment)


@pytest.mark.parametrize(
    "recipe", sorted(path.name for path in (ROOT / "training").glob("recipes/*.toml"))
)
def test_the_wheel_holds_each_recipe(installed: Path, recipe: str) -> None:
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    assert (packages / "training" / "recipes" / recipe).is_file()


def test_the_page_finds_its_files_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    ran = run(installed / "scenesearch", "ui", "--help", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    wanted = {path.relative_to(ROOT) for path in (ROOT / "ui").rglob("*") if path.is_file()}
    wanted = {path for path in wanted if "__pycache__" not in path.parts}
    assert not [path for path in wanted if not (packages / path).is_file()]

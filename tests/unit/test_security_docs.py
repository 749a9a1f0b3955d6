"""docs/security.md: the tests that it names exist, and what it says of models is so."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Work items between a run and its own workers.
UNPICKLES = {"ingest/ray_engine.py"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for package in ("scenesearch", "ingest", "serve", "training", "ui"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call):
                    yield str(file.relative_to(ROOT)), node


def option(call: ast.Call, name: str) -> object:
    found = [each.value for each in call.keywords if each.arg == name]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


def test_each_test_named_in_the_threat_table_exists() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", text)
    threats = text.partition("## Threats")[2].partition("\n## ")[0]
    rows = [line for line in threats.splitlines() if re.match(r"\| (?!threat \|)", line)]
    assert len(rows) > 15
    assert all("::test_" in row for row in rows)
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"


def test_no_code_of_ours_unpickles_what_a_stranger_wrote() -> None:
    for file, call in calls():
        name = ast.unparse(call.func)
        if name in (
            "pickle.load",
            "pickle.loads",
            "joblib.load",
            "dill.loads",
            "cloudpickle.loads",
        ):
            assert file in UNPICKLES, f"{file}:{call.lineno}"
        if name == "torch.load":
            assert option(call, "weights_only") is True, f"{file}:{call.lineno}"
        if name in ("np.load", "numpy.load", "np.lib.format.read_array"):
            assert option(call, "allow_pickle") in (None, False), f"{file}:{call.lineno}"


def test_no_model_brings_code_and_no_text_is_run() -> None:
    for file, call in calls():
        where = f"{file}:{call.lineno}"
        assert option(call, "trust_remote_code") in (None, False), where
        assert option(call, "shell") in (None, False), where
        assert ast.unparse(call.func) not in ("eval", "exec", "os.system", "yaml.load"), where

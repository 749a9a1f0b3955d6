"""What deploys the system, as far as it can be checked without a Docker engine."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from scenesearch.home import prometheus
from scenesearch.home.settings import Settings
from tests import caddyfile
from tests.parsed import parse

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MAIN = ROOT / "docker-compose.yml"
OVERLAYS = sorted(DEPLOY.glob("compose.*.yml"))
OURS = ("ingest", "ui", "api", "evaluate", "train", "backup", "admin")
IMAGES = ("ui", "ingest", "ingest-gpu", "train")


def tool(name: str) -> str:
    """A linter that was installed beside Python."""
    return str(Path(sys.executable).with_name(name))


def services(file: Path = MAIN) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["services"]
    return found


def all_services() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in (MAIN, *OVERLAYS):
        yield from services(file).items()


def run_lint(*words: object) -> None:
    ran = subprocess.run(list(map(str, words)), capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.slow
def test_the_compose_files_follow_the_schema() -> None:
    run_lint(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", MAIN, *OVERLAYS)


def test_the_dockerfile_passes_its_linter() -> None:
    run_lint(tool("hadolint"), DEPLOY / "Dockerfile")


def test_the_scripts_pass_their_linter() -> None:
    run_lint(tool("shellcheck"), *sorted(DEPLOY.glob("*.sh")))


def test_every_setting_can_be_set_in_compose_and_nothing_else() -> None:
    named = {
        variable
        for name in OURS
        for variable in services()[name]["environment"]
        if variable.startswith("SCENESEARCH_")
    }
    assert named == {f"SCENESEARCH_{name.upper()}" for name in Settings.model_fields}


def test_every_variable_of_the_compose_files_is_in_the_example_and_the_other_way_round() -> None:
    text = "".join(file.read_text() for file in (MAIN, *OVERLAYS))
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text))
    listed = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    passed_on = {f"SCENESEARCH_{name.upper()}" for name in Settings.model_fields}
    assert used <= listed
    assert listed <= used | passed_on


def test_no_service_starts_without_its_keys_and_says_which_is_missing() -> None:
    text = MAIN.read_text()
    for key in ("SCENESEARCH_QDRANT_API_KEY", "SCENESEARCH_QDRANT_READ_ONLY_API_KEY", "PHOTOS"):
        uses = re.findall(rf"\$\{{{key}[^}}]*\}}", text)
        assert uses
        assert all(":?is missing in .env - " in use for use in uses), key


def test_only_writers_have_the_key_that_writes() -> None:
    have = {
        name: {key for key in services()[name]["environment"] if key.endswith("_API_KEY")}
        for name in OURS
    }
    reading = {"SCENESEARCH_QDRANT_READ_ONLY_API_KEY"}
    writing = {"SCENESEARCH_QDRANT_API_KEY"}
    assert have == {
        "ui": reading | {"SCENESEARCH_API_KEY"},
        "api": reading,
        "evaluate": reading,
        "backup": reading,
        "ingest": writing,
        "admin": writing,
        "train": set(),
    }


def test_every_published_port_but_the_proxys_is_on_this_machine_alone() -> None:
    for name, service in all_services():
        for port in service.get("ports", []):
            if name == "proxy":
                assert port in ("${HTTP_PORT:-80}:80", "${HTTPS_PORT:-443}:443")
            else:
                assert port.startswith("127.0.0.1:"), (name, port)


@pytest.mark.parametrize(
    ("path", "service", "password"),
    [
        ("/", "ui:8501", True),
        ("/_stcore/stream", "ui:8501", True),
        ("/v1", "ui:8501", True),
        ("/v1/search", "api:8600", False),
        ("/v1/images/a/b.jpg/thumbnail", "api:8600", False),
        ("/mcp", "api:8600", False),
        ("/healthz", "api:8600", False),
        ("/readyz", "api:8600", False),
        ("/openapi.json", "ui:8501", True),
    ],
)
def test_the_proxy_leads_programs_to_the_api_and_people_past_the_password(
    path: str, service: str, password: bool
) -> None:
    site = caddyfile.read((DEPLOY / "Caddyfile").read_text())
    found = site.handler(path)
    assert found["reverse_proxy"] == [service]
    assert ("basic_auth" in found) is password
    name, _, port = service.partition(":")
    assert services()[name]["command"][-1] == port


def test_the_proxy_gives_no_metrics_out() -> None:
    site = caddyfile.read((DEPLOY / "Caddyfile").read_text())
    assert site.handler("/metrics") == {"respond": ["404"]}


def test_every_service_is_read_only_without_rights_and_with_bounded_logs() -> None:
    for name, service in all_services():
        if "image" not in service or (name == "ingest" and "command" not in service):
            continue  # an overlay's changes to a service of the main file
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert not service.get("privileged")
    for name in OURS:
        assert services()[name]["user"] == "10001:10001"


def test_images_are_pinned_and_qdrant_is_unprivileged_and_fits_the_client() -> None:
    for name, service in all_services():
        image = service.get("image", "")
        if image and not image.startswith("scenesearch-"):
            assert re.search(r":v?\d+\.\d+", image), (name, image)
    server = services()["qdrant"]["image"]
    assert server.endswith("-unprivileged")
    found = re.search(r":v1\.(\d+)\.", server)
    client = re.search(r"^qdrant-client==1\.(\d+)\.", (ROOT / "constraints.txt").read_text(), re.M)
    assert found and client
    assert abs(int(found[1]) - int(client[1])) <= 1
    for node in ("qdrant-2", "qdrant-3"):
        assert services(DEPLOY / "compose.cluster.yml")[node]["image"] == server


def test_qdrant_is_secured_and_the_nodes_of_a_cluster_alike() -> None:
    nodes = services(DEPLOY / "compose.cluster.yml")
    of_one = services()["qdrant"]["environment"]
    expected = {
        "QDRANT__SERVICE__ENABLE_CORS": "false",
        "QDRANT__SERVICE__ENABLE_SNAPSHOT_URL_RECOVERY": "false",
        "QDRANT__STORAGE__COLLECTION__STRICT_MODE__ENABLED": "true",
        "QDRANT__STORAGE__COLLECTION__STRICT_MODE__UNINDEXED_FILTERING_RETRIEVE": "false",
        "QDRANT__TELEMETRY_DISABLED": "true",
    }
    assert expected.items() <= of_one.items()
    for name in ("qdrant-2", "qdrant-3"):
        own = nodes[name]["environment"]
        assert of_one.items() <= own.items()
        assert nodes["qdrant"]["environment"].items() <= own.items()
        assert nodes[name]["healthcheck"]["test"] == services()["qdrant"]["healthcheck"]["test"]


@pytest.mark.parametrize("name", OURS)
def test_the_commands_of_the_services_exist(name: str) -> None:
    service = services()[name]
    words = [*service.get("entrypoint", ["scenesearch"]), *service["command"]]
    assert words.pop(0) == "scenesearch"
    parse([re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in words])


def _ignored(path: str) -> bool:
    """What Docker leaves out: the last pattern that fits the path or a folder above it counts."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = path.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        if pattern.startswith("**/"):
            fits = any(fnmatch(part, pattern.removeprefix("**/")) for part in parts)
        else:
            fits = any(fnmatch(each, pattern) for each in above)
        if fits:
            ignored = not line.startswith("!")
    return ignored


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.production",
        "scenesearch/.env",
        ".git/config",
        "photos/IMG_1.jpg",
        "out/results.csv",
        "backup.zip",
        "tests/data/x",
        "docker-compose.yml",
        ".venv/bin/python",
        "scenesearch/__pycache__/cli.cpython-311.pyc",
        "id_rsa",
    ],
)
def test_data_and_secrets_stay_out_of_the_images(path: str) -> None:
    assert _ignored(path)


def test_what_the_images_are_made_of_gets_into_them() -> None:
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    sources = [source for line in copied for source in line.split()]
    assert "scenesearch" in sources
    for source in sources:
        assert (ROOT / source).exists()
        assert not _ignored(source), source
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package in packages["packages"]["find"]["include"]:
        assert package.removesuffix("*") in sources, package
    for folder, patterns in packages["package-data"].items():
        for pattern in patterns:
            for file in (ROOT / folder).glob(pattern):
                assert not _ignored(str(file.relative_to(ROOT))), file


def locked(image: str) -> Mapping[str, str]:
    text = (DEPLOY / "requirements" / f"{image}.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ \\;\n]+)", text, re.M))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("image", IMAGES)
def test_the_images_take_what_the_constraints_pin_and_only_with_hashes(image: str) -> None:
    text = (DEPLOY / "requirements" / f"{image}.txt").read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text)
    assert all("--hash=sha256:" in entry for entry in entries if not entry.startswith("#"))
    pinned = {
        normal(name): version
        for name, _, version in (
            line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines()
        )
    }
    for name, version in locked(image).items():
        if normal(name) in pinned:
            assert version == pinned[normal(name)], f"{name}: run make lock"


@pytest.mark.parametrize("image", IMAGES)
def test_the_images_take_all_that_the_project_declares(image: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        "ui": ["ui", "serve", "remote"],
        "ingest": ["remote"],
        "ingest-gpu": ["remote", "gpu"],
        "train": ["train"],
    }[image]
    declared = [*project["dependencies"]]
    for extra in extras:
        declared += project["optional-dependencies"][extra]
    names = {normal(re.match(r"[A-Za-z0-9_.-]+", line)[0]) for line in declared}  # type: ignore[index]
    assert names <= {normal(name) for name in locked(image)}, "run make lock"


def test_the_images_that_serve_hold_no_torch() -> None:
    for image in ("ui", "ingest", "ingest-gpu"):
        assert not {"torch", "transformers", "sentence-transformers"} & locked(image).keys()
    assert "torch" in locked("train")


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_we_give() -> None:
    served = {
        family.name + {"counter": "_total", "histogram": "_bucket"}.get(family.type, "")
        for metric in vars(prometheus).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
    }
    folder = DEPLOY / "monitoring"
    dashboard = json.loads((folder / "grafana/dashboards/scenesearch.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((folder / "alerts.yml").read_text())["groups"][0]["rules"]
    text = " ".join([*asked, *(rule["expr"] for rule in rules)])
    ours = set(re.findall(r"scenesearch_\w+", text))
    assert ours
    assert ours <= served
    assert not served - ours - {"scenesearch_build_info"}  # each is looked at somewhere


def test_prometheus_looks_for_services_that_there_are() -> None:
    jobs = yaml.safe_load((DEPLOY / "monitoring/prometheus.yml").read_text())["scrape_configs"]
    names = {name for job in jobs for sd in job["dns_sd_configs"] for name in sd["names"]}
    assert names <= {name for name, _ in all_services()}
    mounted = services(DEPLOY / "compose.monitoring.yml")["prometheus"]
    secret = mounted["secrets"][0]
    assert f"/run/secrets/{secret}" in (DEPLOY / "monitoring/prometheus.yml").read_text()


def test_what_is_mounted_from_the_repository_is_there() -> None:
    for name, service in all_services():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0] if isinstance(volume, str) else volume["source"]
            if source.startswith("./"):
                assert (ROOT / source).exists(), (name, source)


def test_new_keys_are_long_and_differ() -> None:
    made = subprocess.run([DEPLOY / "make_keys.sh"], capture_output=True, text=True, check=True)
    keys = dict(line.split("=") for line in made.stdout.splitlines())
    assert set(keys) == {"SCENESEARCH_QDRANT_API_KEY", "SCENESEARCH_QDRANT_READ_ONLY_API_KEY"}
    assert len(set(keys.values())) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys.values())

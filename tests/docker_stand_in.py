"""A stand-in for the docker command, enough of it for deploy/smoke_test.sh where no engine runs.

    python -m tests.docker_stand_in compose --env-file FILE --project-name NAME up --wait

Services are processes with the commands, environment and volumes that docker-compose.yml gives
them, and the double of the server tests is in Qdrant's place, with its data on the disk. So the
script and the compose file are followed to the end. Nodes of a cluster lie at 127.0.0.1, .2 and
.3: cables to one double, which are cut when a node is killed. The proxy does what deploy/Caddyfile
says, with TLS, as far as tests/caddyfile.py reads it.

Images, networks, users and limits are not
there; what the script asks of an image is answered without looking.
"""

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
# Folders of containers, which lie elsewhere here.
INSIDE = re.compile(r"(?<![\w.-])/(photos|exchange|data)(?![\w.-])")
# What the nodes of a cluster hold together: no service of the compose file, and never killed.
_DATA = "data-of-the-cluster"
# torch is not in these images, nor is anybody root.
IMAGE = "import os, sys; sys.modules['torch'] = None; os.getuid = lambda: 10001\n"


class Missing(Exception):  # noqa: N818
    """A variable that the compose file wants, and its sentence."""


def read_env(file: Path) -> dict[str, str]:
    rows = (line.partition("=") for line in file.read_text().splitlines() if "=" in line)
    return {name: value.strip("'") for name, _, value in rows if not name.startswith("#")}


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """As compose does: $$, ${NAME}, ${NAME:-default}, ${NAME:?sentence}."""

    def value(found: re.Match[str]) -> str:
        name, how, rest = found["name"], found["how"], found["rest"]
        if name is None:
            return "$"
        if env.get(name):
            return env[name]
        if how == ":?":
            raise Missing(f"required variable {name} is missing a value: {rest}")
        return interpolate(rest or "", env)

    pattern = r"\$(?:\$|\{(?P<name>[A-Z_]+)(?:(?P<how>:[-?])(?P<rest>(?:[^{}]|\{[^}]*\})*))?\})"
    return re.sub(pattern, value, text)


class Project:
    """One stack: its services by the compose file, its volumes and its processes."""

    def __init__(self, name: str, env: dict[str, str], state: Path, files: Sequence[Path]) -> None:
        self.env = env
        self.folder = state / name
        self.services: dict[str, dict[str, Any]] = {}
        for file in files:
            given = yaml.safe_load(interpolate((ROOT / file).read_text(), env))["services"]
            for service, parts in given.items():
                was = self.services.setdefault(service, {})
                environment = was.get("environment", {}) | parts.get("environment", {})
                was.update(parts, environment=environment)
        self.nodes = [name for name in self.services if name.startswith("qdrant")]

    def up(self, names: Sequence[str], wait_s: float) -> None:
        for name in names or [n for n, s in self.services.items() if "profiles" not in s]:
            number = int(self.services[name].get("deploy", {}).get("replicas", 1))
            for index in range(number):
                if self._running(f"{name}-{index}") is None:
                    self._start(name, index)
            if name in (*self.nodes, "ui", "api", "proxy"):
                self._until_it_answers(name, wait_s)

    def kill(self, name: str, how: signal.Signals) -> None:
        for note in sorted(self.folder.glob(f"run/{name}-[0-9].json")):
            pid = json.loads(note.read_text())
            with suppress(ProcessLookupError):
                os.killpg(pid, how)
            deadline = time.monotonic() + 60
            while Path(f"/proc/{pid}/status").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            note.unlink()

    def down(self, *, volumes: bool) -> None:
        for name in (*reversed(list(self.services)), _DATA):
            self.kill(name, signal.SIGTERM)
        if volumes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, name: str, words: Sequence[str], more: Mapping[str, str]) -> int:
        service = self.services[name]
        entry = service.get("entrypoint", ["scenesearch"])
        command = [*entry, *(words or service.get("command", []))]
        place = INSIDE.sub(self._place, service.get("working_dir", "/exchange"))
        return subprocess.run(
            [self._inside(word) for word in _python(command)],
            env=self._environment(name, more),
            cwd=place,
        ).returncode

    def logs(self, tail: int) -> None:
        for file in sorted(self.folder.glob("logs/*.log")):
            for line in file.read_text().splitlines()[-tail:]:
                print(f"{file.stem}  | {line}")

    def _start(self, name: str, index: int) -> None:
        for part in ("run", "logs", "volumes"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        if name in self.nodes and len(self.nodes) > 1:
            if self._running(f"{_DATA}-0") is None:
                self._start(_DATA, 0)
            command = [sys.executable, "-m", "tests.docker_stand_in", "node"]
        elif name == "proxy":
            command = [sys.executable, "-m", "tests.docker_stand_in", "proxy"]
        elif name in (*self.nodes, _DATA):
            command = [sys.executable, "-m", "tests.docker_stand_in", "qdrant"]
        else:
            command = [
                self._inside(word) for word in _python(["scenesearch", *self._command(name)])
            ]
        with (self.folder / "logs" / f"{name}-{index}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self._environment(name),
                cwd=self._volume("exchange"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.folder / "run" / f"{name}-{index}.json").write_text(json.dumps(process.pid))

    def _command(self, name: str) -> list[str]:
        words = {
            "0.0.0.0": "127.0.0.1",  # noqa: S104
            "8501": self.env["PAGE_PORT"],
            "8600": self.env.get("API_PORT", ""),
        }
        return [words.get(word, word) for word in self.services[name]["command"]]

    def _environment(self, name: str, more: Mapping[str, str] = {}) -> dict[str, str]:
        given = self.services["qdrant" if name == _DATA else name]["environment"] | more
        found = {
            key: self._inside(str(self.env.get(key, "") if value is None else value))
            for key, value in given.items()
        }
        found = {key: value for key, value in found.items() if value}
        found |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self.folder)}
        if name in (*self.nodes, _DATA):
            found["STAND_IN_PLACE"] = str(self._volume("qdrant_storage"))
            found["STAND_IN_OPEN"] = os.environ.get("STAND_IN_OPEN", "")
            found["STAND_IN_PORTS"] = str(self._volume("ports") / "data.json")
            found["STAND_IN_AT"] = self._host(name)
            alone = name != _DATA
            found["QDRANT_PORT"] = self.env["QDRANT_PORT"] if alone else "0"
            found["QDRANT_GRPC_PORT"] = self.env["QDRANT_GRPC_PORT"] if alone else "0"
        elif name == "proxy":
            found |= {part: self.env[part] for part in ("PAGE_PORT", "API_PORT", "HTTPS_PORT")}
            found["STAND_IN_PLACE"] = str(self._volume("caddy_data"))
        else:
            addresses = found["SCENESEARCH_QDRANT_URL"]
            found["SCENESEARCH_QDRANT_URL"] = re.sub(
                r"//(qdrant[\w-]*):6333", lambda node: f"//{self._address(node[1])}", addresses
            )
            found["SCENESEARCH_QDRANT_GRPC_PORT"] = self.env["QDRANT_GRPC_PORT"]
            found.pop("SCENESEARCH_METRICS_ADDRESS", None)  # one port for all of them here
        return found

    def _host(self, node: str) -> str:
        """Each node has an address of its own, as it has a name in a network of docker's."""
        return f"127.0.0.{1 + self.nodes.index(node)}" if node in self.nodes else "127.0.0.1"

    def _address(self, node: str) -> str:
        return f"{self._host(node)}:{self.env.get('QDRANT_PORT', '6333')}"

    def _inside(self, text: str) -> str:
        return INSIDE.sub(self._place, text)

    def _place(self, found: re.Match[str]) -> str:
        name = found[1]
        given = self.env.get({"photos": "PHOTOS", "exchange": "EXCHANGE"}.get(name, ""))
        return given or str(self._volume(name))

    def _volume(self, name: str) -> Path:
        place = self.folder / "volumes" / name
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _running(self, which: str) -> int | None:
        try:
            pid = int(json.loads((self.folder / "run" / f"{which}.json").read_text()))
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def _until_it_answers(self, name: str, wait_s: float) -> None:
        if name in self.nodes:
            url = f"http://{self._address(name)}/readyz"
        else:
            url = {
                "ui": f"http://127.0.0.1:{self.env['PAGE_PORT']}/_stcore/health",
                "api": f"http://127.0.0.1:{self.env.get('API_PORT')}/healthz",
                "proxy": f"https://127.0.0.1:{self.env.get('HTTPS_PORT')}/metrics",
            }[name]
        deadline = time.monotonic() + wait_s
        while not _answers(url):
            if self._running(f"{name}-0") is None or time.monotonic() > deadline:
                self.logs(20)
                sys.exit(f"dependency failed to start: {name} is unhealthy")
            time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        context = ssl._create_unverified_context()  # noqa: S323
        with urllib.request.urlopen(url, timeout=2, context=context):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True  # it wants a key
    except OSError:
        return False


def _python(command: Sequence[str]) -> list[str]:
    if command[0] == "scenesearch":
        return [sys.executable, "-m", "scenesearch.cli", *command[1:]]
    return list(command)


def compose(words: Sequence[str], state: Path) -> int:
    parser = ArgumentParser()
    parser.add_argument("--env-file", type=Path, required=True)
    parser.add_argument("--project-name", default="scenesearch")
    parser.add_argument("--profile")
    parser.add_argument("--file", type=Path, action="append", default=[])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("config").add_argument("--quiet", action="store_true")
    build = verbs.add_parser("build")
    build.add_argument("--quiet", action="store_true")
    build.add_argument("names", nargs="*")
    up = verbs.add_parser("up")
    up.add_argument("--detach", action="store_true")
    up.add_argument("--wait", action="store_true")
    up.add_argument("--wait-timeout", type=float, default=60)
    up.add_argument("names", nargs="*")
    kill = verbs.add_parser("kill")
    kill.add_argument("--signal", default="KILL")
    kill.add_argument("name")
    down = verbs.add_parser("down")
    down.add_argument("--volumes", action="store_true")
    down.add_argument("--remove-orphans", action="store_true")
    verbs.add_parser("logs").add_argument("--tail", type=int, default=1000)
    run = verbs.add_parser("run")
    run.add_argument("--rm", action="store_true")
    run.add_argument("--no-deps", action="store_true")
    run.add_argument("-T", action="store_true")
    run.add_argument("--env", action="append", default=[])
    run.add_argument("name")
    options, rest = parser.parse_known_args(_before_the_service(words))
    try:
        files = options.file or [Path("docker-compose.yml")]
        project = Project(options.project_name, read_env(options.env_file), state, files)
    except Missing as missing:
        print(f"error while interpolating: {missing}", file=sys.stderr)
        return 1
    if options.verb == "up":
        project.up(options.names, options.wait_timeout)
    elif options.verb == "kill":
        project.kill(options.name, signal.Signals[f"SIG{options.signal}"])
    elif options.verb == "down":
        project.down(volumes=options.volumes)
    elif options.verb == "logs":
        project.logs(options.tail)
    elif options.verb == "run":
        more = dict(variable.partition("=")[::2] for variable in options.env)
        return project.run(options.name, list(words)[len(_before_the_service(words)) :], more)
    if rest:
        parser.error(f"unknown to the stand-in: {rest}")
    return 0


def _before_the_service(words: Sequence[str]) -> list[str]:
    """Of `run`, the words up to the service: what follows is the service's own."""
    if "run" not in words:
        return list(words)
    at = list(words).index("run") + 1
    while words[at].startswith("-"):
        at += 2 if words[at] == "--env" else 1
    return list(words[: at + 1])


def run_image(words: Sequence[str]) -> int:
    """`docker run ... --entrypoint python [-v HOST:INSIDE] IMAGE -c CODE`."""
    code = words[list(words).index("-c") + 1]
    for option, value in pairwise(words):
        if option == "-v":
            outside, _, inside = value.partition(":")
            code = code.replace(inside, outside)
    return subprocess.run([sys.executable, "-c", IMAGE + code], cwd=ROOT).returncode


def qdrant() -> None:
    """The double in the place of the server, until it is ended."""
    import warnings

    from tests.integration.qdrant_loopback import QdrantLoopback

    warnings.simplefilter("ignore")
    key = os.environ["QDRANT__SERVICE__API_KEY"]
    double = QdrantLoopback(
        # With STAND_IN_OPEN a server that lets everybody in.
        api_key=None if os.environ.get("STAND_IN_OPEN") else key,
        read_only_api_key=os.environ["QDRANT__SERVICE__READ_ONLY_API_KEY"],
        folder=Path(os.environ["STAND_IN_PLACE"]),
        port=int(os.environ["QDRANT_GRPC_PORT"]),
        rest_port=int(os.environ["QDRANT_PORT"]),
    )
    ports = Path(os.environ["STAND_IN_PORTS"])
    ports.with_suffix(".part").write_text(json.dumps([double.rest_port, double.port]))
    ports.with_suffix(".part").replace(ports)
    signal.pause()


def node() -> None:
    """A node's two ports, until it is killed; the data is another process's."""
    from tests.integration.tcp_proxy import TcpProxy

    ports = Path(os.environ["STAND_IN_PORTS"])
    while not ports.exists():
        time.sleep(0.05)
    at = os.environ["STAND_IN_AT"]
    wanted = (int(os.environ[name]) for name in ("QDRANT_PORT", "QDRANT_GRPC_PORT"))
    for behind, port in zip(json.loads(ports.read_text()), wanted, strict=True):
        TcpProxy(behind, at=at, port=port)
    signal.pause()


def proxy() -> None:
    """Caddy's place, until it is ended."""
    from tests import caddyfile

    caddyfile.serve(
        caddyfile.read((ROOT / "deploy" / "Caddyfile").read_text()),
        int(os.environ["HTTPS_PORT"]),
        {
            "ui:8501": f"127.0.0.1:{os.environ['PAGE_PORT']}",
            "api:8600": f"127.0.0.1:{os.environ['API_PORT']}",
        },
        Path(os.environ["STAND_IN_PLACE"]),
    )


def main() -> int:
    verb, *words = sys.argv[1:]
    if verb == "compose":
        return compose(words, Path(os.environ["STAND_IN_STATE"]))
    if verb == "run":
        return run_image(words)
    if verb == "image":
        print("no images here")
        return 0
    if verb == "qdrant":
        qdrant()
    if verb == "node":
        node()
    if verb == "proxy":
        proxy()
    return 2


if __name__ == "__main__":
    sys.exit(main())

"""Hundreds of forged backups, each a real one with something of it changed and every checksum
right again: refused in one sentence with nothing written, or a library that every command takes.

    make attack
"""

import copy
import hashlib
import io
import json
import random
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scenesearch.errors import SceneSearchError
from scenesearch.home.backup import BackupError, open_backup
from scenesearch.store.edge import EdgeStore
from tests.cli import CommandLine
from tests.tiny_encoder import write_tiny_encoder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FORGED = 500
USED = 6  # so many of those that were restored are used with every command
MANIFEST = "scenesearch-backup.json"

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308, float("nan"),
    float("inf"), "", "x", "\x00", "../../x", "/etc/passwd", "http://127.0.0.1:9/x.jpg",
    "file:///etc/passwd", "a" * 70_000, "ab" * 32, "\ud800", "\u2028\u202e\x1b[2J", [], [None],
    ["x", 1], [[["x"]]], {}, {"x": {"y": []}}, {"lat": 91, "lon": 0}, {"lat": "1", "lon": "2"},
    "0000-00-00", "keyword", "integer", "geo", "building", "points/000000.jsonl", 3, "rm -rf",
)  # fmt: skip

Parts = dict[str, bytes]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "origin"))
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(write_tiny_encoder(tmp_path / "tiny")))
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def good(run: CommandLine, tmp_path: Path) -> Path:
    """A backup with all that there can be in one: EXIF, a manifest's columns, feedback."""
    folder = tmp_path / "pictures"
    (folder / "trip").mkdir(parents=True)
    rows = ["image,caption,tags,rating,location,day,shots,sharp,mood"]
    for number in range(6):
        name = f"trip/{number}.jpg" if number % 2 else f"{number}.jpg"
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "Maker", f"Camera {number}"
        exif.get_ifd(0x8769)[0x9003] = f"2020:01:0{number + 1} 10:00:00"
        colour = (200, 10, 10 + 30 * number)
        Image.effect_noise((64, 48), 90).convert("RGB").resize((64, 48)).point(
            lambda v, c=colour: min(255, v + c[2])
        ).save(folder / name, exif=exif)
        rows.append(
            f'{name},a red thing {number},"sea;red",{number % 5},"46.5,8.{number}",'
            f"2020-02-0{number + 1},{number},{'true' if number % 2 else 'false'},calm"
        )
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    assert run("ingest", folder, "--manifest", "table.csv").status == 0
    assert run("feedback", "right", "a red thing", "0.jpg", "trip/1.jpg").status == 0
    assert run("library", "backup", "photos", "--out", "good.zip").status == 0
    return tmp_path / "good.zip"


def read(file: Path) -> tuple[dict[str, Any], Parts]:
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(parts.pop(MANIFEST)), parts


def write(file: Path, manifest: Any, parts: Parts, how: int = zipfile.ZIP_DEFLATED) -> None:
    """The backup with right checksums wherever there still is a place for them."""
    if isinstance(manifest, dict):
        declared = [one for one in _list(manifest.get("files")) if isinstance(one, dict)]
        for chunk in _list(manifest.get("chunks")):
            if isinstance(chunk, dict):
                declared += [part for part in chunk.values() if isinstance(part, dict)]
        for part in declared:
            data = parts.get(part["name"]) if isinstance(part.get("name"), str) else None
            if data is not None:
                part |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    text = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        archive.writestr(MANIFEST, text)
        archive.comment = hashlib.sha256(text).hexdigest().encode()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def mutated(chance: random.Random, value: Any) -> Any:
    """The JSON value with one place in it replaced, removed, doubled or renamed."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def visit(part: Any) -> None:
        for key in list(part) if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], dict | list):
                visit(part[key])

    visit(value)
    if not places:
        return chance.choice(HOSTILE)
    holder, key = chance.choice(places)
    action = chance.random()
    if action < 0.7:
        holder[key] = copy.deepcopy(chance.choice(HOSTILE))
    elif action < 0.8:
        del holder[key]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[str(chance.choice(HOSTILE))[:300]] = holder.pop(key)
    return value


def forge(chance: random.Random, good: Path, file: Path) -> str:
    """Write a forged backup; what was forged."""
    manifest, parts = read(good)
    what = chance.choice(["manifest"] * 3 + ["payload"] * 6 + ["beside"] * 2 +
                         ["vectors", "codec", "bytes", "cut", "lines", "fields"])  # fmt: skip
    how = zipfile.ZIP_DEFLATED
    if what == "manifest":
        manifest = mutated(chance, manifest)
    elif what == "fields":
        manifest["spec"] = mutated(chance, manifest["spec"])
    elif what == "payload":
        lines = parts["points/000000.jsonl"].splitlines()
        for _ in range(chance.choice([1, 1, 1, 3])):
            at = chance.randrange(len(lines))
            lines[at] = json.dumps(mutated(chance, json.loads(lines[at]))).encode()
        parts["points/000000.jsonl"] = b"\n".join(lines) + b"\n"
    elif what == "lines":
        lines = parts["points/000000.jsonl"].splitlines()
        lines[0] = chance.choice([lines[1], b"", b"[" * 100_000, b'{"image_id":"a"', b"\xff\xfe",
                                  b'{"image_id":"a","image_id":"b"}'])  # fmt: skip
        parts["points/000000.jsonl"] = b"\n".join(lines) + b"\n"
    elif what == "beside":
        name = chance.choice([name for name in parts if name.startswith("library/")])
        parts[name] = json.dumps(mutated(chance, json.loads(parts[name]))).encode()
    elif what == "vectors":
        array = np.load(io.BytesIO(parts["vectors/000000.npy"]))
        array = chance.choice([
            lambda: array * np.float32("nan"), lambda: array * 2, lambda: array[:-1],
            lambda: array.astype(np.float64), lambda: np.asfortranarray(array), lambda: -array,
            lambda: array.reshape(-1), lambda: np.full_like(array, np.inf), lambda: array[:, :2],
        ])()  # fmt: skip
        out = io.BytesIO()
        np.save(out, array)
        data = bytearray(out.getvalue())
        if chance.random() < 0.5:
            data[chance.randrange(100)] ^= 1 << chance.randrange(8)
        parts["vectors/000000.npy"] = bytes(data)
    elif what == "codec":
        how = chance.choice([zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
    write(file, manifest, parts, how)
    data = bytearray(file.read_bytes())
    if what in ("bytes", "codec"):
        for _ in range(chance.choice([1, 3])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    if what == "cut" or (what == "codec" and chance.random() < 0.3):
        at = chance.randrange(len(data))
        data = data[:at] + data[at + chance.choice([1, 7, len(data)]) :]
    file.write_bytes(data)
    return what


def use(run: CommandLine, pictures: Path) -> list[str]:
    """Every command over the restored library; the sentences of those that would not."""
    said = []
    for words in (
        ("search", "red", "-k", 50, "--all"), ("search", "red", "--json", "--all"),
        ("search", "red", "--sort", "taken", "--all"), ("search", "--like", "0.jpg", "--all"),
        ("search", "red", "--facet", "camera", "--sheet", "sheet.jpg", "--all"), ("status",),
        ("library", "list"), ("library", "doctor"), ("library", "duplicates"),
        ("feedback", "list"), ("feedback", "export", f"marks-{time.time_ns()}"),
        ("library", "backup", "--out", f"again-{time.time_ns()}.zip"),
        ("ingest", pictures, "--prune"), ("library", "doctor", "--mend"), ("search", "red"),
    ):  # fmt: skip
        ran = run(*words)
        assert "Traceback" not in ran.err, words
        if ran.status not in (0, 1):
            said.append(f"{words[:2]}: {ran.sentence}")
    return said


def test_a_forged_backup_is_refused_or_becomes_a_library_that_works(
    run: CommandLine, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(20)
    told: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    used = 0
    began = time.monotonic()
    for number in range(FORGED):
        file = tmp_path / "forged.zip"
        what = forge(chance, good, file)
        try:
            with open_backup(file) as backup:
                backup.verify()
                library = backup.contents.spec.library
        except BackupError as error:
            told["refused"] += 1
            refused[what] += 1
            assert "\n" not in str(error) and len(str(error)) < 2000, what
            continue
        told["taken"] += 1
        if what in ("bytes", "cut"):  # a byte that nobody reads
            continue
        if used >= USED:
            continue
        used += 1
        data_dir = tmp_path / f"restored-{number}"
        monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(data_dir))
        monkeypatch.setenv("SCENESEARCH_LIBRARY", library)
        restored = run("library", "restore", file)
        assert restored.status == 0, (what, restored.err)
        for sentence in use(run, tmp_path / "pictures"):
            told["would not"] += 1
            print(f"{what}: {sentence}")
    print(json.dumps(told | {"seconds": round(time.monotonic() - began)}), dict(refused))
    assert told["refused"] > FORGED / 3
    assert used == USED


def damaged(codec: int, good: Path, file: Path) -> None:
    manifest, parts = read(good)
    write(file, manifest, parts, codec)


@pytest.mark.parametrize("codec", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_codecs_are_refused_whole_or_cut(
    codec: int, run: CommandLine, good: Path, tmp_path: Path
) -> None:
    file = tmp_path / "other.zip"
    damaged(codec, good, file)
    whole = file.read_bytes()
    for length in (0, 1, 40, 400):
        middle = len(whole) // 3
        file.write_bytes(whole[:middle] + whole[middle + length :])
        with pytest.raises(BackupError), open_backup(file) as backup:
            backup.verify()


def test_a_refused_restore_writes_nothing(run: CommandLine, good: Path, tmp_path: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    manifest, parts = read(good)
    lines = parts["points/000000.jsonl"].splitlines()
    lines[-1] = json.dumps(json.loads(lines[-1]) | {"sha256": "../../x"}).encode()
    parts["points/000000.jsonl"] = b"\n".join(lines) + b"\n"
    write(tmp_path / "forged.zip", manifest, parts)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "other"))
    ran = run("library", "restore", "forged.zip")
    assert ran.status == 2
    assert "'sha256' is no value of that field" in ran.sentence
    assert not (tmp_path / "other").exists()


def fields(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: change(manifest["spec"]["fields"])


@pytest.mark.parametrize(
    "change",
    [
        fields(lambda f: f.append(dict(f[0]))),
        fields(lambda f: next(x for x in f if x["name"] == "sha256").update(type="integer")),
        fields(lambda f: next(x for x in f if x["name"] == "mood").update(type="geo")),
        fields(lambda f: next(x for x in f if x["name"] == "shots").update(type="keyword")),
        fields(lambda f: f[0].update(widget="date_range")),
    ],
)
def test_a_field_that_is_not_what_its_name_or_type_says_is_refused(
    change: Callable[[dict[str, Any]], Any], run: CommandLine, good: Path, tmp_path: Path
) -> None:
    manifest, parts = read(good)
    change(manifest)
    write(tmp_path / "forged.zip", manifest, parts)
    with pytest.raises(BackupError), open_backup(tmp_path / "forged.zip") as backup:
        backup.verify()


def test_the_store_of_a_restored_library_is_one_collection(
    run: CommandLine, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "other"))
    assert run("library", "restore", good).status == 0
    with closing(EdgeStore(tmp_path / "other" / "edge")) as store:
        assert store.collections() == ["photos-tiny-1"]
    with pytest.raises(SceneSearchError), open_backup(tmp_path / "none.zip"):
        pass

"""`scenesearch status`: whether this installation can answer, for people and probes."""

import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import LibraryArgument, LibraryOption, choose_library
from scenesearch.commands.console import FAILED, FOUND, NOTHING, JsonOption, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from scenesearch.home.installation import Installation
    from scenesearch.store.base import VectorStore

_PARTS = ("scenesearch", "qdrant-client", "qdrant-edge-py", "onnxruntime", "streamlit", "torch")


def status(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    least_free: Annotated[
        float, typer.Option(min=0, help="GB that must be free on the disk of the data folder.")
    ] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Say whether searches can be answered: store, library, encoder, rejects, disk, versions.

    Exits with 0 when they can, with 1 when something is missing or the disk is nearly full, and
    with 2 when the store cannot be used.
    """
    installation, name = choose_library(library, named)
    report: dict[str, Any] = {"library": name, "problems": []}
    code = _examine_store(installation, name, report)
    report["rejects"] = _rejects(installation, name, report)
    if report["rejects"] is None:
        code = max(code, NOTHING)
    data_dir = installation.settings.data_dir
    report["disk"] = _disk(data_dir)
    if report["disk"]["free_bytes"] < least_free * 1e9:
        report["problems"].append(
            f"{data_dir}: {report['disk']['free_bytes'] / 1e9:.1f} GB are free, "
            f"less than {least_free:g}"
        )
        code = max(code, NOTHING)
    report["versions"] = _versions()
    report = {"ready": code == FOUND} | report
    print_json(report) if as_json else _print(report)
    sys.exit(code)


def _examine_store(installation: "Installation", library: str, report: dict[str, Any]) -> int:
    """Fill in what the store says; returns the exit status so far."""
    from scenesearch.store.base import CollectionMissing, IndexBusy, StoreError

    report |= {"store": None, "collection": None, "pictures": None, "encoder": None}
    try:
        with installation.store(reading=True, lock_wait_s=5) as store:
            report["store"] = store.health()
            _examine_library(installation, store, library, report)
    except CollectionMissing as error:
        report["problems"].append(str(error))
        return NOTHING
    except IndexBusy as error:
        # Another process is using the library, which is no problem.
        report["busy"] = str(error)
    except StoreError as error:
        report["problems"].append(str(error))
        return FAILED
    return NOTHING if report["problems"] else FOUND


def _examine_library(
    installation: "Installation", store: "VectorStore", library: str, report: dict[str, Any]
) -> None:
    from scenesearch.encoder.base import EncoderError

    spec = store.describe(library)
    report["collection"] = store.resolve(library)
    report["encoder"] = {"name": spec.encoder, "fingerprint": spec.fingerprint, "here": True}
    report["pictures"] = store.count(library)
    try:
        installation.encoder_of(spec)
    except EncoderError as error:
        report["encoder"]["here"] = False
        report["problems"].append(str(error))


def _rejects(installation: "Installation", library: str, report: dict[str, Any]) -> int | None:
    """How many; None where their table cannot be used, which does not prevent a search."""
    from scenesearch.home.rejects import RejectsError

    try:
        return len(installation.files(library).read_rejects())
    except RejectsError as error:
        report["problems"].append(str(error))
        return None


def _disk(data_dir: "Path") -> dict[str, Any]:
    """Of the nearest folder that is there: a data folder is made by the first ingest."""
    there = next(
        path for path in (data_dir.resolve(), *data_dir.resolve().parents) if path.exists()
    )
    usage = shutil.disk_usage(there)
    return {"folder": str(data_dir), "free_bytes": usage.free, "total_bytes": usage.total}


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": sys.version.split()[0]}
    for part in _PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            found[part] = None
    return found


def _print(report: dict[str, Any]) -> None:
    encoder, disk = report["encoder"], report["disk"]
    rows = {
        "store": report["store"] or "none that can be used",
        "library": report["library"],
        "collection": report["collection"] or "none",
        "pictures": "unknown" if report["pictures"] is None else report["pictures"],
        "encoder": encoder["name"] if encoder else "unknown",
        "rejects": "unknown" if report["rejects"] is None else report["rejects"],
        "disk": f"{disk['free_bytes'] / 1e9:.1f} of {disk['total_bytes'] / 1e9:.1f} GB free at "
        f"{disk['folder']}",
        "versions": ", ".join(
            f"{part} {found}" for part, found in report["versions"].items() if found
        ),
    }
    for name, value in rows.items():
        typer.echo(f"{name:<12} {value}")
    if "busy" in report:
        typer.echo(f"{'busy':<12} {report['busy']}")
    for problem in report["problems"]:
        typer.echo(f"{'problem':<12} {problem}")
    typer.echo("ready" if report["ready"] else "not ready")

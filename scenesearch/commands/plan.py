"""`scenesearch library plan`: what a library of a given size needs."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands import capacity
from scenesearch.commands.capacity import ENCODER_SPEEDS, GRAPH_M, Device, EncoderSpeed
from scenesearch.commands.console import JsonOption, fail, print_json, read_settings, say

if TYPE_CHECKING:
    from pathlib import Path

    from scenesearch.home.settings import Settings

_CORES = re.compile(r"\s*(\d+)\s*cores?\s*")
_ACCELERATOR = re.compile(r"\s*([^=]+?)\s*=\s*([0-9.]+)\s*")
DEFAULT_CORES = (2, 16, 64)
MOST_IMAGES = 10**12
# Of deploy/compose.cluster.yml.
CLUSTER_NODES = 3


def plan(
    images: Annotated[int, typer.Option(min=1, max=MOST_IMAGES, help="How many pictures.")],
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="Name or folder; default: SCENESEARCH_ENCODER."),
    ] = None,
    devices: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE",
            help='"16 cores", or "NAME=N": an accelerator that encodes N pictures/s; may be '
            "repeated. Default: 2, 16 and 64 cores.",
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time the encoder on this machine, now.")
    ] = False,
    megapixels: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Size of the pictures: decoding counts too.")
    ] = 12.0,
    payload: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Bytes of metadata a picture.")
    ] = None,
    node_memory: Annotated[
        float, typer.Option(min=1, max=100_000, help="GB of memory of one server node.")
    ] = 64.0,
    replicas: Annotated[
        int, typer.Option(min=1, max=10, help="Copies that a server cluster keeps.")
    ] = 2,
    as_env: Annotated[
        bool, typer.Option("--env", help="Only the lines for .env that a cluster's compose reads.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Estimate what a library of this size needs: hours of encoding, memory, disk, shards."""
    settings = read_settings()
    name = encoder or settings.encoder
    speed = _speed_of(settings, name, measure)
    chosen = [_device(text, speed) for text in devices or []] or [
        *(_cores(count, speed) for count in DEFAULT_CORES),
        *(Device(n, 0, per_s, source) for n, per_s, source in speed.accelerators),
    ]
    found = capacity.plan(
        images,
        speed.dimension,
        chosen,
        megapixels=megapixels,
        payload_bytes=payload or capacity.PAYLOAD_BYTES,
        node_memory_bytes=round(node_memory * 1e9),
        replicas=replicas,
    )
    if as_env:
        _print_env(found, replicas)
    elif as_json:
        print_json({"encoder": name} | found.to_json())
    else:
        _print_plan(name, found)


def _speed_of(settings: "Settings", name: str, measure: bool) -> EncoderSpeed:
    """The encoder's speed: as measured before, else timed here and now."""
    from scenesearch.encoder.base import EncoderError
    from scenesearch.encoder.folder import read_encoder_info
    from scenesearch.encoder.registry import find_encoder

    try:
        folder = find_encoder(name, settings.models_dir)
    except EncoderError as error:
        if name not in ENCODER_SPEEDS or measure:
            fail(f"{error}; planning knows {', '.join(ENCODER_SPEEDS)} without a folder")
        return ENCODER_SPEEDS[name]
    dimension = read_encoder_info(folder).dimension
    if name in ENCODER_SPEEDS and not measure:
        return replace(ENCODER_SPEEDS[name], dimension=dimension)
    say(f"timing {name} on one core of this machine")
    return EncoderSpeed(dimension, _timed(folder), "timed here, one core, batch 8")


def _timed(folder: "Path") -> float:
    """Pictures/s of the image tower on one core."""
    from scenesearch.encoder.onnx import OnnxEncoder
    from scenesearch.encoder.speed import candidate, measure_speeds

    one_core = OnnxEncoder(folder, threads=1, image_threads=1)
    (speed,) = measure_speeds([candidate("it", one_core)], batches=(8,), rounds=3)
    return speed.images_per_s


def _device(text: str, speed: EncoderSpeed) -> Device:
    if found := _CORES.fullmatch(text):
        if not 0 < int(found[1]) <= 1_000_000:
            fail(f"--devices {text!r}: from 1 to 1000000 cores")
        return _cores(int(found[1]), speed)
    accelerator = _ACCELERATOR.fullmatch(text)
    try:
        per_s = float(accelerator[2]) if accelerator else 0.0
    except ValueError:
        per_s = 0.0
    if accelerator is None or per_s <= 0:
        fail(f'--devices {text!r}: expected "16 cores" or "NAME=PICTURES_PER_S"')
    return Device(accelerator[1], 0, per_s, "as given")


def _cores(count: int, speed: EncoderSpeed) -> Device:
    return Device(f"{count} core{'' if count == 1 else 's'}", count, speed.per_core, speed.source)


def _print_plan(name: str, plan: capacity.Plan) -> None:
    typer.echo(f"{plan.images:,} pictures, encoder {name}, {plan.dimension} dimensions\n")
    typer.echo(f"Encoding, pictures of {plan.megapixels:g} megapixels, decoding included:")
    sources: dict[str, None] = {}
    for one in plan.encodings:
        feeding = (
            f", with {one.feeding_cores} cores that decode for it" if one.feeding_cores else ""
        )
        typer.echo(
            f"  {one.device.name:<12} {one.images_per_s:>10,.0f} pictures/s  "
            f"{_duration(one.hours):>12}{feeding}"
        )
        sources[f"{one.device.name}: {one.device.source}" if not one.device.cores
                else one.device.source] = None  # fmt: skip
    typer.echo(f"  Speed of the image tower: {'; '.join(sources)}.\n")
    typer.echo("One copy, indexes included:        memory        disk")
    for tier in plan.tiers:
        words = {
            "float32": "float32 in memory",
            "int8": "int8 in memory",
            "4-bit": "4-bit in memory",
            "on disk": "all on disk (slow)",
        }[tier.copies]
        typer.echo(f"  {words:<28} {_size(tier.memory_bytes):>10}  {_size(tier.disk_bytes):>10}")
    typer.echo(
        f"  payload {_size(plan.images * plan.payload_bytes)} of it on disk; "
        f"thumbnails beside it {_size(plan.thumbnail_bytes)}\n"
    )
    best = plan.cluster
    if best.home == "embedded":
        typer.echo(
            "Recommended: embedded, one machine. Exact search over int8 copies in memory, order\n"
            "  mended (rescoring) with the float32 vectors on disk; no graph.\n"
            f"  Memory {_size(best.memory_bytes)}, disk {_size(best.disk_bytes)}."
        )
        return
    typer.echo(
        f"Recommended: a Qdrant cluster, {best.nodes} nodes of {_size(plan.node_memory_bytes)}, "
        f"{best.shards} shards, {best.replicas} replicas.\n"
        f"  HNSW (m {GRAPH_M}) over {best.copies} copies in memory, order mended (rescoring,\n"
        f"  oversampling 3) with the float32 vectors on disk. A node: memory "
        f"{_size(best.memory_bytes)}, disk {_size(best.disk_bytes)}.\n"
        f"  Building the graphs takes {best.graph_core_hours:,.0f} core hours.\n"
        "  Each node's environment, before the first ingest:\n"
        f"    QDRANT__STORAGE__COLLECTION__SHARD_NUMBER_PER_NODE={best.shards // best.nodes}\n"
        f"    QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR={best.replicas}\n"
        "    QDRANT__STORAGE__COLLECTION__VECTORS__ON_DISK=true"
    )


def _print_env(plan: capacity.Plan, replicas: int) -> None:
    """For deploy/compose.cluster.yml, which has three nodes; one lost must not stop the writing."""
    typer.echo(f"QDRANT_SHARDS_PER_NODE={max(1, -(-plan.cluster.shards // CLUSTER_NODES))}")
    typer.echo(f"QDRANT_REPLICATION={replicas}")
    typer.echo(f"QDRANT_WRITE_CONSISTENCY={max(1, replicas - 1)}")


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.1f} days"


def _size(size_bytes: int) -> str:
    for unit, bound in (("TB", 1e12), ("GB", 1e9)):
        if size_bytes >= bound:
            return f"{size_bytes / bound:,.1f} {unit}"
    return f"{size_bytes / 1e6:,.0f} MB"

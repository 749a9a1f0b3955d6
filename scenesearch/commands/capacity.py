"""What a library of a given size needs: encoding, memory, disk, machines; by measured figures.

Every figure below says where it was measured. 1 GB is 1e9 bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

# Bytes a picture, measured: 20,000 points with the payload of Flickr8k photographs (five captions,
# no EXIF) in Qdrant Edge with all built-in fields indexed, files counted after a flush.
PAYLOAD_BYTES = 400
INDEX_BYTES = 560  # payload indexes; image id and hash, unique in each picture, are most of it
WORDS_BYTES = 170  # the sparse vector of captions, tags and file name
IDS_BYTES = 30  # point ids and versions
THUMBNAIL_BYTES = 18_000  # of 200 of these photographs

# HNSW with m = 16 keeps 2 m links of 4 bytes a point in its lowest layer, and a tenth more above.
GRAPH_M = 16
GRAPH_BYTES = round(GRAPH_M * 2 * 4 * 1.1)
# A graph over 100,000 vectors of 512 dimensions took 50 s on two cores.
GRAPH_CORE_S = 0.001

# Decoding, resizing, thumbnail and store, seconds of one core for a picture: what ingest of 500
# pixel photographs takes beside the encoder, and 45 ms to decode one of 12 megapixels reduced.
WORK_S = 0.0045
WORK_S_PER_MEGAPIXEL = 0.0034

# Beyond this, the embedded store (one process, exact scan of int8 copies) gives way to a server.
MOST_EMBEDDED = 1_000_000
# From here on 4-bit copies instead of int8: half the memory, and rescoring mends the order.
FOUR_BIT_FROM = 100_000_000
MOST_PER_SHARD = 20_000_000
# What a node leaves for the system, its file cache and the moments of optimizing.
USABLE_MEMORY = 0.7

Copies = Literal["float32", "int8", "4-bit", "on disk"]
_BITS: dict[Copies, int] = {"float32": 32, "int8": 8, "4-bit": 4, "on disk": 0}


@dataclass(frozen=True)
class EncoderSpeed:
    """The measured speed of an encoder: pictures/s of the image tower alone, fp32."""

    dimension: int
    per_core: float
    source: str
    accelerators: tuple[tuple[str, float, str], ...] = ()


ENCODER_SPEEDS = {
    "lite": EncoderSpeed(384, 50, "100/s on 2 cores, AMD EPYC, `make bench`"),
    "clip-vit-base-patch32": EncoderSpeed(
        512,
        10,
        "20/s on 2 cores, ONNX Runtime, `models bench`",
        (("RTX 3080", 1500, "clip-retrieval's own figure; encoders here run on processors"),),
    ),
}


@dataclass(frozen=True)
class Device:
    """Something that encodes: `cores` processors at `per_core` pictures/s each, or, with no
    cores, an accelerator that encodes `per_core` pictures/s in all."""

    name: str
    cores: int
    per_core: float
    source: str = ""


@dataclass(frozen=True)
class Encoding:
    """How long a device takes; `feeding_cores` have to decode for an accelerator."""

    device: Device
    images_per_s: float
    hours: float
    feeding_cores: int


@dataclass(frozen=True)
class Tier:
    """Bytes of one copy of the collection, by what is kept in memory of each vector."""

    copies: Copies
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class Cluster:
    """Where it should live; `memory_bytes` are of one node, of all its shards."""

    home: Literal["embedded", "server"]
    copies: Copies
    nodes: int
    shards: int
    replicas: int
    memory_bytes: int
    disk_bytes: int
    graph_core_hours: float


@dataclass(frozen=True)
class Plan:
    images: int
    dimension: int
    megapixels: float
    payload_bytes: int
    encodings: tuple[Encoding, ...]
    tiers: tuple[Tier, ...]
    thumbnail_bytes: int
    node_memory_bytes: int
    cluster: Cluster

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch library plan --json`."""
        return {
            "images": self.images,
            "dimension": self.dimension,
            "megapixels": self.megapixels,
            "payload_bytes_per_image": self.payload_bytes,
            "encoding": [
                {
                    "device": one.device.name,
                    "images_per_s": round(one.images_per_s, 1),
                    "hours": round(one.hours, 2),
                    "feeding_cores": one.feeding_cores,
                    "source": one.device.source,
                }
                for one in self.encodings
            ],
            "tiers": [tier.__dict__ for tier in self.tiers],
            "thumbnail_bytes": self.thumbnail_bytes,
            "node_memory_bytes": self.node_memory_bytes,
            "recommended": self.cluster.__dict__,
        }


def plan(
    images: int,
    dimension: int,
    devices: Sequence[Device],
    *,
    megapixels: float = 12.0,
    payload_bytes: int = PAYLOAD_BYTES,
    node_memory_bytes: int = 64_000_000_000,
    replicas: int = 2,
) -> Plan:
    """The plan for a library of that many pictures; every number is above zero."""
    tiers = tuple(tier(copies, images, dimension, payload_bytes) for copies in _BITS)
    return Plan(
        images=images,
        dimension=dimension,
        megapixels=megapixels,
        payload_bytes=payload_bytes,
        encodings=tuple(encoding(images, device, megapixels) for device in devices),
        tiers=tiers,
        thumbnail_bytes=images * THUMBNAIL_BYTES,
        node_memory_bytes=node_memory_bytes,
        cluster=recommend(images, tiers, node_memory_bytes, replicas),
    )


def encoding(images: int, device: Device, megapixels: float) -> Encoding:
    """How long the device takes for pictures of that size."""
    work_s = WORK_S + WORK_S_PER_MEGAPIXEL * megapixels
    if device.cores:
        images_per_s = device.cores / (1 / device.per_core + work_s)
        return Encoding(device, images_per_s, images / images_per_s / 3600, 0)
    feeding = math.ceil(device.per_core * work_s)
    return Encoding(device, device.per_core, images / device.per_core / 3600, feeding)


def tier(copies: Copies, images: int, dimension: int, payload_bytes: int) -> Tier:
    """One copy of the collection as a server keeps it, its payload indexes in memory.

    'on disk' leaves vectors, graph and indexes to the file cache.
    """
    exact = 4 * dimension
    quantised = dimension * _BITS[copies] // 8 if copies in ("int8", "4-bit") else 0
    indexes = GRAPH_BYTES + INDEX_BYTES + WORDS_BYTES
    kept = {"float32": exact, "int8": quantised, "4-bit": quantised, "on disk": 0}[copies]
    memory = IDS_BYTES + (0 if copies == "on disk" else kept + indexes)
    disk = exact + quantised + indexes + payload_bytes + IDS_BYTES
    return Tier(copies, images * memory, images * disk)


def recommend(images: int, tiers: Sequence[Tier], node_memory_bytes: int, replicas: int) -> Cluster:
    """Embedded while one process can scan it; else nodes enough for the quantised copies."""
    by_copies = {one.copies: one for one in tiers}
    if images <= MOST_EMBEDDED:
        kept = by_copies["int8"]
        graph = images * GRAPH_BYTES
        return Cluster("embedded", "int8", 1, 1, 1, kept.memory_bytes - graph,
                       kept.disk_bytes - graph, 0.0)  # fmt: skip
    copies: Copies = "4-bit" if images >= FOUR_BIT_FROM else "int8"
    kept = by_copies[copies]
    usable = USABLE_MEMORY * node_memory_bytes
    nodes = max(
        3 if replicas > 1 else 1,  # two of three can still agree when one is lost
        replicas,
        math.ceil(kept.memory_bytes * replicas / usable),
    )
    shards = nodes * math.ceil(images / (nodes * MOST_PER_SHARD))
    return Cluster(
        "server",
        copies,
        nodes,
        shards,
        replicas,
        math.ceil(kept.memory_bytes * replicas / nodes),
        math.ceil(kept.disk_bytes * replicas / nodes),
        images * replicas * GRAPH_CORE_S / 3600,
    )

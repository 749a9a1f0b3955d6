"""Makes ui/map/land.bin, the coastlines of the map by place, from Natural Earth's outlines.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python -m tests.coastline package/land-50m.json

The file holds little-endian 16-bit numbers: for each ring its number of points, then longitude and
latitude of each, in hundredths of a degree. A ring that crosses the 180th meridian goes on beyond
it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

LAND = Path(__file__).parent.parent / "ui" / "map" / "land.bin"
MAX_BYTES = 100_000
# In degrees: how far a simplified line may lie beside the outline, and the smallest island.
TOLERANCE, SMALLEST = 0.04, 0.12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topology", type=Path, help="land-50m.json of the package world-atlas")
    given = parser.parse_args()
    parts = []
    for ring in rings(json.loads(given.topology.read_text())):
        if (np.ptp(ring, axis=0)).max() < SMALLEST:
            continue
        kept = simplified(ring, TOLERANCE)
        if len(kept) >= 4:
            parts += [np.array([len(kept)]), np.rint(kept * 100).astype(int).ravel()]
    found = np.concatenate(parts).astype("<i2").tobytes()
    if len(found) > MAX_BYTES:
        raise SystemExit(f"{len(found):,} bytes, more than {MAX_BYTES:,}")
    LAND.write_bytes(found)
    print(f"{LAND.name}: {len(found):,} bytes, {len(parts) // 2} rings")


def rings(topology: dict[str, Any]) -> list[np.ndarray]:
    """The rings of all polygons, each `(points, 2)` in degrees, longitude first."""
    scale = np.array(topology["transform"]["scale"])
    origin = np.array(topology["transform"]["translate"])
    arcs = [np.cumsum(np.array(arc), axis=0) * scale + origin for arc in topology["arcs"]]

    def ring(numbers: list[int]) -> np.ndarray:
        # ~3 is arc 3 backwards; each arc begins where the one before ended.
        around = np.concatenate([(arcs[n] if n >= 0 else arcs[~n][::-1])[1:] for n in numbers])
        around[:, 0] = np.unwrap(around[:, 0], period=360)
        around[:, 0] -= 360 * np.rint(around[:, 0].mean() / 360)
        if abs(around[-1, 0] - around[0, 0]) > 300:  # around the South Pole
            corners = [[around[-1, 0], -90], [around[0, 0], -90]]
            around = np.concatenate([around, corners])
        return around

    found = []
    for geometry in topology["objects"]["land"]["geometries"]:
        polygons = geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]
        found += [ring(numbers) for polygon in polygons for numbers in polygon]
    return found


def simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """The points of the ring without those that lie closer to the line of the others (D. Douglas,
    T. Peucker, 1973)."""
    far = int(np.linalg.norm(ring - ring[0], axis=1).argmax())
    keep = np.zeros(len(ring), bool)
    keep[[0, far, len(ring) - 1]] = True
    pending = [(0, far), (far, len(ring) - 1)]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        start, along = ring[first], ring[last] - ring[first]
        off = ring[first + 1 : last] - start
        length = np.linalg.norm(along)
        beside = (
            np.abs(off[:, 0] * along[1] - off[:, 1] * along[0]) / length
            if length
            else np.linalg.norm(off, axis=1)
        )
        if beside.max() > tolerance:
            at = first + 1 + int(beside.argmax())
            keep[at] = True
            pending += [(first, at), (at, last)]
    return ring[keep]


if __name__ == "__main__":
    main()

"""Trunk maps of every picture, several views each, kept on disk so that the trunk runs once.

The trunk is two thirds of the image tower's arithmetic. Its maps in float16 cost 38 KB a view. A
cache is a folder: `maps.npy`, `identity` (of weights, pictures and views) and one `done-<n>` mark
per finished view, so that an interrupted run goes on with the first view that is missing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from training.data import Pictures, View, random_view, render


@dataclass(frozen=True)
class MapCache:
    """`maps` is float16 (views, pictures, channels, height, width); view 0 is the whole frame."""

    maps: np.ndarray
    mirrored: np.ndarray  # bool (views, pictures)


def draw_views(
    n_pictures: int, n_views: int, size: int, smallest_area: float, seed: int
) -> list[list[View]]:
    """View 0 of every picture is the whole frame, the rest are random; the seed decides."""
    rng = np.random.default_rng(seed)
    views = [[View.whole(size)] * n_pictures]
    for _ in range(1, n_views):
        views.append([random_view(size, smallest_area, rng) for _ in range(n_pictures)])
    return views


@torch.no_grad()
def cache_maps(
    trunk: nn.Module,
    pictures: Pictures,
    views: list[list[View]],
    folder: Path,
    identity: str,
    log: Callable[[str], None],
    batch: int = 16,
) -> MapCache:
    """The maps from `folder`, computing those that are missing.

    `identity` names the trunk's weights and the pictures: a cache of anything else is rewritten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = json.dumps([[asdict(view) for view in row] for row in views])
    identity = hashlib.sha256(f"{identity}:{described}".encode()).hexdigest()
    size = pictures.pixels.shape[1]
    shape = (len(views), len(pictures), *trunk(torch.zeros(1, 3, size, size)).shape[1:])
    maps_path, identity_path = folder / "maps.npy", folder / "identity"
    if not identity_path.exists() or identity_path.read_text() != identity:
        for mark in folder.glob("done-*"):
            mark.unlink()
        np.lib.format.open_memmap(maps_path, mode="w+", dtype=np.float16, shape=shape).flush()
        identity_path.write_text(identity)
    maps = np.lib.format.open_memmap(maps_path, mode="r+")
    for number, row in enumerate(views):
        mark = folder / f"done-{number}"
        if mark.exists():
            continue
        started = time.monotonic()
        for start in range(0, len(pictures), batch):
            stop = min(start + batch, len(pictures))
            pixel_values = np.stack(
                [render(pictures.pixels[i], row[i]) for i in range(start, stop)]
            )
            inputs = torch.from_numpy(pixel_values).to(memory_format=torch.channels_last)
            maps[number, start:stop] = trunk(inputs).to(torch.float16).numpy()
        maps.flush()
        mark.touch()
        rate = len(pictures) / (time.monotonic() - started)
        log(f"cache {folder.name}: view {number + 1}/{len(views)}, {rate:.0f} images/s")
    mirrored = np.array([[view.mirrored for view in row] for row in views])
    return MapCache(maps, mirrored)

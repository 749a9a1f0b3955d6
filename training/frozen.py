"""What a frozen part of a tower gives, computed once: finding the part, and keeping its output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.data import View

Log = Callable[[str], None]


@torch.no_grad()
def find_head(tower: nn.Module, moving: set[int], inputs: tuple[Tensor, ...]) -> nn.Module | None:
    """The largest part of the tower that makes its output from one tensor and moves in full.

    Everything below it can be cached. `moving` are ids of parameters. None where there is no such
    part, as when the last layer is inside a larger one that is frozen.
    """
    calls: list[tuple[nn.Module, tuple[object, ...], object]] = []
    hooks = [
        module.register_forward_hook(lambda m, args, out: calls.append((m, args, out)))
        for module in tower.modules()
        if module is not tower
    ]
    try:
        output = tower(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    head = None
    for module, args, out in calls:  # an inner module returns before the one around it
        parameters = list(module.parameters())
        fits = len(args) == 1 and isinstance(args[0], Tensor) and bool(parameters)
        if fits and out is output and all(id(p) in moving for p in parameters):
            head = module
    return head


@dataclass(frozen=True)
class FeatureCache:
    """`features` is float32 (views, pictures, ...); view 0 is the whole picture."""

    features: np.ndarray
    mirrored: np.ndarray  # bool (views, pictures)

    @property
    def views(self) -> int:
        return len(self.features)

    @classmethod
    def build(
        cls,
        folder: Path,
        identity: str,
        views: Sequence[Sequence[View | None]],
        compute: Callable[[Sequence[int], int], np.ndarray],
        batch: int,
        log: Log,
    ) -> FeatureCache:
        """From `folder`, view by view; `compute` gives the features of some rows in a view.

        One file a view, renamed into place when whole: a killed run goes on with the next.
        """
        folder.mkdir(parents=True, exist_ok=True)
        kept = []
        for number, row in enumerate(views):
            described = json.dumps([None if view is None else asdict(view) for view in row])
            digest = hashlib.sha256(f"{identity}:{described}".encode()).hexdigest()[:24]
            path = folder / f"view-{number}-{digest}.npy"
            if not path.exists():
                pieces = [
                    compute(range(start, min(start + batch, len(row))), number)
                    for start in range(0, len(row), batch)
                ]
                partial = path.with_suffix(".partial")
                with partial.open("wb") as file:
                    np.save(file, np.concatenate(pieces))
                partial.replace(path)
                log(f"cached view {number + 1} of {len(views)}")
            kept.append(np.load(path))
        mirrored = [[view is not None and view.mirrored for view in row] for row in views]
        return cls(np.stack(kept), np.array(mirrored))

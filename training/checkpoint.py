"""A run's state on disk, whole or not there: what `--resume` needs to go on as if never stopped.

Random numbers are not part of it. Every draw of a step comes from (seed, step) alone, so that
there is no generator whose state could be lost.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.recipe import TrainingError

NAME = "checkpoint.pt"


@dataclass
class State:
    """Where a run stands. `moving` are the weights that train, by name; frozen ones are the base's.

    `best_step` is the step of `best.pt`; `stale` counts validations since. `losses` are those of
    the steps since the last validation, `history` the rows of metrics.csv.
    """

    identity: Mapping[str, str]  # of data and base: both must be the same when a run goes on
    step: int
    moving: Mapping[str, Tensor]
    average: list[Tensor]
    optimizer: Mapping[str, Any]
    best_score: float
    best_step: int
    stale: int
    seconds: float
    losses: list[float]
    history: list[dict[str, Any]]
    stopped: bool


def save(state: State, folder: Path) -> None:
    write_tensors(vars(state), folder / NAME)


def load(folder: Path) -> State | None:
    """The state a run was left in; None when it never got as far as a checkpoint."""
    path = folder / NAME
    if not path.exists():
        return None
    return State(**read_tensors(path))


def write_tensors(content: Mapping[str, Any], path: Path) -> None:
    """Written beside the old one, flushed, then renamed over it: a kill leaves one of the two."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_tensors(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} is damaged ({str(error).splitlines()[0]})") from None
    return content


def write_text(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)

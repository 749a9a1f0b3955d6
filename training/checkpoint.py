"""A run's state on disk, from which `--resume` goes on as if the run had never stopped.

The state of a random generator is not part of it: every draw of a step depends only on the seed and
the step.
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.recipe import TrainingError

NAME = "checkpoint.pt"


@dataclass
class State:
    """Where a run stands. `moving` are the weights that its stage trains, by name.

    Frozen ones are the base's, or the best of an earlier stage. Steps are counted through all
    stages; this one `began` at that step. `best_step` is the step of the stage's best weights;
    `stale` counts validations since. `losses` are those of the steps since the last validation,
    `history` the rows of metrics.csv.
    """

    identity: Mapping[str, str]  # of data and base: both must be the same when a run goes on
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    stage: int = 0
    began: int = 0
    moving: Mapping[str, Tensor] = field(default_factory=dict)
    average: list[Tensor] = field(default_factory=list)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    best_score: float = -math.inf
    best_step: int = 0
    stale: int = 0
    losses: list[float] = field(default_factory=list)
    stopped: bool = False

    def begin(self, stage: int) -> State:
        """At the first step of a further stage."""
        return State(self.identity, self.seconds, self.history, self.step, stage, began=self.step)


def save(state: State, folder: Path) -> None:
    write_tensors(vars(state), folder / NAME)


def load(folder: Path) -> State | None:
    """The state a run was left in; None when it never got as far as a checkpoint."""
    path = folder / NAME
    if not path.exists():
        return None
    return State(**read_tensors(path))


def write_tensors(content: Mapping[str, Any], path: Path) -> None:
    """Writes a second file and renames it over the first, so that a kill leaves one of the two."""
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

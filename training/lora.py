"""LoRA: low-rank corrections to the attention's query and value matrices of both towers.

Source: Hu et al. (2021), LoRA. The correction is a parametrization of the layer it corrects, so
that the towers keep their shape, and `merge` leaves plain weights behind. Written out rather than
taken from peft because towers of any kind are adapted here, those of an ONNX graph included.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ADAPTED = ("q_proj", "v_proj", "query", "value", "q_lin", "v_lin")  # CLIP, SigLIP, BERT, DistilBERT
SCALE = 2.0  # alpha / rank of the paper, at its usual alpha of twice the rank


class LowRank(nn.Module):
    """weight + scale * up @ down; `up` starts at zero, so that the first step is the base's."""

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + SCALE * self.up @ self.down  # (rows, columns)


def adapt(tower: nn.Module, rank: int) -> list[nn.Parameter]:
    """Adds corrections to a tower and returns their parameters; none if no layer fits."""
    learned: list[nn.Parameter] = []
    for layer in _layers(tower):
        correction = LowRank(layer.out_features, layer.in_features, rank).to(layer.weight)
        parametrize.register_parametrization(layer, "weight", correction)
        learned += correction.parameters()
    return learned


def merge(tower: nn.Module) -> None:
    """Adds the corrections to the weights for good."""
    for layer in _layers(tower):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _layers(tower: nn.Module) -> list[nn.Linear]:
    return [
        module
        for name, module in tower.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in ADAPTED
    ]

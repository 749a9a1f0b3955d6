"""One batch over several GPUs, in one process: each gets a share of the rows and its own copy.

The contrastive loss compares every picture of a batch with every text, so the embeddings come back
to the first device and the loop stays what it is on one. Copies of the weights are made in each
step and gradients flow back through them, as torch's DataParallel does it; a loop in several
processes would be faster for towers beyond a few hundred million weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call


def pick_devices() -> list[torch.device]:
    """Every GPU, or the CPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.device("cuda", n) for n in range(count)] or [torch.device("cpu")]


def spread(tower: nn.Module, inputs: Sequence[Tensor], devices: Sequence[torch.device]) -> Tensor:
    """What the tower gives for the inputs' rows, on the first device; it and they lie there."""
    if len(devices) == 1:
        given: Tensor = tower(*inputs)
        return given
    weights = dict(tower.named_parameters()) | dict(tower.named_buffers())
    pieces = zip(*(tensor.tensor_split(len(devices)) for tensor in inputs), strict=True)
    # Kernels are queued, not waited for: the devices compute side by side.
    outputs = [
        functional_call(
            tower,
            {name: weight.to(device) for name, weight in weights.items()},
            tuple(piece.to(device) for piece in share),
        )
        for device, share in zip(devices, pieces, strict=True)
        if len(share[0])
    ]
    return torch.cat([output.to(devices[0]) for output in outputs])

"""One batch over several GPUs in one process: each takes a share of the rows.

The contrastive loss compares every picture of a batch with every text. So the embeddings come back
to the first device, and the loop is the same as on one device. The weights are copied to each
device in each step and gradients flow back through the copies, as in torch's DataParallel. For
towers of more than a few hundred million weights, several processes would be faster.
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
    """The tower's embeddings of the inputs; the tower and all of these are on the first device."""
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

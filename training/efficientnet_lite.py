"""EfficientNet-lite as a base of the image tower, rebuilt from its published state dict.

EfficientNet-lite (Tan & Le, arXiv:1905.11946; the `lite` variants of github.com/tensorflow/tpu) is
EfficientNet without squeeze-and-excitation and with ReLU6: plain convolutions, so it runs wherever
MobileNetV2 does. Widths and depths are read off the weights; batch norm is folded into the
convolutions, because a small set of pictures would only spoil its statistics.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

_EPSILON = 1e-3  # of batch norm, as in the TensorFlow original
_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each of the seven stages


class InvertedResidual(nn.Module):
    """Expand, look around in each channel, project; added to its input where the shapes agree."""

    def __init__(self, steps: list[nn.Module], *, added: bool) -> None:
        super().__init__()
        self.steps = nn.Sequential(*steps)
        self.added = added

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.steps(maps)
        return maps + changed if self.added else changed


def load_layers(path: Path) -> tuple[list[nn.Module], Tensor, Tensor]:
    """(stem, blocks and last convolution; the classifier's weight; its bias).

    The layers take pixels from -1 to 1, (batch, 3, side, side) with a side divisible by 32.
    Raises ValueError when the file is not a state dict of this family.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return _layers(state), state["_fc.weight"], state["_fc.bias"]
    except (KeyError, RuntimeError, AttributeError, TypeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} does not hold EfficientNet-lite weights: {reason}") from None


def _layers(state: dict[str, Tensor]) -> list[nn.Module]:
    layers: list[nn.Module] = [
        nn.Sequential(*_convolution(state, "_conv_stem", "_bn0", stride=2), nn.ReLU6())
    ]
    stage, width = -1, 0
    number = 0
    while (prefix := f"_blocks.{number}.") + "_project_conv.weight" in state:
        out_channels = state[prefix + "_project_conv.weight"].shape[0]
        first = out_channels != width
        stage, width = stage + first, out_channels
        layers.append(_block(state, prefix, _STRIDES[stage] if first else 1, added=not first))
        number += 1
    layers.append(nn.Sequential(*_convolution(state, "_conv_head", "_bn1"), nn.ReLU6()))
    return layers


def _block(state: dict[str, Tensor], prefix: str, stride: int, *, added: bool) -> InvertedResidual:
    steps: list[nn.Module] = []
    if prefix + "_expand_conv.weight" in state:
        steps += [*_convolution(state, prefix + "_expand_conv", prefix + "_bn0"), nn.ReLU6()]
    depthwise = prefix + "_depthwise_conv"
    steps += [*_convolution(state, depthwise, prefix + "_bn1", stride=stride), nn.ReLU6()]
    steps += _convolution(state, prefix + "_project_conv", prefix + "_bn2")
    return InvertedResidual(steps, added=added)


def _convolution(
    state: dict[str, Tensor], name: str, norm: str, stride: int = 1
) -> list[nn.Module]:
    """The convolution with its batch norm folded in, behind TensorFlow's SAME padding.

    At stride 2 on an even side SAME pads one more on the right and below than on the left.
    """
    weight = state[f"{name}.weight"]
    out_channels, per_group, kernel, _ = weight.shape
    gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPSILON).sqrt()
    depthwise = per_group == 1 and kernel > 1
    folded = nn.Conv2d(
        out_channels if depthwise else per_group,
        out_channels,
        kernel,
        stride,
        padding=kernel // 2 if stride == 1 else 0,
        groups=out_channels if depthwise else 1,
    )
    with torch.no_grad():
        folded.weight.copy_(weight * gain[:, None, None, None])
    folded.bias = nn.Parameter(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain)
    if stride == 1:
        return [folded]
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    return [nn.ZeroPad2d((before, after, before, after)), folded]

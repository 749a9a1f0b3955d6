"""EfficientNet-lite rebuilt from a state dict, against its definition with batch norm left in."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from training.efficientnet_lite import load_layers

# kernel, stride, expansion, width out: one block of every stage, and a second one in stage 1.
BLOCKS = [
    (3, 1, 1, 12),
    (3, 2, 6, 16),
    (3, 1, 6, 16),
    (5, 2, 6, 24),
    (3, 2, 6, 32),
    (5, 1, 6, 40),
    (5, 2, 6, 48),
    (3, 1, 6, 56),
]
CLASSES = 5


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def convolution(name: str, norm: str, out: int, per_group: int, kernel: int) -> None:
        spread = (2 / (per_group * kernel * kernel)) ** 0.5
        state[f"{name}.weight"] = torch.randn(out, per_group, kernel, kernel) * spread
        state[f"{norm}.weight"] = torch.rand(out) + 0.5
        state[f"{norm}.bias"] = torch.randn(out) * 0.1
        state[f"{norm}.running_mean"] = torch.randn(out) * 0.1
        state[f"{norm}.running_var"] = torch.rand(out) + 0.5

    convolution("_conv_stem", "_bn0", 8, 3, 3)
    width = 8
    for number, (kernel, _, expansion, out) in enumerate(BLOCKS):
        prefix, inner = f"_blocks.{number}.", width * expansion
        if expansion > 1:
            convolution(prefix + "_expand_conv", prefix + "_bn0", inner, width, 1)
        convolution(prefix + "_depthwise_conv", prefix + "_bn1", inner, 1, kernel)
        convolution(prefix + "_project_conv", prefix + "_bn2", out, inner, 1)
        width = out
    convolution("_conv_head", "_bn1", 64, width, 1)
    state["_fc.weight"], state["_fc.bias"] = torch.randn(CLASSES, 64), torch.randn(CLASSES)
    return state


def by_definition(state: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    def step(maps, name, norm, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        kernel, side = weight.shape[-1], maps.shape[-1]
        pad = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        maps = functional.pad(maps, [pad // 2, pad - pad // 2] * 2)
        maps = functional.conv2d(maps, weight, stride=stride, groups=groups)
        statistics = (state[f"{norm}.running_mean"], state[f"{norm}.running_var"])
        scale = (state[f"{norm}.weight"], state[f"{norm}.bias"])
        return functional.batch_norm(maps, *statistics, *scale, eps=1e-3)

    maps = functional.relu6(step(pixels, "_conv_stem", "_bn0", 2))
    for number, (_, stride, expansion, _out) in enumerate(BLOCKS):
        prefix, before = f"_blocks.{number}.", maps
        if expansion > 1:
            maps = functional.relu6(step(maps, prefix + "_expand_conv", prefix + "_bn0"))
        depthwise = prefix + "_depthwise_conv"
        maps = functional.relu6(step(maps, depthwise, prefix + "_bn1", stride, maps.shape[1]))
        maps = step(maps, prefix + "_project_conv", prefix + "_bn2")
        if stride == 1 and maps.shape == before.shape:
            maps = maps + before
    return functional.relu6(step(maps, "_conv_head", "_bn1"))


def test_the_rebuilt_layers_compute_what_the_definition_does(state, tmp_path):
    torch.save(state, tmp_path / "lite.pth")
    layers, weight, bias = load_layers(tmp_path / "lite.pth")
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        maps = nn.Sequential(*layers)(pixels)
    assert maps.shape == (2, 64, 2, 2)
    assert torch.allclose(maps, by_definition(state, pixels), atol=1e-4)
    assert (weight.shape, bias.shape) == ((CLASSES, 64), (CLASSES,))
    assert len(layers) == len(BLOCKS) + 2


def test_a_state_dict_of_something_else_is_refused_by_name(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth does not hold EfficientNet-lite weights"):
        load_layers(tmp_path / "other.pth")


def test_a_file_that_is_no_state_dict_is_refused_by_name(tmp_path):
    (tmp_path / "notes.pth").write_text("not weights")
    with pytest.raises(ValueError, match=r"notes\.pth does not hold EfficientNet-lite weights"):
        load_layers(tmp_path / "notes.pth")

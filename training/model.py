"""The bundled encoder's towers: a small CNN for pictures, MiniLM for words, one space.

The image tower is cut in three so that each stage of training pays only for what it trains: the
*trunk* (stem and first blocks, most of the arithmetic) gives maps that can be cached, the *top*
turns maps into a 7x7 grid, and the *head* pools the grid into an embedding. The text tower has a
*body* (the transformer) and a *head* of the same shape.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import BertModel, MobileNetV2ForImageClassification
from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2ConvLayer

from training import efficientnet_lite

MAX_LOGIT_SCALE = 100.0


class Head(nn.Module):
    """A linear layer and an MLP, summed: from tower features to embeddings."""

    def __init__(self, features: int, hidden: int, dimension: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.line = nn.Linear(features, dimension)
        self.bend = nn.Sequential(
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dimension),
        )

    def forward(self, features: Tensor) -> Tensor:
        features = self.dropout(features)
        embeddings: Tensor = self.line(features) + self.bend(features)  # (batch, dimension)
        return embeddings


class AttentionPool(nn.Module):
    """Weighs the cells of a grid, separately for each group of channels.

    The scores start at zero, so that the first step is exactly the mean the tower was trained
    with; training can only move away from it by learning where to look.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.score = nn.Linear(channels, groups)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, cells: Tensor) -> Tensor:
        batch, n_cells, channels = cells.shape
        weights: Tensor = self.score(cells).softmax(dim=1)  # (batch, cells, groups)
        grouped = cells.view(batch, n_cells, self.groups, channels // self.groups)
        pooled = (grouped * weights[..., None]).sum(dim=1)  # (batch, groups, channels / groups)
        return pooled.reshape(batch, channels)


class ImageTower(nn.Module):
    def __init__(self, layers: Sequence[nn.Module], channels: int, shape: TowerShape) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*layers[: shape.trunk_layers + 1])  # the stem and the blocks
        self.top = nn.Sequential(*layers[shape.trunk_layers + 1 :])
        self.pool = AttentionPool(channels, shape.pool_groups)
        self.head = Head(channels, shape.hidden, shape.dimension, shape.dropout)

    def embed_maps(self, maps: Tensor) -> Tensor:
        """Embeddings from trunk maps: the part of the tower above the cache."""
        grid: Tensor = self.top(maps)  # (batch, channels, height, width)
        return self.embed_cells(grid.flatten(2).transpose(1, 2))

    def embed_cells(self, cells: Tensor) -> Tensor:
        embeddings: Tensor = self.head(self.pool(cells))
        return embeddings

    def forward(self, pixel_values: Tensor) -> Tensor:
        maps: Tensor = self.trunk(pixel_values)
        return self.embed_maps(maps)


class TextTower(nn.Module):
    def __init__(self, bert: BertModel, shape: TowerShape) -> None:
        super().__init__()
        self.body = bert
        self.head = Head(bert.config.hidden_size, shape.hidden, shape.dimension, shape.dropout)

    def pool(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean over each text's tokens, at unit variance."""
        present = attention_mask[..., None].to(torch.float32)  # (batch, sequence, 1)
        # A ready-made additive mask spares the graph the library's general mask building.
        hidden = (1.0 - present).mT[:, None] * -1e4  # (batch, 1, 1, sequence)
        tokens: Tensor = self.body(input_ids=input_ids, attention_mask=hidden).last_hidden_state
        mean = (tokens * present).sum(dim=1) / present.sum(dim=1).clamp(min=1.0)
        # MiniLM was trained to be compared by its unit mean; its head gets that, at unit variance.
        unit = nn.functional.normalize(mean, dim=-1)
        return unit * math.sqrt(mean.shape[-1])

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        embeddings: Tensor = self.head(self.pool(input_ids, attention_mask))
        return embeddings


@dataclass(frozen=True)
class TowerShape:
    """What the two towers add to their bases. `trunk_layers` blocks stay below the map cache."""

    dimension: int
    hidden: int
    dropout: float
    pool_groups: int
    trunk_layers: int


class DualEncoder(nn.Module):
    def __init__(
        self, layers: Sequence[nn.Module], channels: int, bert: BertModel, shape: TowerShape
    ) -> None:
        super().__init__()
        self.shape = shape
        self.image = ImageTower(layers, channels, shape)
        self.text = TextTower(bert, shape)
        self.log_logit_scale = nn.Parameter(torch.tensor(20.0).log())


@dataclass(frozen=True)
class Classifier:
    """The image base's classifier: names of its classes, and its last layer."""

    labels: tuple[str, ...]
    weight: Tensor  # (classes, channels)
    bias: Tensor  # (classes,)

    def posteriors(self, grid: Tensor) -> Tensor:
        """The classes of pictures by the base's grid, (pictures, channels, height, width)."""
        pooled = grid.mean(dim=(2, 3))
        logits = pooled @ self.weight.to(pooled.device).T + self.bias.to(pooled.device)
        return logits.softmax(dim=1)  # (pictures, classes)


def fold_batch_norm(model: nn.Module) -> None:
    """Replaces each convolution layer by padding, one convolution with a bias, and activation.

    The start's batch norm is already an affine step with fixed statistics, so folding changes no
    output; it spares a pass over every map and the risk of a stray `train()` updating statistics
    that were never measured. TensorFlow's SAME padding at stride 2 is one-sided.
    """
    for name, child in list(model.named_children()):
        if not isinstance(child, MobileNetV2ConvLayer):
            fold_batch_norm(child)
            continue
        convolution = child.convolution.eval()
        if isinstance(child.normalization, nn.BatchNorm2d):
            convolution = fuse_conv_bn_eval(convolution, child.normalization.eval())
        steps: list[nn.Module] = [convolution]
        if convolution.kernel_size[0] > 1 and convolution.stride[0] == 1:
            convolution.padding = (1, 1)
        elif convolution.kernel_size[0] > 1:
            steps.insert(0, nn.ZeroPad2d((0, 1, 0, 1)))
        if child.activation is not None:
            steps.append(child.get_submodule("activation"))
        setattr(model, name, nn.Sequential(*steps))


def mobilenet_layers(model: MobileNetV2ForImageClassification) -> list[nn.Module]:
    """Stem, blocks and last convolution, batch norm folded in."""
    fold_batch_norm(model)
    body = model.mobilenet_v2
    return [body.conv_stem, *body.layer, body.conv_1x1]


def load_image_base(path: Path, labels_from: Path) -> tuple[list[nn.Module], Classifier]:
    """Layers and classifier of a MobileNetV2 folder or of an EfficientNet-lite state dict.

    `labels_from` is a `transformers` config with ImageNet's names; a state dict carries none. Where
    it lists a background class that the classifier lacks, that name is left out.
    """
    config = json.loads((labels_from / "config.json").read_text(encoding="utf-8"))
    named = sorted((int(number), name) for number, name in config["id2label"].items())
    if path.is_dir():
        mobilenet = MobileNetV2ForImageClassification.from_pretrained(path)
        weight, bias = (
            mobilenet.get_parameter(f"classifier.{name}").detach() for name in ("weight", "bias")
        )
        layers = mobilenet_layers(mobilenet)
    else:
        layers, weight, bias = efficientnet_lite.load_layers(path)
    labels = tuple(name for _, name in named[len(named) - len(weight) :])
    return layers, Classifier(labels, weight.clone(), bias.clone())


def load_bases(
    image_base: Path, labels_from: Path, text_base: Path, shape: TowerShape
) -> tuple[DualEncoder, Classifier]:
    """The encoder before any training, from local files."""
    layers, classifier = load_image_base(image_base, labels_from)
    # "eager" attention exports to the plain MatMul-Softmax-MatMul that ONNX Runtime fuses.
    bert = BertModel.from_pretrained(
        text_base, add_pooling_layer=False, attn_implementation="eager"
    )
    return DualEncoder(layers, classifier.weight.shape[1], bert, shape), classifier

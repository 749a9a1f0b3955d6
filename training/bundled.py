"""Reads an encoder of the bundled kind back from its graphs, to train it further.

The graphs hold every weight of a `DualEncoder`, some in float16 or int8, and the strides and
padding of its convolutions. Blocks of any image base come back as plain sequences of layers.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import nn
from transformers import BertConfig, BertModel

from training.efficientnet_lite import InvertedResidual
from training.model import DualEncoder, TowerShape


class NotThisKindError(Exception):
    """The graphs are not those of a `DualEncoder`."""


class Graph:
    """A graph's weights in float32 by their PyTorch names, and its nodes by their outputs."""

    def __init__(self, path: Path) -> None:
        try:
            self.graph = onnx.load(path).graph
        except DecodeError as error:
            raise NotThisKindError(f"{path} is no ONNX graph") from error
        stored: dict[str, np.ndarray] = {}
        for tensor in self.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if tensor.name.endswith("_half"):
                values = values.astype(np.float32)
            stored[tensor.name.removesuffix("_half")] = values
        self.values: dict[str, np.ndarray] = {}
        for name, values in stored.items():
            if name.endswith("_int8"):
                wide = name.removesuffix("_int8")
                self.values[wide] = values.astype(np.float32) * stored[f"{wide}_scale"]
            elif not name.endswith("_scale"):
                self.values[name] = values
        self.maker = {output: node for node in self.graph.node for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self._name_matrices()

    def _name_matrices(self) -> None:
        """The exporter transposes `weight` of a linear layer and forgets its name; `bias` stays."""
        for node in list(self.graph.node):
            if node.op_type != "Add":
                continue
            for bias, product in (node.input, reversed(node.input)):
                matmul = self.maker.get(product)
                if not bias.endswith(".bias") or matmul is None or matmul.op_type != "MatMul":
                    continue
                if matmul.input[1] in self.values:
                    weight = self.values[matmul.input[1]].T
                    self.values[bias.removesuffix("bias") + "weight"] = weight

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.values:
            raise NotThisKindError(f"its graph has no {name}")
        return self.values[name].shape


def read_back(folder: Path) -> DualEncoder:
    """The encoder of a folder as PyTorch towers; raises NotThisKindError for another kind.

    A graph has no dropout, so these towers have none.
    """
    image, text = Graph(folder / "image.onnx"), Graph(folder / "text.onnx")
    shape = TowerShape(
        dimension=image.shape("head.line.bias")[0],
        hidden=image.shape("head.bend.0.bias")[0],
        dropout=0.0,
        pool_groups=image.shape("pool.score.bias")[0],
        trunk_layers=len(_block_names(image, "trunk")) - 1,
    )
    blocks = [*_block_names(image, "trunk"), *_block_names(image, "top")]
    layers = [_block(image, name) for name in blocks]
    channels = image.shape("head.line.weight")[1]
    model = DualEncoder(layers, channels, _bert(text), shape)
    _fill(model.image.pool, image, "pool.")
    _fill(model.image.head, image, "head.")
    _fill(model.text, text, "")
    return model.eval()


def _block_names(image: Graph, part: str) -> list[str]:
    numbers = {int(n.split(".")[1]) for n in image.values if n.startswith(f"{part}.")}
    if not numbers:
        raise NotThisKindError(f"its image graph has no {part}")
    return [f"{part}.{number}." for number in sorted(numbers)]


def _block(image: Graph, prefix: str) -> nn.Module:
    """The block's convolutions in order, each with its padding, and its shortcut if it has one."""
    steps: list[nn.Module] = []
    first = last = None
    for node in image.graph.node:
        if node.op_type != "Conv" or not node.input[1].startswith(prefix):
            continue
        steps += _convolution(image, node)
        following = image.readers[node.output[0]]
        if [reader.op_type for reader in following] == ["Clip"]:
            steps.append(nn.ReLU6())
        first, last = first or node, node
    if first is None or last is None:
        raise NotThisKindError(f"its image graph has no convolution in {prefix}")
    added = any(
        reader.op_type == "Add" and first.input[0] in reader.input
        for reader in image.readers[last.output[0]]
    )
    return InvertedResidual(steps, added=added)


def _convolution(image: Graph, node: onnx.NodeProto) -> list[nn.Module]:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    weight, bias = (torch.from_numpy(image.values[name].copy()) for name in node.input[1:3])
    top, left, bottom, right = attributes["pads"]
    even = (top, left) == (bottom, right)
    convolution = nn.Conv2d(
        weight.shape[1] * attributes["group"],
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride=tuple(attributes["strides"]),
        padding=(top, left) if even else 0,
        groups=attributes["group"],
    )
    convolution.weight, convolution.bias = nn.Parameter(weight), nn.Parameter(bias)
    return [convolution] if even else [nn.ZeroPad2d((left, right, top, bottom)), convolution]


def _bert(text: Graph) -> BertModel:
    vocabulary, hidden = text.shape("body.embeddings.word_embeddings.weight")
    layers = {n.split(".")[3] for n in text.values if n.startswith("body.encoder.layer.")}
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": len(layers),
        "num_attention_heads": hidden // _head_width(text),
        "intermediate_size": text.shape("body.encoder.layer.0.intermediate.dense.bias")[0],
        "max_position_embeddings": text.shape("body.embeddings.position_embeddings.weight")[0],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "attn_implementation": "eager",
    }
    return BertModel(BertConfig(**settings), add_pooling_layer=False)


def _head_width(text: Graph) -> int:
    """No weight has this shape; the graph reshapes queries to (batch, tokens, heads, width)."""
    bias = "body.encoder.layer.0.attention.self.query.bias"
    for add in text.readers[bias]:
        for reshape in text.readers[add.output[0]]:
            if reshape.op_type != "Reshape":
                continue
            target = reshape.input[1]
            if target in text.values:
                return int(text.values[target][-1])
            concat = text.maker[target]
            return int(text.values[concat.input[-1]][-1])
    raise NotThisKindError("its text graph does not show how many attention heads it has")


def _fill(module: nn.Module, graph: Graph, prefix: str) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if graph.shape(prefix + name) != tuple(parameter.shape):
                raise NotThisKindError(f"its graph has {prefix}{name} in another shape")
            parameter.copy_(torch.from_numpy(graph.values[prefix + name].copy()))

"""Turns trained towers into an encoder folder that is served without torch.

Weights can be stored small, and are computed with in float32: matrices in int8 with one scale a
column, word tables with one scale a row, all else in float16. ONNX Runtime unfolds the matrices
once, when it loads the graph. Quantising activations too would be faster still, but ONNX Runtime
measures their range over the whole batch, so a text's vector would depend on its neighbours.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

from scenesearch.encoder.base import ImageInput, Scale
from scenesearch.encoder.folder import PARTS
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.preprocessing import to_pixels
from training.gate import ExportError, Validation, check_recall
from training.two_towers import Towers

PARITY = 0.9999  # cosine to torch that a float32 graph has to keep

OPSET = 18
SMALL = 4096  # weights with fewer numbers are left as they are


def export_towers(
    towers: Towers,
    folder: Path,
    *,
    name: str,
    precision: str = "fp32",
    validation: Validation | None = None,
    facts: dict[str, Any],
) -> None:
    """Writes an encoder folder of any towers; refuses graphs that differ from torch.

    The float32 graphs must have a cosine of at least 0.9999 to torch on every probe; only then are
    their weights stored smaller. How close the stored graphs come is written down as `parity`.
    int8 must also keep Recall@10 on `validation`. The folder replaces an older one when everything
    is right; on an ExportError nothing has changed.
    """
    if precision not in ("fp32", "fp16", "int8"):
        raise ExportError(f"precision {precision!r} is none of fp32, fp16, int8")
    towers = towers.eval()
    image = export_image_tower(towers.image_tower, towers.image_input.shape)
    text = export_text_tower(towers.text_tower, towers.text_input.context_length)
    for side, figure in _parity(towers, image, text).items():
        if not figure >= PARITY:
            raise ExportError(
                f"{name} is not exported: its {side} graph has cosine {figure:.6f} to torch, "
                f"{PARITY} is needed"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        made, whole = Path(place) / "made", Path(place) / "fp32"
        if precision == "int8":
            _write_folder(towers, whole, image, text, name, "fp32", {})
        for graph in (image, text):
            if precision == "int8":
                store_in_int8(graph)
            if precision != "fp32":
                store_in_half(graph)
        parity = {side: round(figure, 6) for side, figure in _parity(towers, image, text).items()}
        _write_folder(towers, made, image, text, name, precision, {"parity": parity, **facts})
        if precision == "int8":
            what = f"int8 for {name}"
            found = check_recall(OnnxEncoder(made), OnnxEncoder(whole), validation, what)
            manifest = json.loads((made / "encoder.json").read_text(encoding="utf-8"))
            write_manifest(made, manifest | {"int8_accepted_by": found})
        if folder.exists():
            folder.replace(Path(place) / "before")
        made.replace(folder)


def save_weights(towers: Towers, folder: Path) -> None:
    """Weights to continue from: a folder that `load_towers` takes."""
    if towers.save_to:
        folder.mkdir(parents=True, exist_ok=True)
        towers.save_to(towers, folder)
    else:  # in float32 the graphs lose nothing
        export_towers(towers, folder, name=towers.name, facts={"parent": towers.parent})


def _write_folder(
    towers: Towers,
    folder: Path,
    image: onnx.ModelProto,
    text: onnx.ModelProto,
    name: str,
    precision: str,
    facts: dict[str, Any],
) -> None:
    folder.mkdir()
    onnx.save(image, folder / "image.onnx")
    onnx.save(text, folder / "text.onnx")
    towers.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    manifest = {
        "format": 1,
        "name": name,
        "dimension": towers.dimension,
        "image": towers.image_input.to_json(),
        "text": towers.text_input.to_json(),
        "files": {part: signature(folder / part) for part in PARTS},
        "precision": precision,
        "log_logit_scale": round(towers.log_logit_scale.item(), 6),
        "scale": _scale(towers).to_json(),
        **facts,
    }
    write_manifest(folder, manifest)


@torch.no_grad()
def _parity(towers: Towers, image: onnx.ModelProto, text: onnx.ModelProto) -> dict[str, float]:
    """The least cosine between graph and torch, over noise pictures and random texts.

    Texts of unequal length stand in one batch, because padding is where graphs go wrong.
    """
    random = torch.Generator().manual_seed(0)
    pixels = torch.from_numpy(_noise_of_three_shapes(towers.image_input))
    vocabulary = towers.tokenizer.get_vocab_size()
    length = min(towers.text_input.context_length, 12)
    texts = torch.randint(0, vocabulary, (3, length), generator=random)
    mask = (torch.arange(length) < torch.tensor([[length], [length // 2], [2]])).to(torch.int64)
    # Real texts end as the tokenizer ends them; CLIP pools at that token.
    end = towers.tokenizer.encode("").ids[-1:] or [towers.text_input.pad_token_id]
    texts[torch.arange(3), mask.sum(dim=1) - 1] = end[0]
    texts = torch.where(mask > 0, texts, towers.text_input.pad_token_id)
    runs = {
        "image": (towers.image_tower, image, {"pixel_values": pixels}),
        "text": (towers.text_tower, text, {"input_ids": texts, "attention_mask": mask}),
    }
    figures = {}
    for side, (tower, graph, feed) in runs.items():
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        given = session.run(None, {key: value.numpy() for key, value in feed.items()})[0]
        wanted = tower(*feed.values())
        cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(given), wanted, dim=-1)
        figures[side] = cosine.min().item()
    return figures


def _scale(towers: Towers) -> Scale:
    scale = round(towers.log_logit_scale.exp().item(), 6)
    return Scale(logit_scale=scale, logit_bias=towers.logit_bias)


def _noise_of_three_shapes(declared: ImageInput) -> np.ndarray:
    """Three preprocessed pictures of noise: square, high and wide."""
    random = np.random.default_rng(0)
    height, width = declared.size
    shapes = ((height, width), (2 * height, width), (height, 3 * width))
    noise = [random.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    return np.stack([to_pixels(Image.fromarray(picture), declared) for picture in noise])


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    partial = folder / "encoder.json.partial"
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / "encoder.json")


def signature(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def export_image_tower(tower: nn.Module, shape: tuple[int, ...]) -> onnx.ModelProto:
    """`shape` is that of one preprocessed picture."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    pixel_values = torch.zeros(2, *shape)
    return _export(tower, (pixel_values,), ["pixel_values"], "image_embeddings", ({0: batch},))


def export_text_tower(tower: nn.Module, longest: int = 512) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1, max=4096)
    sequence = torch.export.Dim("sequence", min=2, max=longest)
    # Two tensors: the exporter takes one tensor passed twice for one input.
    ids, mask = torch.ones(2, 7, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64)
    shape = {0: batch, 1: sequence}
    return _export(
        tower, (ids, mask), ["input_ids", "attention_mask"], "text_embeddings", (shape, shape)
    )


def _export(
    tower: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    input_names: list[str],
    output_name: str,
    dynamic_shapes: Any,
) -> onnx.ModelProto:
    # They warn of torchvision, which no tower here has anything of, and of constants not folded.
    for name in ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            tower.eval(),
            inputs,
            input_names=input_names,
            output_names=[output_name],
            dynamic_shapes=dynamic_shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch has exported nothing")
    graph = program.model_proto
    # The exporter notes the source line of every node; a file must not show paths of this machine.
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        del value.metadata_props[:]
    for initializer in graph.graph.initializer:
        del initializer.metadata_props[:]
    return graph


def store_in_half(model: onnx.ModelProto) -> None:
    """Keeps large weights as float16, widened to float32 once when the graph is loaded."""
    graph = model.graph
    widen = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALL:
            continue
        values = numpy_helper.to_array(tensor).astype(np.float16)
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(values, f"{tensor.name}_half"))
        widen.append(
            helper.make_node("Cast", [f"{tensor.name}_half"], [tensor.name], to=TensorProto.FLOAT)
        )
    _prepend(graph, widen)


def store_in_int8(model: onnx.ModelProto) -> None:
    """Keeps large matrices as int8 with scales; word tables are scaled after the lookup."""
    graph = model.graph
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    unfold: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
            continue
        if np.prod(tensor.dims) < SMALL or tensor.name not in readers:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        lookups = [node for node in readers[name] if node.op_type == "Gather"]
        if lookups and len(lookups) != len(readers[name]):
            continue
        transposed = any(
            node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
            for node in readers[name]
        )
        rounded, scales = quantise(values, axis=1 if lookups or transposed else 0)
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(rounded, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
        if not lookups:
            unfold += _unfold(f"{name}_int8", f"{name}_scale", name)
        for gather in lookups:
            place = list(graph.node).index(gather)
            out = gather.output[0]
            ids = gather.input[1]
            graph.node.remove(gather)
            steps = [
                helper.make_node("Gather", [f"{name}_int8", ids], [f"{out}_int8"], axis=0),
                helper.make_node("Gather", [f"{name}_scale", ids], [f"{out}_scale"], axis=0),
                *_unfold(f"{out}_int8", f"{out}_scale", out),
            ]
            for offset, step in enumerate(steps):
                graph.node.insert(place + offset, step)
    _prepend(graph, unfold)


def quantise(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(int8, float32 scales): the largest magnitude along `axis` becomes 127."""
    largest = np.abs(values).max(axis=axis, keepdims=True)
    scales = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
    return np.rint(values / scales).clip(-127, 127).astype(np.int8), scales


def _unfold(rounded: str, scales: str, out: str) -> list[onnx.NodeProto]:
    wide = f"{out}_wide"
    return [
        helper.make_node("Cast", [rounded], [wide], to=TensorProto.FLOAT),
        helper.make_node("Mul", [wide, scales], [out]),
    ]


def _prepend(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    for node in reversed(nodes):
        graph.node.insert(0, node)

"""An encoder folder small enough to work out by hand: pictures and words become colours."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from scenesearch.encoder.folder import PARTS

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "red": 2, "green": 3, "blue": 4}
WORD_VECTORS = np.array([[9, 9, 9], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


def _write_graphs(folder: Path) -> None:
    """Image: mean of each channel. Text: sum of the words' vectors, padding left out."""
    image = helper.make_graph(
        [
            helper.make_node(
                "ReduceMean", ["pixel_values", "axes"], ["image_embeddings"], keepdims=0
            )
        ],
        "image",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("image_embeddings", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.array([2, 3], np.int64), "axes")],
    )
    text = helper.make_graph(
        [
            helper.make_node("Gather", ["words", "input_ids"], ["vectors"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["weights"]),
            helper.make_node("Mul", ["vectors", "weights"], ["weighted"]),
            helper.make_node("ReduceSum", ["weighted", "tokens"], ["text_embeddings"], keepdims=0),
        ],
        "text",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("text_embeddings", TensorProto.FLOAT, ["n", 3])],
        [
            numpy_helper.from_array(WORD_VECTORS, "words"),
            numpy_helper.from_array(np.array([2], np.int64), "last"),
            numpy_helper.from_array(np.array([1], np.int64), "tokens"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    for name, graph in (("image.onnx", image), ("text.onnx", text)):
        model = helper.make_model(graph, opset_imports=opset, ir_version=10)
        onnx.save(model, folder / name)


def declare(folder: Path, *, parts: Sequence[str] = PARTS, **changes: Any) -> None:
    files = {}
    for part in parts:
        data = (folder / part).read_bytes()
        files[part] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest = {
        "format": 1,
        "name": "tiny",
        "dimension": 3,
        "image": {"size": [4, 4], "resize": "squash", "mean": [0, 0, 0], "std": [1, 1, 1]},
        "text": {"context_length": 4},
        "files": files,
        # As for a model whose matching pairs have cosines above .2.
        "calibration": {"method": "logistic", "intercept": -6.0, "cosine": 30.0},
    }
    (folder / "encoder.json").write_text(json.dumps(manifest | changes))


def write_tiny_encoder(folder: Path) -> Path:
    """The folder, filled; `declare` changes its encoder.json afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_graphs(folder)
    declare(folder)
    return folder

"""An int8 image tower for OpenVINO: made, accepted or refused, and served like any other."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

pytest.importorskip("openvino")
pytest.importorskip("nncf")
pytest.importorskip("torch")  # training's exports stand beside it

from scenesearch.encoder.onnx import OnnxEncoder
from tests.tiny_encoder import declare, write_tiny_encoder
from training import gate
from training.gate import ExportError, Validation
from training.openvino_int8 import export_openvino

COLOURS = {"red": (250, 5, 5), "green": (5, 250, 5), "blue": (5, 5, 250)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder, with a convolution that there is something to quantise in."""
    folder = write_tiny_encoder(tmp_path_factory.mktemp("source") / "tiny")
    rng = np.random.default_rng(0)
    weights = np.eye(3) + rng.normal(0, 0.01, (3, 3))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["pixel_values", "weight", "bias"], ["mixed"]),
            helper.make_node("Relu", ["mixed"], ["bent"]),
            helper.make_node("ReduceMean", ["bent", "axes"], ["image_embeddings"], keepdims=0),
        ],
        "image",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("image_embeddings", TensorProto.FLOAT, ["n", 3])],
        [
            numpy_helper.from_array(weights[:, :, None, None].astype(np.float32), "weight"),
            numpy_helper.from_array(np.zeros(3, np.float32), "bias"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), folder / "image.onnx")
    declare(folder)
    return folder


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    folder, paths, captions = tmp_path_factory.mktemp("pictures"), [], []
    rng = np.random.default_rng(0)
    for number in range(100):
        word = list(COLOURS)[number % 3]
        values = np.clip(rng.normal(COLOURS[word], 20, (8, 8, 3)), 0, 255).astype(np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(values).save(paths[-1])
        captions.append((word,))
    return Validation(tuple(paths), tuple(captions))


@pytest.fixture(scope="module")
def quantised(
    source: Path, validation: Validation, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("made") / "int8"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "RECALL_LOSS", 100)  # a third of the pictures match each caption
        export_openvino(source, folder, name="int8", validation=validation, log=lambda line: None)
    return folder


@pytest.mark.slow
def test_it_is_served_like_any_other_encoder(source: Path, quantised: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), colour) for colour in COLOURS.values()]
    before, after = (
        OnnxEncoder(folder, threads=1).encode_images(pictures) for folder in (source, quantised)
    )
    assert ((before * after).sum(axis=1) > 0.99).all()
    assert not np.array_equal(before, after)
    info = OnnxEncoder(quantised).info
    assert info.parts == ("image.xml", "image.bin", "text.onnx", "tokenizer.json")
    assert info.fingerprint != OnnxEncoder(source).info.fingerprint
    assert (
        json.loads((quantised / "encoder.json").read_text())["int8_accepted_by"]["pictures"] == 50
    )


def test_a_picture_has_the_same_embedding_alone_and_in_any_thread(quantised: Path) -> None:
    encoder = OnnxEncoder(quantised, image_threads=1)
    pictures = [Image.new("RGB", (8, 8), (n * 7 % 255, n * 3, 255 - n)) for n in range(64)]
    together = encoder.encode_images(pictures)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda picture: encoder.encode_images([picture])[0], pictures))
    assert np.allclose(together, alone, atol=1e-5)


@pytest.mark.slow
def test_one_that_loses_recall_is_refused_and_leaves_nothing(
    source: Path, validation: Validation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "RECALL_LOSS", -101)
    with pytest.raises(ExportError, match="OpenVINO int8 for int8 is refused: Recall@10 on 50"):
        export_openvino(
            source, tmp_path / "int8", name="int8", validation=validation, log=lambda line: None
        )
    assert list(tmp_path.iterdir()) == []


def test_too_few_pictures_are_refused(source: Path, validation: Validation, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="100 are needed, 99 are given"):
        export_openvino(
            source,
            tmp_path / "int8",
            name="int8",
            validation=validation.first(99),
            log=lambda line: None,
        )


def test_one_made_for_openvino_is_not_made_again(
    quantised: Path, validation: Validation, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="is one for OpenVINO already"):
        export_openvino(
            quantised, tmp_path / "x", name="x", validation=validation, log=lambda line: None
        )

"""What encoder.json declares of pictures, texts and graphs is what the towers are given."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from scenesearch.encoder.base import EncoderError, ImageInput, TextInput
from scenesearch.encoder.folder import read_encoder_info
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.preprocessing import clean_text, resize_whole, to_pixels
from tests.tiny_encoder import declare, write_tiny_encoder

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
IMAGE = {"size": [4, 4], "resize": "squash", "mean": [0, 0, 0], "std": [1, 1, 1]}


def test_the_whole_picture_is_fitted_inside_and_the_rest_filled() -> None:
    declared = ImageInput(size=(4, 4), resize="longest", fill=(1, 2, 3), **PLAIN)
    fitted = np.asarray(resize_whole(Image.new("RGB", (40, 20), (200, 0, 0)), declared))
    assert fitted[:, 0].tolist() == [[1, 2, 3], [200, 0, 0], [200, 0, 0], [1, 2, 3]]


def test_a_picture_thinner_than_a_pixel_is_still_seen() -> None:
    declared = ImageInput(size=(4, 4), resize="longest", **PLAIN)
    assert resize_whole(Image.new("RGB", (4000, 1)), declared).size == (4, 4)


def test_the_middle_is_cut_from_a_picture_resized_larger() -> None:
    columns = np.tile(np.arange(8, dtype=np.uint8)[None, :, None], (8, 1, 3))
    declared = ImageInput(size=(4, 4), resize="shortest_edge_crop", edge=8, **PLAIN)
    cut = np.asarray(resize_whole(Image.fromarray(columns), declared))
    assert cut[0, :, 0].tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(("offset", "first"), [("floor", 1), ("nearest", 2)])
def test_an_odd_number_of_columns_is_cut_as_the_library_does(offset: str, first: int) -> None:
    columns = np.tile(np.arange(7, dtype=np.uint8)[None, :, None], (4, 1, 3))
    declared = ImageInput(size=(4, 4), resize="shortest_edge_crop", crop_offset=offset, **PLAIN)
    cut = np.asarray(resize_whole(Image.fromarray(columns), declared))
    assert cut[0, 0, 0] == first


def test_a_graph_that_scales_pixels_itself_gets_bytes() -> None:
    declared = ImageInput(size=(2, 3), resize="squash", pixels="uint8_nhwc", **PLAIN)
    pixels = to_pixels(Image.new("RGB", (9, 9), (10, 20, 30)), declared)
    assert pixels.dtype == np.uint8
    assert pixels.shape == declared.shape == (2, 3, 3)
    assert pixels[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("changes", "cleaned"),
    [
        ({}, "A  Red_dog&amp;\nCat!"),
        ({"lowercase": True}, "a  red_dog&amp;\ncat!"),
        ({"fix": True}, "A Red_dog& Cat!"),
        ({"fix": True, "lowercase": True}, "a red_dog& cat!"),
        ({"canonicalize": True}, "a red dogamp cat"),
        ({"fix": True, "canonicalize": True}, "a red dog cat"),
    ],
)
def test_texts_are_cleaned_as_declared(changes: dict[str, bool], cleaned: str) -> None:
    assert clean_text("A  Red_dog&amp;\nCat!", TextInput(context_length=8, **changes)) == cleaned


def test_capitals_mean_the_same_to_an_encoder_trained_without_them(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    assert OnnxEncoder(folder).encode_texts(["RED"]).tolist() == [[0, 0, 0]]
    declare(folder, text={"context_length": 4, "lowercase": True})
    assert OnnxEncoder(folder).encode_texts(["RED"]).tolist() == [[1, 0, 0]]


def test_requests_and_descriptions_have_prefixes_of_their_own(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    declare(folder, text={"context_length": 4, "prefix": "green ", "document_prefix": "blue "})
    encoder = OnnxEncoder(folder)
    half = pytest.approx(2**-0.5)
    assert encoder.encode_texts(["red"])[0].tolist() == [half, half, 0]
    assert encoder.encode_texts(["red"], documents=True)[0].tolist() == [half, 0, half]


def test_the_first_dimensions_are_kept_and_of_unit_length(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    whole = read_encoder_info(folder).fingerprint
    declare(folder, dimension=2, full_dimension=3)
    encoder = OnnxEncoder(folder)
    assert encoder.info.fingerprint != whole
    assert encoder.encode_texts(["red blue"]).tolist() == [[1, 0]]
    assert encoder.encode_images([Image.new("RGB", (4, 4), (90, 0, 250))]).tolist() == [[1, 0]]


def _write_joint(folder: Path, *, batch: int | str = "n") -> None:
    """One graph for both towers, with ids in 32 bits and pixels as bytes."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["levels", "sides"], ["pictures"], keepdims=0),
            helper.make_node("Gather", ["words", "text"], ["vectors"]),
            helper.make_node("ReduceSum", ["vectors", "tokens"], ["texts"], keepdims=0),
        ],
        "joint",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, 4, 4, 3]),
            helper.make_tensor_value_info("text", TensorProto.INT32, ["m", "t"]),
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3])
            for name in ("pictures", "texts")
        ],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "sides"),
            numpy_helper.from_array(np.array([1], np.int64), "tokens"),
            numpy_helper.from_array(
                np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
                "words",
            ),
        ],
    )
    (folder / "joint").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "joint" / "model.onnx")
    image = {"graph": "joint/model.onnx", "input": "image", "output": "pictures"}
    text = {"graph": "joint/model.onnx", "input": "text", "output": "texts"}
    declare(
        folder,
        parts=("joint/model.onnx", "tokenizer.json"),
        image={**IMAGE, **image, "pixels": "uint8_nhwc"},
        text={"context_length": 4, **text},
    )


def test_one_graph_may_hold_both_towers(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    _write_joint(folder)
    encoder = OnnxEncoder(folder)
    assert encoder.info.parts == ("joint/model.onnx", "tokenizer.json")
    assert encoder.encode_texts(["blue", "red red"]).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert encoder.encode_images([Image.new("RGB", (9, 9), (0, 7, 0))]).tolist() == [[0, 1, 0]]


def test_a_graph_of_a_fixed_batch_encodes_any_number(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    _write_joint(folder, batch=2)
    pictures = [Image.new("RGB", (4, 4), colour) for colour in ((9, 0, 0), (0, 9, 0), (0, 0, 9))]
    assert OnnxEncoder(folder).encode_images(pictures).tolist() == np.eye(3).tolist()


def test_weights_beside_a_graph_are_parts_of_the_encoder(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    model = onnx.load(folder / "text.onnx")
    (folder / "text").mkdir()
    onnx.save(
        model,
        folder / "text" / "model.onnx",
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=64,  # the words alone
    )
    declare(
        folder,
        parts=("image.onnx", "text/model.onnx", "text/model.onnx_data", "tokenizer.json"),
        text={"context_length": 4, "graph": "text/model.onnx", "external": ["model.onnx_data"]},
    )
    encoder = OnnxEncoder(folder)
    assert "text/model.onnx_data" in encoder.info.parts
    assert encoder.encode_texts(["red"]).tolist() == [[1, 0, 0]]
    before = encoder.info
    with (folder / "text" / "model.onnx_data").open("ab") as file:
        file.write(b"\0")
    declare(
        folder,
        parts=before.parts,
        text={"context_length": 4, "graph": "text/model.onnx", "external": ["model.onnx_data"]},
    )
    after = read_encoder_info(folder)
    assert after.fingerprint != before.fingerprint
    assert after.image_fingerprint == before.image_fingerprint


@pytest.mark.parametrize("graph", ["../text.onnx", "/etc/passwd", "a/b/c.onnx", ".hidden"])
def test_a_graph_outside_the_folder_is_refused(tmp_path: Path, graph: str) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    declare(folder, text={"context_length": 4, "graph": graph})
    with pytest.raises(EncoderError, match=r"text\.graph"):
        read_encoder_info(folder)

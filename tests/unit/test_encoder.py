"""Encoder folders and their serving, with graphs small enough to work out by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from scenesearch.encoder.base import EncoderError
from scenesearch.encoder.folder import read_encoder_info, verify_encoder
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from tests.tiny_encoder import declare, write_tiny_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path)


def test_embeddings_are_float32_of_unit_length(folder: Path) -> None:
    encoder = OnnxEncoder(folder)
    texts = encoder.encode_texts(["red red green", "blue"])
    images = encoder.encode_images([Image.new("RGB", (9, 5), (30, 40, 0))])
    np.testing.assert_allclose(texts, [[2 / 5**0.5, 1 / 5**0.5, 0], [0, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(images, [[0.6, 0.8, 0]], atol=1e-6)
    assert texts.dtype == images.dtype == np.float32


def test_padding_in_a_batch_does_not_change_a_vector(folder: Path) -> None:
    encoder = OnnxEncoder(folder)
    together = encoder.encode_texts(["red", "green blue green"])
    np.testing.assert_array_equal(together[0], encoder.encode_texts(["red"])[0])


def test_sentences_beyond_the_context_length_count_alike(folder: Path) -> None:
    (vector,) = OnnxEncoder(folder).encode_texts(["red red. blue blue. red"])
    np.testing.assert_allclose(vector, [2 / 5**0.5, 0, 1 / 5**0.5], atol=1e-6)


def test_a_sentence_beyond_the_context_length_is_split_between_words(folder: Path) -> None:
    (vector,) = OnnxEncoder(folder).encode_texts(["red red red red blue blue blue"])
    np.testing.assert_allclose(vector, [0.5**0.5, 0, 0.5**0.5], atol=1e-6)


def test_a_long_text_does_not_change_its_neighbours_in_a_batch(folder: Path) -> None:
    encoder = OnnxEncoder(folder)
    together = encoder.encode_texts(["red green", "blue " * 20, "green"])
    np.testing.assert_allclose(together[0], encoder.encode_texts(["red green"])[0], atol=1e-6)
    np.testing.assert_allclose(together[1:], [[0, 0, 1], [0, 1, 0]], atol=1e-6)


def test_nothing_encodes_to_no_rows(folder: Path) -> None:
    encoder = OnnxEncoder(folder)
    assert encoder.encode_texts([]).shape == (0, 3)
    assert encoder.encode_pixels(np.empty((0, 3, 4, 4), np.float32)).shape == (0, 3)


def test_preprocessing_follows_the_declaration(folder: Path) -> None:
    picture = Image.new("RGB", (12, 4), "black")
    picture.paste((255, 255, 255), (4, 0, 8, 4))  # the middle third is white
    declare(
        folder,
        image={
            "size": [4, 4],
            "resize": "shortest_edge_crop",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.25, 0.5],
        },
    )
    pixels = OnnxEncoder(folder).preprocess(picture)
    assert pixels.shape == (3, 4, 4)
    np.testing.assert_allclose(pixels[:, 2, 2], [1, 2, 1])


def test_fingerprint_changes_with_weights_but_not_with_scores(folder: Path) -> None:
    before = read_encoder_info(folder).fingerprint
    declare(folder, scores={"x": 1}, name="other")
    assert read_encoder_info(folder).fingerprint == before
    with (folder / "text.onnx").open("ab") as file:
        file.write(b" ")
    declare(folder)
    assert read_encoder_info(folder).fingerprint != before


def test_changed_weights_of_the_same_size_are_found(folder: Path) -> None:
    verify_encoder(folder)
    data = bytearray((folder / "image.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "image.onnx").write_bytes(data)
    with pytest.raises(EncoderError, match="does not have its declared hash"):
        verify_encoder(folder)


@pytest.mark.parametrize("part", ["image.onnx", "text.onnx", "tokenizer.json", "encoder.json"])
def test_missing_part_is_named(folder: Path, part: str) -> None:
    (folder / part).unlink()
    with pytest.raises(EncoderError, match=part):
        OnnxEncoder(folder)


def test_short_part_is_named(folder: Path) -> None:
    (folder / "text.onnx").write_bytes(b"short")
    with pytest.raises(EncoderError, match=r"text\.onnx has 5 bytes"):
        OnnxEncoder(folder)


def test_declaration_that_does_not_fit_is_named(folder: Path) -> None:
    declare(folder, dimension="many")
    with pytest.raises(EncoderError, match=r"encoder\.json: dimension"):
        OnnxEncoder(folder)


def test_graph_of_another_dimension_is_refused(folder: Path) -> None:
    declare(folder, dimension=5)
    with pytest.raises(EncoderError, match="declares 5 dimensions"):
        OnnxEncoder(folder).encode_texts(["red"])


def test_garbage_for_a_graph_is_refused(folder: Path) -> None:
    (folder / "image.onnx").write_bytes(b"not a graph")
    declare(folder)
    with pytest.raises(EncoderError, match="not a usable ONNX graph"):
        OnnxEncoder(folder).encode_images([Image.new("RGB", (4, 4))])


def test_swapped_graphs_are_refused(folder: Path) -> None:
    data = (folder / "image.onnx").read_bytes()
    (folder / "text.onnx").write_bytes(data)
    declare(folder)
    with pytest.raises(EncoderError, match="must take input_ids and give text_embeddings"):
        OnnxEncoder(folder).encode_texts(["red"])


def test_unknown_name_lists_the_bundled_ones() -> None:
    with pytest.raises(EncoderError, match=r"no encoder 'clip-nowhere'.*lite"):
        find_encoder("clip-nowhere")


def test_an_unknown_name_that_is_nearly_one_is_told_which(tmp_path: Path) -> None:
    (tmp_path / "mine-v2").mkdir()
    with pytest.raises(EncoderError, match=r"did you mean lite\?$"):
        find_encoder("Litee")
    with pytest.raises(EncoderError, match=r"did you mean mine-v2\?$"):
        find_encoder("mine-v3", tmp_path)


def test_a_folder_may_call_its_outputs_otherwise_and_take_no_mask(folder: Path) -> None:
    wanted = OnnxEncoder(folder).encode_texts(["red", "blue"])
    model = onnx.load(folder / "text.onnx")
    # Without a mask every text counts its padding too; these two have none.
    del model.graph.input[1]
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.ones((1, 1), np.int64), "attention_mask")
    )
    model.graph.output[0].name = model.graph.node[-1].output[0] = "text_embeds"
    onnx.save(model, folder / "text.onnx")
    declared = json.loads((folder / "encoder.json").read_text())
    declare(folder, text={**declared["text"], "output": "text_embeds"})
    assert np.array_equal(OnnxEncoder(folder).encode_texts(["red", "blue"]), wanted)


def test_padding_to_the_context_length_where_the_folder_says_so(folder: Path) -> None:
    declared = json.loads((folder / "encoder.json").read_text())
    declare(folder, text={**declared["text"], "padding": "context_length"})
    encoder = OnnxEncoder(folder)
    (encoding,) = encoder._tokenizer.encode_batch(["red"])
    assert len(encoding.ids) == declared["text"]["context_length"]


def test_an_openvino_graph_without_openvino_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    (folder / "image.xml").write_text("<net/>")
    (folder / "image.bin").write_bytes(b"weights")
    parts = ("image.xml", "image.bin", "text.onnx", "tokenizer.json")
    declare(folder, parts=parts)
    encoder = OnnxEncoder(folder)
    assert encoder.info.parts == parts
    with pytest.raises(EncoderError, match=r"pip install -e '\.\[openvino\]'"):
        encoder.encode_images([Image.new("RGB", (4, 4))])

"""Encoders made of ready graphs give what the libraries that define them give.

The same graph is fed by the library's own tokenizer and picture processor, or, where that library
does not import beside ours, by the few lines that it consists of.
"""

import html
import json
import string
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image
from tokenizers import Tokenizer

from scenesearch.encoder.base import EncoderError
from scenesearch.encoder.graphs import open_graph
from scenesearch.encoder.layouts import choose, find_layouts, find_pair
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.ready import Source, external_files, names_in, write_ready_encoder
from tests import ready_layouts as hub
from tests.awkward import TEXTS, awkward_pictures

LEAST = 0.9999


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    return awkward_pictures(tmp_path_factory.mktemp("pictures"))


def take(
    files: dict[str, Any], tmp_path: Path, precision: str = "fp32", **options: Any
) -> tuple[Path, OnnxEncoder]:
    """The source and the encoder made of it."""
    source = hub.write_files(tmp_path / "source", files)
    layout = choose(find_layouts(names_in(source)), precision, "it")
    write_ready_encoder(Source(layout, source, source, **options), tmp_path / "encoder", "tiny")
    return source, OnnxEncoder(tmp_path / "encoder")


def declared(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "encoder" / "encoder.json").read_text())


def run(graph: Path, output: str, feed: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The graph's own answer, of unit length, a row at a time."""
    session = onnxruntime.InferenceSession(graph)
    types = {value.name: value.type for value in session.get_inputs()}
    as_needed = {"tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(float)": np.float32}
    rows = []
    for row in range(len(next(iter(feed.values())))):
        one = {
            name: values[row][None].astype(as_needed.get(types[name], values[row].dtype))
            for name, values in feed.items()
        }
        rows.append(session.run([output], one)[0][0])
    found = np.stack(rows)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def assert_same(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    cosines = (found * expected).sum(axis=1)
    assert cosines.min() >= LEAST, int(cosines.argmin())


def fitting(encoder: OnnxEncoder, texts: list[str] = TEXTS) -> list[str]:
    """Those that are not longer than the context: of the others we take the parts' mean."""
    return [text for text in texts if not encoder._tokenized([text], "")[0].overflowing]


def ids_of(tokenizer: Any, texts: list[str], length: int | None = None) -> list[NDArray[np.int64]]:
    """Of a tokenizer of transformers, not padded, or to the length."""
    options = {"padding": "max_length", "max_length": length} if length else {}
    return [np.array(tokenizer(text, truncation=True, **options)["input_ids"]) for text in texts]


# --- transformers.js -------------------------------------------------------------------------


@pytest.mark.parametrize("make", [hub.clip_js, hub.mobileclip_js])
def test_pictures_are_those_of_clips_processor(
    tmp_path: Path, pictures: list[Image.Image], make: Callable[[], dict[str, Any]]
) -> None:
    transformers = pytest.importorskip("transformers")
    source, encoder = take(make(), tmp_path)
    processor = transformers.CLIPImageProcessorPil.from_pretrained(source)
    pixels = np.concatenate([processor(each)["pixel_values"] for each in pictures])
    for found, expected in zip(map(encoder.preprocess, pictures), pixels, strict=True):
        assert np.abs(found - expected).max() < 2e-6
    expected = run(source / "onnx/vision_model.onnx", "image_embeds", {"pixel_values": pixels})
    assert_same(encoder.encode_images(pictures), expected)


@pytest.mark.parametrize("make", [hub.clip_js, hub.mobileclip_js])
def test_texts_are_those_of_clips_tokenizer(
    tmp_path: Path, make: Callable[[], dict[str, Any]]
) -> None:
    transformers = pytest.importorskip("transformers")
    source, encoder = take(make(), tmp_path)
    texts = fitting(encoder)
    assert len(texts) > 190
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(source)
    ids = np.stack(ids_of(tokenizer, texts, 77))
    expected = run(source / "onnx/text_model.onnx", "text_embeds", {"input_ids": ids})
    assert_same(encoder.encode_texts(texts), expected)


def test_siglip_2_texts_are_those_of_its_tokenizer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    source, encoder = take(hub.siglip2_js(), tmp_path)
    state = json.loads((source / "tokenizer.json").read_text())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    tokenizer = transformers.Siglip2Tokenizer(vocab=state["vocab"], merges=merges)
    expected = [[*ids[:63], 1] for ids in tokenizer(TEXTS, add_special_tokens=False)["input_ids"]]
    found = [encoding.ids for encoding in encoder._tokenized(TEXTS, "")]
    assert found == [ids + [0] * (64 - len(ids)) for ids in expected]


def test_siglip_2_pictures_are_those_of_its_processor(
    tmp_path: Path, pictures: list[Image.Image]
) -> None:
    transformers = pytest.importorskip("transformers")
    source, encoder = take(hub.siglip2_js(), tmp_path)
    processor = transformers.SiglipImageProcessorPil.from_pretrained(source)
    pixels = np.concatenate([processor(each)["pixel_values"] for each in pictures])
    expected = run(source / "onnx/vision_model.onnx", "pooler_output", {"pixel_values": pixels})
    assert_same(encoder.encode_images(pictures), expected)


def test_siglip_texts_are_those_of_its_tokenizer(tmp_path: Path) -> None:
    """A tokenizer.json that does not clean, as some conversions of spiece.model have it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    transformers = pytest.importorskip("transformers")
    corpus = [text.replace("\0", "") for text in hub.CORPUS]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=500,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    slow = transformers.SiglipTokenizer(str(tmp_path / "spiece.model"))
    tokenizer = _from_spiece(slow)
    files = hub.siglip2_js() | {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            "model_max_length": 64,
            "pad_token": "</s>",
            "tokenizer_class": "SiglipTokenizer",
        },
        "onnx/text_model.onnx": hub.text_graph(
            tokenizer.get_vocab_size(), "last", output="pooler_output"
        ),
    }
    source, encoder = take(files, tmp_path)
    # Python lowers a final capital sigma to another letter than tokenizers do. The two libraries
    # differ in special tokens that stand in a text, in letters of several parts, and in ties.
    differ = ("Σ", "<", "\u0302", "\uff8b", "\ufffd", "狗狗")
    texts = [text for text in fitting(encoder) if not any(part in text for part in differ)]
    assert len(texts) > 170
    ids = np.stack(ids_of(slow, texts, 64))
    expected = run(source / "onnx/text_model.onnx", "pooler_output", {"input_ids": ids})
    assert_same(encoder.encode_texts(texts), expected)
    assert declared(tmp_path)["verified"]["capitals"] >= LEAST


def _from_spiece(slow: Any) -> Tokenizer:
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import models, normalizers, pre_tokenizers, processors

    spiece = sentencepiece_model_pb2.ModelProto()
    spiece.ParseFromString(slow.sp_model.serialized_model_proto())
    tokenizer = Tokenizer(
        models.Unigram([(each.piece, each.score) for each in spiece.pieces], unk_id=2)
    )
    tokenizer.normalizer = normalizers.Precompiled(spiece.normalizer_spec.precompiled_charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


@pytest.mark.parametrize("needs_a_picture", [False, True])
def test_one_graph_of_both_towers_serves_chinese_clip(
    tmp_path: Path, pictures: list[Image.Image], needs_a_picture: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    files = hub.chinese_clip_js(needs_a_picture=needs_a_picture)
    source, encoder = take(files, tmp_path)
    texts = fitting(encoder)
    assert len(texts) > 180
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(source)
    found = encoder.encode_texts(texts)
    session = onnxruntime.InferenceSession(source / "onnx/model.onnx")
    one = np.zeros((1, 3, 24, 24), np.float32)
    for row, ids in enumerate(ids_of(tokenizer, texts)):
        feed = {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int64)}
        expected = session.run(["text_embeds"], feed | {"pixel_values": one})[0]
        assert found[row] @ expected[0] / np.linalg.norm(expected) >= LEAST
    assert encoder.encode_images(pictures).shape == (20, hub.DIMENSION)


def test_jina_clip_reads_its_instruction_and_may_be_cut(tmp_path: Path) -> None:
    files = hub.jina_v2_js(tmp_path / "graph")
    _, encoder = take(files, tmp_path, dimensions=4)
    assert encoder.info.dimension == 4
    assert encoder.info.parts == ("joint/model.onnx", "joint/model.onnx_data", "tokenizer.json")
    request, description = (
        encoder.encode_texts(["a dog"], documents=documents) for documents in (False, True)
    )
    assert np.linalg.norm(request) == pytest.approx(1)
    told = "Represent the query for retrieving evidence documents: a dog"
    assert_same(request, encoder.encode_texts([told], documents=True))
    assert (request @ description.T).item() < 0.99


@pytest.mark.parametrize(
    ("dimensions", "sentence"),
    [(5, "was trained for 2, 4, 8"), (9, "--dimensions 9: the encoder has 8"), (0, "has 8")],
)
def test_a_cut_that_was_not_trained_is_refused(
    tmp_path: Path, dimensions: int, sentence: str
) -> None:
    with pytest.raises(EncoderError, match=sentence):
        take(hub.jina_v2_js(tmp_path / "graph"), tmp_path, dimensions=dimensions)


# --- Immich's shelf --------------------------------------------------------------------------


def _open_clip_cleaned(text: str, canonicalize: bool) -> str:
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    if canonicalize:
        text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation)).lower()
    return " ".join(text.split())


@pytest.mark.parametrize("kind", ["clip", "siglip", "nllb", "mclip"])
def test_immichs_graphs_get_the_tokens_they_were_made_for(tmp_path: Path, kind: str) -> None:
    options = {"language": "de"} if kind == "nllb" else {}
    source, encoder = take(hub.immich(kind), tmp_path, **options)
    texts = fitting(encoder)
    assert len(texts) > 180
    tokenizer = Tokenizer.from_file(str(source / "textual/tokenizer.json"))
    length = encoder.info.text.context_length
    pad = encoder.info.text.pad_token_id
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=pad)
    if kind != "mclip":
        cleaned = [_open_clip_cleaned(text, kind == "siglip") for text in texts]
    else:
        cleaned = texts
    encodings = [tokenizer.encode(text) for text in cleaned]
    ids = np.array([each.ids for each in encodings])
    if kind == "nllb":
        ids[:, 0] = tokenizer.token_to_id("deu_Latn")
    feed = {encoder.info.text.input: ids}
    if kind == "mclip":
        feed["attention_mask"] = np.array([each.attention_mask for each in encodings])
    expected = run(source / "textual/model.onnx", "embedding", feed)
    assert_same(encoder.encode_texts(texts), expected)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_immichs_graphs_get_the_pictures_of_open_clip(
    tmp_path: Path, pictures: list[Image.Image], kind: str
) -> None:
    source, encoder = take(hub.immich(kind), tmp_path)
    config = json.loads((source / "visual/preprocess_cfg.json").read_text())
    pixels = []
    for picture in pictures:
        if kind == "siglip":
            resized = picture.resize((24, 24), Image.Resampling.BICUBIC)
        else:  # torchvision's Resize and CenterCrop
            short, long = sorted(picture.size)
            fitted = int(24 * long / short)
            size = (24, fitted) if picture.width <= picture.height else (fitted, 24)
            left, top = (round((side - 24) / 2) for side in size)
            resized = picture.resize(size, Image.Resampling.BICUBIC)
            resized = resized.crop((left, top, left + 24, top + 24))
        scaled = np.asarray(resized, np.float32) / 255
        pixels.append(((scaled - config["mean"]) / config["std"]).transpose(2, 0, 1))
    # Of a picture 300 times as long as high only the middle is resized.
    usual = [row for row, each in enumerate(pictures) if max(each.size) < 16 * min(each.size)]
    assert len(usual) >= 18
    expected = run(source / "visual/model.onnx", "embedding", {"image": np.stack(pixels)})
    assert_same(encoder.encode_images(pictures)[usual], expected[usual])


def test_a_graph_that_scales_pixels_itself_gets_bytes(
    tmp_path: Path, pictures: list[Image.Image]
) -> None:
    graph = hub.image_graph(24, "image", "embedding", batch=1, uint8=True)
    source, encoder = take(hub.immich("siglip") | {"visual/model.onnx": graph}, tmp_path)
    resized = [each.resize((24, 24), Image.Resampling.BICUBIC) for each in pictures]
    feed = {"image": np.stack([np.asarray(each) for each in resized])}
    expected = run(source / "visual/model.onnx", "embedding", feed)
    assert_same(encoder.encode_images(pictures), expected)
    assert encoder.info.image.pixels == "uint8_nhwc"


def test_an_nllb_encoder_needs_a_language_and_others_take_none(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"has to know the language.*--language af, ar"):
        take(hub.immich("nllb"), tmp_path / "1")
    with pytest.raises(EncoderError, match="its tokenizer has no token ita_Latn"):
        take(hub.immich("nllb"), tmp_path / "2", language="it")
    with pytest.raises(EncoderError, match="language 'grman' is not known"):
        take(hub.immich("nllb"), tmp_path / "3", language="grman")
    with pytest.raises(EncoderError, match="takes texts without a language"):
        take(hub.immich("clip"), tmp_path / "4", language="de")


# --- FastEmbed's pairs -----------------------------------------------------------------------


def test_a_pair_of_repositories_is_one_encoder(tmp_path: Path, pictures: list[Image.Image]) -> None:
    vision, text = hub.fastembed_pair()
    one, other = (
        hub.write_files(tmp_path / name, files) for name, files in (("v", vision), ("t", text))
    )
    layout = find_pair(names_in(one), names_in(other))["fp32"]
    write_ready_encoder(Source(layout, one, other), tmp_path / "encoder", "pair")
    encoder = OnnxEncoder(tmp_path / "encoder")
    texts = fitting(encoder)
    tokenizer = Tokenizer.from_file(str(other / "tokenizer.json"))
    encodings = [tokenizer.encode(each) for each in texts]
    longest = max(len(each.ids) for each in encodings)
    tokenizer.enable_padding(length=longest)
    encodings = [tokenizer.encode(each) for each in texts]
    feed = {
        "input_ids": np.array([each.ids for each in encodings]),
        "attention_mask": np.array([each.attention_mask for each in encodings]),
    }
    assert_same(encoder.encode_texts(texts), run(other / "model.onnx", "text_embeds", feed))
    assert encoder.encode_images(pictures).shape == (20, hub.DIMENSION)


# --- precisions ------------------------------------------------------------------------------


def test_the_variant_of_the_precision_is_taken(tmp_path: Path) -> None:
    files = hub.clip_js()
    for side in ("vision", "text"):
        for suffix in ("fp16", "quantized", "q4"):
            files[f"onnx/{side}_model_{suffix}.onnx"] = files[f"onnx/{side}_model.onnx"]
    del files["onnx/text_model_q4.onnx"]
    layouts = find_layouts(files)
    assert list(layouts) == ["fp32", "fp16", "int8"]
    assert layouts["int8"].text_graph == "onnx/text_model_quantized.onnx"
    with pytest.raises(EncoderError, match="in q4: --precision fp32 or fp16 or int8 would be"):
        choose(layouts, "q4", "it")
    take(files, tmp_path, "int8")
    assert declared(tmp_path)["precision"] == "int8"


def test_graphs_stored_in_int8_run_and_are_like_the_whole_ones(
    tmp_path: Path, pictures: list[Image.Image]
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, whole = take(hub.clip_js(), tmp_path / "whole")
    files = hub.files_in(source)
    for side in ("vision", "text"):
        quantized = tmp_path / f"{side}.onnx"
        graph = source / f"onnx/{side}_model.onnx"
        quantize_dynamic(graph, quantized, weight_type=QuantType.QUInt8)
        files[f"onnx/{side}_model_quantized.onnx"] = quantized.read_bytes()
    _, encoder = take(files, tmp_path, "int8")
    cosines = encoder.encode_images(pictures) * whole.encode_images(pictures)
    assert 0.99 < cosines.sum(axis=1).min() < 0.99999


def test_half_precision_runs(tmp_path: Path) -> None:
    files = hub.clip_js()
    graph = files["onnx/vision_model.onnx"]
    for tensor in graph.graph.initializer:
        halves = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(halves, tensor.name))
    graph.graph.node[0].attribute[0].i = TensorProto.FLOAT16
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    files |= {
        "onnx/vision_model_fp16.onnx": graph,
        "onnx/text_model_fp16.onnx": files["onnx/text_model.onnx"],
    }
    _, encoder = take(files, tmp_path, "fp16")
    found = encoder.encode_images([Image.new("RGB", (30, 30), "red")])
    assert found.dtype == np.float32


def test_a_graph_without_a_kernel_is_one_sentence(tmp_path: Path) -> None:
    files = hub.clip_js()
    graph = files["onnx/vision_model.onnx"]
    graph.graph.node.extend(
        [
            helper.make_node("Cast", ["pixel_values"], ["doubles"], to=TensorProto.DOUBLE),
            helper.make_node("GlobalMaxPool", ["doubles"], ["peaks"]),  # a kernel for floats alone
        ]
    )
    graph.graph.output.append(helper.make_tensor_value_info("peaks", TensorProto.DOUBLE, None))
    with pytest.raises(EncoderError, match=r"no kernel for the fp32 graph image.onnx.*MaxPool"):
        take(files, tmp_path)


# --- on every core ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: hub.immich("clip"), hub.clip_js])
def test_many_threads_share_one_session(
    tmp_path: Path,
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], dict[str, Any]],
) -> None:
    take(make(), tmp_path)
    opened = []

    def open_slowly(path: Path, **options: Any) -> Any:
        opened.append((path.name, options["threads"]))
        time.sleep(0.05)
        return open_graph(path, **options)

    monkeypatch.setattr("scenesearch.encoder.onnx.open_graph", open_slowly)
    encoder = OnnxEncoder(tmp_path / "encoder", image_threads=1)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: encoder.encode_images([each])[0], pictures))
    assert opened == [("image.onnx", 1)]
    assert_same(np.stack(found), OnnxEncoder(tmp_path / "encoder").encode_images(pictures))


# --- strangers -------------------------------------------------------------------------------


def test_weights_in_files_of_their_own_come_along(tmp_path: Path) -> None:
    """Immich's large graphs have a file named by a UUID, older ones a file for each tensor."""
    files = hub.immich("clip")
    uuid = "2202c01a-47f5-11ef-ab4b-00155d655292"
    parts = hub.with_external_weights(files["visual/model.onnx"], tmp_path / "graph", uuid)
    files |= {f"visual/{name}": content for name, content in parts.items()}
    _, encoder = take(files, tmp_path)
    assert encoder.info.image.graph == "image/model.onnx"
    assert encoder.info.image.external == (uuid,)
    assert (tmp_path / "encoder" / "image" / uuid).is_file()


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("../../stolen", "keeps weights in a file '../../stolen': it is not taken"),
        ("/etc/passwd", "keeps weights in a file '/etc/passwd'"),
        ("gone_______", "keeps weights in gone_______, which is missing beside it"),
    ],
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str, sentence: str) -> None:
    files = hub.immich("clip")
    beside = "x" * len(location)
    parts = hub.with_external_weights(files["visual/model.onnx"], tmp_path / "graph", beside)
    graph = parts["model.onnx"].replace(beside.encode(), location.encode())
    with pytest.raises(EncoderError, match=sentence):
        take(files | {"visual/model.onnx": graph}, tmp_path)


def _custom() -> onnx.ModelProto:
    graph = hub.image_graph(24)
    graph.graph.node[1].CopyFrom(
        helper.make_node("Mystery", ["levels"], ["flat"], domain="com.example")
    )
    graph.opset_import.append(helper.make_opsetid("com.example", 1))
    return graph


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config.json", b"[" * 100_000, "is not JSON"),
        ("config.json", b" " * (33 * 2**20), "is larger than any configuration"),
        ("config.json", [1], "is not a JSON object"),
        ("tokenizer.json", b"{}", "tokenizer.json is not usable"),
        ("tokenizer_config.json", {"padding_side": "left"}, "pads texts on the left"),
        ("tokenizer_config.json", {"model_max_length": 1}, None),
        ("onnx/vision_model.onnx", b"", "is empty"),
        ("onnx/vision_model.onnx", b"no graph", "is not a usable ONNX graph"),
        ("onnx/vision_model.onnx", _custom(), "is not a usable ONNX graph"),
        ("onnx/vision_model.onnx", hub.image_graph(20), "takes 20 x 20 pixels"),
        ("onnx/vision_model.onnx", hub.image_graph(24, output="last_hidden_state"), "is needed"),
        ("onnx/vision_model.onnx", hub.image_graph(24, output="pooler_output"), "is needed"),
        ("onnx/vision_model.onnx", hub.text_graph(9, "mask"), "the graph for images takes"),
        ("onnx/text_model.onnx", hub.text_graph(9, "end"), "cannot be computed"),
        (
            "onnx/text_model.onnx",
            hub.text_graph(2000, "end", "tokens"),
            "the graph for texts takes",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_sentence(
    tmp_path: Path, name: str, content: Any, sentence: str | None
) -> None:
    files = hub.clip_js() | {name: content}
    if sentence is None:
        take(files, tmp_path)
        return
    with pytest.raises(EncoderError, match=sentence) as raised:
        take(files, tmp_path)
    assert "\n" not in str(raised.value)


def test_capitals_that_change_a_siglip_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenesearch.encoder.ready.clean_as_trained", lambda *_: None)
    with pytest.raises(EncoderError, match="trained without capitals, and 'A Dog' is another text"):
        take(hub.siglip2_js(), tmp_path)


@pytest.mark.parametrize("side", ["vision", "text"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, side: str) -> None:
    files = hub.clip_js()
    graph = files[f"onnx/{side}_model.onnx"].graph
    for tensor in graph.initializer:
        if tensor.name in ("words", "image_weights"):
            values = onnx.numpy_helper.to_array(tensor) * np.float32(np.nan)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(EncoderError, match="gives no finite numbers"):
        take(files, tmp_path)


def test_towers_of_different_dimensions_are_refused(tmp_path: Path) -> None:
    files = hub.clip_js()
    graph = files["onnx/vision_model.onnx"].graph
    weights = onnx.numpy_helper.to_array(graph.initializer[0])
    less = onnx.numpy_helper.from_array(weights[:, :6].copy(), "image_weights")
    graph.initializer[0].CopyFrom(less)
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6
    with pytest.raises(EncoderError, match="declares 6 dimensions"):
        take(files, tmp_path)


def test_the_files_of_weights_are_read_from_the_graph(tmp_path: Path) -> None:
    hub.with_external_weights(hub.image_graph(24), tmp_path, "model.onnx_data")
    assert external_files(tmp_path / "model.onnx") == ("model.onnx_data",)
    onnx.save(hub.image_graph(24), tmp_path / "whole.onnx")
    assert external_files(tmp_path / "whole.onnx") == ()

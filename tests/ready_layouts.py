"""Repositories of ready ONNX graphs as they lie on the hub, with tiny random graphs.

Names of files, configurations, inputs and outputs are those of real repositories; tokenizers are
of the right class, trained here.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.awkward import TEXTS

DIMENSION = 8
CORPUS = [*TEXTS, *(text.lower() for text in TEXTS), "a photo of a red dog on a beach"] * 3
Pool = Literal["end", "last", "mask"]
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_files(folder: Path, files: dict[str, Any]) -> Path:
    """Bytes, tokenizers, graphs and, as JSON, everything else."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, onnx.ModelProto):
            content = content.SerializeToString()
        elif isinstance(content, Tokenizer):
            content = content.to_str().encode()
        elif not isinstance(content, bytes):
            content = json.dumps(content).encode()
        (folder / name).write_bytes(content)
    return folder


# --- graphs ----------------------------------------------------------------------------------


def image_nodes(size: int, name: str, output: str, *, uint8: bool = False) -> tuple[list, list]:
    weights = np.random.default_rng(size).normal(0, 0.05, (3 * size * size, DIMENSION))
    nodes = [
        helper.make_node("Cast", [name], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["levels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "image_weights"], [output]),
    ]
    scale = 1 / 255 if uint8 else 1
    return nodes, [numpy_helper.from_array((weights * scale).astype(np.float32), "image_weights")]


def image_graph(
    size: int,
    name: str = "pixel_values",
    output: str = "image_embeds",
    *,
    batch: int | str = "n",
    uint8: bool = False,
) -> onnx.ModelProto:
    nodes, weights = image_nodes(size, name, output, uint8=uint8)
    shape = [batch, size, size, 3] if uint8 else [batch, 3, size, size]
    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    taken = [helper.make_tensor_value_info(name, kind, shape)]
    given = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, DIMENSION])]
    return _model(nodes, taken, given, weights)


def text_nodes(vocabulary: int, pool: Pool, name: str, output: str) -> tuple[list, list]:
    """Every token and its place matter, and what `pool` looks at."""
    random = np.random.default_rng(vocabulary)
    places = 1 + random.random((600, 1))
    nodes = [
        helper.make_node("Cast", [name], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["words", "ids"], ["vectors"]),
        helper.make_node("Shape", ["ids"], ["length"], start=1, end=2),
        helper.make_node("Slice", ["places", "zero", "length", "zero"], ["here"]),
        helper.make_node("Mul", ["vectors", "here"], ["placed"]),
    ]
    if pool == "mask":
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "two"], ["weights"]),
            helper.make_node("Mul", ["placed", "weights"], ["seen"]),
            helper.make_node("ReduceSum", ["seen", "one"], [output], keepdims=0),
        ]
    elif pool == "last":
        nodes.append(helper.make_node("ReduceSum", ["placed", "one"], [output], keepdims=0))
    else:  # nothing after the first token with the highest number is seen
        nodes += [
            helper.make_node("CumSum", ["placed", "one_axis"], ["sums"]),
            helper.make_node("ArgMax", ["ids"], ["end"], axis=1, keepdims=1),
            helper.make_node("Unsqueeze", ["end", "two"], ["ends"]),
            helper.make_node("Expand", ["ends", "wide"], ["places_of_end"]),
            helper.make_node("GatherElements", ["sums", "places_of_end"], ["pooled"], axis=1),
            helper.make_node("Squeeze", ["pooled", "one"], [output]),
        ]
    words = random.normal(0, 1, (vocabulary, DIMENSION)).astype(np.float32)
    constants = {"zero": [0], "one": [1], "two": [2], "one_axis": 1, "wide": [1, 1, DIMENSION]}
    return nodes, [
        numpy_helper.from_array(words, "words"),
        numpy_helper.from_array(places.astype(np.float32), "places"),
        *(numpy_helper.from_array(np.array(v, np.int64), n) for n, v in constants.items()),
    ]


def text_graph(
    vocabulary: int,
    pool: Pool,
    name: str = "input_ids",
    output: str = "text_embeds",
    *,
    shape: Sequence[int | str] = ("n", "t"),
    kind: int = TensorProto.INT64,
) -> onnx.ModelProto:
    nodes, weights = text_nodes(vocabulary, pool, name, output)
    names = [name, *(["attention_mask"] if pool == "mask" else [])]
    taken = [helper.make_tensor_value_info(each, kind, shape) for each in names]
    given = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [shape[0], DIMENSION])]
    return _model(nodes, taken, given, weights)


def joint_graph(
    size: int,
    vocabulary: int,
    pool: Pool,
    outputs: tuple[str, str],
    *,
    logits: bool = False,
    needs_a_picture: bool = False,
) -> onnx.ModelProto:
    """Both towers; with `logits` of every text and picture, as CLIP's own graph."""
    image, image_weights = image_nodes(size, "pixel_values", outputs[0])
    text, text_weights = text_nodes(vocabulary, pool, "input_ids", outputs[1])
    nodes, given = [*image, *text], list(outputs)
    if logits:
        nodes += [
            helper.make_node("Transpose", [outputs[0]], ["columns"], perm=[1, 0]),
            helper.make_node("MatMul", [outputs[1], "columns"], ["logits_per_text"]),
        ]
        given.append("logits_per_text")
    if needs_a_picture:  # an empty batch has no first row
        nodes += [
            helper.make_node("Gather", [outputs[0], "zero"], ["first"]),
            helper.make_node("ReduceSum", ["first"], ["brightness"], keepdims=1),
            helper.make_node("Mul", ["brightness", "nothing"], ["dark"]),
            helper.make_node("Add", [outputs[1], "dark"], ["text_again"]),
        ]
        text_weights.append(numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
        given[1] = "text_again"
    names = ["input_ids", *(["attention_mask"] if pool == "mask" else [])]
    taken = [
        *(helper.make_tensor_value_info(each, TensorProto.INT64, ["m", "t"]) for each in names),
        helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, size, size]),
    ]
    model = _model(
        nodes,
        taken,
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in given],
        [*image_weights, *text_weights],
    )
    if needs_a_picture:
        _rename(model, {outputs[1]: "raw_texts", "text_again": outputs[1]})
    return model


def with_external_weights(model: onnx.ModelProto, folder: Path, location: str) -> dict[str, bytes]:
    """The graph and the file of weights beside it, as `model.onnx` and its location."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        location=location,
        size_threshold=200,
    )
    return {name: (folder / name).read_bytes() for name in ("model.onnx", location)}


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        node.input[:] = [names.get(each, each) for each in node.input]
        node.output[:] = [names.get(each, each) for each in node.output]
    for value in model.graph.output:
        value.name = names.get(value.name, value.name)


def _model(nodes: list, taken: list, given: list, weights: list) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "tower", taken, given, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


# --- tokenizers ------------------------------------------------------------------------------


def clip_tokenizer() -> Tokenizer:
    """As OpenAI's: bytes in pieces of words, with ends of words; the end token comes last."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=[],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # Every byte also ends words, and the special tokens come last: CLIP pools at the highest.
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for piece in (
        *(f"{byte}</w>" for byte in sorted(alphabet)),
        "<|startoftext|>",
        "<|endoftext|>",
    ):
        vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    around = [(piece, vocabulary[piece]) for piece in ("<|endoftext|>", "<|startoftext|>")]
    tokenizer.post_processor = processors.RobertaProcessing(
        *around, trim_offsets=False, add_prefix_space=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gemma_tokenizer() -> Tokenizer:
    """As Gemma's: pieces with ▁ for blanks, unknown letters as bytes; it keeps capitals."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=200,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer


def unigram_tokenizer(special: Sequence[str] = ("<s>", "<pad>", "</s>", "<unk>")) -> Tokenizer:
    """As XLM-RoBERTa's: a unigram SentencePiece between <s> and </s>."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=700, special_tokens=list(special), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[(piece, tokenizer.token_to_id(piece)) for piece in ("<s>", "</s>")],
    )
    return tokenizer


def nllb_tokenizer() -> Tokenizer:
    """As NLLB's: each text begins with the token of its language."""
    codes = ["eng_Latn", "fra_Latn", "zho_Hans", "deu_Latn"]
    tokenizer = unigram_tokenizer(("<s>", "<pad>", "</s>", "<unk>"))
    tokenizer.add_special_tokens(codes)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="eng_Latn $A </s>",
        special_tokens=[(piece, tokenizer.token_to_id(piece)) for piece in ("eng_Latn", "</s>")],
    )
    return tokenizer


def bert_tokenizer() -> Tokenizer:
    """As Chinese-CLIP's: BERT's word pieces, every Chinese letter a token."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=900, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


# --- repositories ----------------------------------------------------------------------------

CLIP_PREPROCESSOR = {
    "crop_size": {"height": 24, "width": 24},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "image_processor_type": "CLIPFeatureExtractor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 24},
}
MOBILECLIP_PREPROCESSOR = {
    key: value for key, value in CLIP_PREPROCESSOR.items() if not key.startswith("image_")
} | {"do_normalize": False, "resample": 2, "image_processor_type": "CLIPFeatureExtractor"}
SIGLIP_PREPROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "processor_class": "SiglipProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 24, "width": 24},
}
JINA_PREPROCESSOR = {
    "auto_map": {"AutoProcessor": "jinaai/jina-clip-implementation--processing_clip"},
    "fill_color": 0,
    "image_processor_type": "JinaCLIPImageProcessor",
    "interpolation": "bicubic",
    "mean": CLIP_MEAN,
    "processor_class": "JinaCLIPProcessor",
    "resize_mode": "shortest",
    "size": 24,
    "std": CLIP_STD,
}
CLIP_TOKENIZER_CONFIG = {
    "bos_token": {"__type": "AddedToken", "content": "<|startoftext|>"},
    "eos_token": {"__type": "AddedToken", "content": "<|endoftext|>"},
    "do_lower_case": True,
    "model_max_length": 77,
    "pad_token": "<|endoftext|>",
    "tokenizer_class": "CLIPTokenizer",
}


def clip_js() -> dict[str, Any]:
    """Xenova/clip-vit-base-patch32."""
    tokenizer = clip_tokenizer()
    return {
        "config.json": {
            "architectures": ["CLIPModel"],
            "logit_scale_init_value": 2.6592,
            "model_type": "clip",
            "projection_dim": DIMENSION,
            "text_config": {"model_type": "clip_text_model"},
            "vision_config": {"model_type": "clip_vision_model"},
        },
        "preprocessor_config.json": CLIP_PREPROCESSOR,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": CLIP_TOKENIZER_CONFIG,
        "onnx/vision_model.onnx": image_graph(24),
        "onnx/text_model.onnx": text_graph(tokenizer.get_vocab_size(), "end"),
    }


def mobileclip_js() -> dict[str, Any]:
    """Xenova/mobileclip_s0: its text tower is a convolution and sees the padding."""
    files = clip_js()
    vocabulary = files["tokenizer.json"].get_vocab_size()
    return files | {
        "config.json": {"model_type": "clip"},
        "preprocessor_config.json": MOBILECLIP_PREPROCESSOR,
        "onnx/text_model.onnx": text_graph(vocabulary, "last"),
    }


def siglip2_js() -> dict[str, Any]:
    """onnx-community/siglip2-base-patch16-224-ONNX: it names Gemma's class of tokenizers."""
    tokenizer = gemma_tokenizer()
    return {
        "config.json": {
            "architectures": ["SiglipModel"],
            "initializer_factor": 1.0,
            "model_type": "siglip",
            "text_config": {
                "max_position_embeddings": 64,
                "model_type": "siglip_text_model",
                "vocab_size": 256000,
            },
            "vision_config": {"model_type": "siglip_vision_model"},
        },
        "preprocessor_config.json": SIGLIP_PREPROCESSOR | {"resample": 2},
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            "add_bos_token": False,
            "add_eos_token": True,
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "model_max_length": 64,
            "pad_token": "<pad>",
            "padding_side": "right",
            "tokenizer_class": "GemmaTokenizer",
        },
        "onnx/vision_model.onnx": image_graph(24, output="pooler_output"),
        "onnx/text_model.onnx": text_graph(
            tokenizer.get_vocab_size(), "last", output="pooler_output"
        ),
    }


def chinese_clip_js(*, needs_a_picture: bool = False) -> dict[str, Any]:
    """Xenova/chinese-clip-vit-base-patch16: one graph for both towers."""
    tokenizer = bert_tokenizer()
    return {
        "config.json": {
            "architectures": ["ChineseCLIPModel"],
            "model_type": "chinese_clip",
            "text_config": {
                "model_type": "chinese_clip_text_model",
                "max_position_embeddings": 512,
            },
        },
        "preprocessor_config.json": CLIP_PREPROCESSOR
        | {"size": {"height": 24, "width": 24}, "do_center_crop": False},
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"model_max_length": 512, "pad_token": "[PAD]"},
        "onnx/model.onnx": joint_graph(
            24,
            tokenizer.get_vocab_size(),
            "mask",
            ("image_embeds", "text_embeds"),
            logits=True,
            needs_a_picture=needs_a_picture,
        ),
    }


def jina_v2_js(folder: Path) -> dict[str, Any]:
    """jinaai/jina-clip-v2: one graph with its weights beside it."""
    tokenizer = unigram_tokenizer()
    graph = joint_graph(
        24, tokenizer.get_vocab_size(), "end", ("image_embeddings", "text_embeddings")
    )
    parts = with_external_weights(graph, folder, "model.onnx_data")
    return {
        "config.json": {
            "architectures": ["JinaCLIPModel"],
            "matryoshka_dimensions": [2, 4, 8],
            "model_type": "jina_clip",
            "text_config": {
                "embed_dim": DIMENSION,
                "hf_model_config_kwargs": {
                    "task_instructions": {
                        "retrieval.query": "Represent the query for retrieving evidence documents: "
                    },
                },
                "hf_model_name_or_path": "jinaai/jina-embeddings-v3",
                "model_type": "jina_clip_text",
            },
        },
        "preprocessor_config.json": JINA_PREPROCESSOR,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"model_max_length": 8194, "pad_token": "<pad>"},
        **{f"onnx/{name}": content for name, content in parts.items()},
    }


def immich(kind: Literal["clip", "siglip", "mclip", "nllb"]) -> dict[str, Any]:
    """immich-app/...: graphs of one row, texts always of the whole length."""
    make = {
        "clip": clip_tokenizer,
        "siglip": lambda: unigram_tokenizer(("<pad>", "</s>", "<s>", "<unk>")),
        "mclip": unigram_tokenizer,
        "nllb": nllb_tokenizer,
    }
    tokenizer = make[kind]()
    pad = "<|endoftext|>" if kind == "clip" else "<pad>"
    length = {"clip": 77, "siglip": 64, "mclip": 77, "nllb": 64}[kind]
    text_cfg: dict[str, Any] = {"context_length": length, "vocab_size": 49408}
    if kind in ("siglip", "nllb"):
        text_cfg |= {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP"}
    if kind == "siglip":
        text_cfg |= {"tokenizer_kwargs": {"clean": "canonicalize"}}
    pool: Pool = {"clip": "end", "siglip": "last", "mclip": "mask", "nllb": "last"}[kind]
    text = text_graph(
        tokenizer.get_vocab_size(),
        pool,
        "input_ids" if kind == "mclip" else "text",
        "embedding",
        shape=(1, length),
        kind=TensorProto.INT32,
    )
    squash = kind in ("siglip", "nllb")
    return {
        "config.json": {
            "embed_dim": 512,
            "vision_cfg": {"image_size": 24, "layers": 12, "width": 768, "patch_size": 32},
            "text_cfg": text_cfg,
        },
        "visual/preprocess_cfg.json": {
            "size": [24, 24],
            "mode": "RGB",
            "mean": [0.5] * 3 if squash else CLIP_MEAN,
            "std": [0.5] * 3 if squash else CLIP_STD,
            "interpolation": "bicubic",
            "resize_mode": "squash" if squash else "shortest",
            "fill_color": 0,
        },
        "visual/model.onnx": image_graph(24, "image", "embedding", batch=1),
        "visual/fp16/model.armnn": b"armnn",
        "visual/rknpu/rk3566/model.rknn": b"rknn",
        "textual/model.onnx": text,
        "textual/tokenizer.json": tokenizer,
        "textual/tokenizer_config.json": {"pad_token": pad, "model_max_length": length},
    }


def fastembed_pair() -> tuple[dict[str, Any], dict[str, Any]]:
    """Qdrant/clip-ViT-B-32-vision and Qdrant/clip-ViT-B-32-text."""
    files = clip_js()
    vision = {
        "config.json": {
            "architectures": ["CLIPVisionModelWithProjection"],
            "image_size": 24,
            "model_type": "clip_vision_model",
            "projection_dim": DIMENSION,
        },
        "model.onnx": files["onnx/vision_model.onnx"],
        "preprocessor_config.json": CLIP_PREPROCESSOR,
    }
    text = {
        "config.json": {
            "architectures": ["CLIPTextModelWithProjection"],
            "max_position_embeddings": 77,
            "model_type": "clip_text_model",
        },
        "model.onnx": text_graph(files["tokenizer.json"].get_vocab_size(), "mask"),
        "tokenizer.json": files["tokenizer.json"],
        "tokenizer_config.json": CLIP_TOKENIZER_CONFIG,
        "special_tokens_map.json": {"pad_token": "<|endoftext|>"},
    }
    return vision, text

"""open_clip folders as the real repositories have them, of tiny random weights.

The configurations are those of the library for published models, with fewer and thinner layers, and
the image models of timm in a tiny shape: `FAMILIES` is the list.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer
from timm.models.vitamin import vitamin_small_224
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer
from torch import nn

from tests.awkward import TEXTS

OPENAI = {
    "mean": list(open_clip.OPENAI_DATASET_MEAN),
    "std": list(open_clip.OPENAI_DATASET_STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
_TIMM_OWN = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "drop_path_rate")


def _of_timm(build: Callable[..., nn.Module], **shape: Any) -> Callable[..., nn.Module]:
    def make(pretrained: bool = False, **options: Any) -> nn.Module:
        assert not pretrained
        model = build(**shape, **{k: v for k, v in options.items() if k not in _TIMM_OWN})
        model.default_cfg = {}
        return model

    return make


_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


def _register(name: str, make: Callable[..., nn.Module]) -> None:
    make.__name__, make.__module__ = name, "timm.models.vision_transformer"
    register_model(make)


# SigLIP's: no class token, attention pooling.
_register(
    "vit_tiny_siglip_32",
    _of_timm(VisionTransformer, class_token=False, **_VIT),
)
# PE-Core's: rotary positions, attention pooling.
_register(
    "vit_pe_core_nano_32",
    _of_timm(
        Eva,
        **_VIT,
        attn_type="rope",
        use_pre_transformer_norm=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(4, 4),
        rope_grid_offset=1.0,
        rope_grid_indexing="xy",
        attn_pool_num_heads=2,
        attn_pool_mlp_ratio=4.0,
        norm_layer=nn.LayerNorm,
    ),
)
# EVA02-CLIP's: SwiGLU, rotary positions, norms within.
_register(
    "eva02_nano_clip_32",
    _of_timm(
        Eva,
        **_VIT,
        qkv_fused=False,
        mlp_ratio=4 * 2 / 3,
        swiglu_mlp=True,
        scale_mlp=True,
        scale_attn_inner=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(4, 4),
    ),
)
# ViTamin's own, with fewer blocks.
_register("vitamin_nano_32", _of_timm(vitamin_small_224, img_size=32, depth=2))
# MobileCLIP's: convolutions that are trained apart.
_register(
    "fastvit_mci_nano",
    _of_timm(
        FastVit,
        layers=(1, 1, 1, 1),
        embed_dims=(16, 32, 32, 64),
        mlp_ratios=(2, 2, 2, 2),
        se_downsamples=(False, False, True, True),
        downsamples=(False, True, True, True),
        token_mixers=("repmixer", "repmixer", "repmixer", "attention"),
        lkc_use_act=True,
    ),
)

_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
_VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}


@dataclass(frozen=True)
class Family:
    """`like`: the library's configuration that is made tiny."""

    like: str
    preprocess: dict[str, Any] | None  # of the folder; None: it has no preprocess_cfg
    vision: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    weights: str = "open_clip_model.safetensors"
    tokenizer: str | None = None


def _siglip(preprocess: dict[str, Any] | None, like: str, tokenizer: str, words: int) -> Family:
    return Family(
        like,
        preprocess,
        {"timm_model_name": "vit_tiny_siglip_32", "image_size": 32},
        {"vocab_size": words, "width": 32, "heads": 2, "layers": 2},
        tokenizer=tokenizer,
    )


_SIGLIP_CFG = HALF | {"interpolation": "bicubic", "resize_mode": "squash"}
FAMILIES = {
    "laion": Family("ViT-B-32", {k: OPENAI[k] for k in ("mean", "std")}, _VISION, _TEXT),
    "datacomp": Family(
        "ViT-B-16", OPENAI, _VISION, _TEXT, weights="open_clip_pytorch_model.safetensors"
    ),
    "openai": Family("ViT-B-32-quickgelu", None, _VISION, _TEXT),
    "resnet": Family(
        "RN50",
        OPENAI,
        {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
        _TEXT,
        {"embed_dim": 32},
    ),
    "convnext": Family(
        "convnext_base",
        OPENAI,
        {"timm_model_name": "convnext_atto", "image_size": 64},
        _TEXT,
    ),
    "dfn": Family("ViT-H-14-378-quickgelu", OPENAI | {"resize_mode": "squash"}, _VISION, _TEXT),
    "eva02": Family(
        "EVA02-B-16", OPENAI, {"timm_model_name": "eva02_nano_clip_32", "image_size": 32}, _TEXT
    ),
    "vitamin": Family(
        "ViTamin-S", OPENAI, {"timm_model_name": "vitamin_nano_32", "image_size": 32}, _TEXT
    ),
    "pe": Family(
        "PE-Core-B-16",
        HALF | {"interpolation": "bilinear", "resize_mode": "squash"},
        {"timm_model_name": "vit_pe_core_nano_32", "image_size": 32},
        _TEXT | {"context_length": 32},
        {"embed_dim": 32},
    ),
    "mobileclip": Family(
        "MobileCLIP-S1", None, {"timm_model_name": "fastvit_mci_nano", "image_size": 64}, _TEXT
    ),
    "mobileclip2": Family(
        "MobileCLIP2-S0",
        OPENAI | {"interpolation": "bilinear"},
        {"timm_model_name": "fastvit_mci_nano", "image_size": 64},
        _TEXT,
    ),
    "siglip": _siglip(_SIGLIP_CFG, "ViT-B-16-SigLIP", "t5", 2000),
    "siglip2": _siglip(None, "ViT-B-16-SigLIP2", "gemma", 2000),
    "clipa": Family(
        "ViT-L-14-CLIPA",
        None,
        _VISION,
        {"vocab_size": 1000, "width": 32, "heads": 2, "layers": 2},
        tokenizer="bert",
    ),
    "coca": Family(
        "coca_ViT-B-32",
        OPENAI,
        _VISION | {"attn_pooler_heads": 2, "attn_pooler_queries": 8},
        {"width": 32, "heads": 2, "layers": 2},
        {
            "multimodal_cfg": {
                "context_length": 76,
                "vocab_size": 49408,
                "width": 32,
                "heads": 2,
                "layers": 1,
            },
            "embed_dim": 32,
        },
    ),
    "xlm_roberta": Family("xlm-roberta-base-ViT-B-32", OPENAI, _VISION, tokenizer="xlm-roberta"),
    "nllb": Family("nllb-clip-base", OPENAI, _VISION, tokenizer="nllb"),
    "longest": Family("ViT-B-32", OPENAI | {"resize_mode": "longest"}, _VISION, _TEXT),
}


def tiny_config(name: str) -> dict[str, Any]:
    family = FAMILIES[name]
    config = copy.deepcopy(open_clip.get_model_config(family.like))
    config["embed_dim"] = 32
    config |= copy.deepcopy(family.top)
    config["vision_cfg"] |= family.vision
    config["text_cfg"] |= family.text
    if config["vision_cfg"].get("patch_size", 1) is None:
        del config["vision_cfg"]["patch_size"]
    return config


def write_folder(name: str, folder: Path, seed: int = 0) -> Path:
    """A folder with the files that the real repository has."""
    family, config = FAMILIES[name], tiny_config(name)
    folder.mkdir(parents=True)
    if family.tokenizer:
        write_tokenizer(family.tokenizer, folder)
    if config["text_cfg"].get("hf_model_name"):
        write_text_config(family.tokenizer or "", folder)
    model = build(config, folder, seed)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / family.weights)
    content: dict[str, Any] = {"model_cfg": config}
    if family.preprocess is not None:
        content["preprocess_cfg"] = family.preprocess
    (folder / "open_clip_config.json").write_text(json.dumps(content, indent=2))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def build(config: dict[str, Any], folder: Path, seed: int = 0) -> Any:
    config = copy.deepcopy(config)
    torch.manual_seed(seed)
    kind = open_clip.CLIP
    text = config["text_cfg"]
    if text.get("hf_model_name"):
        text |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
    if config.pop("custom_text", False) or text.get("hf_model_name"):
        kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    model = kind(**config)
    with torch.no_grad():
        # What the library begins with at zero or one would hide mistakes.
        for parameter in model.parameters():
            if parameter.ndim > 0:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        _fit_batch_norms(model.visual)
    return model.eval()


def _fit_batch_norms(visual: Any) -> None:
    """Without this every picture would have nearly the same vector."""
    norms = [part for part in visual.modules() if isinstance(part, nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        size = visual.image_size
        visual.train()(torch.randn(8, 3, *(size if isinstance(size, tuple) else (size, size))))


def write_text_config(kind: str, folder: Path) -> None:
    words = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    if kind == "nllb":
        config: dict[str, Any] = {
            "model_type": "m2m_100",
            "vocab_size": words,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 128,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "is_encoder_decoder": True,
            "scale_embedding": True,
        }
    else:
        config = {
            "model_type": "xlm-roberta",
            "vocab_size": words,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 130,
            "type_vocab_size": 1,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        }
    (folder / "config.json").write_text(json.dumps(config))


# --- tokenizers of each family, trained on the texts they are compared on --------------------


def write_tokenizer(kind: str, folder: Path) -> None:
    make = {
        "t5": _t5,
        "gemma": _gemma,
        "bert": _bert,
        "xlm-roberta": _xlm_roberta,
        "nllb": _nllb,
    }
    tokenizer, declared = make[kind]()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(declared))


_CORPUS = [text for text in TEXTS if len(text) < 300] * 2


def _t5() -> tuple[Tokenizer, dict[str, Any]]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("  ", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = UnigramTrainer(vocab_size=700, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    # As timm/ViT-B-16-SigLIP: padded with the end token.
    return tokenizer, {
        "tokenizer_class": "T5Tokenizer",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
        "extra_ids": 0,
        "legacy": False,
        "model_max_length": 64,
    }


def _gemma() -> tuple[Tokenizer, dict[str, Any]]:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = BpeTrainer(vocab_size=700, special_tokens=special[:4], limit_alphabet=120)
    tokenizer.train_from_iterator([t.lower().replace(" ", "▁") for t in _CORPUS], trainer)
    state = json.loads(tokenizer.to_str())
    vocab = state["model"]["vocab"]
    for byte in special[4:]:
        vocab.setdefault(byte, len(vocab))
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.ByteFallback()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer, {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": False,
        "add_eos_token": True,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "padding_side": "right",
        "model_max_length": 64,
    }


def _bert() -> tuple[Tokenizer, dict[str, Any]]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(_CORPUS, WordPieceTrainer(vocab_size=900, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer, {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": 512,
    }


def _xlm_roberta() -> tuple[Tokenizer, dict[str, Any]]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = UnigramTrainer(vocab_size=700, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer, {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}


def _nllb() -> tuple[Tokenizer, dict[str, Any]]:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(_CORPUS, BpeTrainer(vocab_size=900, special_tokens=special))
    tokenizer.add_special_tokens(["eng_Latn", "deu_Latn", "fra_Latn", "<mask>"])
    english = tokenizer.token_to_id("eng_Latn")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="eng_Latn $A </s>", special_tokens=[("eng_Latn", english), ("</s>", 2)]
    )
    return tokenizer, {
        "tokenizer_class": "NllbTokenizer",
        "src_lang": "eng_Latn",
        "additional_special_tokens": ["eng_Latn", "deu_Latn", "fra_Latn"],
        "model_max_length": 1024,
    }

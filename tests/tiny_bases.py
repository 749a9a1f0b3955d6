"""Folders of small models with random weights, of the families that training starts from."""

import json
from pathlib import Path

import torch
import transformers


def write_siglip(folder: Path, clip: Path) -> Path:
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    shape = {**text, "num_attention_heads": 4}
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    config = transformers.SiglipConfig(
        text_config={
            **shape,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 16,
            "projection_size": 32,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**shape, "image_size": 32, "patch_size": 16},
    )
    torch.manual_seed(0)
    transformers.SiglipModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    prepared = {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": 32, "width": 32},
        "resample": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return folder


def write_dual_encoder(folder: Path, clip: Path) -> Path:
    """A ViT beside a BERT, as VisionTextDualEncoder puts them together."""
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4}
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**shape, image_size=32, patch_size=16),
        transformers.BertConfig(
            **shape, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id
        ),
        projection_dim=24,
    )
    torch.manual_seed(0)
    transformers.VisionTextDualEncoderModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    prepared = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 32},
        "resample": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return folder

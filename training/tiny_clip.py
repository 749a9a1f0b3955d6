"""A CLIP of a few thousand weights with a tokenizer of its own: proves the road, knows nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, trainers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

NAME = "tiny-clip"
IMAGE_SIZE, CONTEXT_LENGTH, VOCABULARY = 32, 40, 320
START, END = "<|startoftext|>", "<|endoftext|>"


def write_tiny_clip(folder: Path, captions: Iterable[str], seed: int) -> Path:
    """A Hugging Face CLIP folder with random weights; the same for the same captions and seed."""
    tokenizer = _tokenizer(captions)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,  # named: 2, the default, asks for a legacy pooling
        "pad_token_id": tokenizer.pad_token_id,
    }
    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": 64,
    }
    text = {
        **shape,
        **ids,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT_LENGTH,
    }
    vision = {**shape, "image_size": IMAGE_SIZE, "patch_size": 8}
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=side).save_pretrained(
        folder
    )
    return folder


def _tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """Byte pairs of the captions, cut into words as CLIP's own tokenizer does."""
    clip = CLIPTokenizer().backend_tokenizer
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    learned.normalizer, learned.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[START, END],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learned.train_from_iterator(sorted(captions), trainer)
    model = json.loads(learned.to_str())["model"]
    merges = [" ".join(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=CONTEXT_LENGTH)

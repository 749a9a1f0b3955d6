"""Towers small enough to train in a second: colours of a picture, words of a text."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn

from scenesearch.encoder.base import ImageInput, TextInput

WORDS = ("[PAD]", "[UNK]", "red", "green", "blue", "dark", "light", "picture", "left", "right")


class _Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.GELU(), nn.AdaptiveAvgPool2d(1))
        self.drop = nn.Dropout(0.1)  # a resumed run must drop what the other would have dropped
        self.head = nn.Linear(8, 6)

    def forward(self, pixel_values):
        return self.head(self.drop(self.body(pixel_values).flatten(1)))


class _Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), 8)
        self.query = nn.Linear(8, 8)
        self.head = nn.Linear(8, 6)

    def forward(self, input_ids, attention_mask):
        words = self.query(self.words(input_ids)) * attention_mask[..., None]
        return self.head(words.sum(1) / attention_mask.sum(1, keepdim=True))


class TinyTowers(nn.Module):
    name, dimension = "tiny", 6
    image_input = ImageInput(
        size=(8, 8),
        resize="squash",
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    text_input = TextInput(context_length=16)
    classifier = None
    logit_bias = None
    parent = {"name": "tiny"}  # noqa: RUF012

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.image_tower, self.text_tower = _Image(), _Text()
        self.log_logit_scale = nn.Parameter(torch.tensor(2.0))
        vocabulary = {word: number for number, word in enumerate(WORDS)}
        self.tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
        self.tokenizer.pre_tokenizer = Whitespace()

    @property
    def logit_scale(self):
        return self.log_logit_scale.exp().clamp(max=100.0)

    def parts(self):
        heads = [*self.image_tower.head.parameters(), *self.text_tower.head.parameters()]
        return {
            "image": list(self.image_tower.body.parameters()),
            "text": [*self.text_tower.words.parameters(), *self.text_tower.query.parameters()],
            "heads": [*heads, self.log_logit_scale],
        }

    @staticmethod
    def save_to(towers: "TinyTowers", folder: Path) -> None:
        save_file(towers.state_dict(), folder / "model.safetensors")

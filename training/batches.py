"""The batches of an epoch, and the texts that a batch of pictures is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.corpus import Example, normalize_caption
from training.recipe import Recipe

_ORDER = 2  # names the stream of random numbers that orders an epoch


def epoch_batches(
    rows_of: Sequence[np.ndarray], weights: Sequence[float], batch: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """Row numbers of every batch of an epoch, each batch from one source.

    A source of weight 1.5 is shown once and then half of it again. Pictures of different sources
    are easy to tell apart, so that in a mixed batch most negatives would teach nothing.
    """
    rng = np.random.default_rng((seed, _ORDER, epoch))
    pieces: list[np.ndarray] = []
    for rows, weight in zip(rows_of, weights, strict=True):
        rounds = [weight - n for n in range(math.ceil(weight))]
        for share in rounds:
            chosen = rng.permutation(rows)[: max(2, round(min(1.0, share) * len(rows)))]
            if len(chosen) >= 2:  # a source may have lost all its pictures to validation
                pieces += np.array_split(chosen, max(1, round(len(chosen) / batch)))
    return [pieces[n] for n in rng.permutation(len(pieces))]


@dataclass(frozen=True)
class Texts:
    """The texts of a batch and how they relate to its pictures, in matrices (images, texts).

    `targets` above 0 are positives; the others are negatives with `negative_weights`. `shares` and
    `votes` are the judgments; a pair that was not judged has 0 votes.
    """

    texts: tuple[str, ...]
    targets: Tensor
    negative_weights: Tensor
    shares: Tensor
    votes: Tensor


def choose_texts(
    examples: Sequence[Example],
    mirrored: Sequence[bool],
    recipe: Recipe,
    rng: np.random.Generator,
) -> Texts:
    """Captions of every picture, and texts that people judged for it.

    A caption that also describes another picture of the batch is a positive of both.
    """
    columns: dict[str, None] = {}
    for example, mirror in zip(examples, mirrored, strict=True):
        captions = example.captions
        own = [captions[n] for n in rng.permutation(len(captions))[: recipe.captions_per_image]]
        own += _choose_judged(example, recipe.judged_per_image, rng)
        columns |= dict.fromkeys(mirror_words(text) if mirror else text for text in own)
    columns_of: dict[str, list[int]] = {}
    for n, text in enumerate(columns):
        columns_of.setdefault(normalize_caption(text), []).append(n)
    shape = (len(examples), len(columns))
    targets, weights = torch.zeros(shape), torch.ones(shape)
    shares, votes = torch.zeros(shape), torch.zeros(shape)
    for row, (example, mirror) in enumerate(zip(examples, mirrored, strict=True)):
        # A judgment counts even if its text is in the batch because of another picture.
        for text, judgment in example.judged.items():
            key = normalize_caption(mirror_words(text) if mirror else text)
            for column in columns_of.get(key, ()):
                shares[row, column], votes[row, column] = judgment.share, judgment.votes
                if judgment.kind == "positive":
                    targets[row, column] = judgment.share
                elif judgment.kind == "negative":
                    weights[row, column] = recipe.hard_negative_weight
                else:
                    weights[row, column] = 0.0
        for caption in example.captions:
            key = normalize_caption(mirror_words(caption) if mirror else caption)
            for column in columns_of.get(key, ()):
                targets[row, column] = 1.0
    return Texts(tuple(columns), targets, weights, shares, votes)


def _choose_judged(example: Example, count: int, rng: np.random.Generator) -> list[str]:
    """Half of them with a yes where there are enough: nine in ten judged pairs have none."""
    if not count or not example.judged:
        return []
    yes = [text for text, judgment in example.judged.items() if judgment.share > 0]
    no = [text for text, judgment in example.judged.items() if judgment.share == 0]
    some = [yes[n] for n in rng.permutation(len(yes))[: (count + 1) // 2]]
    return some + [no[n] for n in rng.permutation(len(no))[: count - len(some)]]


# --- classes of the image base --------------------------------------------------------------


def choose_classes(
    posteriors: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, Tensor]:
    """Classes for one step, the batch's likeliest first, and the posteriors over these classes."""
    likely = np.unique(posteriors.argmax(axis=1))
    rest = np.setdiff1d(np.arange(posteriors.shape[1]), likely)
    count = min(max(count, len(likely)), posteriors.shape[1])
    classes = np.concatenate([likely, rng.permutation(rest)[: count - len(likely)]])
    targets = torch.from_numpy(posteriors[:, classes].astype(np.float32))
    return classes, targets / targets.sum(dim=1, keepdim=True)


def class_prompts(label: str) -> list[str]:
    """'a photo of a great white shark' for each of the names that ImageNet gives the class."""
    return [f"a photo of a {name.strip()}" for name in label.split(",")]


# --- words ----------------------------------------------------------------------------------

_MIRROR = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def mirror_words(caption: str) -> str:
    """A caption of the mirrored picture: left and right change places."""
    return " ".join(_MIRROR.get(word, word) for word in caption.split(" "))


def drop_words(ids: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
    """Some inner tokens left out; the first and last, [CLS] and [SEP], always stay."""
    inner = [token for token in ids[1:-1] if rng.random() >= share]
    return [ids[0], *(inner or ids[1:-1]), ids[-1]]


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """(input_ids, attention_mask), int64 (rows, longest)."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Token ids; a longer text is cut to `longest` and still ends with its closing token."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    return [row if len(row) <= longest else [*row[: longest - 1], row[-1]] for row in rows]

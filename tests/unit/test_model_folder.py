"""What a model folder says of pictures and texts."""

import re
import string

import pytest
from tokenizers import Tokenizer, models, normalizers

from scenesearch.encoder.model_folder import clean_as_trained
from tests.awkward import TEXTS


def _cleaned(tokenizer: Tokenizer, texts: list[str]) -> list[str]:
    return [tokenizer.normalizer.normalize_str(text) for text in texts]


def _unigram() -> Tokenizer:
    return Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))


def test_siglip_never_sees_capitals_or_punctuation() -> None:
    tokenizer = _unigram()
    clean_as_trained(tokenizer, "siglip")
    expected = [
        re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation)))
        for text in TEXTS
    ]
    # Rust lowers a final capital sigma to another letter than Python does.
    assert [text.replace("ς", "σ") for text in _cleaned(tokenizer, TEXTS)] == [
        text.strip().replace("ς", "σ") for text in expected
    ]


@pytest.mark.parametrize("family", ["siglip", "siglip2", "siglip_text_model"])
def test_siglip_2_never_sees_capitals(family: str) -> None:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    clean_as_trained(tokenizer, family)
    assert _cleaned(tokenizer, ["A Dog, É!"]) == ["a▁dog,▁é!"]


def test_a_tokenizer_that_cleans_already_stays_as_it_is() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.NFC()])
    before = tokenizer.to_str()
    clean_as_trained(tokenizer, "siglip2")
    assert tokenizer.to_str() == before


def test_other_families_see_every_letter() -> None:
    tokenizer = _unigram()
    clean_as_trained(tokenizer, "xlm-roberta")
    assert tokenizer.normalizer is None

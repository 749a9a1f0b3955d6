"""Relevance without judgments, for encoders whose cosines mean different things."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scenesearch.encoder.base import Scale
from scenesearch.search.background import (
    Background,
    BackgroundError,
    background_to_json,
    read_background,
    read_descriptions,
)
from scenesearch.search.contrast import Contrast, measure_calibration, measure_few
from scenesearch.search.relevance import Calibration, band, by_contrast, read_calibration

DIMENSION = 64


class CosineEncoder:
    """Pictures and texts are about one of some things. Pictures have cosines around `mean` with all
    texts, `spread` apart, and those of one thing are `gap` nearer."""

    def __init__(self, mean: float, spread: float, gap: float, scale: Scale | None = None) -> None:
        self.mean, self.spread, self.gap = mean, spread, gap
        self.info = SimpleNamespace(dimension=DIMENSION, scale=scale)
        self.things = _unit(np.random.default_rng(7).normal(size=(20, DIMENSION - 1)))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = []
        for text in texts:
            thing = text.rpartition(" ")[2]
            if thing.isdecimal():
                rows.append(self.things[int(thing)])
            else:
                seed = int.from_bytes(text.encode()[:8], "big") % 2**32
                rows.append(_unit(np.random.default_rng(seed).normal(size=DIMENSION - 1)))
        # The last dimension is what all texts share.
        return _unit(np.column_stack([np.stack(rows), np.ones(len(rows))]))

    def pictures(self, things: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
        noise = np.random.default_rng(seed).normal(size=(len(things), DIMENSION - 1))
        own = self.gap * np.sqrt(2) * self.things[list(things)]
        content = own + self.spread * np.sqrt(2) * noise
        shared = np.full((len(things), 1), self.mean * np.sqrt(2))
        return np.column_stack([content, shared]).astype(np.float32)


def _unit(vectors: Any) -> NDArray[np.float32]:
    vectors = np.asarray(vectors, np.float32)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


# Cosines of matching pairs around .255 and of others around .2; around .1 and 0.
CLIP = CosineEncoder(0.2, 0.015, 0.055, Scale(logit_scale=100))
SIGLIP = CosineEncoder(0.0, 0.025, 0.1, Scale(logit_scale=117, logit_bias=-12.9))
UNDECLARED = CosineEncoder(0.05, 0.1, 0.4)


def _calibrated(encoder: CosineEncoder, pictures: NDArray[np.float32]) -> Calibration:
    declared = measure_calibration(encoder)  # type: ignore[arg-type]
    return read_calibration(declared, DIMENSION, encoder.info.scale).among(pictures)


def _relevance(
    calibration: Calibration, query: NDArray[np.float32], pictures: NDArray[np.float32]
) -> NDArray[np.float64]:
    return calibration.relevance(pictures @ query - calibration.surplus(pictures), query)


@pytest.mark.parametrize("encoder", [CLIP, SIGLIP, UNDECLARED], ids=["clip", "siglip", "none"])
def test_matching_pictures_are_strong_and_others_are_weak(encoder: CosineEncoder) -> None:
    things = [n % 20 for n in range(400)]
    pictures = encoder.pictures(things)
    calibration = _calibrated(encoder, pictures)
    (query,) = encoder.encode_texts(["thing 3"])
    words = [band(float(one)) for one in _relevance(calibration, query, pictures)]
    own = [word for word, thing in zip(words, things, strict=True) if thing == 3]
    others = [word for word, thing in zip(words, things, strict=True) if thing != 3]
    assert own.count("weak") <= 2
    assert own.count("strong") >= 5
    assert others.count("weak") >= 0.95 * len(others)


def test_a_picture_that_is_near_to_every_text_has_to_be_nearer_to_match() -> None:
    pictures = CLIP.pictures([n % 20 for n in range(100)])
    hub = pictures[:1] + CLIP.encode_texts(["a", "b", "c"]).mean(axis=0) * 0.02
    calibration = _calibrated(CLIP, pictures)
    usual, near = calibration.surplus(pictures), calibration.surplus(hub)
    assert usual.mean() == pytest.approx(0, abs=1e-6)
    assert near[0] > usual[0]


def test_the_declared_scale_bounds_how_sure_relevance_is() -> None:
    pictures = CLIP.pictures([n % 20 for n in range(100)])
    background = read_calibration(
        measure_calibration(CLIP),  # type: ignore[arg-type]
        DIMENSION,
    ).background
    assert background is not None

    def slope(scale: float | None) -> float:
        declared = None if scale is None else Scale(logit_scale=scale)
        return by_contrast(Contrast(background, declared).among(pictures)).cosine

    assert slope(1) < slope(None) < slope(1000) == slope(10_000)


def test_the_declared_bias_moves_the_even_chance_by_half_a_spread_at_most() -> None:
    pictures = SIGLIP.pictures([n % 20 for n in range(100)])
    scale = Scale(logit_scale=117)
    calibration = _calibrated(replace_scale(SIGLIP, scale), pictures)
    even = -calibration.intercept / calibration.cosine
    for bias, side in ((-1000.0, 1), (1000.0, -1)):
        biased = replace_scale(SIGLIP, Scale(logit_scale=117, logit_bias=bias))
        moved = _calibrated(biased, pictures)
        assert moved.contrast is not None
        expected = even + side * moved.contrast.spread / 2
        assert -moved.intercept / moved.cosine == pytest.approx(expected)


def replace_scale(encoder: CosineEncoder, scale: Scale) -> CosineEncoder:
    return CosineEncoder(encoder.mean, encoder.spread, encoder.gap, scale)


def test_few_descriptions_give_nearly_the_same_relevance() -> None:
    pictures = CLIP.pictures([n % 20 for n in range(200)])
    (query,) = CLIP.encode_texts(["thing 3"])
    all_of_them = _calibrated(CLIP, pictures)
    few = by_contrast(measure_few(CLIP)).among(pictures)  # type: ignore[arg-type]
    difference = _relevance(few, query, pictures) - _relevance(all_of_them, query, pictures)
    assert np.abs(difference).max() < 0.2


def test_a_library_without_pictures_keeps_the_contrast() -> None:
    calibration = by_contrast(measure_few(CLIP))  # type: ignore[arg-type]
    assert calibration.among(np.empty((0, DIMENSION), np.float32)) is calibration


def test_an_encoder_that_gives_all_texts_one_vector_has_finite_relevances() -> None:
    one = np.tile(_unit(np.ones(4)), (20, 1))
    contrast = Contrast(Background(("x",) * 20, one)).among(_unit(np.eye(4)))
    calibration = by_contrast(contrast)
    assert np.isfinite(calibration.line(one[0])).all()


def test_the_bundled_descriptions_are_many_and_all_different() -> None:
    texts = read_descriptions()
    assert len(texts) == len(set(texts)) > 400
    assert all(text == text.strip() and 0 < len(text) < 100 for text in texts)


def test_a_background_is_read_back_as_it_was_written() -> None:
    vectors = _unit(np.random.default_rng(0).normal(size=(16, 8)))
    texts = tuple(f"thing {n}" for n in range(16))
    read = read_background(background_to_json(Background(texts, vectors)), 8)
    assert read.texts == texts
    np.testing.assert_allclose(read.vectors, vectors, atol=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": ["one"]}, "16 to 10000 'texts'"),
        ({"texts": [1] * 16}, "'texts'"),
        ({"scale": 0}, "'scale'"),
        ({"scale": True}, "'scale'"),
        ({"vectors": "no base64!"}, "'vectors' of 16 texts and 8 dimensions"),
        ({"vectors": None}, "'vectors'"),
    ],
)
def test_a_background_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    vectors = _unit(np.random.default_rng(0).normal(size=(16, 8)))
    written = background_to_json(Background(tuple(map(str, range(16))), vectors))
    with pytest.raises(BackgroundError, match=message):
        read_background(written | change, 8)
    with pytest.raises(BackgroundError, match="'texts'"):
        read_calibration({"method": "contrast"}, 8)


def test_contrast_is_refined_by_marks_like_any_calibration() -> None:
    declared = measure_calibration(CLIP)  # type: ignore[arg-type]
    pictures = CLIP.pictures(range(20))
    plain = read_calibration(declared, DIMENSION).among(pictures)
    refined = {"refined": {"shift": 1.0, "gain": 0.5}}
    read = read_calibration(declared | refined, DIMENSION).among(pictures)
    query = CLIP.encode_texts(["thing 3"])[0]
    intercept, slope = plain.line(query)
    assert read.line(query) == pytest.approx((1 + 0.5 * intercept, 0.5 * slope))
    assert replace(read, refined=(0.0, 1.0)).line(query) == plain.line(query)

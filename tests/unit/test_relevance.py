"""From a cosine and a query to a probability."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenesearch.encoder.base import EncoderError
from scenesearch.encoder.folder import read_encoder_info
from scenesearch.encoder.registry import find_encoder
from scenesearch.search.relevance import (
    UNCALIBRATED_PICTURES,
    Calibration,
    CalibrationError,
    TrainingTexts,
    band,
    mean_highest_cosines,
    read_calibration,
    read_picture_calibration,
    training_texts_to_json,
)
from scenesearch.search.vocabulary import COMMON, Vocabulary

DECLARED = {
    "method": "logistic",
    "intercept": -1.0,
    "cosine": 4.0,
    "query_mean": -2.0,
    "mean_picture": [0.5, 0.0],
}
cosines = st.floats(-1, 1, width=32)


def of(calibration: Calibration, cosine: float, query=(1.0, 0.0)) -> float:
    return float(calibration.relevance(np.array([cosine], np.float32), np.array(query))[0])


def test_the_query_that_is_near_every_picture_is_worth_less():
    calibration = read_calibration(DECLARED, 2)
    # -1 + 4 * .5 - 2 * (.5 * 1) = 0 and -1 + 4 * .5 - 2 * 0 = 1
    assert of(calibration, 0.5, (1.0, 0.0)) == pytest.approx(0.5)
    assert of(calibration, 0.5, (0.0, 1.0)) == pytest.approx(1 / (1 + math.exp(-1)))


def test_without_a_mean_picture_the_cosine_decides_alone():
    calibration = read_calibration({"method": "logistic", "intercept": -1, "cosine": 2}, 7)
    assert of(calibration, 0.5) == pytest.approx(0.5)


@given(cosines, cosines, st.floats(0.1, 1000), st.floats(-1000, 1000), st.floats(-100, 100))
def test_relevance_rises_with_the_cosine_and_is_never_certain(one, other, slope, start, context):
    calibration = Calibration(start, slope, context, np.array([0.3, 0.4]))
    low, high = of(calibration, min(one, other)), of(calibration, max(one, other))
    assert 0 < low <= high < 1


def test_relevance_is_the_same_however_many_hits_are_asked_for():
    calibration = read_calibration(DECLARED, 2)
    scores = np.array([0.9, 0.5, 0.1], np.float32)
    query = np.array([0.6, 0.8], np.float32)
    many = calibration.relevance(scores, query)
    assert list(calibration.relevance(scores[:1], query)) == [many[0]]


def test_no_hits_have_no_relevance():
    empty = np.array([], np.float32)
    assert read_calibration(DECLARED, 2).relevance(empty, np.array([1.0, 0.0])).shape == (0,)


def test_an_empty_calibration_is_refused():
    with pytest.raises(CalibrationError, match="calibrate the encoder again"):
        read_calibration({}, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "platt"}, "'platt' is unknown, expected 'logistic' or 'contrast'"),
        ({"method": None}, "None is unknown"),
        ({"intercept": None}, "a finite number 'intercept'"),
        ({"cosine": math.nan}, "a finite number 'cosine'"),
        ({"cosine": True}, "a finite number 'cosine'"),
        ({"cosine": 10**400}, "a finite number 'cosine'"),
        ({"intercept": 1e308}, "a finite number 'intercept'"),
        ({"cosine": -1.0}, "'cosine' above 0"),
        ({"query_mean": "much"}, "a finite number 'query_mean'"),
        ({"mean_picture": [0.5]}, "2 finite numbers 'mean_picture'"),
        ({"mean_picture": [0.5, math.inf]}, "2 finite numbers 'mean_picture'"),
        ({"mean_picture": "0.5"}, "2 finite numbers 'mean_picture'"),
    ],
)
def test_a_calibration_that_cannot_be_read_is_named(change, message):
    with pytest.raises(EncoderError, match=message):
        read_calibration(DECLARED | change, 2)


def test_picture_queries_have_a_calibration_of_their_own() -> None:
    declared = {"picture_queries": {"intercept": -5.0, "cosine": 6.0}}
    calibration = read_picture_calibration(declared)
    assert calibration.line(np.ones(2, np.float32)) == (-5.0, 6.0)
    assert read_picture_calibration({}) is UNCALIBRATED_PICTURES


@pytest.mark.parametrize("numbers", [1000, {"intercept": -5}, {"intercept": -5, "cosine": 0}])
def test_a_calibration_of_picture_queries_that_cannot_be_is_refused(numbers: object) -> None:
    with pytest.raises(CalibrationError, match="picture_queries"):
        read_picture_calibration({"picture_queries": numbers})


def test_the_bundled_encoder_is_calibrated_for_words_and_pictures() -> None:
    declared = read_encoder_info(find_encoder("lite")).calibration
    assert read_picture_calibration(declared) is not UNCALIBRATED_PICTURES
    calibration = read_calibration(declared, 384)
    assert calibration.training_texts is not None
    assert calibration.background is not None


def test_a_single_word_means_more_than_its_cosine() -> None:
    declared = {**DECLARED, "one_word": {"shift": 1.0, "gain": 0.5}}
    calibration = read_calibration(declared, 2)
    query = np.array([0.0, 1.0], np.float32)
    assert calibration.of("a dog runs").line(query) == pytest.approx((-1.0, 4.0))
    assert calibration.of("a Dog").line(query) == pytest.approx((1 - 0.5, 2.0))
    assert calibration.of("dog").stretched(-2.0) == pytest.approx(0.0)
    assert calibration.of("two dogs").stretched(-2.0) == -2.0


def test_marks_refine_sentences_and_words() -> None:
    pairs = {"one_word": {"shift": 1.0, "gain": 0.5}, "refined": {"shift": -0.5, "gain": 2.0}}
    calibration = read_calibration({**DECLARED, **pairs}, 2)
    assert calibration.of("a dog runs").stretched(1.0) == pytest.approx(1.5)
    assert calibration.of("dog").stretched(1.0) == pytest.approx(-0.5 + 2 * 1.5)
    assert calibration.of("dog").gain == pytest.approx(1.0)


@pytest.mark.parametrize("key", ["one_word", "refined"])
@pytest.mark.parametrize("pair", [3, {"shift": 1.0}, {"shift": 0.0, "gain": 0.0}])
def test_a_pair_that_cannot_be_is_refused(key: str, pair: object) -> None:
    with pytest.raises(CalibrationError, match=key):
        read_calibration({**DECLARED, key: pair}, 2)


@pytest.mark.parametrize(
    ("relevance", "word"),
    [(0.496, "strong"), (0.49, "partial"), (0.196, "partial"), (0.19, "weak"), (0, "weak")],
)
def test_a_relevance_has_a_word(relevance: float, word: str) -> None:
    assert band(relevance) == word


# Five texts to the right and one up: what lies right is known, and pictures there are familiar.
KNOWN = TrainingTexts(
    texts=np.array([[1, 0]] * 5 + [[0, 1]], np.float32),
    weight=2.0,
    typical=0.5,
    foreign=0.2,
    familiar=0.6,
)


def test_a_query_unlike_all_known_texts_is_worth_less_where_the_library_is_familiar():
    plain = Calibration(0.0, 4.0)
    calibration = Calibration(0.0, 4.0, training_texts=KNOWN)
    familiar, foreign = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, -1.0]], np.float32)
    known, new = np.array([1.0, 0.0], np.float32), np.array([0.0, -1.0], np.float32)

    # Knownness: the three highest cosines are 1, or 0.
    assert calibration.line(known) == pytest.approx((2 * (1 - 0.5), 4.0))
    assert calibration.line(new) == pytest.approx((2 * (0 - 0.5), 4.0))
    assert calibration.among(familiar).line(new) == calibration.line(new)
    assert calibration.among(foreign).line(new) == plain.line(new)
    half = np.concatenate([familiar, foreign])
    assert calibration.among(half).line(new) == pytest.approx((-0.5, 4.0))
    assert calibration.among(half[:0]) == calibration
    assert plain.among(familiar) is plain


def test_a_description_with_a_word_that_is_new_is_worth_less_where_the_library_is_familiar():
    vocabulary = Vocabulary({"dog": COMMON, "yak": 2}, weight=0.5, typical=0.25)
    calibration = Calibration(1.0, 4.0, training_texts=replace(KNOWN, vocabulary=vocabulary))
    familiar, foreign = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, -1.0]], np.float32)

    assert calibration.of("Dog").intercept == pytest.approx(1 + 0.5 * 0.25)
    assert calibration.of("dog, yak").intercept == pytest.approx(1 - 0.5 * (math.log(7) - 0.25))
    assert calibration.of("a dog").intercept == pytest.approx(1 - 0.5 * (math.log(21) - 0.25))
    assert calibration.of("12, 13!").intercept == calibration.of("dog").intercept
    assert calibration.among(familiar).of("yak") == replace(
        calibration.of("yak"), familiarity=calibration.among(familiar).familiarity
    )
    assert calibration.among(foreign).of("yak").intercept == 1
    assert Calibration(1.0, 4.0, training_texts=KNOWN).of("yak") == Calibration(
        1.0, 4.0, training_texts=KNOWN
    )


def test_a_picture_near_to_any_text_is_penalised():
    pictures = np.array([[1.0, 0.0], [0.0, -1.0]], np.float32)
    assert list(KNOWN.hub_penalty(pictures)) == [0, 0]
    assert list(replace(KNOWN, hubness=0.5).hub_penalty(pictures)) == pytest.approx([0.5, 0.0])


@pytest.mark.parametrize("pictures", [0, 1, 2, 51, 64, 65, 200])
def test_the_cosines_of_few_pictures_are_those_of_many(pictures: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(pictures, 8)).astype(np.float32)
    texts = rng.normal(size=(20, 8)).astype(np.float32)
    expected = np.sort(vectors.astype(np.float64) @ texts.T, axis=1)[:, -3:].mean(axis=1)
    np.testing.assert_allclose(mean_highest_cosines(vectors, texts, 3), expected, atol=1e-5)


def test_known_texts_are_read_back_as_they_were_declared():
    declared = {**DECLARED, "known": training_texts_to_json(KNOWN)}
    known = read_calibration(declared, 2).training_texts
    assert known is not None
    np.testing.assert_allclose(known.texts, KNOWN.texts, atol=1e-6)
    assert (known.weight, known.typical, known.foreign, known.familiar) == (2.0, 0.5, 0.2, 0.6)


def test_a_vocabulary_is_read_back_as_it_was_declared():
    vocabulary = Vocabulary({"dog": COMMON, "yak": 2, "zebu": 2}, weight=0.5, typical=0.25)
    declared = {**DECLARED, "known": training_texts_to_json(replace(KNOWN, vocabulary=vocabulary))}
    known = read_calibration(declared, 2).training_texts
    assert known is not None
    assert known.vocabulary == vocabulary


@pytest.mark.parametrize(
    "change",
    [
        None,
        {"weight": 1.0, "typical": 0.0},
        {"weight": math.nan, "typical": 0.0, "words": {}},
        {"weight": 1.0, "typical": 0.0, "words": {"0": "dog"}},
        {"weight": 1.0, "typical": 0.0, "words": {"21": "dog"}},
        {"weight": 1.0, "typical": 0.0, "words": {"3": ["dog"]}},
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(change):
    declared = {**DECLARED, "known": training_texts_to_json(KNOWN) | {"vocabulary": change}}
    with pytest.raises(CalibrationError, match="calibration of 'vocabulary' needs"):
        read_calibration(declared, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": None}, "finite number 'weight'"),
        ({"scale": math.inf}, "finite number 'scale'"),
        ({"texts": "no base64!"}, "'texts' of 2 dimensions"),
        ({"texts": "AAA="}, "at least 5"),
        ({"texts": None}, "'texts'"),
    ],
)
def test_known_texts_that_cannot_be_are_refused(change, message):
    declared = {**DECLARED, "known": training_texts_to_json(KNOWN) | change}
    with pytest.raises(CalibrationError, match=message):
        read_calibration(declared, 2)

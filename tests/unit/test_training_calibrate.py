"""Calibration from votes and from captions, and the figures that say how good it is."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from scenesearch.encoder.base import EncoderError
from scenesearch.encoder.folder import read_encoder_info
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    reliability_bins,
)
from scenesearch.search.relevance import read_calibration
from scenesearch.search.vocabulary import COMMON, Vocabulary
from tests.tiny_encoder import declare, write_tiny_encoder
from training import calibrate, train
from training.calibrate import (
    Pairs,
    Votes,
    calibrate_encoder,
    caption_votes,
    cross_fitted,
    fit,
    fit_votes,
    with_captions,
)
from training.card import rewrite_relevance, write_card
from training.corpus import load_corpus
from training.recipe import Recipe, TrainingError

COLOURS = {"red": (220, 40, 30), "green": (40, 210, 30), "blue": (30, 40, 220)}


def silent(line: str) -> None:
    pass


def world(cosines, yes, no) -> tuple[Votes, Pairs]:
    """Pair n is picture n beside query n, with the cosine given; every query has the same mean."""
    count = len(cosines)
    cosines = np.array(cosines, float)
    images = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    names = tuple(f"{n}.jpg" for n in range(count))
    texts = np.tile([1.0, 0.0], (count, 1))
    pairs = Pairs(names, images, tuple(f"{name}#0" for name in names), texts, ("",) * count)
    rows = np.arange(count)
    yes, no = np.array(yes, float), np.array(no, float)
    return Votes(rows, rows, yes, no, np.ones(count, bool), np.zeros(count, bool)), pairs


def task(folder, *, crowd=None, each=6):
    """Colour pictures in the task's format; `crowd` replaces its judgments, [] leaves them out."""
    (folder / "train_images").mkdir(parents=True)
    rows, votes = [], []
    for word, colour in COLOURS.items():
        for n in range(each):
            name = f"{word}{n}.png"
            shade = tuple(channel + 4 * n for channel in colour)
            Image.new("RGB", (6, 6), shade).save(folder / "train_images" / name)
            rows.append(f"{name},{name}#0,{word}")
            for other in COLOURS:
                yes = 2 if other == word else 1
                votes.append(f"{name}\t{other}{(n + 1) % each}.png#0\t{yes / 3}\t{yes}\t{3 - yes}")
    (folder / "train_dataset.csv").write_text("\n".join(["image,query_id,query_text", *rows]))
    votes = votes if crowd is None else crowd
    if votes:
        (folder / "CrowdAnnotations.tsv").write_text("\n".join(votes) + "\n")
    return folder


def test_two_cosines_get_back_the_shares_that_were_voted():
    fitted = fit(*world([0.0, 1.0], [1, 3], [3, 1]))
    # sigmoid = 1/4 at cosine 0 and 3/4 at cosine 1; every query has the mean cosine 1/2
    at_zero = fitted.intercept + fitted.query_mean * 0.5
    assert at_zero == pytest.approx(-np.log(3), abs=1e-3)
    assert at_zero + fitted.cosine == pytest.approx(np.log(3), abs=1e-3)


def test_a_pair_judged_by_more_people_weighs_more():
    def at_one(yes, no):
        votes, pairs = world([0.0, 1.0, 1.0], yes, no)
        return fit(votes, pairs).relevance(np.array([1.0]), pairs.texts[0])[0]

    assert at_one([1, 6, 0], [3, 0, 1]) == pytest.approx(6 / 7, abs=1e-3)
    assert at_one([1, 1, 0], [3, 0, 1]) == pytest.approx(1 / 2, abs=1e-3)


def test_a_query_near_every_picture_has_to_be_nearer_still():
    # Queries along x are near all pictures; the votes ask of them a cosine .5 higher.
    rng = np.random.default_rng(0)
    angles = rng.uniform(-1.5, 1.5, 400)
    images = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    texts = np.array([[1.0, 0.0], [0.0, 1.0]])
    votes_of = np.arange(400) % 2
    cosines = (images * texts[votes_of]).sum(axis=1)
    share = 1 / (1 + np.exp(-6 * (cosines - np.where(votes_of == 0, 0.7, 0.2))))
    names = tuple(f"{n}.jpg" for n in range(400))
    pairs = Pairs(names, images, ("a.jpg#0", "b.jpg#0"), texts, ("", ""))
    fitted = fit(
        Votes(np.arange(400), votes_of, share, 1 - share, np.ones(400, bool), np.zeros(400, bool)),
        pairs,
    )
    assert fitted.cosine == pytest.approx(6, rel=0.01)
    assert fitted.query_mean < 0


@pytest.mark.parametrize(("yes", "no", "kind"), [([0, 0], [3, 3], "no"), ([3, 3], [0, 0], "yes")])
def test_votes_of_one_kind_cannot_be_calibrated_on(yes, no, kind):
    with pytest.raises(TrainingError, match=f"all 2 judged pairs have only {kind}"):
        fit(*world([0.1, 0.2], yes, no))


def test_votes_against_the_cosine_are_refused():
    with pytest.raises(TrainingError, match="do not rise with the cosine"):
        fit_votes(*world([0.0, 1.0], [3, 1], [1, 3]))


def test_queries_unlike_the_known_texts_are_worth_less():
    rng = np.random.default_rng(3)

    def unit(rows: np.ndarray) -> np.ndarray:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    known = unit(rng.standard_normal((20, 6)))
    texts = unit(rng.standard_normal((400, 6)))
    images = unit(texts + rng.standard_normal((400, 6)))
    nearness = np.sort(texts @ known.T, axis=1)[:, -3:].mean(axis=1)
    odds = 3 * (images * texts).sum(axis=1) + 4 * (nearness - np.median(nearness)) - 1
    yes = 10 / (1 + np.exp(-odds))
    names = tuple(f"{n}.jpg" for n in range(400))
    pairs = Pairs(names, images, tuple(f"{name}#0" for name in names), texts, ("",) * 400)
    rows = np.arange(400)
    votes = Votes(rows, rows, yes, 10 - yes, np.ones(400, bool), np.zeros(400, bool))

    found = fit(votes, pairs, known).training_texts

    assert found is not None
    assert found.weight == pytest.approx(4, abs=0.01)
    declared = read_calibration(fit_votes(votes, pairs, known), 6).training_texts
    assert declared is not None
    assert declared.weight == pytest.approx(found.weight, abs=1e-3)
    assert declared.nearness(texts) == pytest.approx(nearness, abs=0.01)


def test_rare_words_cost_what_is_said_and_nothing_in_the_mean_of_the_votes():
    votes, pairs = world([0.1, 0.4, 0.5, 0.9], [1, 1, 2, 3], [3, 1, 2, 1])
    pairs = replace(pairs, descriptions=("dog", "dog", "dog", "zeppelin"))
    vocabulary = Vocabulary({"dog": COMMON}, 0.5)

    plain, found = (
        fit(votes, pairs, np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1]], words)
        for words in (None, vocabulary)
    )

    assert found.training_texts is not None
    assert found.training_texts.vocabulary is not None
    typical = math.log(1 + COMMON) * 4 / 14  # of 14 votes, four are on the zeppelin
    assert found.training_texts.vocabulary.typical == pytest.approx(typical)
    assert found.of("a zeppelin").intercept - found.of("dog").intercept == pytest.approx(
        -0.5 * math.log(1 + COMMON)
    )
    assert (found.intercept, found.cosine) == (plain.intercept, plain.cosine)
    declared = fit_votes(votes, pairs, np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1]], 0, vocabulary)
    assert declared["known"]["vocabulary"]["words"] == {str(COMMON): "dog"}


def test_few_texts_do_not_stand_for_what_is_known():
    assert calibrate.known_texts(np.ones((20, 2), np.float32)) is None


def test_cross_fitting_never_sees_its_picture_nor_its_query(monkeypatch):
    cosines = np.linspace(0, 1, 60)
    votes, pairs = world(cosines, [1, 2] * 30, [2, 1] * 30)
    votes = replace(votes, queries=np.roll(votes.queries, 7))
    fits = []
    monkeypatch.setattr(
        calibrate, "fit", lambda seen, *others: fits.append(seen) or fit(seen, *others)
    )
    judged = []
    real = calibrate._relevance
    monkeypatch.setattr(calibrate, "_relevance", lambda c, v, p: judged.append(v) or real(c, v, p))
    relevance = cross_fitted(votes, pairs, folds=4)
    assert ((relevance > 0) & (relevance < 1)).all()
    assert sorted(row for part in judged for row in part.pictures) == list(range(60))
    for seen, part in zip(fits, judged, strict=True):
        assert not set(seen.pictures) & set(part.pictures)
        assert not set(seen.queries) & set(part.queries)


def test_cosines_that_order_the_votes_have_the_best_auroc():
    cosines = np.linspace(0, 1, 60)
    yes = (cosines > 0.5) * 2 + 1
    assert fit_votes(*world(cosines, yes, 4 - yes))["auroc"] > 0.99


def test_reliability_and_its_error_by_hand():
    relevance = np.array([0.1, 0.3, 0.8])
    share, votes = np.array([0.0, 0.5, 1.0]), np.array([2.0, 2.0, 4.0])
    assert reliability_bins(relevance, share, votes, bins=2) == [
        {"relevance": 0.2, "share": 0.25, "votes": 4.0},
        {"relevance": 0.8, "share": 1.0, "votes": 4.0},
    ]
    # A bin each: (2 * |.1 - 0| + 2 * |.3 - .5| + 4 * |.8 - 1|) / 8
    assert expected_calibration_error(relevance, share, votes) == pytest.approx(0.175)
    # (2 * .01 + 2 * (.49 + .09) / 2 + 4 * .04) / 8
    assert brier_score(relevance, share, votes) == pytest.approx(0.76 / 8)


def test_what_is_promised_and_kept_has_no_error():
    share = np.array([0.25, 0.75])
    assert expected_calibration_error(share, share, np.array([4.0, 4.0])) == 0
    assert brier_score(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.ones(2)) == 0


def test_captions_say_no_to_other_pictures_only_and_yes_has_the_prior():
    owners = np.array([0, 0, 1, 2, 3])
    votes = caption_votes(owners, pictures=4, prior=0.2)
    own = votes.pictures == owners[votes.queries]
    assert (votes.yes[own] > 0).all() and (votes.no[own] == 0).all()
    assert (votes.yes[~own] == 0).all() and (votes.no[~own] > 0).all()
    assert votes.yes.sum() / (votes.yes + votes.no).sum() == pytest.approx(0.2)
    assert len(set(zip(votes.pictures, votes.queries, strict=True))) == 5 * 4


def test_half_of_the_wrong_pictures_are_those_of_the_captions_most_like_it():
    # Four captions of a kind, each of its own picture, and one that is nearly the first.
    turns = np.array([0.0, 0.8, 0.9, 3.0, 0.01])
    texts = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    votes = caption_votes(np.arange(5), pictures=5, texts=texts)
    wrong = votes.pictures[(votes.queries == 0) & (votes.no > 0)]
    assert set(wrong[:2]) == {1, 2}
    assert 4 not in wrong[:2]  # it may fit


def test_captions_of_others_count_as_much_as_the_votes_and_leave_the_figures_to_them(tmp_path):
    folder = write_tiny_encoder(tmp_path / "tiny")
    encoder = OnnxEncoder(folder)
    data = task(tmp_path / "data")
    described = []
    for n, (word, colour) in enumerate(COLOURS.items()):
        path = tmp_path / f"{n}.png"
        Image.new("RGB", (6, 6), colour).save(path)
        described.append((path, (word, f"a {word} one")))
    cosines, yes, no = [0.1, 0.5, 0.9], [0, 3, 6], [6, 3, 0]
    votes, pairs = world(cosines, yes, no)
    pairs = replace(
        pairs,
        images=np.pad(pairs.images, ((0, 0), (0, encoder.info.dimension - 2))),
        texts=np.pad(pairs.texts, ((0, 0), (0, encoder.info.dimension - 2))),
        captions=((), (), ()),
    )
    joined, both = with_captions(votes, pairs, encoder, described)
    total = joined.yes + joined.no
    assert total[:3].sum() == pytest.approx(total[3:].sum())
    assert both.descriptions[3:] == tuple(text for _, texts in described for text in texts)
    own = joined.yes[3:] > 0
    assert (joined.pictures[3:][own] - 3 == (joined.queries[3:][own] - 3) // 2).all()
    stored = calibrate_encoder(folder, data, silent, described=described)
    assert stored["fitted_on"] == "votes on 18 pictures and captions of 3 others"
    assert (stored["pairs"], stored["votes"]) == (54, 162)


def test_judgments_are_stored_in_the_folder_and_read_back(tmp_path):
    folder = write_tiny_encoder(tmp_path / "tiny")
    before = read_encoder_info(folder)
    stored = calibrate_encoder(folder, task(tmp_path / "data"), silent)
    info = read_encoder_info(folder)
    assert info.fingerprint == before.fingerprint
    assert info.calibration == stored
    assert (stored["pictures"], stored["pairs"], stored["votes"]) == (18, 54, 162)
    assert {"auroc", "auroc_crowd", "ece", "brier"} <= set(stored)
    assert sum(row["votes"] for row in stored["reliability"]) == 162
    assert (folder / "reliability.png").read_bytes().startswith(b"\x89PNG")
    calibration = read_calibration(info.calibration, info.dimension)
    red = np.array([1.0, 0.0, 0.0], np.float32)
    high, low = calibration.relevance(np.array([0.95, 0.15], np.float32), red)
    assert high == pytest.approx(2 / 3, abs=0.1)
    assert low == pytest.approx(1 / 3, abs=0.1)


def test_calibrating_twice_changes_nothing(tmp_path):
    folder, data = write_tiny_encoder(tmp_path / "tiny"), task(tmp_path / "data")
    calibrate_encoder(folder, data, silent)
    once = (folder / "encoder.json").read_bytes()
    calibrate_encoder(folder, data, silent)
    assert (folder / "encoder.json").read_bytes() == once


def test_without_judgments_the_captions_are_used_and_said_to_be(tmp_path):
    folder = write_tiny_encoder(tmp_path / "tiny")
    rng = np.random.default_rng(0)
    manifest = tmp_path / "photos.csv"
    rows = ["image,caption"]
    for n in range(60):
        word = list(COLOURS)[n % 3]
        Image.new(
            "RGB", (6, 6), tuple(rng.integers(90, 160, 3) + np.array(COLOURS[word]) // 3)
        ).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,{word}")
    manifest.write_text("\n".join(rows))
    lines = []
    stored = calibrate_encoder(folder, manifest, lines.append)
    assert stored["fitted_on"] == "captions of 60 pictures, no judgments"
    assert stored["pairs"] <= 60 * (1 + 40)  # no picture is wrong for the word that 20 have
    assert "no judgments" in lines[0]
    assert "auroc_crowd" not in stored


def test_marks_of_hits_are_no_judgments_to_calibrate_on(tmp_path):
    data = task(tmp_path / "data")
    (data / "feedback.json").write_text("{}")
    stored = calibrate_encoder(write_tiny_encoder(tmp_path / "tiny"), data, silent)
    assert stored["fitted_on"] == "captions of 18 pictures, no judgments"


def test_a_run_on_marks_alone_keeps_the_calibration_of_its_base(tmp_path):
    data = task(tmp_path / "data")
    (data / "feedback.json").write_text("{}")
    folder = write_tiny_encoder(tmp_path / "tiny")
    recipe = Recipe(data=(str(data),))
    corpus = load_corpus(recipe, tmp_path, silent)
    base = {"method": "logistic", "intercept": -3.0, "cosine": 9.0, "fitted_on": "votes"}
    lines = []
    train.calibrate(folder, recipe, corpus, lines.append, base=base)
    kept = read_encoder_info(folder).calibration
    assert kept == {**base, "fitted_on": "votes, with the vectors of the base"}
    assert lines == [
        "relevance is calibrated as the base's: a search chose the hits that were marked"
    ]
    # Judgments that no search has chosen come first.
    both = Recipe(data=(str(data), str(task(tmp_path / "judged"))))
    corpus = load_corpus(both, tmp_path, silent)
    train.calibrate(folder, both, corpus, silent, base=base)
    assert read_encoder_info(folder).calibration["fitted_on"] == "votes on 18 pictures"


def test_one_captioned_picture_is_too_few(tmp_path):
    folder = write_tiny_encoder(tmp_path / "tiny")
    Image.new("RGB", (6, 6), "red").save(tmp_path / "a.png")
    manifest = tmp_path / "photos.csv"
    manifest.write_text("image,caption\na.png,red\n")
    with pytest.raises(TrainingError, match="at least 2 pictures with captions: it has 1"):
        calibrate_encoder(folder, manifest, silent)


@pytest.mark.parametrize(
    ("crowd", "message"),
    [
        (["gone.png\tred0.png#0\t1\t3\t0"], "no usable row .*the picture 'gone.png' is missing"),
        (["red0.png\tgone.png#0\t1\t3\t0"], "no usable row .*query gone.png#0 has no text"),
        ([""], "is empty: expected 5 columns"),
        (["red0.png\tred1.png#0\t1\t3\t0"], "all 1 judged pairs have only yes"),
    ],
)
def test_judgments_that_say_nothing_leave_the_folder_as_it_was(tmp_path, crowd, message):
    folder = write_tiny_encoder(tmp_path / "tiny")
    before = (folder / "encoder.json").read_bytes()
    with pytest.raises(SceneSearchError, match=message):
        calibrate_encoder(folder, task(tmp_path / "data", crowd=crowd), silent)
    assert (folder / "encoder.json").read_bytes() == before
    assert not (folder / "reliability.png").exists()


def test_judgments_of_one_missing_picture_are_counted_and_left_out(tmp_path):
    data, lines = task(tmp_path / "data"), []
    with (data / "CrowdAnnotations.tsv").open("a") as file:
        file.write("gone.png\tred0.png#0\t1\t3\t0\n")
    stored = calibrate_encoder(write_tiny_encoder(tmp_path / "tiny"), data, lines.append)
    assert stored["pairs"] == 54
    assert "1 judgments without a picture or a text are left out" in lines[0]


def test_a_folder_with_neither_judgments_nor_captions_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="empty has nothing to calibrate on"):
        calibrate_encoder(write_tiny_encoder(tmp_path / "tiny"), tmp_path / "empty", silent)


def test_a_broken_picture_is_named(tmp_path):
    data = task(tmp_path / "data")
    (data / "train_images" / "red0.png").write_bytes(b"no picture")
    with pytest.raises(TrainingError, match=r"red0\.png cannot be calibrated on"):
        calibrate_encoder(write_tiny_encoder(tmp_path / "tiny"), data, silent)


def test_no_encoder_folder_is_the_encoders_own_error(tmp_path):
    with pytest.raises(EncoderError, match="does not exist"):
        calibrate_encoder(tmp_path / "nowhere", task(tmp_path / "data"), silent)


def test_only_pictures_held_back_are_fitted_on(tmp_path):
    folder, data = write_tiny_encoder(tmp_path / "tiny"), task(tmp_path / "data")
    unseen = {path.resolve() for path in (data / "train_images").glob("*[0-3].png")}
    stored = calibrate_encoder(folder, data, silent, held_back=unseen)
    assert (stored["pictures"], stored["pairs"]) == (12, 36)
    assert stored["fitted_on"] == "votes on 12 pictures held back from training"


def test_no_judgment_of_a_held_back_picture_is_refused(tmp_path):
    folder, data = write_tiny_encoder(tmp_path / "tiny"), task(tmp_path / "data")
    with pytest.raises(TrainingError, match="no judgment of a picture held back"):
        calibrate_encoder(folder, data, silent, held_back=set())


def test_the_card_is_brought_up_to_date(tmp_path):
    folder = write_tiny_encoder(tmp_path / "tiny")
    declare(folder, calibration={})
    write_card(folder)
    card = (folder / "README.md").read_text()
    assert "Not calibrated" in card
    calibrate_encoder(folder, task(tmp_path / "data"), silent)
    rewrite_relevance(folder)
    again = (folder / "README.md").read_text()
    assert "Not calibrated" not in again
    assert "Fitted on votes on 18 pictures" in again
    assert again.split("## Graphs")[1] == card.split("## Graphs")[1]


def test_captions_do_not_change_how_often_people_are_said_to_agree() -> None:
    cosines = np.linspace(0.1, 0.6, 400)
    share = 1 / (1 + np.exp(-(12 * cosines - 4)))
    votes, pairs = world(cosines, share * 10, (1 - share) * 10)
    seldom = np.where(cosines > 0.5, 0.02, 0.0)
    both = Votes(
        np.tile(votes.pictures, 2),
        np.tile(votes.queries, 2),
        np.concatenate([votes.yes, seldom]),
        np.concatenate([votes.no, 10 - seldom]),
        np.tile(votes.crowd, 2),
        np.repeat([False, True], 400),
    )
    fitted = fit(both, pairs)
    relevance = fitted.relevance(cosines, pairs.texts[0])
    assert relevance.mean() == pytest.approx(share.mean(), abs=0.01)
    assert np.abs(relevance - share).max() < 0.02

"""P(relevant | cosine and the query's context) from human votes, stored in an encoder folder.

    calibrate_encoder(Path("encoder"), Path("data/practicum"), log=print)

The sigmoid of `scenesearch.search.relevance` is fitted by logistic regression in which every vote
counts once. The figures stored with it are cross-fitted: each judged pair is scored by a fit (and
a mean picture) that saw neither its picture nor any query written for the picture its query is of.
Data without judgments is calibrated on captions, see `caption_votes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression

from scenesearch.datasets.manifest import METADATA_NAME, read_manifest
from scenesearch.datasets.task import (
    CAPTIONS,
    CROWD,
    EXPERT,
    MARKED,
    MATCHING_GRADE,
    TEST_FOLDER,
    TRAIN_PAIRS,
    image_of,
    is_task_folder,
    read_crowd,
    read_expert,
    read_task_folder,
    texts_of,
)
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.evaluation.calibration import (
    FOLDS,
    auroc,
    brier_score,
    expected_calibration_error,
    fold_of,
    reliability_bins,
)
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.search.background import (
    background_to_json,
    encode_background,
    read_descriptions,
)
from scenesearch.search.relevance import (
    METHOD,
    Calibration,
    TrainingTexts,
    described_by,
    read_calibration,
    training_texts_to_json,
)
from scenesearch.search.vocabulary import Vocabulary, counted, words_in
from training.export import write_manifest
from training.recipe import TrainingError

# Captions do not show how often people would call a picture relevant. Of the shares tried, this one
# came nearest to the task's judgments (docs/evaluation.md): pictures drawn at random are easier to
# tell apart than the judged ones, which makes up for a share of yes below the judged 8 %.
CAPTION_PRIOR = 0.01
OTHERS_PER_CAPTION = 50

# Captions nearer to each other than this may describe the same things.
_MAY_FIT = 0.8

# This many centres represent the captions that the encoder has learned from: 300 do as well as
# 1,000 or 3,000 (docs/evaluation.md).
KNOWN_TEXTS = 300

# One-word requests are the words that two captions of a picture have, if so many pictures have it.
# If fewer such words are found, there is nothing to fit.
_PICTURES_PER_WORD, _FEWEST_WORDS = 10, 20

# Words that nobody asks for alone.
_NOT_ASKED = frozenset(
    word
    for words in (
        "a an the and or of in on at to from with by for into onto out up down off over under near",
        "next around behind front through as is are it its his her their him them he she they who",
        "which that this there while some another other one two three four very being has have be",
    )
    for word in words.split()
)

Log = Callable[[str], None]


@dataclass(frozen=True)
class Votes:
    """Judged pairs, one row each; `yes` and `no` count the people who said so.

    `pictures` and `queries` are rows of the embeddings the pairs are made of; `crowd` marks the
    pairs whose votes are the crowd's, `guessed` those whose votes were made of captions.
    """

    pictures: np.ndarray
    queries: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    crowd: np.ndarray
    guessed: np.ndarray

    def only(self, rows: np.ndarray) -> Votes:
        return Votes(
            self.pictures[rows],
            self.queries[rows],
            self.yes[rows],
            self.no[rows],
            self.crowd[rows],
            self.guessed[rows],
        )


@dataclass(frozen=True)
class Pairs:
    """What votes are about: names and unit vectors of pictures, texts and their embeddings."""

    image_ids: tuple[str, ...]
    images: np.ndarray  # (pictures, dim)
    query_ids: tuple[str, ...]
    texts: np.ndarray  # (queries, dim)
    descriptions: tuple[str, ...]  # the texts themselves
    captions: tuple[tuple[str, ...], ...] = ()  # of each picture, where they are known


def calibrate_encoder(
    folder: Path,
    data: Path,
    log: Log,
    *,
    captions: Path | None = None,
    held_back: Collection[Path] | None = None,
    known: Sequence[str] = (),
    described: Sequence[tuple[Path, Sequence[str]]] = (),
    hubness: float = 0.0,
    rarity: float = 0.0,
) -> dict[str, Any]:
    """Fits on `data`, a folder in the task's format or a manifest, and stores the result.

    `captions` is a further file of query texts: a judgment without its text cannot be used.
    `held_back` are the pictures to fit on, as resolved paths: those that training has not seen.
    `described` are pictures with captions, which together count as much as the votes do: judged
    pictures of one kind say little about others. The figures are of the votes alone.
    `known` are captions of other pictures that the encoder was trained on. With some hundreds of
    them, relevance also counts how far a query is from all of them. `hubness` is how much pictures
    lose that are near to any text (`relevance.TrainingTexts`); choose it on yet other pictures.
    Where the pictures' captions are known, what a single word means is fitted on them. A background
    (`scenesearch.search.background`) is added, by which a library finds its default cut.
    `rarity` is how much a query loses for words that are in few of these captions or in none
    (`vocabulary.Vocabulary`); it is 0 for encoders that have also learned words from elsewhere.
    Writes `calibration` of encoder.json and `reliability.png`. Raises TrainingError, leaving the
    folder as it was, when the data does not show what is relevant.
    """
    encoder = OnnxEncoder(folder)
    votes, fitted_on, pairs = _read(encoder, data, captions, held_back, log)
    texts = known_texts(_encode_texts(encoder, sorted(set(known))))
    vocabulary = Vocabulary(counted(known), rarity) if rarity else None
    if described:
        votes, pairs = with_captions(votes, pairs, encoder, described)
        fitted_on += f" and captions of {len(described)} others"
    fitted = fit_votes(votes, pairs, texts, hubness, vocabulary)
    calibration = fitted | {
        **_one_word(fitted, pairs, encoder),
        "background": background_to_json(encode_background(encoder, read_descriptions())),
        "fitted_on": fitted_on,
        "date": datetime.now(UTC).date().isoformat(),
    }
    manifest = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    manifest["calibration"] = calibration
    _plot(calibration["reliability"], folder / "reliability.png")
    write_manifest(folder, manifest)
    log(
        f"calibration on {fitted_on}: AUROC {calibration['auroc']:.3f}, "
        f"ECE {calibration['ece']:.3f}, Brier {calibration['brier']:.3f}"
    )
    return calibration


def known_texts(embeddings: np.ndarray) -> np.ndarray | None:
    """The centres that represent all texts, `(KNOWN_TEXTS, dim)`; None if there are few texts.

    They are found by k-means on the unit sphere. There are many times more texts than centres, so
    that no centre is a single text.
    """
    if len(embeddings) < 4 * KNOWN_TEXTS:
        return None
    means = MiniBatchKMeans(KNOWN_TEXTS, random_state=0, n_init=1, batch_size=4096)
    centres = means.fit(embeddings).cluster_centers_
    unit: np.ndarray = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    return unit.astype(np.float32)


def fit_votes(
    votes: Votes,
    pairs: Pairs,
    known: np.ndarray | None = None,
    hubness: float = 0.0,
    vocabulary: Vocabulary | None = None,
) -> dict[str, Any]:
    """The calibration of all votes as encoder.json holds it, with its cross-fitted figures.

    `known` are unit vectors of texts, see `known_texts`; without them there is no vocabulary.
    Figures are of people's votes, if there are any.
    """
    fitted = fit(votes, pairs, known, vocabulary)
    if fitted.cosine <= 0:
        raise TrainingError(
            "the votes do not rise with the cosine: this encoder knows nothing of these pictures"
        )
    relevance = cross_fitted(votes, pairs, known, vocabulary)
    of_all = votes
    if not votes.guessed.all():
        relevance, votes = relevance[~votes.guessed], votes.only(~votes.guessed)
    total = votes.yes + votes.no
    share = votes.yes / total
    figures = {
        "auroc": _rounded(auroc(share > 0.5, relevance)),  # most said yes
        "auroc_crowd": _rounded(auroc(share[votes.crowd] >= 0.5, relevance[votes.crowd])),
        "ece": round(expected_calibration_error(relevance, share, total), 4),
        "brier": round(brier_score(relevance, share, total), 4),
    }
    return {
        "method": METHOD,
        "intercept": round(fitted.intercept, 4),
        "cosine": round(fitted.cosine, 4),
        "query_mean": round(fitted.query_mean, 4),
        "mean_picture": [round(value, 5) for value in _mean_picture(of_all, pairs).tolist()],
        **(
            {"known": training_texts_to_json(replace(fitted.training_texts, hubness=hubness))}
            if fitted.training_texts
            else {}
        ),
        **_picture_queries(votes, pairs),
        "pictures": len(np.unique(votes.pictures)),
        "queries": len(np.unique(votes.queries)),
        "pairs": len(total),
        "votes": round(float(total.sum())),
        "cross_fitted_by": "picture and query",
        **{name: value for name, value in figures.items() if value is not None},
        "reliability": reliability_bins(relevance, share, total),
    }


def fit(
    votes: Votes,
    pairs: Pairs,
    known: np.ndarray | None = None,
    vocabulary: Vocabulary | None = None,
) -> Calibration:
    """The regression on the cosine, the query's mean cosine and how near the query is to the known
    texts, each vote counting once. What their sum means is said by people's votes alone, if there
    are any: votes made of captions do not show how often people say yes.

    The cost of rare words is not fitted, because judged queries are about pictures that are there:
    it is only shifted so that its mean over the votes is zero.
    """
    if not votes.yes.any() or not votes.no.any():
        kind = "yes" if votes.yes.any() else "no"
        raise TrainingError(
            f"calibration needs votes of both kinds, and all {len(votes.yes)} judged pairs "
            f"have only {kind}"
        )
    mean_picture = _mean_picture(votes, pairs)
    texts = pairs.texts[votes.queries]
    familiar = None if known is None else _unweighted(known, votes, pairs)
    columns = [_cosines(votes, pairs), texts @ mean_picture]
    if familiar is not None:
        columns.append(familiar.nearness(pairs.texts)[votes.queries] - familiar.typical)
    features = np.stack(columns, axis=1)
    slopes, intercept = _regress(features, votes.yes, votes.no)
    said = np.flatnonzero(~votes.guessed) if not votes.guessed.all() else np.arange(len(votes.yes))
    if len(said) < len(votes.yes):
        log_odds = features[said] @ slopes + intercept
        gain, shift = _regress(log_odds[:, None], votes.yes[said], votes.no[said])
        slopes, intercept = slopes * gain, shift + float(gain[0]) * intercept
    if familiar is not None:
        familiar = replace(familiar, weight=float(slopes[2]))
        if vocabulary is not None:
            rarity = np.array([vocabulary.rarity(text) for text in pairs.descriptions])
            typical = np.average(rarity[votes.queries[said]], weights=(votes.yes + votes.no)[said])
            vocabulary = replace(vocabulary, typical=float(typical))
            familiar = replace(familiar, vocabulary=vocabulary)
    return Calibration(intercept, float(slopes[0]), float(slopes[1]), mean_picture, familiar)


def _one_word(fitted: Mapping[str, Any], pairs: Pairs, encoder: OnnxEncoder) -> dict[str, Any]:
    """What log odds mean for a request of one word, `one_word` of encoder.json; empty if there are
    too few captions, or if the odds do not rise with those of sentences.

    A picture shows the word if two of its captions have it, and does not if none has. One caption
    alone leaves out much of what its picture shows.
    """
    mentions: dict[str, np.ndarray] = {}
    told = np.array([len(captions) > 1 for captions in pairs.captions])
    for picture, captions in enumerate(pairs.captions):
        for caption in captions:
            for word in set(words_in(caption)) - _NOT_ASKED:
                mentions.setdefault(word, np.zeros(len(pairs.captions), int))[picture] += 1
    words = [word for word, of in mentions.items() if (of >= 2).sum() >= _PICTURES_PER_WORD]
    if len(words) < _FEWEST_WORDS:
        return {}
    calibration = read_calibration(fitted, encoder.info.dimension)
    log_odds, shows = [], []
    for word, query in zip(words, _encode_texts(encoder, words), strict=True):
        intercept, slope = calibration.of(word).line(query)
        said = told & (mentions[word] != 1)
        log_odds.append((intercept + slope * (pairs.images @ query))[said])
        shows.append(mentions[word][said] >= 2)
    yes = np.concatenate(shows).astype(float)
    slopes, shift = _regress(np.concatenate(log_odds)[:, None], yes, 1 - yes)
    if slopes[0] <= 0:
        return {}
    return {
        "one_word": {
            "shift": round(shift, 4),
            "gain": round(float(slopes[0]), 4),
            "words": len(words),
        }
    }


def _regress(features: np.ndarray, yes: np.ndarray, no: np.ndarray) -> tuple[np.ndarray, float]:
    """(slopes, intercept) of the logistic regression in which every vote counts once."""
    # Of one size, or the solver stops early along a narrow feature.
    centre = features.mean(axis=0)
    spread = np.maximum(features.std(axis=0), 1e-9)
    scaled = (features - centre) / spread
    # Practically unpenalised: a penalty would flatten the slope of a narrow range of cosines.
    regression = LogisticRegression(C=1e6, max_iter=1000)
    said_yes = np.repeat([1, 0], len(scaled))
    counts = np.concatenate([yes, no])
    regression.fit(np.concatenate([scaled, scaled]), said_yes, sample_weight=counts)
    slopes = regression.coef_[0] / spread
    return slopes, float(regression.intercept_[0] - slopes @ centre)


def _mean_picture(votes: Votes, pairs: Pairs) -> np.ndarray:
    mean: np.ndarray = pairs.images[np.unique(votes.pictures)].mean(axis=0, dtype=np.float64)
    return mean


def _unweighted(known: np.ndarray, votes: Votes, pairs: Pairs) -> TrainingTexts:
    """What is known, measured on the judged pictures and queries; its weight is fitted later."""
    described = described_by(pairs.images[np.unique(votes.pictures)], known)
    foreign, familiar = np.percentile(described, [1, 10])
    plain = TrainingTexts(known, 0.0, 0.0, float(foreign), float(familiar))
    typical = np.median(plain.nearness(pairs.texts[np.unique(votes.queries)]))
    return replace(plain, typical=float(typical))


def _picture_queries(votes: Votes, pairs: Pairs) -> dict[str, Any]:
    """The regression for a picture as the query: the one that a judged text was written for.

    Empty if texts are not of judged pictures, or if votes do not rise with the cosine.
    """
    row_of = {image_id: row for row, image_id in enumerate(pairs.image_ids)}
    owners = np.array([row_of.get(image_of(query_id), -1) for query_id in pairs.query_ids])
    asked = owners[votes.queries]
    rows = np.flatnonzero((asked >= 0) & (asked != votes.pictures))
    if not votes.yes[rows].any() or not votes.no[rows].any():
        return {}
    cosines = np.einsum("nd,nd->n", pairs.images[votes.pictures[rows]], pairs.images[asked[rows]])
    slopes, intercept = _regress(cosines[:, None], votes.yes[rows], votes.no[rows])
    slope = float(slopes[0])
    if slope <= 0:
        return {}
    return {"picture_queries": {"intercept": round(intercept, 4), "cosine": round(slope, 4)}}


def cross_fitted(
    votes: Votes,
    pairs: Pairs,
    known: np.ndarray | None = None,
    vocabulary: Vocabulary | None = None,
    folds: int = FOLDS,
) -> np.ndarray:
    """Relevance of each pair by a fit that saw neither its picture nor its query's picture."""
    picture_fold = np.array([fold_of(name, folds) for name in pairs.image_ids])[votes.pictures]
    owners = [image_of(query_id) for query_id in pairs.query_ids]
    query_fold = np.array([fold_of(owner, folds) for owner in owners])[votes.queries]
    relevance = np.zeros(len(votes.yes))
    for one in range(folds):
        for other in range(folds):
            judged = (picture_fold == one) & (query_fold == other)
            if judged.any():
                seen = votes.only((picture_fold != one) & (query_fold != other))
                fitted = fit(seen, pairs, known, vocabulary)
                relevance[judged] = _relevance(fitted, votes.only(judged), pairs)
    return relevance


def _relevance(calibration: Calibration, votes: Votes, pairs: Pairs) -> np.ndarray:
    cosines = _cosines(votes, pairs)
    relevance = np.zeros(len(cosines))
    order = np.argsort(votes.queries, kind="stable")
    queries, starts = np.unique(votes.queries[order], return_index=True)
    for query, rows in zip(queries, np.split(order, starts[1:]), strict=True):
        of_query = calibration.of(pairs.descriptions[query])
        relevance[rows] = of_query.relevance(cosines[rows], pairs.texts[query])
    return relevance


def _cosines(votes: Votes, pairs: Pairs) -> np.ndarray:
    cosines: np.ndarray = np.einsum(
        "nd,nd->n", pairs.images[votes.pictures], pairs.texts[votes.queries]
    )
    return cosines


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)


def _plot(bins: Sequence[Mapping[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.5, 4.5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.plot([row["relevance"] for row in bins], [row["share"] for row in bins], marker="o")
    axes.set(xlabel="relevance (cross-fitted)", ylabel="share of votes that said yes")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


# --- from data to votes ----------------------------------------------------------------------


def _read(
    encoder: OnnxEncoder,
    data: Path,
    captions: Path | None,
    held_back: Collection[Path] | None,
    log: Log,
) -> tuple[Votes, str, Pairs]:
    if has_judgments(data):
        return _judgments(encoder, data, captions, held_back, log)
    return _captions(encoder, data, held_back, log)


def has_judgments(data: Path) -> bool:
    """Whether people judged pairs that no search had chosen for them."""
    there = is_task_folder(data) and any((data / name).is_file() for name in (CROWD, EXPERT))
    return there and not (data / MARKED).is_file()


def _judgments(
    encoder: OnnxEncoder,
    data: Path,
    captions: Path | None,
    held_back: Collection[Path] | None,
    log: Log,
) -> tuple[Votes, str, Pairs]:
    files = {
        record.path.name: record.path
        for record in read_task_folder(data).records
        if not record.image_id.startswith(f"{TEST_FOLDER}/")
    }
    tables = [data / name for name in (TRAIN_PAIRS, CAPTIONS) if (data / name).is_file()]
    texts = texts_of(*tables, *([captions] if captions else []))
    rows: list[tuple[str, str, int, int, bool]] = []
    left_out = 0  # a file without one usable row is refused by its reader
    if (data / CROWD).is_file():
        crowd = read_crowd(data / CROWD, images=files, texts=texts)
        rows += [(row.image, row.query_id, row.yes, row.no, True) for row in crowd.rows]
        left_out += len(crowd.problems)
    if (data / EXPERT).is_file():
        expert = read_expert(data / EXPERT, images=files, texts=texts)
        left_out += len(expert.problems)
        for row in expert.rows:
            yes = sum(grade >= MATCHING_GRADE for grade in row.grades)
            rows.append((row.image, row.query_id, yes, len(row.grades) - yes, False))
    if held_back is not None:
        rows = [row for row in rows if files[row[0]].resolve() in held_back]
        if not rows:
            raise TrainingError(f"{data} has no judgment of a picture held back from training")
    if left_out:
        log(f"{data}: {left_out} judgments without a picture or a text are left out")
    image_ids = tuple(sorted({row[0] for row in rows}))
    query_ids = tuple(sorted({row[1] for row in rows}))
    descriptions = tuple(texts[query_id] for query_id in query_ids)
    captions_of: dict[str, list[str]] = {}
    for query_id, text in texts.items():
        captions_of.setdefault(image_of(query_id), []).append(text)
    pairs = Pairs(
        image_ids,
        _encode_files(encoder, [files[image_id] for image_id in image_ids]),
        query_ids,
        _encode_texts(encoder, descriptions),
        descriptions,
        tuple(tuple(captions_of.get(image_id, ())) for image_id in image_ids),
    )
    picture_of = {image_id: number for number, image_id in enumerate(image_ids)}
    query_of = {query_id: number for number, query_id in enumerate(query_ids)}
    votes = Votes(
        np.array([picture_of[row[0]] for row in rows]),
        np.array([query_of[row[1]] for row in rows]),
        np.array([row[2] for row in rows], float),
        np.array([row[3] for row in rows], float),
        np.array([row[4] for row in rows]),
        np.zeros(len(rows), bool),
    )
    return votes, f"votes on {len(image_ids)} pictures{_kept(held_back)}", pairs


def _kept(held_back: Collection[Path] | None) -> str:
    return "" if held_back is None else " held back from training"


def _captions(
    encoder: OnnxEncoder, data: Path, held_back: Collection[Path] | None, log: Log
) -> tuple[Votes, str, Pairs]:
    if is_task_folder(data):
        records = read_task_folder(data).records
        records = tuple(r for r in records if not r.image_id.startswith(f"{TEST_FOLDER}/"))
    elif (data / METADATA_NAME).is_file() or data.is_file():
        records = tuple(read_manifest(data / METADATA_NAME if data.is_dir() else data).records)
    else:
        raise TrainingError(
            f"{data} has nothing to calibrate on: neither judgments nor pictures with captions"
        )
    described = [
        record
        for record in records
        if record.captions
        and record.path.is_file()
        and (held_back is None or record.path.resolve() in held_back)
    ]
    if len(described) < 2:
        raise TrainingError(
            f"{data} has no judgments, and calibrating on captions needs at least 2 pictures "
            f"with captions: it has {len(described)}"
        )
    owned = [(n, text) for n, record in enumerate(described) for text in record.captions]
    image_ids = tuple(record.image_id for record in described)
    descriptions = tuple(text for _, text in owned)
    pairs = Pairs(
        image_ids,
        _encode_files(encoder, [record.path for record in described]),
        tuple(f"{image_ids[owner]}#{n}" for n, (owner, _) in enumerate(owned)),
        _encode_texts(encoder, descriptions),
        descriptions,
        tuple(record.captions for record in described),
    )
    log(f"{data} has no judgments to calibrate on: calibrated on its captions, which is a guess")
    votes = caption_votes(np.array([owner for owner, _ in owned]), len(described))
    # A text of several pictures is wrong for none of them.
    owners: dict[str, set[int]] = {}
    for owner, text in owned:
        owners.setdefault(text, set()).add(owner)
    right = [p in owners[owned[q][1]] for p, q in zip(votes.pictures, votes.queries, strict=True)]
    votes = votes.only((votes.yes > 0) | ~np.array(right))
    fitted_on = f"captions of {len(described)} pictures{_kept(held_back)}, no judgments"
    return votes, fitted_on, pairs


def caption_votes(
    owners: np.ndarray,
    pictures: int,
    prior: float = CAPTION_PRIOR,
    texts: np.ndarray | None = None,
) -> Votes:
    """Each caption says yes to its own picture and no to others drawn at random.

    With the captions' unit vectors `texts`, half of the others are those of the captions most like
    it that cannot be taken for it. The yes have `prior` of the weight in all, however many others
    were drawn.
    """
    rng = np.random.default_rng(0)
    others = min(OTHERS_PER_CAPTION, pictures - 1)
    # A step of 1 to n - 1 around the circle of pictures never ends on the own one.
    steps = np.stack([1 + rng.permutation(pictures - 1)[:others] for _ in owners])
    wrong = (owners[:, None] + steps) % pictures  # (captions, others)
    if texts is not None:
        near = _most_like(texts, owners, others // 2)
        wrong[:, : near.shape[1]] = near
    queries = np.arange(len(owners))
    said_yes = np.repeat([True, False], [len(owners), wrong.size])
    weight = len(said_yes)
    return Votes(
        np.concatenate([owners, wrong.ravel()]),
        np.concatenate([queries, np.repeat(queries, others)]),
        np.where(said_yes, prior * weight / len(owners), 0.0),
        np.where(said_yes, 0.0, (1 - prior) * weight / wrong.size),
        np.zeros(weight, bool),
        np.ones(weight, bool),
    )


def _most_like(texts: np.ndarray, owners: np.ndarray, count: int) -> np.ndarray:
    """The pictures of the captions most like each caption, `(captions, count)`."""
    cosines = texts @ texts.T
    cosines[(owners[:, None] == owners) | (cosines > _MAY_FIT)] = -1.0
    nearest = np.argpartition(-cosines, count, axis=1)[:, :count]
    pictures: np.ndarray = owners[nearest]
    return pictures


def with_captions(
    votes: Votes,
    pairs: Pairs,
    encoder: OnnxEncoder,
    described: Sequence[tuple[Path, Sequence[str]]],
) -> tuple[Votes, Pairs]:
    """With votes made of captions behind those there are, of the same weight in all.

    Half of the pictures that a caption says no to are those of the captions most like it, as far as
    they are not so like that they may fit (`_MAY_FIT`).
    """
    owned = [(n, text) for n, (_, texts) in enumerate(described) for text in texts]
    owners = np.array([owner for owner, _ in owned])
    descriptions = tuple(text for _, text in owned)
    image_ids = tuple(path.name for path, _ in described)
    images = _encode_files(encoder, [path for path, _ in described])
    texts = _encode_texts(encoder, descriptions)
    made = caption_votes(owners, len(described), texts=texts)
    scale = (votes.yes + votes.no).sum() / (made.yes + made.no).sum()
    joined = Pairs(
        pairs.image_ids + image_ids,
        np.concatenate([pairs.images, images]),
        pairs.query_ids + tuple(f"{image_ids[owner]}#{n}" for n, owner in enumerate(owners)),
        np.concatenate([pairs.texts, texts]),
        pairs.descriptions + descriptions,
        pairs.captions + tuple(tuple(texts) for _, texts in described),
    )
    return (
        Votes(
            np.concatenate([votes.pictures, made.pictures + len(pairs.image_ids)]),
            np.concatenate([votes.queries, made.queries + len(pairs.query_ids)]),
            np.concatenate([votes.yes, made.yes * scale]),
            np.concatenate([votes.no, made.no * scale]),
            np.concatenate([votes.crowd, made.crowd]),
            np.concatenate([votes.guessed, made.guessed]),
        ),
        joined,
    )


def _encode_files(encoder: OnnxEncoder, paths: Sequence[Path]) -> np.ndarray:
    rows = []
    for start in range(0, len(paths), 16):
        batch: list[Image.Image] = []
        for path in paths[start : start + 16]:
            try:
                batch.append(open_image(path).image)
            except ImageError as error:
                raise TrainingError(f"{path} cannot be calibrated on: {error}") from None
        rows.append(encoder.encode_images(batch))
    return np.concatenate(rows)


def _encode_texts(encoder: OnnxEncoder, texts: Sequence[str]) -> np.ndarray:
    none = np.empty((0, encoder.info.dimension), np.float32)
    return np.concatenate(
        [none, *(encoder.encode_texts(texts[n : n + 64]) for n in range(0, len(texts), 64))]
    )

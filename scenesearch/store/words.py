"""The words that a picture comes with, as a sparse vector beside its embedding.

Captions, tags, title and the file's name, weighted by BM25: term frequency and length here, rarity
(IDF) by the engine over the whole collection. The vectors are derived from the payload whenever a
point is written, so nothing else has to know of them. Tokens are hashed by the engine's own
tokeniser, for both homes alike. It folds case and accents and splits scripts without blanks; it has
no stemmer, which would be of one language.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import qdrant_edge as engine

WORDS = "words"  # name of the sparse vector; the picture's own has none

# What each side hands to the fusion, on every page of an answer: a pool that grew with the page
# would reorder the pages before it.
POOL = 200

# A rank's weight is 1 / (RRF_K + rank): Cormack, Clarke and Büttcher (2009), with their 60.
RRF_K = 60

_TEXT_FIELDS = ("title", "captions", "tags")
# Bytes beyond this say little more of a picture and come from strangers.
_MOST_CHARACTERS = 20_000
# 'IMG_2041-beachWalk' is five words: the tokeniser keeps what underscores and capitals join.
_JOINTS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])|[\W_]+")


def _bm25(stop_words: engine.StopwordsSet) -> engine.Bm25:
    return engine.Bm25(
        engine.Bm25Config(
            tokenizer=engine.TokenizerType.Multilingual,
            stopwords=stop_words,
            stemmer=engine.DisabledStemmer(),
            ascii_folding=True,
            avg_len=16,  # a caption and a file name; one picture in two has fewer words
        )
    )


# Of a request, English stop words are left out: a fusion stretches the scores of whatever is found,
# and 'a zeppelin' would find each caption with an 'a' in it. Not those of other languages: 'dog' is
# one in Danish, 'hat' in German, 'man' in Swedish. Their common words have their rarity alone.
_TOLD = _bm25(engine.StopwordsSet())
_ASKED = _bm25(engine.StopwordsSet(languages={engine.Language.English}))


@dataclass(frozen=True)
class Words:
    """A sparse vector: hashed words, ascending, and their weights."""

    indices: list[int]
    values: list[float]


def words_of(payload: Mapping[str, Any]) -> Words | None:
    """The words of a point's payload, with its image id in it; None when there are none."""
    return _words(_TOLD.embed_document("\n".join(_texts(payload))[:_MOST_CHARACTERS]))


def words_asked(text: str) -> Words | None:
    """The words of a request; None when nothing in it is a word."""
    return _words(_ASKED.embed_query(text[:_MOST_CHARACTERS]))


def _words(embedded: engine.SparseVector) -> Words | None:
    return Words(embedded.indices, embedded.values) if embedded.indices else None


def _texts(payload: Mapping[str, Any]) -> Iterator[str]:
    for field in _TEXT_FIELDS:
        value = payload.get(field)
        if isinstance(value, str):
            yield value
        elif isinstance(value, Sequence):
            yield from (part for part in value if isinstance(part, str))
    yield _JOINTS.sub(" ", PurePosixPath(payload["image_id"]).stem)

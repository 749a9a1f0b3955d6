"""The words that come with a picture, as a sparse vector beside its embedding.

They are those of captions, tags, title and file name, weighted by BM25: term frequency and length
here, rarity (IDF) by the engine over the whole collection. The store derives them from the payload
whenever it writes a point, so nothing else has to know about them. The engine's own tokeniser
hashes the tokens, for both homes alike. It folds case and accents, and splits scripts that have no
blanks. It has no stemmer, which would fit only one language.

The words that are written in the picture itself do not describe it, and are apart: their hashes
lie elsewhere in the same vector, so that neither kind of words finds the other.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import qdrant_edge as engine

from scenesearch.store.written import TEXT, alike, tokens_of

WORDS = "words"  # name of the sparse vector; the embedding has none

_TEXT_FIELDS = ("title", "captions", "tags")
# More text than this says little more about a picture and comes from strangers.
_MOST_CHARACTERS = 20_000
# 'IMG_2041-beachWalk' is five words: the tokeniser would keep together what underscores and
# capitals join.
_JOINTS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])|[\W_]+")


def _bm25(stop_words: engine.StopwordsSet, tokenizer: engine.TokenizerType) -> engine.Bm25:
    return engine.Bm25(
        engine.Bm25Config(
            tokenizer=tokenizer,
            stopwords=stop_words,
            stemmer=engine.DisabledStemmer(),
            ascii_folding=True,
            avg_len=16,  # a caption and a file name; half of the pictures have fewer words
        )
    )


# English stop words are left out of queries: a fusion stretches the scores of whatever is found,
# so 'a zeppelin' would find every caption with an 'a' in it. Other languages' stop words stay:
# 'dog' is one in Danish, 'hat' in German, 'man' in Swedish. Rarity alone weighs their common words.
_ENGLISH = engine.StopwordsSet(languages={engine.Language.English})
_PAYLOAD_BM25 = _bm25(engine.StopwordsSet(), engine.TokenizerType.Multilingual)
_QUERY_BM25 = _bm25(_ENGLISH, engine.TokenizerType.Multilingual)
# The words in pictures are told apart here: that tokeniser leaves out numbers.
_PICTURE_BM25 = _bm25(engine.StopwordsSet(), engine.TokenizerType.Whitespace)
_TELLING_BM25 = _bm25(_ENGLISH, engine.TokenizerType.Whitespace)


# Hashes of words in pictures differ in these bits from those of the same words in captions.
_IN_PICTURE = 0x5CE9_E5EA


@dataclass(frozen=True)
class SparseVector:
    """Hashed words, ascending, and their weights."""

    indices: list[int]
    values: list[float]


def payload_words(payload: Mapping[str, Any]) -> SparseVector | None:
    """The words of a point's payload and image id; None when there are none."""
    described = _PAYLOAD_BM25.embed_document("\n".join(_texts(payload))[:_MOST_CHARACTERS])
    if not isinstance(text := payload.get(TEXT), str):
        return _sparse(described)
    in_picture = _PICTURE_BM25.embed_document(_tokens(text))
    weights = dict(zip(_apart(in_picture), in_picture.values, strict=True))
    # Two words of one hash, of four thousand millions: the description's counts.
    weights |= dict(zip(described.indices, described.values, strict=True))
    both = sorted(weights.items())
    return SparseVector([index for index, _ in both], [weight for _, weight in both])


def query_words(text: str) -> SparseVector | None:
    """The words of a query; None when it has none."""
    return _sparse(_QUERY_BM25.embed_query(text[:_MOST_CHARACTERS]))


def query_words_in_picture(text: str) -> SparseVector | None:
    """The same words as they may be written in a picture, in every language: 'no parking'."""
    embedded = _PICTURE_BM25.embed_query(_tokens(text))
    pairs = sorted(zip(_apart(embedded), embedded.values, strict=True))
    if not pairs:
        return None
    return SparseVector([index for index, _ in pairs], [weight for _, weight in pairs])


@lru_cache(maxsize=10_000)
def is_stop_word(word: str) -> bool:
    """Whether an English request says nothing with it."""
    return not _TELLING_BM25.embed_query(word).indices


def _tokens(text: str) -> str:
    return alike(" ".join(tokens_of(text[:_MOST_CHARACTERS])))


def _apart(embedded: engine.SparseVector) -> list[int]:
    return [index ^ _IN_PICTURE for index in embedded.indices]


def _sparse(embedded: engine.SparseVector) -> SparseVector | None:
    return SparseVector(embedded.indices, embedded.values) if embedded.indices else None


def _texts(payload: Mapping[str, Any]) -> Iterator[str]:
    for field in _TEXT_FIELDS:
        value = payload.get(field)
        if isinstance(value, str):
            yield value
        elif isinstance(value, Sequence):
            yield from (part for part in value if isinstance(part, str))
    yield _JOINTS.sub(" ", PurePosixPath(payload["image_id"]).stem)

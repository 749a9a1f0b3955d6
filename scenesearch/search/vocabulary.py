"""The words that an encoder has learned from, and how rare each of them was.

A word that no training caption had ("zeppelin") moves a description's embedding at random, and what
is found then shows the rest of the description. The embedding cannot tell; a list of words can.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Letters of any script. In scripts without blanks a whole clause is one word, and unknown.
_WORD = re.compile(r"[^\W\d_]+")

_ARTICLES = {"a", "an", "the"}

# A word that this many captions had is as well known as any.
COMMON = 20


@dataclass(frozen=True)
class Vocabulary:
    """Words by how many training captions had them, counted up to `COMMON`.

    Log odds lose `weight` for each unit of rarity above `typical`, the judged queries' mean.
    """

    counts: Mapping[str, int]
    weight: float
    typical: float = 0.0

    def rarity(self, text: str) -> float:
        """How rare the text's rarest word is: 0 for a common one, log(1 + COMMON) for a new one."""
        rarest = min((self.counts.get(word, 0) for word in words_in(text)), default=COMMON)
        return math.log((1 + COMMON) / (1 + rarest))

    def new_in(self, text: str) -> list[str]:
        """The text's words that no caption had, in the order of the text."""
        return [word for word in words_in(text) if word not in self.counts]


def words_in(text: str) -> list[str]:
    """The text's words in lower case, each once, in the order of the text."""
    return list(dict.fromkeys(_WORD.findall(text.casefold())))


def is_one_word(text: str) -> bool:
    """Whether it names a thing by one word: 'dog', 'a dog'."""
    return len([word for word in words_in(text) if word not in _ARTICLES]) == 1


def counted(captions: Iterable[str]) -> dict[str, int]:
    """In how many of the captions each word is, up to `COMMON`."""
    counts = Counter(word for caption in captions for word in words_in(caption))
    return {word: min(count, COMMON) for word, count in counts.items()}

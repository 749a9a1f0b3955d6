"""Words of captions, and how rare a description's rarest is."""

import math

from scenesearch.search.vocabulary import COMMON, Vocabulary, counted, words_in


def test_words_are_letters_of_any_script_in_lower_case_each_once() -> None:
    assert words_in("Two dogs' TOYS, two (2) Ärzte_Катя!") == [
        "two",
        "dogs",
        "toys",
        "ärzte",
        "катя",
    ]


def test_a_word_counts_once_a_caption_and_no_more_than_common_ones_do() -> None:
    counts = counted(["a dog, a dog", *["a cat"] * 50])
    assert counts == {"a": COMMON, "dog": 1, "cat": COMMON}


def test_the_rarest_word_decides() -> None:
    vocabulary = Vocabulary({"a": COMMON, "dog": COMMON, "yak": 6}, weight=1.0)
    assert vocabulary.rarity("a dog") == 0
    assert vocabulary.rarity("a dog and a yak") == math.log(21)
    assert vocabulary.rarity("a dog, a yak") == math.log(21 / 7)
    assert vocabulary.rarity("") == 0
    assert vocabulary.new_in("a zeppelin, a yak, an okapi") == ["zeppelin", "an", "okapi"]

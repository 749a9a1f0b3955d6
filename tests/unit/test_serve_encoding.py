"""Texts that wait for the encoder are encoded together."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from serve.encoding import Batcher, SharedEncoder
from tests.conftest import ColourEncoder


class SlowEncode:
    """Waits in its first call until it is told to go on; remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[str]) -> np.ndarray:
        self.batches.append(list(items))
        self.begun.set()
        assert self.go_on.wait(10)
        if "bad" in items:
            raise ValueError("bad")
        return np.array([[float(item)] for item in items], np.float32)


def encode_all(batcher: Batcher[str], encode: SlowEncode, asked: Sequence[Sequence[str]]) -> list:
    """What each thread gets; the first has begun before the others come."""
    found: list = [None] * len(asked)

    def run(number: int) -> None:
        try:
            found[number] = batcher(asked[number])[:, 0].tolist()
        except ValueError as error:
            found[number] = str(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(asked))]
    threads[0].start()
    assert encode.begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(batcher._queue) < len(asked) - 1:
        pass
    encode.go_on.set()
    for thread in threads:
        thread.join(10)
    return found


def test_what_waits_is_encoded_together_and_each_gets_its_own() -> None:
    encode = SlowEncode()
    found = encode_all(Batcher(encode, most=8), encode, [["1"], ["2", "3"], ["4"]])
    assert found == [[1], [2, 3], [4]]
    assert [len(batch) for batch in encode.batches] == [1, 3]


def test_a_batch_has_at_most_so_many() -> None:
    encode = SlowEncode()
    encode_all(Batcher(encode, most=2), encode, [["1"], ["2"], ["3"], ["4"]])
    assert [len(batch) for batch in encode.batches] == [1, 2, 1]


def test_more_than_a_batch_of_one_request_stays_together() -> None:
    encode = SlowEncode()
    encode.go_on.set()
    assert len(Batcher(encode, most=2)(["1", "2", "3"])) == 3


def test_what_one_has_brought_fails_nobody_else() -> None:
    encode = SlowEncode()
    found = encode_all(Batcher(encode, most=8), encode, [["1"], ["bad"], ["4"]])
    assert found == [[1], "bad", [4]]


def test_vectors_are_those_of_the_encoder() -> None:
    encoder = ColourEncoder()
    shared = SharedEncoder(encoder)
    texts = ["red", "blue boat"]
    assert shared.encode_texts(texts) == pytest.approx(encoder.encode_texts(texts))
    assert shared.info == encoder.info

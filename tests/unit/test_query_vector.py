"""From cosines with a query to relevance, and back."""

import numpy as np
import pytest

from scenesearch.search.query_vector import QueryVector

VECTOR = np.array([1.0, 0.0], np.float32)


@pytest.mark.parametrize("relevance", [0.001, 0.2, 0.5, 0.9, 0.999])
def test_the_cosine_of_a_relevance_lets_it_pass_and_little_less(relevance: float) -> None:
    query = QueryVector(VECTOR, intercept=-8.0, slope=30.0)
    least = query.cosine_of(relevance)
    assert least is not None
    (reached,) = query.relevance(np.array([least], np.float32))
    assert relevance - 0.001 < reached < relevance


@pytest.mark.parametrize(("relevance", "slope"), [(0.0, 30.0), (0.5, 0.0), (0.5, -3.0)])
def test_no_cosine_is_needed_where_all_pass_or_cosines_say_nothing(
    relevance: float, slope: float
) -> None:
    assert QueryVector(VECTOR, intercept=-8.0, slope=slope).cosine_of(relevance) is None


def test_no_cosine_is_enough_for_certainty() -> None:
    assert QueryVector(VECTOR, intercept=-8.0, slope=30.0).cosine_of(1.0) == 1.0

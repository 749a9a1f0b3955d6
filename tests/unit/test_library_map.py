"""The map of a library: its layout, its parts and their names, and how it is kept."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scenesearch.runtime.cancel import cancelled_by
from scenesearch.search import library_map
from scenesearch.search.library_map import LibraryMap, Part, Terms, divide, fit, inside, map_of
from scenesearch.store.base import Point


def two_groups(count: int = 40) -> np.ndarray:
    """Vectors of two kinds, the first half of one."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(0, 0.02, (count, 8)).astype(np.float32)
    vectors[: count // 2, 0] += 1
    vectors[count // 2 :, 1] += 1
    return vectors


def points(vectors: np.ndarray, *payloads: dict[str, object]) -> Iterator[Point]:
    for number, vector in enumerate(vectors):
        payload = payloads[number % len(payloads)] if payloads else {}
        yield Point(f"{number:03}.jpg", vector, payload)


def made(vectors: np.ndarray, *payloads: dict[str, object]) -> LibraryMap:
    layout = fit(vectors, len(vectors))
    return map_of(points(vectors, *payloads), layout, collection="c-1", version="v1")


# --- the layout


def test_pictures_of_two_kinds_lie_apart() -> None:
    places = fit(two_groups(), 40).places
    middles = places[:20].mean(axis=0), places[20:].mean(axis=0)
    widest = np.linalg.norm(places[:20] - middles[0], axis=1).max()
    assert np.linalg.norm(middles[0] - middles[1]) > widest
    assert places.min() >= 0 and places.max() <= 1


def test_a_layout_is_the_same_each_time() -> None:
    assert fit(two_groups(), 40).places.tolist() == fit(two_groups(), 40).places.tolist()


def test_a_picture_that_is_not_of_the_sample_lies_with_those_like_it() -> None:
    vectors = two_groups(80)
    layout = fit(vectors[::2], 80)
    others = layout.place(vectors[1::2])
    first, second = layout.places[:20].mean(axis=0), layout.places[20:].mean(axis=0)
    near_first = np.linalg.norm(others - first, axis=1) < np.linalg.norm(others - second, axis=1)
    assert near_first.tolist() == [True] * 20 + [False] * 20


def test_a_picture_of_the_sample_stays_where_it_was_laid_out() -> None:
    vectors = two_groups()
    layout = fit(vectors, 40)
    assert np.abs(layout.place(vectors) - layout.places).max() < 0.02


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_few_pictures_have_a_layout_too(count: int) -> None:
    places = fit(np.eye(4, dtype=np.float32)[:count], count).places
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()


def test_pictures_that_are_all_the_same_have_a_layout_too() -> None:
    found = made(np.ones((30, 4), np.float32))
    assert np.isfinite(found.places).all()
    assert sum(part.count for part in found.parts if part.within is None) == 30


def test_a_layout_serves_until_the_library_has_doubled_or_has_other_vectors() -> None:
    layout = fit(two_groups(), 40)
    assert layout.fits(80, 8)
    assert not layout.fits(81, 8)
    assert not layout.fits(80, 9)


def test_a_layout_says_how_far_it_is_and_can_be_cancelled() -> None:
    heard: list[tuple[int, int]] = []
    fit(two_groups(), 40, lambda done, total: heard.append((done, total)))
    assert heard[0] == (1, library_map.STEPS)
    assert heard[-1] == (library_map.STEPS, library_map.STEPS)

    def cancel() -> None:
        raise KeyboardInterrupt

    with cancelled_by(cancel), pytest.raises(KeyboardInterrupt):
        fit(two_groups(), 40)


# --- parts and names


def test_places_are_divided_into_groups_that_lie_together() -> None:
    generator = np.random.default_rng(1)
    corners = np.repeat([[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]], 20, axis=0)
    places = (corners + generator.normal(0, 0.01, (60, 2))).astype(np.float32)
    labels = divide(places, 3)
    assert sorted(set(labels)) == [0, 1, 2]
    assert all(len(set(labels[start : start + 20])) == 1 for start in (0, 20, 40))


def test_a_part_is_named_by_the_words_that_stand_out_in_it() -> None:
    terms = Terms()
    for number in range(20):
        boats = number < 10
        caption = "a red boat on the water" if boats else "the dog runs on the grass"
        terms.add({"captions": [caption], "tags": ["Holiday", "Lago Maggiore"] if boats else []})
    labels = np.repeat([0, 1], 10)
    first, second = terms.names(labels, 2)
    assert first == "Holiday, Lago Maggiore"  # tags come first where words are as frequent
    assert second == "dog, runs"


def test_words_that_all_pictures_have_name_no_part_of_them() -> None:
    terms = Terms()
    for number in range(20):
        terms.add({"captions": ["a photo"], "tags": ["cat"] if number < 10 else []})
    assert terms.names(np.repeat([0, 1], 10), 2) == ["cat", ""]


def test_no_name_is_given_twice() -> None:
    """Three groups of dogs: the largest has the best name, the others the next-best words."""
    terms = Terms()
    for tags in (["dog", "beach"], ["dog", "beach", "ball"], ["beach", "dog", "sand", "sun"]):
        for _ in range(12 if len(tags) == 2 else 10):
            terms.add({"tags": tags})
    for _ in range(20):
        terms.add({"tags": ["cat"]})
    labels = np.repeat([0, 1, 2, 3], [12, 10, 10, 20])
    assert terms.names(labels, 4) == ["dog, beach", "ball, dog", "sand, sun", "cat"]


def test_a_rare_word_tells_two_groups_of_one_word_apart() -> None:
    terms = Terms()
    for number in range(60):
        others = ["leash"] if number == 25 else []
        terms.add({"tags": ["dog", *others] if number < 40 else ["cat"]})
    labels = np.repeat([0, 1, 2], 20)
    assert terms.names(labels, 3) == ["dog", "dog, leash", "cat"]
    assert terms.names(labels, 3, ["dog"]) == ["dog", "dog, leash", "cat"]  # those within it


def test_forms_of_a_word_are_named_once() -> None:
    terms = Terms()
    for number in range(20):
        terms.add({"captions": ["dog dogs snow"] if number < 10 else ["cat"]})
    assert terms.names(np.repeat([0, 1], 10), 2)[0] == "dog, snow"


def test_captions_of_strangers_that_are_no_texts_are_passed_over() -> None:
    terms = Terms()
    terms.add({"captions": [None, 5, ["x"]], "tags": {"a": 1}})
    terms.add({"captions": "not a list", "tags": None})
    assert terms.names(np.zeros(2, np.intp), 1) == [""]


def test_large_parts_are_divided_and_a_part_has_all_that_is_within() -> None:
    found = made(two_groups(200), {"tags": ["x"]})
    large = [n for n, part in enumerate(found.parts) if part.within is None]
    smaller = [part for part in found.parts if part.within is not None]
    assert 1 < len(large) <= library_map.PARTS
    assert smaller
    assert sum(found.parts[n].count for n in large) == 200
    for number in large:
        assert len(found.in_part(number)) == found.parts[number].count


def test_a_library_without_pictures_has_a_map_without_parts() -> None:
    layout = fit(two_groups(), 40)
    found = map_of(iter(()), layout, collection="c-1", version="v1")
    assert (found.ids, found.places.shape, found.parts) == ([], (0, 2), [])


def test_an_outline_holds_what_lies_inside_of_it() -> None:
    places = np.array([[0.5, 0.5], [0.9, 0.9], [0.1, 0.4], [0.5, 0.1]], np.float32)
    diamond = [(0.5, 0.2), (0.8, 0.5), (0.5, 0.8), (0.2, 0.5)]
    assert inside(places, diamond).tolist() == [0]
    # A corner that points inwards leaves out what lies behind it.
    arrow = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.3), (0.0, 1.0)]
    assert inside(places, arrow).tolist() == [2, 3]


# --- kept


def test_a_map_is_read_as_it_was_saved(tmp_path: Path) -> None:
    vectors = two_groups(60)
    layout = fit(vectors, 60)
    found = map_of(points(vectors, {"tags": ["sea"]}), layout, collection="c-1", version="v1")
    (tmp_path / "tsne-0123.npy").write_bytes(b"of an earlier version")
    library_map.save(tmp_path, found, layout)
    read, read_layout = (
        library_map.read_map(tmp_path, "c-1"),
        library_map.read_layout(tmp_path, "c-1"),
    )
    assert read is not None and read_layout is not None
    assert (read.ids, read.version, read.parts) == (found.ids, "v1", found.parts)
    assert np.array_equal(read.places, found.places)
    assert np.array_equal(read.labels, found.labels)
    assert np.array_equal(read_layout.place(vectors), found.places)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map-layout.npz", "map.npz"]


def test_a_map_of_another_collection_or_a_damaged_one_is_none(tmp_path: Path) -> None:
    assert library_map.read_map(tmp_path, "c-1") is None
    vectors = two_groups()
    layout = fit(vectors, 40)
    found = map_of(points(vectors), layout, collection="c-1", version="v1")
    library_map.save(tmp_path, found, layout)
    assert library_map.read_map(tmp_path, "c-2") is None
    assert library_map.read_layout(tmp_path, "c-2") is None
    library_map.save(tmp_path, replace(found, parts=[Part("x", 0, 0, 1)], ids=["a"]), layout)
    assert library_map.read_map(tmp_path, "c-1") is None
    library_map.save(tmp_path, found, layout)
    kept = {name: (tmp_path / name).read_bytes() for name in ("map.npz", "map-layout.npz")}
    for damage in (lambda data: data[: len(data) // 2], lambda data: b"damaged"):
        for name, data in kept.items():
            (tmp_path / name).write_bytes(damage(data))
        assert library_map.read_map(tmp_path, "c-1") is None
        assert library_map.read_layout(tmp_path, "c-1") is None

"""The layouts of the map: principal components and t-SNE."""

from pathlib import Path

import numpy as np
import pytest

from scenesearch.search import library_map


def test_principal_components_find_the_direction_of_most_difference() -> None:
    spread = np.zeros((5, 3), np.float32)
    spread[:, 1] = [0, 1, 2, 3, 4]
    spread[:, 2] = [0, 0.1, 0, 0.1, 0]
    found = library_map.principal_components(spread)
    assert found[:, 0] == pytest.approx([-2, -1, 0, 1, 2], abs=0.02)
    assert np.abs(found[:, 1]).max() < 0.1


def test_one_picture_or_none_has_a_layout_too() -> None:
    assert library_map.principal_components(np.zeros((0, 4), np.float32)).shape == (0, 2)
    assert library_map.principal_components(np.ones((1, 4), np.float32)).tolist() == [[0, 0]]


def test_neighbours_of_two_groups_lie_apart() -> None:
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    groups = generator.normal(0, 0.01, (24, 8)).astype(np.float32)
    groups[12:, 0] += 5
    found = library_map.neighbours(groups)
    inside = np.linalg.norm(found[:12] - found[:12].mean(axis=0), axis=1).max()
    assert np.linalg.norm(found[:12].mean(axis=0) - found[12:].mean(axis=0)) > inside


def test_a_layout_is_kept_for_its_pictures_alone(tmp_path: Path) -> None:
    points = np.ones((3, 2), np.float32)
    library_map.save_layout(tmp_path, "old", points)
    library_map.save_layout(tmp_path, "new", points)
    assert library_map.read_layout(tmp_path, "old", 3) is None
    assert library_map.read_layout(tmp_path, "new", 4) is None
    kept = library_map.read_layout(tmp_path, "new", 3)
    assert kept is not None and kept.tolist() == points.tolist()
    (tmp_path / "tsne-new.npy").write_bytes(b"damaged")
    assert library_map.read_layout(tmp_path, "new", 3) is None

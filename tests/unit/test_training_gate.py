"""Smaller weights are accepted by the rankings they keep."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.gate import ExportError, Validation, check_recall, recall_at_10

PICTURES = 200


class Counting:
    """A picture's brightness is its number, a caption names one; `lost` find nothing they name."""

    def __init__(self, lost: int = 0) -> None:
        self.lost = lost

    def encode_images(self, images):
        return np.eye(PICTURES)[[image.getpixel((0, 0))[0] for image in images]]

    def encode_texts(self, texts):
        wanted = np.eye(PICTURES)[[int(text) for text in texts]]
        lost = np.array([int(text) < self.lost for text in texts])
        return np.where(lost[:, None], -wanted, wanted)


@pytest.fixture(scope="module")
def validation(tmp_path_factory) -> Validation:
    folder = tmp_path_factory.mktemp("validation")
    paths = [folder / f"{n}.png" for n in range(PICTURES)]
    for n, path in enumerate(paths):
        Image.new("RGB", (8, 8), (n, n, n)).save(path)
    return Validation(tuple(paths), tuple((str(n),) for n in range(PICTURES)))


def test_recall_counts_captions_whose_picture_is_among_ten(validation: Validation) -> None:
    assert recall_at_10(Counting(), validation) == 100.0
    assert recall_at_10(Counting(lost=20), validation) == 90.0


def test_half_a_point_is_accepted_and_recorded(validation: Validation) -> None:
    found = check_recall(Counting(lost=1), Counting(), validation, "int8")
    assert found == {"pictures": 200, "recall@10": 99.5, "recall@10 of fp32": 100.0}


def test_more_than_half_a_point_is_refused_with_both_figures(validation: Validation) -> None:
    with pytest.raises(ExportError, match=r"refused: .* 200 pictures falls .*100\.0 to 99\.0"):
        check_recall(Counting(lost=2), Counting(), validation, "int8")


def test_too_few_pictures_decide_nothing(validation: Validation) -> None:
    with pytest.raises(ExportError, match="50 are needed, 49 are given"):
        check_recall(Counting(), Counting(), validation.first(49), "int8")
    with pytest.raises(ExportError, match="50 are needed, 0 are given"):
        check_recall(Counting(), Counting(), None, "int8")


def test_a_picture_that_cannot_be_read_is_named(validation: Validation, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    with pytest.raises(ExportError, match=r"broken\.jpg cannot be validated on"):
        recall_at_10(Counting(), Validation((broken,), (("0",),)))

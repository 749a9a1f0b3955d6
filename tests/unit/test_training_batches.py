"""What training reads: splits, views, captions, batches."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from training.data import (
    View,
    batches_by_domain,
    drawn_domain,
    drop_words,
    fingerprint,
    load_pictures,
    mirror_words,
    pad,
    read_captions,
    render,
    split_by_image,
)


def test_a_split_is_by_image_and_adding_images_moves_none():
    image_ids = [f"{n}.jpg" for n in range(200)]
    train, validation = split_by_image(image_ids, 0.2, seed=1)
    assert sorted(train + validation) == sorted(image_ids)
    assert 20 <= len(validation) <= 60
    more_train, more_validation = split_by_image([*image_ids, "new.jpg"], 0.2, seed=1)
    assert set(train) <= set(more_train)
    assert set(validation) <= set(more_validation)


def test_captions_are_grouped_by_image(tmp_path):
    file = tmp_path / "captions.tsv"
    file.write_text(
        "\ufeffa.jpg#0\tA dog .\r\na.jpg#1\tOne dog\nb.jpg#0\tA cat\n", encoding="utf-8"
    )
    assert read_captions(file) == {"a.jpg": ["A dog .", "One dog"], "b.jpg": ["A cat"]}


def test_a_line_without_a_caption_is_named_by_file_and_number(tmp_path):
    file = tmp_path / "captions.tsv"
    file.write_text("a.jpg#0\tA dog\na.jpg 1 One dog\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"captions\.tsv:2"):
        read_captions(file)


def test_a_broken_picture_and_an_undescribed_one_are_left_out_by_name(tmp_path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    captions = {"red.png": ["red"], "broken.jpg": ["?"], "gone.jpg": ["gone"]}
    pictures, dropped = load_pictures(
        tmp_path, captions, ["red.png", "broken.jpg", "gone.jpg", "silent.jpg"], 8
    )
    assert pictures.image_ids == ("red.png",)
    assert pictures.pixels.shape == (1, 8, 8, 3)
    assert [line.partition(":")[0] for line in dropped] == ["broken.jpg", "gone.jpg", "silent.jpg"]


def test_no_readable_picture_at_all_stops_the_run(tmp_path):
    with pytest.raises(ValueError, match="no readable picture"):
        load_pictures(tmp_path, {"a.jpg": ["a"]}, ["a.jpg"], 8)


def test_a_mirrored_view_turns_the_picture_and_its_words():
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:, 0] = 255  # a white left edge
    mirrored = render(pixels, View((0.0, 0.0, 4.0, 4.0), mirrored=True, gain=1.0))
    assert mirrored[0, 0].tolist() == [-1.0, -1.0, -1.0, 1.0]
    assert mirror_words("A dog left of a right shoe") == "A dog right of a left shoe"


def test_the_whole_view_changes_no_pixel():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    values = render(pixels, View.whole(4))
    assert np.allclose((values.transpose(1, 2, 0) + 1) * 127.5, pixels, atol=1e-3)


def test_dropped_words_leave_both_ends_and_never_nothing():
    rng = np.random.default_rng(0)
    assert drop_words([101, 7, 8, 9, 102], 1.0, rng) == [101, 7, 8, 9, 102]
    some = drop_words([101, *range(200, 300), 102], 0.5, rng)
    assert some[0] == 101
    assert some[-1] == 102
    assert 30 < len(some) < 72


def test_padding_reaches_the_longest_and_is_masked():
    ids, mask = pad([[1, 2, 3], [4]])
    assert ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_an_epoch_takes_every_picture_once_and_mixes_no_domains():
    seen = {0: [], 1: []}
    for domain, rows in batches_by_domain([10, 5], 4, np.random.default_rng(0)):
        seen[domain] += rows.tolist()
        assert len(rows) >= 4
    assert sorted(seen[0]) == list(range(10))
    assert sorted(seen[1]) == list(range(5))


def test_training_on_the_measured_library_is_refused(tmp_path):
    with pytest.raises(ValueError, match="train on another"):
        drawn_domain(7, 2, 1, 8, 1, tmp_path)


def test_the_fingerprint_changes_with_a_caption_or_a_pixel(tmp_path):
    domain = drawn_domain(101, 3, 1, 16, 1, tmp_path)
    again = drawn_domain(101, 3, 1, 16, 1, tmp_path)
    assert fingerprint([domain.train]) == fingerprint([again.train])
    again.train.pixels[0, 0, 0, 0] ^= 1
    assert fingerprint([domain.train]) != fingerprint([again.train])

"""What training reads: sources, splits, views, captions, batches."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from scenesearch.datasets.tables import DatasetError
from scenesearch.encoder.base import ImageInput
from scenesearch.sample.library import DEFAULT_SEED
from training.batches import class_prompts, drop_words, epoch_batches, mirror_words, pad
from training.corpus import DRAWN_SEED, Corpus, held_back, load_corpus
from training.recipe import Recipe, TrainingError
from training.views import View, load_view

HALF = (0.5, 0.5, 0.5)


def listed(folder: Path, *, dev: tuple[str, ...] = ("red.png", "blue.png")) -> Path:
    """A folder like Flickr8k's, with one caption of each picture."""
    (folder / "images").mkdir(parents=True)
    names = ("green.png", "white.png", *dev)
    for n, name in enumerate(names):
        Image.new("RGB", (30, 20), (60 * n, 9, 7)).save(folder / "images" / name)
    (folder / "train_images.txt").write_text("green.png\nwhite.png\n", encoding="utf-8")
    (folder / "dev_images.txt").write_text("\n".join(dev), encoding="utf-8")
    rows = [f"{name}#{n}\t{text} {name[:-4]} ." for name in names for n, text in enumerate("ab")]
    (folder / "captions.tsv").write_text("\ufeff" + "\r\n".join(rows), encoding="utf-8")
    return folder


def load(*sources: object, **changes: object) -> Corpus:
    recipe = Recipe(data=tuple(map(str, sources)), **changes)
    return load_corpus(recipe, Path("unused"), lambda line: None)


def test_a_pictures_side_depends_on_it_and_the_seed_alone():
    sides = [held_back(f"{n}.jpg", 0.2, seed=1) for n in range(200)]
    assert 20 <= sum(sides) <= 60
    assert sides != [held_back(f"{n}.jpg", 0.2, seed=2) for n in range(200)]
    assert not any(held_back(f"{n}.jpg", 0.0, seed=1) for n in range(200))


def test_lists_of_a_folder_are_its_split_and_captions_are_grouped(tmp_path):
    corpus = load(listed(tmp_path / "flickr"), validation_share=0.9)
    assert [e.image_id for e in corpus.train] == ["green.png", "white.png"]
    assert [e.image_id for e in corpus.validation] == ["red.png", "blue.png"]
    assert corpus.train[0].captions == ("a green .", "b green .")


def test_a_listed_picture_that_is_missing_or_undescribed_is_left_out_by_name(tmp_path):
    folder = listed(tmp_path / "flickr")
    with (folder / "train_images.txt").open("a") as file:
        file.write("gone.png\nsilent.png\n")
    with (folder / "captions.tsv").open("a") as file:
        file.write("\r\ngone.png#0\ta gone one")
    lines: list[str] = []
    recipe = Recipe(data=(str(folder),))
    corpus = load_corpus(recipe, tmp_path, lines.append)
    assert len(corpus.train) == 2
    assert lines[0].endswith("gone.png is not there")
    assert lines[1].endswith("silent.png has no caption")


@pytest.mark.parametrize("list_file", ["train_images.txt", "dev_images.txt"])
def test_a_list_that_cannot_be_read_is_named(tmp_path, list_file):
    folder = listed(tmp_path / "flickr")
    (folder / list_file).write_bytes(b"\0\xff")
    with pytest.raises(DatasetError, match=f"{list_file} is not a text file"):
        load(folder)


def test_a_folder_without_its_validation_list_is_refused(tmp_path):
    folder = listed(tmp_path / "flickr")
    (folder / "dev_images.txt").unlink()
    with pytest.raises(TrainingError, match=r"no list of pictures to select by, dev_images\.txt"):
        load(folder)


def test_each_list_of_validation_pictures_is_a_gallery(tmp_path):
    folder = listed(tmp_path / "web")
    (folder / "train_images.txt").rename(folder / "train.txt")
    (folder / "dev_images.txt").unlink()
    (folder / "dev.txt").write_text("red.png\n")
    (folder / "world_dev.txt").write_text("blue.png\n")
    corpus = load(folder)
    assert [e.image_id for e in corpus.train] == ["green.png", "white.png"]
    galleries = {e.image_id: e.gallery for e in corpus.validation}
    assert galleries == {"red.png": "web/dev", "blue.png": "web/world_dev"}


def test_a_line_without_a_caption_is_left_out(tmp_path):
    folder = listed(tmp_path / "flickr")
    with (folder / "captions.tsv").open("a") as file:
        file.write("\r\ngreen.png 1 no tab")
    assert load(folder).train[0].captions == ("a green .", "b green .")


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(TrainingError, match=r"broken\.jpg"):
        load_view(path, None, ImageInput(size=(4, 4), resize="squash", mean=HALF, std=HALF))


def test_a_whole_picture_many_times_as_long_as_high_is_not_resized_whole(tmp_path, monkeypatch):
    Image.new("RGB", (4000, 2)).save(tmp_path / "long.png")
    resize, sizes = Image.Image.resize, []

    def recorded(image, size, *given):
        sizes.append(size)
        return resize(image, size, *given)

    monkeypatch.setattr(Image.Image, "resize", recorded)
    prepared = ImageInput(size=(8, 8), resize="shortest_edge_crop", mean=HALF, std=HALF)
    assert load_view(tmp_path / "long.png", None, prepared).shape == (3, 8, 8)
    assert sizes == [(128, 8)]  # not (16000, 8)


def test_a_mirrored_view_turns_the_picture_and_its_words(tmp_path):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:, 0] = 255  # a white left edge
    Image.fromarray(pixels).save(tmp_path / "edge.png")
    prepared = ImageInput(size=(4, 4), resize="squash", mean=HALF, std=HALF)
    view = View((0.0, 0.0, 1.0, 1.0), mirrored=True, gain=1.0)
    mirrored = load_view(tmp_path / "edge.png", view, prepared)
    assert mirrored[0, 0].tolist() == [-1.0, -1.0, -1.0, 1.0]
    assert mirror_words("A dog left of a right shoe") == "A dog right of a left shoe"


def test_the_whole_view_changes_no_pixel(tmp_path):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "some.png")
    prepared = ImageInput(size=(4, 4), resize="squash", mean=HALF, std=HALF)
    values = load_view(tmp_path / "some.png", None, prepared)
    assert np.allclose((values.transpose(1, 2, 0) + 1) * 127.5, pixels, atol=1e-3)


def test_dropped_words_leave_both_ends_and_never_nothing():
    rng = np.random.default_rng(0)
    assert drop_words([101, 7, 8, 9, 102], 1.0, rng) == [101, 7, 8, 9, 102]
    some = drop_words([101, *range(200, 300), 102], 0.5, rng)
    assert some[0] == 101
    assert some[-1] == 102
    assert 30 < len(some) < 72


def test_padding_reaches_the_longest_and_is_masked():
    ids, mask = pad([[1, 2, 3], [4]], 0)
    assert ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_an_epoch_takes_every_picture_once_and_mixes_no_sources():
    rows_of = [np.arange(10), np.arange(10, 15)]
    batches = epoch_batches(rows_of, [1.0, 1.0], 4, seed=0, epoch=0)
    assert sorted(row for batch in batches for row in batch) == list(range(15))
    assert all(len({row < 10 for row in batch}) == 1 and len(batch) >= 4 for batch in batches)


def test_a_weight_of_one_and_a_half_shows_half_of_a_source_twice():
    batches = epoch_batches([np.arange(10)], [1.5], 5, seed=0, epoch=0)
    counts = np.bincount(np.concatenate(batches))
    assert sorted(counts) == [1] * 5 + [2] * 5


def test_every_name_of_a_class_is_a_prompt():
    assert class_prompts("tench, Tinca tinca") == ["a photo of a tench", "a photo of a Tinca tinca"]


def test_the_library_that_is_measured_on_is_never_trained_on():
    assert DRAWN_SEED != DEFAULT_SEED


def test_the_fingerprint_changes_with_a_caption_or_a_pixel(tmp_path):
    folder = listed(tmp_path / "flickr")
    before = load(folder).fingerprint
    assert load(folder).fingerprint == before
    captions = folder / "captions.tsv"
    text = captions.read_text(encoding="utf-8")
    captions.write_text(text.replace("a green", "A green"), encoding="utf-8")
    assert load(folder).fingerprint != before
    captions.write_text(text, encoding="utf-8")
    Image.new("RGB", (30, 20), (1, 9, 7)).save(folder / "images" / "green.png")
    assert load(folder).fingerprint != before

"""Perceptual hashes, and groups of pictures that are the same."""

import io

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from scenesearch.pictures.duplicates import (
    Group,
    HashedPicture,
    distance,
    find_groups,
    perceptual_hash,
)


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(0, 255, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        w, h = random.integers(20, 120, 2)
        draw.ellipse((x, y, x + w, y + h), tuple(random.integers(0, 255, 3).tolist()))
    return image


def hash_of(image: Image.Image) -> str:
    found = perceptual_hash(image)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_hash_is_that_of_imagehash_but_for_two_bits(seed: int) -> None:
    small = scene(seed, (64, 48))  # not reduced in two steps
    assert hash_of(small) == str(imagehash.phash(small))
    image = scene(seed)
    assert distance(hash_of(image), str(imagehash.phash(image))) <= 2


def test_a_picture_keeps_its_look_when_it_is_compressed_scaled_or_brightened() -> None:
    for seed in range(10):
        image = scene(seed)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=50)
        for other in (
            Image.open(buffer),
            image.resize((160, 120)),
            ImageEnhance.Brightness(image).enhance(1.15),
        ):
            assert distance(hash_of(image), hash_of(other)) <= 6
        assert distance(hash_of(image), hash_of(scene(seed + 100))) > 10


def test_plain_surfaces_look_like_nothing() -> None:
    noise = np.random.default_rng(0).normal(120, 3, (200, 300)).clip(0, 255).astype(np.uint8)
    for image in (Image.new("RGB", (300, 200), (30, 60, 220)), Image.fromarray(noise)):
        assert perceptual_hash(image) is None


def look(image_id: str, bits: int | None, sha256: str | None = None) -> HashedPicture:
    return HashedPicture(image_id, sha256 or image_id, None if bits is None else f"{bits:016x}")


def test_groups_tell_same_content_from_nearly_the_same_look() -> None:
    base = 0x0123456789ABCDEF
    looks = [
        look("a", base, "s1"),
        look("b", base ^ 0b111, "s2"),
        look("c", base, "s1"),
        look("d", ~base & (1 << 64) - 1, "s3"),
        look("plain", None, "s4"),
        look("plain too", None, "s4"),
        look("other plain", None, "s5"),
    ]
    assert find_groups(looks) == [
        Group("a", ("c",), (("b", 3),)),
        Group("plain", ("plain too",), ()),
    ]
    assert find_groups(looks, most_distant=2)[0] == Group("a", ("c",), ())


def test_a_chain_of_looks_does_not_grow_one_group() -> None:
    looks = [look(f"{n}", (1 << 4 * n) - 1) for n in range(4)]  # each 4 bits from the last
    assert [group.first for group in find_groups(looks, most_distant=6)] == ["0", "2"]


def test_every_pair_within_the_distance_is_found_and_no_other() -> None:
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**64, 300, dtype=np.uint64).tolist()
    for at in range(0, 300, 3):  # a copy at a distance of 0 to 9 bits, anywhere
        flips = random.choice(64, int(random.integers(0, 10)), replace=False)
        hashes[at + 1] = hashes[at] ^ sum(1 << int(bit) for bit in flips)
    looks = [look(str(n), bits, f"s{n}") for n, bits in enumerate(hashes)]
    for most in (0, 3, 7):
        found = {
            (group.first, other)
            for group in find_groups(looks, most_distant=most)
            for other, _ in group.near
        }
        expected = {
            (str(a), str(b))
            for a in range(300)
            for b in range(a + 1, 300)
            if (hashes[a] ^ hashes[b]).bit_count() <= most
        }
        assert found == expected
    with pytest.raises(ValueError, match="up to a distance of 7"):
        find_groups(looks, most_distant=8)

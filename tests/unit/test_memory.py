"""What decoding takes is reserved before, in one budget for the process."""

import hashlib
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenesearch.encoder.preprocessing import _middle
from scenesearch.home.allowed_originals import LinkedFile
from scenesearch.pictures.colour import to_srgb
from scenesearch.pictures.decoding_cost import decoding_bytes, prepare_reduced
from scenesearch.pictures.opening import ImageError, decode_image, open_image
from scenesearch.pictures.originals import LocalFile, OriginalState, RemoteFile
from scenesearch.runtime import memory
from scenesearch.runtime.memory import Budget, TooLargeError

MB = 1_000_000


@pytest.fixture
def small_budget() -> Iterator[None]:
    memory.set_limit(20)
    yield
    memory.set_limit(None)


def needed(picture: Image.Image, format_: str, reduce_to: int = 448, **options: object) -> int:
    file = io.BytesIO()
    picture.save(file, format_, **options)
    with Image.open(file) as opened:
        size = opened.size
        reduce = prepare_reduced(opened, file.getvalue(), reduce_to)
        return decoding_bytes(opened, file.getvalue(), full_size=size, reduce=reduce)


def test_what_does_not_fit_even_alone_is_refused_and_names_the_setting() -> None:
    with (
        pytest.raises(TooLargeError, match=r"needs 101 MB .* limit is 100 \(SCENESEARCH_MEMORY_MB"),
        Budget(100 * MB).reserved(101 * MB),
    ):
        pass


def test_whoever_finds_no_room_waits_and_a_large_one_is_not_overtaken() -> None:
    budget, order = Budget(100), list[str]()
    inside, leave = threading.Event(), threading.Event()

    def take(name: str, size: int) -> None:
        with budget.reserved(size):
            order.append(name)
            if name == "first":
                inside.set()
                leave.wait(10)

    threads = [threading.Thread(target=take, args=("first", 60))]
    threads[0].start()
    assert inside.wait(10)
    for name, size in (("large", 90), ("small", 10)):
        threads.append(threading.Thread(target=take, args=(name, size)))
        threads[-1].start()
        while len(budget._turns) < len(threads) - 1:
            pass
    assert order == ["first"]
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "large", "small"]


def test_room_is_given_back_whatever_happens_inside() -> None:
    budget = Budget(10)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), budget.reserved(10):
            raise ZeroDivisionError


@pytest.mark.usefixtures("small_budget")
def test_a_picture_beyond_the_budget_is_a_reject_before_it_is_decoded() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (4000, 3000)).save(file, "PNG")
    with pytest.raises(
        ImageError, match=r"needs \d+ MB of memory to decode, the limit is 20"
    ) as no:
        decode_image(file.getvalue(), reduce_to=448)
    assert not no.value.transient


def test_want_of_memory_is_a_reject_that_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for error in (
        MemoryError(),
        OSError("out of memory error when reading image file"),
        RuntimeError("Failed to decode frame 0: Out of memory"),  # as AVIF has it
    ):

        def load(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
        with pytest.raises(ImageError, match="there was not enough memory for it") as short:
            open_image(tmp_path / "a.png")
        assert short.value.transient


# --- shrunk in pieces ---------------------------------------------------------------------------


def scene(mode: str, size: tuple[int, int] = (3600, 2500)) -> Image.Image:
    """Soft shapes, by default of nine megapixels."""
    rng = np.random.default_rng(7)
    small = Image.fromarray(rng.integers(0, 256, (25, 36, 4), np.uint8), "RGBA")
    large = small.resize(size, Image.Resampling.BICUBIC)
    if mode in ("I;16", "I", "F"):
        grey = np.asarray(large.convert("L"), np.float32)
        if mode == "I;16":
            return Image.fromarray((grey * 257).astype(np.uint16))
        scaled = grey * 50 - 900 if mode == "F" else (grey * 50).astype(np.int32)
        return Image.fromarray(scaled)
    return large.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "I;16", "I", "F", "1"])
def test_a_large_picture_shrunk_in_pieces_looks_as_shrunk_whole(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenesearch.pictures.colour.LARGE_PIXELS", 100_000)
    monkeypatch.setattr("scenesearch.pictures.colour._TILE_SIDE", 200)
    picture = scene(mode, (900, 625))
    if mode == "P":
        picture.info["transparency"] = 3
    pieces = to_srgb(picture, 5)
    # The old way, piece by piece of what was whole: converted at its full size, then averaged.
    whole = to_srgb(picture).reduce(5)
    assert pieces.size == whole.size == (180, 125)
    difference = np.abs(np.asarray(pieces, np.int16) - np.asarray(whole, np.int16))
    assert difference.mean() < 0.6
    assert np.percentile(difference, 99) <= 3


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "I;16", "F"])
def test_converted_in_pieces_at_its_full_size_a_picture_is_the_same_to_the_bit(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = scene(mode, (1500, 1100))
    whole = to_srgb(picture)
    monkeypatch.setattr("scenesearch.pictures.colour.LARGE_PIXELS", 1000)
    assert to_srgb(picture).tobytes() == whole.tobytes()


def test_a_panorama_of_any_length_is_made_small_enough() -> None:
    file = io.BytesIO()
    Image.new("L", (600_000, 30), 200).save(file, "PNG")
    opened = decode_image(file.getvalue(), reduce_to=448)
    assert (opened.width, opened.height) == (600_000, 30)
    assert opened.image.width * opened.image.height <= 8_100_000
    assert opened.image.getpixel((5, 5)) == (200, 200, 200)


# --- what formats cost --------------------------------------------------------------------------


def test_a_jpeg_of_several_scans_costs_its_coefficients_and_one_of_a_single_scan_does_not() -> None:
    picture = Image.new("RGB", (2000, 1500))
    once = needed(picture, "JPEG")
    assert once == 1000 * 750 * 20
    progressive = needed(picture, "JPEG", progressive=True, subsampling=0)
    assert progressive - once == 2000 * 1500 * 3 * 2  # three numbers of two bytes
    assert needed(picture, "JPEG", progressive=True, subsampling=2) - once == 2000 * 1500 * 3


def test_a_jpeg_2000_is_decoded_at_the_level_that_is_needed(
    tmp_path: Path,
) -> None:
    for size in ((900, 625), (901, 626), (903, 627)):
        picture = scene("L", size)
        picture.save(tmp_path / "a.jp2")
        opened = open_image(tmp_path / "a.jp2", reduce_to=150)
        assert (opened.width, opened.height) == size
        assert opened.image.size == (-(-size[0] // 4), -(-size[1] // 4))
        shrunk = np.asarray(picture.resize(opened.image.size).convert("RGB"), np.int16)
        assert np.abs(np.asarray(opened.image, np.int16) - shrunk).mean() < 5


def test_small_blocks_of_a_jpeg_2000_are_counted() -> None:
    picture = Image.new("L", (500, 500))
    usual = needed(picture, "JPEG2000")
    assert needed(picture, "JPEG2000", codeblock_size=(4, 4)) > usual + 6 * MB


def test_a_tiff_in_one_strip_costs_that_strip_too() -> None:
    picture = Image.new("RGB", (2000, 1000))
    strips = needed(picture, "TIFF", compression="tiff_lzw", tiffinfo={278: 10})
    assert needed(picture, "TIFF", compression="tiff_lzw", tiffinfo={278: 1000}) > strips + 5 * MB


# --- what a process may use ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usable_mb", "budget_mb"), [(24_000, 850), (1_400, 850), (1_000, 450), (400, 64)]
)
def test_the_default_leaves_room_for_what_is_no_picture(
    usable_mb: int, budget_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "usable_bytes", lambda: usable_mb * MB)
    assert memory.default_bytes() == budget_mb * MB


def test_the_least_limit_of_all_control_groups_above_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/outer/inner\n0::/unified\n")
    for name, limit in (
        ("memory/memory.limit_in_bytes", "9223372036854771712"),
        ("memory/outer/memory.limit_in_bytes", "1500000000"),
        ("memory/outer/inner/memory.limit_in_bytes", "9000000000"),
        ("memory.max", "max"),
        ("unified/memory.max", "1200000000"),
    ):
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(limit + "\n")
    assert min(memory._group_limits(tmp_path / "root", own)) == 1_200_000_000
    assert list(memory._group_limits(tmp_path / "nothing", tmp_path / "none")) == []


def test_large_files_are_read_one_at_a_time() -> None:
    budget = Budget(10)
    with budget.reading(100 * MB):
        assert budget._large_files.locked()
        with budget.reading(1 * MB):
            pass
    assert not budget._large_files.locked()


def test_whatever_tells_its_size_beforehand_is_read_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    data, asked = (tmp_path / "a.png").read_bytes(), list[int]()

    class Noting(Budget):
        def reading(self, size_bytes: int) -> AbstractContextManager[None]:
            asked.append(size_bytes)
            return nullcontext()

    monkeypatch.setattr(memory, "_budget", Noting(100 * MB))
    monkeypatch.setattr(RemoteFile, "read", lambda self: data)
    local = LocalFile(tmp_path / "a.png")
    for original in (
        local,
        LinkedFile(local, hashlib.sha256(data).hexdigest()),
        RemoteFile("https://example.org/a.png", OriginalState(len(data), None)),
        RemoteFile("https://example.org/a.png"),
    ):
        open_image(original)
    assert asked == [len(data)] * 3 + [0]


def test_a_png_of_many_pixels_in_few_bytes_is_shrunk_right() -> None:
    """Alternating rows of black and half transparent red: the mean is what is seen."""
    side = 3600
    rows = [b"\0" + bytes([0, 0, 0, 255]) * side, b"\0" + bytes([255, 0, 0, 0]) * side]
    packed = zlib.compress(b"".join(rows[row % 2] for row in range(side)))
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    )
    opened = decode_image(png, reduce_to=448)
    assert opened.image.size == (900, 900)
    assert opened.image.getpixel((250, 250)) == pytest.approx((128, 128, 128), abs=2)


def test_of_a_picture_many_times_as_long_as_the_crop_only_the_middle_is_resized() -> None:
    long = Image.new("L", (20_000, 10))
    assert _middle(long, 1.0).size == (160, 10)
    assert _middle(long.transpose(Image.Transpose.ROTATE_90), 1.0).size == (10, 160)
    usual = Image.new("L", (160, 10))
    assert _middle(usual, 1.0) is usual

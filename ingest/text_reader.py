"""Reads the text that is written in a picture: signs, screens, receipts, pages.

The models are PP-OCR's (DB for finding lines: Liao and others 2020, Real-time Scene Text Detection
with Differentiable Binarization; CTC for reading them). They come with the package `rapidocr`, of
which the steps before and after the models are used, but none that could download anything. They
know Latin letters, Chinese, Japanese; not Cyrillic, Greek, Arabic, Korean.

A picture is looked at coarsely first: most photographs show no text, and that takes a tenth of the
time. Then those parts are looked at finely where there may be some.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from scenesearch.errors import SceneSearchError, first_line, obstacle
from scenesearch.pictures.words import one_line
from scenesearch.store.fields import LONGEST_WRITTEN
from scenesearch.store.written import MOST_LINES, WrittenLine

# Sides in pixels. A picture is opened with no fewer than OPENED on its shorter side, and read with
# at most _FINE on its longer one: an A4 page at 270 dots an inch. Smaller pictures are enlarged.
OPENED: Final = 1600
_COARSE, _ENLARGED, _FINE = 640, 960, 3200
# Larger pictures are looked at in tiles, which overlap by what the model sees around a pixel.
_TILE, _OVERLAP = 1280, 64
_STEP = 32  # the model's sides are multiples of it

# From this likeness to text on, of the coarse look, a part is looked at finely.
_HINT = 0.2
# Lines of which the reading is less sure are left out. It is the mean over their letters.
LEAST_CONFIDENCE: Final = 0.8
# A surer line is not tried the other way up.
_UPRIGHT = 0.9
# Where the sides of a line's box differ less, it may stand on its side.
_SQUARE = 1.5
_LONGEST_LINE = 1_000

# The height of a line for the model, its least width and how many times its height it is long at
# most; longer ones are squeezed.
_HEIGHT, _WIDTH, _LONGEST = 48, 320, 40
# Lines read together have at most so many pixels in a row: 100 MB.
_TOGETHER = 2_560

_MODELS = {"det": "PP-OCRv6_det_small.onnx", "rec": "PP-OCRv6_rec_small.onnx"}

Pixels = NDArray[np.uint8]  # (height, width, 3), blue first, as the models were trained
Map = NDArray[np.float32]  # (height, width), likeness to text


class TextReaderError(SceneSearchError):
    """Text cannot be read from pictures; the message is one sentence for the user."""


@dataclass(frozen=True)
class Reading:
    """The lines of a picture in the order of reading; not `complete` where its time was over."""

    lines: tuple[WrittenLine, ...] = ()
    complete: bool = True


def check_text_reader() -> None:
    """Raise TextReaderError unless the package is installed; nothing is loaded."""
    if find_spec("rapidocr") is None or find_spec("cv2") is None:
        raise TextReaderError("reading text from pictures needs its extra: pip install -e '.[ocr]'")


class TextReader:
    """The models, loaded once; threads may share them, each of which uses one core.

    A picture has `seconds` of processor time, after which what has been read counts. Raises
    TextReaderError where the package or one of its models is not there.
    """

    def __init__(self, *, seconds: float) -> None:
        check_text_reader()
        try:
            import cv2
            import rapidocr
            from rapidocr.ch_ppocr_det.utils import DBPostProcess
            from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode
            from rapidocr.utils.process_img import get_rotate_crop_image
        except ImportError as error:  # a library of the system that OpenCV needs
            raise TextReaderError(
                f"the extra 'ocr' cannot be loaded: {first_line(error)}"
            ) from None
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
        cv2.setNumThreads(1)
        folder = Path(rapidocr.__file__).parent / "models"
        self._seconds = seconds
        self._finder = _session(folder / _MODELS["det"])
        self._recogniser = _session(folder / _MODELS["rec"])
        letters = self._recogniser.get_modelmeta().custom_metadata_map.get("character", "")
        self._letters = CTCLabelDecode(character=letters.splitlines())
        self._boxes = DBPostProcess(
            thresh=0.3, box_thresh=0.5, max_candidates=MOST_LINES, unclip_ratio=1.6,
            use_dilation=True,
        )  # fmt: skip
        self._cut_out: Callable[[Pixels, NDArray[Any]], Pixels] = get_rotate_crop_image
        self._resize: Callable[..., Any] = cv2.resize

    def read(self, picture: Image.Image) -> Reading:
        """The text in an upright RGB picture."""
        end = time.thread_time() + self._seconds
        coarse = self._map(_pixels(_scaled(picture, min(1.0, _COARSE / max(picture.size)))))
        if coarse.size == 0 or coarse.max() < _HINT:
            return Reading()
        longest = max(picture.size)
        wanted = min(_FINE, max(longest, min(_ENLARGED, 2 * longest)))
        pixels = _pixels(_scaled(picture, wanted / longest))
        found, in_time = self._fine_map(pixels, coarse, end)
        height, width = pixels.shape[:2]
        boxes, _ = self._boxes(found[None, None], (height, width))
        if len(boxes) == 0:
            return Reading(complete=in_time)
        read, all_read = self._read_boxes(pixels, boxes, end)
        lines = _in_order(read, width, height)
        return Reading(tuple(_bounded(lines)), in_time and all_read)

    def _map(self, pixels: Pixels) -> Map:
        """How much each pixel looks like text, 0-1."""
        height, width = pixels.shape[:2]
        if min(height, width) < 4:
            return np.zeros((height, width), np.float32)
        padded = np.zeros((-(-height // _STEP) * _STEP, -(-width // _STEP) * _STEP, 3), np.uint8)
        padded[:height, :width] = pixels
        (found,) = self._finder.run(None, {self._finder.get_inputs()[0].name: _input(padded)[None]})
        likeness: Map = np.asarray(found, np.float32)[0, 0, :height, :width]
        return likeness

    def _fine_map(self, pixels: Pixels, coarse: Map, end: float) -> tuple[Map, bool]:
        """The same for a larger picture, tile by tile where there may be text; whether there was
        time for all of them."""
        height, width = pixels.shape[:2]
        found = np.zeros((height, width), np.float32)
        scale_y, scale_x = coarse.shape[0] / height, coarse.shape[1] / width
        for top, bottom in _spans(height):
            for left, right in _spans(width):
                rows = slice(int(top * scale_y), int(np.ceil(bottom * scale_y)))
                columns = slice(int(left * scale_x), int(np.ceil(right * scale_x)))
                if coarse[rows, columns].max(initial=0) < _HINT:
                    continue
                if time.thread_time() > end:
                    return found, False
                part = found[top:bottom, left:right]
                np.maximum(part, self._map(pixels[top:bottom, left:right]), out=part)
        return found, True

    def _read_boxes(
        self, pixels: Pixels, boxes: NDArray[Any], end: float
    ) -> tuple[list["_ReadBox"], bool]:
        """The boxes with their text, and whether there was time for all of them."""
        found: dict[int, _ReadBox] = {}
        tries = [
            _Try(number, box, turn, crop)
            for number, box in enumerate(boxes.astype(np.float32))
            for turn, crop in self._first_tries(pixels, box)
        ]
        while tries:
            for together in _batches(tries):
                if time.thread_time() > end:
                    return list(found.values()), False
                for one, (text, confidence) in zip(
                    together, self._recognised([one.crop for one in together]), strict=True
                ):
                    best = found.get(one.number)
                    if best is None or confidence > best.confidence:
                        found[one.number] = _ReadBox(one.box, one.turn, text, confidence)
            # What is not surely read may stand on its head.
            tries = [
                _Try(one.number, one.box, (one.turn + 2) % 4, one.crop[::-1, ::-1], again=True)
                for one in tries
                if not one.again and found[one.number].confidence < _UPRIGHT
            ]
        return list(found.values()), True

    def _first_tries(self, pixels: Pixels, box: NDArray[Any]) -> Iterator[tuple[int, Pixels]]:
        """The line cut out, with the quarter turns, clockwise, that it is turned by in the picture:
        one on its side as if it were read upwards, a short one both ways."""
        width = max(float(np.linalg.norm(box[0] - box[1])), 1.0)
        height = max(float(np.linalg.norm(box[0] - box[3])), 1.0)
        # It turns a high one by itself, against the clock.
        crop = self._cut_out(pixels, box.copy())
        if crop.size == 0:
            return
        if height >= _SQUARE * width:
            yield 1, crop
            return
        yield 0, crop
        if width < _SQUARE * height:
            yield 1, np.rot90(crop)

    def _recognised(self, crops: Sequence[Pixels]) -> list[tuple[str, float]]:
        widths = [_line_width(crop) for crop in crops]
        rows = np.zeros((len(crops), 3, _HEIGHT, max(_WIDTH, *widths)), np.float32)
        for row, crop, width in zip(rows, crops, widths, strict=True):
            row[:, :, :width] = _input(self._resize(np.ascontiguousarray(crop), (width, _HEIGHT)))
        (found,) = self._recogniser.run(None, {self._recogniser.get_inputs()[0].name: rows})
        read, _ = self._letters(found)
        return [(str(text), float(confidence)) for text, confidence in read]


@dataclass(frozen=True)
class _Try:
    """A box cut out, turned as its text may stand."""

    number: int
    box: NDArray[np.float32]
    turn: int
    crop: Pixels
    again: bool = False


@dataclass(frozen=True)
class _ReadBox:
    """A box with its text, which is turned by so many quarters, clockwise."""

    box: NDArray[np.float32]
    turn: int
    text: str
    confidence: float


def _session(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise TextReaderError(
            f"the model {path} is missing: install the extra 'ocr' anew, "
            "pip install --force-reinstall rapidocr"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors are raised, not printed
    # Pictures are of any size: an arena would keep the memory of the largest one.
    options.enable_cpu_mem_arena = False
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no public base
        reason = obstacle(error) or first_line(error)
        raise TextReaderError(f"the model {path} cannot be used: {reason}") from None


def _scaled(picture: Image.Image, factor: float) -> Image.Image:
    if factor == 1:
        return picture
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("RGB"))[:, :, ::-1]


def _input(pixels: Pixels) -> NDArray[np.float32]:
    """Pixels as both models take them, `(3, height, width)`."""
    scaled: NDArray[np.float32] = pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return scaled.transpose(2, 0, 1)


def _spans(side: int) -> list[tuple[int, int]]:
    """From where to where the tiles of a side reach; they are of one size."""
    if side <= _TILE:
        return [(0, side)]
    count = -(-(side - _OVERLAP) // (_TILE - _OVERLAP))
    starts = np.linspace(0, side - _TILE, count).astype(int).tolist()
    return [(start, start + _TILE) for start in starts]


def _line_width(crop: Pixels) -> int:
    height, width = crop.shape[:2]
    return max(1, int(_HEIGHT * min(width / height, _LONGEST)))


def _batches(tries: Sequence[_Try]) -> Iterator[list[_Try]]:
    """Lines of about one length together, as many as the memory is meant for."""
    together: list[_Try] = []
    for one in sorted(tries, key=lambda one: _line_width(one.crop)):
        widest = max(_WIDTH, _line_width(one.crop))
        if together and (len(together) + 1) * widest > _TOGETHER:
            yield together
            together = []
        together.append(one)
    if together:
        yield together


def _in_order(read: Sequence[_ReadBox], width: int, height: int) -> list[WrittenLine]:
    """The lines that are surely read, in the order of reading, with boxes as shares of the sides.

    Most lines of a picture are turned alike, and it is read as that page is held.
    """
    sure = [
        (one, text)
        for one in read
        if one.confidence >= LEAST_CONFIDENCE
        and (text := one_line(one.text, most=_LONGEST_LINE))
        and any(map(str.isalnum, text))
    ]
    letters = [sum(len(text) for one, text in sure if one.turn == turn) for turn in range(4)]
    page = int(np.argmax(letters))
    placed = sorted(sure, key=lambda pair: _centre(pair[0], page)[1])
    rows: list[list[tuple[_ReadBox, str]]] = []
    for pair in placed:
        size = _line_height(pair[0])
        if rows and _centre(pair[0], page)[1] - _centre(rows[-1][0][0], page)[1] < size / 2:
            rows[-1].append(pair)
        else:
            rows.append([pair])
    sides = np.array([width, height], np.float32)
    return [
        WrittenLine(
            text,
            tuple(np.clip(np.roll(one.box, -one.turn, axis=0) / sides, 0, 1).ravel().tolist()),
            min(1.0, one.confidence),
        )
        for row in rows
        for one, text in sorted(row, key=lambda pair: _centre(pair[0], page)[0])
    ]


def _centre(one: _ReadBox, turn: int) -> tuple[float, float]:
    """Its middle on a page that is turned back by so many quarters."""
    x, y = one.box.mean(axis=0).tolist()
    return ((x, y), (y, -x), (-x, -y), (-y, x))[turn]


def _line_height(one: _ReadBox) -> float:
    upper, side = one.box[0] - one.box[1], one.box[0] - one.box[3]
    return float(np.linalg.norm(side if one.turn % 2 == 0 else upper))


def _bounded(lines: Sequence[WrittenLine]) -> Iterator[WrittenLine]:
    """The first lines, as many as a payload takes."""
    characters = 0
    for line in lines[:MOST_LINES]:
        characters += len(line.text) + 1
        if characters > LONGEST_WRITTEN:
            return
        yield line

"""The encoder that serves an encoder folder, without torch."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Encoding, Tokenizer

from scenesearch.encoder.base import EncoderError, EncoderInfo
from scenesearch.encoder.folder import read_encoder_info, unreadable
from scenesearch.encoder.graphs import Device, Graph, open_graph
from scenesearch.encoder.preprocessing import Preprocessing
from scenesearch.errors import first_line, obstacle

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n+")
_MOST_TOKENS_A_CHARACTER = 4  # byte-level vocabularies; UTF-8 has at most four bytes

_LONG = 16  # pictures up to this many times as long as the crop are resized whole

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class OnnxEncoder:
    """Both towers of an encoder folder; each is loaded when first used.

    A text search never reads the image tower's weights, and an ingest never the text tower's. One
    call uses `threads` cores (default: all). With `image_threads=1` the calls of many threads run
    in parallel instead, which is what ingest does. `device` is where pictures are encoded; texts
    always are on the CPU. Raises EncoderError when the folder is broken.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int | None = None,
        image_threads: int | None = None,
        device: Device = "cpu",
    ) -> None:
        self._device = device
        self._info = read_encoder_info(folder)
        self._folder = folder
        self._text_threads = threads or usable_cores()
        self._image_threads = image_threads or self._text_threads
        # (x / 255 - mean) / std as one multiply and one add on the uint8 picture.
        std = np.asarray(self._info.std, np.float32)
        self._scale = (1 / (255 * std)).astype(np.float32)
        self._shift = (-np.asarray(self._info.mean, np.float32) / std).astype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """For another process: without the loaded parts, which are loaded again there."""
        loaded = {"_image_graph", "_text_graph", "_tokenizer"}
        return {name: value for name, value in self.__dict__.items() if name not in loaded}

    @property
    def info(self) -> EncoderInfo:
        return self._info

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """An upright RGB picture as input of the image tower, `(3, height, width)`."""
        height, width = self._info.image_size
        resized = resize_whole(image, self._info)
        pixels = np.empty((3, height, width), np.float32)
        for channel in range(3):
            pixels[channel] = np.asarray(resized.getchannel(channel))
            pixels[channel] *= self._scale[channel]
            pixels[channel] += self._shift[channel]
        return pixels

    def encode_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of preprocessed pictures, `(n, 3, height, width)` -> `(n, dimension)`."""
        if len(pixels) == 0:
            return np.empty((0, self._info.dimension), np.float32)
        embeddings = self._image_graph.run(self._info.image_output, {"pixel_values": pixels})
        return self._normalised(embeddings)

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embeddings of upright RGB pictures, `(n, dimension)`."""
        height, width = self._info.image_size
        pixels = np.empty((len(images), 3, height, width), np.float32)
        for row, image in zip(pixels, images, strict=True):
            row[:] = self.preprocess(image)
        return self.encode_pixels(pixels)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of texts, `(n, dimension)`.

        A text longer than the context is the mean of its sentences. For 444 descriptions of more
        than 64 tokens, that ranked the right picture among 1,000 first in 47 % of the cases;
        cutting the text did in 38 % (`python -m tests.figures long`).
        """
        if len(texts) == 0:
            return np.empty((0, self._info.dimension), np.float32)
        prefix = self._info.text_prefix
        encodings = self._tokenized([prefix + text for text in texts])
        embeddings = self._encode(encodings)
        for row, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            if encoding.overflowing:
                parts = [prefix + part for part in self._parts(text)]
                pooled = self._encode(self._tokenized(parts)).mean(axis=0)
                embeddings[row] = self._normalised(pooled[None, :])[0]
        return embeddings

    def _parts(self, text: str) -> list[str]:
        """The sentences of the text; those too long for the context are split between words."""
        # Special tokens are counted with the prefix, and once more with the words.
        limit = self._info.context_length - self._tokens(self._info.text_prefix)
        if limit < 1:
            raise EncoderError(f"the prefix of encoder {self._info.name} leaves no room for texts")
        parts: list[str] = []
        for sentence in filter(str.strip, _SENTENCE_END.split(text)):
            if self._tokens(sentence) <= limit:
                parts.append(sentence)
            else:
                parts += self._packed(self._words(sentence, limit), limit)
        return parts

    def _packed(self, words: Sequence[str], limit: int) -> list[str]:
        """The words joined into as few pieces as possible, each of at most `limit` tokens."""
        pieces: list[str] = []
        used = 0
        for word in words:
            tokens = self._tokens(word)
            if pieces and used + tokens <= limit:
                pieces[-1] += f" {word}"
                used += tokens
            else:
                pieces.append(word)
                used = tokens
        return pieces

    def _words(self, sentence: str, limit: int) -> list[str]:
        """The words; one that is too long (some scripts have no blanks) is cut where it surely
        fits."""
        width = max(1, limit // _MOST_TOKENS_A_CHARACTER)
        return [
            part
            for word in sentence.split()
            for part in (
                [word]
                if self._tokens(word) <= limit
                else [word[start : start + width] for start in range(0, len(word), width)]
            )
        ]

    def _tokens(self, text: str) -> int:
        return len(self._counter.encode(text).ids)

    def _tokenized(self, texts: Sequence[str]) -> list[Encoding]:
        with _tokenizing(self._folder):
            return self._tokenizer.encode_batch(list(texts))

    def _encode(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        ids = np.array([encoding.ids for encoding in encodings], np.int64)  # (n, tokens)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        feed = {"input_ids": ids, "attention_mask": mask}
        graph = self._text_graph
        embeddings = graph.run(
            self._info.text_output, {name: feed[name] for name in feed if name in graph.inputs}
        )
        return self._normalised(embeddings)

    def _normalised(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """The only place where embeddings are scaled to unit length."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self._info.dimension:
            raise EncoderError(
                f"encoder {self._info.name} declares {self._info.dimension} dimensions, "
                f"its graph gives {embeddings.shape[1:]}"
            )
        if embeddings.dtype.kind != "f" or not np.isfinite(embeddings).all():
            raise EncoderError(f"the graph of encoder {self._info.name} gives no finite numbers")
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (embeddings / np.maximum(norms, 1e-12)).astype(np.float32)
        return unit

    @cached_property
    def _image_graph(self) -> Graph:
        return self._graph(
            "image", {"pixel_values"}, self._info.image_output, self._image_threads, self._device
        )

    @cached_property
    def _text_graph(self) -> Graph:
        # Some graphs need no attention mask: CLIP's text tower never looks past the end.
        return self._graph("text", {"input_ids"}, self._info.text_output, self._text_threads)

    def _graph(
        self, side: str, inputs: set[str], output: str, threads: int, device: Device = "cpu"
    ) -> Graph:
        part = next(name for name in self._info.parts if name in (f"{side}.onnx", f"{side}.xml"))
        path = self._folder / part
        graph = open_graph(path, threads=threads, device=device)
        if not inputs <= graph.inputs or output not in graph.outputs:
            raise EncoderError(
                f"{path} must take {', '.join(sorted(inputs))} and give {output}, see encoder.json"
            )
        return graph

    @cached_property
    def _counter(self) -> Tokenizer:
        """The tokenizer without truncation, for counting tokens."""
        counter = Tokenizer.from_str(self._tokenizer.to_str())
        counter.no_truncation()
        counter.no_padding()
        return counter

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        with _tokenizing(self._folder):
            tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
            tokenizer.enable_truncation(self._info.context_length)
            # Padding to the longest of the batch gives the same vectors in a third of the time, if
            # a mask hides the padding.
            whole = self._info.padding == "context_length"
            tokenizer.enable_padding(
                length=self._info.context_length if whole else None,
                pad_id=self._info.pad_token_id,
                pad_token=tokenizer.id_to_token(self._info.pad_token_id) or "[PAD]",
            )
        return tokenizer


@contextmanager
def _tokenizing(folder: Path) -> Iterator[None]:
    try:
        yield
    except EncoderError:
        raise
    except BaseException as error:
        # Tokenizers raises bare Exception; a failure inside it becomes a PanicException.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        path = folder / "tokenizer.json"
        if obstacle(error):
            raise unreadable(path, error) from None
        raise EncoderError(f"{path} is not a usable tokenizer: {first_line(error)}") from None


def resize_whole(image: Image.Image, tower: EncoderInfo | Preprocessing) -> Image.Image:
    """The picture in the tower's size: squashed, or the shorter side fitted and the middle cut out,
    as CLIP's own preprocessing does it."""
    height, width = tower.image_size
    resampling = RESAMPLING[tower.interpolation]
    if tower.resize == "squash":
        return image.resize((width, height), resampling)
    image = _middle(image, width / height)
    # The long side is rounded down, as in transformers: one more pixel would shift what the tower
    # sees.
    scaled = (
        max(width, image.width * height // image.height),
        max(height, image.height * width // image.width),
    )
    left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
    return image.resize(scaled, resampling).crop((left, top, left + width, top + height))


def _middle(image: Image.Image, shape: float) -> Image.Image:
    """The middle of a picture that is many times as long as the crop; the crop is cut from it.

    Otherwise a panorama of 200,000 by 40 pixels would first become 224 high and 1.1 million long.
    """
    width, height = image.size
    wanted = (
        min(width, math.ceil(_LONG * height * shape)),
        min(height, math.ceil(_LONG * width / shape)),
    )
    if wanted == image.size:
        return image
    left, top = (width - wanted[0]) // 2, (height - wanted[1]) // 2
    return image.crop((left, top, left + wanted[0], top + wanted[1]))


def usable_cores() -> int:
    """Cores that this process may use; in a container often fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

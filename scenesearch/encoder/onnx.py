"""Serves an encoder folder with ONNX Runtime, without torch."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from scenesearch.encoder.base import EncoderError, EncoderInfo
from scenesearch.encoder.folder import read_encoder_info

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class OnnxEncoder:
    """Both towers of an encoder folder; each is loaded when first used.

    A text search never reads the image tower's weights and an ingest never the text tower's.
    `threads` share the work of one call (default: all cores); with `image_threads=1` the calls
    of many threads run side by side instead, as ingest makes them. Raises EncoderError when the
    folder is broken.
    """

    def __init__(
        self, folder: Path, *, threads: int | None = None, image_threads: int | None = None
    ) -> None:
        self._info = read_encoder_info(folder)
        self._folder = folder
        self._text_threads = threads or usable_cores()
        self._image_threads = image_threads or self._text_threads
        # (x / 255 - mean) / std as one multiply and one add on the uint8 picture.
        std = np.asarray(self._info.std, np.float32)
        self._scale = (1 / (255 * std)).astype(np.float32)
        self._shift = (-np.asarray(self._info.mean, np.float32) / std).astype(np.float32)

    @property
    def info(self) -> EncoderInfo:
        return self._info

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """An upright RGB picture as the image tower takes it, `(3, height, width)`."""
        height, width = self._info.image_size
        resampling = _RESAMPLING[self._info.interpolation]
        if self._info.resize == "squash":
            resized = image.resize((width, height), resampling)
        else:
            # The long side is cut to whole pixels, not rounded, as in transformers: one pixel more
            # would shift what the tower sees.
            scaled = (
                max(width, image.width * height // image.height),
                max(height, image.height * width // image.width),
            )
            left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
            resized = image.resize(scaled, resampling).crop((left, top, left + width, top + height))
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
        (embeddings,) = self._image_session.run(["image_embeddings"], {"pixel_values": pixels})
        return self._normalised(embeddings)

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embeddings of upright RGB pictures, `(n, dimension)`."""
        height, width = self._info.image_size
        pixels = np.empty((len(images), 3, height, width), np.float32)
        for row, image in zip(pixels, images, strict=True):
            row[:] = self.preprocess(image)
        return self.encode_pixels(pixels)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of texts, `(n, dimension)`; words beyond the context length are cut."""
        if len(texts) == 0:
            return np.empty((0, self._info.dimension), np.float32)
        # Padded to the longest of the batch: the same vectors as padding to the context length,
        # at a third of the time.
        encodings = self._tokenizer.encode_batch([self._info.text_prefix + text for text in texts])
        ids = np.array([encoding.ids for encoding in encodings], np.int64)  # (n, tokens)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        (embeddings,) = self._text_session.run(
            ["text_embeddings"], {"input_ids": ids, "attention_mask": mask}
        )
        return self._normalised(embeddings)

    def _normalised(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """The one place where embeddings get their unit length."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self._info.dimension:
            raise EncoderError(
                f"encoder {self._info.name} declares {self._info.dimension} dimensions, "
                f"its graph gives {embeddings.shape[1:]}"
            )
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (embeddings / np.maximum(norms, 1e-12)).astype(np.float32)
        return unit

    @cached_property
    def _image_session(self) -> onnxruntime.InferenceSession:
        return self._session(
            "image.onnx",
            inputs={"pixel_values"},
            output="image_embeddings",
            threads=self._image_threads,
        )

    @cached_property
    def _text_session(self) -> onnxruntime.InferenceSession:
        return self._session(
            "text.onnx",
            inputs={"input_ids", "attention_mask"},
            output="text_embeddings",
            threads=self._text_threads,
        )

    def _session(
        self, part: str, *, inputs: set[str], output: str, threads: int
    ) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin between batches would starve the ones that decode pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = self._folder / part
        try:
            session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions share no public base
            reason = str(error).splitlines()[0]
            raise EncoderError(f"{path} is not a usable ONNX graph: {reason}") from None
        missing = inputs - {value.name for value in session.get_inputs()}
        if missing or output not in {value.name for value in session.get_outputs()}:
            raise EncoderError(
                f"{path} must take {', '.join(sorted(inputs))} and give {output}, see encoder.json"
            )
        return session

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        path = self._folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise EncoderError(f"{path} is not a usable tokenizer: {error}") from None
        tokenizer.enable_truncation(self._info.context_length)
        tokenizer.enable_padding(
            pad_id=self._info.pad_token_id,
            pad_token=tokenizer.id_to_token(self._info.pad_token_id) or "[PAD]",
        )
        return tokenizer


def usable_cores() -> int:
    """Cores this process may use: in a container often fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

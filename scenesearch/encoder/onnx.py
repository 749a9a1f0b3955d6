"""The encoder that serves an encoder folder, without torch."""

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Encoding, Tokenizer

from scenesearch.encoder.base import EncoderError, EncoderInfo
from scenesearch.encoder.folder import read_encoder_info, unreadable
from scenesearch.encoder.graphs import Device, Graph, open_graph
from scenesearch.encoder.preprocessing import clean_text, to_pixels
from scenesearch.errors import first_line, obstacle

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n+")
# The workers of an ingest ask for the graph at the same time, and share one.
_LOADING = threading.RLock()
_MOST_TOKENS_A_CHARACTER = 4  # byte-level vocabularies; UTF-8 has at most four bytes


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
        self._pictures_beside_texts = 0

    def __getstate__(self) -> dict[str, Any]:
        """For another process: without the loaded parts, which are loaded again there."""
        loaded = {"_loaded_image_graph", "_loaded_text_graph", "_tokenizer"}
        return {name: value for name, value in self.__dict__.items() if name not in loaded}

    @property
    def info(self) -> EncoderInfo:
        return self._info

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """An upright RGB picture as input of the image tower, of `info.image.shape`."""
        return to_pixels(image, self._info.image)

    def encode_pixels(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Embeddings of preprocessed pictures, `(n, *info.image.shape)` -> `(n, dimension)`."""
        if len(pixels) == 0:
            return np.empty((0, self._info.dimension), np.float32)
        declared, graph = self._info.image, self._image_graph
        embeddings = _run(graph, declared.output, self._with_text_input(graph, pixels))
        return self._normalised(embeddings)

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embeddings of upright RGB pictures, `(n, dimension)`."""
        if len(images) == 0:
            return np.empty((0, self._info.dimension), np.float32)
        return self.encode_pixels(np.stack([self.preprocess(image) for image in images]))

    def encode_texts(self, texts: Sequence[str], *, documents: bool = False) -> NDArray[np.float32]:
        """Embeddings of texts, `(n, dimension)`.

        A text longer than the context is the mean of its sentences. For 444 descriptions of more
        than 64 tokens, that ranked the right picture among 1,000 first in 47 % of the cases;
        cutting the text did in 38 % (`python -m tests.figures long`).
        """
        if len(texts) == 0:
            return np.empty((0, self._info.dimension), np.float32)
        declared = self._info.text
        prefix = declared.document_prefix if documents else declared.prefix
        encodings = self._tokenized(texts, prefix)
        embeddings = self._encode(encodings)
        for row, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            if encoding.overflowing:
                parts = self._tokenized(self._parts(text, prefix), prefix)
                pooled = self._encode(parts).mean(axis=0)
                embeddings[row] = self._normalised(pooled[None, :])[0]
        return embeddings

    def _parts(self, text: str, prefix: str) -> list[str]:
        """The sentences of the text; those too long for the context are split between words."""
        # Special tokens are counted with the prefix, and once more with the words.
        limit = self._info.text.context_length - self._tokens(prefix)
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
        return len(self._counter.encode(clean_text(text, self._info.text)).ids)

    def _tokenized(self, texts: Sequence[str], prefix: str) -> list[Encoding]:
        cleaned = [prefix + clean_text(text, self._info.text) for text in texts]
        with _tokenizing(self._folder):
            return self._tokenizer.encode_batch(cleaned)

    def _encode(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        declared, graph = self._info.text, self._text_graph
        ids = np.array([encoding.ids for encoding in encodings], np.int64)  # (n, tokens)
        feed = {declared.input: ids}
        if "attention_mask" in graph.inputs:
            feed["attention_mask"] = np.array([e.attention_mask for e in encodings], np.int64)
        if "token_type_ids" in graph.inputs:  # BERT's: a single text is of one type
            feed["token_type_ids"] = np.zeros_like(ids)
        if self._info.image.input in graph.inputs:
            return self._normalised(self._run_without_pictures(graph, feed))
        return self._normalised(_run(graph, declared.output, feed))

    def _run_without_pictures(
        self, graph: Graph, feed: dict[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        """Texts through one graph of both towers: with no picture if it can do without, else with
        an empty one."""
        declared = self._info.image
        while True:
            pictures = np.zeros((self._pictures_beside_texts, *declared.shape), np.float32)
            try:
                return _run(graph, self._info.text.output, feed | {declared.input: pictures})
            except EncoderError:
                if self._pictures_beside_texts:
                    raise
                self._pictures_beside_texts = graph.batch or 1

    def _with_text_input(self, graph: Graph, pixels: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The pixels as input; with a dummy text where one graph holds both towers."""
        feed = {self._info.image.input: pixels}
        # The graphs take no empty text; a token for each picture costs little beside the picture.
        for name in {self._info.text.input, "attention_mask"} & graph.inputs.keys():
            feed[name] = np.ones((len(pixels), 1), np.int64)
        if "token_type_ids" in graph.inputs:
            feed["token_type_ids"] = np.zeros((len(pixels), 1), np.int64)
        return feed

    def _normalised(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """The only place where embeddings are scaled to unit length."""
        full = self._info.full_dimension
        if embeddings.ndim != 2 or embeddings.shape[1] != full:
            raise EncoderError(
                f"encoder {self._info.name} declares {full} dimensions, "
                f"its graph gives {embeddings.shape[1:]}"
            )
        embeddings = embeddings[:, : self._info.dimension]
        if embeddings.dtype.kind != "f" or not np.isfinite(embeddings).all():
            raise EncoderError(f"the graph of encoder {self._info.name} gives no finite numbers")
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (embeddings / np.maximum(norms, 1e-12)).astype(np.float32)
        return unit

    @property
    def _image_graph(self) -> Graph:
        with _LOADING:
            return self._loaded_image_graph

    @property
    def _text_graph(self) -> Graph:
        with _LOADING:
            return self._loaded_text_graph

    @cached_property
    def _loaded_image_graph(self) -> Graph:
        return self._graph("image", self._image_threads, self._device)

    @cached_property
    def _loaded_text_graph(self) -> Graph:
        if self._is_joint and self._image_threads == self._text_threads and self._device == "cpu":
            return self._image_graph
        return self._graph("text", self._text_threads)

    @property
    def _is_joint(self) -> bool:
        declared = self._info
        return declared.image.graph is not None and declared.image.graph == declared.text.graph

    def _graph(self, side: Literal["image", "text"], threads: int, device: Device = "cpu") -> Graph:
        declared = self._info.image if side == "image" else self._info.text
        names = (declared.graph,) if declared.graph else (f"{side}.onnx", f"{side}.xml")
        path = self._folder / next(name for name in self._info.parts if name in names)
        graph = open_graph(path, threads=threads, device=device)
        # An attention mask is not asked for: CLIP's text tower never looks past the end.
        if declared.input not in graph.inputs or declared.output not in graph.outputs:
            raise EncoderError(
                f"{path} must take {declared.input} and give {declared.output}, see encoder.json"
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
            tokenizer.enable_truncation(self._info.text.context_length)
            # Padding to the longest of the batch gives the same vectors in a third of the time, if
            # a mask hides the padding.
            whole = self._info.text.padding == "context_length"
            tokenizer.enable_padding(
                length=self._info.text.context_length if whole else None,
                pad_id=self._info.text.pad_token_id,
                pad_token=tokenizer.id_to_token(self._info.text.pad_token_id) or "[PAD]",
            )
        return tokenizer


def _run(graph: Graph, output: str, feed: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The output for the whole feed, in batches of the graph's own size if it has one."""
    rows = max(len(values) for values in feed.values())
    if graph.batch is None or graph.batch == rows:
        return graph.run(output, feed)
    found = []
    for start in range(0, rows, graph.batch):
        part = {name: values[start : start + graph.batch] for name, values in feed.items()}
        missing = graph.batch - min(rows - start, graph.batch)
        filled = {
            name: np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])
            for name, values in part.items()
        }
        found.append(graph.run(output, filled)[: graph.batch - missing])
    return np.concatenate(found)


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


def usable_cores() -> int:
    """Cores that this process may use; in a container often fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""Runs a tower's graph with ONNX Runtime, or with OpenVINO if its extra is installed.

open_graph(folder / "image.onnx", threads=4).run("image_embeddings", {"pixel_values": pixels})
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from scenesearch.encoder.base import EncoderError
from scenesearch.encoder.folder import unreadable
from scenesearch.errors import MEMORY, first_line, obstacle

Device = Literal["cpu", "cuda"]

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Input:
    """What an input takes; a side of any length is None."""

    shape: tuple[int | None, ...]
    type: np.dtype[Any] | None  # None: none that we know


class Graph(Protocol):
    """A graph with its inputs and the names of its outputs; `run` is thread-safe.

    `batch` is the number of rows that it takes, None if it takes any.
    """

    inputs: Mapping[str, Input]
    outputs: frozenset[str]
    batch: int | None

    def run(self, output: str, feed: dict[str, NDArray[Any]]) -> NDArray[np.float32]: ...


def open_graph(path: Path, *, threads: int, device: Device = "cpu") -> Graph:
    """Open an .onnx file, or OpenVINO's .xml (CPU only); raises EncoderError if it is unusable."""
    if path.suffix == ".xml":
        return _OpenVino(path, threads)
    return _OnnxRuntime(path, threads, device)


@contextmanager
def _computing(path: Path) -> Iterator[None]:
    """Turn errors of a graph that does not match encoder.json into EncoderError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # the runtimes' own exceptions share no public base
        if obstacle(error) == MEMORY:
            raise MemoryError(first_line(error)) from None
        raise EncoderError(
            f"{path} cannot be computed as encoder.json declares it: {first_line(error)[:300]}"
        ) from None


class _OnnxRuntime:
    def __init__(self, path: Path, threads: int, device: Device) -> None:
        if _PROVIDERS[device] not in onnxruntime.get_available_providers():
            raise EncoderError(
                f"SCENESEARCH_DEVICE={device}: this ONNX Runtime is made for the CPU alone; "
                "install onnxruntime-gpu[cuda,cudnn] instead of onnxruntime"
            )
        if device == "cuda":
            onnxruntime.preload_dlls()  # CUDA's libraries are in packages of their own
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # its errors are raised, not printed
        # Threads that spin between batches would starve the ones that decode pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=[_PROVIDERS[device]]
            )
        except Exception as error:  # onnxruntime's own exceptions share no public base
            if obstacle(error):
                raise unreadable(path, error) from None
            reason = str(error).splitlines()[0]
            raise EncoderError(f"{path} is not a usable ONNX graph: {reason}") from None
        self._path = path
        self.inputs: Mapping[str, Input] = {
            value.name: Input(
                tuple(side if isinstance(side, int) else None for side in value.shape),
                np.dtype(_TYPES[value.type]) if value.type in _TYPES else None,
            )
            for value in self._session.get_inputs()
        }
        self.outputs = frozenset(value.name for value in self._session.get_outputs())
        rows = [taken.shape[0] for taken in self.inputs.values() if taken.shape]
        self.batch = next((number for number in rows if number is not None), None)
        self._shrinking = onnxruntime.RunOptions()
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._rows = 0

    def run(self, output: str, feed: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        # Graphs made elsewhere may take token ids in 32 bits, or pixels in half precision.
        feed = {
            name: values.astype(self.inputs[name].type or values.dtype, copy=False)
            for name, values in feed.items()
        }
        # A smaller batch frees the memory of the larger one before it, which would never be freed.
        rows = max(len(values) for values in feed.values())
        options = self._shrinking if rows < self._rows else None
        self._rows = rows
        with _computing(self._path):
            (values,) = self._session.run([output], feed, options)
        found: NDArray[np.float32] = np.asarray(values).astype(np.float32, copy=False)
        return found


class _OpenVino:
    def __init__(self, path: Path, threads: int) -> None:
        try:
            import openvino
        except ModuleNotFoundError:
            raise EncoderError(
                f"{path} is a graph for OpenVINO: pip install -e '.[openvino]'"
            ) from None
        try:
            self._model = openvino.compile_model(
                path, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
            )
        except Exception as error:  # OpenVINO raises RuntimeError and bare ones of its own
            if obstacle(error):
                raise unreadable(path, error) from None
            reason = str(error).strip().splitlines()[-1]
            raise EncoderError(f"{path} is not a usable OpenVINO graph: {reason}") from None
        self._path = path
        self.inputs: Mapping[str, Input] = {
            value.any_name: Input(
                tuple(
                    side.get_length() if side.is_static else None for side in value.partial_shape
                ),
                np.dtype(value.element_type.to_dtype()),
            )
            for value in self._model.inputs
        }
        self.outputs = frozenset(value.any_name for value in self._model.outputs)
        self.batch: int | None = None

    def run(self, output: str, feed: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        # A new request for each call: two threads cannot share one.
        with _computing(self._path):
            found = self._model.create_infer_request().infer(feed)[output]
        return np.array(found, np.float32)

"""Rewrites weights that come as a pickle (pytorch_model.bin) as safetensors.

A pickle is a program that makes objects. torch's weights-only reader refuses everything but
tensors, but it still reads a program. So it is used only here, and only when the user asks for it.
"""

import pickle
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from scenesearch.encoder.hub import PICKLED, SIDE_FILES
from scenesearch.encoder.model_folder import ModelError

_COPIED = (*SIDE_FILES, "*.safetensors")


def write_safetensors(source: Path, target: Path) -> list[Path]:
    """Copies the model folder with safetensors in place of its pickles; returns the new files.

    Raises ModelError, and leaves no target, when there is no pickle or one holds more than
    tensors.
    """
    folders = {path.parent for path in source.rglob(PICKLED)}
    # A part of the model may have both.
    folders -= {path.parent for path in source.rglob("*.safetensors")}
    if not folders:
        raise ModelError(f"{source} has no {PICKLED} to convert")
    if target.exists():
        raise ModelError(f"{target} is already there")
    workplace = target.with_name(f".{target.name}.part")
    shutil.rmtree(workplace, ignore_errors=True)
    try:
        for path in source.rglob("*"):
            if any(path.match(pattern) for pattern in _COPIED) and path.is_file():
                copy = workplace / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        written = []
        for folder in sorted(folders):
            state: dict[str, Tensor] = {}
            for path in sorted(folder.glob(PICKLED)):
                state |= _tensors(path)
            place = folder.relative_to(source) / "model.safetensors"
            (workplace / place).parent.mkdir(parents=True, exist_ok=True)
            # The index names parts, and they are one file now.
            (workplace / place).with_name("pytorch_model.bin.index.json").unlink(missing_ok=True)
            save_file(state, workplace / place, metadata={"format": "pt"})
            written.append(target / place)
        workplace.rename(target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return written


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(f"{path} is refused: it holds more than tensors") from error
    if not isinstance(state, dict) or not all(isinstance(part, Tensor) for part in state.values()):
        raise ModelError(f"{path} is refused: it is no table of tensors")
    # Tied weights share their memory, which safetensors does not know.
    return {str(name): part.contiguous().clone() for name, part in state.items()}

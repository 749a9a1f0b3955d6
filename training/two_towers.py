"""A text and an image tower in one space, whatever they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from scenesearch.encoder.base import ImageInput, TextInput
from scenesearch.encoder.model_folder import ModelError
from training.model import MAX_LOGIT_SCALE, Classifier


class Towers(nn.Module):
    """A text and an image tower in one space; neither normalises its embeddings."""

    def __init__(
        self,
        *,
        name: str,
        image_tower: nn.Module,
        text_tower: nn.Module,
        log_logit_scale: nn.Parameter,
        heads: list[nn.Parameter],
        image_input: ImageInput,
        tokenizer: Tokenizer,
        text_input: TextInput,
        parent: dict[str, Any],
        save_to: Callable[[Towers, Path], None] | None,
        calibration: Mapping[str, Any] | None = None,
        classifier: Classifier | None = None,
        logit_bias: float | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.calibration = calibration  # of the base's vectors, as its encoder.json has it
        self.classifier = classifier  # of the image base, which training may learn from
        # pixel_values (n, *image_input.shape) -> (n, dimension)
        self.image_tower = image_tower
        self.text_tower = text_tower  # input_ids, attention_mask (n, tokens) -> (n, dimension)
        self.log_logit_scale = log_logit_scale
        self.logit_bias = logit_bias  # of SigLIP, which training leaves as it is
        self.image_input = image_input
        self.tokenizer = tokenizer
        self.text_input = text_input
        self.parent = parent
        self._heads = {id(parameter) for parameter in (*heads, log_logit_scale)}
        self.save_to = save_to  # writes the weights; None: exported graphs are the weights
        self.eval()
        self.dimension = self._dimension()

    @property
    def logit_scale(self) -> Tensor:
        return self.log_logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Every weight once: "image" and "text" bodies, "heads" (projections, logit scale)."""
        found: dict[str, list[nn.Parameter]] = {"image": [], "text": [], "heads": []}
        for name, parameter in self.named_parameters():
            side = "text" if name.startswith("text_tower.") else "image"
            found["heads" if id(parameter) in self._heads else side].append(parameter)
        return found

    @torch.no_grad()
    def _dimension(self) -> int:
        tokens = torch.ones(1, 4, dtype=torch.int64)
        image: int = self.image_tower(torch.zeros(1, *self.image_input.shape)).shape[-1]
        text: int = self.text_tower(tokens, tokens).shape[-1]
        if image != text:
            raise ModelError(
                f"base {self.name}: its image tower gives {image} dimensions, "
                f"its text tower {text}; they have to be one space"
            )
        return image

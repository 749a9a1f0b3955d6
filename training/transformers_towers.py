"""Model folders of transformers as towers: CLIP, SigLIP and their relatives.

The towers differ in how a text is pooled and padded, and in how a picture comes in; FAMILIES is the
table of it. Each tower gives what `get_text_features` and `get_image_features` of its model give.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import models
from torch import Tensor, nn
from transformers import (
    AltCLIPModel,
    ChineseCLIPModel,
    CLIPModel,
    MetaClip2Model,
    PreTrainedModel,
    Siglip2Model,
    SiglipModel,
    VisionTextDualEncoderModel,
)
from transformers.utils.logging import disable_progress_bar

from scenesearch.encoder.base import TextInput
from scenesearch.encoder.hub import how_to_convert
from scenesearch.encoder.model_folder import ModelError, read_image_input, read_json
from scenesearch.errors import first_line
from training import sentence
from training.tokenizer import ModelTokenizer, read_tokenizer
from training.two_towers import Towers

# How a text becomes one vector. end: of the first end token, which sees nothing behind it. first:
# of the first token. pooler: of the model itself. last: of the last position, padding or not.
Pooling = Literal["end", "first", "pooler", "last"]


@dataclass(frozen=True)
class Family:
    label: str
    model: type[PreTrainedModel]
    pooling: Pooling


FAMILIES: Mapping[str, Family] = {  # by the model_type of config.json
    "clip": Family("CLIP", CLIPModel, "end"),
    "metaclip_2": Family("MetaCLIP 2", MetaClip2Model, "end"),
    "siglip": Family("SigLIP", SiglipModel, "last"),
    "siglip2": Family("SigLIP 2 NaFlex", Siglip2Model, "last"),
    "chinese_clip": Family("Chinese-CLIP", ChineseCLIPModel, "first"),
    "altclip": Family("AltCLIP", AltCLIPModel, "first"),
    "vision-text-dual-encoder": Family(
        "VisionTextDualEncoder", VisionTextDualEncoderModel, "pooler"
    ),
}
KNOWN = ", ".join(family.label for family in FAMILIES.values())


# The modules of transformers declare no types for their parts, so bodies are Any.


class ImageTower(nn.Module):
    body: Any

    def __init__(self, body: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.projection = projection

    def forward(self, pixel_values: Tensor) -> Tensor:
        embeddings: Tensor = self.projection(self.body(pixel_values=pixel_values).pooler_output)
        return embeddings


class PatchImageTower(nn.Module):
    """SigLIP 2's vision model on pictures of any shape, packed as `ImageInput.shape` says.

    The library resizes the table of positions for each picture with `interpolate`, which no graph
    of many shapes can hold. That resizing is linear, and the same along rows and columns: a patch's
    position is the table's, weighted by row and by column.
    """

    body: Any

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixel_values: Tensor) -> Tensor:
        # Towers are probed with zeros, which have no patch.
        rows, columns = pixel_values[:, 0, :2].clamp(min=1.0)[..., None].unbind(dim=1)  # (n, 1)
        patches = pixel_values[:, 1:]  # (n, patches, pixels)
        number = torch.arange(patches.shape[1], device=patches.device, dtype=patches.dtype).expand(
            patches.shape[:2]
        )
        present = number < rows * columns  # (n, patches)
        row = torch.floor((number + 0.5) / columns).minimum(rows - 1)
        column = (number - row * columns).minimum(columns - 1)
        embeddings = self.body.embeddings
        table = embeddings.position_embedding.weight  # (side * side, width)
        side = embeddings.position_embedding_size
        of_rows = _resizing_weights(row, rows, side)[..., :, None]
        of_columns = _resizing_weights(column, columns, side)[..., None, :]
        positions = (of_rows * of_columns).flatten(-2) @ table
        hidden = embeddings.patch_embedding(patches) + positions
        mask = torch.where(present, 0.0, torch.finfo(torch.float32).min)[:, None, None, :]
        hidden = self.body.encoder(inputs_embeds=hidden, attention_mask=mask).last_hidden_state
        head = self.body.head
        hidden = self.body.post_layernorm(hidden)
        probe = head.probe.expand(hidden.shape[0], -1, -1)
        pooled: Tensor = head.attention(probe, hidden, hidden, key_padding_mask=~present)[0]
        pooled = pooled + head.mlp(head.layernorm(pooled))
        return pooled[:, 0]


def _resizing_weights(place: Tensor, length: Tensor, side: int) -> Tensor:
    """The share of each of `side` values in the value at `place` when they are resized to
    `length`, bilinearly with antialiasing: (n, patches) and (n, 1) -> (n, patches, side)."""
    step = side / length
    centre = ((place + 0.5) * step)[..., None]
    middle = torch.arange(side, device=place.device, dtype=place.dtype) + 0.5
    width = step.clamp(min=1.0)[..., None]
    weights = (1 - (middle - centre).abs() / width).clamp(min=0.0)
    return weights / weights.sum(dim=-1, keepdim=True)


class MaskedTextTower(nn.Module):
    """A text model that takes a mask of the padding."""

    body: Any

    def __init__(
        self, body: nn.Module, projection: nn.Module, pad_token_id: int, *, pools_first: bool
    ) -> None:
        super().__init__()
        self.body = body
        self.projection = projection
        self.pad_token_id = pad_token_id
        self.pools_first = pools_first

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        # RoBERTa counts its positions by the tokens that are not the pad token.
        ids = torch.where(attention_mask > 0, input_ids, self.pad_token_id)
        output = self.body(input_ids=ids, attention_mask=attention_mask)
        pooled = output.last_hidden_state[:, 0] if self.pools_first else output.pooler_output
        embeddings: Tensor = self.projection(pooled)
        return embeddings


class CausalTextTower(nn.Module):
    """CLIP's text model: it pools the first end token, which sees nothing of the padding after it.

    Padding is therefore only written as the pad token, however the caller filled it.
    """

    body: Any

    def __init__(self, body: nn.Module, projection: nn.Module, pad_token_id: int) -> None:
        super().__init__()
        self.body = body
        self.projection = projection
        self.pad_token_id = pad_token_id

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        ids = torch.where(attention_mask > 0, input_ids, self.pad_token_id)
        embeddings: Tensor = self.projection(self.body(input_ids=ids).pooler_output)
        return embeddings


class FixedLengthTextTower(nn.Module):
    """SigLIP's text model: it was trained on texts padded to its full length without a mask.

    It pools the last of those positions, so a text padded to less would be another text to it.
    """

    body: Any

    def __init__(self, body: nn.Module, length: int, pad_token_id: int) -> None:
        super().__init__()
        self.body = body
        self.length = length
        self.pad_token_id = pad_token_id

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        ids = torch.where(attention_mask > 0, input_ids, self.pad_token_id)
        padding = torch.full_like(ids[:, :1], self.pad_token_id).expand(-1, self.length)
        ids = torch.cat([ids, padding], dim=1)[:, : self.length]
        pooled: Tensor = self.body(input_ids=ids).pooler_output
        return pooled


def transformers_towers(base: str, folder: Path, parent: dict[str, Any]) -> Towers:
    """The towers of a model folder; raises ModelError for what cannot be loaded."""
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        found = f"a {kind} model" if kind else "no model folder: its config.json has no model_type"
        raise ModelError(
            f"base {folder} is {found}: take a folder of {KNOWN}, a sentence-transformers CLIP, or "
            "an encoder folder of the bundled kind"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"base {base} has no safetensors weights{how_to_convert(base)}")
    model = load_model(family.model, folder, "base")
    tokens = read_tokenizer(folder, str(kind))
    text_input = TextInput(
        context_length=min(tokens.longest, positions(model.config.text_config)),
        pad_token_id=tokens.pad_token_id,
        lowercase=tokens.lowercase,
    )
    image_tower, text_tower, heads = _split(model, family.pooling, text_input)

    def save_to(towers: Towers, target: Path) -> None:
        # The towers share the model's modules; only what is not a module has to be carried over.
        model.logit_scale.data.copy_(towers.log_logit_scale.detach().reshape_as(model.logit_scale))
        model.to("cpu").save_pretrained(target)
        copy_side_files(folder, target)
        if isinstance(model, CLIPModel):
            sentence.describe_clip(target)

    bias = getattr(model, "logit_bias", None)
    return Towers(
        name=Path(base).name or base,
        image_tower=image_tower,
        text_tower=text_tower,
        log_logit_scale=nn.Parameter(model.logit_scale.detach().clone().reshape(())),
        logit_bias=None if bias is None else bias.item(),
        heads=heads,
        image_input=read_image_input(folder),
        tokenizer=tokens.tokenizer,
        text_input=text_input,
        parent={
            **stated_license(folder),
            **parent,
            "model_type": kind,
            "layout": f"{_label(family, tokens)} of transformers",
        },
        save_to=save_to,
    )


def load_model(kind: Any, folder: Path, what: str) -> Any:
    """The folder's model of this class of transformers, in float32; raises ModelError."""
    # Its bars, one for every folder read or written, would run across our own.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # "eager" attention exports to the plain MatMul-Softmax-MatMul that ONNX Runtime fuses.
        return kind.from_pretrained(
            folder,
            attn_implementation="eager",
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
        )
    except Exception as error:  # whatever transformers makes of a stranger's configuration
        raise ModelError(f"{what} {folder} cannot be loaded: {first_line(error)}") from error


def _label(family: Family, tokens: ModelTokenizer) -> str:
    gemma = isinstance(tokens.tokenizer.model, models.BPE)
    return "SigLIP 2" if family.label == "SigLIP" and gemma else family.label


def _split(
    model: Any, pooling: Pooling, text_input: TextInput
) -> tuple[nn.Module, nn.Module, list[nn.Parameter]]:
    """(image tower, text tower, the weights that only project)."""
    vision, text, pad_token_id = model.vision_model, model.text_model, text_input.pad_token_id
    if pooling == "last":
        if getattr(vision, "head", None) is None:
            raise ModelError(f"a {model.config.model_type} without a pooling head has no embedding")
        image_tower: nn.Module = ImageTower(vision, nn.Identity())
        if isinstance(model, Siglip2Model):
            image_tower = PatchImageTower(vision)
        text_tower: nn.Module = FixedLengthTextTower(text, text_input.context_length, pad_token_id)
        return image_tower, text_tower, [*vision.head.parameters(), *text.head.parameters()]
    image_tower = ImageTower(vision, model.visual_projection)
    if pooling == "end" or model.config.text_config.model_type == "clip_text_model":
        text_tower = CausalTextTower(text, model.text_projection, pad_token_id)
    else:
        text_tower = MaskedTextTower(
            text, model.text_projection, pad_token_id, pools_first=pooling == "first"
        )
    heads = [*model.visual_projection.parameters(), *model.text_projection.parameters()]
    return image_tower, text_tower, heads


def positions(config: Any) -> int:
    """Tokens a text model has positions for; RoBERTa's begin after its pad token's."""
    of_roberta = re.search("roberta|camembert|altclip|mpnet", config.model_type)
    offset = config.pad_token_id + 1 if of_roberta else 0
    return int(config.max_position_embeddings) - offset


def stated_license(folder: Path) -> dict[str, str]:
    """{"license": ...} as the head of the folder's README.md states it, else nothing."""
    card = folder / "README.md"
    if not card.is_file():
        return {}
    found = re.search(
        r"\A---\n(?:.*\n)*?license:[ \t]*([\w.+-]{1,40})[ \t]*\n(?:.*\n)*?---",
        card.read_text(encoding="utf-8", errors="replace")[:10_000],
    )
    return {"license": found[1]} if found else {}


def copy_side_files(folder: Path, target: Path) -> None:
    """Tokenizer and preprocessing, which training leaves as they are."""
    for path in folder.iterdir():
        of_tokenizer = path.name.startswith(
            ("tokenizer", "special_tokens", "added_tokens", "vocab")
        )
        other = path.name in ("merges.txt", "preprocessor_config.json", "processor_config.json")
        copy = target / path.name
        if (of_tokenizer or other or path.suffix == ".model") and path.resolve() != copy.resolve():
            shutil.copyfile(path, copy)

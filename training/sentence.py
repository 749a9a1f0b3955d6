"""sentence-transformers folders: a CLIP in one, a text tower from one, and both written as one.

`clip-ViT-B-32` keeps a CLIP in a subfolder; `clip-ViT-B-32-multilingual-v1` is a text tower made to
fit it: a transformer, the mean over its tokens, and a dense layer into CLIP's space.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from scenesearch.encoder.base import TextInput
from scenesearch.encoder.model_folder import ModelError, read_json

_MODULES = "sentence_transformers.base.modules"


class SentenceTower(nn.Module):
    """Transformer, mean over the tokens, dense layers."""

    def __init__(self, body: PreTrainedModel, projection: nn.Sequential) -> None:
        super().__init__()
        self.body = body
        self.projection = projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens: Tensor = self.body(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        present = attention_mask[..., None].to(tokens.dtype)  # (n, tokens, 1)
        mean = (tokens * present).sum(dim=1) / present.sum(dim=1).clamp(min=1.0)
        embeddings: Tensor = self.projection(mean)
        return embeddings


@dataclass(frozen=True)
class Plan:
    """Where a text tower's parts lie."""

    transformer: Path
    dense: tuple[Path, ...]
    max_tokens: int | None
    lowercase: bool

    def dense_layers(self) -> nn.Sequential:
        return nn.Sequential(*(_read_dense(folder) for folder in self.dense))


def is_sentence_folder(folder: Path) -> bool:
    return (folder / "modules.json").is_file()


def transformer_folder(folder: Path) -> Path | None:
    """The folder of the model inside; None when this is no sentence-transformers folder."""
    if not is_sentence_folder(folder):
        return None
    kind, path = _modules(folder)[0]
    if kind not in ("Transformer", "CLIPModel"):
        raise ModelError(f"{folder / 'modules.json'} begins with {kind}, not with a transformer")
    return path


def read_plan(folder: Path) -> Plan:
    transformer = transformer_folder(folder)
    if transformer is None:
        raise ModelError(f"text base {folder} is no sentence-transformers folder (modules.json)")
    dense: list[Path] = []
    for kind, path in _modules(folder)[1:]:
        if kind == "Dense":
            dense.append(path)
        elif kind == "Pooling":
            config = read_json(path / "config.json")
            modes = [key for key, on in config.items() if key.startswith("pooling_mode_") and on]
            if config.get("pooling_mode", "mean") != "mean" or (
                modes and modes != ["pooling_mode_mean_tokens"]
            ):
                raise ModelError(f"text base {folder} does not pool by the mean over its tokens")
        elif kind != "Normalize":
            raise ModelError(f"text base {folder} has a {kind} layer, which is not supported")
    declared = transformer / "sentence_bert_config.json"
    settings = read_json(declared) if declared.is_file() else {}
    return Plan(
        transformer,
        tuple(dense),
        settings.get("max_seq_length"),
        bool(settings.get("do_lower_case", False)),
    )


def with_prompts(text_input: TextInput, folder: Path) -> TextInput:
    """The same with the prompts of a folder: one before a request, one before a description."""
    path = folder / "config_sentence_transformers.json"
    if not path.is_file():
        return text_input
    declared = read_json(path)
    prompts = declared.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(p, str) for p in prompts.values()):
        raise ModelError(f"{path}: prompts has to name texts")
    other: str = prompts.get(declared.get("default_prompt_name"), "")

    def prompt(*names: str) -> str:
        return next((prompts[name] for name in names if name in prompts), other)

    prefixes = {
        "prefix": prompt("query"),
        "document_prefix": prompt("document", "passage", "corpus"),
    }
    if any(prefixes.values()) and _leaves_prompts_out(folder):
        raise ModelError(f"{folder} leaves its prompts out of the mean, which is not supported")
    return text_input.model_copy(update=prefixes)


def _leaves_prompts_out(folder: Path) -> bool:
    return any(
        not read_json(path / "config.json").get("include_prompt", True)
        for kind, path in _modules(folder)
        if kind == "Pooling"
    )


def _modules(folder: Path) -> list[tuple[str, Path]]:
    try:
        listed = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        rows = [(row["type"].rpartition(".")[2], str(row["path"])) for row in listed]
        if not rows:
            raise ValueError("it names no module")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder / 'modules.json'} is malformed: {error}") from None
    for _, path in rows:
        if path.startswith("/") or ".." in path.split("/"):
            raise ModelError(f"{folder / 'modules.json'} names {path!r}, outside of the folder")
    return [(kind, folder / path) for kind, path in rows]


def _read_dense(folder: Path) -> nn.Module:
    config = read_json(folder / "config.json")
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    bends = {"Identity": nn.Identity, "Tanh": nn.Tanh, "GELU": nn.GELU, "ReLU": nn.ReLU}
    bend = bends.get(activation.rpartition(".")[2])
    if bend is None or config.get("use_residual"):
        raise ModelError(f"{folder}: a dense layer with {activation} is not supported")
    state = load_file(folder / "model.safetensors")
    layer = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    layer.load_state_dict({key.removeprefix("linear."): value for key, value in state.items()})
    return layer if bend is nn.Identity else nn.Sequential(layer, bend())


def save_tower(tower: SentenceTower, source: Path, plan: Plan, target: Path) -> None:
    """The text tower as the folder it came from, with its present weights."""
    weights = shutil.ignore_patterns("*.safetensors", "*.bin", "*.onnx", "*.h5", "openvino", "onnx")
    if source.resolve() != target.resolve():
        shutil.copytree(source, target, ignore=weights, dirs_exist_ok=True)
    tower.body.save_pretrained(target / plan.transformer.relative_to(source))
    for layer, folder in zip(tower.projection, plan.dense, strict=True):
        linear = layer[0] if isinstance(layer, nn.Sequential) else layer
        state = {
            f"linear.{name}": value.contiguous() for name, value in linear.state_dict().items()
        }
        save_file(state, target / folder.relative_to(source) / "model.safetensors")


def describe_clip(folder: Path) -> None:
    """Makes a saved CLIP folder one that SentenceTransformer loads, giving unit vectors."""
    method = {"method_output_name": "pooler_output"}
    transformer: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "get_text_features", **method},
            "image": {"method": "get_image_features", **method},
        },
        "module_output_name": "sentence_embedding",
    }
    kinds = [("", f"{_MODULES}.transformer.Transformer"), ("1", f"{_MODULES}.normalize.Normalize")]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": kind}
        for n, (path, kind) in enumerate(kinds)
    ]
    (folder / "1").mkdir(exist_ok=True)
    model = {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"}
    for name, content in (
        ("modules.json", modules),
        ("sentence_bert_config.json", transformer),
        ("config_sentence_transformers.json", model),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

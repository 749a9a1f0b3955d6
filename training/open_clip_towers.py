"""Model folders of open_clip (`open_clip_config.json` and safetensors) as towers.

The open_clip_torch library builds the model from the folder's own configuration. That comes from a
stranger: only keys and architectures that the library knows are taken, and nothing is fetched
except the configuration of a text model that the folder lacks.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import timm
import torch
from open_clip.coca_model import MultimodalCfg
from open_clip.factory import load_checkpoint
from open_clip.hf_configs import arch_dict
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.pretrained import _PRETRAINED
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import AutoTokenizer

from scenesearch.encoder.base import EncoderError, TextInput
from scenesearch.encoder.hub import download, look_up
from scenesearch.encoder.languages import flores_code
from scenesearch.encoder.model_folder import ModelError, read_json, read_open_clip_image_input
from scenesearch.errors import first_line
from training.transformers_towers import copy_side_files, stated_license
from training.two_towers import Towers

CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
)
_MODEL_KEYS = {
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "multimodal_cfg",
    "custom_text",
    "quick_gelu",
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
    "pad_id",
}
_PARTS = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg, "multimodal_cfg": MultimodalCfg}
_OPTIONS = {  # what a part may pass on to other classes of the library
    "act_kwargs": {"approximate"},
    "norm_kwargs": {"eps", "elementwise_affine"},
    "tokenizer_kwargs": {"clean", "strip_sep_token", "language"},
}
_MOST_WORDS, _MOST, _MOST_LAYERS = 1_048_576, 16_384, 256  # no published model has more
_CLEANING: dict[str, dict[str, bool]] = {
    "lower": {"lowercase": True},
    "whitespace": {},
    "canonicalize": {"canonicalize": True},
}
_PREPROCESSING = [field.name for field in fields(PreprocessCfg)]
# Names of text models from before the hub had owners.
_OWNERS = {
    "bert": "google-bert",
    "roberta": "FacebookAI",
    "xlm": "FacebookAI",
}
# What SimpleTokenizer splits a text into.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)"


def open_clip_towers(
    base: str, folder: Path, parent: dict[str, Any], *, language: str | None = None
) -> Towers:
    """The towers of an open_clip folder; raises ModelError for what cannot be loaded.

    `language` is that of the texts, for NLLB-CLIP, whose texts begin with a token of it.
    """
    path = folder / CONFIG
    content = read_json(path)
    config = _checked(content.get("model_cfg"), path)
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise ModelError(
            f"base {base} has none of {', '.join(WEIGHTS)}; open_clip's pickles "
            "(open_clip_pytorch_model.bin) are not read"
        )
    model, text_config = _load(base, folder, config, weights)
    text = model.text if hasattr(model, "text") else model
    tokens = _read_tokenizer(base, folder, config["text_cfg"], language)
    if tokens.tokenizer.get_vocab_size() > text.vocab_size:
        raise ModelError(
            f"base {base}: its tokenizer has {tokens.tokenizer.get_vocab_size()} tokens, its text "
            f"tower {text.vocab_size}"
        )
    text_tower: nn.Module
    if isinstance(text, HFTextEncoder):
        text_tower = MaskedTextTower(text)
    else:
        text_tower = TextTower(
            text, tokens.text_input.context_length, tokens.text_input.pad_token_id, tokens.stripped
        )
    known = _known_models(config, Path(base).name, parent.get("base"))
    preprocessing = _preprocessing(known, config) | _declared(content.get("preprocess_cfg"), path)
    preprocessing["size"] = _listed(model.visual.image_size)
    bias = model.logit_bias

    def save_to(towers: Towers, target: Path) -> None:
        # The towers share the model's weights; only the scale has to be carried over.
        model.logit_scale.data.copy_(towers.log_logit_scale.detach().reshape_as(model.logit_scale))
        state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(state, target / WEIGHTS[0], metadata={"format": "pt"})
        written = {"model_cfg": config, "preprocess_cfg": preprocessing}
        (target / CONFIG).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        if text_config is not None:
            (target / "config.json").write_text(json.dumps(text_config), encoding="utf-8")
        copy_side_files(folder, target)

    return Towers(
        name=Path(base).name or base,
        image_tower=ImageTower(model.visual),
        text_tower=text_tower,
        log_logit_scale=nn.Parameter(model.logit_scale.detach().clone().reshape(())),
        logit_bias=None if bias is None else bias.item(),
        heads=[*_image_heads(model.visual), *_text_heads(text)],
        image_input=read_open_clip_image_input(preprocessing, path),
        tokenizer=tokens.tokenizer,
        text_input=tokens.text_input,
        parent={
            **stated_license(folder),
            **parent,
            "model_type": "open_clip",
            "layout": f"open_clip {_label(known, config)}",
        },
        save_to=save_to,
    )


# --- towers ----------------------------------------------------------------------------------


class ImageTower(nn.Module):
    body: Any

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixel_values: Tensor) -> Tensor:
        found = self.body(pixel_values)
        embeddings: Tensor = found[0] if isinstance(found, tuple) else found  # CoCa: and tokens
        return embeddings


class TextTower(nn.Module):
    """open_clip's own text transformer, which takes no mask of the padding.

    A causal one that pools the end token sees nothing of the padding behind it, and takes texts of
    any length. All others were trained on texts padded to the full length.
    """

    causal_mask: Tensor | None
    text_projection: Any

    def __init__(
        self, text: Any, length: int, pad_token_id: int, stripped_token_id: int | None
    ) -> None:
        super().__init__()
        self.length = length
        self.pad_token_id = pad_token_id
        self.stripped_token_id = stripped_token_id  # its place is taken by 0
        self.whole = text if getattr(text, "cls_emb", None) is not None else None  # CoCa's
        if self.whole is not None:
            self.is_fixed = True
            return
        self.token_embedding = text.token_embedding
        self.positional_embedding = text.positional_embedding
        self.transformer = text.transformer
        self.ln_final = text.ln_final
        self.text_projection = text.text_projection
        of_clip = hasattr(text, "text_pool_type")
        self.pooling = text.text_pool_type if of_clip else text.pool_type
        self.end_token_id = text.text_eos_id if of_clip else text.eos_id
        self.register_buffer("causal_mask", text.attn_mask, persistent=False)
        self.is_fixed = text.attn_mask is None or self.pooling not in ("argmax", "eos")

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        ids = torch.where(attention_mask > 0, input_ids, self.pad_token_id)
        if self.stripped_token_id is not None:
            ids = torch.where(ids == self.stripped_token_id, 0, ids)
        if self.is_fixed:
            padding = torch.full_like(ids[:, :1], self.pad_token_id).expand(-1, self.length)
            ids = torch.cat([ids, padding], dim=1)[:, : self.length]
        if self.whole is not None:
            found = self.whole(ids)
            whole: Tensor = found[0] if isinstance(found, tuple) else found
            return whole
        length = ids.shape[1]
        hidden = self.token_embedding(ids) + self.positional_embedding[:length]
        mask = None if self.causal_mask is None else self.causal_mask[:length, :length]
        hidden = self.ln_final(self.transformer(hidden, attn_mask=mask))
        if self.pooling == "first":
            pooled = hidden[:, 0]
        elif self.pooling == "last":
            pooled = hidden[:, -1]
        else:
            is_end = ids if self.pooling == "argmax" else (ids == self.end_token_id).int()
            pooled = hidden[torch.arange(ids.shape[0], device=ids.device), is_end.argmax(dim=-1)]
        if isinstance(self.text_projection, nn.Linear):
            pooled = self.text_projection(pooled)
        elif self.text_projection is not None:
            pooled = pooled @ self.text_projection
        embeddings: Tensor = pooled
        return embeddings


class MaskedTextTower(nn.Module):
    """A text model of transformers within open_clip; its mask is what is not the pad token."""

    body: Any

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        pad = self.body.config.pad_token_id
        ids = torch.where(attention_mask > 0, input_ids, pad)
        mask = (ids != pad).long()
        output = self.body.transformer(input_ids=ids, attention_mask=mask)
        embeddings: Tensor = self.body.proj(self.body.pooler(output, mask))
        return embeddings


def _image_heads(visual: Any) -> list[nn.Parameter]:
    """The weights that only project."""
    if isinstance(getattr(visual, "proj", None), nn.Parameter):
        return [visual.proj]
    if hasattr(visual, "attnpool"):  # ResNet
        return list(visual.attnpool.c_proj.parameters())
    of_timm = list(visual.head.parameters()) if hasattr(visual, "head") else []
    if of_timm or not hasattr(visual, "trunk"):
        return of_timm
    classifier = visual.trunk.get_classifier()
    return list(classifier.parameters()) if isinstance(classifier, nn.Module) else []


def _text_heads(text: Any) -> list[nn.Parameter]:
    head = text.proj if isinstance(text, HFTextEncoder) else text.text_projection
    if isinstance(head, nn.Module):
        return list(head.parameters())
    return [] if head is None else [head]


# --- the model -------------------------------------------------------------------------------


def _checked(config: Any, path: Path) -> dict[str, Any]:
    """The `model_cfg` if everything in it is known to the library and of a size that exists."""
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise ModelError(f"{path} has no model_cfg with embed_dim, vision_cfg and text_cfg")
    _only(config, _MODEL_KEYS, path, "model_cfg")
    for part, kind in _PARTS.items():
        declared = config.get(part, {})
        if not isinstance(declared, dict):
            raise ModelError(f"{path}: {part} has to be a JSON object")
        _only(declared, {field.name for field in fields(kind)}, path, part)
        for key, value in declared.items():
            if key in _OPTIONS and value is not None:
                if not isinstance(value, dict):
                    raise ModelError(f"{path}: {part}.{key} has to be a JSON object")
                _only(value, _OPTIONS[key], path, f"{part}.{key}")
                _plain(value.values(), path, f"{part}.{key}")
            else:
                most = _MOST_WORDS if key == "vocab_size" else _MOST
                _plain([value], path, f"{part}.{key}", most)
        layers = declared.get("layers", 1)
        if not (isinstance(layers, list) or (isinstance(layers, int) and layers <= _MOST_LAYERS)):
            raise ModelError(f"{path}: {part}.layers: {layers!r} is no number of layers")
    _plain([value for key, value in config.items() if key not in _PARTS], path, "model_cfg")
    trunk = config["vision_cfg"].get("timm_model_name")
    if trunk is not None and not (
        isinstance(trunk, str)
        and re.fullmatch(r"[a-z0-9_]{1,100}(\.[a-z0-9_]{1,100})?", trunk)
        and timm.is_model(trunk.partition(".")[0])
    ):
        raise ModelError(f"{path}: timm has no model {trunk!r}")
    return config


def _only(declared: dict[str, Any], known: Iterable[str], path: Path, where: str) -> None:
    unknown = sorted(declared.keys() - set(known))
    if unknown:
        raise ModelError(f"{path}: {where}.{unknown[0]} is not known to open_clip, or not safe")


def _plain(values: Iterable[Any], path: Path, where: str, most: int = _MOST) -> None:
    for value in values:
        numbers = value if isinstance(value, list) and len(value) <= 8 else [value]
        for number in numbers:
            small = isinstance(number, int | float) and abs(number) <= most
            text = isinstance(number, str) and len(number) <= 200 and number is value
            if not (number is None or small or text):
                raise ModelError(f"{path}: {where}: {str(value)[:100]!r} is no value of a model")


def _load(
    base: str, folder: Path, config: dict[str, Any], weights: Path
) -> tuple[Any, dict[str, Any] | None]:
    """(model in float32, configuration of its text model of transformers if it has one)."""
    text_config = None
    built = json.loads(json.dumps(config))
    built["vision_cfg"]["timm_model_pretrained"] = False
    with TemporaryDirectory(prefix="scenesearch-open-clip-") as place:
        if config["text_cfg"].get("hf_model_name"):
            text_config = _text_config(base, folder, str(config["text_cfg"]["hf_model_name"]))
            Path(place, "config.json").write_text(json.dumps(text_config), encoding="utf-8")
            built["text_cfg"] |= {"hf_model_name": place, "hf_model_pretrained": False}
        Path(place, CONFIG).write_text(json.dumps({"model_cfg": built}), encoding="utf-8")
        silent = logging.root.manager.disable
        # The folder in `place` has no weights, which the library would warn of: those are read from
        # the one known file.
        logging.disable(logging.WARNING)
        try:
            model: Any = open_clip.create_model(
                f"local-dir:{place}", load_weights=False, pretrained_text=False
            )
            load_checkpoint(model, str(weights))
        except Exception as error:  # whatever the libraries make of a stranger's configuration
            raise ModelError(f"base {base} cannot be loaded: {first_line(error)}") from error
        finally:
            logging.disable(silent)
    return model.float().eval(), text_config


def _text_config(base: str, folder: Path, name: str) -> dict[str, Any]:
    """The configuration of a text model of transformers: the folder's, else from the hub."""
    own = folder / "config.json"
    config = read_json(own) if own.is_file() else {}
    if config.get("model_type") not in arch_dict:
        if "/" not in name:
            name = f"{_OWNERS.get(name.partition('-')[0], 'unknown')}/{name}"
        try:
            config = read_json(download(look_up(name), ["config.json"]) / "config.json")
        except (EncoderError, KeyError) as error:
            raise ModelError(
                f"base {base} needs the config.json of {name}, its text model, and does not have "
                f"it: {first_line(error)}; put that file into its folder"
            ) from error
    if config.get("model_type") not in arch_dict:
        raise ModelError(
            f"base {base}: its text model is a {config.get('model_type')}, open_clip knows "
            f"{', '.join(arch_dict)}"
        )
    # Code of strangers is never run, and plain attention is what can be exported.
    config.pop("auto_map", None)
    return config | {"attn_implementation": "eager"}


# --- preprocessing ---------------------------------------------------------------------------


def _known_models(
    config: dict[str, Any], name: str, repo_id: Any
) -> list[tuple[str, str, dict[str, Any]]]:
    """(architecture, tag, preprocessing) of the library's published models that this may be: the
    one from this repository, else all of this architecture."""
    found = []
    for architecture, tags in _PRETRAINED.items():
        for tag, about in tags.items():
            repository = about.get("hf_hub", "").strip("/")
            if repository and repository in (repo_id, f"timm/{name}", f"laion/{name}"):
                return [(architecture, tag, about)]
            if open_clip.get_model_config(architecture) == config:
                found.append((architecture, tag, about))
    return found


def _preprocessing(
    known: list[tuple[str, str, dict[str, Any]]], config: dict[str, Any]
) -> dict[str, Any]:
    """What holds where the folder's `preprocess_cfg` says nothing, from the library's table."""
    kinds = [{key: about[key] for key in _PREPROCESSING if key in about} for *_, about in known]
    trunk = config["vision_cfg"].get("timm_model_name") or ""
    if kinds and all(kind == kinds[0] for kind in kinds):
        chosen = kinds[0]
    else:
        chosen = next(
            (
                {key: value for key, value in about.items() if key in _PREPROCESSING}
                for part, about in _families(config)
                if part in trunk
            ),
            {},
        )
    return {key: _listed(value) for key, value in (asdict(PreprocessCfg()) | chosen).items()}


def _families(config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(part of the image model's name, preprocessing of such a published model)."""

    def of(architecture: str) -> dict[str, Any]:
        about: dict[str, Any] = next(iter(_PRETRAINED[architecture].values()))
        return about

    families = [
        ("siglip", of("ViT-B-16-SigLIP")),
        ("pe_core", of("PE-Core-B-16")),
        ("mci", of("MobileCLIP-S1")),
    ]
    # CLIPA: nothing but its tokenizer tells it from other models of open_clip's own classes.
    if (config["text_cfg"].get("tokenizer_kwargs") or {}).get("strip_sep_token"):
        families.append(("", of("ViT-L-14-CLIPA")))
    return families


def _declared(declared: Any, path: Path) -> dict[str, Any]:
    declared = {} if declared is None else declared
    if not isinstance(declared, dict):
        raise ModelError(f"{path}: preprocess_cfg has to be a JSON object")
    if declared.get("mode", "RGB") != "RGB":
        raise ModelError(f"{path}: pictures are RGB here, not {declared['mode']!r}")
    found = {key: declared[key] for key in _PREPROCESSING if declared.get(key) is not None}
    if found.get("interpolation") == "random":  # of training; else it is bicubic
        found["interpolation"] = "bicubic"
    return found


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _label(known: list[tuple[str, str, dict[str, Any]]], config: dict[str, Any]) -> str:
    """How the user knows the model."""
    if len(known) == 1:
        return f"{known[0][0]} ({known[0][1]})"
    if known:
        return known[0][0]
    vision = config["vision_cfg"]
    if vision.get("timm_model_name"):
        return str(vision["timm_model_name"])
    kind = "ResNet" if isinstance(vision.get("layers"), list) else "ViT"
    return f"CoCa {kind}" if "multimodal_cfg" in config else kind


# --- texts -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tokens:
    tokenizer: Tokenizer
    text_input: TextInput
    stripped: int | None = None  # a token that 0 takes the place of


def _read_tokenizer(
    base: str, folder: Path, config: dict[str, Any], language: str | None
) -> _Tokens:
    options = config.get("tokenizer_kwargs") or {}
    of_transformers = config.get("hf_tokenizer_name")
    length = config.get("context_length", CLIPTextCfg.context_length)
    cleaning = options.get("clean", "whitespace" if of_transformers else "lower")
    if cleaning not in _CLEANING:
        raise ModelError(f"base {base}: texts cleaned by {cleaning!r} are not known to open_clip")
    about = {"context_length": length, "fix": True, **_CLEANING[cleaning]}
    language = language or options.get("language")
    if not of_transformers:
        if language:
            raise ModelError(f"language {language}: {base} takes texts without a language")
        pad = config.get("pad_id", 0) if config.get("embed_cls") else 0
        return _Tokens(simple_tokenizer(), TextInput(pad_token_id=pad, **about))
    if config.get("tokenizer_mode"):
        raise ModelError(f"base {base}: tokenizer_mode {config['tokenizer_mode']!r} is not served")
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("*.model")):
        raise ModelError(
            f"base {base} has no tokenizer: put the tokenizer files of {of_transformers} into its "
            "folder"
        )
    try:
        loaded = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        if language:
            if not hasattr(loaded, "set_src_lang_special_tokens"):
                raise ModelError(f"language {language}: {base} takes texts without a language")
            loaded.set_src_lang_special_tokens(flores_code(language))
        tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    except EncoderError:
        raise
    except Exception as error:  # transformers', and the bare Exception of tokenizers
        raise ModelError(f"base {base} has no usable tokenizer: {first_line(error)}") from error
    if loaded.padding_side != "right":
        raise ModelError(f"base {base}: its tokenizer pads texts on the left, which is not served")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    stripped = loaded.sep_token_id if options.get("strip_sep_token") else None
    pad = 0 if loaded.pad_token_id is None else loaded.pad_token_id
    return _Tokens(tokenizer, TextInput(pad_token_id=pad, **about), stripped)


def simple_tokenizer() -> Tokenizer:
    """open_clip's SimpleTokenizer, CLIP's vocabulary of byte pairs, as a fast tokenizer."""
    own = SimpleTokenizer()
    tokenizer = Tokenizer(
        models.BPE(
            vocab=own.encoder,
            merges=sorted(own.bpe_ranks, key=own.bpe_ranks.__getitem__),
            end_of_word_suffix="</w>",
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = (own.decoder[token] for token in (own.sot_token_id, own.eot_token_id))
    tokenizer.add_special_tokens([AddedToken(each, normalized=False) for each in (start, end)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, own.sot_token_id), (end, own.eot_token_id)],
    )
    return tokenizer

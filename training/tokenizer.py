"""The tokenizer of a transformers model folder, as the `tokenizers` library has it.

Serving has neither transformers nor SentencePiece, so whatever a library's class does to a text
before its tokens has to be a step of the tokenizer itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

from scenesearch.encoder.model_folder import ModelError, clean_as_trained, read_json
from scenesearch.errors import first_line

_SPACE = "▁"  # SentencePiece's
_UNIGRAM, _UNKNOWN = 1, 2  # SentencePiece's numbers of models and pieces


@dataclass(frozen=True)
class ModelTokenizer:
    """A tokenizer without padding and truncation, and what its folder says of them."""

    tokenizer: Tokenizer
    pad_token_id: int
    longest: int  # text, in tokens
    lowercase: bool  # what Python lowers otherwise than the tokenizer would


def read_tokenizer(folder: Path, family: str = "") -> ModelTokenizer:
    """The tokenizer of a model of this family (`model_type`)."""
    pieces = folder / "spiece.model"
    declared = folder / "tokenizer_config.json"
    named = read_json(declared).get("tokenizer_class", "") if declared.is_file() else ""
    of_siglip = family == "siglip" and not str(named).startswith("Gemma")
    if of_siglip and pieces.is_file():
        return _read_sentencepiece(pieces, read_json(declared) if declared.is_file() else {})
    try:
        kind: Any = PreTrainedTokenizerFast if of_siglip else AutoTokenizer
        loaded = kind.from_pretrained(folder, local_files_only=True)
        fast = loaded.backend_tokenizer
    except Exception as error:  # transformers', and the bare Exception of tokenizers
        raise ModelError(f"{folder} has no usable tokenizer: {first_line(error)}") from error
    tokenizer = Tokenizer.from_str(fast.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    clean_as_trained(tokenizer, family)
    pad = loaded.pad_token_id
    return ModelTokenizer(tokenizer, 0 if pad is None else pad, loaded.model_max_length, False)


def _read_sentencepiece(path: Path, declared: dict[str, Any]) -> ModelTokenizer:
    """SigLIP's tokenizer from its SentencePiece model, as `SiglipTokenizer` uses it.

    That class lowers a text in Python, takes punctuation out and ends it with `</s>`. A
    tokenizer.json beside it may have been made without these steps, and is not read. A text that
    itself ends with `</s>` gets another: padding is that token too.
    """
    proto = import_protobuf().ModelProto()  # type: ignore[no-untyped-call]
    try:
        proto.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's own
        raise ModelError(f"{path} is no SentencePiece model: {first_line(error)}") from error
    if proto.trainer_spec.model_type != _UNIGRAM:
        raise ModelError(f"{path} is no unigram model, as SigLIP's is")
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    unknown = next((n for n, p in enumerate(proto.pieces) if p.type == _UNKNOWN), None)
    names = [piece for piece, _ in pieces]
    end, pad = (_content(declared.get(key, "</s>")) for key in ("eos_token", "pad_token"))
    if unknown is None or end not in names or pad not in names:
        raise ModelError(f"{path} lacks its unknown token, {end} or {pad}")
    in_bytes = proto.trainer_spec.byte_fallback  # of the multilingual ones
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=in_bytes))
    steps: list[Any] = [normalizers.Replace(_SPACE, " ")]
    if proto.normalizer_spec.precompiled_charsmap:
        # SentencePiece also composes a letter with the first of many accents, and narrow kana
        # with their marks. Precompiled does not.
        composed = normalizers.NFC()
        charsmap = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
        steps += [composed, charsmap, composed]
    steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE)
    special = dict.fromkeys((end, pad, names[unknown]))
    tokenizer.add_special_tokens(
        [AddedToken(token, lstrip=True, rstrip=True, normalized=False) for token in special]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, names.index(end))]
    )
    clean_as_trained(tokenizer, "siglip")
    longest = declared.get("model_max_length", 64)
    return ModelTokenizer(tokenizer, names.index(pad), longest, True)


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token

"""Model folders of the families that training starts from, laid out as the real repositories are.

The weights are random and few. The tokenizers are of the families' own kinds, trained on the texts
that the tests compare, so that capitals, punctuation and scripts make a difference.
"""

import functools
import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers.convert_slow_tokenizer import import_protobuf

from tests.awkward import TEXTS

SIDE, PATCH = 48, 16
_LAYERS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SHAPE = {**_LAYERS, "num_attention_heads": 4}
VISION = {**SHAPE, "image_size": SIDE, "patch_size": PATCH}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
OF_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
SQUARE = {"height": SIDE, "width": SIDE}
_STEPS = {"do_normalize": True, "do_rescale": True, "do_resize": True}


def write_clip(folder: Path, tokenizer: Path) -> Path:
    """OpenAI's CLIP with the tokenizer in this folder, as its repository of 2021 declares it."""
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"):
        if (tokenizer / name).is_file():  # transformers 5 writes the last two
            _write(folder / name, (tokenizer / name).read_text(encoding="utf-8"))
    size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    # Its end token is named 2, which it is not: the largest id of a text is pooled.
    ids = {"bos_token_id": 0, "eos_token_id": 2}
    text = {**SHAPE, **ids, "vocab_size": size, "max_position_embeddings": 77}
    config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    _save(transformers.CLIPModel, config, folder)
    declared = {**OF_CLIP, "do_center_crop": True, "do_normalize": True, "do_resize": True}
    named = {"feature_extractor_type": "CLIPFeatureExtractor", "resample": 3}
    return _prepared(folder, {**declared, **named, "size": SIDE, "crop_size": SIDE})


def write_siglip(folder: Path, *, in_bytes: bool = False) -> Path:
    """google/siglip-base-patch16-224; its tokenizer is a SentencePiece model.

    `in_bytes`: what was never seen is read byte by byte, as the multilingual one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(_spiece(in_bytes=in_bytes))
    token = {"lstrip": True, "rstrip": True, "normalized": False, "special": True}
    declared = {
        "added_tokens_decoder": {
            "1": {**token, "content": "</s>", "single_word": False},
            "2": {**token, "content": "<unk>", "single_word": False},
        },
        "additional_special_tokens": [],
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "eos_token": "</s>",
        "model_input_names": ["input_ids"],
        "model_max_length": 64,
        "pad_token": "</s>",
        "processor_class": "SiglipProcessor",
        "sp_model_kwargs": {},
        "tokenizer_class": "SiglipTokenizer",
        "unk_token": "<unk>",
    }
    _write(folder / "tokenizer_config.json", declared)
    text = {**SHAPE, "vocab_size": 900, "projection_size": 32}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    _save(transformers.SiglipModel, config, folder)
    declared = {**HALF, **_STEPS, "image_processor_type": "SiglipImageProcessor", "resample": 3}
    return _prepared(folder, {**declared, "size": SQUARE})


def write_siglip_2(folder: Path) -> Path:
    """google/siglip2-base-patch16-224: SigLIP's model with Gemma's tokenizer."""
    _gemma(folder)
    text = {**SHAPE, "vocab_size": _GEMMA_SIZE, "projection_size": 32}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    _save(transformers.SiglipModel, config, folder)
    declared = {**HALF, **_STEPS, "image_processor_type": "SiglipImageProcessor", "resample": 2}
    return _prepared(folder, {**declared, "do_convert_rgb": None, "size": SQUARE})


def write_naflex(folder: Path) -> Path:
    """google/siglip2-base-patch16-naflex."""
    _gemma(folder)
    config = transformers.Siglip2Config(
        text_config={**SHAPE, "vocab_size": _GEMMA_SIZE, "projection_size": 32},
        vision_config={**SHAPE, "num_patches": 64, "patch_size": PATCH},
    )
    _save(transformers.Siglip2Model, config, folder)
    declared = {**HALF, **_STEPS, "image_processor_type": "Siglip2ImageProcessor", "resample": 2}
    patches = {"max_num_patches": 100, "patch_size": PATCH}
    return _prepared(folder, {**declared, **patches, "rescale_factor": 0.00392156862745098})


def write_metaclip_2(folder: Path) -> Path:
    """facebook/metaclip-2-worldwide-huge-quickgelu, with the tokenizer of XLM-V."""
    size = _xlm_roberta(folder, 77)
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    text = {**SHAPE, **ids, "vocab_size": size, "max_position_embeddings": 77}
    config = transformers.MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=24)
    _save(transformers.MetaClip2Model, config, folder)
    declared = {**OF_CLIP, **_STEPS, "image_processor_type": "CLIPImageProcessor", "resample": 3}
    both = {"do_center_crop": True, "size": SQUARE, "crop_size": SQUARE}
    return _prepared(folder, {**declared, **both, "do_convert_rgb": True})


def write_chinese_clip(folder: Path) -> Path:
    """OFA-Sys/chinese-clip-vit-base-patch16."""
    size = _bert(folder)
    text = {**SHAPE, "vocab_size": size, "max_position_embeddings": 512}
    config = transformers.ChineseCLIPConfig(
        text_config=text, vision_config=VISION, projection_dim=24
    )
    _save(transformers.ChineseCLIPModel, config, folder)
    declared = {**OF_CLIP, "do_center_crop": False, "do_normalize": True, "do_resize": True}
    named = {"feature_extractor_type": "ChineseCLIPFeatureExtractor", "resample": 3}
    return _prepared(folder, {**declared, **named, "size": SQUARE})


def write_altclip(folder: Path) -> Path:
    """BAAI/AltCLIP: CLIP's pictures, XLM-R's texts."""
    size = _xlm_roberta(folder, 512)
    text = {**SHAPE, "vocab_size": size, "max_position_embeddings": 514, "project_dim": 20}
    config = transformers.AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    # Its text projection takes what the text model's own projection gives.
    config.text_config.hidden_size = SHAPE["hidden_size"]
    _save(transformers.AltCLIPModel, config, folder)
    declared = {**OF_CLIP, "do_center_crop": True, "do_normalize": True, "do_resize": True}
    named = {"feature_extractor_type": "CLIPFeatureExtractor", "resample": 3}
    shortest = {"size": {"shortest_edge": SIDE}, "crop_size": SQUARE}
    return _prepared(folder, {**declared, **named, **shortest})


def write_dual_encoder(folder: Path) -> Path:
    """A ViT beside a BERT, as VisionTextDualEncoder puts them together."""
    size = _bert(folder)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**VISION),
        transformers.BertConfig(**SHAPE, vocab_size=size),
        projection_dim=24,
    )
    _save(transformers.VisionTextDualEncoderModel, config, folder)
    named = {"feature_extractor_type": "ViTFeatureExtractor", "resample": 2}
    return _prepared(folder, {**HALF, **named, "do_normalize": True, "size": SIDE})


def write_sentence_clip(folder: Path, clip: Path) -> Path:
    """sentence-transformers/clip-ViT-B-32: the CLIP in a folder of its own."""
    for path in clip.iterdir():
        (folder / "0_CLIPModel").mkdir(parents=True, exist_ok=True)
        (folder / "0_CLIPModel" / path.name).write_bytes(path.read_bytes())
    _modules(folder, {"0_CLIPModel": "CLIPModel"})
    return folder


def write_sentence_texts(folder: Path, dimension: int) -> Path:
    """sentence-transformers/clip-ViT-B-32-multilingual-v1: a DistilBERT with a layer behind it."""
    from safetensors.torch import save_file

    size = _bert(folder)
    config = transformers.DistilBertConfig(
        vocab_size=size, dim=32, hidden_dim=48, n_layers=2, n_heads=4
    )
    _save(transformers.DistilBertModel, config, folder)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    others = ("cls_token", "max_tokens", "mean_sqrt_len_tokens")
    pooling |= {f"pooling_mode_{other}": False for other in others}
    _write(folder / "1_Pooling" / "config.json", pooling)
    dense = {"in_features": 32, "out_features": dimension, "bias": False}
    identity = "torch.nn.modules.linear.Identity"
    _write(folder / "2_Dense" / "config.json", {**dense, "activation_function": identity})
    weights = torch.randn(dimension, 32, generator=torch.Generator().manual_seed(0))
    save_file({"linear.weight": weights}, folder / "2_Dense" / "model.safetensors")
    _modules(folder, {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"})
    return folder


def _modules(folder: Path, kinds: dict[str, str]) -> None:
    rows = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds.items())
    ]
    _write(folder / "modules.json", rows)


def _save(model: Any, config: Any, folder: Path) -> None:
    torch.manual_seed(0)
    model(config).save_pretrained(folder)


def _prepared(folder: Path, declared: dict[str, Any]) -> Path:
    _write(folder / "preprocessor_config.json", declared)
    return folder


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")


# --- tokenizers ------------------------------------------------------------------------------


@functools.cache
def _spiece(*, in_bytes: bool = False) -> bytes:
    """A unigram model with the ids and the normalisation of SigLIP's."""
    lines = [line for text in TEXTS for line in (text.lower(), text) if len(text) < 200]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        model_type="unigram",
        vocab_size=800 if in_bytes else 500,
        hard_vocab_limit=False,
        byte_fallback=in_bytes,
        normalization_rule_name="nmt_nfkc",
        character_coverage=0.98,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return written.getvalue()


def _proto() -> Any:
    proto = import_protobuf().ModelProto()
    proto.ParseFromString(_spiece())
    return proto


def _pieces() -> list[tuple[str, float]]:
    return [(piece.piece, piece.score) for piece in _proto().pieces]


def _xlm_roberta(folder: Path, longest: int) -> int:
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary = [*special, *_pieces()[3:], ("<mask>", 0.0)]
    tokenizer = transformers.XLMRobertaTokenizer(
        vocab=vocabulary,
        _spm_precompiled_charsmap=_proto().normalizer_spec.precompiled_charsmap,
        model_max_length=longest,
    )
    tokenizer.save_pretrained(folder)
    return len(vocabulary)


_GEMMA_SIZE = 700


def _gemma(folder: Path) -> None:
    """Byte pairs with the bytes themselves for what was never seen; blanks become U+2581."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    base = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    lines = [text for text in TEXTS if len(text) < 200 and text.isascii()]
    trainer = trainers.BpeTrainer(vocab_size=_GEMMA_SIZE, special_tokens=base, show_progress=False)
    trained.train_from_iterator(lines, trainer)
    declared = json.loads(trained.to_str())
    declared["model"] |= {"byte_fallback": True, "fuse_unk": True}
    tokenizer = Tokenizer.from_str(json.dumps(declared))
    assert tokenizer.get_vocab_size() <= _GEMMA_SIZE
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {name: f"<{name.removesuffix('_token')}>" for name in ("bos_token", "eos_token")}
    declared = {
        **named,
        "add_bos_token": False,
        "add_eos_token": True,
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "model_input_names": ["input_ids"],
        "model_max_length": 1000000000000000019884624838656,
        "padding_side": "right",
        "processor_class": "Siglip2Processor",
        "tokenizer_class": "GemmaTokenizer",
    }
    _write(folder / "tokenizer_config.json", declared)


def _bert(folder: Path) -> int:
    """Word pieces, with every character of the texts among them."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    learned = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learned.normalizer = normalizers.BertNormalizer(lowercase=True)
    learned.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=900, special_tokens=special, show_progress=False)
    learned.train_from_iterator([text for text in TEXTS if len(text) < 200], trainer)
    vocabulary = sorted(learned.get_vocab().items(), key=lambda item: item[1])
    _write(folder / "vocab.txt", "".join(f"{token}\n" for token, _ in vocabulary))
    declared = {"do_lower_case": True, "model_max_length": 512, "tokenizer_class": "BertTokenizer"}
    _write(folder / "tokenizer_config.json", declared)
    return len(vocabulary)

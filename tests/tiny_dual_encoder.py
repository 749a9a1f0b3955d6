"""Towers of the bundled kind, random and small enough to train in seconds."""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
)

from scenesearch.encoder.base import ImageInput, TextInput
from training.model import Classifier, DualEncoder, TowerShape, mobilenet_layers
from training.towers import bundled_kind
from training.two_towers import Towers

SHAPE = TowerShape(dimension=16, hidden=24, dropout=0.1, pool_groups=4, trunk_layers=12)


def write_tokenizer(captions: Iterable[str]) -> Tokenizer:
    words = sorted({word for caption in captions for word in caption.split()})
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def tiny_dual_encoder(captions: Iterable[str], seed: int = 0) -> Towers:
    tokenizer = write_tokenizer(captions)
    torch.manual_seed(seed)
    mobilenet = MobileNetV2ForImageClassification(
        MobileNetV2Config(
            depth_multiplier=0.25,
            num_labels=8,
            image_size=64,
            tf_padding=True,
            finegrained_output=False,
        )
    ).eval()
    for module in mobilenet.modules():
        if isinstance(module, nn.Conv2d):  # the library's small start fades out in 52 layers
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    bert = BertModel(
        BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            attn_implementation="eager",
        ),
        add_pooling_layer=False,
    )
    labels = tuple(f"thing {n}, object {n}" for n in range(8))
    classifier = Classifier(
        labels, mobilenet.classifier.weight.detach(), mobilenet.classifier.bias.detach()
    )
    channels = mobilenet.classifier.in_features
    half = (0.5, 0.5, 0.5)
    return bundled_kind(
        DualEncoder(mobilenet_layers(mobilenet), channels, bert, SHAPE),
        "tiny",
        ImageInput(size=(64, 64), resize="squash", mean=half, std=half),
        tokenizer,
        text_input=TextInput(context_length=32),
        parent={},
        classifier=classifier,
    )

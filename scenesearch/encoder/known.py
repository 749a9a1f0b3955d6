"""Encoders worth bringing, by short names that `models pull` takes.

From the public cards and file lists of the repositories, as of November 2026; sizes are of the
fp32 graphs.
"""

from dataclasses import asdict, dataclass
from typing import Any

from scenesearch.encoder.base import EncoderError
from scenesearch.errors import did_you_mean

DATE = "2026-11"
_XLM_ROBERTA = "immich-app/XLM-Roberta-Large-ViT-H-14__frozen_laion5b_s13b_b90k"
_JS, _IMMICH, _PAIR = "transformers.js", "Immich", "FastEmbed pair"


@dataclass(frozen=True)
class KnownEncoder:
    """A row of the table. `text_from` is the second repository of a pair."""

    name: str
    repository: str
    mb: int
    use: str
    languages: str
    license: str
    layout: str
    text_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


KNOWN = (
    KnownEncoder(
        *("clip-b32", "Xenova/clip-vit-base-patch32", 606),
        *("the best known one; quick", "English", "MIT (OpenAI's code)", _JS),
    ),
    KnownEncoder(
        *("clip-l14", "Xenova/clip-vit-large-patch14", 1710),
        *("finds more than clip-b32, several times slower", "English", "MIT (OpenAI's code)", _JS),
    ),
    KnownEncoder(
        *("clip-b32-fastembed", "Qdrant/clip-ViT-B-32-vision", 606),
        *("the vectors of FastEmbed", "English", "MIT", _PAIR, "Qdrant/clip-ViT-B-32-text"),
    ),
    KnownEncoder(
        *("clip-b32-laion2b", "immich-app/ViT-B-32__laion2b-s34b-b79k", 606),
        *("as quick as clip-b32, finds more", "English", "MIT", _IMMICH),
    ),
    KnownEncoder(
        *("clip-h14-dfn5b", "immich-app/ViT-H-14-378-quickgelu__dfn5b", 3950),
        *("among the best for English; needs a GPU", "English", "Apple AMLR", _IMMICH),
    ),
    KnownEncoder(
        *("mobileclip-s0", "Xenova/mobileclip_s0", 216),
        *("the smallest; for weak machines", "English", "Apple ASCL", _JS),
    ),
    KnownEncoder(
        *("mobileclip-s2", "Xenova/mobileclip_s2", 397),
        *("small, better than mobileclip-s0", "English", "Apple ASCL", _JS),
    ),
    KnownEncoder(
        *("siglip-b16", "Xenova/siglip-base-patch16-224", 813),
        *("good at short requests", "English", "Apache-2.0", _JS),
    ),
    KnownEncoder(
        *("siglip2-b16", "onnx-community/siglip2-base-patch16-224-ONNX", 1540),
        *("the best of its speed", "many", "Apache-2.0", _JS),
    ),
    KnownEncoder(
        *("siglip2-so400m", "onnx-community/siglip2-so400m-patch16-256-ONNX", 4540),
        *("the best in many languages; needs a GPU", "many", "Apache-2.0", _JS),
    ),
    KnownEncoder(
        *("jina-clip-v1", "jinaai/jina-clip-v1", 892),
        *("long texts", "English", "Apache-2.0", _JS),
    ),
    KnownEncoder(
        *("jina-clip-v2", "jinaai/jina-clip-v2", 3460),
        *("long texts; vectors may be cut (--dimensions)", "89", "CC BY-NC 4.0", _JS),
    ),
    KnownEncoder(
        *("chinese-clip-b16", "Xenova/chinese-clip-vit-base-patch16", 754),
        *("requests in Chinese", "Chinese", "MIT (its code)", _JS),
    ),
    KnownEncoder(
        *("nllb-clip-base", "immich-app/nllb-clip-base-siglip__v1", 2030),
        *("rare languages; asks for --language", "201", "CC BY-NC 4.0", _IMMICH),
    ),
    KnownEncoder(
        *(
            "xlm-roberta-h14",
            "immich-app/XLM-Roberta-Large-ViT-H-14__frozen_laion5b_s13b_b90k",
            4770,
        ),
        *("good in many languages; needs a GPU", "100", "MIT", _IMMICH),
    ),
)
_BY_NAME = {one.name: one for one in KNOWN}


def find_known(name: str) -> KnownEncoder | None:
    """The row of this short name, None for a hub id; raises EncoderError for what is neither."""
    if "/" in name or name in _BY_NAME:
        return _BY_NAME.get(name)
    raise EncoderError(
        f"{name!r} is no hub id: expected OWNER/NAME, or a name of `models list --known`"
        f"{did_you_mean(name, _BY_NAME)}"
    )

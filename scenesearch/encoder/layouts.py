"""Recognises ready ONNX graphs in a repository or folder by the names of its files.

find_layouts(names)["fp16"].name  ->  "the layout of transformers.js, two graphs"

Known are the layout of transformers.js, the one of Immich's model shelf, and FastEmbed's pairs of
repositories. In each, a graph may have siblings of other precisions.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from scenesearch.encoder.model_folder import ModelError

Kind = Literal["transformers.js", "immich", "fastembed"]

# Precision -> how the names of such graphs end, best first.
SUFFIXES = {
    "fp32": ("",),
    "fp16": ("_fp16",),
    "int8": ("_int8", "_quantized", "_uint8"),
    "q4": ("_q4",),
    "q4f16": ("_q4f16",),
    "bnb4": ("_bnb4",),
}
KNOWN = (
    "onnx/vision_model.onnx and onnx/text_model.onnx, or onnx/model.onnx for both "
    "(transformers.js); visual/model.onnx and textual/model.onnx (Immich); model.onnx in a "
    "repository for pictures and in one for texts (FastEmbed, --text-from)"
)
_FOLDERS = ("onnx/", "")
_OF_TEXTS = "tokenizer.json"
_OF_PICTURES = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Layout:
    """Where the graphs lie, and the folder of what is beside each; a pair has two repositories."""

    kind: Kind
    name: str  # for the user
    precision: str
    image_graph: str
    text_graph: str  # the same one: it holds both towers
    image_folder: str = ""
    text_folder: str = ""

    @property
    def is_joint(self) -> bool:
        return self.kind != "fastembed" and self.image_graph == self.text_graph


def find_layouts(names: Collection[str]) -> dict[str, Layout]:
    """The layout of each precision in which both towers are there; empty where none is known."""
    found: dict[str, Layout] = {}
    for layout in (*_immich(names), *_transformers_js(names)):
        found.setdefault(layout.precision, layout)
    return found


def find_pair(pictures: Collection[str], texts: Collection[str]) -> dict[str, Layout]:
    """The same for a repository of the image tower and one of the text tower."""
    found: dict[str, Layout] = {}
    if _OF_TEXTS not in texts or not set(_OF_PICTURES) & set(pictures):
        return found
    for precision in SUFFIXES:
        image = next(_graphs(pictures, ("model", "vision_model"), precision), None)
        text = next(_graphs(texts, ("model", "text_model"), precision), None)
        if image and text:
            name = "FastEmbed's pair of repositories"
            found[precision] = Layout("fastembed", name, precision, image, text)
    return found


def choose(layouts: dict[str, Layout], precision: str, of: str) -> Layout:
    """The layout in this precision; raises ModelError with those that exist."""
    if precision in layouts:
        return layouts[precision]
    raise ModelError(
        f"{of} has no ready graphs of both towers in {precision}: "
        f"--precision {' or '.join(layouts)} would be taken"
    )


def files_beside(
    layout: Layout, names: Collection[str], side: Literal["image", "text"]
) -> list[str]:
    """The files that say how the inputs of this tower are made, as far as they exist."""
    wanted: tuple[str, ...] = ("config.json", "README.md")
    if layout.kind == "immich":
        if side == "image":
            wanted += ("visual/preprocess_cfg.json",)
        else:
            wanted += ("textual/tokenizer.json", "textual/tokenizer_config.json")
    else:
        wanted += _OF_PICTURES if side == "image" else (_OF_TEXTS, "tokenizer_config.json")
    return [name for name in wanted if name in names]


def _transformers_js(names: Collection[str]) -> Iterator[Layout]:
    if "config.json" not in names or _OF_TEXTS not in names or not set(_OF_PICTURES) & set(names):
        return
    for precision in SUFFIXES:
        image = next(_graphs(names, ("vision_model",), precision), None)
        text = next(_graphs(names, ("text_model",), precision), None)
        both = next(_graphs(names, ("model",), precision), None)
        if image and text:
            name = "the layout of transformers.js, a graph for each tower"
            yield Layout("transformers.js", name, precision, image, text)
        elif both:
            name = "the layout of transformers.js, one graph for both towers"
            yield Layout("transformers.js", name, precision, both, both)


def _immich(names: Collection[str]) -> Iterator[Layout]:
    needed = {"config.json", "visual/preprocess_cfg.json", "textual/tokenizer.json"}
    if not needed <= set(names):
        return
    for precision, folder in (("fp32", ""), ("fp16", "fp16/")):
        image, text = f"visual/{folder}model.onnx", f"textual/{folder}model.onnx"
        if image in names and text in names:
            name = "the layout of Immich's model shelf"
            yield Layout("immich", name, precision, image, text, "visual/", "textual/")


def _graphs(names: Collection[str], stems: tuple[str, ...], precision: str) -> Iterator[str]:
    for suffix in SUFFIXES[precision]:
        for folder in _FOLDERS:
            for stem in stems:
                if (name := f"{folder}{stem}{suffix}.onnx") in names:
                    yield name

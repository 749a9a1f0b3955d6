"""The interface of an encoder: it turns pictures and texts into vectors of one space."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from scenesearch.errors import SceneSearchError

# squash: to the size, whatever the shape. shortest_edge_crop: the shorter side fitted, the middle
# cut out. longest: the longer side fitted, the rest filled. patches: to whole patches, at most
# `max_patches`, with the shape kept.
Resize = Literal["squash", "shortest_edge_crop", "longest", "patches"]
Interpolation = Literal["bilinear", "bicubic", "lanczos"]
# float32_nchw: scaled by mean and std, (n, 3, height, width). uint8_nhwc: as they are, (n, height,
# width, 3), for graphs that scale them.
Pixels = Literal["float32_nchw", "uint8_nhwc"]
# Pad texts to the longest of the batch, or always to the context length (SigLIP pools the last
# token).
Padding = Literal["longest", "context_length"]

# A batch of 8 of the largest pictures takes 400 MB.
_Side = Annotated[int, Field(ge=1, le=2048)]
# For pixels between 0 and 1, or from 0 to 255 if a graph takes those.
_Mean = Annotated[float, Field(ge=-1e4, le=1e4)]
_Deviation = Annotated[float, Field(ge=1e-4, le=1e4)]
_Level = Annotated[int, Field(ge=0, le=255)]
_Name = Annotated[str, Field(min_length=1, max_length=256)]
# A file of the encoder folder, or of a folder in it.
_FILE_PATTERN = r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,99}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"
_File = Annotated[str, Field(pattern=_FILE_PATTERN)]
_Files = Annotated[tuple[_File, ...], Field(max_length=1000)]
_Prefix = Annotated[str, Field(max_length=1000)]
_Token = Annotated[int, Field(ge=0, lt=2**31)]


class Declared(BaseModel):
    """A part of encoder.json. A folder may come from a stranger: unknown keys are ignored, known
    keys must be valid."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """As encoder.json holds it: what is not the default."""
        return self.model_dump(mode="json", exclude_defaults=True)


class ImageInput(Declared):
    """How an upright RGB picture becomes the input of the image tower."""

    size: tuple[_Side, _Side]  # (height, width); patches: of a square picture
    resize: Resize
    interpolation: Interpolation = "bicubic"
    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Deviation, _Deviation, _Deviation]
    # shortest_edge_crop: the shorter side becomes this long before the middle of `size` is cut out
    # (None: the size).
    edge: _Side | None = None
    # Where an odd number of pixels is cut off: fewer on the first side, as transformers does with
    # Pillow, or to the nearest even offset, as torchvision does.
    crop_offset: Literal["floor", "nearest"] = "floor"
    fill: tuple[_Level, _Level, _Level] = (0, 0, 0)  # longest: the colour around the picture
    patch_size: Annotated[int, Field(ge=1, le=128)] | None = None  # patches: the side of one
    max_patches: Annotated[int, Field(ge=1, le=4096)] | None = None
    pixels: Pixels = "float32_nchw"
    input: _Name = "pixel_values"
    output: _Name = "image_embeddings"
    graph: _File | None = None  # None: image.onnx, or image.xml and image.bin
    external: _Files = ()  # files of weights beside the graph

    @model_validator(mode="after")
    def _patches_are_whole(self) -> Self:
        declared = (self.patch_size is not None, self.max_patches is not None)
        if declared != (self.resize == "patches",) * 2:
            raise ValueError("patch_size and max_patches go with resize 'patches'")
        if self.resize == "patches" and self.pixels != "float32_nchw":
            raise ValueError("patches are scaled pixels")
        return self

    @property
    def longest_side(self) -> int:
        """The longest side of a square picture, in pixels, on its way to the input."""
        return max(*self.size, self.edge or 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one preprocessed picture.

        As patches it has a row for each patch, its pixels row by row with the channels last, before
        them one row that begins with the number of rows and columns of patches, and rows of zeros
        at the end.
        """
        if self.patch_size is not None and self.max_patches is not None:
            return (1 + self.max_patches, self.patch_size**2 * 3)
        return (*self.size, 3) if self.pixels == "uint8_nhwc" else (3, *self.size)


class TextInput(Declared):
    """How a text becomes the input of the text tower."""

    context_length: int = Field(ge=2, le=8192)
    prefix: _Prefix = ""  # before what is searched for
    document_prefix: _Prefix = ""  # before what describes a picture
    fix: bool = False  # repair wrong encodings and HTML entities, as open_clip does first
    lowercase: bool = False
    canonicalize: bool = False  # lower case without punctuation, as SigLIP was trained
    pad_token_id: _Token = 0
    padding: Padding = "longest"
    input: _Name = "input_ids"
    output: _Name = "text_embeddings"
    graph: _File | None = None  # None: text.onnx, or text.xml and text.bin
    external: _Files = ()


class Scale(Declared):
    """What the model declares of its scores: logit = logit_scale * cosine + logit_bias."""

    logit_scale: float = Field(gt=0, le=1e4)
    # SigLIP's: the sigmoid of its logit is a probability.
    logit_bias: Annotated[float, Field(ge=-1e4, le=1e4)] | None = None


class EncoderError(SceneSearchError):
    """The encoder cannot be used; the message is one sentence for the user."""


class EncoderReplaced(EncoderError):  # noqa: N818 - reads as what it is
    """The encoder that made a library is gone, and another one has its name, as after an upgrade
    of the package."""

    def __init__(self, library: str, name: str, was: str, now: str) -> None:
        super().__init__(
            f"library {library} holds vectors of another {name} ({was[:8]}) than the one here "
            f"({now[:8]}); the text side of its own is gone, so it cannot be searched: "
            f"`scenesearch library build {library}` encodes its originals again, then "
            f"`scenesearch library promote {library}` makes the result live"
        )
        self.name = name


class EncoderUnreadable(EncoderError):  # noqa: N818 - reads as what it is
    """Its files may be fine, but memory, a permission or the disk keeps us from reading them."""


@dataclass(frozen=True)
class EncoderInfo:
    """An encoder's identity and its declared preprocessing.

    `fingerprint` changes whenever a vector could change: this encoder must not search a collection
    made with another fingerprint. `image_fingerprint` changes whenever a picture's vector could:
    encoders with the same one differ only in their text side. `full_dimension` is what the graphs
    give; the first `dimension` numbers of it are kept (A. Kusupati et al. (2022), Matryoshka
    Representation Learning). `calibration` is read by `scenesearch.search.relevance`.
    """

    name: str
    fingerprint: str
    dimension: int
    full_dimension: int
    image: ImageInput
    text: TextInput
    image_fingerprint: str = ""
    folder: Path | None = None
    parts: tuple[str, ...] = ()
    scale: Scale | None = None
    calibration: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)


class Encoder(Protocol):
    """An image tower and a text tower. Embeddings are float32, of unit length, `(n, dimension)`."""

    @property
    def info(self) -> EncoderInfo: ...

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """An upright RGB picture as input of the image tower, `info.image.shape`; thread-safe."""

    def encode_pixels(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Embeddings of preprocessed pictures, `(n, *info.image.shape)` -> `(n, dimension)`."""

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embeddings of upright RGB pictures, `(n, dimension)`."""

    def encode_texts(self, texts: Sequence[str], *, documents: bool = False) -> NDArray[np.float32]:
        """Embeddings of texts, `(n, dimension)`; a text longer than the context is the mean of its
        parts. `documents`: texts that describe pictures, not requests; few encoders tell them
        apart."""

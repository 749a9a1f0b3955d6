"""How pictures and texts become the input of an encoder's towers, as its encoder.json declares."""

import html
import math
import string
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenesearch.encoder.base import ImageInput, TextInput

_SCALE_STEP = 1e-5
_LONG = 16  # pictures up to this many times as long as the crop are resized whole

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


# --- pictures --------------------------------------------------------------------------------


def to_pixels(image: Image.Image, declared: ImageInput) -> NDArray[Any]:
    """An upright RGB picture as input of the image tower, of `declared.shape`."""
    resized = resize_whole(image, declared)
    if declared.pixels == "uint8_nhwc":
        return np.asarray(resized)
    # (x / 255 - mean) / std as one multiply and one add on the uint8 picture.
    std = np.asarray(declared.std, np.float32)
    scale = (1 / (255 * std)).astype(np.float32)
    shift = (-np.asarray(declared.mean, np.float32) / std).astype(np.float32)
    if declared.resize == "patches":
        return as_input(np.asarray(resized) * scale + shift, declared)
    pixels = np.empty(declared.shape, np.float32)
    for channel in range(3):
        pixels[channel] = np.asarray(resized.getchannel(channel))
        pixels[channel] *= scale[channel]
        pixels[channel] += shift[channel]
    return pixels


def as_input(picture: NDArray[Any], declared: ImageInput) -> NDArray[Any]:
    """A resized and scaled picture, (height, width, 3), in the layout of the input."""
    if declared.resize == "patches":
        return _packed(picture, declared)
    return picture if declared.pixels == "uint8_nhwc" else np.moveaxis(picture, 2, 0)


def as_picture(pixels: NDArray[Any], declared: ImageInput) -> NDArray[Any]:
    """The picture in an input, (height, width, 3): what `as_input` was given."""
    if declared.patch_size is not None:
        side = declared.patch_size
        rows, columns = (int(count) for count in pixels[0, :2])
        patches = pixels[1 : 1 + rows * columns].reshape(rows, columns, side, side, 3)
        return patches.swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    return pixels if declared.pixels == "uint8_nhwc" else np.moveaxis(pixels, 0, 2)


def _packed(picture: NDArray[Any], declared: ImageInput) -> NDArray[np.float32]:
    side = declared.patch_size or 1
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    patches = picture.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    packed = np.zeros(declared.shape, np.float32)
    packed[0, :2] = rows, columns
    packed[1 : 1 + rows * columns] = patches.reshape(rows * columns, -1)
    return packed


def noise_pixels(declared: ImageInput, count: int) -> NDArray[Any]:
    """Preprocessed pictures of noise, the same each time, to probe or time a tower with."""
    noise = np.random.default_rng(0).integers(0, 256, (count, *declared.size, 3), np.uint8)
    return np.stack([to_pixels(Image.fromarray(picture), declared) for picture in noise])


def resize_whole(image: Image.Image, declared: ImageInput) -> Image.Image:
    """The picture in the size of the input."""
    height, width = declared.size
    match declared.resize:
        case "squash":
            return image.resize((width, height), RESAMPLING[declared.interpolation])
        case "longest":
            return _fit_inside(image, declared)
        case "shortest_edge_crop":
            return _fit_and_crop(image, declared)
        case "patches":
            height, width = size_in_patches(image.height, image.width, declared)
            return image.resize((width, height), RESAMPLING[declared.interpolation])


def size_in_patches(height: float, width: float, declared: ImageInput) -> tuple[int, int]:
    """(height, width) in whole patches: the largest of this shape with at most `max_patches`.

    Source: L. Beyer et al. (2023), FlexiViT, and M. Dehghani et al. (2023), Patch n' Pack, as
    SigLIP 2 NaFlex uses them. The scale is found by halving an interval to the width that
    transformers stops at, because where it stops decides the number of patches.
    """
    side, most = declared.patch_size or 1, declared.max_patches or 1

    def fitted(scale: float, length: float) -> int:
        return max(side, math.ceil(length * scale / side) * side)

    least, greatest = _SCALE_STEP / 10, 100.0
    while greatest - least >= _SCALE_STEP:
        scale = (least + greatest) / 2
        if fitted(scale, height) // side * (fitted(scale, width) // side) <= most:
            least = scale
        else:
            greatest = scale
    return fitted(least, height), fitted(least, width)


def _fit_inside(image: Image.Image, declared: ImageInput) -> Image.Image:
    """The whole picture in the middle, the rest filled, as open_clip does it."""
    height, width = declared.size
    ratio = max(image.height / height, image.width / width)
    scaled = (max(1, round(image.width / ratio)), max(1, round(image.height / ratio)))
    canvas = Image.new("RGB", (width, height), declared.fill)
    resized = image.resize(scaled, RESAMPLING[declared.interpolation])
    canvas.paste(resized, ((width - scaled[0]) // 2, (height - scaled[1]) // 2))
    return canvas


def _fit_and_crop(image: Image.Image, declared: ImageInput) -> Image.Image:
    """The shorter side fitted and the middle cut out, as CLIP's own preprocessing does it."""
    height, width = declared.size
    fitted_height, fitted_width = height, width
    if declared.edge is not None:  # the shape of the crop, in another size
        fitted_height = declared.edge * height // min(height, width)
        fitted_width = declared.edge * width // min(height, width)
    image = _middle(image, fitted_width / fitted_height)
    # The long side is rounded down, as in transformers: one more pixel would shift what the tower
    # sees.
    scaled = (
        max(fitted_width, image.width * fitted_height // image.height),
        max(fitted_height, image.height * fitted_width // image.width),
    )
    spare = (scaled[0] - width, scaled[1] - height)
    if declared.crop_offset == "floor":
        left, top = spare[0] // 2, spare[1] // 2
    else:
        left, top = round(spare[0] / 2), round(spare[1] / 2)
    resized = image.resize(scaled, RESAMPLING[declared.interpolation])
    return resized.crop((left, top, left + width, top + height))


def _middle(image: Image.Image, shape: float) -> Image.Image:
    """The middle of a picture that is many times as long as the crop; the crop is cut from it.

    Otherwise a panorama of 200,000 by 40 pixels would first become 224 high and 1.1 million long.
    """
    width, height = image.size
    wanted = (
        min(width, math.ceil(_LONG * height * shape)),
        min(height, math.ceil(_LONG * width / shape)),
    )
    if wanted == image.size:
        return image
    left, top = (width - wanted[0]) // 2, (height - wanted[1]) // 2
    return image.crop((left, top, left + wanted[0], top + wanted[1]))


# --- texts -----------------------------------------------------------------------------------


def clean_text(text: str, declared: TextInput) -> str:
    """The text as the tokenizer takes it, cleaned in the order in which open_clip does it."""
    if declared.fix:
        import ftfy  # takes 20 ms

        text = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
    if declared.canonicalize:
        text = text.replace("_", " ").translate(_WITHOUT_PUNCTUATION)
        return " ".join(text.lower().split())
    return text.lower() if declared.lowercase else text

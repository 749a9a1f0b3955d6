"""Any decoded picture as 8-bit RGB in sRGB, which encoders were trained on and screens expect."""

import io
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

# From here on a picture is converted in pieces; smaller ones as a whole, which costs up to 16
# bytes a pixel beside the picture.
LARGE_PIXELS: Final = 8_000_000
_TILE_SIDE: Final = 1024

# Of others (numbers of a palette, transparency, 16 bits) what is seen is averaged: 8 bits of
# colour times transparency would be too coarse.
_CAN_BE_AVERAGED: Final = ("L", "RGB", "CMYK", "YCbCr", "LAB")

# Profiles of strangers go to a C library; none of a camera or a printer is larger.
_MAX_PROFILE_BYTES = 8 * 1024 * 1024


def to_srgb(image: Image.Image, reduce: int = 1) -> Image.Image:
    """RGB by the picture's own colour profile; transparency becomes white, 16 bits are scaled.

    `reduce` makes both sides so many times smaller (rounded) by averaging. A large picture is
    converted piece by piece, so that beside it and the result nothing of its size is in memory.
    """
    image.load()
    if reduce == 1 and image.width * image.height <= LARGE_PIXELS:
        return _converted(image, _range(image))
    if reduce == 1 and image.mode == "RGB" and _is_srgb(image):
        return image
    limits = _range(image)
    result = Image.new("RGB", (-(-image.width // reduce), -(-image.height // reduce)))
    step = max(reduce, _TILE_SIDE // reduce * reduce)
    for box in _tiles(image.size, step):
        tile = image.crop(box)
        if reduce > 1 and image.mode in _CAN_BE_AVERAGED and "transparency" not in image.info:
            tile = _converted(_reduced(tile, reduce), limits)
        else:
            tile = _reduced(_converted(tile, limits), reduce)
        result.paste(tile, (box[0] // reduce, box[1] // reduce))
    # The last column and row stand for fewer pixels than the others.
    exact = (image.width / reduce, image.height / reduce)
    if exact == result.size:
        return result
    size = (max(1, round(exact[0])), max(1, round(exact[1])))
    return result.resize(size, Image.Resampling.BICUBIC, box=(0, 0, *exact))


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    return image if factor == 1 else image.reduce(factor)


def _tiles(size: tuple[int, int], side: int) -> Iterator[tuple[int, int, int, int]]:
    for top in range(0, size[1], side):
        for left in range(0, size[0], side):
            yield left, top, min(left + side, size[0]), min(top + side, size[1])


def _is_srgb(image: Image.Image) -> bool:
    return "icc_profile" not in image.info and "transparency" not in image.info


def _converted(image: Image.Image, limits: tuple[float, float] | None) -> Image.Image:
    """The whole of it at once; `limits` are the darkest and brightest of the picture around it."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    elif limits is not None:
        image = _scaled(image, *limits)
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        if image.mode == "La":
            image = image.convert("LA")
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        image = Image.alpha_composite(white, layer).convert("RGB")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB" if image.mode == "P" else "L")
    transform = None
    if isinstance(profile, bytes) and len(profile) <= _MAX_PROFILE_BYTES:
        transform = _transform(profile, image.mode)
    elif image.mode == "LAB":
        transform = _transform(b"", "LAB")
    if transform is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    converted = ImageCms.applyTransform(image, transform)
    return image.convert("RGB") if converted is None else converted


@lru_cache(maxsize=8)  # each keeps its profile
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; None where it is sRGB already, damaged or of other colours."""
    try:
        if profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            name = ImageCms.getProfileDescription(source)
            if mode == "RGB" and "srgb" in name.lower():
                return None
        else:
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return ImageCms.buildTransform(
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            # Without its cache of the last pixel a transform may be used by several threads.
            flags=ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _range(image: Image.Image) -> tuple[float, float] | None:
    """The least and the greatest of a picture of whole or real numbers; None for other modes."""
    if image.mode not in ("I", "F"):
        return None
    low, high = math.inf, -math.inf
    for box in _tiles(image.size, _TILE_SIDE):
        values = _numbers(image.crop(box))
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high


def _numbers(image: Image.Image) -> NDArray[np.float32]:
    return np.nan_to_num(np.asarray(image, np.float32))


def _scaled(image: Image.Image, low: float, high: float) -> Image.Image:
    """Whole or real numbers as 8-bit grey: as they are when they fit, real ones of 0 to 1 as
    shares of white, others stretched from black to white."""
    values = _numbers(image)
    if image.mode == "F" and low >= 0 and high <= 1:
        values = values * 255
    elif low < 0 or high > 255:
        values = (values - low) / (high - low or 1) * 255
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8), "L")

"""Converts a decoded picture to 8-bit sRGB, which encoders were trained on and screens expect."""

import io
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from PIL import Image, ImageCms

from scenesearch.pictures.grey import Levels, levels_of

# Larger pictures are converted in tiles. Smaller ones are converted as a whole, which takes up to
# 16 bytes a pixel besides the picture.
LARGE_PIXELS: Final = 8_000_000
_TILE_SIDE: Final = 1024

# Modes that can be averaged before they are converted. Palette numbers, transparency and 16 bits
# cannot: 8 bits of colour times transparency would be too coarse.
_CAN_BE_AVERAGED: Final = ("L", "RGB", "CMYK", "YCbCr", "LAB")

# Profiles from strangers go to a C library; no camera or printer has a larger one.
_MAX_PROFILE_BYTES = 8 * 1024 * 1024


def to_srgb(image: Image.Image, reduce: int = 1) -> Image.Image:
    """The picture in sRGB, using its colour profile; transparency becomes white, grey of
    more than 8 bits is scaled.

    Both sides become `reduce` times smaller (rounded), by averaging. A large picture is converted
    in tiles, so that besides it and the result nothing of its size is in memory.
    """
    image.load()
    if reduce == 1 and image.width * image.height <= LARGE_PIXELS:
        return _converted(image, levels_of(image))
    if (
        reduce == 1
        and image.mode == "RGB"
        and not {"icc_profile", "transparency"} & set(image.info)
    ):
        return image
    levels = levels_of(image)
    result = Image.new("RGB", (-(-image.width // reduce), -(-image.height // reduce)))
    step = max(reduce, _TILE_SIDE // reduce * reduce)
    for box in _tiles(image.size, step):
        tile = image.crop(box)
        if reduce > 1 and image.mode in _CAN_BE_AVERAGED and "transparency" not in image.info:
            tile = _converted(_reduced(tile, reduce), levels)
        else:
            tile = _reduced(_converted(tile, levels), reduce)
        result.paste(tile, (box[0] // reduce, box[1] // reduce))
    # The last column and row average fewer pixels than the others.
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


def _converted(image: Image.Image, levels: Levels | None) -> Image.Image:
    """The image in RGB; `levels` are those of the whole picture, where it is grey with more than 8
    bits."""
    profile = image.info.get("icc_profile")
    if levels is not None:
        image = levels.to_8_bits(image)
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


@lru_cache(maxsize=8)  # each entry keeps its profile
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; None if it is sRGB already, damaged, or for another mode."""
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
            # Without its cache of the last pixel a transform is thread-safe.
            flags=ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None

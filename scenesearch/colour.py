"""Any decoded picture as 8-bit RGB in sRGB, which encoders were trained on and screens expect."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# Profiles of strangers go to a C library; none of a camera or a printer is larger.
_MAX_PROFILE_BYTES = 8 * 1024 * 1024


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB by the picture's own colour profile; transparency becomes white, 16 bits are scaled."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode in ("I", "F"):
        image = _scaled(image)
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


@lru_cache(maxsize=64)
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


def _scaled(image: Image.Image) -> Image.Image:
    """Whole or real numbers as 8-bit grey: as they are when they fit, real ones of 0 to 1 as
    shares of white, others stretched from black to white."""
    values = np.nan_to_num(np.asarray(image, np.float32))
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and low >= 0 and high <= 1:
        values = values * 255
    elif low < 0 or high > 255:
        values = (values - low) / (high - low or 1) * 255
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8), "L")

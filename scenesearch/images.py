"""Opens pictures from strangers: checked, upright, RGB, with what the file says of itself."""

import hashlib
import io
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pillow_heif
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from scenesearch.errors import SceneSearchError
from scenesearch.formats import FORMATS
from scenesearch.library import GeoPoint
from scenesearch.originals import LocalFile, Original, OriginalError

THUMBNAIL_SIDE = 320

Orientation = Literal["landscape", "portrait", "square"]


class ImageError(SceneSearchError):
    """The picture cannot be used; the message is the reason, without the path.

    `transient` says that trying again later may help.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


@dataclass(frozen=True)
class ExifData:
    """What the camera wrote; None where it did not, or wrote nonsense.

    `taken` carries a time zone only when the camera recorded one.
    """

    taken: datetime | None = None
    camera: str | None = None
    lens: str | None = None
    location: GeoPoint | None = None


@dataclass(frozen=True)
class OpenedImage:
    """A decoded picture: upright RGB, perhaps reduced, with its full size as displayed."""

    image: Image.Image
    width: int
    height: int
    sha256: str
    size_bytes: int
    exif: ExifData

    @property
    def orientation(self) -> Orientation:
        """By the displayed shape; 'square' within two per cent."""
        if abs(self.width - self.height) <= 0.02 * max(self.width, self.height):
            return "square"
        return "landscape" if self.width > self.height else "portrait"


def open_image(
    original: Path | Original, *, reduce_to: int | None = None, max_megapixels: float = 200
) -> OpenedImage:
    """Read, check and decode a picture; raises ImageError with the reason.

    With `reduce_to`, a JPEG may be decoded at a half, a quarter or an eighth of its size, with
    both sides still at least that many pixels: four times faster at 12 megapixels.
    """
    try:
        data = (LocalFile(original) if isinstance(original, Path) else original).read()
    except OriginalError as error:
        raise ImageError(str(error), transient=error.transient) from None
    return decode_image(data, reduce_to=reduce_to, max_megapixels=max_megapixels)


def decode_image(
    data: bytes, *, reduce_to: int | None = None, max_megapixels: float = 200
) -> OpenedImage:
    """The same of a file's bytes, as a visitor sends them."""
    # Pillow's own bomb check warns or raises at fixed sizes; ours follows the setting.
    _register_heif()
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            warnings.simplefilter("ignore")
            megapixels = image.width * image.height / 1e6
            if megapixels > max_megapixels:
                raise ImageError(
                    f"{megapixels:.0f} megapixels, the limit is {max_megapixels:g} "
                    "(SCENESEARCH_MAX_MEGAPIXELS)"
                )
            size = image.size
            exif = image.getexif()
            if reduce_to is not None and image.format == "JPEG":
                image.draft("RGB", (reduce_to, reduce_to))
            image.load()
            upright = _to_rgb(ImageOps.exif_transpose(image))
            if exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
                size = (size[1], size[0])
            return OpenedImage(
                image=upright,
                width=size[0],
                height=size[1],
                sha256=hashlib.sha256(data).hexdigest(),
                size_bytes=len(data),
                exif=_read_exif(exif),
            )
    except UnidentifiedImageError:
        raise ImageError("not a picture, or of an unknown format") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as error:
        # What Pillow's decoders raise on damaged files; anything else is a bug and surfaces.
        raise ImageError(f"damaged: {_first_line(error)}") from None


def thumbnail_path(thumbnails_dir: Path, sha256: str) -> Path:
    """Where the thumbnail of a picture with this content lies, whether or not it is there."""
    return thumbnails_dir / sha256[:2] / f"{sha256}.jpg"


def write_thumbnail(image: Image.Image, path: Path) -> None:
    """Save a JPEG of at most 320 pixels a side, atomically; an upright RGB picture in."""
    thumbnail = image.copy() if max(image.size) <= THUMBNAIL_SIDE else image
    if thumbnail is image:
        scale = THUMBNAIL_SIDE / max(image.size)
        thumbnail = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.BILINEAR,  # reducing, it looks the same and takes two thirds
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(path) as file:
        thumbnail.save(file, "JPEG", quality=82)


@contextmanager
def atomic_writer(path: Path) -> Iterator[io.BufferedWriter]:
    """A binary file that appears under its name only when the block ends without an exception."""
    # Not tempfile: its files are for their owner alone, these are for whoever may read the folder.
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB; transparency becomes white, 16-bit grey is scaled instead of clipped."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _read_exif(exif: Image.Exif) -> ExifData:
    """The parts that searches use; each is dropped on its own when it is nonsense."""
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    except (ValueError, TypeError, KeyError, OSError, SyntaxError):
        details, gps = {}, {}
    return ExifData(
        taken=_taken(details, exif),
        camera=_camera(exif),
        lens=_text(details.get(ExifTags.Base.LensModel)),
        location=_location(gps),
    )


def _taken(details: dict[int, Any], exif: Image.Exif) -> datetime | None:
    text = _text(details.get(ExifTags.Base.DateTimeOriginal)) or _text(
        exif.get(ExifTags.Base.DateTime)
    )
    offset = _text(details.get(ExifTags.Base.OffsetTimeOriginal))
    if text is None:
        return None
    try:
        moment = datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    if offset is not None:
        try:
            hours, minutes = offset[1:].split(":")
            sign = {"+": 1, "-": -1}[offset[0]]
            zone = timezone(sign * timedelta(hours=int(hours), minutes=int(minutes)))
            return moment.replace(tzinfo=zone)
        except (ValueError, KeyError):
            return moment
    return moment


def _camera(exif: Image.Exif) -> str | None:
    make, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    if make and model and not model.lower().startswith(make.split()[0].lower()):
        return f"{make} {model}"
    return model or make


def _location(gps: dict[int, Any]) -> GeoPoint | None:
    try:
        latitude = _degrees(gps[ExifTags.GPS.GPSLatitude])
        longitude = _degrees(gps[ExifTags.GPS.GPSLongitude])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if _text(gps.get(ExifTags.GPS.GPSLatitudeRef)) == "S":
        latitude = -latitude
    if _text(gps.get(ExifTags.GPS.GPSLongitudeRef)) == "W":
        longitude = -longitude
    # Cameras without a fix write 0, 0; NaN fails both comparisons.
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180) or latitude == longitude == 0:
        return None
    return GeoPoint(latitude, longitude)


def _degrees(parts: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600


def _text(value: Any) -> str | None:
    """Printable text of at most 200 characters, or None."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    printable = "".join(char for char in value if char.isprintable()).strip()
    return printable[:200] or None


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _register_heif() -> None:
    """HEIC/HEIF through Pillow; cheap to repeat."""
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener()

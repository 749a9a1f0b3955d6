"""No file holds up an ingest: a fuzz with a clock, of processor time.

Each kind makes its files in a process of its own, from a fixed seed, and has each prepared by what
ingest prepares pictures with. A file that a decoder would never end with costs that process, and
the test says which it was. What is measured is the processor time of all threads, beside that of
JPEG in the same run, so that a busy or slow machine changes little.
"""

import functools
import io
import math
import multiprocessing
import random
import re
import resource
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from ingest.picture_reader import Candidate, Changed, DecodedPicture, PictureReader
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.pictures.decoding_cost import weighed_megapixels
from scenesearch.pictures.opening import decode_image
from scenesearch.pictures.originals import LocalFile
from scenesearch.pictures.records import ImageRecord

pytestmark = pytest.mark.slow

# The largest picture, in megapixels of JPEG: two seconds where one takes ten milliseconds.
LARGEST = 200
# Machines differ in which decoder is the faster: what counts as much may cost this many
# times as much.
ROUGHLY = 2
ENDED_AFTER_S = 30
SEED = 20261128

Files = Iterator[tuple[str, bytes]]


# --- what files are made of ----------------------------------------------------------------------


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int, channels: int = 3) -> Image.Image:
    rng = np.random.default_rng(SEED)
    return Image.fromarray(rng.integers(0, 255, (height, width, channels), dtype=np.uint8))


def scene(width: int, height: int) -> Image.Image:
    """Smooth with some grain, as photographs are."""
    small = noise(width // 40, height // 40).resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(small, noise(width, height), 0.05)


SMALL = Image.new("RGB", (60, 40), (200, 40, 40))


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def behind_start(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def resized(jpeg: bytes, side: int) -> bytes:
    """The same data, said to be of so many pixels a side."""
    frame = next(re.finditer(rb"\xff[\xc0-\xc2]\0", jpeg)).start()
    return jpeg[: frame + 5] + struct.pack(">HH", side, side) + jpeg[frame + 9 :]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    before: bytes = b"",
    after: bytes = b"",
    *,
    side: int = 8,
    depth: int = 8,
    colour: int = 2,
    rows: int | None = None,
) -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = b"\0" * (1 + (side * channels * depth + 7) // 8)
    packer = zlib.compressobj(1)
    pixels = b"".join(packer.compress(row) for _ in range(rows or side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), before, chunk(b"IDAT", pixels), after, chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(entries: list[tuple[int, int, int, int]], extra: bytes = b"", following: int = 0) -> bytes:
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", following) + extra


def strips(width: int, height: int, count: int, body: bytes, compression: int = 1) -> bytes:
    """Grey; strips of `body` each, all at one place."""
    at = 8 + 2 + 12 * 9 + 4
    offsets = at + len(body)
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression)]
    entries += [(262, 3, 1, 1), (273, 4, count, offsets), (277, 3, 1, 1)]
    entries += [(278, 4, 1, max(1, height // count)), (279, 4, count, offsets + 4 * count)]
    return tiff(
        entries, body + struct.pack("<I", at) * count + struct.pack("<I", len(body)) * count
    )


def gif_head(side: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"


def gif_frame(side: int) -> bytes:
    return b"\x2c" + struct.pack("<HHHH", 0, 0, side, side) + b"\x00\x02\x02\x44\x01\x00"


XMP_HEAD = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/">'
)
XMP_TAIL = b"</rdf:RDF></x:xmpmeta>"
XMP_ROOM = 4 * 1024 * 1024 - 400


def xmp_packets() -> Files:
    """Packets of nearly 4 MiB."""

    def filled(unit: bytes, close: bytes = b"") -> bytes:
        count = XMP_ROOM // (len(unit) + len(close))
        return unit * count + close * count

    def of_title(text: bytes) -> bytes:
        return b"<rdf:Description><dc:title>" + text + b"</dc:title></rdf:Description>"

    names = range(300_000)
    for name, body in {
        "Descriptions in one another": filled(b"<rdf:Description>", b"</rdf:Description>"),
        "items in one another": b"<rdf:Description><dc:subject>"
        + filled(b"<rdf:li>", b"</rdf:li>")[: XMP_ROOM - 99],
        "empty elements": b"<rdf:Description>" + filled(b"<a/>") + b"</rdf:Description>",
        "items": b"<rdf:Description><dc:subject>"
        + filled(b"<rdf:li>x</rdf:li>")
        + b"</dc:subject></rdf:Description>",
        "attributes": b"<rdf:Description "
        + b" ".join(b'dc:a%d=""' % number for number in names)
        + b"/>",
        "namespaces": b"<rdf:Description "
        + b" ".join(b'xmlns:a%d="u"' % number for number in names[:200_000])
        + b"/>",
        "line ends": of_title(filled(b"\r")),
        "entities": of_title(filled(b"&amp;")),
        "comments": of_title(filled(b"x<!---->")),
        "sections": of_title(filled(b"<![CDATA[]]>")),
        "instructions": filled(b"<?a?>"),
    }.items():
        yield name, XMP_HEAD + body + XMP_TAIL
    attributes = b"".join(b'<!ATTLIST a b%d CDATA "">' % number for number in names[:140_000])
    yield "declared attributes", b"<!DOCTYPE a [" + attributes + b"]><a/>"
    yield "an unclosed declaration", b"<!DOCTYPE a [<!ELEMENT a (" + b"(" * 4_000_000


# --- the kinds -----------------------------------------------------------------------------------


def xmp_embedded() -> Files:
    for name, packet in xmp_packets():
        yield f"TIFF with {name}", saved(SMALL, "TIFF", tiffinfo={700: packet})
    deep = XMP_HEAD + b"<rdf:Description>" * 20_000 + b"</rdf:Description>" * 20_000 + XMP_TAIL
    yield "WebP with Descriptions in one another", saved(SMALL, "WEBP", xmp=deep)
    info = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + deep)
    yield "PNG with Descriptions in one another", png(info)
    yield "HEIC with Descriptions in one another", saved(SMALL, "HEIF", xmp=deep)


def iptc() -> Files:
    record = struct.pack(">BBBH", 0x1C, 2, 25, 1) + b"x"
    resource_ = b"8BIM" + struct.pack(">HHI", 0x0404, 0, 10_000 * len(record))
    jpeg = saved(SMALL, "JPEG")
    block = segment(0xED, b"Photoshop 3.0\0" + resource_ + record * 10_000)
    yield "10,000 tags in a JPEG", behind_start(jpeg, block)
    yield "400 blocks in a JPEG", behind_start(jpeg, *[block] * 400)
    yield "3 million tags in a TIFF", saved(SMALL, "TIFF", tiffinfo={33723: record * 3_000_000})
    blocks = b"8BIM" + struct.pack(">HHI", 7, 0, 0)
    yield "a million blocks in a TIFF", saved(SMALL, "TIFF", tiffinfo={34377: blocks * 1_000_000})


def exif() -> Files:
    jpeg = saved(SMALL, "JPEG")

    def with_exif(block: bytes) -> bytes:
        return behind_start(jpeg, segment(0xE1, b"Exif\0\0" + block))

    loop = [(0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8), (0x927C, 4, 1, 8)]
    yield "directories that lead to themselves", with_exif(tiff(loop, following=8))
    yield "5,000 tags", with_exif(tiff([(number, 4, 1, 1) for number in range(1, 5000)]))
    yield "huge counts", with_exif(tiff([(n, 5, 0x1FFFFFFF, 8) for n in range(1, 4000)]))
    yield "tags over one another", with_exif(tiff([(n, 5, 7000, 8) for n in range(1, 4000)]))
    yield "3,000 parts", behind_start(jpeg, *[segment(0xE1, b"Exif\0\0" + b"z" * 30_000)] * 3000)
    for name, kind, count in (("bytes", 1, 3_000_000), ("rationals", 5, 400_000)):
        inner = [(number, kind, count, 8) for number in range(1, 200)]
        yield (
            f"a PNG's tags of {count:,} {name}",
            png(chunk(b"eXIf", tiff(inner, b"\1" * 3_500_000))),
        )
        one = tiff([(0x8769, 4, 1, 26), *inner[:1]], b"\1" * 40_000_000)
        yield f"a WebP's tags of many {name}", saved(SMALL, "WEBP", exif=one)
    values = [(33434, 5, 5_000_000, 8), (34855, 3, 20_000_000, 8)]
    big = strips(60, 40, 1, b"\0" * 2400)
    yield "a TIFF of a million numbers", big[:8] + tiff(values, b"\1" * 41_000_000)[8:]


def icc() -> Files:
    yield (
        "a profile that unpacks to 20 MB",
        png(chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 20_000_000))),
    )
    from PIL import ImageCms

    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    def profile(curve: int) -> bytes:
        tone = b"curv\0\0\0\0" + struct.pack(">I", curve) + bytes(2 * curve)
        xyz = b"XYZ \0\0\0\0" + struct.pack(">iii", 30_000, 40_000, 20_000)
        tags = [(name, xyz) for name in (b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ")]
        tags += [(name, tone) for name in (b"rTRC", b"gTRC", b"bTRC")]
        table, body = struct.pack(">I", len(tags)), b""
        for name, data in tags:
            table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(data))
            body += data + bytes(-len(data) % 4)
        whole = plain[:128] + table + body
        return struct.pack(">I", len(whole)) + whole[4:]

    for curve in (2, 4096, 65_535):
        yield (
            f"curves of {curve} points",
            saved(scene(800, 600), "TIFF", icc_profile=profile(curve)),
        )
    yield (
        "4,000 parts",
        behind_start(
            saved(SMALL, "JPEG"),
            *[
                segment(0xE2, b"ICC_PROFILE\0" + bytes([n % 255 + 1, 255]) + bytes(60_000))
                for n in range(4000)
            ],
        ),
    )


def jpeg() -> Files:
    small = saved(SMALL, "JPEG")
    yield "a million comments", behind_start(small, segment(0xFE, b"") * 1_000_000)
    yield "30 MB of filling", behind_start(small, b"\xff" * 30_000_000)
    yield "30 MB of starts", b"\xff\xd8\xff" * 10_000_000
    yield "30 MB of junk", behind_start(small, bytes(30_000_000))
    yield (
        "tables without end",
        behind_start(small, *[segment(0xDB, (b"\0" + bytes(range(1, 65))) * 1000)] * 2000),
    )
    yield "200 MB of zeros", b"\xff\xd8" + bytes(200_000_000)
    yield "zeros for pixels", small[:-20] + bytes(200_000_000)
    yield "196 megapixels of nothing", resized(small, 14_000)
    yield "196 megapixels of zeros", resized(small, 14_000)[:-20] + bytes(60_000_000)
    yield "196 megapixels", saved(Image.new("RGB", (14_000, 14_000)), "JPEG")
    yield "20 megapixels of noise", saved(noise(5000, 4000), "JPEG", quality=95)
    progressive = saved(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    for side, scans in ((14_000, 1000), (14_000, 9), (4000, 90), (2000, 5000)):
        yield (
            f"{scans} scans over {side} pixels a side",
            (resized(progressive, side)[:-2] + scan * scans + b"\xff\xd9"),
        )
    yield (
        "20 megapixels of noise, progressive",
        saved(noise(5000, 4000), "JPEG", quality=90, progressive=True),
    )
    grainy = saved(noise(3000, 2000), "JPEG", quality=50, progressive=True)
    scan = grainy[grainy.rindex(b"\xff\xda") : -2]
    yield "90 scans of noise", grainy[:-2] + scan * 90 + b"\xff\xd9"
    yield (
        "two pictures in one file",
        saved(scene(2000, 1500), "MPO", save_all=True, append_images=[scene(2000, 1500)] * 5),
    )


def png_chunks() -> Files:
    yield "a million chunks", png(chunk(b"abCd", b"") * 1_000_000)
    yield "a million chunks behind", png(after=chunk(b"abCd", b"") * 1_000_000)
    yield "a million empty parts of pixels", png(chunk(b"IDAT", b"") * 1_000_000)
    packed = zlib.compress(bytes(900_000))
    for kind, head in ((b"zTXt", b"\0\0"), (b"iTXt", b"\0\1\0\0\0")):
        texts = (chunk(kind, b"k%d" % number + head + packed) for number in range(2000))
        yield f"{kind.decode()} bombs", png(b"".join(texts))
    texts = (chunk(b"tEXt", b"k%d\0v" % number) for number in range(500_000))
    yield "half a million texts", png(after=b"".join(texts))
    control = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, 0, 0))
    frame = chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(bytes(200)))
    start = chunk(b"acTL", struct.pack(">II", 100_000, 0)) + control
    yield "an animation of 100,000 frames", png(start, (control + frame) * 100_000)


def png_pixels() -> Files:
    yield "196 megapixels of RGB", png(side=14_000)
    yield "196 megapixels of 16-bit grey", png(side=14_000, depth=16, colour=0)
    yield "196 megapixels of one bit", png(side=14_000, depth=1, colour=0)
    yield "196 megapixels of 16-bit RGBA", png(side=14_000, depth=16, colour=6, rows=9)
    yield "20 megapixels of noise", saved(noise(5000, 4000), "PNG", compress_level=1)


def gif() -> Files:
    yield "half a million frames", gif_head(10) + gif_frame(1) * 500_000 + b";"
    yield "frames on a huge canvas", gif_head(14_000) + gif_frame(1) * 1000 + b";"
    yield (
        "5 million extensions",
        gif_head(10) + b"\x21\xfe\x01x\0" * 5_000_000 + gif_frame(1) + b";",
    )
    yield (
        "blocks of a byte",
        (gif_head(10) + b"\x21\xff" + b"\1x" * 20_000_000 + b"\0" + gif_frame(1) + b";"),
    )
    yield "50 MB of junk", gif_head(10) + b"z" * 50_000_000
    body = (b"\xff" + b"\x24\x49\x92" * 85) * 400_000
    yield "100 MB of clear codes", gif_head(14_000) + gif_frame(14_000)[:11] + body + b"\0;"
    yield "10 megapixels of noise", saved(noise(4000, 2500), "GIF")


def tiff_files() -> Files:
    page = Image.new("1", (8, 8))
    yield "2,000 pages", saved(page, "TIFF", save_all=True, append_images=[page] * 1999)
    yield "a page that follows itself", tiff([(256, 4, 1, 8), (257, 4, 1, 8)], following=8)
    yield "a million strips", strips(200, 1_000_000, 1_000_000, bytes(200))
    yield "a million packed strips", strips(200, 1_000_000, 1_000_000, zlib.compress(bytes(200)), 8)
    yield "90,000 strips", strips(200, 90_000, 90_000, bytes(200))
    yield "3 million strips of a small picture", strips(200, 200, 3_000_000, bytes(200))
    yield "a pixel wide", strips(1, 10_000_000, 10_000_000, b"\0")
    for name in ("tiff_lzw", "tiff_adobe_deflate"):
        large = Image.new("RGB", (14_000, 14_000))
        yield f"196 megapixels by {name}", saved(large, "TIFF", compression=name)
    yield "faxed noise", saved(noise(6000, 6000).convert("1"), "TIFF", compression="group4")
    yield (
        "30 megapixels of floats",
        saved(Image.new("F", (6000, 5000)), "TIFF", compression="tiff_lzw"),
    )


def plain_formats() -> Files:
    yield "PNM: a comment of 50 MB", b"P3\n#" + b"#" * 50_000_000 + b"\n10 10 255\n" + b"1 " * 300
    yield "PNM: 50 MB of blanks", b"P6" + b" " * 50_000_000 + b"10 10 255\n" + bytes(300)
    yield "PNM: digits", b"P3\n1000 600 255\n" + b"1 " * 1_800_000
    yield "PNM: 36 million digits", b"P3\n4000 3000 255\n" + b"1 " * 36_000_000
    yield "PNM: comments between digits", b"P3\n9 9 255\n" + b"#x\n" * 1_300_000 + b"1 " * 243
    yield "PNM: 16 bits", b"P6\n6000 5000 65535\n" + bytes(180_000_000)
    yield "PNM: a megapixel of 16 bits", b"P6\n1000 1000 65535\n" + bytes(6_000_000)
    yield "PNM: scaled", b"P6\n6000 5000 100\n" + bytes(90_000_000)

    def bmp(side: int, runs: bytes) -> bytes:
        start = 54 + 1024
        head = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start)
        info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
        return head + info + bytes(1024) + runs

    yield "BMP: 50 MB of line ends", bmp(1000, b"\0\0" * 25_000_000)
    yield "BMP: runs of a pixel", bmp(1000, b"\1\1" * 1_000_000)
    yield "BMP: line ends over 196 megapixels", bmp(14_000, b"\0\0" * 14_000)
    yield "BMP: jumps", bmp(14_000, b"\0\2\1\0" * 10_000_000)


def modern_formats() -> Files:
    frames = [Image.new("RGB", (100, 100), (n % 256, 0, 0)) for n in range(500)]
    yield (
        "WebP: 500 frames",
        saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
    )
    picture = saved(Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    size = b"\x0f\0\0\x0f\0\0"
    frame = b"ANMF" + struct.pack("<I", 16 + len(picture)) + bytes(6) + size + b"\1\0\0\0" + picture
    for name, flags, body in (
        ("300,000 frames", 2, b"ANIM" + struct.pack("<I", 6) + bytes(6) + frame * 300_000),
        ("3 million chunks", 0, b"abcd\0\0\0\0" * 3_000_000 + picture),
    ):
        body = b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + size + body
        yield f"WebP: {name}", b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    yield "WebP: 100 megapixels", saved(Image.new("RGB", (10_000, 10_000)), "WEBP", method=0)
    flat = Image.new("RGB", (4000, 4000))
    yield "JPEG 2000: 62,500 tiles", saved(flat, "JPEG2000", tile_size=(16, 16))
    yield (
        "JPEG 2000: a megapixel of tiles",
        saved(flat.resize((1000, 1000)), "JPEG2000", tile_size=(4, 4)),
    )
    yield "JPEG 2000: 4 megapixels of noise", saved(noise(2000, 2000), "JPEG2000")
    yield (
        "JPEG 2000: layers",
        saved(noise(1000, 1000), "JPEG2000", quality_layers=list(range(200, 1, -4))),
    )
    yield "HEIC: 16 megapixels", saved(flat, "HEIF")
    heif = pillow_heif.HeifFile()
    for number in range(200):
        heif.add_from_pillow(Image.new("RGB", (64, 64), (number, 0, 0)))
    buffer = io.BytesIO()
    heif.save(buffer)
    yield "HEIC: 200 pictures", buffer.getvalue()
    box = b"iinf" + struct.pack(">II", 0x02000000, 0xFFFFFFFF)
    small = saved(SMALL, "HEIF")
    yield "HEIC: items without end", small.replace(b"iinf", box[:12], 1)
    yield "AVIF: 16 megapixels", saved(flat, "AVIF", speed=10)


def mutations() -> Files:
    """Small real files of each format: changed, cut, doubled in places, huge numbers in others."""
    image = scene(240, 160)
    exif_ = Image.Exif()
    exif_[ExifTags.Base.Make], exif_[ExifTags.Base.Rating] = "Nikon", 4
    exif_.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.01
    packet = XMP_HEAD + b"<rdf:Description><dc:title>x</dc:title></rdf:Description>" + XMP_TAIL
    said = {"exif": exif_.tobytes(), "xmp": packet}
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 300, zip=True)
    bases = {
        "JPEG": saved(image, "JPEG", **said),
        "progressive JPEG": saved(image, "JPEG", progressive=True, **said),
        "PNG": saved(image, "PNG", exif=said["exif"], pnginfo=info),
        "WebP": saved(image, "WEBP", **said),
        "GIF": saved(image, "GIF", save_all=True, append_images=[image.rotate(90)] * 3),
        "TIFF": saved(image, "TIFF", compression="tiff_lzw", tiffinfo={700: packet}),
        "plain TIFF": saved(image, "TIFF"),
        "BMP": saved(image.convert("P"), "BMP"),
        "PNM": saved(image, "PPM"),
        "JPEG 2000": saved(image, "JPEG2000"),
        "AVIF": saved(image, "AVIF", speed=10, **said),
        "HEIC": saved(image, "HEIF", **said),
    }
    rng = random.Random(SEED)
    for kind, whole in bases.items():
        for number in range(60):
            data = bytearray(whole)
            for _ in range(rng.choice((1, 1, 3, 20))):
                # The beginning decides most.
                at = rng.randrange(min(len(data), rng.choice((64, 600, len(data)))))
                match rng.randrange(5):
                    case 0:
                        data[at] ^= 1 << rng.randrange(8)
                    case 1:
                        data[at : at + 4] = rng.choice(
                            (b"\xff" * 4, b"\0\0\0\1", b"\x7f\xff\xff\xff")
                        )
                    case 2:
                        data[at : at + 2] = rng.choice((b"\xff\xff", b"\0\0", b"\xff\xda"))
                    case 3:
                        data[at:at] = data[at : at + rng.randrange(1, 4000)] * rng.choice((1, 50))
                    case 4:
                        del data[at : at + rng.randrange(1, 300)]
                if not data:
                    break
            yield f"{kind} {number}", bytes(data)


# --- the clock -----------------------------------------------------------------------------------


@functools.cache
def jpeg_megapixel_s() -> float:
    """What a megapixel of noise in a JPEG takes here."""
    return decoding_s(saved(noise(1200, 800), "JPEG", quality=95)) / 0.96


def decoding_s(data: bytes) -> float:
    """Processor time, the least of five."""

    def once() -> float:
        began = time.process_time()
        decode_image(data, reduce_to=512, max_megapixels=math.inf)
        return time.process_time() - began

    return min(once() for _ in range(5))


def too_slow(found: list[tuple[float, str]]) -> list[tuple[float, str]]:
    most_s = ROUGHLY * LARGEST * jpeg_megapixel_s()
    worst_s, worst = max(found)
    print(f"\n{len(found)} files, the worst {worst_s:.2f} s of {most_s:.2f}: {worst}")
    return [(round(seconds, 2), name) for seconds, name in found if seconds > most_s]


def prepared(name: str, file: Path, preparation: PictureReader) -> tuple[float, str]:
    """Seconds of processor time, of all threads, and what became of the file."""
    changed = Changed(Candidate(ImageRecord(name, LocalFile(file))), {}, {})
    began = time.process_time()
    made = preparation.open(changed)
    seconds = time.process_time() - began
    if not isinstance(made, DecodedPicture):
        return seconds, made.reason
    return seconds, "; ".join(made.notes) or "a record"


def at_work(kind: Callable[[], Files], folder: Path, told: "multiprocessing.Pipe") -> None:
    preparation = PictureReader(
        OnnxEncoder(find_encoder("lite", folder)), thumbnails_dir=folder / "thumbnails"
    )
    for name, data in kind():
        file = folder / "picture"
        file.write_bytes(data)
        told.send((name, len(data), None, ""))
        spent = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (spent + ENDED_AFTER_S, resource.RLIM_INFINITY))
        seconds, outcome = prepared(name, file, preparation)
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        told.send((name, len(data), seconds, outcome))
        file.unlink()
    told.send(None)


def timed(kind: Callable[[], Files], folder: Path) -> list[tuple[float, str]]:
    """Each file with its seconds; a process that had to be ended has its last file at `inf`."""
    hear, told = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=at_work, args=(kind, folder, told)
    )
    process.start()
    told.close()
    found: list[tuple[float, str]] = []
    begun = ""
    try:
        while (message := hear.recv()) is not None:
            name, size, seconds, outcome = message
            begun = f"{name} ({size / 1e6:.2f} MB)"
            if seconds is not None:
                found.append((seconds, f"{begun}: {outcome}"))
    except EOFError:
        found.append((float("inf"), f"{begun}: ended after {ENDED_AFTER_S} s"))
    process.join()
    return found


KINDS = [
    xmp_embedded,
    iptc,
    exif,
    icc,
    jpeg,
    png_chunks,
    png_pixels,
    gif,
    tiff_files,
    plain_formats,
    modern_formats,
    mutations,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_file_costs_much_more_than_the_largest_picture(
    kind: Callable[[], Files], tmp_path: Path
) -> None:
    assert too_slow(timed(kind, tmp_path)) == []


def side_files() -> Files:
    yield from xmp_packets()


def test_no_side_file_costs_much_more_than_the_largest_picture(tmp_path: Path) -> None:
    preparation = PictureReader(OnnxEncoder(find_encoder("lite", tmp_path)))
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(saved(SMALL, "JPEG"))
    found = []
    for name, packet in side_files():
        (tmp_path / "picture.jpg.xmp").write_bytes(packet)
        seconds, outcome = prepared(name, picture, preparation)
        found.append((seconds, f"{name} ({len(packet) / 1e6:.2f} MB): {outcome}"))
    assert too_slow(found) == []


@pytest.mark.parametrize("of", [noise, scene], ids=["noise", "scene"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {"method": 0}),
        ("WEBP", {"method": 0, "lossless": True, "quality": 0}),
        ("AVIF", {"speed": 10}),
        ("HEIF", {}),
        ("JPEG2000", {}),
        ("JPEG2000", {"num_resolutions": 1}),
        ("JPEG2000", {"quality_mode": "rates", "quality_layers": [10], "irreversible": True}),
        ("JPEG", {"progressive": True, "quality": 95}),
        ("TIFF", {"compression": "lzma"}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PNG", {"compress_level": 1}),
    ],
    ids=str,
)
def test_a_picture_takes_no_longer_than_it_is_said_to(
    kind: str, options: dict[str, object], of: Callable[[int, int], Image.Image]
) -> None:
    """So that one at the limit takes no longer than a JPEG at the limit."""
    data = saved(of(1200, 800), kind, **options)
    with Image.open(io.BytesIO(data)) as image:
        weighed, _ = weighed_megapixels(image, data, 0.96)
    ratio = decoding_s(data) / weighed / jpeg_megapixel_s()
    print(f"\n{kind} {options}: a megapixel of {weighed:.1f} costs {ratio:.2f} of JPEG")
    assert ratio <= ROUGHLY

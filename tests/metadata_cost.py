"""What reading metadata costs: its share of the processor time of an ingest, printed anew:

    python -m tests.metadata_cost

over 300 shared photographs into which EXIF, IPTC and XMP are written, half of them with an XMP file
and Takeout's JSON beside them, with the bundled encoder and the embedded store.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image

from ingest import picture_reader
from ingest.pipeline import ingest
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.pictures import opening
from scenesearch.store.edge import EdgeStore
from tests.integration.test_in_the_wild_metadata import bag, exif_of, jpeg, packet, takeout

PICTURES = 300


def write_archive(photographs: list[Path], folder: Path) -> None:
    shot = {0x9003: "2019:07:04 18:30:05", 0x9011: "+02:00", 0xA434: "Glass 35", 0x8827: 400}
    gps = {1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (18.0, 15.0, 0.0)}
    exif = exif_of({0x10E: "At the lake", 0x10F: "NIKON", 0x110: "D90"}, shot, gps)
    words = bag("dc:subject", *(f"tag {number}" for number in range(20)))
    words += "<dc:title>Harbour</dc:title><xmp:Rating>4</xmp:Rating>"
    words += "<my:brush>" + '<my:dab my:x="1" my:y="2"/>' * 200 + "</my:brush>"
    iptc = [(1, 90, b"\x1b%G"), (2, 5, b"Harbour"), (2, 25, b"sea"), (2, 120, b"At the lake")]
    for number, photograph in enumerate(photographs):
        with Image.open(photograph) as image:
            file = folder / f"IMG_{number}.jpg"
            file.write_bytes(jpeg(exif, xmp=words, iptc=iptc, image=image.convert("RGB")))
        if number % 2:
            Path(f"{file}.xmp").write_bytes(packet(words))
            Path(f"{file}.json").write_bytes(takeout(file.name, description="A lake"))


class Clock:
    """Processor seconds of the functions that it is put around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                self.seconds += time.thread_time() - started

        return timed


def main() -> None:
    shared = Path(os.environ.get("SCENESEARCH_SHARED", "../shared"))
    photographs = sorted((shared / "data" / "practicum" / "train_images").glob("*.jpg"))
    clock = Clock()
    timed = [
        patch.object(module, name, clock.around(getattr(module, name)))
        for module, name in (
            (opening, "read_metadata"),
            (picture_reader, "sidecars_of"),
            (picture_reader, "described_by"),
        )
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "photographs")
        folder.mkdir()
        write_archive(photographs[:PICTURES], folder)
        encoder = OnnxEncoder(find_encoder("lite"))
        with closing(EdgeStore(Path(name, "edge"))) as store:
            sources = find_sources([folder], roots=Roots())
            for one in timed:
                one.start()
            started = time.process_time()
            ingest(sources, library="photos", encoder=encoder, store=store)
            whole = time.process_time() - started
            for one in timed:
                one.stop()
    share = clock.seconds / whole
    each_ms = clock.seconds / PICTURES * 1e3
    of_it = f"{clock.seconds:.2f} s ({share:.1%}), {each_ms:.2f} ms each"
    print(f"{whole:.1f} s, of which metadata {of_it}")


if __name__ == "__main__":
    main()

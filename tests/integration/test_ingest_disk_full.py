"""A disk that fills up while pictures are written: a real one, small, made in memory."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_ingest_resume import draw

# Vectors so long that a few hundred pictures fill the disk; counts the pictures encoded.
CHILD = """
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
import numpy as np
from ingest.pipeline import IngestOptions, ingest
from ingest.sources.roots import Roots
from ingest.sources.find import find_sources
from scenesearch.errors import SceneSearchError
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder

class Long(ColourEncoder):
    def __init__(self):
        super().__init__()
        self.info = replace(self.info, dimension=16384)
    def encode_pixels(self, pixels):
        self.encoded += len(pixels)
        vectors = np.tile(pixels.reshape(len(pixels), -1), 86)[:, :16384]
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

encoder = Long()
with closing(EdgeStore(Path(sys.argv[1]))) as store:
    try:
        report = ingest(
            find_sources([Path(sys.argv[2])], roots=Roots()), library="photos",
            encoder=encoder, store=store, options=IngestOptions(batch_size=8, flush_every=256),
        )
        print("written", report.written, "skipped", report.skipped, end=" ")
    except SceneSearchError as error:
        print("failed:", error, end=" ")
    print("holds", store.count("photos"), "encoded", encoder.encoded)
"""

# A user's own mount, of a size that grows before the second run.
SCRIPT = """
set -e
mount -t tmpfs -o size=480m tmpfs "$1"
"$2" -c "$4" "$1/edge" "$3"
mount -o remount,size=2g "$1"
"$2" -c "$4" "$1/edge" "$3"
"""


@pytest.mark.slow
def test_full_disk_is_one_sentence_and_the_next_run_goes_on(tmp_path: Path) -> None:
    mounts = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*mounts, "true"], check=False).returncode:
        pytest.skip("needs the right to mount a small disk (Linux, user namespaces)")
    count = 2000
    draw(tmp_path / "pictures", count)
    disk = tmp_path / "disk"
    disk.mkdir()
    result = subprocess.run(
        [*mounts, "bash", "-c", SCRIPT, "bash", disk, sys.executable, tmp_path / "pictures", CHILD],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first.startswith("failed: cannot write collection photos-colour-1: the disk of ")
    held, encoded = int(first.split()[-3]), int(first.split()[-1])
    assert 0 < held < count
    assert encoded - held <= 64
    assert second == (f"written {count - held} skipped {held} holds {count} encoded {count - held}")

"""A map of a library: pictures that look alike lie near one another in the plane.

Principal components are computed at once. t-SNE shows groups better, but takes minutes and needs
scikit-learn, which is installed with training. It runs in a process of its own, `python -m
scenesearch.search.library_map`: scikit-learn cannot be interrupted, a process can. The map is saved
in the library's folder.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenesearch.errors import SceneSearchError
from scenesearch.runtime.cancel import CHECK_S, check_cancelled
from scenesearch.runtime.files import atomic_writer, private_folder

# L. van der Maaten, G. Hinton (2008) advise 5 to 50; small libraries need less.
PERPLEXITY = 30
# Distances between more components than this are mostly noise, and cost time.
_COMPONENTS = 50


class MapError(SceneSearchError):
    """The map cannot be computed; the message is one sentence for the user."""


def principal_components(vectors: NDArray[np.float32], count: int = 2) -> NDArray[np.float32]:
    """Coordinates `(n, count)` along the directions in which the vectors `(n, dim)` differ most.

    Each direction points to the side of its largest component, so that a map does not flip.
    """
    if len(vectors) == 0:
        return np.empty((0, count), np.float32)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    # Through the covariance: its size is that of a vector, not of the library.
    _, directions = np.linalg.eigh(centred.T @ centred)
    chosen = directions[:, ::-1][:, :count]  # (dim, count)
    largest = np.abs(chosen).argmax(axis=0)
    chosen = chosen * np.sign(chosen[largest, np.arange(chosen.shape[1])])
    found = np.zeros((len(vectors), count), np.float32)
    found[:, : chosen.shape[1]] = centred @ chosen
    return found


def has_neighbours() -> bool:
    """Whether t-SNE can be computed on this machine."""
    return find_spec("sklearn") is not None


def neighbours(vectors: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float32]:
    """t-SNE of the vectors `(n, dim)`, `(n, 2)`; begins at the principal components.

    Raises MapError when it cannot be computed.
    """
    if not has_neighbours():
        raise MapError("t-SNE needs scikit-learn: pip install -e '.[train]'")
    if len(vectors) < 5:
        raise MapError(f"t-SNE needs at least 5 pictures, there are {len(vectors)}")
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "vectors.npy"), Path(folder, "points.npy")
        np.save(given, vectors, allow_pickle=False)
        command = [
            sys.executable,
            "-m",
            "scenesearch.search.library_map",
            str(given),
            str(found),
            str(seed),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:  # noqa: S603 - our own module
            try:
                while True:
                    check_cancelled()
                    with suppress(subprocess.TimeoutExpired):
                        _, said = process.communicate(timeout=CHECK_S)
                        break
            except BaseException:
                process.kill()
                raise
        if process.returncode or not found.exists():
            lines = said.decode(errors="replace").strip().splitlines() or ["it was ended"]
            raise MapError(f"t-SNE could not be computed: {lines[-1]}")
        points: NDArray[np.float32] = np.load(found, allow_pickle=False)
        return points


def _compute(given: Path, found: Path, seed: int) -> None:
    from sklearn.manifold import TSNE

    vectors = np.load(given, allow_pickle=False)
    reduced = principal_components(vectors, min(_COMPONENTS, vectors.shape[1]))
    model = TSNE(perplexity=min(PERPLEXITY, (len(vectors) - 1) / 3), init="pca", random_state=seed)
    np.save(found, model.fit_transform(reduced).astype(np.float32), allow_pickle=False)


def fingerprint(image_ids: Sequence[str], collection: str) -> str:
    """Changes with the pictures and with the collection that holds their vectors."""
    digest = hashlib.sha256(collection.encode())
    for image_id in image_ids:
        digest.update(image_id.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()[:16]


def save_map(folder: Path, key: str, points: NDArray[np.float32]) -> None:
    """Save the coordinates under the key; earlier ones are deleted."""
    private_folder(folder)
    with atomic_writer(_file(folder, key), private=True) as out:
        np.save(out, points, allow_pickle=False)
    for other in folder.glob("tsne-*.npy"):
        if other != _file(folder, key):
            other.unlink(missing_ok=True)


def read_map(folder: Path, key: str, count: int) -> NDArray[np.float32] | None:
    """The coordinates saved under the key; None if there are none for so many pictures."""
    try:
        points = np.load(_file(folder, key), allow_pickle=False)
    except (OSError, ValueError):
        return None
    return points.astype(np.float32) if points.shape == (count, 2) else None


def _file(folder: Path, key: str) -> Path:
    return folder / f"tsne-{key}.npy"


if __name__ == "__main__":
    _compute(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

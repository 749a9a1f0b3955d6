"""The sample library: drawn scenes with known content, captions and exact judgments.

Photographs of other people cannot be shipped, and no judgments of photographs are exact. These
pictures are drawn from a seed, so the project ships a library without shipping a picture.
`write_library` writes it in the task's format:

    train_images/ test_images/    JPEG with EXIF date, place and camera
    captions.tsv                  five captions of every picture
    train_dataset.csv, ExpertAnnotations.tsv, CrowdAnnotations.tsv
                                  judgments of the train pictures, computed from their content
    test_queries.csv, test_images.csv
                                  the captions of the test pictures as queries
    queries_all.csv               the captions of all pictures, as test_queries.csv has them
    metadata.csv                  a manifest: tags, setting, weather, season, place
    drawn.json                    written last: the library is complete; its seed and sizes
"""

import csv
import io
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import ExifTags, Image

from scenesearch.datasets.manifest import METADATA_NAME
from scenesearch.datasets.tables import DatasetError
from scenesearch.datasets.task import (
    CAPTIONS,
    CROWD,
    EXPERT,
    TEST_FOLDER,
    TEST_IMAGES,
    TEST_QUERIES,
    TRAIN_FOLDER,
    TRAIN_PAIRS,
)
from scenesearch.runtime.files import atomic_writer
from scenesearch.sample.captions import captions_of
from scenesearch.sample.judgments import crowd_votes, expert_grades, overlap
from scenesearch.sample.pictures import paint
from scenesearch.sample.scenes import Scene, compose

DEFAULT_SEED: Final = 7  # the library used for measuring; never train on this seed
QUERIES_ALL: Final = "queries_all.csv"
JUDGED_CAPTION: Final = 2  # as in the task: the judgments are about captions number 2

_TABLES = (
    *(CAPTIONS, TRAIN_PAIRS, EXPERT, CROWD, TEST_QUERIES, TEST_IMAGES),
    *(QUERIES_ALL, METADATA_NAME),
)
_MARKER = "drawn.json"
# Raise it when pictures, captions or judgments change: libraries on disk are then drawn again.
_VERSION = 2
_PICTURE_NAME = re.compile(r"drawn_\d{4,}\.jpg")


@dataclass(frozen=True)
class DrawnLibrary:
    """A drawn library on disk, and a query that one of its test pictures answers."""

    folder: Path
    size: int
    test_size: int
    seed: int
    example_query: str

    @property
    def train_images(self) -> Path:
        return self.folder / TRAIN_FOLDER

    @property
    def test_images(self) -> Path:
        return self.folder / TEST_FOLDER

    @property
    def test_queries(self) -> Path:
        return self.folder / TEST_QUERIES

    def pictures(self) -> list[Path]:
        """Every picture, train and test, sorted by name."""
        files = [*self.train_images.iterdir(), *self.test_images.iterdir()]
        return sorted(files, key=lambda file: file.name)


def draw_scene(seed: int, index: int) -> tuple[Scene, Image.Image]:
    """Content and picture number `index` of library `seed`; the same on every machine."""
    scene = compose(seed, index)
    return scene, paint(scene, seed, index)


def scenes(seed: int, size: int, start: int = 0) -> Iterator[tuple[Image.Image, tuple[str, ...]]]:
    """Pictures with their captions, one by one, for training.

    Do not use `DEFAULT_SEED`: its pictures are the test library.
    """
    for index in range(start, start + size):
        scene, image = draw_scene(seed, index)
        yield image, captions_of(scene, seed, index)


def write_library(
    folder: Path,
    *,
    size: int = 300,
    test_size: int | None = None,
    seed: int = DEFAULT_SEED,
    progress: Callable[[int], None] | None = None,
) -> DrawnLibrary:
    """Draw a library of `size` pictures into the folder, a third of them test pictures.

    Does nothing if the folder already has this library, complete. An incomplete or different
    library is drawn again. `progress` gets the number of pictures done. Raises DatasetError if the
    folder has other pictures.
    """
    test_size = size // 3 if test_size is None else test_size
    if not 0 <= test_size < size:
        raise DatasetError(f"{test_size} test pictures do not leave one of {size} to train on")
    folder = folder.resolve()
    made_of = {"version": _VERSION, "seed": seed, "size": size, "test_size": test_size}
    plan = [_Picture.of(seed, index, size, test_size) for index in range(size)]
    library = DrawnLibrary(folder, size, test_size, seed, _example_query(plan))
    if _is_complete(folder, made_of, plan):
        if progress:
            progress(size)
        return library
    _clear(folder)
    for done, picture in enumerate(plan, start=1):
        image = paint(picture.scene, seed, picture.index)
        file = folder / picture.folder / picture.name
        image.save(file, "JPEG", quality=90, exif=_exif(picture.scene))
        if progress:
            progress(done)
    _write_tables(folder, plan, seed)
    with atomic_writer(folder / _MARKER) as marker:
        marker.write(json.dumps(made_of).encode() + b"\n")
    return library


# --- what is written -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Picture:
    index: int
    name: str
    folder: str
    scene: Scene
    captions: tuple[str, ...]

    @classmethod
    def of(cls, seed: int, index: int, size: int, test_size: int) -> "_Picture":
        # spread evenly, so that train and test show the same mixture of scenes
        is_test = (index + 1) * test_size // size > index * test_size // size
        scene = compose(seed, index)
        return cls(
            index,
            f"drawn_{index:04}.jpg",
            TEST_FOLDER if is_test else TRAIN_FOLDER,
            scene,
            captions_of(scene, seed, index),
        )

    @property
    def is_test(self) -> bool:
        return self.folder == TEST_FOLDER

    @property
    def judged_id(self) -> str:
        return f"{self.name}#{JUDGED_CAPTION}"


def _is_complete(folder: Path, made_of: dict[str, int], plan: Sequence[_Picture]) -> bool:
    try:
        written = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    pictures = [f"{picture.folder}/{picture.name}" for picture in plan]
    return written == made_of and all((folder / name).is_file() for name in (*_TABLES, *pictures))


def _clear(folder: Path) -> None:
    """Create the image folders and delete what was drawn before."""
    for name in (TRAIN_FOLDER, TEST_FOLDER):
        (folder / name).mkdir(parents=True, exist_ok=True)
        foreign = [f for f in (folder / name).iterdir() if not _PICTURE_NAME.fullmatch(f.name)]
        if foreign:
            raise DatasetError(
                f"{folder / name} holds {foreign[0].name}, which was not drawn here; "
                "give another folder"
            )
    (folder / _MARKER).unlink(missing_ok=True)
    for name in (TRAIN_FOLDER, TEST_FOLDER):
        for file in (folder / name).iterdir():
            file.unlink()


def _exif(scene: Scene) -> Image.Exif:
    exif = Image.Exif()
    moment = scene.taken.strftime("%Y:%m:%d %H:%M:%S")
    exif[ExifTags.Base.Make] = scene.camera.make
    exif[ExifTags.Base.Model] = scene.camera.model
    exif[ExifTags.Base.Software] = "scenesearch drawn library"
    exif[ExifTags.Base.DateTime] = moment
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = moment
    details[ExifTags.Base.OffsetTimeOriginal] = f"{scene.place.utc_offset_h:+03}:00"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef] = "N" if scene.place.latitude >= 0 else "S"
    gps[ExifTags.GPS.GPSLatitude] = _sexagesimal(scene.place.latitude)
    gps[ExifTags.GPS.GPSLongitudeRef] = "E" if scene.place.longitude >= 0 else "W"
    gps[ExifTags.GPS.GPSLongitude] = _sexagesimal(scene.place.longitude)
    return exif


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    """Whole degrees, whole minutes, and seconds, as EXIF stores them."""
    hundredths = round(abs(degrees) * 360000)
    minutes, seconds = divmod(hundredths, 6000)
    return (float(minutes // 60), float(minutes % 60), seconds / 100)


def _write_tables(folder: Path, plan: Sequence[_Picture], seed: int) -> None:
    captions = [
        (f"{picture.name}#{number}", text, picture)
        for picture in plan
        for number, text in enumerate(picture.captions)
    ]
    _write(folder / CAPTIONS, ((query_id, text) for query_id, text, _ in captions), "\t")
    for name, wanted in ((TEST_QUERIES, False), (QUERIES_ALL, True)):
        chosen = [row for row in captions if wanted or row[2].is_test]
        header: Iterable[tuple[Any, ...]] = [("", "query_id", "query_text", "image")]
        rows = ((n, *row[:2], row[2].name) for n, row in enumerate(chosen))
        _write(folder / name, [*header, *rows], "|")
    _write(folder / TEST_IMAGES, [("image",), *((p.name,) for p in plan if p.is_test)], ",")
    expert, crowd = _judge([p for p in plan if not p.is_test], seed)
    _write(folder / EXPERT, ((a.name, b.judged_id, *grades) for a, b, grades in expert), "\t")
    _write(
        folder / CROWD,
        ((a.name, b.judged_id, _share(*votes), *votes) for a, b, votes in crowd),
        "\t",
    )
    pairs = ((a.name, b.judged_id, b.captions[JUDGED_CAPTION]) for a, b, _ in expert)
    _write(folder / TRAIN_PAIRS, [("image", "query_id", "query_text"), *pairs], ",")
    columns = ("image", "tags", "setting", "weather", "time_of_day", "season", "place", "subjects")
    _write(folder / METADATA_NAME, [columns, *(_described(picture) for picture in plan)], ",")


def _described(picture: _Picture) -> tuple[str | int, ...]:
    """The picture's row of the manifest; `subjects` counts the main ones."""
    scene = picture.scene
    tags = dict.fromkeys(thing.kind for thing in scene.things)
    tags.update(dict.fromkeys(thing.prop for thing in scene.things if thing.prop))
    return (
        f"{picture.folder}/{picture.name}",
        ",".join(tags),
        scene.setting,
        scene.weather,
        scene.time_of_day,
        scene.season,
        scene.place.name,
        scene.main.count,
    )


def _judge(
    pictures: Sequence[_Picture], seed: int
) -> tuple[
    list[tuple[_Picture, _Picture, tuple[int, int, int]]],
    list[tuple[_Picture, _Picture, tuple[int, int]]],
]:
    """The judgments of experts and crowd: (judged picture, described picture, judgment).

    As in the task, experts mostly see likely pairs and the crowd mostly unlikely ones. Few captions
    are judged with their own picture, and some only by the crowd.
    """
    rng = random.Random(f"judges {seed}")  # noqa: S311 - repeatability is the point
    expert, crowd = [], []
    for number, described in enumerate(pictures):
        # the likeliest of 200: comparing all pairs of a large library would take minutes
        others = [p for p in rng.sample(pictures, min(200, len(pictures))) if p is not described]
        others.sort(key=lambda p: (-overlap(p.scene, described.scene), p.index))
        likely, unlikely = others[:5], others[5:]
        own = [described] if number % 4 == 0 else []
        if number % 40 != 39:
            for picture in own + likely + rng.sample(unlikely, min(1, len(unlikely))):
                grades = expert_grades(overlap(picture.scene, described.scene))
                expert.append((picture, described, grades))
        for picture in own + likely[::2] + rng.sample(unlikely, min(20, len(unlikely))):
            crowd.append((picture, described, crowd_votes(overlap(picture.scene, described.scene))))
    expert.sort(key=lambda row: (row[1].index, row[0].index))
    crowd.sort(key=lambda row: (row[0].index, row[1].index))
    return expert, crowd


def _share(yes: int, no: int) -> str:
    return f"{yes / (yes + no):.15g}"


def _write(path: Path, rows: Iterable[Sequence[Any]], delimiter: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="\n")


_EXAMPLES = ("dog", "sailing boat", "horse", "hot air balloon", "cat", "boy", "girl")


def _example_query(plan: Sequence[_Picture]) -> str:
    """The shortest caption of a test picture with an animal, a person or the like."""
    candidates = [p for p in plan if p.is_test] or list(plan)
    picture = min(
        candidates,
        key=lambda p: (
            p.scene.time_of_day != "day",
            _EXAMPLES.index(p.scene.main.kind) if p.scene.main.kind in _EXAMPLES else 99,
            p.index,
        ),
    )
    return min((caption.rstrip(" .").lower() for caption in picture.captions[:4]), key=len)

"""What a run trains on: captioned pictures from several sources, judgments, and what is held back.

A source is a folder in the task's format, a manifest with captions (or a folder with one named
`metadata.csv`), a folder like Flickr8k's (`images/`, `captions.tsv`, a list of its training and at
least one of its validation pictures), or `drawn:COUNT`, scenes that the program draws.
`SOURCE=WEIGHT` shows its pictures that many times an epoch. Splits are by picture. Nothing in an
evaluation set is trained on: pictures are compared by file name and by content, captions by their
words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scenesearch.datasets.manifest import MANIFEST_SUFFIXES, METADATA_NAME, read_manifest
from scenesearch.datasets.tables import open_text
from scenesearch.datasets.task import (
    CAPTIONS,
    CROWD,
    EXPERT,
    TEST_FOLDER,
    TEST_QUERIES,
    TRAIN_FOLDER,
    TRAIN_PAIRS,
    CaptionQuery,
    image_of,
    is_task_folder,
    read_captions,
    read_crowd,
    read_expert,
    read_task_folder,
    read_test_queries,
    texts_of,
)
from scenesearch.pictures.records import ImageRecord
from scenesearch.sample.library import write_library
from training.judgments import Judgment, combine
from training.recipe import Recipe, TrainingError

Log = Callable[[str], None]
DRAWN = re.compile(r"drawn:(\d+)")
DRAWN_SEED = 101  # of pictures to train on; evaluations use another
IMAGES = "images"
TRAIN_LISTS = ("train_images.txt", "train.txt")
VALIDATION_LISTS = ("*dev_images.txt", "*dev.txt")  # each is a gallery of its own
MOST_NAMED = 3  # problems or leaks listed one by one


@dataclass(frozen=True)
class Example:
    """A picture, the captions written for it, and people's judgments of other texts for it.

    `judged` maps a text to its judgment. `source` is an index into the run's sources. `validates`
    is None where the source has no split of its own; `gallery` names the list of those that do.
    """

    image_id: str
    path: Path
    sha256: str
    captions: tuple[str, ...]
    source: int
    judged: Mapping[str, Judgment] = field(default_factory=dict)
    validates: bool | None = None
    gallery: str = ""


@dataclass(frozen=True)
class Source:
    """Where pictures come from, and how often an epoch shows them."""

    place: Path
    weight: float
    drawn: bool


@dataclass(frozen=True)
class EvaluationSet:
    """Pictures and queries that a run must not train on; `queries` may be empty."""

    folder: Path
    images: Mapping[str, Path]  # file name -> file
    queries: tuple[CaptionQuery, ...]
    captions: frozenset[str]  # normalized


@dataclass(frozen=True)
class Corpus:
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    sources: tuple[Source, ...]
    evaluation: tuple[EvaluationSet, ...]
    fingerprint: str

    @property
    def judged_pairs(self) -> int:
        return sum(len(example.judged) for example in self.train)


def load_corpus(recipe: Recipe, drawings: Path, log: Log) -> Corpus:
    """Reads, checks and splits the recipe's data; drawn scenes are written to `drawings`.

    Raises TrainingError when nothing is left on either side, or when an evaluation set holds
    something that would be trained on.
    """
    if not recipe.data:
        raise TrainingError("nothing to train on: give --data FOLDER or a manifest")
    extra = _extra_captions(recipe.captions)
    examples: list[Example] = []
    sources = [find_source(given, drawings) for given in recipe.data]
    evaluation = [evaluation_set(Path(folder)) for folder in recipe.evaluate_on]
    for number, (given, source) in enumerate(zip(recipe.data, sources, strict=True)):
        folder = source.place
        if is_task_folder(folder):
            found = _task_examples(folder, number, extra, log)
            if (folder / TEST_QUERIES).is_file() and not source.drawn:
                evaluation.append(evaluation_set(folder))
        elif listed := train_list(folder):
            found = listed_examples(folder, listed, number, log)
        else:
            found = _manifest_examples(folder, number, extra, log)
        log(f"{given}: {len(found)} captioned pictures")
        examples += found
    examples = _merge_duplicates(examples, log)
    examples = _without_leaks(examples, evaluation, recipe.on_leak, log)
    train, validation = _split(examples, recipe)
    return Corpus(train, validation, tuple(sources), tuple(evaluation), _fingerprint(examples))


def load_captioned(place: Path, log: Log) -> list[Example]:
    """The captioned pictures of a folder in the task's format (its train part), or a manifest."""
    if is_task_folder(place):
        return _task_examples(place, 0, {}, log)
    return _manifest_examples(place, 0, {}, log)


def find_source(given: str, drawings: Path) -> Source:
    """The source that `--data` names: FOLDER, MANIFEST or drawn:COUNT, each perhaps =WEIGHT."""
    place, _, last = given.rpartition("=")
    try:
        weight = float(last) if place else 1.0
    except ValueError:  # an '=' in the path itself
        place, weight = given, 1.0
    if not 0 < weight <= 100:
        raise TrainingError(f"--data {given}: the weight must be above 0 and at most 100")
    place = place or given
    if not (drawn := DRAWN.fullmatch(place)):
        return Source(Path(place).expanduser(), weight, drawn=False)
    count = int(drawn[1])
    if count < 2:
        raise TrainingError(f"drawn:{count}: draw at least 2 scenes")
    target = drawings / f"drawn-{DRAWN_SEED}-{count}"
    library = write_library(target, size=count, test_size=0, seed=DRAWN_SEED)
    return Source(library.folder, weight, drawn=True)


def evaluation_set(folder: Path) -> EvaluationSet:
    """The test pictures and queries of a task folder, or everything a manifest names."""
    if is_task_folder(folder):
        images = {r.path.name: r.path for r in _of(folder, TEST_FOLDER)}
        if not images:
            raise TrainingError(f"{folder} has no test pictures to evaluate on")
        table = folder / TEST_QUERIES
        queries = read_test_queries(table, images=images).rows if table.is_file() else ()
        texts = [query.query_text for query in queries]
    else:
        manifest = read_manifest(_manifest_file(folder))
        images = {record.path.name: record.path for record in manifest.records}
        queries = tuple(
            CaptionQuery(f"{record.path.name}#{n}", caption, record.path.name)
            for record in manifest.records
            for n, caption in enumerate(record.captions)
        )
        texts = [query.query_text for query in queries]
    return EvaluationSet(folder, images, tuple(queries), frozenset(map(normalize_caption, texts)))


def normalize_caption(caption: str) -> str:
    """Captions that differ only in case, spaces or the final stop are the same."""
    return " ".join(caption.casefold().split()).rstrip(" .!")


def _of(folder: Path, part: str) -> list[ImageRecord]:
    return [
        record
        for record in read_task_folder(folder).records
        if record.image_id.startswith(f"{part}/")
    ]


def _extra_captions(file: str) -> dict[str, str]:
    if not file:
        return {}
    path = Path(file).expanduser()
    if not path.is_file():
        raise TrainingError(f"captions: there is no file {path}")
    return {caption.query_id: caption.text for caption in read_captions(path).rows}


def _task_examples(folder: Path, source: int, extra: dict[str, str], log: Log) -> list[Example]:
    """The train pictures with every caption written for them, and their judgments."""
    task = read_task_folder(folder)
    for problem in task.problems[:MOST_NAMED]:
        log(f"left out: {problem}")
    records = [r for r in task.records if r.image_id.startswith(f"{TRAIN_FOLDER}/")]
    if not records:
        raise TrainingError(f"{folder} has no {TRAIN_FOLDER} to train on")
    tables = [folder / name for name in (CAPTIONS, TRAIN_PAIRS) if (folder / name).is_file()]
    texts = extra | texts_of(*tables)
    own = _by_image(texts)
    judged = _judged(folder, {record.path.name for record in records}, texts, log)
    described = [r for r in records if r.path.name in own or r.captions]
    if not described:
        raise TrainingError(f"{folder}: no caption was written for any of its train pictures")
    if len(described) < len(records):
        log(f"{folder}: {len(records) - len(described)} pictures have no caption of their own")
    return [
        Example(
            record.image_id,
            record.path,
            _sha256(record.path),
            tuple(dict.fromkeys([*record.captions, *own.get(record.path.name, ())])),
            source,
            judged.get(record.path.name, {}),
        )
        for record in described
    ]


def train_list(folder: Path) -> Path | None:
    """The list of training pictures in a folder like Flickr8k's; None in any other."""
    return next((folder / name for name in TRAIN_LISTS if (folder / name).is_file()), None)


def listed_examples(folder: Path, listed: Path, source: int, log: Log) -> list[Example]:
    """The pictures in the training list of a folder like Flickr8k's and in its validation lists."""
    own = _by_image(texts_of(folder / CAPTIONS))
    lists = sorted(path for pattern in VALIDATION_LISTS for path in folder.glob(pattern))
    if not lists:
        raise TrainingError(
            f"{folder} has {listed.name} but no list of pictures to select by, "
            f"{listed.name.replace('train', 'dev')}"
        )
    examples = []
    for file in (listed, *lists):
        for name in read_list(file):
            path = folder / IMAGES / name
            if name not in own or not path.is_file():
                log(f"left out: {path} {'is not there' if name in own else 'has no caption'}")
                continue
            examples.append(
                Example(
                    name,
                    path,
                    _sha256(path),
                    tuple(dict.fromkeys(own[name])),
                    source,
                    validates=file in lists,
                    gallery=f"{folder.name}/{file.stem}",
                )
            )
    return examples


def read_list(path: Path) -> list[str]:
    with open_text(path) as file:
        return [line.strip() for line in file if line.strip()]


def _by_image(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """image name -> the texts written for it, from query id -> text."""
    own: dict[str, list[str]] = {}
    for query_id, text in texts.items():
        own.setdefault(image_of(query_id), []).append(text)
    return own


def _judged(
    folder: Path, images: set[str], texts: Mapping[str, str], log: Log
) -> dict[str, dict[str, Judgment]]:
    """image name -> text -> judgment. A query whose text no file has cannot be trained on."""
    expert = folder / EXPERT
    crowd = folder / CROWD
    pairs = combine(
        read_expert(expert, images=images).rows if expert.is_file() else (),
        read_crowd(crowd, images=images).rows if crowd.is_file() else (),
    )
    by_image: dict[str, dict[str, Judgment]] = {}
    silent = 0
    for (image, query_id), judgment in pairs.items():
        if query_id not in texts:
            silent += 1
        else:
            by_image.setdefault(image, {})[texts[query_id]] = judgment
    if silent:
        log(
            f"{folder}: {silent} judgments name a query without a text; "
            f"{CAPTIONS} in the folder or --set captions=FILE may have it"
        )
    return by_image


def _manifest_file(place: Path) -> Path:
    if place.is_dir() and (place / METADATA_NAME).is_file():
        return place / METADATA_NAME
    if place.suffix.lower() in MANIFEST_SUFFIXES and place.is_file():
        return place
    if not place.exists():
        raise TrainingError(f"--data {place} does not exist")
    raise TrainingError(
        f"--data {place} is neither in the task's format nor a manifest with captions"
    )


def _manifest_examples(place: Path, source: int, extra: dict[str, str], log: Log) -> list[Example]:
    file = _manifest_file(place)
    manifest = read_manifest(file)
    for problem in manifest.problems[:MOST_NAMED]:
        log(f"left out: {problem}")
    own = _by_image(extra)
    examples, missing = [], 0
    for record in manifest.records:
        captions = tuple(dict.fromkeys([*record.captions, *own.get(record.path.name, ())]))
        if not captions:
            continue
        if not record.path.is_file():
            missing += 1
            continue
        image_id = record.image_id
        examples.append(Example(image_id, record.path, _sha256(record.path), captions, source))
    if not examples and missing:
        raise TrainingError(f"{file}: its {missing} captions match no picture that is there")
    if not examples:
        raise TrainingError(f"{file}: no picture has a caption to train on")
    if missing:
        log(f"{file}: {missing} captioned pictures are not there")
    return examples


def _merge_duplicates(examples: Sequence[Example], log: Log) -> list[Example]:
    """One of several equal pictures, with the captions of all: they must not be negatives."""
    merged: dict[str, Example] = {}
    for example in examples:
        first = merged.setdefault(example.sha256, example)
        if first is not example:
            log(f"{example.path} is the same picture as {first.path}: taken as one")
            merged[example.sha256] = replace(
                first,
                captions=tuple(dict.fromkeys([*first.captions, *example.captions])),
                judged={**example.judged, **first.judged},
            )
    return list(merged.values())


def _without_leaks(
    examples: Sequence[Example], evaluation: Iterable[EvaluationSet], on_leak: str, log: Log
) -> list[Example]:
    """Raises TrainingError naming what an evaluation set also holds, or leaves that out."""
    examples = list(examples)
    for unseen in evaluation:
        contents = {_sha256(path): name for name, path in unseen.images.items()}
        leaks: list[str] = []
        clean: list[Example] = []
        for example in examples:
            name = example.path.name
            if name in unseen.images:
                leaks.append(f"picture {example.path} by its name")
                continue
            if example.sha256 in contents:
                leaks.append(
                    f"picture {example.path} by its content, there {contents[example.sha256]}"
                )
                continue
            captions = [c for c in example.captions if normalize_caption(c) not in unseen.captions]
            texts = [t for t in example.judged if normalize_caption(t) in unseen.captions]
            leaked = [c for c in example.captions if c not in captions] + texts
            leaks += [f"caption {text!r} of {example.path}" for text in dict.fromkeys(leaked)]
            if not leaked:
                clean.append(example)
            elif captions:
                judged = {t: j for t, j in example.judged.items() if t not in texts}
                clean.append(replace(example, captions=tuple(captions), judged=judged))
        if leaks and on_leak == "refuse":
            more = f" and {len(leaks) - MOST_NAMED} more" if len(leaks) > MOST_NAMED else ""
            raise TrainingError(
                f"the evaluation set {unseen.folder} would be trained on: "
                f"{'; '.join(leaks[:MOST_NAMED])}{more}; --set on_leak=leave-out trains without"
            )
        for leak in leaks:
            log(f"left out, it is in the evaluation set {unseen.folder}: {leak}")
        examples = clean
    return examples


def _split(
    examples: Sequence[Example], recipe: Recipe
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(train, validation), without the judgments of train pictures on captions of validation."""
    if recipe.select_on == "train":
        if len(examples) < 2:
            raise TrainingError(f"{len(examples)} captioned pictures are not enough to train on")
        return tuple(examples), tuple(examples)
    sides: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        # By content, which a renamed or moved picture keeps.
        chosen = held_back(example.sha256, recipe.validation_share, recipe.seed)
        sides[chosen if example.validates is None else example.validates].append(example)
    train, validation = sides
    if len(train) < 2 or len(validation) < 2:
        raise TrainingError(
            f"{len(examples)} captioned pictures split into {len(train)} to train on and "
            f"{len(validation)} to select by; give more data or another validation_share"
        )
    # A text of both sides is seen anyway, as one that feedback calls right for many pictures.
    unseen = _captions_of(validation) - _captions_of(train)
    for n, example in enumerate(train):
        judged = {t: j for t, j in example.judged.items() if normalize_caption(t) not in unseen}
        train[n] = replace(example, judged=judged)
    return tuple(train), tuple(validation)


def held_back(key: str, share: float, seed: int) -> bool:
    """Whether a picture validates: its key and the seed decide, so that pictures which are added
    later move none of those already there."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def _captions_of(examples: Iterable[Example]) -> set[str]:
    return {normalize_caption(caption) for example in examples for caption in example.captions}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from None


def _fingerprint(examples: Sequence[Example]) -> str:
    """Changes when a picture, a caption, a judgment or their order does; moving files does not."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update("\0".join((example.sha256, str(example.source), *example.captions)).encode())
        for text, judgment in sorted(example.judged.items()):
            digest.update(f"\0{text}\0{judgment.share:.6f}\0{judgment.votes}".encode())
        digest.update(b"\1")
    return digest.hexdigest()[:16]

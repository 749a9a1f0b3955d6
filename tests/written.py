"""Figures of docs/search.md about text in pictures, each printed anew:

    python -m tests.written [--keep FOLDER]

Texts are rendered onto 100 of the shared photographs and 100 drawn pictures, in many fonts, sizes,
angles and contrasts, and searched among 1,300 pictures with the bundled encoder and the embedded
store. With `--keep` a second run finds the library there.
"""

import argparse
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ingest.pipeline import IngestOptions, ingest
from ingest.read_text import ReadTextOptions, read_text
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from ingest.text_reader import OPENED, TextReader
from scenesearch.datasets.task import texts_of
from scenesearch.encoder.base import Encoder
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.picture_texts import PictureTexts
from scenesearch.pictures.opening import open_image
from scenesearch.sample.library import write_library
from scenesearch.search.live_collection import LiveCollection
from scenesearch.search.request import Request
from scenesearch.search.retrieval import Nearest
from scenesearch.search.searcher import Searcher
from scenesearch.store.edge import EdgeStore
from scenesearch.store.written import TEXT, words_of
from tests.absence import shared_folder
from tests.figures import words

LIBRARY = "written"
PHOTOGRAPHS, DRAWN, TEXTS, CAPTIONS = 1000, 300, 200, 500
CUTOFFS = (1, 5)
FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FONTS = [
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif"),
    *("DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol"),
]

# What is written: {} is another number or name each time, so that no text is there twice.
PATTERNS = (
    "NO PARKING {name}", "Invoice 2023-{number}", "Gate {number}", "{name} Street", "EXIT {number}",
    "Platform {number} to {name}", "Receipt No {number}", "Welcome to {name}", "Hotel {name}",
    "TOTAL {number}.50 EUR", "Room {number}", "Do not feed {name}", "{name} Bakery",
    "Chapter {number}", "Flight LH{number}", "Sale {number} percent off", "{name} Marathon 2019",
    "Beware of {name}", "Quarterly report {name}", "Bus {number} {name}",
)  # fmt: skip
NAMES = """
    Alder Birch Cedar Dorset Elmwood Fenwick Garland Hollis Ivory Juniper Kendal Lowell Marlow
    Norden Oakham Perth Quincy Ridley Selby Thornton Ulster Verdun Walden Yarrow Zeller Ashford
    Bexley Clifton Dunmore Everton Fulham Gresham Hadley Ingram Jarvis Kelso Lambert Melrose
    Newton Orwell Prescott Radford Stanton Tilbury Upton Vernon Weston Yorke
"""
# Words that stand in a picture which shows no such thing.
STRAY = """
    DOG MAN GIRL BOY BEACH SNOW WATER BALL GRASS BIKE STREET CAR ROCK FIELD TREE SHIRT HAT CHILD
    PEOPLE WOMAN RED BLACK RUNNING JUMPING SWIMMING MOUNTAIN CROWD CAMERA POOL HORSE
"""


def phrases() -> list[str]:
    """Two hundred texts, each of which is in one picture alone."""
    chance = random.Random(23)
    names, found = iter(NAMES.split() * 9), []
    numbers = iter(chance.sample(range(100, 1000), TEXTS))
    for number in range(TEXTS):
        pattern = PATTERNS[number % len(PATTERNS)]
        found.append(pattern.format(name=next(names), number=next(numbers)))
    assert len(set(found)) == TEXTS
    return found


def render(picture: Image.Image, text: str, chance: random.Random) -> Image.Image:
    """The text on the picture: on a board or bare, turned, in perspective, of little contrast."""
    font = FOLDER / f"{chance.choice(FONTS)}.ttf"
    longest = max(picture.size)
    size = int(longest * chance.uniform(0.035, 0.1))
    drawn = ImageFont.truetype(str(font), size)
    left, top, right, bottom = drawn.getbbox(text)
    if right - left > 0.9 * longest:
        size = int(size * 0.9 * longest / (right - left))
        drawn = ImageFont.truetype(str(font), size)
        left, top, right, bottom = drawn.getbbox(text)
    edge = size // 2
    shape = (right - left + 2 * edge, bottom - top + 2 * edge)
    ground = tuple(chance.randrange(256) for _ in range(3))
    distance = chance.choice((60, 110, 200))
    side = 1 if sum(ground) < 384 else -1
    ink = tuple(int(np.clip(level + side * distance, 0, 255)) for level in ground)
    is_board = chance.random() < 0.7
    layer = Image.new("RGBA", shape, (*ground, 255 if is_board else 0))
    ImageDraw.Draw(layer).text((edge - left, edge - top), text, font=drawn, fill=(*ink, 255))
    width, height = shape
    if chance.random() < 0.4:  # seen from the side
        lean = [int(height * chance.uniform(0, 0.25)) for _ in range(4)]
        corners = (0, -lean[0], 0, height + lean[1], width, height + lean[2], width, -lean[3])
        layer = layer.transform(shape, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    turn = chance.choice((0, 0, 0, 0, 90, 180, 270)) + chance.uniform(-12, 12)
    layer = layer.rotate(turn, Image.Resampling.BICUBIC, expand=True)
    share = min(1.0, picture.width / layer.width, picture.height / layer.height)
    if share < 1:
        layer = layer.resize((int(layer.width * share), int(layer.height * share)))
    result = picture.convert("RGB")
    place = (
        chance.randint(0, result.width - layer.width),
        chance.randint(0, result.height - layer.height),
    )
    result.paste(layer, place, layer)
    return result


@dataclass
class World:
    """The library, and what is known of it."""

    encoder: Encoder
    store: EdgeStore
    written: dict[str, str]  # picture -> text
    stray: dict[str, str]  # picture -> a word that it does not show
    captions: dict[str, list[str]]
    pictures: Path


def build(shared: Path, folder: Path) -> World:
    """The pictures with their texts, ingested and read; what is there already is taken."""
    pictures = folder / "pictures"
    photographs = sorted((shared / "data" / "practicum" / "train_images").glob("*.jpg"))
    photographs = photographs[:PHOTOGRAPHS]
    drawn_folder = folder / "drawn"
    write_library(drawn_folder, size=DRAWN)
    drawn = sorted(drawn_folder.rglob("*.jpg"))[:DRAWN]
    texts, words_apart = phrases(), STRAY.split()
    chance = random.Random(7)
    captions: dict[str, list[str]] = defaultdict(list)
    for query_id, text in texts_of(shared / "data" / "flickr8k" / "captions.tsv").items():
        captions[query_id.partition("#")[0]].append(text)
    chosen = chance.sample(photographs, TEXTS // 2 + len(words_apart))
    with_text = dict(
        zip([*chosen[: TEXTS // 2], *chance.sample(drawn, TEXTS // 2)], texts, strict=True)
    )
    stray: dict[Path, str] = {}
    left = list(chosen[TEXTS // 2 :])
    for word in words_apart:
        shows = [path for path in left if not _says(captions[path.name], word)]
        stray[shows[0]] = word
        left.remove(shows[0])
    pictures.mkdir(parents=True, exist_ok=True)
    written, strays = {}, {}
    for path in [*photographs, *drawn]:
        name = path.name
        target = pictures / name
        text = with_text.get(path) or stray.get(path)
        if path in with_text:
            written[name] = with_text[path]
        elif path in stray:
            strays[name] = stray[path]
        if target.exists():
            continue
        if text is None:
            target.write_bytes(path.read_bytes())
        else:
            with Image.open(path) as picture:
                render(picture, text, random.Random(text)).save(target, quality=90)
    encoder = OnnxEncoder(find_encoder("lite"), image_threads=1)
    store = EdgeStore(folder / "edge")
    sources = find_sources([pictures], roots=Roots())
    ingest(sources, library=LIBRARY, encoder=encoder, store=store, options=IngestOptions(workers=2))
    with closing(PictureTexts(folder / "texts.sqlite")) as kept:
        read_text(
            LIBRARY,
            store=store,
            originals=AllowedOriginals([str(pictures)]),
            texts=kept,
            options=ReadTextOptions(workers=2),
        )
    return World(encoder, store, written, strays, dict(captions), pictures)


def _says(captions: Sequence[str], word: str) -> bool:
    return any(word.lower() in caption.lower() for caption in captions)


class WithoutText(Searcher):
    """Searches as if nothing were written in any picture."""

    def _with_written(
        self, live: LiveCollection, request: Request, nearest: Nearest | None
    ) -> Nearest | None:
        return nearest


def _ranks(searcher: Searcher, asked: Sequence[tuple[str, str]], k: int = 10) -> list[int]:
    """The place of each wanted picture among the first k of its request, 0 for none."""
    found = []
    for text, picture in asked:
        hits = searcher.search(replace(words(text), min_relevance=0.0), k=k).hits
        places = [hit.rank for hit in hits if hit.image_id == picture]
        found.append(places[0] if places else 0)
    return found


def _recall(ranks: Sequence[int], cutoffs: Sequence[int]) -> str:
    shares = (np.mean([0 < rank <= k for rank in ranks]) for k in cutoffs)
    return " / ".join(f"{share:.1%}" for share in shares)


def reading(world: World) -> Iterator[str]:
    """How many of the texts are read."""
    whole, some = 0, 0
    found = world.store.retrieve(LIBRARY, list(world.written))
    for name, text in world.written.items():
        there = words_of(str(found[name].payload.get(TEXT, "")))
        share = np.mean([word in there for word in words_of(text)])
        whole += share == 1
        some += share > 0
    yield f"{TEXTS} texts: all words read in {whole / TEXTS:.1%}, some in {some / TEXTS:.1%}"


def search(world: World) -> Iterator[str]:
    """Recall of pictures by the text in them, and of photographs by captions, with and without."""
    yes = Searcher(world.encoder, world.store, LIBRARY)
    no = WithoutText(world.encoder, world.store, LIBRARY)
    asked = [(text.lower(), name) for name, text in world.written.items()]
    yield "| request | pictures by their look alone | and by the text in them |"
    yield "|---|---|---|"
    rows = {
        "its last two words, swapped": [
            (" ".join(words_of(text)[:-3:-1]), name) for text, name in asked
        ],
        "'a sign that says' and the text": [(f"a sign that says {t}", name) for t, name in asked],
    }
    look, both = _ranks(no, asked), _ranks(yes, asked)
    on_photographs = [name in world.captions for _, name in asked]
    for what, chosen in (
        ("the whole text", [True] * len(asked)),
        ("the same on photographs", on_photographs),
        ("the same on drawn pictures", [not one for one in on_photographs]),
    ):
        cells = (_recall(list(compress(ranks, chosen)), CUTOFFS) for ranks in (look, both))
        yield f"| {what} | {' | '.join(cells)} |"
    for what, requests in rows.items():
        cells = (_recall(_ranks(one, requests), CUTOFFS) for one in (no, yes))
        yield f"| {what} | {' | '.join(cells)} |"
    plain = [
        (captions[4], name)
        for name, captions in sorted(world.captions.items())
        if (world.pictures / name).exists() and len(captions) == 5
    ][:CAPTIONS]
    ranks = [_recall(_ranks(one, plain), (1, 5, 10)) for one in (no, yes)]
    yield f"| {len(plain)} captions (Recall@1 / 5 / 10) | {ranks[0]} | {ranks[1]} |"


def strays(world: World) -> Iterator[str]:
    """Where a picture comes that a word stands in and that does not show it."""
    yes = Searcher(world.encoder, world.store, LIBRARY)
    no = WithoutText(world.encoder, world.store, LIBRARY)
    places, precise = [], {yes: [], no: []}
    read = 0
    for name, word in world.stray.items():
        for searcher, shares in precise.items():
            hits = searcher.search(replace(words(word.lower()), min_relevance=0.0), k=300).hits
            showing = [
                _says(world.captions.get(hit.image_id, ()), word) and hit.image_id != name
                for hit in hits
            ]
            shares.append(np.mean(showing[:10]))
            if searcher is yes:
                places += [hit.rank for hit in hits if hit.image_id == name] or [301]
        payload = world.store.retrieve(LIBRARY, [name])[name].payload
        read += word.lower() in words_of(str(payload.get(TEXT, "")))
    first = sum(place == 1 for place in places)
    yield (
        f"{len(places)} stray words ({read} read): {first} come first, median place "
        f"{int(np.median(places))}, {sum(place <= 10 for place in places)} among the first ten; "
        f"P@10 {np.mean(precise[no]):.3f} without, {np.mean(precise[yes]):.3f} with text"
    )


def speed(world: World, shared: Path) -> Iterator[str]:
    """Processor time of reading text beside that of an ingest, over real photographs."""
    photographs = sorted((shared / "data" / "practicum" / "train_images").glob("*.jpg"))[-100:]
    reader = TextReader(seconds=20)
    encoder = world.encoder
    encoder.encode_images([Image.new("RGB", (64, 64))])
    spent = dict.fromkeys(("ingest", "no text", "text"), 0.0)
    shown = 0
    for path in photographs:
        started = time.thread_time()
        opened = open_image(path)
        encoder.encode_images([opened.image])
        spent["ingest"] += time.thread_time() - started
        started = time.thread_time()
        lines = reader.read(open_image(path, reduce_to=OPENED).image).lines
        spent["text" if lines else "no text"] += time.thread_time() - started
        shown += bool(lines)
    number = len(photographs)
    both = sum(spent.values())
    yield (
        f"{number} photographs, one core: {number / spent['ingest']:.1f} pictures/s ingested, "
        f"{number / both:.1f} with text read; {spent['no text'] / (number - shown) * 1000:.0f} ms "
        f"for one without text, {spent['text'] / max(shown, 1) * 1000:.0f} ms for one with; "
        f"{shown / number:.1%} show text"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    shared = shared_folder()
    if shared is None:
        raise SystemExit("the shared photographs are not there: set SCENESEARCH_SHARED")
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        world = build(shared, folder)
        with closing(world.store):
            for lines in (reading(world), search(world), strays(world), speed(world, shared)):
                for line in lines:
                    print(line, flush=True)


if __name__ == "__main__":
    main()

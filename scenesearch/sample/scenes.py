"""The content of a drawn picture: setting, things, weather, and how they are arranged.

Content comes before paint. A `Scene` is decided here from a seed and an index alone; the painter
(`drawn_pictures`), the captions (`drawn_captions`) and the judgments (`drawn`) all read the same
`Scene`, which is why the sample library's captions and grades are known to be right.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache


@dataclass(frozen=True)
class Thing:
    """One kind of thing in a scene, `count` times, all doing the same."""

    kind: str
    colour: str = ""
    count: int = 1
    action: str = ""
    prop: str = ""  # what a person holds, rides or leads: "kite", "dog", "bicycle"
    prop_colour: str = ""


@dataclass(frozen=True)
class Place:
    name: str
    latitude: float
    longitude: float
    utc_offset_h: int


@dataclass(frozen=True)
class Camera:
    make: str
    model: str


@dataclass(frozen=True)
class Scene:
    """The whole content of one drawn picture."""

    setting: str
    time_of_day: str  # day, sunset, night
    weather: str  # sunny, cloudy, rain, snowfall, fog, rainbow, indoors
    main: Thing
    second: Thing | None
    relation: str  # where `second` is, seen from `main`: left, right, above, behind; "" without one
    season: str  # summer, autumn, winter
    size: tuple[int, int]  # width and height in pixels
    taken: datetime
    place: Place
    camera: Camera

    @property
    def things(self) -> tuple[Thing, ...]:
        return (self.main,) if self.second is None else (self.main, self.second)


@dataclass(frozen=True)
class _Kind:
    """What a kind of thing may look like and do; `zone` is its place in a picture."""

    colours: tuple[str, ...]
    actions: tuple[str, ...] = ("",)
    most: int = 1
    zone: str = "ground"


_FUR = ("black", "white", "brown", "golden", "grey")
_BRIGHT = ("red", "blue", "yellow", "green", "orange", "purple", "pink", "white")
_CLOTHES = ("red", "blue", "yellow", "green", "orange", "purple", "pink", "white", "black")
_PAINT = ("red", "blue", "yellow", "green", "white", "black", "orange")
_CHILD_ACTIONS = (
    "running",
    "jumping",
    "standing",
    "waving",
    "holding a kite",
    "holding balloons",
    "holding an umbrella",
    "kicking a ball",
    "riding a bicycle",
    "walking a dog",
    "sitting",
)
_ADULT_ACTIONS = (
    "walking",
    "running",
    "standing",
    "sitting",
    "waving",
    "holding an umbrella",
    "riding a bicycle",
    "walking a dog",
)

KINDS: dict[str, _Kind] = {
    "dog": _Kind(_FUR, ("running", "sitting", "standing", "jumping", "lying"), 3),
    "cat": _Kind(
        ("black", "white", "orange", "grey"), ("sitting", "walking", "lying", "jumping"), 3
    ),
    "horse": _Kind(
        ("brown", "black", "white", "golden"), ("running", "standing", "grazing", "jumping"), 3
    ),
    "cow": _Kind(("black and white", "brown", "white"), ("grazing", "standing", "lying"), 4),
    "sheep": _Kind(("white", "black"), ("grazing", "standing", "walking"), 5),
    "pig": _Kind(("pink", "black"), ("standing", "walking", "lying"), 4),
    "rabbit": _Kind(("white", "brown", "grey"), ("sitting", "jumping"), 4),
    "fox": _Kind(("orange", "white"), ("walking", "running", "sitting"), 2),
    "deer": _Kind(("brown",), ("standing", "running", "grazing"), 3),
    "camel": _Kind(("brown", "white"), ("walking", "standing", "lying"), 4),
    "elephant": _Kind(("grey",), ("walking", "standing"), 2),
    "hen": _Kind(("white", "brown", "black"), ("standing", "walking"), 5),
    "penguin": _Kind(("black and white",), ("standing", "walking"), 5),
    "bird": _Kind(("white", "black", "blue", "red"), ("flying",), 5, "sky"),
    "duck": _Kind(("yellow", "white", "brown"), ("swimming",), 5, "water"),
    "swan": _Kind(("white", "black"), ("swimming",), 3, "water"),
    "fish": _Kind(("orange", "blue", "yellow", "red", "purple"), ("swimming",), 5, "deep"),
    "turtle": _Kind(("green", "brown"), ("swimming",), 2, "deep"),
    "octopus": _Kind(("purple", "red", "orange"), ("swimming",), 1, "deep"),
    "diver": _Kind(("black", "red", "yellow"), ("swimming",), 1, "deep"),
    "whale": _Kind(("blue", "grey"), ("swimming",), 2, "water"),
    "butterfly": _Kind(("yellow", "blue", "orange", "purple", "white"), ("flying",), 5, "air"),
    "crab": _Kind(("red", "orange"), ("standing",), 3),
    "boy": _Kind(_CLOTHES, _CHILD_ACTIONS, 3),
    "girl": _Kind(_CLOTHES, _CHILD_ACTIONS, 3),
    "man": _Kind(_CLOTHES, _ADULT_ACTIONS, 2),
    "woman": _Kind(_CLOTHES, _ADULT_ACTIONS, 2),
    "car": _Kind(_PAINT, ("driving", "parked"), 3),
    "bus": _Kind(("red", "yellow", "blue", "green", "white"), ("driving", "parked"), 2),
    "truck": _Kind(_PAINT, ("driving", "parked"), 2),
    "tractor": _Kind(("red", "green", "blue"), ("driving", "parked"), 1),
    "train": _Kind(("red", "blue", "green", "black"), ("driving",), 1),
    "sailing boat": _Kind(("white", "red", "yellow", "blue", "orange"), ("sailing",), 4, "water"),
    "rowing boat": _Kind(("red", "blue", "green", "white", "brown"), ("floating",), 3, "water"),
    "ship": _Kind(("white", "red", "black", "blue"), ("sailing",), 1, "water"),
    "hot air balloon": _Kind(("red", "yellow", "blue", "purple", "green"), ("flying",), 4, "sky"),
    "airplane": _Kind(("white", "red", "blue", "yellow"), ("flying",), 2, "sky"),
    "kite": _Kind(_BRIGHT, ("flying",), 3, "sky"),
    "balloon": _Kind(_BRIGHT, ("floating",), 5, "air"),
    "house": _Kind(
        ("red", "white", "yellow", "blue", "brown", "pink", "green"), ("standing",), 3, "back"
    ),
    "church": _Kind(("white", "grey", "yellow"), ("standing",), 1, "back"),
    "castle": _Kind(("grey", "golden"), ("standing",), 1, "back"),
    "barn": _Kind(("red", "brown"), ("standing",), 1, "back"),
    "windmill": _Kind(("white", "red", "brown"), ("standing",), 2, "back"),
    "lighthouse": _Kind(("red and white", "white", "blue and white"), ("standing",), 1, "back"),
    "tent": _Kind(("orange", "blue", "green", "red", "yellow"), ("standing",), 3),
    "campfire": _Kind(("orange",), ("burning",)),
    "snowman": _Kind(("white",), ("standing",), 3),
    "sandcastle": _Kind(("golden",), ("standing",)),
    "parasol": _Kind(("red", "blue", "yellow", "green", "orange"), ("standing",), 3),
    "bench": _Kind(("brown", "green", "white", "red"), ("standing",)),
    "ball": _Kind(("red", "blue", "yellow", "orange", "green"), ("lying",), 3),
    "tree": _Kind(("green",), ("standing",), 4, "back"),
    "pine tree": _Kind(("green",), ("standing",), 5, "back"),
    "palm tree": _Kind(("green",), ("standing",), 3, "back"),
    "cactus": _Kind(("green",), ("standing",), 4, "back"),
    "flower": _Kind(("red", "yellow", "pink", "purple", "white", "orange"), ("standing",), 5),
    "mushroom": _Kind(("red", "brown"), ("standing",), 4),
    "sofa": _Kind(("red", "blue", "green", "grey", "yellow"), ("standing",), 1, "back"),
    "lamp": _Kind(("yellow", "white", "red"), ("standing",), 1, "back"),
    "chair": _Kind(("red", "blue", "brown", "white"), ("standing",), 2),
    "street lamp": _Kind(("black",), ("standing",), 2, "back"),
}

PEOPLE = ("boy", "girl", "man", "woman")
ANIMALS = (
    *("dog", "cat", "horse", "cow", "sheep", "pig", "rabbit", "fox", "deer", "camel", "elephant"),
    *("hen", "penguin", "bird", "duck", "swan", "fish", "turtle", "octopus", "whale"),
    *("butterfly", "crab"),
)
VEHICLES = ("car", "bus", "truck", "tractor", "train")
CRAFT = ("sailing boat", "rowing boat", "ship", "hot air balloon", "airplane")
BUILDINGS = ("house", "church", "castle", "barn", "windmill", "lighthouse", "tent")


@dataclass(frozen=True)
class _Setting:
    """The main subjects and the second things that fit a setting."""

    mains: tuple[str, ...]
    seconds: tuple[str, ...]
    seasons: tuple[str, ...] = ("summer", "summer", "autumn")
    indoors: bool = False


SETTINGS: dict[str, _Setting] = {
    "meadow": _Setting(
        (
            *("dog", "cat", "horse", "cow", "sheep", "rabbit", "boy", "girl", "woman", "man"),
            *(
                "butterfly",
                "hot air balloon",
                "windmill",
                "flower",
                "kite",
                "airplane",
                "castle",
                "train",
            ),
        ),
        ("tree", "house", "windmill", "bird", "flower", "kite", "hot air balloon", "ball"),
    ),
    "beach": _Setting(
        (
            *("dog", "boy", "girl", "woman", "man", "crab", "parasol", "sandcastle", "horse"),
            *("palm tree", "sailing boat", "ball", "bird", "kite"),
        ),
        ("palm tree", "parasol", "sailing boat", "bird", "ball", "sandcastle", "kite", "ship"),
        ("summer",),
    ),
    "mountains": _Setting(
        (
            "horse",
            "man",
            "woman",
            "sheep",
            "bird",
            "house",
            "hot air balloon",
            "tent",
            "deer",
            "cow",
        ),
        ("pine tree", "bird", "tent", "house", "hot air balloon", "dog"),
    ),
    "desert": _Setting(
        ("camel", "cactus", "car", "man", "woman", "tent", "truck", "bird", "hot air balloon"),
        ("cactus", "bird", "tent", "camel", "palm tree"),
        ("summer",),
    ),
    "city street": _Setting(
        (
            *("car", "bus", "truck", "man", "woman", "boy", "girl", "dog", "cat", "bird"),
            "balloon",
        ),
        ("car", "bus", "street lamp", "tree", "dog", "bench", "balloon"),
        ("summer", "autumn", "winter"),
    ),
    "forest": _Setting(
        ("deer", "rabbit", "dog", "boy", "girl", "man", "fox", "tent", "mushroom", "horse", "bird"),
        ("mushroom", "rabbit", "bird", "tent", "fox", "bench"),
    ),
    "lake": _Setting(
        ("duck", "swan", "rowing boat", "sailing boat", "dog", "man", "boy", "house", "bench"),
        ("duck", "house", "sailing boat", "tree", "bird", "swan", "bench", "rowing boat"),
    ),
    "snow": _Setting(
        (
            *("dog", "fox", "boy", "girl", "man", "snowman", "house", "penguin", "horse", "deer"),
            *("rabbit", "pine tree", "church"),
        ),
        ("pine tree", "snowman", "house", "dog", "bird", "church"),
        ("winter",),
    ),
    "park": _Setting(
        ("dog", "boy", "girl", "woman", "man", "bench", "balloon", "kite", "cat", "ball", "bird"),
        ("bench", "tree", "flower", "ball", "balloon", "kite", "street lamp", "dog"),
        ("summer", "autumn", "autumn"),
    ),
    "harbour": _Setting(
        ("ship", "sailing boat", "lighthouse", "man", "woman", "dog", "rowing boat", "bird", "cat"),
        ("lighthouse", "sailing boat", "bird", "ship", "rowing boat", "bench"),
        ("summer",),
    ),
    "open sea": _Setting(
        ("sailing boat", "ship", "whale", "bird", "hot air balloon", "rowing boat", "airplane"),
        ("bird", "sailing boat", "ship", "whale", "hot air balloon"),
        ("summer",),
    ),
    "farm": _Setting(
        ("cow", "horse", "sheep", "pig", "hen", "tractor", "dog", "man", "woman", "cat", "barn"),
        ("barn", "tractor", "hen", "tree", "pig", "cow", "windmill"),
    ),
    "country road": _Setting(
        ("car", "truck", "bus", "man", "woman", "dog", "horse", "tractor", "girl"),
        ("tree", "house", "bird", "car", "windmill", "hot air balloon"),
    ),
    "village": _Setting(
        ("house", "church", "cat", "boy", "girl", "hen", "woman", "car", "dog", "castle"),
        ("church", "house", "tree", "cat", "bird", "bench", "car"),
        ("summer", "autumn", "winter"),
    ),
    "river": _Setting(
        ("duck", "rowing boat", "cow", "boy", "dog", "swan", "elephant", "woman", "deer"),
        ("duck", "tree", "rowing boat", "house", "bird", "swan"),
    ),
    "football pitch": _Setting(
        ("boy", "girl", "man", "woman", "dog", "ball"),
        ("ball", "bird", "tree", "dog"),
        ("summer",),
    ),
    "living room": _Setting(
        ("cat", "dog", "boy", "girl", "man", "woman", "balloon", "ball", "sofa", "rabbit"),
        ("sofa", "lamp", "chair", "ball", "balloon", "cat"),
        ("summer",),
        indoors=True,
    ),
    "underwater": _Setting(
        ("fish", "turtle", "octopus", "diver"),
        ("fish", "turtle", "octopus", "diver"),
        ("summer",),
        indoors=True,
    ),
    "garden": _Setting(
        ("cat", "butterfly", "rabbit", "boy", "girl", "woman", "hen", "flower", "dog", "balloon"),
        ("flower", "house", "tree", "butterfly", "bench", "ball", "chair"),
        ("summer",),
    ),
    "campsite": _Setting(
        ("tent", "man", "woman", "dog", "boy", "girl", "campfire"),
        ("tent", "campfire", "pine tree", "chair", "car", "bird"),
    ),
    "savanna": _Setting(
        ("elephant", "bird", "car", "hot air balloon", "man"),
        ("tree", "bird", "elephant", "car"),
        ("summer",),
    ),
}

SIZES = ((480, 360), (480, 360), (360, 480), (640, 360), (400, 400), (500, 333), (375, 500))

CAMERAS = (
    Camera("Canon", "Canon EOS 80D"),
    Camera("NIKON CORPORATION", "NIKON D750"),
    Camera("Apple", "iPhone 13"),
    Camera("SONY", "ILCE-7M3"),
    Camera("FUJIFILM", "X-T4"),
    Camera("Google", "Pixel 7"),
)

_GREEN_PLACES = (
    Place("Cotswolds", 51.833, -1.783, 0),
    Place("Black Forest", 48.283, 8.157, 1),
    Place("Bohemian Paradise", 50.517, 15.171, 1),
    Place("Hokkaido", 43.384, 142.436, 9),
)
_WATER_PLACES = (
    Place("Lake Bled", 46.364, 14.095, 1),
    Place("Windermere", 54.363, -2.921, 0),
    Place("Saimaa", 61.250, 28.250, 2),
)
_COAST_PLACES = (
    Place("Cascais", 38.697, -9.421, 0),
    Place("Nida", 55.303, 21.006, 2),
    Place("Byron Bay", -28.643, 153.612, 10),
    Place("Sopot", 54.441, 18.560, 1),
)
_TOWN_PLACES = (
    Place("Lisbon", 38.722, -9.139, 0),
    Place("Vienna", 48.208, 16.373, 1),
    Place("Kyoto", 35.011, 135.768, 9),
    Place("Boston", 42.360, -71.058, -5),
)
_HIGH_PLACES = (
    Place("Zermatt", 46.020, 7.749, 1),
    Place("Banff", 51.178, -115.571, -7),
    Place("High Tatras", 49.166, 20.133, 1),
)
_DRY_PLACES = (
    Place("Merzouga", 31.080, -4.013, 1),
    Place("Joshua Tree", 34.134, -116.313, -8),
)
_SAVANNA_PLACES = (Place("Serengeti", -2.333, 34.833, 3), Place("Etosha", -18.855, 16.329, 2))
_REEF_PLACES = (Place("Dahab", 28.509, 34.513, 2), Place("Bonaire", 12.202, -68.262, -4))

PLACES: dict[str, tuple[Place, ...]] = {
    **dict.fromkeys(
        ("meadow", "forest", "farm", "country road", "campsite", "garden"), _GREEN_PLACES
    ),
    **dict.fromkeys(("lake", "river"), _WATER_PLACES),
    **dict.fromkeys(("beach", "harbour", "open sea"), _COAST_PLACES),
    **dict.fromkeys(
        ("city street", "park", "football pitch", "living room", "village"), _TOWN_PLACES
    ),
    **dict.fromkeys(("mountains", "snow"), _HIGH_PLACES),
    "desert": _DRY_PLACES,
    "savanna": _SAVANNA_PLACES,
    "underwater": _REEF_PLACES,
}


def compose(seed: int, index: int) -> Scene:
    """The content of picture `index` of the library `seed`; the same on every machine."""
    rng = random.Random(f"scene {seed} {index}")  # noqa: S311 - repeatability is the point
    order = _subjects_in_order(seed)
    setting, kind = order[index % len(order)]
    season = rng.choice(SETTINGS[setting].seasons)
    time_of_day, weather = _sky(rng, setting, season, kind)
    main = _thing(rng, setting, kind)
    second = _second_thing(rng, setting, main)
    relation = _relation(rng, main, second) if second else ""
    size = rng.choice(SIZES)
    if main.count >= 4 and size[0] < size[1]:
        size = (size[1], size[0])  # a row of five needs the width
    place = rng.choice(PLACES[setting])
    return Scene(
        setting=setting,
        time_of_day=time_of_day,
        weather=weather,
        main=main,
        second=second,
        relation=relation,
        season=season,
        size=size,
        taken=_moment(rng, time_of_day, season, place),
        place=Place(
            place.name,
            round(place.latitude + rng.uniform(-0.02, 0.02), 5),
            round(place.longitude + rng.uniform(-0.02, 0.02), 5),
            place.utc_offset_h,
        ),
        camera=rng.choice(CAMERAS),
    )


@lru_cache(maxsize=16)
def _subjects_in_order(seed: int) -> Sequence[tuple[str, str]]:
    """Every (setting, main kind) once, shuffled: neighbours in a library differ, and a library of
    300 repeats no pair more than twice."""
    pairs = [(name, kind) for name, setting in SETTINGS.items() for kind in setting.mains]
    random.Random(f"order {seed}").shuffle(pairs)  # noqa: S311
    return tuple(pairs)


def _sky(rng: random.Random, setting: str, season: str, kind: str) -> tuple[str, str]:
    if SETTINGS[setting].indoors:
        return "day", "indoors"
    time_of_day = rng.choices(("day", "sunset", "night"), (68, 18, 14))[0]
    if kind == "campfire":
        time_of_day = rng.choice(("sunset", "night"))
    if kind in ("butterfly", "flower"):
        time_of_day = "day"
    if time_of_day == "night":
        weather = "clear" if season != "winter" or rng.random() < 0.6 else "snowfall"
    elif time_of_day == "sunset":
        weather = rng.choice(("clear", "cloudy"))
    elif season == "winter":
        weather = rng.choice(("sunny", "cloudy", "snowfall", "snowfall", "fog"))
    elif setting in ("desert", "savanna"):
        weather = rng.choice(("sunny", "sunny", "cloudy"))
    elif setting in ("forest", "city street"):  # a rainbow would hide behind trees and roofs
        weather = rng.choice(("sunny", "sunny", "cloudy", "rain", "fog"))
    else:
        weather = rng.choice(("sunny", "sunny", "cloudy", "rain", "fog", "rainbow"))
    return time_of_day, weather


def _thing(rng: random.Random, setting: str, kind: str, *, crowd: bool = True) -> Thing:
    facts = KINDS[kind]
    most = facts.most if crowd else min(facts.most, 2)
    count = 1 if most == 1 else rng.choice((1, *range(1, most + 1)))
    action = rng.choice(facts.actions)
    if kind in PEOPLE and crowd:
        action = rng.choice((*facts.actions, *_special_actions(setting, kind)))
    if setting == "living room" and action in _OUTDOOR_ACTIONS:
        action = rng.choice(("sitting", "standing"))
    if setting == "living room" and kind == "dog" and action == "running":
        action = "sitting"
    if setting in ("city street", "country road") and action in ("sitting", "lying"):
        action = "walking" if "walking" in facts.actions else "standing"
    prop, prop_colour = _PROPS.get(action, ""), ""
    if prop:
        # one person with a kite or a bicycle reads better than three of them
        count = 1
        prop_colour = rng.choice(_FUR if prop == "dog" else _BRIGHT)
    colour = rng.choice(facts.colours)
    if setting == "snow" and colour == "white" and kind not in ("snowman", "church"):
        colour = next(c for c in facts.colours if c != "white")
    return Thing(kind, colour, count, action, prop, prop_colour)


_PROPS = {
    "holding a kite": "kite",
    "holding balloons": "balloon",
    "holding an umbrella": "umbrella",
    "kicking a ball": "ball",
    "riding a bicycle": "bicycle",
    "walking a dog": "dog",
    "sledding": "sled",
    "skiing": "skis",
    "riding a skateboard": "skateboard",
    "fishing": "fishing rod",
}
_OUTDOOR_ACTIONS = (
    "running",
    "holding a kite",
    "holding an umbrella",
    "riding a bicycle",
    "walking a dog",
)


def _special_actions(setting: str, kind: str) -> tuple[str, ...]:
    """What people do in a setting, weighted by repetition."""
    child = kind in ("boy", "girl")
    if setting == "snow":
        return ("sledding",) * 5 if child else ("skiing",) * 5
    if setting == "football pitch":
        return ("kicking a ball",) * 8
    if setting in ("lake", "river", "harbour"):
        return ("fishing",) * 4
    if setting in ("city street", "park") and child:
        return ("riding a skateboard",) * 3
    return ()


def _second_thing(rng: random.Random, setting: str, main: Thing) -> Thing | None:
    if rng.random() < 0.12:
        return None
    kinds = [k for k in SETTINGS[setting].seconds if k not in (main.kind, main.prop)]
    return _thing(rng, setting, rng.choice(kinds), crowd=False)


def _relation(rng: random.Random, main: Thing, second: Thing) -> str:
    above = ("sky", "air")
    if KINDS[second.kind].zone in above and KINDS[main.kind].zone not in above:
        return "above"
    if KINDS[second.kind].zone == "back" and KINDS[main.kind].zone == "ground" and main.count < 3:
        return rng.choice(("left", "right", "behind"))
    return rng.choice(("left", "right"))


def _moment(rng: random.Random, time_of_day: str, season: str, place: Place) -> datetime:
    month = rng.choice(
        {"summer": (5, 6, 7, 8), "autumn": (9, 10, 11), "winter": (12, 1, 2)}[season]
    )
    hour = {"day": (9, 16), "sunset": (18, 19), "night": (21, 23)}[time_of_day]
    return datetime(
        rng.randint(2018, 2024),
        month,
        rng.randint(1, 28),
        rng.randint(*hour),
        rng.randint(0, 59),
        rng.randint(0, 59),
        tzinfo=timezone(timedelta(hours=place.utc_offset_h)),
    )

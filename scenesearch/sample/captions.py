"""Five captions of a drawn scene, worded as different people would word them.

Each names the setting and the main subject, with its colour or number. Most add the second thing,
the weather or the time of day. Number 2, which the judgments are about, names everything.
"""

from __future__ import annotations

import random

from scenesearch.sample.scenes import Scene, Thing

_NUMBERS = ("no", "one", "two", "three", "four", "five")

_NOUNS: dict[str, tuple[str, ...]] = {
    "dog": ("dog", "dog", "puppy"),
    "cat": ("cat", "cat", "kitten"),
    "horse": ("horse", "horse", "pony"),
    "hen": ("hen", "chicken"),
    "rabbit": ("rabbit", "bunny"),
    "deer": ("deer", "stag"),
    "boy": ("boy", "boy", "little boy", "young boy"),
    "girl": ("girl", "girl", "little girl", "young girl"),
    "man": ("man", "man", "guy"),
    "woman": ("woman", "woman", "lady"),
    "diver": ("diver", "scuba diver"),
    "car": ("car", "car", "automobile"),
    "truck": ("truck", "truck", "lorry"),
    "train": ("train", "steam train"),
    "sailing boat": ("sailing boat", "sailboat"),
    "rowing boat": ("rowing boat", "rowboat", "boat"),
    "ship": ("ship", "steamship"),
    "airplane": ("airplane", "plane"),
    "house": ("house", "house", "cottage"),
    "tent": ("tent", "camping tent"),
    "parasol": ("parasol", "beach umbrella"),
    "campfire": ("campfire", "bonfire"),
    "tree": ("tree",),
    "pine tree": ("pine tree", "fir tree"),
    "sofa": ("sofa", "couch"),
    "sandcastle": ("sandcastle", "sand castle"),
    "street lamp": ("street lamp", "lamp post"),
    "lamp": ("lamp", "floor lamp"),
    "ball": ("ball", "ball", "beach ball"),
    "turtle": ("turtle", "sea turtle"),
}

_IRREGULAR = {
    "man": "men",
    "woman": "women",
    "lady": "ladies",
    "puppy": "puppies",
    "pony": "ponies",
    "bunny": "bunnies",
    "sheep": "sheep",
    "deer": "deer",
    "fish": "fish",
    "lorry": "lorries",
    "cactus": "cactuses",
    "octopus": "octopuses",
    "snowman": "snowmen",
    "fox": "foxes",
    "bus": "buses",
    "couch": "couches",
    "butterfly": "butterflies",
    "church": "churches",
    "bench": "benches",
}

# action -> (she ..., they ..., ...ing), several wordings
_VERBS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "running": (("runs", "run", "running"), ("is running", "are running", "running")),
    "jumping": (("jumps", "jump", "jumping"), ("leaps", "leap", "leaping through the air")),
    "sitting": (("sits", "sit", "sitting"), ("is sitting", "are sitting", "sitting")),
    "standing": (("stands", "stand", "standing"), ("is standing", "are standing", "standing")),
    "lying": (("lies", "lie", "lying"), ("rests", "rest", "resting")),
    "walking": (("walks", "walk", "walking"), ("is walking", "are walking", "walking")),
    "grazing": (("grazes", "graze", "grazing"), ("is grazing", "are grazing", "eating grass")),
    "flying": (("flies", "fly", "flying"), ("is flying", "are flying", "flying")),
    "swimming": (("swims", "swim", "swimming"), ("is swimming", "are swimming", "swimming")),
    "waving": (("waves", "wave", "waving"), ("is waving", "are waving", "waving a hand")),
    "driving": (("drives", "drive", "driving"), ("is driving", "are driving", "driving along")),
    "parked": (("is parked", "are parked", "parked"),),
    "sailing": (("sails", "sail", "sailing"), ("is sailing", "are sailing", "sailing")),
    "floating": (("floats", "float", "floating"), ("drifts", "drift", "drifting")),
    "burning": (("burns", "burn", "burning"),),
    "fishing": (("is fishing", "are fishing", "fishing with a rod"), ("fishes", "fish", "fishing")),
    "sledding": (
        ("rides a {prop}", "ride a {prop}", "riding a {prop}"),
        ("is sledding on a {prop}", "are sledding", "sledding on a {prop}"),
    ),
    "skiing": (("skis", "ski", "skiing"), ("is skiing", "are skiing", "skiing")),
    "holding a kite": (
        ("holds a {prop}", "hold a {prop}", "holding a {prop}"),
        ("flies a {prop}", "fly a {prop}", "flying a {prop}"),
    ),
    "holding balloons": (
        ("holds {props}", "hold {props}", "holding {props}"),
        ("is carrying three {props}", "are carrying {props}", "with {props}"),
    ),
    "holding an umbrella": (
        ("holds a {prop}", "hold a {prop}", "holding a {prop}"),
        ("walks under a {prop}", "walk under a {prop}", "under a {prop}"),
    ),
    "kicking a ball": (
        ("kicks a {prop}", "kick a {prop}", "kicking a {prop}"),
        ("plays with a {prop}", "play with a {prop}", "playing with a {prop}"),
    ),
    "riding a bicycle": (
        ("rides a {prop}", "ride a {prop}", "riding a {prop}"),
        ("is riding a {prop}", "are riding a {prop}", "on a {prop}"),
    ),
    "riding a skateboard": (
        ("rides a {prop}", "ride a {prop}", "riding a {prop}"),
        ("is on a {prop}", "are on a {prop}", "on a {prop}"),
    ),
    "walking a dog": (
        ("walks a {prop}", "walk a {prop}", "walking a {prop}"),
        ("is walking a {prop} on a leash", "walk a {prop}", "with a {prop} on a leash"),
    ),
}

_PROP_NOUNS = {
    "bicycle": ("bicycle", "bike"),
    "sled": ("sled", "sledge"),
    "dog": ("dog",),
    "balloon": ("balloon",),
    "fishing rod": ("fishing rod",),
}

# where, after a verb: "runs ..."
_WHERE: dict[str, tuple[str, ...]] = {
    "meadow": (
        "in a green meadow",
        "in a grassy field",
        "on the grass",
        "in a meadow with flowers",
    ),
    "beach": ("on the beach", "on a sandy beach", "on the sand by the sea", "at the seaside"),
    "mountains": ("in the mountains", "below snowy mountains", "in front of high mountain peaks"),
    "desert": ("in the desert", "among sand dunes", "on the desert sand"),
    "city street": ("on a city street", "in the city", "on a street in front of tall buildings"),
    "forest": ("in the forest", "in the woods", "between the trees of a forest"),
    "lake": ("at a lake", "by the lake", "at the edge of a lake"),
    "snow": ("in the snow", "on a snowy field", "through deep snow", "on snow covered ground"),
    "park": ("in the park", "in a park with a path", "on the path of a park"),
    "harbour": ("in a harbour", "at the harbour", "in the port by the water"),
    "open sea": ("on the open sea", "on the ocean", "out at sea"),
    "farm": ("on a farm", "in a farm field", "beside the wooden fence of a farm"),
    "country road": (
        "on a country road",
        "along a road through fields",
        "on a road in the country",
    ),
    "village": ("in a village", "in a small village", "in a village square"),
    "river": ("at a river", "by a river with a stone bridge", "beside the river"),
    "football pitch": ("on a football pitch", "on a soccer field", "in a stadium"),
    "living room": ("in a living room", "inside a house on a rug", "indoors in a room"),
    "underwater": ("underwater", "under the sea among corals", "in the sea near a coral reef"),
    "garden": ("in a garden", "in a garden with a white fence", "in the back yard"),
    "campsite": ("at a campsite", "on a camping ground near the woods", "at a camp in the woods"),
    "savanna": ("in the savanna", "on the African plain", "in dry yellow grass"),
}
_AFLOAT = {
    "lake": ("on a lake", "on the lake", "on the water of a lake"),
    "harbour": ("in a harbour", "in the harbour", "in the water of a port"),
    "river": ("on a river", "in the river", "on a river with a stone bridge"),
    "beach": ("off the beach", "on the sea by the beach", "near a sandy beach"),
}
_ALOFT = {
    "meadow": ("over a green meadow", "above a grassy field"),
    "beach": ("over the beach", "above a sandy beach"),
    "mountains": ("over the mountains", "above snowy mountains"),
    "desert": ("over the desert", "above sand dunes"),
    "city street": ("over a city street", "above the street of a city"),
    "forest": ("in the forest", "between the trees of a forest"),
    "lake": ("over a lake", "above the lake"),
    "snow": ("over the snow", "above a snowy field"),
    "park": ("over the park", "above a path in the park"),
    "harbour": ("over a harbour", "above the harbour"),
    "open sea": ("over the sea", "above the open sea"),
    "farm": ("over a farm", "above a farm field"),
    "country road": ("over a country road", "above a road through fields"),
    "village": ("over a village", "above a small village"),
    "river": ("over a river", "above the river"),
    "campsite": ("over a campsite", "above a camp in the woods"),
    "savanna": ("over the savanna", "above the African plain"),
    "garden": ("in a garden", "over the garden"),
    "football pitch": ("over a football pitch", "above a soccer field"),
    "living room": ("in a living room", "in a room"),
}

_WEATHER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # weather: (at the beginning, at the end)
    "sunny": (("On a sunny day", "Under a blue sky"), ("in the sunshine", "on a sunny day")),
    "cloudy": (("Under a cloudy sky", "On a grey day"), ("under grey clouds", "on a cloudy day")),
    "rain": (("In the rain", "On a rainy day"), ("in the rain", "while it rains")),
    "snowfall": (("While it snows", "In falling snow"), ("as snow falls", "in falling snow")),
    "fog": (("In the fog", "On a foggy day"), ("in the mist", "in thick fog")),
    "rainbow": (("Under a rainbow", "After the rain"), ("under a rainbow", "with a rainbow above")),
}
_HOURS = {
    "night": (
        ("At night", "Under the moon and stars"),
        ("at night", "under a starry sky", "in the moonlight"),
    ),
    "sunset": (("At sunset", "In the evening light"), ("at sunset", "under an orange evening sky")),
}


def captions_of(scene: Scene, seed: int, index: int) -> tuple[str, str, str, str, str]:
    """The five captions of picture `index`; the same on every machine."""
    rng = random.Random(f"caption {seed} {index}")  # noqa: S311 - repeatability is the point
    words = _Wording(scene, rng)
    one = f"{words.subject()} {words.does()} {words.where()}"
    if scene.second is not None and rng.random() < 0.7:
        one += f" {words.beside()}"
    two = f"{words.opening()} {words.subject()} {words.does()} {words.where()}"
    three = f"{words.subject()} {words.does()} {words.where()} {words.beside()} {words.sky_end()}"
    four = f"{words.subject()} {words.doing()} {words.where()}"
    four += f" {rng.choice((words.sky_end(), words.beside()))}"
    is_are = "are" if scene.main.count > 1 else "is"
    if scene.second is not None and rng.random() < 0.6:
        five = f"There {is_are} {words.subject()} and {words.second()} {words.where(still=True)}"
    else:
        five = f"There {is_are} {words.subject()} {words.doing()} {words.where()}"
        five += f" {words.sky_end()}" if rng.random() < 0.5 else ""
    first, second, third, fourth, fifth = (
        _sentence(line, rng) for line in (one, two, three, four, five)
    )
    return first, second, third, fourth, fifth


class _Wording:
    """Random wordings for the parts of a scene; each call draws again."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene, self.rng = scene, rng

    def subject(self) -> str:
        thing = self.scene.main
        if thing.kind in ("boy", "girl", "man", "woman"):
            noun = self._noun(thing)
            shirt = f"{thing.colour} shirt"
            in_shirt = f"in {_counted(1, shirt) if thing.count == 1 else _plural(shirt)}"
            clothes = self.rng.choice((f"in {thing.colour}", in_shirt, f"wearing {thing.colour}"))
            return f"{_counted(thing.count, noun)} {clothes}"
        return self._plain(thing)

    def second(self) -> str:
        return self._plain(self.scene.second) if self.scene.second else "nothing else"

    def _plain(self, thing: Thing) -> str:
        noun = self._noun(thing)
        obvious = thing.kind in ("tree", "pine tree", "palm tree", "cactus", "campfire", "snowman",
                                 "sandcastle", "street lamp")  # fmt: skip
        colour = "" if obvious else f"{thing.colour} "
        if thing.kind == "sailing boat":
            sail = (
                f"{thing.colour} sails" if thing.count > 1 else _counted(1, f"{thing.colour} sail")
            )
            return f"{_counted(thing.count, noun)} with {sail}"
        if thing.kind == "tree" and self.scene.season == "autumn":
            colour = "autumn "
        return _counted(thing.count, f"{colour}{noun}")

    def _noun(self, thing: Thing) -> str:
        return self.rng.choice(_NOUNS.get(thing.kind, (thing.kind,)))

    def _verb(self) -> tuple[str, str, str]:
        thing = self.scene.main
        forms = self.rng.choice(_VERBS[thing.action])
        if not thing.prop:
            return forms
        noun = self.rng.choice(_PROP_NOUNS.get(thing.prop, (thing.prop,)))
        prop, props = f"{thing.prop_colour} {noun}", f"{thing.prop_colour} {_plural(noun)}"
        one, many, ing = (
            form.replace("a {prop}", _counted(1, prop)).replace("{props}", props) for form in forms
        )
        return one, many, ing

    def does(self) -> str:
        forms = self._verb()
        return forms[1] if self.scene.main.count > 1 else forms[0]

    def doing(self) -> str:
        return self._verb()[2]

    def where(self, *, still: bool = False) -> str:
        scene = self.scene
        kind, action = scene.main.kind, scene.main.action
        if (action == "flying" and kind != "butterfly") or kind == "balloon":
            choices = _ALOFT.get(scene.setting, _WHERE[scene.setting])
        elif action in ("sailing", "swimming") or kind == "rowing boat":
            choices = _AFLOAT.get(scene.setting, _WHERE[scene.setting])
        else:
            choices = _WHERE[scene.setting]
            if action not in ("running", "walking", "skiing", "sledding") or still:
                choices = tuple(c for c in choices if not c.startswith(("through", "along")))
        return self.rng.choice(choices)

    def beside(self) -> str:
        if self.scene.second is None:
            return self.rng.choice(("alone", "with nothing else around"))
        second = self.second()
        wordings = {
            "left": (
                f"with {second} on the left",
                f"next to {second}",
                f"to the right of {second}",
            ),
            "right": (
                f"with {second} on the right",
                f"beside {second}",
                f"to the left of {second}",
            ),
            "above": (f"with {second} above", f"below {second}", f"with {second} in the air"),
            "behind": (
                f"in front of {second}",
                f"with {second} behind",
                f"with {second} in the background",
            ),
        }
        return self.rng.choice(wordings[self.scene.relation])

    def opening(self) -> str:
        scene = self.scene
        if scene.time_of_day != "day":
            return self.rng.choice(_HOURS[scene.time_of_day][0])
        return self.rng.choice(_WEATHER[scene.weather][0]) if scene.weather in _WEATHER else "Here"

    def sky_end(self) -> str:
        scene = self.scene
        if scene.time_of_day != "day":
            return self.rng.choice(_HOURS[scene.time_of_day][1])
        if scene.weather in _WEATHER:
            return self.rng.choice(_WEATHER[scene.weather][1])
        return ""


def _counted(count: int, noun: str) -> str:
    if count > 1:
        return f"{_NUMBERS[count]} {_plural(noun)}"
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _plural(noun: str) -> str:
    before, _, last = noun.rpartition(" ")
    many = _IRREGULAR.get(last, f"{last}s")
    return f"{before} {many}".strip()


def _sentence(line: str, rng: random.Random) -> str:
    """A sentence in the spelling of real captions: sometimes with a full stop."""
    text = " ".join(line.split())
    text = text[0].upper() + text[1:]
    return text + rng.choice((".", " .", ""))

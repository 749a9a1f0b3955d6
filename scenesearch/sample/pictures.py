"""Paints a `Scene`: backdrop, then its things from far to near, then weather and paper."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from scenesearch.sample.backdrops import BACKDROPS
from scenesearch.sample.canvas import SUPERSAMPLING, Canvas, Pen
from scenesearch.sample.scenes import KINDS, Scene, Thing
from scenesearch.sample.things import DRAWINGS


def paint(scene: Scene, seed: int, index: int) -> Image.Image:
    """The picture of a scene, RGB, `scene.size` pixels."""
    rng = random.Random(f"paint {seed} {index}")  # noqa: S311 - repeatability is the point
    canvas = Canvas(scene, rng)
    horizon = BACKDROPS[scene.setting](canvas)
    for put in sorted(_arrange(canvas, scene, horizon), key=lambda p: p.depth):
        pen = Pen(canvas, put.x, put.y, put.height, flip=put.flip)
        DRAWINGS[put.thing.kind].draw(pen, put.thing, rng)
    _weather(canvas)
    return _on_paper(canvas.image.reduce(SUPERSAMPLING), rng)


@dataclass(frozen=True)
class _Placed:
    """One thing and the position of its feet, in canvas pixels; nearer things have more depth."""

    thing: Thing
    x: float
    y: float
    height: float
    flip: bool
    depth: float


# Width of a person with a thing they carry, in heights of the person.
_WIDER = {"kite": 1.3, "dog": 1.4, "bicycle": 0.95, "fishing rod": 1.2, "sled": 1.0, "skis": 1.0,
          "ball": 0.9, "umbrella": 0.9, "balloon": 0.7, "skateboard": 0.8}  # fmt: skip
_TALLER = {"kite": 0.78, "balloon": 0.76, "umbrella": 0.84, "bicycle": 0.9, "sled": 1.25}


def _arrange(canvas: Canvas, scene: Scene, horizon: float) -> list[_Placed]:
    rng, w = canvas.rng, canvas.width
    side = {"left": -1.0, "right": 1.0}.get(scene.relation, 0.0)
    centre = w * (0.5 - 0.14 * side) if side else w * rng.uniform(0.42, 0.58)
    room = w * (0.60 if side else 0.90)
    faces_left = rng.random() < 0.5
    if side and rng.random() < 0.6:
        faces_left = side < 0
    main = _group(canvas, scene, scene.main, horizon, centre, room, 1.0, faces_left)
    if scene.second is None:
        return main
    second = scene.second
    zone = KINDS[second.kind].zone
    if scene.relation == "above":
        where = centre + w * rng.uniform(-0.16, 0.16)
        return main + _group(canvas, scene, second, horizon, where, w * 0.6, 0.62, not faces_left)
    if scene.relation == "behind":
        where = centre + w * rng.choice((-0.13, 0.13))
        return main + _group(canvas, scene, second, horizon, where, w * 0.7, 0.95, not faces_left)
    where = w * (0.5 + 0.32 * side)
    scale = 0.82 if zone == "back" else 0.66
    return main + _group(canvas, scene, second, horizon, where, w * 0.36, scale, not faces_left)


def _group(
    canvas: Canvas,
    scene: Scene,
    thing: Thing,
    horizon: float,
    centre: float,
    room: float,
    scale: float,
    faces_left: bool,
) -> list[_Placed]:
    """`thing.count` of a thing around `centre`, no wider than `room`."""
    rng, w, h = canvas.rng, canvas.width, canvas.height
    is_main = thing is scene.main
    drawing = DRAWINGS[thing.kind]
    aspect = max(drawing.aspect, _WIDER.get(thing.prop, 0.0))
    if thing.action in ("running", "jumping") and thing.kind not in ("boy", "girl", "man", "woman"):
        aspect *= 1.15
    height = min(h, w * 0.95) * drawing.height * scale
    height = height * _TALLER.get(thing.prop, 1.0) * rng.uniform(0.95, 1.1)
    zone = KINDS[thing.kind].zone
    n = thing.count
    height *= (1.0, 1.0, 0.88, 0.78, 0.72, 0.66)[n]
    height = min(height, h * 0.66)
    if zone in ("sky", "air", "deep") and n > 1:
        # A loose flock: one slot each across, heights alternating, so that all can be counted.
        step = min(height * aspect * 1.12, room / n)
        height = min(height, step / aspect * 1.25)
        centre = _within(w, centre, step * n / 2, w * 0.01)
        base = _base(canvas, scene, zone, horizon, is_main, height)
        puts = []
        for k in range(n):
            up = (k % 2) * height * 1.05 + rng.uniform(-0.12, 0.12) * height
            y = max(height * 1.06, base - up)
            x = centre + step * (k - (n - 1) / 2)
            size = height * rng.uniform(0.9, 1.08)
            puts.append(_Placed(thing, x, y, size, faces_left, 0.0 if zone == "sky" else y))
        return puts
    step = height * aspect * (1.04 if n < 4 else 0.86)
    if step * n > room:
        height *= room / (step * n)
        step = room / n
    height = max(height, h * 0.07)
    centre = _within(w, centre, step * n / 2, w * 0.015)
    base = _base(canvas, scene, zone, horizon, is_main, height)
    puts = []
    for k in range(n):
        nearer = (k % 2) * height * (0.16 if n > 1 else 0.0)
        y = base + nearer if zone in ("ground", "water") else base
        size = height * rng.uniform(0.92, 1.06) if n > 1 else height
        flip = faces_left if rng.random() < 0.85 else not faces_left
        x = centre + step * (k - (n - 1) / 2)
        if thing.prop in ("kite", "dog", "fishing rod"):  # these reach out ahead: step back
            x += height * 0.30 * (1 if flip else -1)
        puts.append(_Placed(thing, x, min(y, h * 0.985), size, flip, y if zone != "sky" else 0.0))
    return puts


def _within(width: float, centre: float, half: float, margin: float) -> float:
    """The centre moved so that `half` fits on both sides; the middle if that is impossible."""
    if half * 2 >= width:
        return width / 2
    return min(max(centre, half + margin), width - half - margin)


def _base(
    canvas: Canvas, scene: Scene, zone: str, horizon: float, is_main: bool, height: float
) -> float:
    """The y of the feet for things of a zone."""
    rng, h = canvas.rng, canvas.height
    land = h - horizon
    setting = scene.setting
    if zone == "sky":
        low = horizon * (0.92 if is_main else 0.62)
        return max(height * 1.08, low * rng.uniform(0.86, 1.0))
    if zone == "air":
        return h * rng.uniform(0.56, 0.66) if is_main else max(height * 1.05, h * 0.40)
    if zone == "deep":
        return h * rng.uniform(0.56, 0.68) if is_main else h * rng.uniform(0.34, 0.74)
    if zone == "water":
        near = {"beach": 0.30, "lake": 0.62, "river": 0.52, "harbour": 0.60, "open sea": 0.62}
        far = {"beach": 0.16, "lake": 0.30, "river": 0.42, "harbour": 0.36, "open sea": 0.30}
        return horizon + land * (near if is_main else far).get(setting, 0.5)
    if zone == "back":
        near = {"lake": 0.84, "harbour": 0.76, "river": 0.82, "beach": 0.66, "city street": 0.30}
        far = {"lake": 0.80, "harbour": 0.74, "river": 0.14, "beach": 0.54, "city street": 0.14}
        if is_main:
            return horizon + land * near.get(setting, rng.uniform(0.52, 0.66))
        return horizon + land * far.get(setting, rng.uniform(0.2, 0.36))
    low, high = {"lake": (0.93, 0.97), "harbour": (0.91, 0.96), "river": (0.90, 0.96)}.get(
        setting, (0.86, 0.94) if is_main else (0.80, 0.90)
    )
    return h * rng.uniform(low, high)


def _weather(canvas: Canvas) -> None:
    rng, u = canvas.rng, canvas.unit
    w, h = canvas.width, canvas.height
    if canvas.scene.weather == "rain":
        for _ in range(260):
            x, y, size = rng.uniform(0, w), rng.uniform(0, h), u * rng.uniform(2.5, 5)
            canvas.draw.line(
                (x, y, x - size * 0.3, y + size),
                fill=(226, 236, 246, 130),
                width=max(1, round(u * 0.25)),
            )
    elif canvas.scene.weather == "snowfall":
        for _ in range(240):
            x, y, r = rng.uniform(0, w), rng.uniform(0, h), u * rng.uniform(0.25, 0.9)
            canvas.draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255, 225))
    elif canvas.scene.weather == "fog":
        for _ in range(7):
            x, y = rng.uniform(0, w), rng.uniform(0.25, 0.75) * h
            for step in range(5, 0, -1):
                rx, ry = u * 9 * step, u * 1.5 * step
                canvas.draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=(226, 230, 232, 15))


@lru_cache(maxsize=1)
def _grain() -> Image.Image:
    """A tile of paper grain, one channel around 128: coarse blotches plus fine speckle."""
    noise = np.random.Generator(np.random.PCG64(20)).random
    side = 1024
    total = np.zeros((side, side))
    for cells, share in ((12, 0.35), (64, 0.25), (side, 0.4)):
        coarse = Image.fromarray((noise((cells, cells)) * 255).astype(np.uint8))
        total += share * np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def _on_paper(image: Image.Image, rng: random.Random) -> Image.Image:
    """The picture on slightly uneven paper: flat colour looks like clip art, this does not."""
    x, y = rng.randrange(1024 - image.width), rng.randrange(1024 - image.height)
    tile = np.asarray(_grain().crop((x, y, x + image.width, y + image.height)), np.int32) - 128
    pixels = np.asarray(image, np.int32)
    # integer arithmetic: the same on every machine
    return Image.fromarray(
        (pixels + (pixels + 64) * tile[:, :, None] // 1300).clip(0, 255).astype(np.uint8)
    )

"""The things of the drawn library, each from a few shapes: animals, people, vehicles, buildings.

A drawing function gets a `Pen` whose unit is the thing's height, feet at (0, 0), facing right.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scenesearch.sample.canvas import (
    COLOURS,
    HAIR,
    SKIN,
    Pen,
    Point,
    Rgb,
    colour_of,
    dark,
    light,
    mix,
)
from scenesearch.sample.scenes import Thing

_INK: Rgb = (34, 28, 34)
_GLASS: Rgb = (168, 208, 228)
_WOOD: Rgb = (140, 98, 60)
_LEAF: Rgb = (66, 136, 62)


# --- four-legged animals -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Beast:
    """Proportions of a four-legged animal that is 1 high."""

    leg: float
    long: float  # half the body's length
    deep: float  # half the body's depth
    neck: Point  # from the shoulder to the head
    head: Point  # half length and half depth of the head
    muzzle: float
    ears: str  # flop, point, long, side, round
    tail: str  # up, curl, hair, thin, bush, stub
    leg_width: float = 0.07
    neck_width: float = 0.17
    hoof: bool = False


_BEASTS: dict[str, _Beast] = {
    "dog": _Beast(0.42, 0.40, 0.155, (0.16, 0.22), (0.145, 0.12), 0.10, "flop", "up", 0.085),
    "cat": _Beast(
        0.36, 0.36, 0.15, (0.12, 0.20), (0.15, 0.135), 0.055, "point", "curl", 0.08, 0.16
    ),
    "horse": _Beast(
        0.46, 0.36, 0.15, (0.17, 0.32), (0.13, 0.075), 0.11, "point", "hair", 0.06, 0.15, True
    ),
    "cow": _Beast(
        0.36, 0.50, 0.23, (0.20, 0.16), (0.15, 0.11), 0.13, "side", "thin", 0.085, 0.22, True
    ),
    "sheep": _Beast(0.30, 0.42, 0.26, (0.12, 0.12), (0.12, 0.10), 0.07, "side", "stub", 0.07, 0.16),
    "pig": _Beast(0.24, 0.52, 0.29, (0.12, 0.06), (0.18, 0.17), 0.10, "point", "pig", 0.11, 0.3),
    "rabbit": _Beast(
        0.14, 0.27, 0.21, (0.09, 0.22), (0.15, 0.125), 0.06, "long", "stub", 0.09, 0.2
    ),
    "fox": _Beast(0.38, 0.40, 0.145, (0.15, 0.20), (0.145, 0.11), 0.12, "point", "bush", 0.07),
    "deer": _Beast(
        0.42, 0.30, 0.125, (0.14, 0.27), (0.105, 0.065), 0.09, "side", "stub", 0.045, 0.11, True
    ),
    "camel": _Beast(
        0.42, 0.36, 0.15, (0.26, 0.30), (0.12, 0.07), 0.10, "point", "thin", 0.06, 0.12, True
    ),
    "elephant": _Beast(
        0.36, 0.42, 0.28, (0.22, 0.10), (0.20, 0.20), 0.0, "elephant", "thin", 0.16, 0.34
    ),
}


def _beast(pen: Pen, thing: Thing, rng: random.Random) -> None:
    shape = _BEASTS[thing.kind]
    coat = colour_of(thing.colour)
    if thing.kind == "cow" and thing.colour == "black and white":
        coat = COLOURS["white"]
    pen.shadow(shape.long * 1.15)
    if thing.action == "sitting":
        _sitting(pen, shape, coat, thing)
        return
    far = dark(coat, 0.34)
    body_y = shape.leg + shape.deep * 0.75
    feet: tuple[float, float, float, float] = (0.03, -0.05, -0.03, 0.05)
    lift = 0.0
    if thing.action == "walking":
        feet = (0.12, -0.10, 0.10, -0.12)
    elif thing.action in ("running", "jumping"):
        feet, lift = (0.34, 0.22, -0.36, -0.24), shape.leg * 0.30
        pen = pen.shifted(0.0, 0.26 if thing.action == "jumping" else 0.03)
    lying = thing.action == "lying"
    if lying:
        body_y = shape.deep * 0.95
    hips = (shape.long * 0.72, shape.long * 0.56, -shape.long * 0.72, -shape.long * 0.56)

    def leg(which: int, colour: Rgb) -> None:
        x = hips[which]
        if lying:
            ahead = 0.26 if which < 2 else 0.14
            pen.limb(
                [(x, body_y * 0.5), (x + ahead, shape.leg_width * 0.5)], shape.leg_width, colour
            )
            return
        foot = (x + feet[which], lift)
        bend = 0.05 if which >= 2 else -0.02
        if lift:
            bend = 0.10 if which < 2 else -0.10
        knee = (x + feet[which] * 0.45 + bend * 0.6, (body_y + lift) * 0.46)
        pen.limb([(x, body_y), knee, foot], shape.leg_width, colour)
        if shape.hoof:
            pen.ellipse(foot[0], foot[1] + 0.015, shape.leg_width * 0.62, 0.03, _INK)
        else:
            pen.ellipse(foot[0] + 0.02, foot[1] + 0.01, shape.leg_width * 0.75, 0.035, colour)

    _tail(pen, shape, coat, (-shape.long * 0.95, body_y + shape.deep * 0.4))
    leg(1, far)
    leg(3, far)
    tilt = 12.0 if thing.action == "jumping" else 0.0
    pen.blob(0.0, body_y, shape.long, shape.deep, coat, tilt)
    pen.blob(shape.long * 0.62, body_y + shape.deep * 0.1, shape.deep * 1.0, shape.deep * 1.0, coat)
    pen.blob(-shape.long * 0.62, body_y + shape.deep * 0.05, shape.deep * 1.0, shape.deep, coat)
    if thing.kind == "sheep":
        _wool(pen, shape, coat, body_y)
    if thing.kind == "camel":
        pen.blob(-0.14, body_y + shape.deep * 1.0, 0.12, 0.15, coat)
        pen.blob(0.12, body_y + shape.deep * 1.0, 0.12, 0.15, coat)
    if thing.kind == "cow" and thing.colour == "black and white":
        for dx, dy, r in ((-0.26, 0.05, 0.13), (0.08, -0.02, 0.11), (0.30, 0.08, 0.09)):
            pen.ellipse(dx, body_y + dy, r, r * 0.85, COLOURS["black"], 20)
    leg(0, coat)
    leg(2, coat)
    shoulder = (shape.long * 0.78, body_y + shape.deep * 0.35)
    if thing.action == "grazing":
        head = (shoulder[0] + 0.24, shape.head[1] * 1.1 + 0.02)
        _neck_and_head(pen, shape, thing, coat, shoulder, head, -62.0)
    else:
        head = (shoulder[0] + shape.neck[0], shoulder[1] + shape.neck[1])
        _neck_and_head(pen, shape, thing, coat, shoulder, head, -14.0)


def _wool(pen: Pen, shape: _Beast, coat: Rgb, body_y: float) -> None:
    for k in range(14):
        turn = 2 * math.pi * k / 14
        x = shape.long * 0.9 * math.cos(turn)
        y = body_y + shape.deep * 0.85 * math.sin(turn)
        pen.ellipse(x, y, 0.11, 0.11, dark(coat, 0.12) if math.sin(turn) < 0 else coat)
    pen.ellipse(0, body_y, shape.long * 0.92, shape.deep * 0.88, coat)
    for x, y in ((-0.2, 0.1), (0.05, 0.16), (0.22, 0.02), (-0.05, -0.04), (-0.26, -0.06)):
        pen.ellipse(x, body_y + y, 0.09, 0.07, light(coat, 0.3))
        pen.ellipse(x + 0.03, body_y + y - 0.03, 0.06, 0.04, dark(coat, 0.08))


def _tail(pen: Pen, shape: _Beast, coat: Rgb, root: Point) -> None:
    x, y = root
    if shape.tail == "up":
        pen.limb([(x + 0.04, y), (x - 0.10, y + 0.10), (x - 0.14, y + 0.24)], 0.065, coat)
    elif shape.tail == "curl":
        curve = [(x + 0.04, y), (x - 0.12, y + 0.06), (x - 0.16, y + 0.24), (x - 0.08, y + 0.38)]
        pen.limb(curve, 0.06, coat)
    elif shape.tail == "hair":
        hair = dark(coat, 0.45)
        pen.limb([(x, y), (x - 0.09, y - 0.06), (x - 0.12, y - 0.34)], 0.085, hair)
    elif shape.tail == "thin":
        pen.limb([(x, y), (x - 0.07, y - 0.10), (x - 0.08, y - 0.36)], 0.03, coat)
        pen.ellipse(x - 0.08, y - 0.40, 0.03, 0.06, dark(coat, 0.5))
    elif shape.tail == "bush":
        pen.limb([(x + 0.04, y), (x - 0.16, y - 0.02), (x - 0.32, y - 0.08)], 0.15, coat)
        pen.ellipse(x - 0.38, y - 0.10, 0.09, 0.07, COLOURS["white"], 15)
    elif shape.tail == "pig":
        pen.limb(
            [(x, y), (x - 0.07, y + 0.06), (x - 0.03, y + 0.12), (x - 0.10, y + 0.12)], 0.03, coat
        )
    else:
        pen.ellipse(x - 0.02, y, 0.07, 0.07, light(coat, 0.4))


def _neck_and_head(
    pen: Pen, shape: _Beast, thing: Thing, coat: Rgb, shoulder: Point, head: Point, angle: float
) -> None:
    """`angle` is where the nose points, in degrees up from ahead."""
    hx, hy = head
    pen.limb([shoulder, (hx - shape.head[0] * 0.3, hy)], shape.neck_width, coat)
    if thing.kind == "horse":
        mane = dark(coat, 0.5)
        pen.limb([(shoulder[0] - 0.07, shoulder[1] + 0.08), (hx - 0.11, hy + 0.06)], 0.07, mane)
    face = coat
    if thing.kind == "sheep":
        face = COLOURS["black"] if thing.colour == "white" else (96, 88, 84)
    along = (math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    rx, ry = shape.head
    _ears(pen, shape, dark(face, 0.3), hx, hy, far=True)
    pen.blob(hx, hy, rx, ry, face, angle)
    if shape.muzzle:
        nose = (hx + along[0] * rx * 0.9, hy + along[1] * rx * 0.9 - 0.01)
        snout = {"fox": COLOURS["white"], "cow": (224, 178, 160)}.get(thing.kind, light(face, 0.12))
        pen.ellipse(nose[0], nose[1], shape.muzzle, ry * 0.62, snout, angle)
        tip = (nose[0] + along[0] * shape.muzzle * 0.8, nose[1] + along[1] * shape.muzzle * 0.8)
        if thing.kind == "pig":
            pen.ellipse(tip[0], tip[1], 0.05, 0.10, dark(face, 0.25), angle)
        else:
            pen.ellipse(tip[0], tip[1] + 0.01, 0.026, 0.026, _INK)
    if thing.kind == "elephant":
        trunk = [
            (hx + 0.16, hy - 0.04),
            (hx + 0.26, hy - 0.22),
            (hx + 0.24, hy - 0.42),
            (hx + 0.32, hy - 0.50),
        ]
        pen.limb(trunk, 0.10, coat)
        pen.limb([(hx + 0.14, hy - 0.14), (hx + 0.30, hy - 0.20)], 0.04, (250, 246, 226))
    eye = (hx + rx * 0.25, hy + ry * 0.25)
    pen.ellipse(*eye, 0.024, 0.026, (250, 250, 250) if sum(face) < 200 else _INK)
    if sum(face) < 200:
        pen.ellipse(*eye, 0.013, 0.015, _INK)
    _ears(pen, shape, dark(face, 0.15), hx, hy, far=False)
    if thing.kind == "deer":
        for side in (-0.03, 0.05):
            base = (hx - 0.03 + side, hy + ry)
            for tip in ((-0.10, 0.20), (0.03, 0.22), (0.10, 0.14)):
                pen.limb(
                    [
                        base,
                        (base[0] + tip[0] * 0.5, base[1] + 0.10),
                        (base[0] + tip[0], base[1] + tip[1]),
                    ],
                    0.024,
                    (116, 84, 54),
                )
    if thing.kind == "cow":
        for side in (-0.06, 0.03):
            pen.limb(
                [(hx + side, hy + ry * 0.8), (hx + side + 0.03, hy + ry + 0.10)],
                0.035,
                (226, 216, 190),
            )


def _ears(pen: Pen, shape: _Beast, colour: Rgb, hx: float, hy: float, *, far: bool) -> None:
    rx, ry = shape.head
    shift = 0.07 if far else -0.02
    x = hx - rx * 0.3 + shift
    if shape.ears == "flop":
        pen.ellipse(x - 0.04, hy - 0.01, 0.05, 0.11, colour, 12)
    elif shape.ears == "point":
        pen.polygon(
            [(x - 0.06, hy + ry * 0.6), (x + 0.06, hy + ry * 0.75), (x - 0.01, hy + ry + 0.10)],
            colour,
        )
    elif shape.ears == "long":
        pen.ellipse(x - 0.04, hy + ry + 0.13, 0.045, 0.18, colour, 14)
        pen.ellipse(x - 0.04, hy + ry + 0.13, 0.02, 0.13, (240, 180, 180), 14)
    elif shape.ears == "side" and not far:
        pen.ellipse(x - 0.09, hy + ry * 0.5, 0.10, 0.04, colour, 160)
    elif shape.ears == "elephant" and not far:
        pen.blob(hx - 0.16, hy - 0.04, 0.16, 0.24, colour, 8)


def _sitting(pen: Pen, shape: _Beast, coat: Rgb, thing: Thing) -> None:
    _tail(pen, replace(shape, tail=shape.tail), coat, (-shape.long * 0.55, 0.10))
    deep, high = shape.deep, 0.60 if shape.leg > 0.2 else 0.46
    pen.limb([(0.16, high * 0.8), (0.18, 0.03)], shape.leg_width, dark(coat, 0.34))
    pen.blob(-0.08, high * 0.55, deep * 1.15, high * 0.62, coat, -22)
    pen.blob(-0.16, deep * 0.95, deep * 1.15, deep * 1.0, coat)
    pen.limb([(-0.08, 0.05), (0.08, 0.035)], shape.leg_width * 1.05, coat)
    pen.limb([(0.11, high * 0.8), (0.13, 0.03)], shape.leg_width, coat)
    pen.ellipse(0.16, 0.025, shape.leg_width * 0.8, 0.035, coat)
    shoulder = (0.06, high * 0.88)
    head = (shoulder[0] + shape.neck[0] * 0.6, shoulder[1] + shape.neck[1] * 0.9)
    _neck_and_head(pen, shape, thing, coat, shoulder, head, -8.0)


# --- birds, fish and other animals ---------------------------------------------------------------


def _bird(pen: Pen, thing: Thing, rng: random.Random) -> None:
    """In flight, wings up or down."""
    coat = colour_of(thing.colour)
    up = rng.choice((0.5, 0.38, -0.26))
    pen.polygon([(-0.42, 0.44), (-0.78, 0.52), (-0.74, 0.36), (-0.36, 0.34)], dark(coat, 0.2))
    pen.polygon(
        [(-0.06, 0.46), (-0.42, 0.46 + up * 1.25), (-0.02, 0.5 + up * 1.1), (0.24, 0.48)],
        dark(coat, 0.35),
    )
    pen.blob(-0.05, 0.42, 0.46, 0.17, coat, 6)
    pen.ellipse(0.42, 0.52, 0.15, 0.14, coat)
    pen.polygon([(0.54, 0.55), (0.72, 0.49), (0.54, 0.46)], (244, 166, 40))
    pen.ellipse(0.46, 0.55, 0.03, 0.03, _INK if sum(coat) > 240 else (250, 250, 250))
    pen.polygon(
        [(-0.22, 0.46), (-0.30, 0.46 + up * 1.15), (0.0, 0.5 + up * 1.5), (0.26, 0.48)],
        dark(coat, 0.12),
    )
    pen.polygon(
        [(0.0, 0.5 + up * 1.5), (-0.30, 0.46 + up * 1.15), (-0.18, 0.46 + up * 0.8)],
        dark(coat, 0.4),
    )


def _duck(pen: Pen, thing: Thing, rng: random.Random) -> None:
    coat = colour_of(thing.colour)
    _waterline(pen, 0.62)
    pen.polygon([(-0.42, 0.24), (-0.66, 0.46), (-0.3, 0.4)], coat)
    pen.blob(-0.02, 0.2, 0.5, 0.24, coat)
    pen.limb([(0.32, 0.3), (0.36, 0.62)], 0.2, coat)
    pen.blob(0.38, 0.74, 0.19, 0.18, coat if thing.colour != "brown" else (36, 110, 70))
    pen.polygon([(0.54, 0.76), (0.80, 0.70), (0.54, 0.64)], (240, 140, 30))
    pen.ellipse(0.44, 0.79, 0.035, 0.035, _INK)
    pen.ellipse(-0.12, 0.25, 0.3, 0.13, dark(coat, 0.16), 14)
    pen.polygon([(-0.6, 0.0), (0.55, 0.0), (0.45, 0.05), (-0.5, 0.05)], (120, 180, 210), 150)


def _swan(pen: Pen, thing: Thing, rng: random.Random) -> None:
    coat = colour_of(thing.colour)
    _waterline(pen, 0.6)
    pen.polygon([(-0.44, 0.14), (-0.72, 0.40), (-0.3, 0.36)], coat)
    pen.blob(-0.04, 0.16, 0.5, 0.2, coat)
    pen.limb([(0.34, 0.2), (0.50, 0.42), (0.36, 0.62), (0.40, 0.82), (0.5, 0.88)], 0.11, coat)
    pen.blob(0.48, 0.88, 0.12, 0.09, coat)
    pen.polygon([(0.57, 0.91), (0.76, 0.83), (0.58, 0.83)], (236, 120, 40))
    pen.ellipse(0.5, 0.9, 0.022, 0.022, _INK if sum(coat) > 240 else (250, 250, 250))
    pen.ellipse(-0.14, 0.24, 0.36, 0.15, dark(coat, 0.12), 16)
    pen.ellipse(-0.18, 0.28, 0.26, 0.08, light(coat, 0.3), 16)


def _waterline(pen: Pen, half: float) -> None:
    x, y = pen.at((0, 0.02))
    for grow, alpha in ((1.25, 60), (1.0, 90)):
        r = half * grow * pen.size
        pen.canvas.ellipse(x, y, r, r * 0.16, (226, 242, 250), alpha)
    pen.canvas.ellipse(
        x, y + pen.size * 0.03, half * pen.size * 0.8, half * pen.size * 0.1, (20, 60, 100), 110
    )


def _hen(pen: Pen, thing: Thing, rng: random.Random) -> None:
    coat = colour_of(thing.colour)
    pen.shadow(0.36)
    for x in (-0.04, 0.08):
        pen.limb([(x, 0.3), (x + 0.02, 0.02), (x + 0.12, 0.02)], 0.04, (236, 160, 40))
    pen.polygon([(-0.26, 0.42), (-0.58, 0.84), (-0.36, 0.86), (-0.1, 0.56)], dark(coat, 0.2))
    pen.blob(0.0, 0.44, 0.38, 0.26, coat, 8)
    pen.limb([(0.24, 0.5), (0.32, 0.78)], 0.22, coat)
    pen.ellipse(0.34, 0.82, 0.13, 0.12, coat)
    for x in (0.26, 0.34, 0.42):
        pen.ellipse(x, 0.95, 0.06, 0.07, (214, 40, 40))
    pen.polygon([(0.45, 0.86), (0.6, 0.80), (0.45, 0.76)], (244, 176, 50))
    pen.ellipse(0.46, 0.71, 0.04, 0.07, (214, 40, 40))
    pen.ellipse(0.39, 0.85, 0.025, 0.025, _INK if sum(coat) > 240 else (250, 250, 250))
    pen.ellipse(-0.06, 0.46, 0.22, 0.14, dark(coat, 0.14), 8)


def _penguin(pen: Pen, thing: Thing, rng: random.Random) -> None:
    black = COLOURS["black"]
    pen.shadow(0.3)
    lean = rng.choice((-4, 0, 4)) if thing.action == "walking" else 0
    for x in (-0.12, 0.10):
        pen.ellipse(x + 0.04, 0.03, 0.12, 0.04, (240, 150, 40))
    pen.blob(0, 0.42, 0.27, 0.42, black, lean)
    pen.ellipse(0.05, 0.38, 0.19, 0.34, COLOURS["white"], lean)
    pen.blob(0.02, 0.84, 0.17, 0.16, black)
    pen.ellipse(0.09, 0.82, 0.09, 0.09, COLOURS["white"])
    pen.polygon([(0.15, 0.86), (0.33, 0.81), (0.15, 0.78)], (244, 150, 40))
    pen.ellipse(0.09, 0.86, 0.025, 0.03, _INK)
    pen.ellipse(-0.24, 0.44, 0.07, 0.25, black, -14)
    pen.ellipse(0.26, 0.46, 0.06, 0.23, black, 16)
    pen.ellipse(0.03, 0.69, 0.13, 0.04, (248, 200, 70))


def _fish(pen: Pen, thing: Thing, rng: random.Random) -> None:
    coat = colour_of(thing.colour)
    pen.polygon([(-0.5, 0.5), (-0.98, 0.84), (-0.86, 0.5), (-0.98, 0.16)], dark(coat, 0.12))
    pen.polygon([(-0.2, 0.78), (0.1, 1.04), (0.26, 0.76)], dark(coat, 0.18))
    pen.polygon([(-0.1, 0.24), (-0.02, 0.02), (0.2, 0.26)], dark(coat, 0.18))
    pen.blob(0, 0.5, 0.66, 0.36, coat)
    for x in (-0.2, 0.12):
        pen.ellipse(x, 0.5, 0.06, 0.31, light(coat, 0.6))
    pen.ellipse(0.44, 0.58, 0.085, 0.085, (252, 252, 248))
    pen.ellipse(0.46, 0.58, 0.045, 0.045, _INK)
    pen.limb([(0.50, 0.36), (0.6, 0.4)], 0.03, dark(coat, 0.5))
    pen.ellipse(0.1, 0.44, 0.14, 0.08, dark(coat, 0.2), 150)


def _turtle(pen: Pen, thing: Thing, rng: random.Random) -> None:
    shell = colour_of(thing.colour)
    skin = mix((150, 180, 90), shell, 0.2)
    pen.ellipse(0.5, 0.20, 0.36, 0.12, skin, -30)
    pen.ellipse(-0.5, 0.24, 0.24, 0.09, skin, 30)
    pen.ellipse(0.78, 0.56, 0.18, 0.14, skin)
    pen.ellipse(0.84, 0.6, 0.03, 0.03, _INK)
    pen.blob(0, 0.5, 0.64, 0.36, shell)
    for x, y in ((-0.3, 0.5), (0, 0.62), (0.3, 0.5), (0, 0.38)):
        pen.ellipse(x, y, 0.13, 0.09, dark(shell, 0.3))
    pen.ellipse(0.34, 0.18, 0.34, 0.12, light(skin, 0.1), -42)


def _octopus(pen: Pen, thing: Thing, rng: random.Random) -> None:
    skin = colour_of(thing.colour)
    for k in range(6):
        x = -0.4 + 0.16 * k
        pen.limb(
            [
                (x * 0.6, 0.45),
                (x * 1.1, 0.25),
                (x * 1.3 + 0.05, 0.12),
                (x * 1.5 + 0.14, 0.10 + 0.06 * (k % 2)),
            ],
            0.1,
            dark(skin, 0.12 * (k % 2)),
        )
    pen.blob(0, 0.66, 0.32, 0.34, skin)
    for x in (-0.1, 0.14):
        pen.ellipse(x, 0.56, 0.07, 0.09, (250, 250, 246))
        pen.ellipse(x + 0.01, 0.55, 0.035, 0.05, _INK)


def _diver(pen: Pen, thing: Thing, rng: random.Random) -> None:
    suit = colour_of(thing.colour)
    skin = rng.choice(SKIN)
    pen.limb([(-0.4, 0.46), (-0.86, 0.36), (-1.1, 0.42)], 0.15, dark(suit, 0.25))
    pen.polygon([(-1.06, 0.48), (-1.5, 0.62), (-1.44, 0.34), (-1.08, 0.36)], (250, 200, 40))
    pen.limb([(-0.4, 0.5), (-0.9, 0.56), (-1.12, 0.64)], 0.15, suit)
    pen.polygon([(-1.08, 0.70), (-1.5, 0.92), (-1.46, 0.62), (-1.1, 0.58)], (250, 200, 40))
    pen.blob(0, 0.54, 0.5, 0.2, suit, 6)
    pen.ellipse(-0.06, 0.80, 0.34, 0.12, (236, 180, 40), 6)
    pen.limb([(0.4, 0.5), (0.6, 0.3), (0.86, 0.34)], 0.12, suit)
    pen.ellipse(0.9, 0.34, 0.07, 0.07, skin)
    pen.blob(0.66, 0.66, 0.2, 0.2, skin)
    pen.ellipse(0.58, 0.74, 0.18, 0.15, dark(suit, 0.1))
    pen.ellipse(0.76, 0.69, 0.11, 0.1, (60, 60, 70))
    pen.ellipse(0.78, 0.69, 0.08, 0.07, _GLASS)
    for k, r in enumerate((0.05, 0.04, 0.06, 0.035)):
        pen.ellipse(0.86 + 0.05 * (k % 2), 0.92 + 0.14 * k, r, r, (216, 242, 252))


def _whale(pen: Pen, thing: Thing, rng: random.Random) -> None:
    skin = colour_of(thing.colour)
    _waterline(pen, 1.3)
    pen.limb([(-1.0, 0.2), (-1.34, 0.52)], 0.2, skin)
    pen.polygon([(-1.30, 0.46), (-1.66, 0.92), (-1.36, 0.78), (-1.06, 0.98), (-1.22, 0.5)], skin)
    pen.polygon(
        [(-1.15, 0.0), (-1.0, 0.34), (-0.3, 0.66), (0.5, 0.66), (0.98, 0.36), (1.0, 0.0)],
        dark(skin, 0.1),
    )
    pen.polygon(
        [(-1.1, 0.1), (-0.9, 0.38), (-0.3, 0.68), (0.5, 0.68), (0.9, 0.42), (0.2, 0.4)], skin
    )
    pen.polygon([(0.2, 0.0), (0.3, 0.14), (0.96, 0.24), (1.0, 0.0)], (226, 232, 238))
    pen.ellipse(0.66, 0.32, 0.035, 0.035, _INK)
    for x, y in ((-0.16, 1.02), (0.0, 1.14), (0.16, 1.02)):
        pen.limb(
            [(0.4, 0.68), (0.4 + x * 0.6, 0.9), (0.4 + x * 1.5, y - 0.06)], 0.05, (220, 240, 250)
        )


def _butterfly(pen: Pen, thing: Thing, rng: random.Random) -> None:
    wing = colour_of(thing.colour)
    for side in (-1, 1):
        pen.ellipse(side * 0.30, 0.66, 0.30, 0.24, dark(wing, 0.3), 35 * side)
        pen.ellipse(side * 0.30, 0.66, 0.25, 0.19, wing, 35 * side)
        pen.ellipse(side * 0.24, 0.32, 0.22, 0.18, dark(wing, 0.35), -35 * side)
        pen.ellipse(side * 0.24, 0.32, 0.17, 0.13, light(wing, 0.2), -35 * side)
        pen.ellipse(side * 0.36, 0.70, 0.08, 0.08, light(wing, 0.7))
        pen.limb([(0, 0.78), (side * 0.12, 0.98)], 0.025, _INK)
    pen.ellipse(0, 0.5, 0.05, 0.3, _INK)


def _crab(pen: Pen, thing: Thing, rng: random.Random) -> None:
    shell = colour_of(thing.colour)
    pen.shadow(0.7)
    for side in (-1, 1):
        for k in range(3):
            x = side * (0.34 + 0.12 * k)
            pen.limb([(x * 0.7, 0.36), (x * 1.2, 0.32), (x * 1.35, 0.02)], 0.07, dark(shell, 0.18))
        pen.limb([(side * 0.36, 0.46), (side * 0.68, 0.58), (side * 0.62, 0.78)], 0.1, shell)
        pen.blob(side * 0.62, 0.86, 0.16, 0.14, shell)
        pen.polygon([(side * 0.62, 0.88), (side * 0.5, 1.04), (side * 0.7, 1.04)], dark(shell, 0.5))
        pen.limb([(side * 0.14, 0.6), (side * 0.16, 0.78)], 0.05, shell)
        pen.ellipse(side * 0.16, 0.82, 0.07, 0.07, (252, 252, 250))
        pen.ellipse(side * 0.16, 0.83, 0.035, 0.035, _INK)
    pen.blob(0, 0.42, 0.5, 0.28, shell)


# --- people --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pose:
    """Angles in degrees from hanging down, ahead positive: (hip, knee) twice, (shoulder, elbow)
    twice; `lift` raises the whole figure, `lean` tips the torso ahead."""

    near_leg: Point
    far_leg: Point
    near_arm: Point
    far_arm: Point
    lift: float = 0.0
    lean: float = 0.0


_STANDING = _Pose((4, 0), (-5, 0), (8, 8), (-10, -4))
_POSES: dict[str, _Pose] = {
    "standing": _STANDING,
    "walking": _Pose((24, -8), (-22, -12), (-26, 20), (28, 22)),
    "running": _Pose((58, -50), (-26, -62), (-52, 70), (58, 80), 0.03, 10),
    "jumping": _Pose((46, -96), (-14, -78), (148, 10), (-146, -12), 0.24),
    "waving": replace(_STANDING, near_arm=(142, 26)),
    "sitting": _Pose((86, -72), (76, -64), (34, 30), (24, 40)),
    "holding a kite": replace(_STANDING, near_arm=(122, 16), far_arm=(104, 18)),
    "holding balloons": replace(_STANDING, near_arm=(118, 34)),
    "holding an umbrella": replace(_STANDING, near_arm=(48, 96)),
    "kicking a ball": _Pose((58, -6), (-10, -10), (-46, 20), (56, 20), 0.0, -8),
    "riding a bicycle": _Pose((74, -66), (34, -30), (66, 12), (62, 12), 0.0, 22),
    "walking a dog": _Pose((20, -8), (-18, -10), (38, 22), (-22, -8)),
    "sledding": _Pose((84, -24), (78, -20), (52, 24), (46, 24), 0.0, -6),
    "skiing": _Pose((34, -46), (26, -42), (34, 52), (26, 60), 0.0, 18),
    "riding a skateboard": _Pose((26, -34), (-22, -14), (78, 8), (-76, -8), 0.0, 6),
    "fishing": replace(_STANDING, near_arm=(66, 24), far_arm=(56, 28)),
}


def _person(pen: Pen, thing: Thing, rng: random.Random) -> None:
    child = thing.kind in ("boy", "girl")
    female = thing.kind in ("girl", "woman")
    leg, torso, head = (0.36, 0.31, 0.125) if child else (0.45, 0.30, 0.088)
    width = 0.085 if child else 0.075
    top = colour_of(thing.colour)
    skin, hair = rng.choice(SKIN), rng.choice(HAIR)
    bottom = rng.choice(((52, 70, 120), (70, 66, 72), (150, 120, 84), (96, 104, 112)))
    pose = _POSES.get(thing.action, _STANDING)
    pen.shadow(0.2 if pose.lift < 0.1 else 0.16)
    pen = pen.shifted(0, pose.lift)
    hip = (0.0, leg)
    if thing.action == "sitting":
        hip = (0.0, leg * 0.52)
        pen.rectangle(-0.15, 0.0, 0.13, leg * 0.40, _WOOD)
        pen.rectangle(-0.17, leg * 0.34, 0.15, leg * 0.46, light(_WOOD, 0.2))
    elif thing.action == "riding a bicycle":
        pen = pen.shifted(0, 0.16)
        _bicycle(pen, colour_of(thing.prop_colour), leg)
    elif thing.action == "sledding":
        hip = (0.0, 0.17)
        _sled(pen, colour_of(thing.prop_colour))
    elif thing.action == "skiing":
        hip = (0.0, leg * 0.86)
    elif thing.action == "riding a skateboard":
        pen.rectangle(-0.26, 0.07, 0.26, 0.11, colour_of(thing.prop_colour))
        for x in (-0.18, 0.18):
            pen.ellipse(x, 0.04, 0.045, 0.045, _INK)
        pen = pen.shifted(0, 0.11)

    lean = math.radians(pose.lean)
    neck = (hip[0] + torso * math.sin(lean), hip[1] + torso * math.cos(lean))
    shoulder = (neck[0], neck[1] - 0.04)

    def chain(root: Point, angles: Point, upper: float, lower: float) -> list[Point]:
        first, second = math.radians(angles[0]), math.radians(angles[0] + angles[1])
        middle = (root[0] + upper * math.sin(first), root[1] - upper * math.cos(first))
        return [
            root,
            middle,
            (middle[0] + lower * math.sin(second), middle[1] - lower * math.cos(second)),
        ]

    arm = torso * 0.54
    sleeve = dark(top, 0.12)
    far_arm = chain(shoulder, pose.far_arm, arm, arm)
    near_arm = chain(shoulder, pose.near_arm, arm, arm)
    pen.limb(far_arm, width * 0.8, dark(top, 0.36))
    pen.ellipse(*far_arm[2], width * 0.5, width * 0.5, dark(skin, 0.1))
    skirt = female and rng.random() < 0.6 and thing.action not in ("skiing", "sledding")
    for angles, tone in ((pose.far_leg, 0.3), (pose.near_leg, 0.0)):
        points = chain(hip, angles, leg * 0.5, leg * 0.5)
        pen.limb(points, width * 1.15, dark(skin if skirt else bottom, tone))
        foot = points[2]
        pen.ellipse(foot[0] + 0.035, foot[1] + 0.012, 0.07, 0.034, dark((110, 60, 50), tone))
    if skirt:
        pen.polygon(
            [
                (hip[0] - 0.06, hip[1] + 0.1),
                (hip[0] + 0.07, hip[1] + 0.1),
                (hip[0] + 0.16, hip[1] - leg * 0.42),
                (hip[0] - 0.15, hip[1] - leg * 0.42),
            ],
            dark(top, 0.08),
        )
    half = 0.10 if child else 0.095
    sway = math.sin(lean)
    pen.polygon(
        [
            (hip[0] - half * 0.85, hip[1] - 0.02),
            (hip[0] + half * 0.85, hip[1] - 0.02),
            (neck[0] + half + sway * 0.02, neck[1] - 0.03),
            (neck[0] + half * 0.5, neck[1]),
            (neck[0] - half * 0.5, neck[1]),
            (neck[0] - half, neck[1] - 0.03),
        ],
        top,
    )
    pen.polygon(
        [
            (hip[0] - half * 0.85, hip[1] - 0.02),
            (hip[0] - half * 0.3, hip[1] - 0.02),
            (neck[0] - half * 0.5, neck[1] - 0.02),
            (neck[0] - half, neck[1] - 0.03),
        ],
        dark(top, 0.16),
    )
    crown = (neck[0] + 0.01 + sway * head * 0.6, neck[1] + head * 0.98)
    pen.limb([neck, (crown[0], crown[1] - head * 0.5)], width * 0.7, dark(skin, 0.12))
    if female:
        pen.ellipse(
            crown[0] - head * 0.35, crown[1] - head * 0.35, head * 0.85, head * 1.25, hair, 10
        )
    pen.ellipse(crown[0] - head * 0.15, crown[1] + head * 0.15, head * 1.02, head * 1.02, hair)
    pen.ellipse(crown[0] + head * 0.12, crown[1] - head * 0.08, head * 0.88, head * 0.90, skin)
    pen.ellipse(crown[0] - head * 0.1, crown[1] + head * 0.72, head * 0.86, head * 0.42, hair)
    for x in (0.22, 0.66):
        pen.ellipse(crown[0] + head * x, crown[1] + head * 0.02, head * 0.09, head * 0.12, _INK)
    pen.limb(
        [
            (crown[0] + head * 0.30, crown[1] - head * 0.48),
            (crown[0] + head * 0.6, crown[1] - head * 0.46),
        ],
        head * 0.1,
        (176, 72, 66),
    )
    if thing.action in ("skiing", "sledding") or (
        pen.canvas.scene.season == "winter" and rng.random() < 0.8
    ):
        hat = rng.choice(((190, 50, 60), (50, 90, 160), (240, 190, 60), (90, 150, 100)))
        pen.ellipse(crown[0], crown[1] + head * 0.62, head * 1.0, head * 0.55, hat)
        pen.ellipse(crown[0], crown[1] + head * 1.18, head * 0.26, head * 0.26, light(hat, 0.4))
    elif rng.random() < 0.22:
        hat = rng.choice(((226, 196, 130), (60, 80, 140), (190, 60, 56)))
        pen.ellipse(crown[0], crown[1] + head * 0.70, head * 0.92, head * 0.48, hat)
        pen.ellipse(
            crown[0] + head * 0.35, crown[1] + head * 0.58, head * 1.05, head * 0.16, dark(hat, 0.2)
        )
    _prop(pen, thing, near_arm[2], leg, rng)
    pen.limb(near_arm, width * 0.85, sleeve)
    pen.ellipse(*near_arm[2], width * 0.52, width * 0.52, skin)


def _prop(pen: Pen, thing: Thing, hand: Point, leg: float, rng: random.Random) -> None:
    """What the near hand holds, or what goes with the action."""
    colour = colour_of(thing.prop_colour) if thing.prop_colour else _INK
    if thing.action == "holding a kite":
        far = (hand[0] + 0.62, hand[1] + 0.52)
        pen.limb([hand, (hand[0] + 0.3, hand[1] + 0.2), far], 0.012, (240, 240, 240))
        kite = replace(thing, kind="kite", colour=thing.prop_colour)
        _kite(pen.shifted(far[0], far[1] - 0.18, 0.5), kite, rng)
    elif thing.action == "holding balloons":
        for dx, dy in ((-0.18, 0.52), (0.20, 0.56), (0.02, 0.74)):
            pen.limb([hand, (hand[0] + dx, hand[1] + dy - 0.1)], 0.010, (230, 230, 230))
            pen.blob(hand[0] + dx, hand[1] + dy, 0.125, 0.15, colour)
    elif thing.action == "holding an umbrella":
        top = (hand[0] - 0.06, hand[1] + 0.62)
        pen.limb([hand, top], 0.022, (90, 70, 60))
        dome = [
            (
                top[0] + 0.46 * math.cos(math.radians(a)),
                top[1] - 0.18 + 0.30 * math.sin(math.radians(a)),
            )
            for a in range(0, 181, 12)
        ]
        pen.polygon(dome, colour)
        pen.polygon([*dome[5:11], (top[0], top[1] - 0.18)], light(colour, 0.25))
        pen.polygon([*dome[:4], (top[0] + 0.2, top[1] - 0.18)], dark(colour, 0.2))
    elif thing.action == "kicking a ball":
        _ball(
            pen.shifted(0.50, 0.05, 0.22),
            replace(thing, kind="ball", colour=thing.prop_colour),
            rng,
        )
    elif thing.action == "walking a dog":
        pen.limb([hand, (0.62, 0.30)], 0.014, (60, 40, 40))
        dog = Thing("dog", thing.prop_colour, 1, "walking")
        _beast(pen.shifted(0.72, 0.0, 0.46), dog, rng)
    elif thing.action == "skiing":
        for y in (0.0, 0.03):
            pen.limb([(-0.44, y + 0.01), (0.46, y + 0.01), (0.54, y + 0.07)], 0.03, colour)
        pen.limb([hand, (hand[0] - 0.36, 0.04)], 0.018, (70, 70, 80))
    elif thing.action == "fishing":
        tip = (hand[0] + 0.62, hand[1] + 0.34)
        pen.limb([hand, tip], 0.02, (110, 76, 44))
        pen.limb([tip, (tip[0] + 0.02, hand[1] - 0.5)], 0.010, (236, 240, 244))


def _bicycle(pen: Pen, colour: Rgb, leg: float) -> None:
    for x in (-0.26, 0.34):
        cx, cy = pen.at((x, 0.03))
        r = 0.19 * pen.size
        box = (cx - r, cy - r, cx + r, cy + r)
        pen.canvas.draw.ellipse(
            box, outline=pen.canvas.lit(_INK), width=max(2, round(pen.size * 0.03))
        )
        for k in range(4):
            turn = math.pi * k / 4 + 0.3
            pen.canvas.line(
                [
                    (cx - r * math.cos(turn), cy - r * math.sin(turn)),
                    (cx + r * math.cos(turn), cy + r * math.sin(turn)),
                ],
                pen.size * 0.008,
                (190, 190, 196),
            )
    seat, pedals, bar = (-0.06, leg - 0.08), (0.02, 0.03), (0.24, leg)
    for line in (
        [(-0.26, 0.03), seat, pedals, (-0.26, 0.03)],
        [seat, (0.25, leg - 0.10), pedals],
        [(0.34, 0.03), bar],
    ):
        pen.limb(line, 0.032, colour)
    pen.limb([(seat[0] - 0.06, seat[1] + 0.02), (seat[0] + 0.06, seat[1] + 0.02)], 0.04, _INK)
    pen.limb([bar, (bar[0] + 0.04, bar[1] + 0.04)], 0.03, _INK)


def _sled(pen: Pen, colour: Rgb) -> None:
    pen.limb([(-0.36, 0.03), (0.42, 0.03), (0.54, 0.14)], 0.035, (110, 76, 44))
    for x in (-0.24, 0.24):
        pen.limb([(x, 0.03), (x, 0.11)], 0.03, (110, 76, 44))
    pen.rectangle(-0.36, 0.10, 0.42, 0.15, colour)


# --- vehicles and craft --------------------------------------------------------------------------


def _wheel(pen: Pen, x: float, r: float) -> None:
    pen.ellipse(x, r, r, r, _INK)
    pen.ellipse(x, r, r * 0.55, r * 0.55, (190, 194, 200))
    pen.ellipse(x, r, r * 0.2, r * 0.2, (90, 94, 100))


def _headlight(pen: Pen, x: float, y: float) -> None:
    pen.ellipse(x, y, 0.05, 0.06, (255, 248, 200))
    if pen.canvas.scene.time_of_day == "night":
        px, py = pen.at((x, y))
        pen.canvas.glow(px, py, pen.size * 0.34, (255, 244, 180), 18)


def _car(pen: Pen, thing: Thing, rng: random.Random) -> None:
    paint = colour_of(thing.colour)
    pen.shadow(1.2)
    pen.polygon([(-0.72, 0.56), (-0.46, 0.97), (0.28, 0.97), (0.66, 0.56)], dark(paint, 0.1))
    pen.polygon([(-0.60, 0.58), (-0.40, 0.90), (-0.10, 0.90), (-0.10, 0.58)], _GLASS)
    pen.polygon([(-0.02, 0.58), (-0.02, 0.90), (0.24, 0.90), (0.52, 0.58)], _GLASS)
    pen.polygon(
        [(-1.14, 0.22), (-1.12, 0.56), (-0.78, 0.62), (0.70, 0.60), (1.10, 0.50), (1.16, 0.22)],
        paint,
    )
    pen.rectangle(-1.14, 0.18, 1.16, 0.28, dark(paint, 0.3))
    pen.polygon([(-1.08, 0.50), (-0.78, 0.59), (0.70, 0.57), (1.0, 0.49)], light(paint, 0.3))
    pen.limb([(-0.06, 0.30), (-0.06, 0.56)], 0.015, dark(paint, 0.3))
    pen.rectangle(-1.15, 0.40, -1.08, 0.50, (220, 40, 40))
    for x in (-0.68, 0.70):
        pen.ellipse(x, 0.22, 0.27, 0.27, dark(paint, 0.5))
        _wheel(pen, x, 0.21)
    _headlight(pen, 1.09, 0.43)


def _bus(pen: Pen, thing: Thing, rng: random.Random) -> None:
    paint = colour_of(thing.colour)
    pen.shadow(1.25)
    pen.rectangle(-1.2, 0.14, 1.2, 0.98, paint)
    pen.rectangle(-1.2, 0.92, 1.2, 1.0, light(paint, 0.3))
    pen.rectangle(-1.2, 0.14, 1.2, 0.26, dark(paint, 0.3))
    for k in range(6):
        x = -1.12 + 0.33 * k
        pen.rectangle(x, 0.52, x + 0.27, 0.84, _GLASS)
        pen.polygon(
            [(x, 0.52), (x + 0.1, 0.52), (x + 0.22, 0.84), (x + 0.12, 0.84)], light(_GLASS, 0.5)
        )
    pen.rectangle(0.90, 0.24, 1.14, 0.84, light(_GLASS, 0.2))
    pen.limb([(1.02, 0.24), (1.02, 0.84)], 0.02, dark(paint, 0.3))
    pen.rectangle(-1.2, 0.40, 0.86, 0.45, light(paint, 0.6))
    for x in (-0.76, 0.68):
        _wheel(pen, x, 0.16)
    _headlight(pen, 1.18, 0.32)


def _truck(pen: Pen, thing: Thing, rng: random.Random) -> None:
    paint = colour_of(thing.colour)
    pen.shadow(1.3)
    pen.rectangle(
        -1.28, 0.26, 0.48, 0.98, (226, 226, 222) if thing.colour != "white" else (120, 140, 170)
    )
    pen.rectangle(-1.28, 0.26, 0.48, 0.36, (150, 150, 150))
    for k in range(1, 6):
        x = -1.28 + 0.29 * k
        pen.rectangle(x, 0.36, x + 0.02, 0.98, (176, 176, 174))
    pen.polygon(
        [(0.54, 0.2), (0.54, 0.84), (0.96, 0.84), (1.18, 0.52), (1.26, 0.48), (1.26, 0.2)], paint
    )
    pen.polygon([(0.66, 0.54), (0.66, 0.76), (0.92, 0.76), (1.08, 0.54)], _GLASS)
    pen.rectangle(-1.28, 0.18, 1.26, 0.26, (60, 60, 66))
    for x in (-0.98, -0.62, 0.90):
        _wheel(pen, x, 0.17)
    _headlight(pen, 1.23, 0.36)


def _tractor(pen: Pen, thing: Thing, rng: random.Random) -> None:
    paint = colour_of(thing.colour)
    pen.shadow(0.85)
    pen.rectangle(-0.1, 0.34, 0.78, 0.62, paint)
    pen.rectangle(-0.1, 0.56, 0.78, 0.62, light(paint, 0.3))
    pen.limb([(0.5, 0.6), (0.5, 0.88)], 0.05, (70, 70, 74))
    pen.polygon([(-0.58, 0.4), (-0.52, 0.98), (0.06, 0.98), (0.12, 0.5), (-0.1, 0.4)], paint)
    pen.polygon([(-0.46, 0.60), (-0.42, 0.92), (-0.04, 0.92), (0.02, 0.60)], _GLASS)
    pen.rectangle(-0.60, 0.95, 0.12, 1.01, dark(paint, 0.3))
    pen.ellipse(-0.40, 0.32, 0.34, 0.32, _INK)
    pen.ellipse(-0.40, 0.32, 0.18, 0.17, (246, 210, 60))
    pen.ellipse(0.56, 0.18, 0.19, 0.18, _INK)
    pen.ellipse(0.56, 0.18, 0.10, 0.09, (246, 210, 60))
    _headlight(pen, 0.78, 0.5)


def _train(pen: Pen, thing: Thing, rng: random.Random) -> None:
    """A steam engine with two coaches."""
    paint = colour_of(thing.colour)
    pen.shadow(2.4, -0.4)
    pen.rectangle(-3.0, 0.0, 1.6, 0.05, (96, 84, 76))
    for start in (-2.7, -1.55):
        pen.rectangle(start, 0.2, start + 1.06, 0.82, light(paint, 0.12))
        pen.rectangle(start - 0.03, 0.8, start + 1.09, 0.9, dark(paint, 0.4))
        for k in range(4):
            x = start + 0.09 + 0.24 * k
            pen.rectangle(x, 0.46, x + 0.17, 0.7, _GLASS)
        for x in (start + 0.24, start + 0.82):
            _wheel(pen, x, 0.13)
    pen.rectangle(-0.42, 0.22, 0.06, 0.98, paint)
    pen.rectangle(-0.48, 0.96, 0.12, 1.04, dark(paint, 0.4))
    pen.rectangle(-0.30, 0.60, -0.04, 0.86, _GLASS)
    pen.rectangle(0.06, 0.26, 0.96, 0.66, dark(paint, 0.12))
    pen.rectangle(0.06, 0.56, 0.96, 0.63, light(paint, 0.3))
    pen.ellipse(0.96, 0.46, 0.1, 0.2, _INK)
    pen.polygon([(0.70, 0.64), (0.66, 0.96), (0.90, 0.96), (0.86, 0.64)], _INK)
    pen.polygon([(0.96, 0.08), (1.22, 0.08), (0.96, 0.3)], (190, 50, 44))
    for x, r in ((-0.2, 0.2), (0.28, 0.2), (0.74, 0.15)):
        pen.ellipse(x, r, r, r, (190, 50, 44))
        pen.ellipse(x, r, r * 0.75, r * 0.75, _INK)
    for k in range(5):
        x, y = pen.at((0.74 - 0.26 * k, 1.12 + 0.12 * k))
        r = pen.size * (0.11 + 0.05 * k)
        pen.canvas.ellipse(x, y, r * 1.2, r, (232, 232, 236), 200 - 26 * k)


def _sailing_boat(pen: Pen, thing: Thing, rng: random.Random) -> None:
    sail = colour_of(thing.colour)
    _waterline(pen, 0.46)
    pen.limb([(0.0, 0.1), (0.0, 1.0)], 0.02, (110, 80, 52))
    pen.polygon([(-0.03, 0.97), (-0.03, 0.22), (-0.46, 0.22)], sail)
    pen.polygon([(-0.03, 0.97), (-0.03, 0.22), (-0.14, 0.22)], dark(sail, 0.12))
    pen.polygon(
        [(0.04, 0.88), (0.04, 0.22), (0.36, 0.24)],
        light(sail, 0.3) if sum(sail) < 690 else dark(sail, 0.08),
    )
    hull: Rgb = (130, 84, 52) if thing.colour != "orange" else (60, 80, 120)
    pen.polygon([(-0.46, 0.17), (0.50, 0.19), (0.36, 0.0), (-0.34, 0.0)], hull)
    pen.polygon([(-0.46, 0.17), (0.50, 0.19), (0.48, 0.14), (-0.44, 0.12)], (246, 240, 226))


def _rowing_boat(pen: Pen, thing: Thing, rng: random.Random) -> None:
    hull = colour_of(thing.colour)
    _waterline(pen, 1.25)
    pen.limb([(-0.1, 0.62), (0.8, 0.02)], 0.06, (190, 150, 100))
    pen.polygon(
        [
            (-1.15, 0.72),
            (-1.02, 0.12),
            (-0.8, 0.0),
            (0.78, 0.0),
            (1.05, 0.16),
            (1.24, 0.8),
            (0.9, 0.6),
            (-0.9, 0.56),
        ],
        hull,
    )
    pen.polygon(
        [(-1.15, 0.72), (-0.9, 0.56), (0.9, 0.60), (1.24, 0.8), (0.9, 0.72), (-0.85, 0.70)],
        light(hull, 0.3),
    )
    pen.polygon([(-1.06, 0.3), (1.1, 0.3), (1.06, 0.18), (-1.03, 0.18)], dark(hull, 0.22))
    for x in (-0.45, 0.3):
        pen.rectangle(x, 0.60, x + 0.2, 0.68, (190, 150, 100))
    pen.limb([(0.0, 0.66), (-0.7, -0.02)], 0.06, (206, 166, 112))


def _ship(pen: Pen, thing: Thing, rng: random.Random) -> None:
    hull = colour_of(thing.colour)
    _waterline(pen, 1.2)
    pen.polygon([(-1.2, 0.38), (1.34, 0.44), (1.06, 0.0), (-1.08, 0.0)], hull)
    pen.polygon([(-1.1, 0.08), (1.11, 0.08), (1.06, 0.0), (-1.08, 0.0)], (160, 50, 46))
    pen.polygon([(-1.2, 0.38), (1.34, 0.44), (1.30, 0.38), (-1.18, 0.32)], light(hull, 0.5))
    pen.rectangle(-0.86, 0.38, 0.62, 0.58, (250, 248, 240))
    pen.rectangle(-0.70, 0.58, 0.36, 0.74, (236, 236, 232))
    for x, top in ((-0.42, 1.0), (0.0, 1.0)):
        pen.polygon(
            [(x - 0.12, 0.74), (x - 0.15, top), (x + 0.09, top), (x + 0.12, 0.74)], (206, 60, 52)
        )
        pen.rectangle(x - 0.15, top - 0.09, x + 0.10, top, _INK)
    for k in range(8):
        pen.ellipse(-0.74 + 0.18 * k, 0.48, 0.04, 0.04, (70, 110, 150))
    for k in range(7):
        pen.ellipse(-0.8 + 0.26 * k, 0.24, 0.04, 0.04, light(hull, 0.7))


def _hot_air_balloon(pen: Pen, thing: Thing, rng: random.Random) -> None:
    silk = colour_of(thing.colour)
    pen.polygon([(-0.26, 0.42), (0.26, 0.42), (0.09, 0.22), (-0.09, 0.22)], dark(silk, 0.2))
    pen.ellipse(0, 0.66, 0.36, 0.34, dark(silk, 0.15))
    pen.ellipse(0, 0.68, 0.34, 0.32, silk)
    pale = light(silk, 0.75)
    pen.ellipse(-0.01, 0.67, 0.22, 0.33, pale)
    pen.ellipse(-0.01, 0.67, 0.12, 0.33, silk)
    pen.polygon([(-0.09, 0.36), (0.09, 0.36), (0.05, 0.22), (-0.05, 0.22)], silk)
    for x in (-0.08, 0.08):
        pen.limb([(x, 0.24), (x * 0.8, 0.11)], 0.010, (90, 70, 50))
    pen.rectangle(-0.08, 0.0, 0.08, 0.12, (160, 108, 60))
    pen.rectangle(-0.09, 0.10, 0.09, 0.13, (110, 74, 44))


def _airplane(pen: Pen, thing: Thing, rng: random.Random) -> None:
    paint = colour_of(thing.colour)
    pen.polygon([(-0.1, 0.56), (-0.5, 1.0), (-0.28, 1.0), (0.30, 0.56)], dark(paint, 0.25))
    pen.polygon([(-0.86, 0.5), (-1.2, 1.06), (-0.98, 1.06), (-0.6, 0.56)], dark(paint, 0.1))
    pen.blob(0, 0.48, 1.05, 0.19, paint)
    for k in range(8):
        pen.ellipse(-0.5 + 0.15 * k, 0.53, 0.035, 0.045, (70, 120, 170))
    pen.polygon([(0.8, 0.56), (0.96, 0.54), (0.9, 0.62), (0.76, 0.64)], (70, 120, 170))
    pen.polygon([(0.10, 0.42), (-0.56, -0.02), (-0.34, -0.04), (0.46, 0.42)], dark(paint, 0.14))
    pen.ellipse(-0.06, 0.20, 0.16, 0.07, (120, 124, 130))


def _kite(pen: Pen, thing: Thing, rng: random.Random) -> None:
    cloth = colour_of(thing.colour)
    tail = [(-0.0 - 0.10 * k, 0.2 - 0.13 * k + 0.04 * (k % 2)) for k in range(5)]
    pen.limb(tail, 0.02, (240, 240, 240))
    for x, y in tail[1:]:
        pen.polygon(
            [
                (x - 0.09, y + 0.05),
                (x + 0.09, y - 0.05),
                (x + 0.09, y + 0.05),
                (x - 0.09, y - 0.05),
            ],
            light(cloth, 0.3),
        )
    pen.polygon([(0.16, 1.0), (0.42, 0.64), (0.0, 0.18), (-0.30, 0.72)], cloth)
    pen.polygon([(0.16, 1.0), (0.42, 0.64), (0.08, 0.68)], light(cloth, 0.45))
    pen.polygon([(0.0, 0.18), (-0.30, 0.72), (0.08, 0.68)], light(cloth, 0.3))


def _balloon(pen: Pen, thing: Thing, rng: random.Random) -> None:
    skin = colour_of(thing.colour)
    pen.limb([(0, 0.34), (0.05, 0.2), (-0.03, 0.08), (0.03, 0.0)], 0.02, (236, 236, 236))
    pen.polygon([(-0.06, 0.30), (0.06, 0.30), (0, 0.38)], dark(skin, 0.2))
    pen.blob(0, 0.68, 0.29, 0.33, skin)
    pen.ellipse(-0.11, 0.80, 0.06, 0.09, light(skin, 0.7), 20)


# --- buildings -----------------------------------------------------------------------------------


def _window(pen: Pen, x0: float, y0: float, x1: float, y1: float) -> None:
    pen.rectangle(x0 - 0.015, y0 - 0.015, x1 + 0.015, y1 + 0.015, (250, 248, 242))
    if pen.canvas.scene.time_of_day == "night":
        a, b = pen.at((x0, y1)), pen.at((x1, y0))
        pen.canvas.draw.rectangle(
            (min(a[0], b[0]), a[1], max(a[0], b[0]), b[1]), fill=(255, 220, 120)
        )
    else:
        pen.rectangle(x0, y0, x1, y1, (112, 156, 190))
        pen.polygon(
            [(x0, y0), (x0 + (x1 - x0) * 0.5, y0), (x1, y1), (x0 + (x1 - x0) * 0.5, y1)],
            (150, 190, 216),
        )
    middle = (x0 + x1) / 2
    pen.rectangle(middle - 0.008, y0, middle + 0.008, y1, (250, 248, 242))


def draw_house(pen: Pen, wall: Rgb) -> None:
    """A cottage with a gable roof, 1 high and 1.2 wide."""
    roof: Rgb = (156, 70, 54)
    if wall == COLOURS["red"] or wall == COLOURS["brown"]:
        roof = (84, 82, 92)
    snowy = pen.canvas.scene.season == "winter"
    pen.shadow(0.62)
    pen.rectangle(0.30, 0.78, 0.42, 1.02, dark(roof, 0.3))
    pen.rectangle(-0.52, 0.0, 0.52, 0.56, wall)
    pen.rectangle(0.34, 0.0, 0.52, 0.56, dark(wall, 0.14))
    pen.polygon([(-0.64, 0.54), (-0.36, 0.96), (0.36, 0.96), (0.64, 0.54)], roof)
    for k in range(1, 4):
        y = 0.54 + 0.105 * k
        reach = 0.64 - 0.28 * (y - 0.54) / 0.42
        pen.rectangle(-reach, y - 0.008, reach, y + 0.008, dark(roof, 0.25))
    if snowy:
        pen.polygon(
            [(-0.50, 0.74), (-0.36, 0.98), (0.36, 0.98), (0.50, 0.74), (0.2, 0.80), (-0.1, 0.73)],
            (246, 248, 252),
        )
    pen.rectangle(-0.10, 0.0, 0.11, 0.36, (112, 70, 46))
    pen.ellipse(0.07, 0.18, 0.015, 0.015, (240, 200, 80))
    _window(pen, -0.42, 0.20, -0.20, 0.42)
    _window(pen, 0.20, 0.20, 0.42, 0.42)


def _church(pen: Pen, thing: Thing, rng: random.Random) -> None:
    wall = colour_of(thing.colour)
    pen.shadow(0.5)
    pen.rectangle(-0.12, 0.0, 0.46, 0.36, wall)
    pen.polygon([(-0.16, 0.35), (0.0, 0.56), (0.40, 0.56), (0.50, 0.35)], (150, 78, 60))
    pen.rectangle(-0.38, 0.0, -0.10, 0.62, light(wall, 0.1))
    pen.rectangle(-0.16, 0.0, -0.10, 0.62, dark(wall, 0.15))
    pen.polygon([(-0.42, 0.61), (-0.24, 0.92), (-0.06, 0.61)], (90, 96, 120))
    pen.limb([(-0.24, 0.90), (-0.24, 1.02)], 0.016, (240, 200, 80))
    pen.limb([(-0.28, 0.98), (-0.20, 0.98)], 0.016, (240, 200, 80))
    pen.ellipse(-0.24, 0.50, 0.06, 0.06, (250, 246, 230))
    pen.limb([(-0.24, 0.54), (-0.24, 0.5), (-0.21, 0.49)], 0.012, _INK)
    pen.rectangle(-0.30, 0.0, -0.18, 0.20, (110, 72, 48))
    pen.ellipse(-0.24, 0.20, 0.06, 0.06, (110, 72, 48))
    for x in (0.02, 0.18, 0.34):
        _window(pen, x - 0.035, 0.12, x + 0.035, 0.28)


def _castle(pen: Pen, thing: Thing, rng: random.Random) -> None:
    stone = colour_of(thing.colour)
    pen.shadow(0.75)

    def wall(x0: float, x1: float, top: float, colour: Rgb) -> None:
        pen.rectangle(x0, 0.0, x1, top, colour)
        pen.rectangle(x1 - (x1 - x0) * 0.2, 0.0, x1, top, dark(colour, 0.14))
        teeth = max(3, round((x1 - x0) / 0.08))
        step = (x1 - x0) / (teeth * 2 - 1)
        for k in range(teeth):
            pen.rectangle(
                x0 + 2 * k * step, top - 0.01, x0 + (2 * k + 1) * step, top + 0.05, colour
            )

    wall(-0.20, 0.20, 0.74, dark(stone, 0.12))
    wall(-0.52, 0.52, 0.42, stone)
    wall(-0.70, -0.42, 0.66, light(stone, 0.08))
    wall(0.42, 0.70, 0.66, light(stone, 0.08))
    for x in (-0.56, 0.56):
        pen.polygon([(x - 0.18, 0.71), (x, 0.98), (x + 0.18, 0.71)], (150, 60, 60))
        _window(pen, x - 0.03, 0.44, x + 0.03, 0.54)
    pen.limb([(0, 0.78), (0, 1.02)], 0.015, _INK)
    pen.polygon([(0, 1.02), (0.18, 0.97), (0, 0.92)], (210, 50, 50))
    pen.rectangle(-0.11, 0.0, 0.11, 0.2, (90, 60, 42))
    pen.ellipse(0, 0.2, 0.11, 0.1, (90, 60, 42))
    _window(pen, -0.05, 0.54, 0.05, 0.66)


def _barn(pen: Pen, thing: Thing, rng: random.Random) -> None:
    wall = colour_of(thing.colour)
    pen.shadow(0.72)
    pen.polygon(
        [
            (-0.64, 0.0),
            (-0.64, 0.52),
            (-0.46, 0.80),
            (0.0, 0.98),
            (0.46, 0.80),
            (0.64, 0.52),
            (0.64, 0.0),
        ],
        wall,
    )
    for k in range(1, 12):
        x = -0.64 + 1.28 * k / 12
        pen.rectangle(x - 0.005, 0, x + 0.005, 0.52, dark(wall, 0.2))
    pen.limb(
        [(-0.70, 0.48), (-0.48, 0.82), (0.0, 1.0), (0.48, 0.82), (0.70, 0.48)], 0.05, (84, 80, 86)
    )
    pen.rectangle(-0.25, 0.0, 0.25, 0.44, (248, 244, 236))
    pen.rectangle(-0.21, 0.0, 0.21, 0.40, dark(wall, 0.12))
    for ends in (((-0.21, 0.0), (0.21, 0.40)), ((-0.21, 0.40), (0.21, 0.0))):
        pen.limb(list(ends), 0.03, (248, 244, 236))
    pen.rectangle(-0.11, 0.60, 0.11, 0.78, (248, 244, 236))
    pen.rectangle(-0.08, 0.62, 0.08, 0.76, (60, 50, 50))


def _windmill(pen: Pen, thing: Thing, rng: random.Random) -> None:
    wall = colour_of(thing.colour)
    pen.shadow(0.32)
    pen.polygon([(-0.25, 0.0), (-0.15, 0.62), (0.15, 0.62), (0.25, 0.0)], wall)
    pen.polygon([(0.08, 0.0), (0.06, 0.62), (0.15, 0.62), (0.25, 0.0)], dark(wall, 0.16))
    pen.polygon([(-0.18, 0.61), (0.0, 0.80), (0.18, 0.61)], (110, 70, 60))
    pen.rectangle(-0.07, 0.0, 0.07, 0.18, (100, 64, 44))
    _window(pen, -0.05, 0.34, 0.04, 0.44)
    start = rng.uniform(0, 90)
    for k in range(4):
        turn = math.radians(start + 90 * k)
        cos, sin = math.cos(turn), math.sin(turn)
        blade = [
            (cos * a - sin * b, 0.66 + sin * a + cos * b)
            for a, b in ((0.06, 0), (0.46, 0), (0.46, 0.11), (0.10, 0.09))
        ]
        pen.polygon(blade, (246, 240, 226))
        pen.limb([(0, 0.66), (cos * 0.47, 0.66 + sin * 0.47)], 0.022, (110, 80, 56))
    pen.ellipse(0, 0.66, 0.035, 0.035, (80, 56, 44))


def _lighthouse(pen: Pen, thing: Thing, rng: random.Random) -> None:
    first = colour_of(thing.colour)
    white = COLOURS["white"]
    pen.ellipse(0, 0.01, 0.42, 0.07, (112, 108, 106))
    pen.ellipse(-0.06, 0.03, 0.32, 0.05, (146, 142, 138))
    for k in range(6):
        y0, y1 = 0.04 + 0.115 * k, 0.04 + 0.115 * (k + 1)
        w0, w1 = 0.17 - 0.012 * k, 0.17 - 0.012 * (k + 1)
        tone = first if k % 2 == 0 or " and " not in thing.colour else white
        pen.polygon([(-w0, y0), (w0, y0), (w1, y1), (-w1, y1)], tone)
        pen.polygon([(w0 * 0.4, y0), (w0, y0), (w1, y1), (w1 * 0.4, y1)], dark(tone, 0.16))
    pen.rectangle(-0.14, 0.72, 0.14, 0.76, (70, 70, 78))
    pen.rectangle(-0.085, 0.76, 0.085, 0.90, (255, 238, 150))
    pen.polygon([(-0.12, 0.89), (0, 1.0), (0.12, 0.89)], (190, 50, 46))
    pen.rectangle(-0.045, 0.04, 0.045, 0.15, (90, 64, 50))
    if pen.canvas.scene.time_of_day != "day":
        x, y = pen.at((0, 0.83))
        pen.canvas.glow(x, y, pen.size * 0.34, (255, 240, 160), 20)


def _tent(pen: Pen, thing: Thing, rng: random.Random) -> None:
    cloth = colour_of(thing.colour)
    pen.shadow(0.95)
    pen.polygon([(-0.5, 1.0), (0.62, 0.94), (1.0, 0.0), (0.1, 0.0)], dark(cloth, 0.14))
    pen.polygon([(-0.95, 0.0), (-0.5, 1.0), (0.1, 0.0)], cloth)
    pen.polygon([(-0.60, 0.0), (-0.5, 0.82), (-0.26, 0.0)], dark(cloth, 0.6))
    pen.polygon([(-0.60, 0.0), (-0.5, 0.82), (-0.66, 0.3)], light(cloth, 0.4))
    for start, end in (((-0.5, 1.0), (-1.15, 0.0)), ((0.62, 0.94), (1.2, 0.0))):
        pen.limb([start, end], 0.015, (236, 230, 210))
    if pen.canvas.scene.time_of_day == "night":
        x, y = pen.at((-0.44, 0.25))
        pen.canvas.glow(x, y, pen.size * 0.3, (255, 214, 120), 22)


# --- trees, plants and small things ---------------------------------------------------------------


def draw_tree(pen: Pen) -> None:
    """A broad tree with the leaves of the season."""
    canvas, rng = pen.canvas, pen.canvas.rng
    leaf: Rgb = _LEAF
    if canvas.scene.season == "autumn":
        leaf = rng.choice(((226, 140, 44), (204, 84, 40), (224, 184, 60)))
    pen.shadow(0.3)
    trunk: Rgb = (108, 76, 50)
    pen.polygon([(-0.07, 0.0), (-0.04, 0.5), (0.04, 0.5), (0.08, 0.0)], trunk)
    pen.polygon([(0.02, 0.0), (0.01, 0.5), (0.04, 0.5), (0.08, 0.0)], dark(trunk, 0.3))
    if canvas.scene.season == "winter":
        for angle, long in ((60, 0.42), (80, 0.5), (100, 0.48), (120, 0.44), (40, 0.3), (140, 0.3)):
            turn = math.radians(angle)
            tip = (long * math.cos(turn), 0.42 + long * math.sin(turn))
            pen.limb([(0, 0.4), tip], 0.03, trunk)
            pen.limb(
                [((tip[0]) * 0.6, 0.42 + (tip[1] - 0.42) * 0.6), (tip[0] * 1.15, tip[1] - 0.08)],
                0.018,
                trunk,
            )
        return
    puffs = [
        (-0.24, 0.56, 0.22),
        (0.24, 0.56, 0.22),
        (0.0, 0.54, 0.24),
        (-0.15, 0.76, 0.22),
        (0.16, 0.76, 0.21),
        (0.0, 0.84, 0.18),
    ]
    for x, y, r in puffs:
        pen.ellipse(x, y - 0.03, r * 1.05, r, dark(leaf, 0.3))
    for x, y, r in puffs:
        pen.ellipse(x - 0.01, y + 0.01, r * 0.95, r * 0.88, leaf)
    for x, y, r in puffs:
        pen.ellipse(x - r * 0.25, y + r * 0.35, r * 0.5, r * 0.34, light(leaf, 0.2))
        pen.ellipse(x + r * 0.3, y - r * 0.3, r * 0.24, r * 0.15, dark(leaf, 0.16))


def draw_pine(pen: Pen) -> None:
    """A fir, with snow on it in winter."""
    scene = pen.canvas.scene
    snowy = scene.season == "winter" or scene.weather == "snowfall"
    needle: Rgb = (40, 100, 70)
    pen.shadow(0.24)
    pen.rectangle(-0.045, 0.0, 0.045, 0.18, (100, 70, 46))
    for base, half, top in ((0.12, 0.32, 0.50), (0.34, 0.26, 0.72), (0.56, 0.19, 1.0)):
        pen.polygon(
            [
                (-half, base),
                (-half * 0.5, base + 0.035),
                (0, base - 0.02),
                (half * 0.5, base + 0.035),
                (half, base),
                (0, top),
            ],
            needle,
        )
        pen.polygon(
            [(0, top), (half, base), (half * 0.5, base + 0.035), (half * 0.16, base)],
            dark(needle, 0.26),
        )
        if snowy:
            pen.polygon(
                [
                    (0, top),
                    (-half * 0.5, (base + top) / 2),
                    (-half * 0.2, (base + top) / 2 + 0.02),
                    (0.0, (base + top) / 2 - 0.02),
                    (half * 0.35, (base + top) / 2 + 0.04),
                ],
                (244, 248, 252),
            )


def _palm_tree(pen: Pen, thing: Thing, rng: random.Random) -> None:
    pen.shadow(0.26)
    trunk = [(0.0, 0.0), (0.04, 0.3), (0.10, 0.56), (0.18, 0.80)]
    pen.limb(trunk, 0.07, (150, 110, 70))
    for k in range(7):
        y = 0.08 + 0.1 * k
        pen.limb(
            [(0.0 + y * 0.19 - 0.03, y), (0.0 + y * 0.19 + 0.05, y + 0.01)], 0.014, (108, 76, 46)
        )
    top = (0.18, 0.80)
    for angle in (165, 15, 205, -25, 130, 50, 90):
        turn = math.radians(angle)
        reach = 0.40
        middle = (
            top[0] + reach * 0.55 * math.cos(turn),
            top[1] + reach * 0.55 * math.sin(turn) + 0.10,
        )
        tip = (top[0] + reach * math.cos(turn), top[1] + reach * math.sin(turn) * 0.6 - 0.06)
        green: Rgb = (52, 140, 66) if angle not in (205, -25) else (36, 108, 56)
        pen.polygon(
            [top, (middle[0] - 0.03, middle[1] + 0.05), tip, (middle[0] + 0.03, middle[1] - 0.05)],
            green,
        )
        pen.limb([top, middle, tip], 0.012, dark(green, 0.3))
    for x in (-0.03, 0.04):
        pen.ellipse(top[0] + x, top[1] - 0.03, 0.04, 0.04, (110, 72, 40))


def draw_acacia(pen: Pen) -> None:
    """The flat tree of a savanna."""
    pen.limb([(0, 0), (0.02, 0.4), (-0.24, 0.72)], 0.07, (104, 78, 54))
    pen.limb([(0.02, 0.4), (0.26, 0.74)], 0.06, (104, 78, 54))
    for x, y, rx in ((-0.34, 0.78, 0.34), (0.32, 0.8, 0.36), (0.0, 0.88, 0.44)):
        pen.ellipse(x, y - 0.03, rx, 0.11, (74, 96, 46))
        pen.ellipse(x, y, rx * 0.95, 0.09, (112, 136, 62))


def _cactus(pen: Pen, thing: Thing, rng: random.Random) -> None:
    green: Rgb = (62, 140, 76)
    pen.shadow(0.24)
    for points in (
        [(-0.02, 0.34), (-0.26, 0.36), (-0.27, 0.62)],
        [(0.02, 0.46), (0.24, 0.48), (0.25, 0.76)],
    ):
        pen.limb(points, 0.13, dark(green, 0.1))
    pen.limb([(0, 0.0), (0, 0.88)], 0.21, green)
    for x in (-0.06, 0.0, 0.06):
        pen.limb([(x, 0.04), (x, 0.9)], 0.014, dark(green, 0.3))
    pen.ellipse(0, 0.98, 0.05, 0.04, (236, 90, 140))


def _flower(pen: Pen, thing: Thing, rng: random.Random) -> None:
    petal = colour_of(thing.colour)
    pen.limb([(0, 0), (0.02, 0.35), (0, 0.7)], 0.045, (58, 130, 60))
    pen.ellipse(-0.14, 0.26, 0.15, 0.06, (66, 146, 66), 150)
    pen.ellipse(0.15, 0.34, 0.15, 0.06, (66, 146, 66), 30)
    for k in range(7):
        turn = 2 * math.pi * k / 7
        x, y = 0.16 * math.cos(turn), 0.76 + 0.16 * math.sin(turn)
        pen.ellipse(x, y, 0.12, 0.085, dark(petal, 0.1 * (k % 2)), math.degrees(turn))
    pen.ellipse(
        0,
        0.76,
        0.09,
        0.09,
        (244, 190, 50) if thing.colour not in ("yellow", "orange") else (120, 70, 40),
    )


def _mushroom(pen: Pen, thing: Thing, rng: random.Random) -> None:
    cap = colour_of(thing.colour)
    pen.shadow(0.34)
    pen.polygon([(-0.15, 0.0), (-0.10, 0.55), (0.10, 0.55), (0.16, 0.0)], (244, 234, 214))
    pen.polygon([(0.05, 0.0), (0.04, 0.55), (0.10, 0.55), (0.16, 0.0)], (214, 200, 176))
    dome = [
        (0.48 * math.cos(math.radians(a)), 0.5 + 0.48 * math.sin(math.radians(a)))
        for a in range(0, 181, 10)
    ]
    pen.polygon(dome, cap)
    pen.ellipse(0, 0.5, 0.48, 0.08, dark(cap, 0.3))
    if thing.colour == "red":
        for x, y, r in (
            (-0.22, 0.68, 0.07),
            (0.05, 0.82, 0.08),
            (0.26, 0.64, 0.06),
            (0.0, 0.62, 0.05),
        ):
            pen.ellipse(x, y, r, r * 0.85, (250, 248, 240))


def _snowman(pen: Pen, thing: Thing, rng: random.Random) -> None:
    snow: Rgb = (246, 249, 253)
    pen.shadow(0.34)
    for x, tip in ((-0.2, -0.44), (0.2, 0.44)):
        pen.limb([(x, 0.50), (tip, 0.62)], 0.025, (100, 70, 46))
    for y, r in ((0.22, 0.25), (0.52, 0.19), (0.76, 0.14)):
        pen.ellipse(0, y, r, r * 0.95, (190, 204, 226))
        pen.ellipse(-0.015, y + 0.015, r * 0.94, r * 0.9, snow)
    scarf = rng.choice(((206, 50, 50), (50, 110, 180), (70, 150, 80)))
    pen.rectangle(-0.13, 0.63, 0.13, 0.68, scarf)
    pen.polygon([(0.06, 0.65), (0.13, 0.65), (0.16, 0.46), (0.09, 0.46)], dark(scarf, 0.12))
    for y in (0.48, 0.56, 0.26):
        pen.ellipse(0.02, y, 0.018, 0.018, _INK)
    for x in (-0.04, 0.06):
        pen.ellipse(x, 0.80, 0.018, 0.02, _INK)
    pen.polygon([(0.0, 0.77), (0.20, 0.745), (0.0, 0.73)], (238, 130, 40))
    pen.rectangle(-0.15, 0.87, 0.15, 0.895, _INK)
    pen.rectangle(-0.095, 0.89, 0.095, 1.02, _INK)


def _sandcastle(pen: Pen, thing: Thing, rng: random.Random) -> None:
    sand: Rgb = (214, 166, 96)
    pen.shadow(0.8)
    pen.polygon([(-0.85, 0.0), (-0.7, 0.28), (0.7, 0.28), (0.85, 0.0)], dark(sand, 0.1))
    for x, top, half in ((-0.5, 0.62, 0.19), (0.5, 0.62, 0.19), (0.0, 0.86, 0.22)):
        pen.polygon(
            [(x - half * 1.15, 0.0), (x - half, top), (x + half, top), (x + half * 1.15, 0.0)], sand
        )
        pen.polygon(
            [(x + half * 0.4, 0.0), (x + half * 0.4, top), (x + half, top), (x + half * 1.15, 0.0)],
            dark(sand, 0.16),
        )
        for k in (-1, 0, 1):
            pen.rectangle(
                x + k * half * 0.7 - 0.045, top - 0.01, x + k * half * 0.7 + 0.045, top + 0.08, sand
            )
        pen.ellipse(x, top * 0.6, 0.045, 0.07, dark(sand, 0.5))
    pen.limb([(0, 0.9), (0, 1.16)], 0.02, (110, 80, 56))
    pen.polygon([(0, 1.16), (0.2, 1.09), (0, 1.02)], (214, 50, 50))
    pen.ellipse(0, 0.06, 0.12, 0.14, dark(sand, 0.55))


def _parasol(pen: Pen, thing: Thing, rng: random.Random) -> None:
    cloth = colour_of(thing.colour)
    pen.shadow(0.42)
    pen.limb([(0, 0), (0.05, 0.9)], 0.03, (236, 228, 210))
    top = (0.055, 1.0)
    rim = [
        (0.55 * math.cos(math.radians(a)) + 0.03, 0.66 + 0.34 * math.sin(math.radians(a)))
        for a in range(0, 181, 12)
    ]
    for k in range(len(rim) - 1):
        pen.polygon([top, rim[k], rim[k + 1]], cloth if (k // 3) % 2 == 0 else (250, 248, 240))
    pen.ellipse(*top, 0.025, 0.025, dark(cloth, 0.3))
    pen.polygon([(-0.5, 0.0), (-0.46, 0.07), (0.24, 0.07), (0.3, 0.0)], light(cloth, 0.4))


def _bench(pen: Pen, thing: Thing, rng: random.Random) -> None:
    wood = colour_of(thing.colour)
    pen.shadow(1.0)
    for x in (-0.8, 0.8):
        pen.limb([(x, 0.0), (x, 0.96)], 0.07, (60, 58, 62))
        pen.limb([(x + 0.12, 0.0), (x + 0.12, 0.4)], 0.07, (60, 58, 62))
    for y in (0.58, 0.74, 0.90):
        pen.rectangle(-0.98, y, 0.98, y + 0.10, wood)
        pen.rectangle(-0.98, y, 0.98, y + 0.025, dark(wood, 0.25))
    pen.polygon([(-1.0, 0.36), (-0.94, 0.48), (1.06, 0.48), (1.06, 0.36)], light(wood, 0.12))
    pen.rectangle(-1.0, 0.32, 1.06, 0.38, dark(wood, 0.2))


def _chair(pen: Pen, thing: Thing, rng: random.Random) -> None:
    wood = colour_of(thing.colour)
    pen.shadow(0.34)
    for x, top in ((-0.26, 1.0), (0.26, 0.44), (-0.16, 0.44), (0.34, 0.44)):
        pen.limb([(x, 0.02), (x, top)], 0.06, dark(wood, 0.15))
    pen.rectangle(-0.30, 0.66, -0.12, 0.98, wood)
    pen.polygon([(-0.32, 0.40), (-0.28, 0.50), (0.38, 0.50), (0.36, 0.40)], light(wood, 0.1))


def _sofa(pen: Pen, thing: Thing, rng: random.Random) -> None:
    cloth = colour_of(thing.colour)
    pen.shadow(1.15)
    for x in (-0.9, 0.9):
        pen.limb([(x, 0.0), (x, 0.1)], 0.07, (96, 66, 44))
    pen.rectangle(-0.96, 0.3, 0.96, 0.96, dark(cloth, 0.1))
    pen.ellipse(0, 0.96, 0.96, 0.06, dark(cloth, 0.1))
    for x in (-0.48, 0.48):
        pen.blob(x, 0.66, 0.46, 0.30, cloth)
    pen.rectangle(-1.0, 0.08, 1.0, 0.34, dark(cloth, 0.18))
    for x0, x1 in ((-0.92, -0.01), (0.01, 0.92)):
        pen.rectangle(x0, 0.28, x1, 0.46, light(cloth, 0.12))
    for x in (-1.02, 1.02):
        pen.rectangle(x - 0.13, 0.06, x + 0.13, 0.60, dark(cloth, 0.06))
        pen.ellipse(x, 0.60, 0.15, 0.12, light(cloth, 0.05))
    pillow = light(rng.choice(((244, 200, 80), (220, 90, 100), (100, 170, 180))), 0.1)
    pen.polygon([(-0.74, 0.46), (-0.60, 0.80), (-0.30, 0.72), (-0.42, 0.44)], pillow)


def _lamp(pen: Pen, thing: Thing, rng: random.Random) -> None:
    shade = colour_of(thing.colour)
    pen.shadow(0.2)
    pen.ellipse(0, 0.02, 0.15, 0.03, (80, 66, 56))
    pen.limb([(0, 0.02), (0, 0.74)], 0.03, (110, 90, 70))
    x, y = pen.at((0, 0.82))
    pen.canvas.glow(x, y, pen.size * 0.4, (255, 236, 170), 14)
    pen.polygon([(-0.22, 0.70), (-0.13, 1.0), (0.13, 1.0), (0.22, 0.70)], shade)
    pen.polygon([(-0.08, 0.70), (-0.05, 1.0), (0.05, 1.0), (0.08, 0.70)], light(shade, 0.4))


def _street_lamp(pen: Pen, thing: Thing, rng: random.Random) -> None:
    pen.shadow(0.1)
    pen.limb([(0, 0), (0, 0.84)], 0.035, (50, 52, 58))
    pen.polygon([(-0.05, 0.0), (-0.03, 0.14), (0.03, 0.14), (0.05, 0.0)], (50, 52, 58))
    lit = pen.canvas.scene.time_of_day != "day"
    pen.polygon(
        [(-0.05, 0.84), (-0.08, 0.95), (0.08, 0.95), (0.05, 0.84)],
        (255, 236, 160) if lit else (226, 230, 226),
    )
    pen.polygon([(-0.10, 0.95), (0, 1.0), (0.10, 0.95)], (50, 52, 58))
    if lit:
        x, y = pen.at((0, 0.9))
        pen.canvas.glow(x, y, pen.size * 0.26, (255, 232, 150), 24)


def _ball(pen: Pen, thing: Thing, rng: random.Random) -> None:
    skin = colour_of(thing.colour)
    pen.shadow(0.5)
    pen.blob(0, 0.5, 0.5, 0.5, skin)
    pen.ellipse(0.02, 0.5, 0.17, 0.49, light(skin, 0.8))
    pen.ellipse(0.03, 0.5, 0.08, 0.48, skin)
    pen.ellipse(-0.2, 0.74, 0.1, 0.08, light(skin, 0.7), 30)


def _campfire(pen: Pen, thing: Thing, rng: random.Random) -> None:
    x, y = pen.at((0, 0.4))
    pen.canvas.glow(x, y, pen.size * 1.3, (255, 170, 70), 14)
    for side in (-1, 1):
        pen.limb([(-0.5 * side, 0.04), (0.5 * side, 0.22)], 0.13, (100, 66, 42))
    flames: Sequence[tuple[Sequence[Point], Rgb]] = (
        (
            [
                (-0.36, 0.12),
                (-0.42, 0.5),
                (-0.2, 0.42),
                (-0.06, 1.0),
                (0.12, 0.5),
                (0.36, 0.66),
                (0.36, 0.12),
            ],
            (232, 84, 30),
        ),
        (
            [(-0.26, 0.12), (-0.24, 0.40), (-0.06, 0.74), (0.08, 0.40), (0.24, 0.46), (0.26, 0.12)],
            (250, 156, 40),
        ),
        ([(-0.14, 0.12), (-0.04, 0.46), (0.14, 0.12)], (255, 230, 120)),
    )
    for points, tone in flames:
        pen.canvas.draw.polygon([pen.at(p) for p in points], fill=tone)
    for k in range(7):
        r = 0.09
        pen.ellipse(-0.6 + 0.2 * k, 0.03 - 0.02 * (3 - abs(k - 3)), r, r * 0.75, (122, 120, 122))


@dataclass(frozen=True)
class Drawing:
    """How to draw a thing, and its size as the main subject.

    `height` is its share of the picture's height; `aspect` is its width in its own heights.
    """

    draw: Callable[[Pen, Thing, random.Random], None]
    height: float
    aspect: float


DRAWINGS: dict[str, Drawing] = {
    "dog": Drawing(_beast, 0.32, 1.25),
    "cat": Drawing(_beast, 0.28, 1.15),
    "horse": Drawing(_beast, 0.48, 1.15),
    "cow": Drawing(_beast, 0.40, 1.5),
    "sheep": Drawing(_beast, 0.30, 1.3),
    "pig": Drawing(_beast, 0.26, 1.5),
    "rabbit": Drawing(_beast, 0.26, 0.9),
    "fox": Drawing(_beast, 0.30, 1.4),
    "deer": Drawing(_beast, 0.48, 0.95),
    "camel": Drawing(_beast, 0.50, 1.3),
    "elephant": Drawing(_beast, 0.54, 1.4),
    "hen": Drawing(_hen, 0.26, 1.1),
    "penguin": Drawing(_penguin, 0.38, 0.7),
    "bird": Drawing(_bird, 0.17, 1.6),
    "duck": Drawing(_duck, 0.22, 1.5),
    "swan": Drawing(_swan, 0.32, 1.5),
    "fish": Drawing(_fish, 0.22, 1.9),
    "turtle": Drawing(_turtle, 0.30, 1.9),
    "octopus": Drawing(_octopus, 0.44, 1.1),
    "diver": Drawing(_diver, 0.24, 2.7),
    "whale": Drawing(_whale, 0.34, 2.8),
    "butterfly": Drawing(_butterfly, 0.22, 1.2),
    "crab": Drawing(_crab, 0.20, 1.6),
    "boy": Drawing(_person, 0.46, 0.6),
    "girl": Drawing(_person, 0.46, 0.6),
    "man": Drawing(_person, 0.56, 0.5),
    "woman": Drawing(_person, 0.56, 0.5),
    "car": Drawing(_car, 0.24, 2.5),
    "bus": Drawing(_bus, 0.32, 2.5),
    "truck": Drawing(_truck, 0.30, 2.6),
    "tractor": Drawing(_tractor, 0.38, 1.6),
    "train": Drawing(_train, 0.24, 4.2),
    "sailing boat": Drawing(_sailing_boat, 0.42, 1.0),
    "rowing boat": Drawing(_rowing_boat, 0.17, 2.6),
    "ship": Drawing(_ship, 0.30, 2.6),
    "hot air balloon": Drawing(_hot_air_balloon, 0.38, 0.75),
    "airplane": Drawing(_airplane, 0.22, 2.4),
    "kite": Drawing(_kite, 0.30, 1.0),
    "balloon": Drawing(_balloon, 0.34, 0.65),
    "house": Drawing(lambda pen, thing, rng: draw_house(pen, colour_of(thing.colour)), 0.42, 1.3),
    "church": Drawing(_church, 0.58, 1.05),
    "castle": Drawing(_castle, 0.52, 1.5),
    "barn": Drawing(_barn, 0.46, 1.4),
    "windmill": Drawing(_windmill, 0.56, 0.95),
    "lighthouse": Drawing(_lighthouse, 0.62, 0.8),
    "tent": Drawing(_tent, 0.32, 2.2),
    "tree": Drawing(lambda pen, thing, rng: draw_tree(pen), 0.56, 0.95),
    "pine tree": Drawing(lambda pen, thing, rng: draw_pine(pen), 0.52, 0.66),
    "palm tree": Drawing(_palm_tree, 0.58, 0.95),
    "cactus": Drawing(_cactus, 0.42, 0.7),
    "flower": Drawing(_flower, 0.32, 0.6),
    "mushroom": Drawing(_mushroom, 0.26, 1.0),
    "snowman": Drawing(_snowman, 0.44, 0.8),
    "sandcastle": Drawing(_sandcastle, 0.28, 1.7),
    "parasol": Drawing(_parasol, 0.42, 1.15),
    "bench": Drawing(_bench, 0.24, 2.1),
    "chair": Drawing(_chair, 0.32, 0.75),
    "sofa": Drawing(_sofa, 0.32, 2.35),
    "lamp": Drawing(_lamp, 0.50, 0.5),
    "street lamp": Drawing(_street_lamp, 0.56, 0.25),
    "ball": Drawing(_ball, 0.18, 1.05),
    "campfire": Drawing(_campfire, 0.28, 1.3),
}

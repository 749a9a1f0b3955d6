"""Canvas and pen for the drawn library: colours, light by time of day, simple shaded shapes.

Everything is drawn at twice the size and then averaged, which smooths the edges. Only Pillow's
drawing and a seeded `random.Random` are used, so a scene gives the same pixels on every machine
with the same Pillow.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from scenesearch.sample.scenes import Scene

Rgb = tuple[int, int, int]
Point = tuple[float, float]

SUPERSAMPLING: Final = 2  # 3 takes twice as long and looks the same at 500 px

COLOURS: dict[str, Rgb] = {
    "red": (206, 46, 42),
    "blue": (46, 96, 196),
    "yellow": (244, 204, 50),
    "green": (58, 150, 72),
    "orange": (238, 132, 40),
    "purple": (136, 70, 176),
    "pink": (240, 138, 170),
    "white": (244, 242, 236),
    "black": (44, 42, 46),
    "brown": (132, 84, 48),
    "golden": (216, 164, 84),
    "grey": (138, 140, 144),
}
SKIN: Final = ((246, 206, 170), (228, 176, 132), (176, 120, 82), (124, 80, 54))
HAIR: Final = ((52, 36, 26), (110, 70, 34), (206, 164, 84), (30, 28, 30), (168, 80, 36))


def colour_of(name: str) -> Rgb:
    """The paint for a colour word; for "red and white" the first of the two."""
    return COLOURS[name.split(" and ")[0]]


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def dark(colour: Rgb, amount: float = 0.28) -> Rgb:
    return mix(colour, (24, 20, 44), amount)


def light(colour: Rgb, amount: float = 0.25) -> Rgb:
    return mix(colour, (255, 252, 240), amount)


class Canvas:
    """An image being painted, with the scene's light applied to every colour put on it."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene = scene
        self.rng = rng
        self.width, self.height = scene.size[0] * SUPERSAMPLING, scene.size[1] * SUPERSAMPLING
        self.unit = math.sqrt(self.width * self.height) / 100
        self.image = Image.new("RGB", (self.width, self.height))
        self.draw = ImageDraw.Draw(self.image, "RGBA")
        self.haze = 0.0  # distance, 0..1: fades what is painted next

    def lit(self, colour: Rgb) -> Rgb:
        """The colour in this scene's light: sun, moon, cloud or water."""
        scene = self.scene
        air: Rgb = (196, 214, 232)
        r, g, b = colour
        if scene.setting == "underwater":
            r, g, b = round(r * 0.84), round(g * 0.96), b
            air = (40, 130, 176)
        elif scene.time_of_day == "night":
            r, g, b = round(r * 0.58), round(g * 0.61), round(b * 0.82)
            air = (30, 38, 74)
        elif scene.time_of_day == "sunset":
            r, g, b = min(255, round(r * 1.02 + 8)), round(g * 0.86), round(b * 0.74)
            air = (240, 168, 120)
        elif scene.weather in ("rain", "cloudy", "fog", "snowfall"):
            grey = (r + g + b) // 3
            r, g, b = mix((r, g, b), (grey, grey, grey), 0.14)
            r, g, b = round(r * 0.93), round(g * 0.95), round(b * 0.97)
            air = (206, 210, 214)
        haze = self.haze
        if scene.weather == "fog":
            haze = min(0.85, haze * 1.6 + 0.10)
        return mix((r, g, b), air, haze)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: Rgb) -> None:
        if x1 > x0 and y1 > y0:
            self.draw.rectangle((x0, y0, x1, y1), fill=self.lit(colour))

    def band(self, y0: float, y1: float, top: Rgb, bottom: Rgb, *, lit: bool = True) -> None:
        """A vertical gradient from edge to edge."""
        start, end = max(0, round(y0)), min(self.height, round(y1))
        if end <= start:
            return
        if lit:
            top, bottom = self.lit(top), self.lit(bottom)
        share = np.linspace(0.0, 1.0, end - start)[:, None]
        rows = np.asarray(top) * (1 - share) + np.asarray(bottom) * share
        column = Image.fromarray(rows.round().astype(np.uint8)[:, None, :])
        self.image.paste(column.resize((self.width, end - start)), (0, start))

    def ridge(self, y: float, height: float, colour: Rgb, *, rough: float = 0.5) -> None:
        """A hill line across the picture, filled down to the bottom edge."""
        rng = self.rng
        waves = [(rng.uniform(0.6, 1.4) * 2**k, rng.uniform(0, 6.28), rough**k) for k in range(5)]
        total = sum(share for _, _, share in waves)
        points: list[Point] = []
        for step in range(65):
            t = step / 64
            wave = sum(share * math.sin(6.28 * f * t + p) for f, p, share in waves) / total
            points.append((t * self.width, y - height * (0.5 + 0.5 * wave)))
        points += [(self.width, self.height), (0, self.height)]
        self.draw.polygon(points, fill=self.lit(colour))

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, colour: Rgb, alpha: int = 255
    ) -> None:
        if rx > 0 and ry > 0:
            self.draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=(*self.lit(colour), alpha))

    def polygon(self, points: Sequence[Point], colour: Rgb, alpha: int = 255) -> None:
        self.draw.polygon(list(points), fill=(*self.lit(colour), alpha))

    def line(self, points: Sequence[Point], width: float, colour: Rgb, alpha: int = 255) -> None:
        self.draw.line(
            list(points), fill=(*self.lit(colour), alpha), width=max(1, round(width)), joint="curve"
        )

    def glow(self, x: float, y: float, radius: float, colour: Rgb, strength: int = 26) -> None:
        """A soft light, the same at every time of day."""
        for step in range(8, 0, -1):
            r = radius * step / 8
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=(*colour, strength))

    def tufts(self, y0: float, y1: float, colour: Rgb, count: int, length: float) -> None:
        """Grass, drawn longer towards the viewer."""
        rng = self.rng
        shades = [self.lit(mix(colour, other, 0.35)) for other in ((20, 60, 30), (240, 240, 130))]
        for _ in range(count):
            depth = rng.random()
            x, y = rng.uniform(0, self.width), y0 + (y1 - y0) * depth
            size = length * (0.35 + depth) * self.unit
            lean = rng.uniform(-0.4, 0.4) * size
            self.draw.line(
                (x, y, x + lean, y - size),
                fill=(*shades[rng.random() < 0.5], 150),
                width=max(1, round(self.unit * 0.22 * (0.5 + depth))),
            )

    def specks(self, y0: float, y1: float, colour: Rgb, count: int, size: float) -> None:
        """Flat little dabs: sand, leaves, ripples of snow."""
        rng = self.rng
        for _ in range(count):
            depth = rng.random()
            x, y = rng.uniform(0, self.width), y0 + (y1 - y0) * depth
            r = size * self.unit * (0.4 + depth) * rng.uniform(0.5, 1.2)
            self.ellipse(x, y, r * 1.8, r * 0.6, colour, 110)

    def ripples(self, y0: float, y1: float, count: int) -> None:
        """Light and dark strokes on water."""
        rng = self.rng
        for _ in range(count):
            depth = rng.random()
            x, y = rng.uniform(0, self.width), y0 + (y1 - y0) * depth
            w = self.unit * rng.uniform(2, 6) * (0.4 + depth)
            shade: Rgb = (235, 248, 255) if rng.random() < 0.6 else (16, 60, 110)
            self.line([(x - w, y), (x + w, y)], self.unit * 0.28 * (0.5 + depth), shade, 80)


class Pen:
    """Draws in a thing's own coordinates: feet at (0, 0), y up, facing right; a unit is `size`
    pixels."""

    def __init__(self, canvas: Canvas, x: float, y: float, size: float, *, flip: bool) -> None:
        self.canvas = canvas
        self.x, self.y, self.size = x, y, size
        self.side = -1.0 if flip else 1.0

    def at(self, point: Point) -> Point:
        return self.x + self.side * self.size * point[0], self.y - self.size * point[1]

    def shifted(self, dx: float, dy: float, scale: float = 1.0) -> Pen:
        x, y = self.at((dx, dy))
        return Pen(self.canvas, x, y, self.size * scale, flip=self.side < 0)

    def polygon(self, points: Sequence[Point], colour: Rgb, alpha: int = 255) -> None:
        self.canvas.polygon([self.at(p) for p in points], colour, alpha)

    def ellipse(
        self, cx: float, cy: float, rx: float, ry: float, colour: Rgb, angle: float = 0.0
    ) -> None:
        """`angle` in degrees, from forward to up."""
        if not angle:
            x, y = self.at((cx, cy))
            self.canvas.ellipse(x, y, rx * self.size, ry * self.size, colour)
            return
        self.polygon(_oval(cx, cy, rx, ry, angle), colour)

    def blob(
        self, cx: float, cy: float, rx: float, ry: float, colour: Rgb, angle: float = 0.0
    ) -> None:
        """An ellipse with a shaded underside, which looks round."""
        self.ellipse(cx, cy, rx, ry, dark(colour, 0.22), angle)
        self.ellipse(cx, cy + ry * 0.14, rx * 0.95, ry * 0.84, colour, angle)
        self.ellipse(cx, cy + ry * 0.42, rx * 0.62, ry * 0.38, light(colour, 0.14), angle)

    def limb(self, points: Sequence[Point], width: float, colour: Rgb) -> None:
        """A line with round joints and ends."""
        placed = [self.at(p) for p in points]
        self.canvas.line(placed, width * self.size, colour)
        for x, y in placed:
            self.canvas.ellipse(x, y, width * self.size / 2, width * self.size / 2, colour)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: Rgb) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def shadow(self, half: float, dx: float = 0.0) -> None:
        x, y = self.at((dx, 0.0))
        self.canvas.draw.ellipse(
            (
                x - half * self.size,
                y - half * self.size * 0.13,
                x + half * self.size,
                y + half * self.size * 0.13,
            ),
            fill=(10, 14, 40, 70),
        )


@lru_cache(maxsize=4096)
def _unit_oval(angle: float, steps: int = 28) -> tuple[tuple[float, float, float, float], ...]:
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = [2 * math.pi * k / steps for k in range(steps)]
    return tuple((math.cos(t), math.sin(t), cos, sin) for t in turn)


def _oval(cx: float, cy: float, rx: float, ry: float, angle: float) -> list[Point]:
    return [
        (cx + rx * a * cos - ry * b * sin, cy + rx * a * sin + ry * b * cos)
        for a, b, cos, sin in _unit_oval(angle)
    ]

"""Backdrops of the drawn library: sky, land and water of each setting.

Each backdrop paints everything behind the things and returns the height of the horizon in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scenesearch.sample.canvas import COLOURS, Canvas, Pen, Rgb, dark, light, mix
from scenesearch.sample.things import draw_acacia, draw_house, draw_pine, draw_tree


def _sky(canvas: Canvas, horizon: float) -> None:
    scene, rng = canvas.scene, canvas.rng
    w, u = canvas.width, canvas.unit
    top, bottom = {
        "sunny": ((72, 148, 226), (196, 226, 246)),
        "rainbow": ((104, 150, 200), (206, 222, 232)),
        "cloudy": ((150, 168, 188), (208, 216, 222)),
        "rain": ((104, 116, 132), (168, 178, 188)),
        "fog": ((198, 204, 210), (222, 226, 228)),
        "snowfall": ((164, 176, 192), (218, 224, 232)),
        "clear": ((72, 148, 226), (196, 226, 246)),
    }[scene.weather]
    if scene.time_of_day == "night":
        top, bottom = (12, 16, 46), (44, 58, 112)
    elif scene.time_of_day == "sunset":
        top, bottom = (98, 80, 148), (252, 168, 92)
    canvas.band(0, horizon + u * 8, top, bottom, lit=False)
    sun_x = w * rng.choice((0.14, 0.2, 0.8, 0.86))
    if scene.time_of_day == "night":
        for _ in range(110):
            x, y, r = rng.uniform(0, w), rng.uniform(0, horizon), u * rng.uniform(0.1, 0.34)
            canvas.draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 252, 226, 230))
        y, r = horizon * rng.uniform(0.2, 0.36), u * 5
        canvas.glow(sun_x, y, r * 2.6, (200, 210, 255), 12)
        canvas.draw.ellipse((sun_x - r, y - r, sun_x + r, y + r), fill=(250, 244, 214))
        if rng.random() < 0.6:  # a crescent
            x = sun_x + r * 0.5
            canvas.draw.ellipse((x - r, y - r * 1.1, x + r, y + r * 0.9), fill=(18, 24, 60))
    elif scene.time_of_day == "sunset":
        y, r = horizon - u * rng.uniform(1, 6), u * 7.5
        canvas.glow(sun_x, y, r * 4, (255, 210, 120), 16)
        canvas.draw.ellipse((sun_x - r, y - r, sun_x + r, y + r), fill=(255, 226, 130))
        _clouds(canvas, horizon, 4, (248, 150, 128))
    elif scene.weather == "sunny":
        y, r = horizon * rng.uniform(0.18, 0.34), u * 5
        canvas.glow(sun_x, y, r * 2.8, (255, 244, 180), 16)
        canvas.draw.ellipse((sun_x - r, y - r, sun_x + r, y + r), fill=(255, 232, 92))
        _clouds(canvas, horizon, rng.choice((0, 1, 2)), (250, 252, 255))
    elif scene.weather in ("cloudy", "snowfall"):
        _clouds(canvas, horizon, 8, (232, 236, 240))
    elif scene.weather == "rain":
        _clouds(canvas, horizon, 9, (116, 124, 138))
    elif scene.weather == "rainbow":
        _clouds(canvas, horizon, 3, (224, 228, 234))
        x, y, radius = w * rng.uniform(0.35, 0.65), horizon + u * 8, min(w * 0.46, horizon * 1.02)
        for step, colour in enumerate(
            (
                (214, 50, 50),
                (240, 140, 40),
                (250, 220, 60),
                (70, 170, 80),
                (60, 110, 210),
                (130, 70, 180),
            )
        ):
            r = radius - step * u * 1.5
            canvas.draw.arc(
                (x - r, y - r, x + r, y + r), 180, 360, fill=(*colour, 190), width=round(u * 1.7)
            )


def _clouds(canvas: Canvas, horizon: float, count: int, colour: Rgb) -> None:
    rng, u = canvas.rng, canvas.unit
    for _ in range(count):
        x, y = rng.uniform(0, canvas.width), rng.uniform(0.06, 0.6) * horizon
        size = u * rng.uniform(3.5, 7)
        puffs = [
            (rng.uniform(-2.4, 2.4), rng.uniform(-0.35, 0.35), rng.uniform(0.7, 1.25))
            for _ in range(7)
        ]
        for tone, drop in ((mix(colour, (90, 100, 130), 0.22), 0.3), (colour, 0.0)):
            for dx, dy, r in puffs:
                rx, ry = size * r * 1.2, size * r * 0.62
                cx, cy = x + dx * size, y + (dy + drop) * size
                canvas.draw.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=(*tone, 235))


def _grass_colour(canvas: Canvas) -> Rgb:
    return {"summer": (104, 172, 72), "autumn": (170, 160, 74), "winter": (226, 234, 242)}[
        canvas.scene.season
    ]


def _far_hills(canvas: Canvas, horizon: float, colour: Rgb) -> None:
    canvas.haze = 0.45
    canvas.ridge(horizon + canvas.unit, canvas.unit * 9, dark(colour, 0.25))
    canvas.haze = 0.25
    canvas.ridge(horizon + canvas.unit * 2, canvas.unit * 5, dark(colour, 0.12))
    canvas.haze = 0.0


def _lawn(canvas: Canvas, horizon: float, colour: Rgb) -> None:
    canvas.band(horizon, canvas.height, light(colour, 0.18), dark(colour, 0.16))
    if canvas.scene.season == "winter":
        canvas.specks(horizon, canvas.height, (190, 206, 228), 90, 1.4)
    else:
        canvas.tufts(horizon + canvas.unit, canvas.height, colour, 420, 2.0)


def _meadow(canvas: Canvas) -> float:
    horizon = canvas.height * canvas.rng.uniform(0.44, 0.54)
    grass = _grass_colour(canvas)
    _sky(canvas, horizon)
    _far_hills(canvas, horizon, grass)
    _lawn(canvas, horizon, grass)
    rng = canvas.rng
    for _ in range(60):
        depth = rng.random()
        x, y = rng.uniform(0, canvas.width), horizon + (canvas.height - horizon) * depth
        petal = rng.choice(((250, 246, 240), (250, 220, 80), (220, 90, 110)))
        canvas.ellipse(
            x, y, canvas.unit * 0.5 * (0.4 + depth), canvas.unit * 0.4 * (0.4 + depth), petal
        )
    return horizon


def _water(canvas: Canvas, y0: float, y1: float, near: Rgb, far: Rgb) -> None:
    if canvas.scene.time_of_day == "sunset":  # water shows the sky's colours, not its own
        canvas.band(y0, y1, (236, 156, 116), mix(near, (96, 72, 128), 0.75), lit=False)
    else:
        canvas.band(y0, y1, far, near)
    canvas.ripples(y0, y1, 90)


def _beach(canvas: Canvas) -> float:
    h, u = canvas.height, canvas.unit
    horizon = h * canvas.rng.uniform(0.36, 0.44)
    shore = horizon + (h - horizon) * 0.34
    _sky(canvas, horizon)
    _water(canvas, horizon, shore + u * 4, (70, 190, 206), (30, 110, 180))
    canvas.ridge(shore + u * 2.2, u * 2.4, (250, 252, 252), rough=0.4)
    canvas.ridge(shore + u * 3.2, u * 2.4, (206, 178, 128), rough=0.4)
    canvas.band(shore + u * 3.2, h, (238, 214, 160), (214, 182, 122))
    canvas.specks(shore + u * 4, h, (180, 146, 96), 130, 0.55)
    return horizon


def _mountains(canvas: Canvas) -> float:
    h, u, rng = canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.5, 0.58)
    _sky(canvas, horizon)
    for row, haze in ((0, 0.34), (1, 0.1)):
        canvas.haze = haze
        x = -u * rng.uniform(5, 25)
        while x < canvas.width:
            half, top = (
                u * rng.uniform(22, 34),
                horizon - h * rng.uniform(0.24, 0.42) * (1 - 0.3 * row),
            )
            _peak(canvas, x + half * 0.6, top, half, horizon + u * 4)
            x += half * rng.uniform(0.9, 1.3)
    canvas.haze = 0.0
    grass = (112, 156, 84) if canvas.scene.season == "summer" else (160, 146, 84)
    canvas.ridge(horizon + u * 3, u * 6, dark(grass, 0.2))
    _lawn(canvas, horizon + u * 3, grass)
    for _ in range(14):
        x, y = rng.uniform(0, canvas.width), rng.uniform(horizon + u * 5, h)
        r = u * rng.uniform(0.6, 2.0)
        canvas.ellipse(x, y, r * 1.4, r, (108, 108, 112))
        canvas.ellipse(x - r * 0.2, y - r * 0.25, r, r * 0.6, (150, 150, 152))
    return horizon + u * 3


def _peak(canvas: Canvas, x: float, top: float, half: float, base: float) -> None:
    rng = canvas.rng
    canvas.polygon([(x - half, base), (x, top), (x + half, base)], (124, 130, 148))
    canvas.polygon([(x, top), (x + half, base), (x + half * 0.15, base)], (92, 98, 120))
    cap = (base - top) * rng.uniform(0.3, 0.42)
    reach = half * cap / (base - top)
    canvas.polygon(
        [
            (x, top),
            (x + reach, top + cap),
            (x + reach * 0.45, top + cap * 0.78),
            (x + reach * 0.1, top + cap * 1.12),
            (x - reach * 0.4, top + cap * 0.8),
            (x - reach, top + cap),
        ],
        (248, 250, 254),
    )
    canvas.polygon(
        [(x, top), (x + reach, top + cap), (x + reach * 0.45, top + cap * 0.78)], (206, 216, 234)
    )


def _desert(canvas: Canvas) -> float:
    h, u = canvas.height, canvas.unit
    horizon = h * canvas.rng.uniform(0.46, 0.54)
    _sky(canvas, horizon)
    canvas.haze = 0.25
    canvas.ridge(horizon + u * 3, u * 11, (226, 168, 104), rough=0.3)
    canvas.haze = 0.0
    canvas.ridge(horizon + u * 6, u * 7, (214, 150, 84), rough=0.3)
    canvas.ridge(horizon + u * 12, u * 8, (232, 176, 106), rough=0.3)
    canvas.band(horizon + u * 12, h, (232, 176, 106), (206, 142, 78))
    for step in range(16):
        y = horizon + u * 14 + (h - horizon) * step / 18
        wave = [
            (x, y + u * math.sin(x / (u * 7) + step * 1.7)) for x in range(0, canvas.width + 40, 40)
        ]
        canvas.line(wave, u * 0.35, (180, 116, 60), 70)
    return horizon + u * 2


def _city(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.56, 0.62)
    _sky(canvas, horizon)
    canvas.haze = 0.4
    x = 0.0
    while x < w:
        wide = u * rng.uniform(8, 15)
        canvas.rectangle(
            x, horizon - h * rng.uniform(0.36, 0.52), x + wide, horizon, (126, 130, 148)
        )
        x += wide
    canvas.haze = 0.0
    x = -u * rng.uniform(0, 8)
    walls = ((190, 110, 84), (214, 190, 150), (150, 152, 164), (176, 140, 120), (120, 134, 150))
    while x < w:
        wide = u * rng.uniform(13, 22)
        _facade(canvas, x, horizon - h * rng.uniform(0.24, 0.44), wide, horizon, rng.choice(walls))
        x += wide
    snow = canvas.scene.season == "winter"
    canvas.rectangle(0, horizon, w, horizon + u * 5, (232, 236, 242) if snow else (176, 174, 170))
    canvas.rectangle(0, horizon + u * 4.4, w, horizon + u * 5.2, (130, 128, 126))
    road = (168, 172, 182) if snow else (92, 92, 98)
    canvas.band(horizon + u * 5.2, h, light(road, 0.1), dark(road, 0.1))
    middle = (horizon + u * 5 + h) / 2
    x = 0
    while x < w:
        canvas.rectangle(x, middle, x + u * 7, middle + u * 0.9, (236, 232, 214))
        x += u * 13
    canvas.specks(horizon + u * 6, h, (60, 60, 66), 90, 0.4)
    return horizon + u * 4


def _facade(canvas: Canvas, x: float, top: float, wide: float, base: float, wall: Rgb) -> None:
    u, rng = canvas.unit, canvas.rng
    canvas.rectangle(x, top, x + wide, base, wall)
    canvas.rectangle(x + wide * 0.93, top, x + wide, base, dark(wall, 0.2))
    canvas.rectangle(x - u * 0.3, top, x + wide + u * 0.3, top + u * 1.1, dark(wall, 0.3))
    columns = max(2, int(wide / (u * 4.4)))
    night = canvas.scene.time_of_day == "night"
    y = top + u * 3
    while y < base - u * 9:
        for column in range(columns):
            cx = x + wide * (column + 0.5) / columns
            box = (cx - u * 1.1, y, cx + u * 1.1, y + u * 3.2)
            if night and rng.random() < 0.55:
                canvas.draw.rectangle(box, fill=(252, 216, 120))
            else:
                canvas.rectangle(*box, (96, 124, 156))
        y += u * 5.4
    shop = rng.choice(((186, 54, 48), (40, 110, 90), (50, 80, 140), (220, 170, 60)))
    canvas.rectangle(x + u, base - u * 6.4, x + wide - u, base, (70, 84, 104))
    canvas.rectangle(x + u * 0.4, base - u * 7.4, x + wide - u * 0.4, base - u * 5.4, shop)
    if night:
        canvas.draw.rectangle(
            (x + u * 1.6, base - u * 5, x + wide - u * 1.6, base - u), fill=(240, 200, 110, 200)
        )


def _forest(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.56, 0.62)
    autumn = canvas.scene.season == "autumn"
    leaf: Rgb = (206, 120, 44) if autumn else (52, 116, 58)
    _sky(canvas, horizon * 0.7)
    canvas.haze = 0.5
    canvas.ridge(horizon * 0.62, u * 14, leaf, rough=0.8)
    for haze, count, wide in ((0.36, 15, 1.6), (0.18, 10, 2.6), (0.0, 6, 4.2)):
        canvas.haze = haze
        base = horizon + u * (6 - haze * 16)
        for k in range(count):
            x = w * (k + rng.uniform(0.1, 0.9)) / count
            trunk = mix((92, 66, 44), (60, 50, 44), rng.random())
            thick = u * wide * rng.uniform(0.7, 1.2)
            canvas.polygon(
                [
                    (x - thick / 2, base),
                    (x - thick * 0.3, 0),
                    (x + thick * 0.3, 0),
                    (x + thick / 2, base),
                ],
                trunk,
            )
            canvas.polygon(
                [
                    (x + thick * 0.1, base),
                    (x + thick * 0.1, 0),
                    (x + thick * 0.3, 0),
                    (x + thick / 2, base),
                ],
                dark(trunk, 0.25),
            )
        for _ in range(count * 2):
            x, y = rng.uniform(0, w), rng.uniform(-0.04, 0.27) * h * (0.6 + haze)
            r = u * rng.uniform(5, 10)
            tone = mix(
                leaf, rng.choice(((30, 70, 40), (230, 200, 70) if autumn else (130, 180, 70))), 0.4
            )
            canvas.ellipse(x, y, r * 1.3, r * 0.8, tone, 235)
        if haze == 0.36:
            canvas.haze = 0.0
            floor: Rgb = (150, 102, 56) if autumn else (96, 110, 56)
            canvas.band(horizon - u, h, floor, dark(floor, 0.3))
    canvas.haze = 0.0
    canvas.specks(horizon, h, (196, 104, 40) if autumn else (60, 84, 40), 220, 0.8)
    canvas.tufts(horizon + u * 3, h, (86, 130, 60), 120, 2.2)
    return horizon


def _lake(canvas: Canvas) -> float:
    h, u, rng = canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.38, 0.46)
    shore = h * 0.84
    grass = _grass_colour(canvas)
    _sky(canvas, horizon)
    _far_hills(canvas, horizon, dark(grass, 0.25))
    canvas.haze = 0.12
    x = 0.0
    while x < canvas.width:
        r = u * rng.uniform(2, 4.5)
        tone = mix(
            (44, 96, 60),
            (200, 130, 50) if canvas.scene.season == "autumn" else (80, 130, 60),
            rng.random(),
        )
        canvas.ellipse(x, horizon - r * 0.5, r, r * 1.2, tone)
        x += r * 1.3
    canvas.haze = 0.0
    _water(canvas, horizon, shore + u * 4, (66, 132, 176), (120, 176, 206))
    canvas.ridge(shore + u * 3, u * 4, mix(grass, (120, 96, 60), 0.4), rough=0.4)
    canvas.ridge(shore + u * 4, u * 4, grass, rough=0.4)
    canvas.tufts(shore + u * 3, h, grass, 160, 2.6)
    for _ in range(9):
        x = rng.choice((rng.uniform(0, 0.16), rng.uniform(0.84, 1))) * canvas.width
        y = shore + u * rng.uniform(3, 6)
        canvas.line([(x, y), (x + u * rng.uniform(-1, 1), y - u * 9)], u * 0.4, (76, 110, 50))
        canvas.ellipse(x, y - u * 9, u * 0.6, u * 1.6, (110, 70, 40))
    return horizon


def _snow(canvas: Canvas) -> float:
    h, u, rng = canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.44, 0.52)
    _sky(canvas, horizon)
    canvas.haze = 0.3
    canvas.ridge(horizon, u * 12, (196, 208, 226))
    x = -u * 2
    while x < canvas.width:
        tall = u * rng.uniform(5, 9)
        canvas.polygon(
            [(x - tall * 0.3, horizon + u), (x, horizon - tall), (x + tall * 0.3, horizon + u)],
            (72, 104, 96),
        )
        x += u * rng.uniform(2.5, 6)
    canvas.haze = 0.0
    canvas.band(horizon, h, (240, 244, 250), (214, 224, 240))
    canvas.ridge(horizon + u * 8, u * 6, (234, 240, 248), rough=0.4)
    canvas.ridge(horizon + u * 20, u * 8, (244, 247, 252), rough=0.4)
    canvas.specks(horizon + u * 4, h, (188, 204, 230), 120, 1.3)
    return horizon


def _park(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.46, 0.54)
    grass = _grass_colour(canvas)
    _sky(canvas, horizon)
    canvas.haze = 0.3
    x = 0.0
    while x < w:
        wide = u * rng.uniform(6, 12)
        canvas.rectangle(x, horizon - u * rng.uniform(6, 18), x + wide, horizon, (160, 150, 150))
        x += wide * rng.uniform(1, 1.6)
    canvas.haze = 0.1
    _lawn(canvas, horizon, grass)
    for k in range(6):
        x = w * (k + rng.uniform(0.2, 0.8)) / 6
        draw_tree(Pen(canvas, x, horizon + u * 2, u * rng.uniform(16, 22), flip=False))
    canvas.haze = 0.0
    bend = rng.uniform(-0.2, 0.2) * w
    path: Rgb = (216, 198, 164) if canvas.scene.season != "winter" else (200, 204, 212)
    canvas.polygon(
        [
            (w * 0.48, horizon + u * 3),
            (w * 0.53, horizon + u * 3),
            (w * 0.56 + bend, horizon + (h - horizon) * 0.4),
            (w * 0.86, h),
            (w * 0.2, h),
            (w * 0.44 + bend, horizon + (h - horizon) * 0.4),
        ],
        path,
    )
    return horizon


def _harbour(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.36, 0.42)
    _sky(canvas, horizon)
    canvas.haze = 0.22
    canvas.ridge(horizon + u, u * 5, (110, 140, 110))
    x = 0.0
    while x < w:
        wide = u * rng.uniform(5, 8)
        tall = u * rng.uniform(5, 9)
        wall = rng.choice(((236, 220, 190), (226, 150, 120), (240, 236, 228), (150, 180, 200)))
        canvas.rectangle(x, horizon - tall, x + wide, horizon + u, wall)
        canvas.polygon(
            [
                (x, horizon - tall),
                (x + wide / 2, horizon - tall - u * 3),
                (x + wide, horizon - tall),
            ],
            (176, 84, 60),
        )
        x += wide * rng.uniform(1.0, 1.3)
    canvas.haze = 0.0
    quay = h * 0.80
    _water(canvas, horizon + u, quay, (36, 92, 128), (90, 150, 180))
    canvas.band(quay, quay + u * 2.4, (120, 116, 112), (96, 92, 90))
    canvas.band(quay + u * 2.4, h, (192, 186, 176), (158, 150, 142))
    for k in range(9):
        x = w * k / 8
        canvas.line([(x, quay + u * 2.4), (x + (x - w / 2) * 0.35, h)], u * 0.3, (110, 104, 100))
    for k in range(4):
        x = w * (k + 0.5) / 4
        canvas.rectangle(x - u, quay - u * 1.4, x + u, quay + u * 2, (60, 62, 70))
    return horizon


def _sea(canvas: Canvas) -> float:
    h, u, rng = canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.4, 0.5)
    _sky(canvas, horizon)
    _water(canvas, horizon, h, (20, 74, 140), (70, 150, 200))
    for step in range(7):
        y = horizon + (h - horizon) * (step + 0.6) / 7.4
        for _ in range(5):
            x, r = rng.uniform(0, canvas.width), u * (1.5 + step * 0.7)
            canvas.draw.arc(
                (x - r, y, x + r, y + r),
                200,
                340,
                fill=(*canvas.lit((230, 244, 250)), 150),
                width=max(2, round(u * 0.3)),
            )
    return horizon


def _farm(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.44, 0.52)
    grass = _grass_colour(canvas)
    _sky(canvas, horizon)
    _far_hills(canvas, horizon, grass)
    _lawn(canvas, horizon, grass)
    field: Rgb = (222, 190, 92)
    base = horizon + u * 8
    canvas.polygon([(0, horizon + u * 2), (w, horizon + u), (w, base), (0, base)], field)
    for k in range(26):
        x = w * k / 25
        canvas.line(
            [(x, horizon + u * 2), (x + (x - w / 2) * 0.25, base)], u * 0.35, (190, 150, 60)
        )
    y, step = base + u * 0.5, u * 6
    x = -rng.uniform(0, step)
    while x < w + step:
        canvas.rectangle(x, y - u * 5, x + u * 0.9, y + u, (150, 112, 74))
        x += step
    for rail in (1.2, 3.6):
        canvas.rectangle(0, y - u * rail - u * 0.7, w, y - u * rail, (168, 128, 86))
    return horizon


def _road(canvas: Canvas) -> float:
    w, h, u = canvas.width, canvas.height, canvas.unit
    horizon = h * canvas.rng.uniform(0.44, 0.52)
    grass = _grass_colour(canvas)
    _sky(canvas, horizon)
    _far_hills(canvas, horizon, grass)
    _lawn(canvas, horizon, grass)
    top, bottom = horizon + (h - horizon) * 0.42, h * 0.985
    canvas.rectangle(0, top - u, w, bottom + u, (196, 184, 150))
    canvas.band(top, bottom, (116, 116, 122), (84, 84, 90))
    x = -canvas.rng.uniform(0, u * 8)
    while x < w:
        canvas.rectangle(x, (top + bottom) / 2, x + u * 8, (top + bottom) / 2 + u, (244, 240, 224))
        x += u * 15
    return horizon


def _village(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.46, 0.52)
    grass = _grass_colour(canvas)
    _sky(canvas, horizon)
    _far_hills(canvas, horizon, grass)
    canvas.haze = 0.24
    x = rng.uniform(0, u * 5)
    while x < w:
        wall = rng.choice(((240, 228, 204), (222, 190, 150), (236, 236, 232)))
        size = u * rng.uniform(8, 11)
        draw_house(Pen(canvas, x, horizon + u * 3, size, flip=False), wall)
        x += size * rng.uniform(1.3, 1.9)
    canvas.haze = 0.0
    _lawn(canvas, horizon + u * 3, grass)
    stone: Rgb = (196, 186, 172) if canvas.scene.season != "winter" else (206, 212, 222)
    canvas.polygon(
        [(w * 0.42, horizon + u * 3), (w * 0.58, horizon + u * 3), (w * 0.95, h), (w * 0.05, h)],
        stone,
    )
    for _ in range(60):
        depth = rng.random()
        y = horizon + u * 4 + (h - horizon) * depth
        x = w * 0.5 + (rng.random() - 0.5) * w * (0.14 + 0.7 * depth)
        canvas.ellipse(x, y, u * (0.5 + depth), u * 0.35 * (0.5 + depth), dark(stone, 0.2), 120)
    return horizon + u


def _river(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.42, 0.48)
    grass = _grass_colour(canvas)
    _sky(canvas, horizon)
    _far_hills(canvas, horizon, grass)
    _lawn(canvas, horizon, grass)
    top, bottom = horizon + (h - horizon) * 0.16, horizon + (h - horizon) * 0.66
    bank = [(x, top + u * 1.6 * math.sin(x / w * 9)) for x in range(0, w + 40, 40)]
    other = [(x, bottom + u * 2.2 * math.sin(x / w * 7 + 1)) for x in range(w + 40, -40, -40)]
    canvas.polygon([*bank, *other], (126, 104, 70))
    canvas.polygon([(x, y + u) for x, y in bank] + [(x, y - u) for x, y in other], (78, 146, 178))
    canvas.ripples(top + u * 3, bottom - u * 3, 60)
    arch = w * rng.choice((0.1, 0.9))
    canvas.haze = 0.05
    stone: Rgb = (158, 148, 138)
    for k in range(3):
        x, r = arch + (k - 1) * u * 13, u * 5
        canvas.rectangle(x - u * 7, top - u * 6, x + u * 7, top + u * 4, stone)
        canvas.ellipse(x, top + u * 3, r, r * 1.4, (70, 120, 146))
    canvas.rectangle(arch - u * 22, top - u * 8, arch + u * 22, top - u * 5.6, dark(stone, 0.15))
    canvas.haze = 0.0
    return horizon


def _pitch(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.42, 0.48)
    _sky(canvas, horizon)
    canvas.haze = 0.1
    canvas.rectangle(0, horizon - u * 9, w, horizon, (120, 126, 140))
    for _ in range(240):  # spectators
        x, y = rng.uniform(0, w), horizon - u * rng.uniform(1.5, 8.5)
        canvas.ellipse(x, y, u * 0.7, u * 0.8, rng.choice(tuple(COLOURS.values())))
    canvas.haze = 0.0
    canvas.rectangle(0, horizon - u * 1.6, w, horizon, (236, 236, 230))
    y, step, even = horizon, 0, True
    while y < h:
        deep = u * (4 + step * 2)
        canvas.rectangle(0, y, w, min(h, y + deep), (70, 164, 70) if even else (86, 180, 80))
        y, step, even = y + deep, step + 1, not even
    canvas.rectangle(0, horizon + u * 7, w, horizon + u * 7.7, (246, 248, 244))
    x = w * rng.choice((0.2, 0.8))
    goal = (x - u * 11, horizon - u * 7, x + u * 11, horizon + u * 7)
    for k in range(12):
        gx = goal[0] + (goal[2] - goal[0]) * k / 11
        canvas.line([(gx, goal[1]), (gx, goal[3])], u * 0.2, (220, 226, 230))
    for k in range(7):
        gy = goal[1] + (goal[3] - goal[1]) * k / 6
        canvas.line([(goal[0], gy), (goal[2], gy)], u * 0.2, (220, 226, 230))
    canvas.line(
        [(goal[0], goal[3]), (goal[0], goal[1]), (goal[2], goal[1]), (goal[2], goal[3])],
        u * 0.9,
        (252, 252, 250),
    )
    return horizon


def _room(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.60, 0.66)
    wall = rng.choice(
        ((236, 218, 190), (196, 216, 214), (222, 196, 190), (214, 212, 228), (206, 220, 186))
    )
    canvas.band(0, horizon, light(wall, 0.1), wall)
    for k in range(40):
        x = u * 4 * k
        canvas.rectangle(x, 0, x + u * 0.4, horizon, dark(wall, 0.05))
    wx, wy, ww, wh = w * rng.choice((0.12, 0.62)), h * 0.08, w * 0.26, h * 0.26
    canvas.rectangle(wx - u, wy - u, wx + ww + u, wy + wh + u, (250, 248, 244))
    canvas.rectangle(wx, wy, wx + ww, wy + wh, (140, 196, 236))
    canvas.rectangle(wx, wy + wh * 0.72, wx + ww, wy + wh, (130, 180, 110))
    canvas.rectangle(wx + ww / 2 - u * 0.4, wy, wx + ww / 2 + u * 0.4, wy + wh, (250, 248, 244))
    canvas.rectangle(wx, wy + wh / 2 - u * 0.4, wx + ww, wy + wh / 2 + u * 0.4, (250, 248, 244))
    curtain = rng.choice(((180, 70, 70), (80, 110, 160), (210, 160, 70), (110, 150, 110)))
    for side in (wx - u * 4, wx + ww - u):
        canvas.rectangle(side, wy - u * 2, side + u * 5, wy + wh + u * 5, curtain)
        canvas.rectangle(
            side + u * 2, wy - u * 2, side + u * 3, wy + wh + u * 5, dark(curtain, 0.15)
        )
    px = w - wx - w * 0.2
    canvas.rectangle(px - u * 8, h * 0.1, px + u * 8, h * 0.1 + u * 12, (120, 84, 52))
    canvas.rectangle(px - u * 7, h * 0.1 + u, px + u * 7, h * 0.1 + u * 11, (176, 206, 220))
    canvas.polygon(
        [(px - u * 7, h * 0.1 + u * 11), (px - u, h * 0.1 + u * 4), (px + u * 7, h * 0.1 + u * 11)],
        (106, 140, 96),
    )
    canvas.rectangle(0, horizon - u * 1.6, w, horizon, (248, 246, 240))
    canvas.band(horizon, h, (182, 132, 86), (146, 98, 60))
    for k in range(7):
        y = horizon + (h - horizon) * (k / 7) ** 1.4
        canvas.line([(0, y), (w, y)], u * 0.3, (122, 82, 50))
    rug = rng.choice(((176, 60, 60), (60, 96, 140), (200, 170, 110), (96, 130, 96)))
    cy = horizon + (h - horizon) * 0.58
    canvas.ellipse(w / 2, cy, w * 0.4, (h - horizon) * 0.34, dark(rug, 0.2))
    canvas.ellipse(w / 2, cy, w * 0.37, (h - horizon) * 0.3, rug)
    canvas.ellipse(w / 2, cy, w * 0.30, (h - horizon) * 0.24, light(rug, 0.2))
    canvas.ellipse(w / 2, cy, w * 0.28, (h - horizon) * 0.22, rug)
    return horizon


def _reef(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    canvas.band(0, h, (84, 196, 222), (10, 66, 122), lit=False)
    for _ in range(6):
        x, wide = rng.uniform(0, w), u * rng.uniform(3, 8)
        lean = u * rng.uniform(8, 22)
        canvas.draw.polygon(
            [(x, 0), (x + wide, 0), (x + wide + lean * 1.5, h * 0.9), (x + lean, h * 0.9)],
            fill=(230, 250, 255, 26),
        )
    floor = h * rng.uniform(0.82, 0.88)
    canvas.haze = 0.3
    canvas.ridge(floor - u, u * 6, (190, 176, 130), rough=0.4)
    canvas.haze = 0.0
    canvas.ridge(floor + u * 3, u * 4, (224, 202, 146), rough=0.4)
    for _ in range(9):
        x, base = rng.uniform(0, w), floor + u * rng.uniform(2, 7)
        coral = rng.choice(((232, 96, 110), (240, 150, 70), (176, 90, 180), (240, 200, 90)))
        for k in range(5):
            angle = math.radians(50 + 20 * k + rng.uniform(-8, 8))
            r = u * rng.uniform(4, 8)
            tip = (x + r * math.cos(angle), base - r * math.sin(angle))
            canvas.line([(x, base), tip], u * 1.2, coral)
            canvas.ellipse(tip[0], tip[1], u * 0.9, u * 0.9, coral)
    for _ in range(8):
        x, base, tall = rng.uniform(0, w), floor + u * 5, u * rng.uniform(10, 24)
        weed = [(x + u * 1.4 * math.sin(k * 1.1 + x), base - tall * k / 8) for k in range(9)]
        canvas.line(weed, u * 1.1, (40, 130, 80))
    for _ in range(26):
        x, y, r = rng.uniform(0, w), rng.uniform(0, floor), u * rng.uniform(0.3, 1.0)
        canvas.draw.ellipse(
            (x - r, y - r, x + r, y + r), outline=(226, 248, 255, 190), width=max(1, round(u * 0.2))
        )
    return h * 0.2


def _garden(canvas: Canvas) -> float:
    w, h, u, rng = canvas.width, canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.48, 0.54)
    _sky(canvas, horizon)
    x = 0.0
    while x < w:  # a hedge
        r = u * rng.uniform(3.5, 6)
        canvas.ellipse(x, horizon - r, r, r * 1.5, mix((40, 104, 52), (90, 150, 70), rng.random()))
        x += r * 1.1
    x = -rng.uniform(0, u * 4)
    while x < w:  # a picket fence
        top = horizon - u * 6
        canvas.polygon(
            [
                (x, horizon + u),
                (x, top),
                (x + u, top - u * 1.3),
                (x + u * 2, top),
                (x + u * 2, horizon + u),
            ],
            (248, 246, 240),
        )
        x += u * 3.2
    canvas.rectangle(0, horizon - u * 4.4, w, horizon - u * 3.4, (236, 234, 228))
    _lawn(canvas, horizon + u, (96, 176, 78))
    for _ in range(46):
        x, y = rng.uniform(0, w), horizon + u * rng.uniform(1, 5)
        petal = rng.choice(
            ((226, 60, 80), (250, 200, 60), (240, 140, 190), (150, 90, 200), (250, 246, 240))
        )
        canvas.line([(x, y), (x, y - u * 2.6)], u * 0.4, (50, 120, 56))
        canvas.ellipse(x, y - u * 2.8, u * 1.1, u * 1.0, petal)
        canvas.ellipse(x, y - u * 2.8, u * 0.4, u * 0.4, (250, 220, 90))
    return horizon + u * 2


def _campsite(canvas: Canvas) -> float:
    h, u, rng = canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.5, 0.56)
    grass = mix(_grass_colour(canvas), (120, 104, 66), 0.35)
    _sky(canvas, horizon)
    canvas.haze = 0.35
    canvas.ridge(horizon + u, u * 12, (70, 110, 90))
    canvas.haze = 0.12
    x = -u * 2
    while x < canvas.width:
        tall = u * rng.uniform(16, 28)
        draw_pine(Pen(canvas, x, horizon + u * 2, tall, flip=False))
        x += u * rng.uniform(4, 8)
    canvas.haze = 0.0
    _lawn(canvas, horizon + u, grass)
    canvas.specks(horizon + u * 6, h, (120, 92, 60), 110, 0.9)
    return horizon + u


def _savanna(canvas: Canvas) -> float:
    h, u, rng = canvas.height, canvas.unit, canvas.rng
    horizon = h * rng.uniform(0.46, 0.54)
    grass: Rgb = (214, 182, 92)
    _sky(canvas, horizon)
    canvas.haze = 0.4
    canvas.ridge(horizon + u, u * 7, (150, 140, 120))
    canvas.haze = 0.1
    canvas.band(horizon, h, light(grass, 0.1), dark(grass, 0.15))
    for k in range(3):
        x = canvas.width * (k + rng.uniform(0.1, 0.9)) / 3
        draw_acacia(Pen(canvas, x, horizon + u * 2, u * rng.uniform(13, 18), flip=False))
    canvas.haze = 0.0
    canvas.tufts(horizon + u, h, (196, 160, 70), 520, 2.6)
    return horizon


BACKDROPS: dict[str, Callable[[Canvas], float]] = {
    "meadow": _meadow,
    "beach": _beach,
    "mountains": _mountains,
    "desert": _desert,
    "city street": _city,
    "forest": _forest,
    "lake": _lake,
    "snow": _snow,
    "park": _park,
    "harbour": _harbour,
    "open sea": _sea,
    "farm": _farm,
    "country road": _road,
    "village": _village,
    "river": _river,
    "football pitch": _pitch,
    "living room": _room,
    "underwater": _reef,
    "garden": _garden,
    "campsite": _campsite,
    "savanna": _savanna,
}

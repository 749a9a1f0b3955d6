"""The gallery without Streamlit: a page that mounts it as Streamlit does, over drawn pictures.

To look at it:

    .venv/bin/python -m tests.browser.gallery_harness 8600

then http://127.0.0.1:8600/?n=2000&order=taken&theme=dark
"""

import base64
import io
import json
import random
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image, ImageDraw

from ui.scripts import script, style

SIZES = [
    (4000, 3000),
    (3000, 4000),
    (6000, 4000),
    (4000, 2250),
    (3000, 3000),
    (4000, 3000),
    (2250, 4000),
    (6000, 4000),
    (8000, 2000),
    (4000, 3000),
]
KINDS = 30
BROKEN = 5  # the picture whose original is away
WORDED = 3  # a picture with text in it
GONE = 17  # the picture of a hundred that is gone, where some are
HOSTILE = {
    7: "<img src=x onerror='window.hacked = true'><script>window.hacked = true</script>",
    8: "\u202eغروب فوق المدينة القديمة\u202c",
    9: "endless " * 1250,
}
_TITLES = [
    "A harbour at dusk",
    "Two dogs on the beach",
    "Morning fog over the hills",
    "The old mill by the river",
    "Snow on the pass, late in the season",
    "Grandmother's garden",
    "A kite over the dunes",
]
_DAY_S = 86400


@cache
def drawing(kind: int) -> Image.Image:
    """Hills under a sky; each kind has colours and a ridge of its own."""
    chance = random.Random(kind)
    width, height = SIZES[kind % len(SIZES)]
    scale = 1600 / max(width, height)
    width, height = round(width * scale), round(height * scale)
    hue = chance.randrange(256)
    sky = np.linspace(0, 1, height)[:, None, None]
    above = np.array([hue, 110 + chance.randrange(60), 150 + chance.randrange(60)])
    below = np.array([(hue + chance.randrange(20, 50)) % 256, 60, 250])
    hsv = np.broadcast_to((1 - sky) * above + sky * below, (height, width, 3)).astype(np.uint8)
    image = Image.fromarray(hsv, "HSV").convert("RGB")
    draw = ImageDraw.Draw(image)
    x, y = chance.uniform(0.2, 0.8) * width, chance.uniform(0.15, 0.4) * height
    radius = 0.05 * max(width, height)
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(255, 244, 214))
    for layer in range(4):
        base = height * (0.5 + 0.13 * layer)
        waves = [
            (chance.uniform(1, 4), chance.uniform(0, 6), chance.uniform(0.02, 0.07)) for _ in "abc"
        ]
        xs = np.linspace(0, 1, 80)
        ridge = base + height * sum(a * np.sin(6.28 * f * xs + p) for f, p, a in waves)
        shade = 0.62 - 0.13 * layer
        colour = tuple(int(shade * c) for c in image.getpixel((0, height - 1)))
        points = [(float(px * width), float(py)) for px, py in zip(xs, ridge, strict=True)]
        draw.polygon([*points, (width, height), (0, height)], fill=colour)
    return image


@cache
def encoded(kind: int, side: int) -> bytes:
    image = drawing(kind).copy()
    image.thumbnail((side * 3, side) if side < 1000 else (side, side))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82)
    return buffer.getvalue()


@cache
def original(kind: int) -> bytes:
    """As many points as its item says, in few bytes."""
    buffer = io.BytesIO()
    drawing(kind).resize(SIZES[kind % len(SIZES)]).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


@cache
def colours(kind: int) -> str:
    return base64.b64encode(drawing(kind).resize((4, 4), Image.Resampling.BOX).tobytes()).decode()


def picture_id(index: int) -> str:
    return f"photos/{2024 - index // 3000}/IMG_{index:06}.jpg"


def _day(index: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(1735300000 - index * _DAY_S // 8))


def item(index: int) -> dict[str, Any]:
    kind = index % KINDS
    width, height = SIZES[kind % len(SIZES)]
    return {
        "id": picture_id(index),
        "title": HOSTILE.get(index, f"{_TITLES[index % len(_TITLES)]}, {index + 1}"),
        "w": width,
        "h": height,
        "v": f"{kind:016x}",
        "colours": colours(kind),
        "date": _day(index),
        "score": f"{max(95 - index // 2, 3)} %",
        "note": "offline" if index == BROKEN else "",
    }


def details(index: int) -> dict[str, Any]:
    one = item(index)
    return {
        "title": one["title"],
        "captions": [one["title"], "Warm light from the left, nobody in sight."],
        "facts": [
            ["Taken", "12 July 2019, 20:14"],
            ["Camera", "Nikon Z 6"],
            ["Exposure", "1/250 s · f/8 · 35 mm"],
            ["Size", f"{one['w']} × {one['h']} pixels"],
            ["Tags", "harbour, evening, family"],
        ],
        "found": "87 % · cosine .31",
        "lines": [
            {"text": "Gate <b>12</b>", "box": [0.1, 0.1, 0.5, 0.2], "marked": True},
            {"text": "Departures", "box": [0.1, 0.24, 0.6, 0.32], "marked": False},
        ]
        if index == WORDED
        else [],
        "place": {"lat": 47.3769, "lon": 8.5417},
        "path": f"/photographs/{one['id']}",
        "mark": None,
        "problem": "Offline: the original's disk is away. The picture is back with it."
        if index == BROKEN
        else None,
    }


def heat() -> str:
    image = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse([20, 12, 44, 36], fill=(255, 40, 30, 130))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Gallery</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  body { margin: 0; font: 16px/1.5 "Source Sans", system-ui, sans-serif; }
  #root { position: fixed; inset: 0; overflow: hidden; }
  main { position: absolute; inset: 0; overflow: auto; background: var(--st-background-color);
         color: var(--st-text-color); }
  .block { padding: 24px clamp(16px, 3vw, 40px) 48px; }
  .light { --st-background-color: #ffffff; --st-text-color: #31333f; --st-primary-color: #2a63c8; }
  .dark { --st-background-color: #0e1117; --st-text-color: #fafafa; --st-primary-color: #2f6fde; }
  :is(.light, .dark) { --st-font: "Source Sans", system-ui, sans-serif; }
  .light { color-scheme: light; } .dark { color-scheme: dark; }
  input { font: inherit; padding: 8px 12px; width: min(40rem, 100%); box-sizing: border-box; }
  h1 { font-size: 1.2rem; margin: 0 0 12px; }
</style></head><body>
<div id="root" class="THEME"><main data-testid="stMain"><div class="block">
<h1>Pictures</h1><p><label>Search <input id="q" value="evening"></label></p>
<div style="display: contents"><div id="host"></div></div>
</div></main></div>
<script type="module">
  // As Streamlit 1.67 in its onHistoryChange: what pops runs the page again, but for its anchors.
  window.pops = 0;
  let query = location.search;
  window.addEventListener("popstate", () => {
    if (location.href.includes("#") && location.search === query) return;
    query = location.search;
    window.pops += 1;
  });
  window.calls = [];
  window.shifts = 0;
  new PerformanceObserver((list) => {
    for (const shift of list.getEntries()) if (!shift.hadRecentInput) window.shifts += shift.value;
  }).observe({ type: "layout-shift", buffered: true });
  const { default: mount } = await import("/module.js");
  const shadow = document.getElementById("host").attachShadow({ mode: "open" });
  const sheet = document.createElement("style");
  sheet.textContent = await (await fetch("/gallery.css")).text();
  shadow.append(document.createElement("div"));
  shadow.firstChild.append(sheet);
  const load = async (search) => (await fetch(`/data${search}`)).json();
  let data = await load(location.search);
  let take;
  window.rerun = (changes = {}) => {
    data = { ...data, ...changes };
    window.data = data;
    take = mount({
      parentElement: shadow, data, key: "k",
      setStateValue: (name, value) => window.calls.push(["state", name, value]),
      setTriggerValue: (name, value) => window.calls.push(["trigger", name, value]),
    });
  };
  window.answer = async (search) => {
    data = await load(search);
    query = location.search;
    window.rerun();
  };
  window.unmount = () => take();
  window.rerun();
  window.ready = true;
</script></body></html>"""


class Harness(ThreadingHTTPServer):
    """Serves any number of answers. The token says how many pictures, as `n2000` does, and which is
    the first less certain one, as `c80n2000`. One that begins with `shaped` has a shape, and with
    `shapedgone` has lost a picture in a hundred."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.failing = False  # portions
        self.forgotten = False  # tokens
        self.paths: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, what: str) -> list[str]:
        """The addresses below gallery/ that were asked for and begin so."""
        return [path for path in self.paths if path.startswith(f"/gallery/{what}")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Harness

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the browser went away

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(place.query).items()}
        self.server.paths.append(self.path)
        if place.path == "/":
            theme = "dark" if asked.get("theme") == "dark" else "light"
            self._send(200, "text/html", _PAGE.replace("THEME", theme).encode())
        elif place.path == "/module.js":
            self._send(200, "text/javascript", script("gallery").encode())
        elif place.path == "/gallery.css":
            self._send(200, "text/css", style("gallery").encode())
        elif place.path == "/data":
            self._json(200, _data(asked))
        else:
            self._gallery(place.path.removeprefix("/gallery/"), asked)

    def _gallery(self, what: str, asked: dict[str, str]) -> None:
        if "answer" in asked and self.server.forgotten:
            self._json(410, {"error": "This answer is no longer known."})
            return
        if what == "items":
            if self.server.failing:
                self._json(500, {"error": "no"})
            else:
                first, length = int(asked["after"]), int(asked.get("limit", "60"))
                self._json(200, _portion(asked["answer"], first, length))
            return
        if what == "shape":
            self._json(200, _shape(_size(asked["answer"])))
            return
        if what == "place":
            number = asked["id"][-10:-4]
            is_there = number.isdigit() and int(number) < _size(asked["answer"])
            self._json(200, {"at": int(number) if is_there else None})
            return
        try:
            index = int(asked["id"][-10:-4])
        except (KeyError, ValueError):
            self._json(404, {"error": "unknown"})
            return
        kind = index % KINDS
        if what == "thumb":
            self._send(200, "image/webp", encoded(kind, int(asked["h"])), keep=True)
        elif what in ("view", "full") and index == BROKEN:
            self._json(404, {"error": "away"})
        elif what == "view":
            self._send(200, "image/webp", encoded(kind, 1600), keep=True)
        elif what == "full":
            self._send(200, "image/jpeg", original(kind), keep=True)
        elif what == "details":
            self._json(200, details(index))
        elif what == "why":
            words = [["harbour", 0.31], ["at", 0.02], ["dusk", -0.05]]
            self._json(200, {"words": words, "more": 2, "heat": heat()})
        elif what == "download":
            self._send(200, "image/jpeg", original(kind))
        else:
            self._json(404, {"error": "unknown"})

    def _json(self, status: int, value: Any) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, body: bytes, *, keep: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "private, max-age=31536000" if keep else "no-store")
        self.end_headers()
        self.wfile.write(body)


def _size(token: str) -> int:
    return int(token.rpartition("n")[2])


@cache
def _shape(total: int) -> dict[str, Any]:
    """Proportions and months, as `ui.gallery.listing.Shape` tells them."""
    kinds = [round(10_000 * width / height) for width, height in SIZES]
    aspects = np.array([kinds[index % KINDS % len(SIZES)] for index in range(total)], "<u2")
    months: list[tuple[str, int]] = []
    for index in range(total):
        month = _day(index)[:7]
        if not months or months[-1][0] != month:
            months.append((month, index))
    return {"aspects": base64.b64encode(aspects).decode(), "months": months}


def _portion(token: str, first: int, length: int) -> dict[str, Any]:
    total = _size(token)
    end = min(first + length, total)
    cut = re.fullmatch(r"c(\d+)n\d+", token)
    nearest = int(cut[1]) if cut else -1
    return {
        "items": [
            {**item(index), "at": index} if token.startswith("shaped") else item(index)
            for index in range(first, end)
            if not (token.startswith("shapedgone") and index % 100 == GONE)
        ],
        "next": str(end) if end < total else None,
        "nearest": nearest if first <= nearest < end else None,
    }


def _data(asked: dict[str, str]) -> dict[str, Any]:
    total = int(asked.get("n", "200"))
    token = f"{asked.get('answer', 'a')}n{total}"
    return {
        "base": "/",
        "answer": token,
        "library": "photos",
        **_portion(token, 0, int(asked.get("first", "60"))),
        "total": total if asked.get("order") else None,
        "ordered_by": asked.get("order", ""),
        "shaped": token.startswith("shaped"),
        "captions": "captions" in asked,
        "selectable": True,
        "selected": None,
        "can": {
            "like": True,
            "not": True,
            "mark": True,
            "why": True,
            "collect": ["Holidays", "<b>Best of 2019</b>"],
            "download": "original",
        },
        "announce": f"{total} pictures found",
    }


@contextmanager
def gallery_harness(port: int = 0) -> Iterator[Harness]:
    """The page, served until the block ends."""
    server = Harness(port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    with gallery_harness(int(sys.argv[1])) as served:
        print(served.address)
        threading.Event().wait()

// The map on one canvas: points, names of its parts, thumbnails as one comes near; outlines that
// select. It draws a library by likeness (places between 0 and 1) or by place (degrees east and
// north, in Web Mercator over the coastlines). Nothing of the library is put in as markup:
// names and titles go through textContent and fillText.
//
// `data` from ui/map/canvas.py:
//   kind "likeness" | "place"; small: the filter in the sidebar; base: the page's own path
//   points: address of the packed points (ui/map/routes.py); token: names them
//   parts: [[name, x, y, count, within | null]…]; colour: null | {field, names | null, low, high}
//   box: [west, south, east, north] | null of the filter
// State: chosen = null | {part} | {outline: [[x, y]…]}, or box in the small map.
// Triggers: open = a picture's number; lost = the page knows these points no longer.

import { make } from "../make.js";

const CELL = 76;              // a thumbnail's cell is between so many pixels and twice as many
const MOST_THUMBS = 150;
const KEPT_THUMBS = 600;
const NEAR = 1.9;             // so far zoomed in, thumbnails and names of smaller parts appear
const FEW = 3;                // with no more pictures a cell, thumbnails appear anyway
const ONE_PLACE = 1e-6;       // of the plane: 40 m
const FARTHEST_IN = 4e7;
const GRID = 256;             // cells a side of the index of points
const NO_COLOUR = 255;
const COLOURS = [
  "#3f7fd9", "#e07b29", "#3a9e5c", "#cf4d4d", "#8c63c2", "#9a6b4f",
  "#d067a8", "#7f8c2f", "#2aa3b5", "#c9a227", "#8a8f98",
];
const RAMP = ["#3b2f7d", "#2f6f9f", "#2ea587", "#9bc84a", "#f2d53c"];
const instances = new WeakMap();
let land = null;              // the coastlines, read once for all maps

export default function (component) {
  const { parentElement } = component;
  let map = instances.get(parentElement);
  if (!map) {
    map = new PictureMap(parentElement);
    instances.set(parentElement, map);
  }
  map.update(component);
  return () => {
    map.close();
    instances.delete(parentElement);
  };
}

class PictureMap {
  constructor(parent) {
    this.root = parent.querySelector(".map");
    this.frame = parent.querySelector(".frame");
    this.canvas = parent.querySelector("canvas");
    this.hover = parent.querySelector(".hover");
    this.said = parent.querySelector(".said");
    this.legend = parent.querySelector(".legend");
    this.list = parent.querySelector(".parts");
    this.tools = parent.querySelector(".tools");
    this.zooms = parent.querySelector(".zooms");
    this.pen = this.canvas.getContext("2d", { alpha: false });
    this.count = 0;
    this.colours = null;
    this.chosen = null;           // what is selected: {part} or {outline}, in the data's own terms
    this.mask = null;             // 1 for each selected point
    this.tool = "move";
    this.view = { x: 0.5, y: 0.5, scale: 1 };   // middle, in the plane; pixels of its whole side
    this.marks = [];              // thumbnails and counts on the screen
    this.thumbs = new Map();
    this.asked = new Map();       // pictures that are being asked for, with the answer to come
    this.pictures = new Map();    // what is known of a picture: id, title, version
    this.pointers = new Map();
    this.watching = new ResizeObserver(() => this.resized());
    this.watching.observe(this.frame);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.recolour = () => this.draw();
    this.scheme.addEventListener("change", this.recolour);
    this.listen();
  }

  close() {
    this.watching.disconnect();
    this.scheme.removeEventListener("change", this.recolour);
    clearTimeout(this.settling);
    cancelAnimationFrame(this.frameAsked);
  }

  // --- what the page says ----------------------------------------------------------------------

  update({ data, setStateValue, setTriggerValue }) {
    this.setState = setStateValue;
    this.setTrigger = setTriggerValue;
    const before = this.data;
    this.data = data;
    this.isPlace = data.kind === "place";
    if (!before) this.begin();
    if (!before || before.token !== data.token) this.load();
    if (!before || JSON.stringify(before.colour) !== JSON.stringify(data.colour)) this.loadColours();
    if (data.small && JSON.stringify(before?.box) !== JSON.stringify(data.box)) this.showBox(data.box);
    this.draw();
  }

  begin() {
    this.root.classList.toggle("small", Boolean(this.data.small));
    this.tool = this.data.small ? "box" : "move";
    const button = (text, label, act) => {
      const made = make("button", { type: "button", text, title: label, onclick: act });
      this.tools.append(made);
      return made;
    };
    const sign = (text, label, act) => {
      const made = button(text, label, act);
      made.className = "sign";
      made.setAttribute("aria-label", label);
      this.zooms.append(made);
    };
    this.toolButtons = {};
    const named = this.data.small
      ? [["move", "Move", "Drag to move the map"], ["box", "Box", "Drag a box around places"]]
      : [["move", "Move", "Drag to move the map"], ["lasso", "Lasso", "Draw around pictures"],
         ["box", "Box", "Drag a box over pictures"]];
    for (const [tool, text, label] of named) {
      this.toolButtons[tool] = button(text, label, () => this.take(tool));
    }
    button("In view", "Select the pictures that are in sight", () => this.selectView());
    this.clearButton = button("Clear", "Select nothing", () => this.select(null));
    sign("+", "Zoom in", () => this.zoom(2));
    sign("−", "Zoom out", () => this.zoom(0.5));
    sign("⤢", "Show all", () => { this.fit(); this.moved(); });
    this.take(this.tool);
    this.showSelected();
    if (this.isPlace && !land) {
      land = fetch(this.address("maps/land")).then(readLand);
    }
    if (this.isPlace) land.then((rings) => { this.rings = rings; this.draw(); }, () => {});
  }

  address(path) { return this.data.base + path; }

  async load() {
    const { token, points } = this.data;
    this.count = 0;
    this.colours = null;
    this.pictures.clear();
    this.thumbs.clear();
    this.say("Loading the map …");
    try {
      const response = await fetch(this.address(points));
      if (!response.ok) throw new Error(String(response.status));
      const bytes = await response.arrayBuffer();
      if (token !== this.data.token) return;
      this.take_points(bytes);
    } catch {
      if (token !== this.data.token) return;
      this.say("The map could not be loaded: reload the page.");
      this.setTrigger("lost", true);
    }
  }

  take_points(bytes) {
    const count = new Uint32Array(bytes, 0, 1)[0];
    const places = new Float32Array(bytes, 4, 2 * count);
    this.labels = new Uint8Array(bytes, 4 + 8 * count, count);
    this.x = new Float32Array(count);
    this.y = new Float32Array(count);
    for (let n = 0; n < count; n++) {
      [this.x[n], this.y[n]] = this.isPlace
        ? inPlane(places[2 * n], places[2 * n + 1]) : [places[2 * n], places[2 * n + 1]];
    }
    this.count = count;
    this.index();
    this.fit();
    this.listParts();
    this.select(this.chosen, { silent: true });
    this.canvas.setAttribute("aria-label",
      `${number(count)} pictures ${this.isPlace ? "by place" : "by likeness"}. Arrows move, plus and `
      + "minus zoom, 0 shows all, Enter selects what is in sight");
    this.frame.dataset.points = count;
    this.moved();
  }

  async loadColours() {
    const { colour, token } = this.data;
    this.showLegend();
    this.colours = null;
    if (!colour) return this.draw();
    try {
      const asked = new URLSearchParams({ map: token, field: colour.field });
      const response = await fetch(this.address(`maps/colours?${asked}`));
      const bytes = response.ok ? new Uint8Array(await response.arrayBuffer()) : null;
      if (token !== this.data.token || colour.field !== this.data.colour?.field) return;
      this.colours = bytes;
    } catch { /* the points keep one colour */ }
    this.draw();
  }

  // Points by cells of a grid, so that those near a place are found without looking at all.
  index() {
    const { x, y, count } = this;
    const cell = (n) => clamp(Math.floor(y[n] * GRID), 0, GRID - 1) * GRID
      + clamp(Math.floor(x[n] * GRID), 0, GRID - 1);
    this.starts = new Uint32Array(GRID * GRID + 1);
    for (let n = 0; n < count; n++) this.starts[cell(n) + 1]++;
    for (let k = 0; k < GRID * GRID; k++) this.starts[k + 1] += this.starts[k];
    const next = this.starts.slice();
    this.order = new Uint32Array(count);
    for (let n = 0; n < count; n++) this.order[next[cell(n)]++] = n;
  }

  *between(left, top, right, bottom) {
    const first = clamp(Math.floor(left * GRID), 0, GRID - 1), last = clamp(Math.floor(right * GRID), 0, GRID - 1);
    const low = clamp(Math.floor(top * GRID), 0, GRID - 1), high = clamp(Math.floor(bottom * GRID), 0, GRID - 1);
    for (let row = low; row <= high; row++) {
      for (let at = this.starts[row * GRID + first]; at < this.starts[row * GRID + last + 1]; at++) {
        const n = this.order[at];
        if (this.x[n] >= left && this.x[n] <= right && this.y[n] >= top && this.y[n] <= bottom) yield n;
      }
    }
  }

  // --- where one looks -------------------------------------------------------------------------

  get width() { return this.frame.clientWidth; }
  get height() { return this.frame.clientHeight; }
  screenX(x) { return (x - this.view.x) * this.view.scale + this.width / 2; }
  screenY(y) { return (y - this.view.y) * this.view.scale + this.height / 2; }
  planeX(left) { return (left - this.width / 2) / this.view.scale + this.view.x; }
  planeY(top) { return (top - this.height / 2) / this.view.scale + this.view.y; }
  bounds() { return [this.planeX(0), this.planeY(0), this.planeX(this.width), this.planeY(this.height)]; }

  // All points in sight; by place with some sea around them.
  fit() {
    let [left, top, right, bottom] = [1, 1, 0, 0];
    for (let n = 0; n < this.count; n++) {
      left = Math.min(left, this.x[n]); right = Math.max(right, this.x[n]);
      top = Math.min(top, this.y[n]); bottom = Math.max(bottom, this.y[n]);
    }
    if (right < left) [left, top, right, bottom] = [0, 0, 1, 1];
    this.fitted = this.width > 0;    // not before the page shows it
    this.look(left, top, right, bottom, this.isPlace ? 0.02 : 0.005);
    this.whole = this.view.scale;
  }

  look(left, top, right, bottom, least) {
    const wide = Math.max(right - left, least), high = Math.max(bottom - top, least);
    const margin = 1.28;    // the tools stand over the edge
    this.view = {
      x: (left + right) / 2, y: (top + bottom) / 2,
      scale: Math.min(this.width / wide, this.height / high) / margin,
    };
  }

  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const x = this.planeX(left), y = this.planeY(top);
    this.view.scale = clamp(this.view.scale * factor, Math.min(this.whole, 180) / 2, this.isPlace ? FARTHEST_IN : 4e5);
    this.view.x = x - (left - this.width / 2) / this.view.scale;
    this.view.y = y - (top - this.height / 2) / this.view.scale;
    this.moved();
  }

  moved() {
    this.view.x = clamp(this.view.x, 0, 1);
    this.view.y = clamp(this.view.y, 0, 1);
    this.hover.hidden = true;
    this.draw();
    this.frame.dataset.zoom = (this.view.scale / (this.whole || 1)).toFixed(2);
    clearTimeout(this.settling);
    this.settling = setTimeout(() => { this.place(); this.draw(); }, 90);
  }

  resized() {
    if (!this.width) return;
    const dense = devicePixelRatio || 1;
    this.canvas.width = Math.round(this.width * dense);
    this.canvas.height = Math.round(this.height * dense);
    if (this.count && !this.fitted) this.fit();
    this.moved();
  }

  // --- thumbnails and counts -------------------------------------------------------------------

  // What stands on the screen: one mark for each cell that has points. Cells are halves of halves
  // of the plane, so that they stay where they are while one moves.
  place() {
    this.marks = [];
    if (!this.count) return;
    const level = Math.floor(Math.log2(this.view.scale / CELL));
    const side = 2 ** -level;
    const [left, top, right, bottom] = this.bounds();
    const cells = new Map();
    let seen = 0;
    const first = Math.floor(left / side), row = Math.floor(top / side);
    const last = Math.ceil(right / side), rows = Math.ceil(bottom / side);
    for (const n of this.between(first * side, row * side, last * side, rows * side)) {
      const key = cellOf(this.x[n], this.y[n], side);
      const cell = cells.get(key);
      seen++;
      if (!cell) cells.set(key, { n, count: 1, x: this.x[n], y: this.y[n] });
      else {
        cell.count++; cell.x += this.x[n]; cell.y += this.y[n];
        if (n < cell.n) cell.n = n;     // the same one on the next level, in its part of the cell
      }
    }
    const close = this.isPlace ? this.view.scale > 2e4 : this.view.scale / this.whole >= NEAR;
    const near = !this.data.small && (close || seen <= FEW * cells.size);
    if (!near && !this.isPlace) return;
    for (const [key, cell] of cells) {
      const x = (key % 2 ** 26 + 0.5) * side, y = (Math.floor(key / 2 ** 26) + 0.5) * side;
      const mean = [cell.x / cell.count, cell.y / cell.count];
      this.marks.push({
        ...cell, thumb: near, side, key,
        // A thumbnail stays in its cell, a count lies among what it counts.
        x: near ? x : mean[0], y: near ? y : mean[1],
      });
    }
    this.marks.sort((one, other) => other.count - one.count);
    if (!near) this.joinMarks();
    if (near) {
      this.marks.length = Math.min(this.marks.length, MOST_THUMBS);
      this.know(this.marks.map((mark) => mark.n).filter((n) => !this.thumbs.has(n)));
      for (const mark of this.marks) this.thumb(mark.n);
    }
  }

  // Counts that would overlap are one.
  joinMarks() {
    const joined = [], apart = (this.data.small ? 22 : 40) / this.view.scale;
    for (const mark of this.marks) {
      mark.keys = [mark.key];
      const other = joined.find((one) => Math.hypot(one.x - mark.x, one.y - mark.y) < apart);
      if (!other) { joined.push(mark); continue; }
      const all = other.count + mark.count;
      other.x = (other.x * other.count + mark.x * mark.count) / all;
      other.y = (other.y * other.count + mark.y * mark.count) / all;
      other.count = all;
      other.keys.push(mark.key);
    }
    this.marks = joined;
  }

  // Learn which pictures these are, those that are not known yet, and get their thumbnails.
  async know(numbers) {
    const asked = numbers.filter((n) => !this.pictures.has(n) && !this.asked.has(n));
    if (asked.length) {
      const answer = this.ask(asked.slice(0, MOST_THUMBS));
      for (const n of asked) this.asked.set(n, answer);
    }
    await Promise.all(new Set(numbers.map((n) => this.asked.get(n))));
  }

  async ask(numbers) {
    const { token } = this.data;
    try {
      const response = await fetch(this.address(`maps/pictures?map=${token}&n=${numbers}`));
      if (!response.ok) throw new Error(String(response.status));
      const { pictures } = await response.json();
      if (token !== this.data.token) return;
      for (const picture of pictures) this.pictures.set(picture.n, picture);
      for (const mark of this.marks) if (mark.thumb) this.thumb(mark.n);
    } catch { /* asked again the next time */ }
    for (const n of numbers) this.asked.delete(n);
  }

  thumb(n) {
    let image = this.thumbs.get(n);
    const picture = this.pictures.get(n);
    if (!image && !picture) return;
    if (image) {
      this.thumbs.delete(n);    // the last one used is the last one to go
    } else {
      image = new Image();
      image.onload = () => {
        this.frame.dataset.thumbs = Number(this.frame.dataset.thumbs || 0) + 1;
        this.draw();
      };
      const { id, v } = picture;
      image.src = this.address(`gallery/thumb?${new URLSearchParams({ id, v, h: 220 })}`);
      if (this.thumbs.size >= KEPT_THUMBS) this.thumbs.delete(this.thumbs.keys().next().value);
    }
    this.thumbs.set(n, image);
  }

  // --- drawing ---------------------------------------------------------------------------------

  draw() {
    if (this.frameAsked) return;
    this.frameAsked = requestAnimationFrame(() => {
      this.frameAsked = 0;
      if (!this.canvas.width || !this.data) return;
      const start = performance.now();
      this.paint();
      performance.measure("map-draw", { start, end: performance.now() });
      performance.clearMeasures("map-draw");
    });
  }

  paint() {
    const style = getComputedStyle(this.root), { pen } = this;
    const read = (name) => style.getPropertyValue(name).trim();
    this.ink = style.color;
    const paper = parts(getComputedStyle(this.frame).backgroundColor);
    this.dark = paper[0] + paper[1] + paper[2] < 384;
    this.font = `600 13px ${read("--st-font") || "system-ui, sans-serif"}`;
    this.sea = this.isPlace ? (this.dark ? [22, 31, 43] : [226, 236, 245]) : paper;
    const dense = this.canvas.width / this.width;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    if (this.isPlace) {
      pen.fillStyle = `rgb(${this.sea})`;
      pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
      pen.setTransform(dense, 0, 0, dense, 0, 0);
      this.paintLand();
    } else {
      this.paintPoints(dense);
      pen.setTransform(dense, 0, 0, dense, 0, 0);
    }
    this.paintMarks();
    if (!this.isPlace) this.paintNames();
    this.paintOutline();
  }

  // The cells in which a thumbnail stands, in the place of its points; null where there is none.
  covered() {
    const shown = this.marks.filter(({ thumb, n }) => thumb && this.thumbs.get(n)?.naturalWidth);
    if (!shown.length) return null;
    const cells = new Set(shown.map((mark) => mark.key));
    cells.side = shown[0].side;
    return cells;
  }

  // Points are written as pixels: 100,000 take some milliseconds, where as many arcs take a second.
  paintPoints(dense) {
    const { width, height } = this.canvas;
    if (this.image?.width !== width || this.image?.height !== height) {
      this.image = this.pen.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const { pixels, x, y, mask, colours } = this;
    pixels.fill(packed(this.sea));
    const palette = this.palette();
    const faint = palette.map((colour) => packed(mixed(colour, this.sea, 0.82)));
    const strong = palette.map(packed);
    const scale = this.view.scale * dense;
    const left = width / 2 - this.view.x * scale, top = height / 2 - this.view.y * scale;
    const covered = this.covered();
    const zoomed = this.view.scale / this.whole;
    const spread = Math.sqrt(this.count) / Math.min(this.width, this.height);
    const size = clamp(Math.round(dense * clamp(0.3 / spread, 1.2, 8) * Math.min(zoomed, 2) ** 0.5), 1, 16);
    const radius = size / 2, round = [];
    for (let row = 0; row < size; row++) {
      const half = Math.sqrt(Math.max(radius ** 2 - (row + 0.5 - radius) ** 2, 0.2));
      round.push([Math.round(radius - half), Math.round(radius + half)]);
    }
    for (let n = 0; n < this.count; n++) {
      const px = Math.round(left + x[n] * scale - radius), py = Math.round(top + y[n] * scale - radius);
      if (px < 0 || py < 0 || px + size >= width || py + size >= height) continue;
      if (covered?.has(cellOf(x[n], y[n], covered.side))) continue;
      const code = colours ? Math.min(colours[n], palette.length - 1) : 0;
      const colour = mask && !mask[n] ? faint[code] : strong[code];
      for (let row = 0; row < size; row++) {
        const at = (py + row) * width + px;
        pixels.fill(colour, at + round[row][0], at + Math.max(round[row][1], round[row][0] + 1));
      }
    }
    this.pen.putImageData(this.image, 0, 0);
  }

  // A colour for each code; the last one is that of points without a value.
  palette() {
    const { colour } = this.data, grey = this.dark ? [92, 98, 108] : [176, 181, 189];
    if (!colour || !this.colours) return [parts(COLOURS[0])];
    if (colour.names) {
      return Array.from({ length: 256 }, (_, code) =>
        code < colour.names.length ? parts(COLOURS[code % COLOURS.length]) : grey);
    }
    return Array.from({ length: 256 }, (_, code) => code === NO_COLOUR ? grey : ramp(code / 254));
  }

  paintLand() {
    if (!this.rings) return;
    const { pen } = this;
    pen.fillStyle = this.dark ? "#39424e" : "#f7f5f0";
    pen.strokeStyle = this.dark ? "#596575" : "#b9c0c8";
    pen.lineWidth = 1;
    const [left, top, right, bottom] = this.bounds();
    for (const shift of [-1, 0, 1]) {
      if (1 + shift < left - 0.1 || shift > right + 0.1) continue;
      pen.beginPath();
      for (const ring of this.rings) {
        const [west, north, east, south] = ring.bounds;
        if (east + shift < left || west + shift > right || south < top || north > bottom) continue;
        if ((east - west) * this.view.scale < 0.7) continue;
        let lastX = NaN, lastY = NaN;
        for (let k = 0; k < ring.points.length; k += 2) {
          const x = this.screenX(ring.points[k] + shift), y = this.screenY(ring.points[k + 1]);
          if (Math.abs(x - lastX) + Math.abs(y - lastY) < 1.2) continue;    // nobody sees it
          if (k) pen.lineTo(x, y); else pen.moveTo(x, y);
          lastX = x; lastY = y;
        }
        pen.closePath();
      }
      pen.fill("evenodd");
      pen.stroke();
    }
  }

  paintMarks() {
    const { pen } = this;
    for (const mark of [...this.marks].reverse()) {
      const x = this.screenX(mark.x), y = this.screenY(mark.y);
      const image = mark.thumb ? this.thumbs.get(mark.n) : null;
      if (image?.complete && image.naturalWidth) this.paintThumb(mark, image, x, y);
      else if (this.isPlace) this.paintCount(mark, x, y);
    }
    if (this.isPlace && !this.marks.length && this.count) this.place();
  }

  paintThumb(mark, image, x, y) {
    const { pen } = this;
    const most = mark.side * this.view.scale * 0.86;
    const share = most / Math.max(image.naturalWidth, image.naturalHeight);
    const wide = image.naturalWidth * share, high = image.naturalHeight * share;
    Object.assign(mark, { left: x - wide / 2, top: y - high / 2, wide, high });
    pen.save();
    pen.globalAlpha = this.mask && !this.mask[mark.n] ? 0.35 : 1;
    pen.shadowColor = "rgba(0, 0, 0, 0.35)";
    pen.shadowBlur = 5;
    pen.fillStyle = this.dark ? "#1d2229" : "#fff";
    rounded(pen, mark.left - 2, mark.top - 2, wide + 4, high + 4, 5);
    pen.fill();
    pen.shadowBlur = 0;
    rounded(pen, mark.left, mark.top, wide, high, 4);
    pen.clip();
    pen.drawImage(image, mark.left, mark.top, wide, high);
    pen.restore();
    if (mark.count > 1) this.paintBadge(number(mark.count), mark.left + wide - 4, mark.top + 4);
  }

  paintBadge(text, x, y) {
    const { pen } = this;
    pen.font = this.font.replace("13px", "11px");
    const wide = pen.measureText(text).width + 10;
    pen.fillStyle = "rgba(20, 24, 30, 0.82)";
    rounded(pen, x - wide, y, wide, 17, 8);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(text, x - wide / 2, y + 9);
  }

  paintCount(mark, x, y) {
    const { pen } = this;
    const radius = mark.count === 1 ? 5 : this.data.small
      ? 7 + 2 * Math.log10(mark.count) : 11 + 4 * Math.log10(mark.count);
    Object.assign(mark, { left: x - radius, top: y - radius, wide: 2 * radius, high: 2 * radius });
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fillStyle = "#2a63c8";
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = "#fff";
    pen.stroke();
    if (mark.count === 1 || (this.data.small && mark.count < 10)) return;
    pen.fillStyle = "#fff";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.font = this.font.replace("13px", this.data.small ? "9px" : "12px");
    pen.fillText(short(mark.count), x, y + 0.5);
  }

  paintNames() {
    const { pen } = this, taken = [];
    const close = this.view.scale / (this.whole || 1) >= NEAR;
    pen.font = this.font;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const parted = new Set(this.data.parts.map((part) => part[4]));
    const named = this.data.parts.filter(([name, , , , within], number) => name
      && (close ? within !== null || !parted.has(number) : within === null));
    for (const [name, px, py] of named.sort((one, other) => other[3] - one[3])) {
      const x = this.screenX(px), y = this.screenY(py);
      const wide = pen.measureText(name).width / 2 + 8;
      if (x < -wide || x > this.width + wide || y < 0 || y > this.height) continue;
      const at = clamp(x, wide, this.width - wide);
      const box = [at - wide, y - 13, at + wide, y + 13];
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      taken.push(box);
      pen.fillStyle = `rgba(${this.sea}, 0.86)`;
      rounded(pen, at - wide, y - 12, 2 * wide, 24, 12);
      pen.fill();
      pen.fillStyle = this.ink;
      pen.fillText(name, at, y);
    }
  }

  paintOutline() {
    const drawn = this.drawing?.map(([left, top]) => [left, top])
      ?? this.chosen?.outline?.map((at) => this.onScreen(at));
    if (!drawn || drawn.length < 2) return;
    const { pen } = this;
    pen.beginPath();
    drawn.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.fillStyle = "rgba(47, 111, 222, 0.14)";
    pen.fill();
    pen.strokeStyle = "#2f6fde";
    pen.lineWidth = 2;
    pen.setLineDash([6, 4]);
    pen.stroke();
    pen.setLineDash([]);
  }

  // --- selecting -------------------------------------------------------------------------------

  onScreen([x, y]) {
    const [px, py] = this.isPlace ? inPlane(x, y) : [x, y];
    return [this.screenX(px), this.screenY(py)];
  }

  inData([left, top]) {
    const x = this.planeX(left), y = this.planeY(top);
    return this.isPlace ? onEarth(x, y) : [x, y];
  }

  select(chosen, { silent = false } = {}) {
    this.chosen = chosen;
    this.mask = null;
    if (chosen && this.count) {
      this.mask = new Uint8Array(this.count);
      if (chosen.outline) {
        const outline = chosen.outline.map(([x, y]) => (this.isPlace ? inPlane(x, y) : [x, y]));
        for (let n = 0; n < this.count; n++) this.mask[n] = holds(outline, this.x[n], this.y[n]) ? 1 : 0;
      } else {
        const wanted = new Set(this.data.parts.flatMap(
          (part, k) => (k === chosen.part || part[4] === chosen.part ? [k] : [])));
        for (let n = 0; n < this.count; n++) this.mask[n] = wanted.has(this.labels[n]) ? 1 : 0;
      }
    }
    this.showSelected();
    this.draw();
    if (silent) return;
    if (this.data.small) {
      const across = chosen?.outline.map(([x]) => x), along = chosen?.outline.map(([, y]) => y);
      const box = chosen
        ? [Math.min(...across), Math.min(...along), Math.max(...across), Math.max(...along)] : null;
      this.setState("box", box);
    } else {
      this.setState("chosen", chosen);
    }
  }

  showSelected() {
    this.clearButton.disabled = !this.chosen;
    if (!this.count) return;
    const selected = this.mask?.reduce((sum, one) => sum + one, 0);
    const what = this.isPlace ? "by place" : "by likeness";
    this.say(this.chosen ? `${number(selected)} of ${number(this.count)} pictures selected`
      : `${number(this.count)} pictures ${what}`);
    for (const button of this.list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.part) === this.chosen?.part));
    }
  }

  showBox(box) {
    const outline = box && outlineOf(box);
    this.select(outline ? { outline } : null, { silent: true });
  }

  selectView() {
    this.select({ outline: [[0, 0], [this.width, 0], [this.width, this.height], [0, this.height]]
      .map((at) => this.inData(at)) });
  }

  take(tool) {
    this.tool = tool;
    for (const [name, button] of Object.entries(this.toolButtons)) {
      button.setAttribute("aria-pressed", String(name === tool));
    }
    this.canvas.classList.toggle("drawing", tool !== "move");
  }

  say(text) { if (this.said.textContent !== text) this.said.textContent = text; }

  // --- the list of parts, and the legend -------------------------------------------------------

  listParts() {
    const large = this.data.parts.map((part, k) => [part, k]).filter(([part]) => part[4] === null);
    this.list.hidden = !large.length;
    large.sort((one, other) => other[0][3] - one[0][3]);
    this.list.replaceChildren(...large.map(([part, k], rank) => {
      const onclick = () => this.select(this.chosen?.part === k ? null : { part: k });
      return make("li", {}, make("button",
        { type: "button", "data-part": k, text: part[0] || `Group ${rank + 1}`, onclick },
        make("span", { text: number(part[3]) })));
    }));
  }

  showLegend() {
    const { colour } = this.data;
    this.legend.hidden = !colour;
    const entry = (text, paint) =>
      make("span", {}, make("i", { style: `background: ${paint}` }), text);
    if (!colour) this.legend.replaceChildren();
    else if (colour.names) {
      this.legend.replaceChildren(
        ...colour.names.map((name, k) => entry(name, COLOURS[k % COLOURS.length])));
    } else {
      const made = entry(`${colour.low} to ${colour.high}`, `linear-gradient(90deg, ${RAMP.join(", ")})`);
      made.firstChild.className = "ramp";
      this.legend.replaceChildren(made);
    }
  }

  // --- pointer, wheel, keys --------------------------------------------------------------------

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const step = event.deltaMode ? event.deltaY * 30 : event.deltaY;
      this.zoom(2 ** (-clamp(step, -240, 240) / 240), ...this.at(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoom(2, ...this.at(event)));
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.up(event, { cancelled: true }));
    canvas.addEventListener("pointerleave", () => { this.hover.hidden = true; });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    this.hover.hidden = true;
    if (this.pointers.size > 1) {     // two fingers zoom, whatever the tool
      this.drawing = null;
      this.pinched = true;
      return;
    }
    this.began = this.at(event);
    this.pinched = false;
    const tool = event.shiftKey && this.tool === "move" ? (this.data.small ? "box" : "lasso") : this.tool;
    this.drawing = tool === "move" ? null : [this.began];
    this.drawsBox = tool === "box";
  }

  move(event) {
    const at = this.at(event), last = this.pointers.get(event.pointerId);
    if (!last) return this.point(at);
    if (this.pointers.size > 1) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
      const now = Math.hypot(at[0] - other[0], at[1] - other[1]);
      if (before > 0 && now > 0) this.zoom(now / before, (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
      this.pan(at[0] - last[0], at[1] - last[1], 0.5);
    } else if (this.drawing) {
      if (this.drawsBox) this.drawing = corners(this.began, at);
      else if (Math.hypot(at[0] - this.drawing.at(-1)[0], at[1] - this.drawing.at(-1)[1]) > 4) this.drawing.push(at);
      this.draw();
    } else if (!this.pinched) {
      this.canvas.classList.add("moving");
      this.pan(at[0] - last[0], at[1] - last[1], 1);
    }
    this.pointers.set(event.pointerId, at);
  }

  pan(right, down, share) {
    this.view.x -= right * share / this.view.scale;
    this.view.y -= down * share / this.view.scale;
    this.moved();
  }

  up(event, { cancelled = false } = {}) {
    const at = this.at(event), known = this.pointers.delete(event.pointerId);
    this.canvas.classList.remove("moving");
    const drawn = this.drawing;
    this.drawing = null;
    if (!known || cancelled || this.pinched || this.pointers.size) return this.draw();
    if (Math.hypot(at[0] - this.began[0], at[1] - this.began[1]) < 5 && (drawn?.length ?? 0) < 5) {
      return this.click(at);
    }
    if (drawn && drawn.length > 2) {
      const every = Math.ceil(drawn.length / 200);
      this.select({ outline: drawn.filter((_, k) => k % every === 0).map((place) => this.inData(place)) });
    }
  }

  click(at) {
    const mark = this.markAt(at);
    if (mark && !mark.thumb && mark.count > 1) return this.split(mark);
    const n = mark?.n ?? this.nearest(at);
    if (n === undefined) { if (this.chosen) this.select(null); return; }
    if (!this.data.small) this.open(n);
  }

  // The gallery opens the picture of the address; the page draws one where there is none.
  async open(n) {
    await this.know([n]);
    const picture = this.pictures.get(n);
    if (!picture) return;
    const page = location.pathname + location.search;
    history.replaceState(history.state, "", `${page}#`);
    history.pushState({ gallery: true }, "", `${page}#picture=${encodeURIComponent(picture.id)}`);
    dispatchEvent(new PopStateEvent("popstate", { state: history.state }));
    this.setTrigger("open", n);
  }

  // Come nearer to the pictures that a count stands for; where they lie in one place, select them.
  split(mark) {
    let [left, top, right, bottom] = [1, 1, 0, 0];
    for (const key of mark.keys) {
      const x = key % 2 ** 26 * mark.side, y = Math.floor(key / 2 ** 26) * mark.side;
      for (const n of this.between(x, y, x + mark.side, y + mark.side)) {
        left = Math.min(left, this.x[n]); right = Math.max(right, this.x[n]);
        top = Math.min(top, this.y[n]); bottom = Math.max(bottom, this.y[n]);
      }
    }
    if (Math.max(right - left, bottom - top) < ONE_PLACE) {
      const outline = corners([left - ONE_PLACE, top - ONE_PLACE], [right + ONE_PLACE, bottom + ONE_PLACE]);
      this.select({ outline: outline.map(([x, y]) => onEarth(x, y)) });
      return;
    }
    this.look(left, top, right, bottom, ONE_PLACE);
    this.view.scale = Math.min(this.view.scale, FARTHEST_IN);
    this.moved();
  }

  markAt([left, top]) {
    return this.marks.find((mark) => mark.wide && left >= mark.left && left <= mark.left + mark.wide
      && top >= mark.top && top <= mark.top + mark.high);
  }

  nearest([left, top]) {
    if (!this.count || this.isPlace) return undefined;
    const reach = 12 / this.view.scale, x = this.planeX(left), y = this.planeY(top);
    let found, least = reach ** 2;
    for (const n of this.between(x - reach, y - reach, x + reach, y + reach)) {
      const far = (this.x[n] - x) ** 2 + (this.y[n] - y) ** 2;
      if (far < least) [found, least] = [n, far];
    }
    return found;
  }

  point(at) {
    const mark = this.markAt(at), n = mark?.n ?? this.nearest(at);
    this.canvas.classList.toggle("over", n !== undefined && this.tool === "move");
    this.pointed = n;
    if (n === undefined) { this.hover.hidden = true; return; }
    if (mark && mark.count > 1 && !mark.thumb) return this.label(`${number(mark.count)} pictures`, at);
    if (this.data.small) return;
    if (this.pictures.get(n)) return this.label(this.pictures.get(n).title, at);
    clearTimeout(this.asking);
    this.asking = setTimeout(async () => {
      await this.know([n]);
      const picture = this.pictures.get(n);
      if (picture && this.pointed === n && !this.pointers.size) this.label(picture.title, at);
    }, 60);
  }

  label(text, [left, top]) {
    this.hover.textContent = text;
    this.hover.hidden = false;
    const wide = this.hover.offsetWidth, high = this.hover.offsetHeight;
    this.hover.style.left = `${clamp(left + 12, 4, Math.max(4, this.width - wide - 4))}px`;
    this.hover.style.top = `${top + 18 + high > this.height ? top - high - 10 : top + 18}px`;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 60;
    const acts = {
      "+": () => this.zoom(2), "=": () => this.zoom(2), "-": () => this.zoom(0.5), "_": () => this.zoom(0.5),
      "0": () => { this.fit(); this.moved(); },
      ArrowLeft: () => this.pan(step, 0, 1), ArrowRight: () => this.pan(-step, 0, 1),
      ArrowUp: () => this.pan(0, step, 1), ArrowDown: () => this.pan(0, -step, 1),
      Enter: () => this.selectView(), Escape: () => { if (this.chosen) this.select(null); },
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  }
}

// --- small parts -------------------------------------------------------------------------------

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const cellOf = (x, y, side) => Math.floor(y / side) * 2 ** 26 + Math.floor(x / side);
const number = (value) => value.toLocaleString("en");
const short = (value) => (value < 1000 ? String(value)
  : value < 1e6 ? `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)}k` : `${(value / 1e6).toFixed(1)}M`);
const corners = ([x, y], [u, v]) => {
  const [left, right] = [Math.min(x, u), Math.max(x, u)], [top, bottom] = [Math.min(y, v), Math.max(y, v)];
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
};
const outlineOf = ([west, south, east, north]) => [[west, north], [east, north], [east, south], [west, south]];

// Web Mercator; the plane is 1 wide, and ends at 85 degrees.
function inPlane(east, north) {
  const angle = clamp(north, -85.05, 85.05) * Math.PI / 180;
  return [(east + 180) / 360, 0.5 - Math.log(Math.tan(Math.PI / 4 + angle / 2)) / (2 * Math.PI)];
}

function onEarth(x, y) {
  const north = (2 * Math.atan(Math.exp((0.5 - clamp(y, 0, 1)) * 2 * Math.PI)) - Math.PI / 2) * 180 / Math.PI;
  return [clamp(x, 0, 1) * 360 - 180, north];
}

async function readLand(response) {
  if (!response.ok) throw new Error("no coastlines");
  const read = new Int16Array(await response.arrayBuffer()), rings = [];
  for (let at = 0; at < read.length;) {
    const count = read[at++], points = new Float32Array(2 * count), bounds = [9, 9, -9, -9];
    for (let k = 0; k < count; k++, at += 2) {
      const [x, y] = inPlane(read[at] / 100, read[at + 1] / 100);
      points[2 * k] = x; points[2 * k + 1] = y;
      bounds[0] = Math.min(bounds[0], x); bounds[1] = Math.min(bounds[1], y);
      bounds[2] = Math.max(bounds[2], x); bounds[3] = Math.max(bounds[3], y);
    }
    rings.push({ points, bounds });
  }
  return rings;
}

function holds(outline, x, y) {
  let within = false;
  for (let k = 0, before = outline.length - 1; k < outline.length; before = k++) {
    const [x0, y0] = outline[k], [x1, y1] = outline[before];
    if (y0 > y !== y1 > y && x < (x1 - x0) * (y - y0) / (y1 - y0) + x0) within = !within;
  }
  return within;
}

function rounded(pen, left, top, wide, high, radius) {
  pen.beginPath();
  pen.roundRect(left, top, wide, high, radius);
}

function parts(colour) {
  if (colour.startsWith("#")) return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const found = colour.match(/[\d.]+/g)?.slice(0, 3).map(Number) ?? [128, 128, 128];
  return colour.startsWith("color(") ? found.map((share) => Math.round(share * 255)) : found;
}

const mixed = (one, other, share) => one.map((value, k) => Math.round(value * (1 - share) + other[k] * share));
const packed = ([red, green, blue]) => (255 << 24 | blue << 16 | green << 8 | red) >>> 0;

function ramp(share) {
  const at = clamp(share, 0, 1) * (RAMP.length - 1), low = Math.min(Math.floor(at), RAMP.length - 2);
  return mixed(parts(RAMP[low]), parts(RAMP[low + 1]), at - low);
}

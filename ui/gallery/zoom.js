// Looking closer: wheel, pinch and double click zoom at the point meant, dragging pans; a picture in
// its normal size is swiped to its neighbours, or down to close it.

import { clamp } from "./dom.js";

const SWIPE = 50; // points that turn the page
const FLICK = 0.4; // or points per millisecond
const DOUBLE_MS = 320;

export class Zoom {
  /** `on.swiped(way)`, `on.dismissed()`, `on.zoomed(scale)`. */
  constructor(stage, on) {
    this.stage = stage;
    this.on = on;
    this.pointers = new Map();
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    stage.addEventListener("pointerup", (event) => this.#up(event, true));
    stage.addEventListener("pointercancel", (event) => this.#up(event, false));
  }

  /** Another picture: an element `width` x `height` large in the middle of the stage, whose
   * original has `pixels` points across. */
  take(element, width, height, pixels) {
    this.element = element;
    this.pointers.clear();
    this.resize(width, height, pixels);
    this.to(1);
  }

  resize(width, height, pixels) {
    this.width = width;
    this.height = height;
    // One point of the original on one point of the screen.
    this.whole = Math.max(pixels / width / devicePixelRatio, 1);
    this.most = Math.max(this.whole * 2, 4);
  }

  /** Shows the picture so many times as large; the point (x, y) of the stage stays where it is. */
  to(scale, x = 0, y = 0) {
    scale = clamp(scale, 1, this.most);
    const ratio = scale / (this.scale || 1);
    this.x = scale === 1 ? 0 : x - (x - (this.x || 0)) * ratio;
    this.y = scale === 1 ? 0 : y - (y - (this.y || 0)) * ratio;
    this.scale = scale;
    this.#draw();
    this.on.zoomed(scale);
  }

  toggle(x = 0, y = 0) {
    this.to(this.scale > 1 ? 1 : this.whole > 1.2 ? this.whole : 2, x, y);
  }

  #draw(dx = 0, dy = 0) {
    const roomX = Math.max((this.width * this.scale - this.stage.clientWidth) / 2, 0);
    const roomY = Math.max((this.height * this.scale - this.stage.clientHeight) / 2, 0);
    this.x = clamp(this.x, -roomX, roomX);
    this.y = clamp(this.y, -roomY, roomY);
    this.element.style.transform =
      `translate(${this.x + dx}px, ${this.y + dy}px) scale(${this.scale})`;
    this.stage.classList.toggle("zoomed", this.scale > 1);
  }

  /** A point of the window, from the middle of the stage. */
  #point(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
  }

  #wheel(event) {
    event.preventDefault();
    const { x, y } = this.#point(event);
    const points = event.deltaY * (event.deltaMode === 1 ? 30 : 1);
    this.to(this.scale * Math.exp(-points * (event.ctrlKey ? 0.01 : 0.0025)), x, y);
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest("button, a")) return;
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#point(event));
    this.moved = this.pointers.size > 1;
    this.start = { ...this.#point(event), at: performance.now(), axis: null };
    this.#pinchFrom();
  }

  #pinchFrom() {
    const [one, two] = [...this.pointers.values()];
    this.pinch = two && { ...spanOf(one, two), scale: this.scale, from: { x: this.x, y: this.y } };
  }

  /** What lay between the fingers stays between them, wherever both go. */
  #pinchTo([one, two]) {
    const { apart, x, y, scale, from } = this.pinch;
    const now = spanOf(one, two);
    this.scale = clamp((scale * now.apart) / apart, 1, this.most);
    const ratio = this.scale / scale;
    this.x = now.x - (x - from.x) * ratio;
    this.y = now.y - (y - from.y) * ratio;
    this.#draw();
    this.on.zoomed(this.scale);
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const here = this.#point(event);
    this.pointers.set(event.pointerId, here);
    if (this.pinch) {
      this.#pinchTo([...this.pointers.values()]);
      return;
    }
    const dx = here.x - this.start.x;
    const dy = here.y - this.start.y;
    if (Math.hypot(dx, dy) > 6) this.moved = true;
    if (this.scale > 1) {
      this.x += here.x - before.x;
      this.y += here.y - before.y;
      this.#draw();
    } else if (this.moved) {
      this.start.axis ??= Math.abs(dx) > Math.abs(dy) ? "x" : "y";
      if (this.start.axis === "x") this.#draw(dx, 0);
      else this.#draw(0, Math.max(dy, 0));
    }
  }

  #up(event, isMeant) {
    const here = this.pointers.get(event.pointerId);
    if (!here) return;
    this.pointers.delete(event.pointerId);
    if (this.pinch) {
      this.#pinchFrom();
      this.start = { ...([...this.pointers.values()][0] ?? here), at: performance.now(), axis: null };
      return;
    }
    const { x, y, at, axis } = this.start;
    const took = performance.now() - at;
    if (isMeant && this.moved && this.scale === 1) {
      const far = axis === "x" ? here.x - x : here.y - y;
      if (Math.abs(far) > SWIPE || Math.abs(far) / took > FLICK) {
        if (axis === "x") {
          this.on.swiped(far < 0 ? 1 : -1);
          if (this.scale === 1) this.#draw(); // there was no other
          return;
        }
        if (far > 0) {
          this.on.dismissed();
          return;
        }
      }
    }
    if (isMeant && !this.moved) this.#tap(here);
    this.#draw();
  }

  #tap(here) {
    const now = performance.now();
    const last = this.lastTap;
    this.lastTap = { ...here, at: now };
    if (!last || now - last.at > DOUBLE_MS || Math.hypot(here.x - last.x, here.y - last.y) > 40) return;
    this.lastTap = undefined;
    this.toggle(here.x, here.y);
  }
}

/** How far apart two points are, and the one in the middle. */
function spanOf(one, two) {
  return { apart: Math.hypot(one.x - two.x, one.y - two.y), x: (one.x + two.x) / 2, y: (one.y + two.y) / 2 };
}

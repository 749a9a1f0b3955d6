// The date rail: years and months of an answer that is ordered by date, beside the pictures.

import { make } from "../make.js";
import { clamp, monthName } from "./dom.js";

const LABEL_EVERY = 26; // points between two labels, so that they stay legible
const DOT_EVERY = 9;

export class Rail {
  /** `go` gets a position: the index of a picture, loaded or not. */
  constructor(go) {
    this.go = go;
    this.months = []; // {date: "2019-07", index: of its first picture}
    this.scanned = 0;
    this.marks = make("div", { class: "marks" });
    this.bubble = make("div", { class: "bubble", hidden: true });
    this.handle = make("div", { class: "handle" });
    this.element = make(
      "div",
      {
        class: "rail",
        role: "slider",
        tabindex: "0",
        "aria-label": "Date",
        "aria-orientation": "vertical",
        "aria-valuemin": "0",
        onpointerdown: (event) => this.#down(event),
        onpointermove: (event) => this.#move(event),
        onpointerleave: () => this.#rest(),
        onpointerup: () => this.#up(),
        onpointercancel: () => this.#up(),
        onkeydown: (event) => this.#key(event),
      },
      this.marks, this.handle, this.bubble,
    );
  }

  /** New pictures of the answer, its shape, or another answer; `total` where it is known. */
  update({ items, months }, total) {
    if (items.length < this.scanned || this.items !== items) {
      this.months = [];
      this.scanned = 0;
    }
    this.items = items;
    this.total = Math.max(total ?? 0, items.length, 1);
    if (months) {
      this.months = months.map(([date, index]) => ({ date, index }));
      this.scanned = items.length;
    }
    for (; this.scanned < items.length; this.scanned++) {
      const month = items[this.scanned].date.slice(0, 7);
      if (month !== (this.months.at(-1)?.date ?? "")) {
        this.months.push({ date: month, index: this.scanned });
      }
    }
    this.element.setAttribute("aria-valuemax", String(this.total - 1));
    this.draw();
  }

  draw() {
    const high = this.element.clientHeight;
    if (!high || !this.items) return;
    const marks = [];
    let labelled = -LABEL_EVERY;
    let dotted = -DOT_EVERY;
    let year = "";
    for (const { date, index } of this.months) {
      if (!date) continue; // what has no date comes last
      const y = (index / this.total) * high;
      const isYear = date.slice(0, 4) !== year;
      if (isYear && y - labelled >= LABEL_EVERY && y < high - 8) {
        year = date.slice(0, 4);
        if (y - dotted < DOT_EVERY * 2 && dotted > labelled) marks.pop(); // it would lie on the dot
        marks.push(make("span", { class: "year", style: `top:${y}px`, text: year }));
        labelled = dotted = y;
      } else if (y - labelled >= LABEL_EVERY * 1.5 && y < high - 8) {
        const name = monthName(date).slice(0, 3);
        marks.push(make("span", { class: "year", style: `top:${y}px`, text: name }));
        labelled = dotted = y;
      } else if (y - dotted >= DOT_EVERY && y - labelled >= LABEL_EVERY * 0.8) {
        marks.push(make("span", { class: "dot", style: `top:${y}px` }));
        dotted = y;
      }
    }
    this.marks.replaceChildren(...marks);
    this.at(this.index ?? 0);
  }

  /** The last picture of the row at the top of the window. */
  at(index) {
    this.index = index;
    this.handle.style.top = `${(index / this.total) * 100}%`;
    this.element.setAttribute("aria-valuenow", String(index));
    this.element.setAttribute("aria-valuetext", this.#name(index));
  }

  #name(index) {
    if (index >= this.scanned) return "further on";
    return monthName(this.months[this.#monthAt(index)]?.date ?? "") || "no date";
  }

  #monthAt(index) {
    return this.months.findLastIndex((month) => month.index <= index);
  }

  #indexAt(event) {
    const box = this.element.getBoundingClientRect();
    const share = clamp((event.clientY - box.top) / box.height, 0, 1);
    return Math.min(Math.floor(share * this.total), this.total - 1);
  }

  #show(event) {
    const index = this.#indexAt(event);
    this.bubble.hidden = false;
    this.bubble.textContent = this.#name(index);
    const box = this.element.getBoundingClientRect();
    this.bubble.style.top = `${clamp(event.clientY - box.top, 0, box.height)}px`;
    return index;
  }

  #down(event) {
    event.preventDefault();
    this.element.setPointerCapture(event.pointerId);
    this.dragging = true;
    this.go(this.#show(event));
  }

  #move(event) {
    const index = this.#show(event);
    if (this.dragging) this.go(index);
  }

  #up() {
    this.dragging = false;
    this.#rest();
  }

  #rest() {
    if (!this.dragging) this.bubble.hidden = true;
  }

  #key(event) {
    const here = this.#monthAt(this.index ?? 0);
    const to = {
      ArrowDown: this.months[here + 1]?.index ?? this.scanned,
      ArrowRight: this.months[here + 1]?.index ?? this.scanned,
      ArrowUp: this.months[Math.max(here - 1, 0)]?.index,
      ArrowLeft: this.months[Math.max(here - 1, 0)]?.index,
      Home: 0,
      End: this.total - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.go(Math.min(to, this.total - 1));
  }
}

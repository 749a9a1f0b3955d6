// The pictures in rows: only those near the window are in the document, whatever the answer's length.
//
// A listbox of options, one tab stop: arrows move within it. Tiles have their size and place before
// their picture comes. Nothing here depends on the number of pictures but what halving costs.

import { make } from "../make.js";
import { clamp, flatColour, placeholder, short } from "./dom.js";
import { GAP, Rows } from "./rows.js";

const CAPTION = 28; // room for a title under each row
const AHEAD = 0.7; // of the window's height, drawn on either side of it
const FAST = 6; // points per millisecond: pictures that fly past are not asked for
const SETTLED_MS = 70;
const DRAG_FROM = 6; // points that tell a drag from a click
const LONG_PRESS_MS = 450;
const MEANT_MS = 80; // a pointer that rests so long may click
const BAR = 80; // what the page's bar covers while something is ticked
const EDGE = 70; // where dragging scrolls

export class Grid {
  /** `owner` is the gallery: its answer, selection and what happens on a click. */
  constructor(owner) {
    this.owner = owner;
    this.tiles = new Map(); // index -> tile in the document
    this.active = 0; // the tab stop
    this.anchor = 0; // where a range begins
    this.rows = new Rows(0, 0);
    this.list = make("div", {
      class: "list",
      role: "listbox",
      "aria-label": "Pictures",
      onclick: (event) => this.#click(event),
      onkeydown: (event) => this.#key(event),
      onpointerdown: (event) => this.#down(event),
      onpointermove: (event) => this.#move(event),
      onpointerup: () => this.#up(),
      onpointercancel: () => this.#up(),
      onpointerover: (event) => this.#label(this.hovered, event, event.pointerType !== "touch"),
      onpointerleave: () => {
        this.hovered.remove();
        clearTimeout(this.expecting);
      },
      onfocusin: (event) => this.#focused(event),
      onfocusout: () => this.focusedLabel.remove(),
      oncontextmenu: (event) => this.drag && event.preventDefault(),
    });
    // Only while a long press selects: what follows it is no scrolling.
    this.list.addEventListener("touchmove", (event) => this.drag && event.preventDefault(), {
      passive: false,
    });
    this.line = make("div", { class: "less", hidden: true }, make("span", { text: "Less certain below" }));
    this.hovered = label();
    this.focusedLabel = label();
    this.element = make("div", { class: "grid" }, this.list, this.line);
  }

  // --- where things are -----------------------------------------------------------------------

  /** The element that scrolls: Streamlit's main section, whatever shadow roots lie between. */
  findScroller() {
    let node = this.element;
    while (node) {
      if (node instanceof Element && node !== this.element) {
        if (node.dataset.testid === "stMain") return node;
        if (/auto|scroll/.test(getComputedStyle(node).overflowY)) return node;
      }
      node = node.assignedSlot ?? node.parentNode ?? node.host;
    }
    return document.scrollingElement;
  }

  /** What of the grid is in the window, in its own coordinates. */
  #window() {
    const { scroller } = this.owner;
    const isPage = scroller === document.scrollingElement;
    const above = isPage ? 0 : scroller.getBoundingClientRect().top;
    const high = isPage ? window.innerHeight : scroller.clientHeight;
    const top = above - this.list.getBoundingClientRect().top;
    return { top, bottom: top + high, high };
  }


  // --- layout ---------------------------------------------------------------------------------

  /** Another answer, another width, other captions: everything is placed anew, and what was at the
   * top of the window stays there unless `fromTop`. */
  relayout({ fromTop = false } = {}) {
    const { answer, data, scroller } = this.owner;
    const width = this.list.clientWidth;
    const seen = this.#window();
    const held = !fromTop && seen.top > 0 && this.rows.rows ? this.rows.first[this.rows.rowAt(seen.top)] : -1;
    const offset = held >= 0 ? this.rows.box(held).top - seen.top : 0;
    this.rows = new Rows(width, data.captions ? CAPTION : 0);
    this.#add();
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    if (data.selectable) this.list.setAttribute("aria-multiselectable", "true");
    else this.list.removeAttribute("aria-multiselectable");
    this.#sized();
    if (held >= 0) scroller.scrollTop += this.rows.box(held).top - offset - this.#window().top;
    this.render();
  }

  /** Pictures that arrived. */
  extend() {
    this.#add();
    this.#sized();
    this.render();
  }

  #add() {
    const { answer } = this.owner;
    this.rows.breakAt = answer.nearest ?? -1;
    const isEnd = answer.complete || answer.failed || answer.lost;
    this.rows.add(answer.aspectsFrom(this.rows.count), isEnd);
  }

  #sized() {
    this.list.style.height = `${Math.max(this.rows.bottom - GAP, 0)}px`;
    this.list.style.visibility = this.rows.rows ? "" : "hidden"; // no listbox without options
    this.line.hidden = this.rows.lineTop === null;
    if (!this.line.hidden) this.line.style.top = `${this.rows.lineTop}px`;
    this.covered = parseFloat(getComputedStyle(this.element).scrollMarginTop); // by the header
    this.thumbHeight = this.rows.target * 1.15 * devicePixelRatio > 264 ? 440 : 220;
  }

  // --- drawing --------------------------------------------------------------------------------

  /** Called before the next picture of the screen, however often one asks. */
  renderSoon = () => {
    this.frame ??= requestAnimationFrame(() => this.render());
  };

  render() {
    cancelAnimationFrame(this.frame);
    this.frame = undefined;
    const { rows } = this;
    const seen = this.#window();
    const now = performance.now();
    const speed = Math.abs(seen.top - (this.lastTop ?? seen.top)) / Math.max(now - (this.lastAt ?? 0), 1);
    this.lastTop = seen.top;
    this.lastAt = now;
    clearTimeout(this.settling);
    const isFlying = speed > FAST;
    if (isFlying) this.flewAt = now;
    // While a finger goes along the rail, each step rests for a frame: that is passing too.
    this.isPassing = now - (this.flewAt ?? -Infinity) < SETTLED_MS;
    if (this.isPassing) this.settling = setTimeout(() => this.render(), SETTLED_MS);

    let from = 0;
    let to = 0; // one past the last
    if (rows.rows) {
      from = rows.first[rows.rowAt(seen.top - seen.high * AHEAD)];
      to = rows.end(rows.rowAt(Math.max(seen.bottom + seen.high * AHEAD, 0)));
    }
    const focused = this.list.getRootNode().activeElement;
    for (const [index, tile] of this.tiles) {
      if ((index >= from && index < to) || tile === focused) continue;
      tile.querySelector("img").removeAttribute("src"); // nobody waits for it any more
      tile.remove();
      this.tiles.delete(index);
    }
    if (to > from) this.#draw(from, to, seen, isFlying);
    Object.assign(this, { from, to });
    this.#tabStop(from, to, seen);
    const topRow = rows.rowAt(seen.top + this.covered);
    this.owner.seen(rows.rows ? rows.end(topRow) - 1 : 0, seen);
  }

  #draw(from, to, seen, isFlying) {
    for (let row = this.rows.rowOf(to - 1); row >= 0 && this.rows.first[row] >= from; row--) {
      for (const box of this.rows.boxes(row).reverse()) {
        let tile = this.tiles.get(box.index);
        if (!tile) {
          tile = this.#tile(box);
          this.tiles.set(box.index, tile);
          this.list.insertBefore(tile, this.#after(box.index));
        } else if (tile.moved !== this.rows) {
          place(tile, box);
        }
        if (!tile.item) this.#dress(tile);
        tile.moved = this.rows;
        if (!isFlying) this.#load(tile, box, seen);
      }
    }
  }

  /** The tile before which a new one stands: reading order is the answer's order. */
  #after(index) {
    const next = this.tiles.get(index + 1);
    if (next) return next;
    for (let node = this.list.firstElementChild; node; node = node.nextElementSibling) {
      if (node.index > index) return node;
    }
    return null;
  }

  #tile(box) {
    const { data } = this.owner;
    const img = make("img", { decoding: "async", draggable: "false" });
    const tile = make("div", {
      class: "tile",
      role: "option",
      tabindex: "-1",
      "aria-label": "Loading",
      "aria-setsize": String(data.total ?? (this.owner.answer.complete ? this.rows.count : -1)),
      "aria-posinset": String(box.index + 1),
      "aria-selected": data.selectable ? "false" : null,
    }, img);
    tile.index = box.index;
    tile.item = null; // its portion has not come
    place(tile, box);
    return tile;
  }

  /** What is known of its picture, as soon as that has come. */
  #dress(tile) {
    const item = this.owner.answer.items[tile.index];
    if (!item) return;
    const { data, selection } = this.owner;
    tile.item = item;
    tile.setAttribute("aria-label", short(item.title || item.id));
    tile.style.backgroundColor = flatColour(item.colours);
    if (!item.id) return;
    if (data.selectable) {
      const isSelected = selection.has(item.id);
      tile.classList.toggle("selected", isSelected);
      tile.setAttribute("aria-selected", String(isSelected));
      tile.append(make("span", { class: "tick", "aria-hidden": "true" }));
    }
    if (item.note) tile.append(make("span", { class: "note", text: short(item.note, 40) }));
    if (data.captions) {
      tile.append(make("span", { class: "caption", dir: "auto", text: short(item.title) }));
    }
  }

  #load(tile, box, seen) {
    const img = tile.firstElementChild;
    const { item } = tile;
    if (!item?.id || img.hasAttribute("src")) return;
    tile.style.backgroundImage = placeholder(item.colours);
    const isSeen = box.top < seen.bottom && box.top + box.height > seen.top;
    img.loading = isSeen ? "eager" : "lazy";
    if (isSeen) img.fetchPriority = "high";
    img.src = this.owner.answer.thumb(item, this.thumbHeight);
    // After the address: Chromium draws the words of an image without one, and slows down with each.
    img.alt = short(item.title || item.id);
    // A picture from the cache is there at once, without a transition.
    if (img.complete && img.naturalWidth) {
      img.classList.add("there");
      return;
    }
    img.onload = () => img.classList.add("there", "came");
    img.onerror = () => img.classList.add("absent");
  }

  // --- the tab stop ---------------------------------------------------------------------------

  #tabStop(from, to, seen) {
    let stop = this.active;
    if (!this.tiles.has(stop)) {
      stop = from;
      for (const [index, tile] of this.tiles) {
        if (index >= to) continue;
        const top = parseFloat(tile.style.top);
        if (top >= seen.top && (stop === from || index < stop)) stop = index;
      }
    }
    if (this.stop && this.stop !== this.tiles.get(stop)) this.stop.tabIndex = -1;
    this.stop = this.tiles.get(stop);
    if (this.stop) this.stop.tabIndex = 0;
  }

  #focused(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    if (this.active !== tile.index) this.column = undefined;
    this.active = tile.index;
    if (this.stop && this.stop !== tile) this.stop.tabIndex = -1;
    this.stop = tile;
    tile.tabIndex = 0;
    this.#label(this.focusedLabel, event, tile.matches(":focus-visible"));
  }

  /** The picture may be opened next: its view is fetched while the visitor makes up their mind. */
  #expect(index, afterMs) {
    clearTimeout(this.expecting);
    this.expecting = setTimeout(() => this.owner.viewer.prepare(index), afterMs);
  }

  /** Title and score over the picture that the pointer or the focus is on. */
  #label(element, event, isShown) {
    const tile = event.target.closest(".tile");
    if (!tile?.item?.id || !isShown) {
      element.remove();
      return;
    }
    if (element.parentNode === tile) return;
    this.#expect(tile.index, MEANT_MS);
    const { item } = tile;
    const title = this.owner.data.captions ? "" : short(item.title);
    element.querySelector(".title").textContent = title;
    element.querySelector(".score").textContent = item.score;
    if (title || item.score) tile.append(element);
    else element.remove();
  }

  /** The picture in the window, as little scrolled as possible. */
  reveal(index) {
    if (index >= this.rows.placed) return;
    const box = this.rows.box(index);
    const seen = this.#window();
    const { covered } = this;
    const below = this.owner.selection.size ? BAR : GAP * 2;
    if (box.top < seen.top + covered) {
      this.owner.scroller.scrollTop -= seen.top + covered - box.top;
    } else if (box.top + box.height + below > seen.bottom) {
      this.owner.scroller.scrollTop += box.top + box.height + below - seen.bottom;
    }
    this.render();
  }

  /** The picture at the top of the window. */
  toTop(index) {
    if (!this.rows.placed) return;
    const box = this.rows.box(Math.min(index, this.rows.placed - 1));
    this.owner.scroller.scrollTop += box.top - this.#window().top - this.covered;
    this.render();
  }

  focus(index) {
    if (!this.rows.placed) return;
    index = clamp(index, 0, this.rows.placed - 1);
    this.active = index;
    this.reveal(index);
    this.tiles.get(index)?.focus({ preventScroll: true });
    this.render();
  }

  // --- keys -----------------------------------------------------------------------------------

  #key(event) {
    const tile = event.target.closest(".tile");
    if (!tile || event.altKey) return;
    const { owner, rows } = this;
    const isCommand = event.ctrlKey || event.metaKey;
    if (isCommand && event.key.toLowerCase() === "a" && owner.data.selectable) {
      owner.select(owner.answer.items.filter(({ id }) => id).map(({ id }) => id));
    } else if (event.key === "Escape" && owner.selection.size) {
      owner.select([]);
    } else if (event.key === " " && owner.data.selectable) {
      if (event.shiftKey) this.#range(tile.index);
      else this.#toggle(tile.index);
    } else if (event.key === "Enter") {
      owner.open(tile.index);
    } else {
      if (isCommand) return;
      const to = this.#target(event.key, tile.index);
      if (to === null) return;
      if (to >= rows.placed - 1) owner.loadMore();
      const { column } = this;
      this.focus(to);
      this.column = column;
      if (event.shiftKey && owner.data.selectable) this.#range(this.active);
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #target(key, index) {
    const { rows } = this;
    // Several steps up or down stay in one column, as in a text.
    const x = /Down|Up/.test(key) ? (this.column ?? rows.middle(index)) : undefined;
    this.column = x;
    switch (key) {
      case "ArrowRight": return index + 1;
      case "ArrowLeft": return index - 1;
      case "ArrowDown": return rows.vertical(index, 1, x);
      case "ArrowUp": return rows.vertical(index, -1, x);
      case "Home": return 0;
      case "End": return rows.placed - 1;
      case "PageDown":
      case "PageUp": {
        const step = (this.#window().high - this.covered) * 0.9 * (key === "PageDown" ? 1 : -1);
        return rows.indexAt(x, clamp(rows.box(index).top + step, 0, rows.bottom - 1));
      }
      default: return null;
    }
  }

  // --- ticks ----------------------------------------------------------------------------------

  #toggle(index) {
    const id = this.owner.answer.items[index]?.id;
    if (!id) return;
    this.anchor = index;
    this.owner.toggle(id);
  }

  /** All from the last one that was ticked to this; those between that have not come are waited for. */
  async #range(index) {
    const [from, to] = this.anchor < index ? [this.anchor, index] : [index, this.anchor];
    const isOpen = this.owner.answer.lacks(from, to + 1);
    if (isOpen && !(await this.owner.need(from, to + 1))) return;
    this.owner.select([...this.owner.selection.ids, ...this.#ids(from, to)]);
  }

  #ids(from, to) {
    return this.owner.answer.items.slice(from, to + 1).filter(({ id }) => id).map(({ id }) => id);
  }

  /** Ticks as they are selected now. */
  drawTicks() {
    const { data, selection } = this.owner;
    this.element.classList.toggle("selecting", data.selectable && selection.size > 0);
    for (const tile of this.tiles.values()) {
      if (!tile.item?.id) continue;
      const isSelected = selection.has(tile.item.id);
      tile.classList.toggle("selected", isSelected);
      if (data.selectable) tile.setAttribute("aria-selected", String(isSelected));
    }
  }

  // --- pointers -------------------------------------------------------------------------------

  #click(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    if (this.dragged) {
      this.dragged = false;
      return;
    }
    const { selectable } = this.owner.data;
    // A finger sees no tick before something is selected, and then every tap ticks.
    const isTick = event.pointerType === "touch"
      ? this.owner.selection.size > 0
      : event.target.closest(".tick") || event.ctrlKey || event.metaKey;
    if (selectable && event.shiftKey) {
      this.#range(tile.index);
    } else if (selectable && isTick) {
      this.#toggle(tile.index);
    } else {
      this.owner.open(tile.index);
    }
  }

  #down(event) {
    this.dragged = false;
    this.lastDrag = undefined; // what is ticked next is not taken back by it
    const tile = event.target.closest(".tile");
    if (!tile || event.button !== 0) return;
    this.#expect(tile.index, event.pointerType === "touch" ? MEANT_MS : 0);
    if (!this.owner.data.selectable || !tile.item?.id) return;
    this.pressed = { id: event.pointerId, x: event.clientX, y: event.clientY, index: tile.index };
    if (event.pointerType === "touch") {
      this.pressing = setTimeout(() => this.#startDrag(), LONG_PRESS_MS);
    }
  }

  #move(event) {
    if (!this.pressed || event.pointerId !== this.pressed.id) return;
    this.pointer = { x: event.clientX, y: event.clientY };
    const far = Math.hypot(event.clientX - this.pressed.x, event.clientY - this.pressed.y) > DRAG_FROM;
    if (!this.drag && far) {
      if (event.pointerType === "touch") this.#up(); // it scrolls
      else this.#startDrag();
    }
    if (this.drag) this.#dragTo();
  }

  #startDrag() {
    const { selection, answer } = this.owner;
    const { index, id, x, y } = this.pressed;
    this.pointer ??= { x, y };
    this.anchor = index;
    this.drag = { from: index, base: new Set(selection.ids), on: !selection.has(answer.items[index].id) };
    this.lastDrag = this.drag;
    this.dragged = true;
    this.hovered.remove();
    this.list.setPointerCapture(id);
    this.#dragTo();
    this.#dragScroll();
  }

  #dragTo() {
    const box = this.list.getBoundingClientRect();
    const y = clamp(this.pointer.y - box.top, 0, this.rows.bottom - 1);
    const to = this.rows.indexAt(this.pointer.x - box.left, y);
    if (to === this.drag.to) return;
    this.drag.to = to;
    this.#over(this.drag);
  }

  /** Ticks what the drag has passed over, and once more when what it outran has come. */
  #over(drag) {
    const { to, on } = drag;
    const ids = new Set(drag.base);
    const [from, end] = to < drag.from ? [to, drag.from] : [drag.from, to];
    for (const id of this.#ids(from, end)) {
      if (on) ids.add(id);
      else ids.delete(id);
    }
    this.owner.select(ids);
    if (!this.owner.answer.lacks(from, end + 1)) return;
    this.owner.need(from, end + 1).then((isThere) => {
      if (isThere && drag === this.lastDrag && drag.to === to) this.#over(drag);
    });
  }

  /** The page scrolls while one drags near its edges. */
  #dragScroll = () => {
    if (!this.drag) return;
    const { scroller } = this.owner;
    const seen = this.#window();
    const y = this.pointer.y - this.list.getBoundingClientRect().top - seen.top;
    const step = y < EDGE ? y - EDGE : Math.max(y - (seen.high - EDGE), 0);
    if (step) {
      scroller.scrollTop += clamp(step, -EDGE, EDGE) / 4;
      this.#dragTo();
    }
    requestAnimationFrame(this.#dragScroll);
  };

  #up() {
    clearTimeout(this.pressing);
    this.pressed = this.pointer = this.drag = undefined;
  }

  close() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.expecting);
    clearTimeout(this.settling);
    this.#up();
  }
}

function label() {
  return make("span", { class: "label" },
    make("span", { class: "title", dir: "auto" }), make("span", { class: "score" }));
}

function place(tile, box) {
  for (const side of ["left", "top", "width", "height"]) tile.style[side] = `${box[side]}px`;
}

// The gallery: what mounts all of it on the page.
//
// Streamlit calls the default export again whenever the page ran. What is the same stays as it is: an
// answer has a token, and only another token begins at the top. The browser owns what the server need
// not know: position, the open picture (in the address), ticks until they are told.
//
//   rows.js       where pictures lie          grid.js     those near the window, keys, ticks
//   answer.js     portions, details           viewer.js   one picture, with zoom.js and drawer.js
//   selection.js  what is ticked              address.js  Back, Forward, reload
//   rail.js       dates at the edge           dom.js      icons and words

import { isDark, make } from "../make.js";
import { Address } from "./address.js";
import { Answer, LARGE_PORTION } from "./answer.js";
import { clamp, count } from "./dom.js";
import { Grid } from "./grid.js";
import { Rail } from "./rail.js";
import { Selection } from "./selection.js";
import { Viewer } from "./viewer.js";

const KEPT_ANSWERS = 6; // for Back to an earlier request
const TRAVERSED_MS = 10000;
const SAID_MS = 4000;
const SOUGHT_PORTIONS = 8; // how far a picture of the address is looked for

const KEYS = [
  ["Arrows, Home, End, Page up and down", "from picture to picture"],
  ["Enter", "open the picture"],
  ["Space", "tick it"],
  ["Shift + arrows or click", "tick a range; dragging does so too"],
  ["Ctrl + A", "tick all that are loaded"],
  ["Esc", "close the picture, or clear the ticks"],
  ["i", "details"],
  ["t", "text in the picture"],
  ["+ − 0 1", "closer, away, whole, original size"],
  ["m", "more like this"],
  ["n", "not this"],
  ["y x", "right or wrong for this request"],
  ["d", "download"],
  ["c", "add to a collection"],
  ["/", "to the search box"],
  ["?", "these keys"],
];

// Both outlive a gallery, which Streamlit may take down and mount anew.
const mounted = new WeakMap(); // parent -> Gallery
const answers = new Map(); // token -> Answer
let lastToken = null;
let lastSaid = 0; // of what the page said: it says it again with each run

class Gallery {
  constructor(parent) {
    this.parent = parent;
    this.grid = new Grid(this);
    this.rail = new Rail((index) => this.#goTo(index));
    this.viewer = new Viewer(this, () => this.#help());
    this.live = make("div", { class: "live", role: "status", "aria-live": "polite" });
    this.foot = make("div", { class: "foot" });
    this.said = make("div", { class: "status", role: "status" });
    this.keys = keysDialog();
    this.railPlace = make("div", { class: "rail-place", hidden: true }, this.rail.element);
    this.element = make("div", { class: "gallery" },
      this.live,
      make("div", { class: "body" }, this.grid.element, this.railPlace),
      this.foot,
      this.said,
      this.viewer.dialog,
      this.keys);
    parent.append(this.element);
    this.address = new Address((id) => this.#sync(id));
    document.addEventListener("keydown", this.#pageKey);
    this.resized = new ResizeObserver(() => this.#resize());
  }

  // --- what the page says -----------------------------------------------------------------------

  update({ data, setStateValue, setTriggerValue }) {
    this.setStateValue = setStateValue;
    this.setTriggerValue = setTriggerValue;
    const before = this.data;
    this.data = data;
    this.element.dataset.theme = isDark(this.element) ? "dark" : "light";
    if (this.selection?.library !== data.library) {
      this.selection?.close();
      this.selection = new Selection(data.library, (ids) => this.setStateValue("selected", ids));
      this.selection.take(data.selected);
    } else if (this.selection.take(data.selected)) {
      this.grid.drawTicks();
    }
    if (!before) {
      this.scroller = this.grid.findScroller();
      this.#scrollTarget().addEventListener("scroll", this.#scrolled, { passive: true });
    }
    if (before?.answer === data.answer) this.#sameAnswer(before);
    else this.#newAnswer(before);
    this.viewer.update();
    this.#tell(data.said);
    if (!before) this.resized.observe(this.grid.list);
  }

  /** What came of an action, where the visitor looks: over the open picture, else over the page. */
  #tell(said) {
    if (!said || said.number <= lastSaid) return;
    lastSaid = said.number;
    if (this.viewer.isOpen) {
      this.viewer.tell(said.text);
      return;
    }
    this.said.textContent = said.text;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => {
      this.said.textContent = "";
    }, SAID_MS);
  }

  #sameAnswer(before) {
    const { data, viewer, address } = this;
    if (before.captions !== data.captions || before.selectable !== data.selectable) {
      this.grid.relayout();
    }
    if (before.total !== data.total) this.rail.update(this.answer, data.total);
    if (viewer.isOpen) address.replace(viewer.item.id); // the page wrote the address meanwhile
    address.seen();
  }

  #newAnswer(before) {
    const { data, address, grid, viewer } = this;
    if (this.answer) this.#remember();
    const isBack = performance.now() - address.traversedAt < TRAVERSED_MS;
    address.traversedAt = -Infinity;
    const known = answers.get(data.answer);
    const isKept = known && (isBack || (!before && lastToken === data.answer));
    this.answer = isKept ? known : new Answer(data);
    this.answer.failed = false;
    answers.delete(data.answer);
    answers.set(data.answer, this.answer);
    if (answers.size > KEPT_ANSWERS) answers.delete(answers.keys().next().value);
    const isFirst = lastToken === null;
    lastToken = data.answer;

    viewer.marks.clear();
    this.element.classList.toggle("shaped", this.answer.shaped);
    this.railPlace.hidden = data.ordered_by !== "taken" || !this.answer.items.some(({ date }) => date);
    grid.active = grid.anchor = 0;
    grid.relayout({ fromTop: true });
    grid.drawTicks();
    this.rail.index = 0;
    this.rail.update(this.answer, data.total);
    if (isKept) this.scroller.scrollTop = this.answer.scrollTop;
    else if (!isFirst) this.scroller.scrollTop = 0;
    this.#foot();
    // Said a moment later: what stands in a live region from the start is not read out.
    this.live.textContent = "";
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => {
      this.live.textContent = data.announce ?? "";
    }, 100);

    if (this.expecting) {
      // What was asked from the open picture is answered: it makes room for the answer.
      this.expectAnswer(0);
      address.replace(null);
    }
    if (viewer.isOpen && address.picture === null) {
      viewer.hide();
      grid.focus(0);
    }
    address.seen();
    this.#sync(address.picture);
    if (data.shaped && !this.answer.complete) this.#shape();
    this.fill();
  }

  #remember() {
    this.answer.scrollTop = this.scroller.scrollTop;
  }

  // --- portions ---------------------------------------------------------------------------------

  /** The next portion, placed; one at a time. */
  loadMore({ limit, retry = false } = {}) {
    const { answer } = this;
    if (retry) answer.failed = false;
    if (retry && answer.shaped) {
      this.#foot();
      this.fill();
    }
    if (answer.complete || answer.failed || answer.lost) return Promise.resolve();
    if (this.loading?.answer !== answer) {
      const loading = { answer, done: this.#load(answer, limit) };
      this.loading = loading;
      loading.done.finally(() => this.loading === loading && (this.loading = undefined));
    }
    return this.loading.done;
  }

  async #load(answer, limit) {
    this.#foot(true);
    await answer.more(limit);
    if (answer !== this.answer || this.closed) return;
    if (answer.lost) this.reportLost();
    this.grid.extend();
    this.rail.update(answer, this.data.total);
    this.#foot();
    this.viewer.update();
    this.grid.renderSoon(); // and asks for the next one, if the window is not filled
  }

  /** Every picture gets its place, whether it has come or not; where that cannot be had, portion
   * follows portion. */
  async #shape() {
    const { answer } = this;
    await answer.shape();
    if (answer !== this.answer || this.closed) return;
    if (answer.lost) this.reportLost();
    if (!answer.shaped) return;
    this.element.classList.add("shaped");
    this.grid.extend();
    this.rail.update(answer, this.data.total);
    this.#foot();
    this.viewer.update();
  }

  /** The pictures of these places are there afterwards; false if that could not be. */
  async need(from, to) {
    const { answer } = this;
    for (let start = from; start < to; start += LARGE_PORTION) {
      await answer.need(start, Math.min(start + LARGE_PORTION, to));
      if (answer !== this.answer || this.closed) return false;
      if (answer.lost) this.reportLost();
      if (answer.failed || answer.lost) break;
    }
    this.#foot();
    this.viewer.update();
    this.grid.renderSoon();
    return !answer.failed && !answer.lost;
  }

  /** Portions as long as the end of what is there is near; of a shaped answer what is seen. */
  fill() {
    const { grid, answer } = this;
    if (answer.shaped) {
      const { from, to, isPassing } = grid;
      const isWanted = !isPassing && !answer.failed && !answer.lost && answer.wants(from, to);
      if (isWanted) this.need(from, to);
      return;
    }
    const { bottom, high } = grid.seenWindow ?? { bottom: 0, high: 0 };
    if (grid.rows.bottom - bottom < high * 2) this.loadMore();
  }

  async #goTo(index) {
    this.sought = index;
    if (this.data.shaped) await this.answer.shape();
    if (this.sought !== index) return;
    this.grid.toTop(index);
    while (this.sought === index && index >= this.grid.rows.placed) {
      const { answer } = this;
      const had = answer.items.length;
      await this.loadMore({ limit: LARGE_PORTION });
      if (this.closed || answer !== this.answer || answer.items.length === had) return;
      if (this.sought === index) this.grid.toTop(index);
    }
  }

  #foot(isLoading = false) {
    const { answer, foot } = this;
    const state = answer.failed ? "failed" : answer.complete || answer.lost ? "" : isLoading ? "loading" : "more";
    if (foot.dataset.state === state) return;
    foot.dataset.state = state;
    const parts = [];
    if (state === "loading") parts.push(make("span", { class: "spinner", role: "status", "aria-label": "Loading more pictures" }));
    if (state === "failed") {
      parts.push(
        make("span", { role: "alert", text: "More pictures could not be loaded." }),
        make("button", { type: "button", text: "Try again", onclick: () => this.loadMore({ retry: true }) }),
      );
    }
    foot.replaceChildren(...parts);
  }

  // --- what the grid tells ----------------------------------------------------------------------

  seen(index, seenWindow) {
    this.grid.seenWindow = seenWindow;
    if (!this.railPlace.hidden && this.rail.items) this.rail.at(index);
    this.fill();
  }

  #scrolled = () => {
    this.grid.renderSoon();
    this.element.classList.add("scrolling");
    clearTimeout(this.scrollEnds);
    this.scrollEnds = setTimeout(() => {
      this.element.classList.remove("scrolling");
      if (this.answer) this.#remember();
    }, 800);
  };

  #scrollTarget() {
    return this.scroller === document.scrollingElement ? window : this.scroller;
  }

  #resize() {
    if (!this.answer) return;
    const width = Math.floor(this.grid.list.clientWidth);
    if (width && width !== this.width) this.grid.relayout();
    this.width = width;
    this.rail.draw();
  }

  toggle(id) {
    this.selection.toggle(id);
    this.grid.drawTicks();
  }

  select(ids) {
    this.selection.set(ids);
    this.grid.drawTicks();
  }

  // --- the open picture -------------------------------------------------------------------------

  async open(index) {
    const { answer } = this;
    if (!answer.items[index] && !(await this.need(index, index + 1))) return;
    if (!answer.items[index].id) return;
    this.address.push(this.answer.items[index].id);
    this.viewer.show(index);
  }

  /** What follows the open picture, before one goes there. */
  ahead(index) {
    const { answer } = this;
    if (!answer.shaped) {
      if (index + 3 >= answer.items.length) this.loadMore();
    } else if (answer.wants(index - 2, index + 4)) {
      this.need(index - 2, index + 4);
    }
  }

  showNext(index) {
    if (!this.answer.items[index].id) return; // gone
    this.address.replace(this.answer.items[index].id);
    this.viewer.show(index);
  }

  leave() {
    if (!this.viewer.isOpen) return;
    this.#hide();
    this.address.leave();
  }

  #hide() {
    const index = this.viewer.hide();
    if (index >= 0) this.grid.focus(clamp(index, 0, this.grid.rows.placed - 1));
  }

  /** Shows what the address says. */
  async #sync(id) {
    const { viewer, answer } = this;
    if (id === null) {
      if (viewer.isOpen) this.#hide();
      return;
    }
    if (viewer.item?.id === id && viewer.index >= 0 && answer.items[viewer.index]?.id === id) return;
    if (answer.indices.has(id)) {
      viewer.show(answer.indices.get(id));
      return;
    }
    viewer.showAlone(id);
    if (this.data.shaped && !answer.complete) await this.#shape();
    if (this.closed || answer !== this.answer || viewer.item?.id !== id) return;
    if (answer.shaped) {
      await this.#place(id);
      return;
    }
    for (let portion = 0; portion < SOUGHT_PORTIONS && !answer.complete; portion++) {
      await this.loadMore({ limit: LARGE_PORTION });
      if (this.closed || answer !== this.answer || viewer.item?.id !== id || answer.failed) return;
      if (answer.indices.has(id)) {
        viewer.found(answer.indices.get(id));
        return;
      }
    }
    viewer.notFound(answer.complete
      ? "Not among these pictures"
      : `Not among the first ${count(answer.items.length)}`);
  }

  /** Finds the picture that is shown alone, however far down it stands. */
  async #place(id) {
    const { viewer, answer } = this;
    const isOver = () => this.closed || answer !== this.answer || viewer.item?.id !== id;
    let index;
    try {
      index = await answer.place(id);
    } catch {
      if (answer.lost) this.reportLost();
      else if (!isOver()) viewer.notFound("Its neighbours could not be found");
      return;
    }
    if (isOver()) return;
    if (index !== null) await this.need(index - 1, index + 2);
    if (isOver()) return;
    if (answer.indices.has(id)) viewer.found(answer.indices.get(id));
    else viewer.notFound(index === null ? "Not among these pictures" : "Its neighbours could not be found");
  }

  /** The server no longer knows this answer; the page makes it anew. */
  reportLost() {
    if (this.answer.reported) return;
    this.answer.reported = true;
    this.setTriggerValue("lost", true);
  }

  act(what) {
    this.setTriggerValue("act", what);
  }

  /** Whether the next answer is what was asked from the open picture; not for ever. */
  expectAnswer(withinMs, otherwise) {
    clearTimeout(this.expecting);
    this.expecting = withinMs
      ? setTimeout(() => {
        this.expecting = undefined;
        otherwise();
      }, withinMs)
      : undefined;
  }

  // --- help -------------------------------------------------------------------------------------

  #help() {
    if (!this.keys.open) this.keys.showModal();
  }

  #pageKey = (event) => {
    const target = event.composedPath()[0];
    const isTyping = target instanceof Element
      && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
    if (event.key !== "?" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.#help();
  };

  close() {
    this.closed = true;
    if (this.answer) this.#remember();
    this.#scrollTarget().removeEventListener("scroll", this.#scrolled);
    document.removeEventListener("keydown", this.#pageKey);
    clearTimeout(this.scrollEnds);
    clearTimeout(this.expecting);
    clearTimeout(this.announcing);
    clearTimeout(this.saying);
    this.resized.disconnect();
    this.grid.close();
    this.viewer.close();
    this.selection.close();
    this.address.close();
    this.element.remove();
  }
}

function keysDialog() {
  const dialog = make("dialog", {
    class: "keys",
    "aria-label": "Keys",
    onkeydown: (event) => event.stopPropagation(),
    onclick: (event) => event.target === dialog && dialog.close(),
  },
  make("div", { class: "paper" },
    make("h2", { text: "Keys" }),
    make("dl", {}, ...KEYS.map(([keys, does]) =>
      make("div", {}, make("dt", {}, make("kbd", { text: keys })), make("dd", { text: does })))),
    make("button", { type: "button", class: "wide", text: "Close", onclick: () => dialog.close() })));
  return dialog;
}

export default function ({ parentElement, data, setStateValue, setTriggerValue }) {
  let gallery = mounted.get(parentElement);
  if (!gallery) {
    gallery = new Gallery(parentElement);
    mounted.set(parentElement, gallery);
  }
  gallery.update({ data, setStateValue, setTriggerValue });
  return () => {
    mounted.delete(parentElement);
    gallery.close();
  };
}

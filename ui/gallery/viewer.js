// One picture over the whole window, in the browser's top layer, with all that can be done with it.

import { make } from "../make.js";
import { count, icon, iconButton, nameButton, short } from "./dom.js";
import { Drawer } from "./drawer.js";
import { Zoom } from "./zoom.js";

const KEPT_VIEWS = 9; // decoded pictures: the open one, its neighbours, those pointed at
const DETAILS_AFTER_MS = 120; // pictures that are leafed past are not asked about
const LARGE_THUMB = 440;
const ANSWERED_WITHIN_MS = 15000;

export class Viewer {
  /** `owner` is the gallery; `keys` opens the help. */
  constructor(owner, keys) {
    this.owner = owner;
    this.keys = keys;
    this.views = new Map(); // address -> img
    this.index = -1; // of the picture in the answer; -1: not (yet) among what is loaded
    this.item = null;
    this.framesShown = false;
    this.marks = new Map(); // set here, for this answer; details may have been asked before

    this.counter = make("span", { class: "counter" });
    this.percent = make("span", { class: "percent", hidden: true });
    this.status = make("div", { class: "status", role: "status" });
    this.problem = make("p", { class: "problem", hidden: true, dir: "auto" });
    this.picture = make("div", { class: "picture" });
    this.previous = iconButton("previous", "Previous picture", "Left arrow", () => this.step(-1));
    this.next = iconButton("next", "Next picture", "Right arrow", () => this.step(1));
    for (const [button, key] of [[this.previous, "ArrowLeft"], [this.next, "ArrowRight"]]) {
      button.setAttribute("aria-keyshortcuts", key);
    }
    this.stage = make("div", { class: "stage" }, this.picture, this.previous, this.next, this.problem);
    this.drawer = new Drawer({
      askWhy: () => this.owner.answer.why(this.item.id),
      showHeat: (heat) => this.#showHeat(heat),
    });
    this.#makeButtons();
    this.menu = make("div", {
      class: "menu",
      role: "menu",
      "aria-label": "Add to collection",
      hidden: true,
      onkeydown: (event) => this.#menuKey(event),
    });
    this.dialog = make("dialog", {
      class: "viewer",
      tabindex: "-1",
      onkeydown: (event) => this.#key(event),
      oncancel: (event) => {
        event.preventDefault();
        this.owner.leave();
      },
      // The browser itself closed it.
      onclose: () => this.item && !this.dialog.open && this.owner.leave(),
      onclick: (event) => {
        if (!event.target.closest(".menu, [data-act=collect]")) this.#closeMenu();
      },
    },
    make("div", { class: "top" },
      this.buttons.close, this.counter, this.percent, make("span", { class: "space" }),
      make("div", { class: "actions" }, ...this.actions), this.buttons.text, this.buttons.info),
    make("div", { class: "middle" }, this.stage, this.drawer.element),
    this.menu,
    this.status);
    this.zoom = new Zoom(this.stage, {
      swiped: (way) => this.step(way),
      dismissed: () => this.owner.leave(),
      zoomed: (scale) => this.#zoomed(scale),
    });
    this.resized = new ResizeObserver(() => this.item && this.#fit());
    this.resized.observe(this.stage);
  }

  #makeButtons() {
    const button = (name, label, key, onclick) => iconButton(name, label, key, onclick);
    this.buttons = {
      close: button("close", "Close", "Esc", () => this.owner.leave()),
      like: button("like", "More like this", "m", () => this.#search("like")),
      not: button("not", "Not this", "n", () => this.#search("not")),
      right: button("right", "Right", "y", () => this.#mark("right")),
      wrong: button("wrong", "Wrong", "x", () => this.#mark("wrong")),
      collect: button("collect", "Add to collection", "c", () => this.#toggleMenu()),
      text: button("text", "Show text in the picture", "t", () => this.#toggleFrames()),
      info: button("info", "Details", "i", () => this.#toggleDrawer()),
    };
    this.buttons.collect.setAttribute("aria-haspopup", "menu");
    this.buttons.info.setAttribute("aria-expanded", "false");
    for (const name of ["right", "wrong", "text"]) this.buttons[name].setAttribute("aria-pressed", "false");
    this.download = make("a", { class: "icon", "data-act": "download", download: true });
    this.download.append(icon("download"));
    const { like, not, right, wrong, collect } = this.buttons;
    this.actions = [like, not, right, wrong, this.download, collect];
  }

  get isOpen() {
    return this.item !== null;
  }

  /** What may be done, as the page says it now. */
  update() {
    const can = this.owner.data.can ?? {};
    this.buttons.like.hidden = !can.like;
    this.buttons.not.hidden = !can.not;
    this.buttons.right.hidden = this.buttons.wrong.hidden = !can.mark;
    this.buttons.collect.hidden = !can.collect;
    this.download.hidden = !can.download;
    nameButton(this.download, can.download === "copy" ? "Download a copy" : "Download", "d");
    if (this.isOpen) this.#count();
  }

  // --- a picture ------------------------------------------------------------------------------

  /** Shows a picture of the answer. */
  show(index) {
    const item = this.owner.answer.items[index];
    this.index = index;
    this.#open(item);
    for (const at of [index + 1, index - 1, index + 2]) this.prepare(at);
    this.owner.ahead(index);
  }

  /** A picture that may be wanted next is fetched and decoded. */
  prepare(index) {
    const item = this.owner.answer.items[index];
    if (item?.id && !item.note) this.#view(item);
  }

  /** Shows a picture that the address names, though the answer has not come so far. */
  showAlone(id) {
    this.index = -1;
    this.#open({ id, title: id.split("/").at(-1), w: 0, h: 0, v: "", colours: "", score: "", note: "" });
  }

  /** The picture that was shown alone has come with the answer. */
  found(index) {
    this.index = index;
    this.#count();
    if (this.wanted) this.step(this.wanted);
  }

  /** The picture that was shown alone is not where it was looked for: it has no neighbours here. */
  notFound(why) {
    this.absence = why;
    this.#count();
    if (this.wanted) this.#say(why);
  }

  #open(item) {
    this.item = item;
    this.absence = "";
    this.wanted = 0;
    this.#closeMenu();
    this.#say("");
    this.problem.hidden = true;
    this.dialog.dataset.shown = "";
    if (!this.dialog.open) {
      this.dialog.showModal();
      this.dialog.focus(); // on a button, Space would press it
    }
    this.#layers(item);
    this.dialog.setAttribute("aria-label", `Picture: ${short(item.title || item.id)}`);
    this.#count();
    this.download.href = this.owner.answer.download(item);
    this.#showMark(this.marks.get(item.id) ?? null);
    this.#showDetails(item);
    this.#holdFocus();
  }

  /** Where the focus was may be gone; keys go on working. */
  #holdFocus() {
    if (!this.dialog.matches(":focus-within")) this.dialog.focus();
  }

  /** The thumbnail, which is there already, under the view for the screen. */
  #layers(item) {
    const { answer, grid } = this.owner;
    // The grid's own, from the cache; the larger one where there is nothing else.
    const size = item.note ? LARGE_THUMB : grid.thumbHeight;
    const thumb = make("img", { class: "thumb", alt: "", src: answer.thumb(item, size) });
    this.picture.replaceChildren(thumb);
    this.full = this.heat = this.frames = undefined;
    if (item.note) { // offline: nothing larger can be had
      thumb.alt = short(item.title || item.id);
      this.#fit(true);
      this.#cannotShow(item);
      return;
    }
    const view = this.#view(item);
    view.alt = short(item.title || item.id);
    this.picture.append(view);
    this.#fit(true);
    const shown = () => {
      if (this.item !== item) return;
      if (!item.w) this.#fit();
      view.classList.remove("waiting");
      this.dialog.dataset.shown = item.id;
    };
    if (view.complete && view.naturalWidth) {
      shown();
      return;
    }
    view.classList.add("waiting");
    view.decode().then(shown, () => {
      this.views.delete(answer.view(item));
      if (this.item !== item) return;
      view.remove();
      this.#cannotShow(item);
    });
  }

  async #cannotShow(item) {
    this.dialog.dataset.shown = item.id;
    let why = "";
    try {
      why = (await this.owner.answer.details(item.id)).problem;
    } catch {
      // The sentence below says enough.
    }
    if (this.item !== item) return;
    this.problem.textContent = why || "This picture cannot be shown now.";
    this.problem.hidden = false;
  }

  /** The view of a picture, asked for once; the least recently used are forgotten. */
  #view(item) {
    const address = this.owner.answer.view(item);
    let view = this.views.get(address);
    if (!view) {
      view = make("img", { class: "view", draggable: "false", src: address });
      view.decode().catch(() => {}); // neighbours are decoded before they are wanted
    }
    this.views.delete(address);
    this.views.set(address, view);
    if (this.views.size > KEPT_VIEWS) this.views.delete(this.views.keys().next().value);
    return view;
  }

  /** As large as the stage allows; small pictures no larger than twice their own points. */
  #fit(isNew = false) {
    const { item, stage } = this;
    const view = this.picture.querySelector(".view");
    const w = item.w || view?.naturalWidth || 4000;
    const h = item.h || view?.naturalHeight || 3000;
    const scale = Math.min(stage.clientWidth / w, stage.clientHeight / h, 2);
    const width = Math.max(w * scale, 1);
    const height = Math.max(h * scale, 1);
    this.picture.style.width = `${width}px`;
    this.picture.style.height = `${height}px`;
    if (isNew) {
      this.zoom.take(this.picture, width, height, w);
    } else {
      this.zoom.resize(width, height, w);
      this.zoom.to(this.zoom.scale);
    }
  }

  #zoomed(scale) {
    const isZoomed = scale > 1;
    this.percent.hidden = !isZoomed;
    if (!isZoomed) return;
    this.percent.textContent = `${Math.round((scale / this.zoom.whole) * 100)} %`;
    if (this.full || !this.problem.hidden) return;
    // The original's points, over the view until they are there.
    const { item } = this;
    const full = make("img", { class: "full waiting", alt: "", draggable: "false" });
    this.full = full;
    full.src = this.owner.answer.full(item);
    full.decode().then(
      () => full.classList.remove("waiting"),
      () => full.remove(), // the view stays
    );
    this.picture.insertBefore(full, this.picture.querySelector(".view")?.nextSibling ?? null);
  }

  step(way) {
    if (this.index < 0) {
      this.wanted = way; // as soon as it is known where the picture stands
      this.#say(this.absence);
      return;
    }
    const { answer } = this.owner;
    let to = this.index + way;
    while (answer.items[to]?.id === "") to += way; // gone
    if (to < 0) return;
    if (answer.items[to]) {
      this.owner.showNext(to);
    } else if (to < answer.items.length) {
      const from = this.item;
      this.#say("Loading more pictures…");
      answer.failed = false;
      this.owner.need(to, to + 1).then((isThere) => {
        if (this.item !== from) return;
        this.#say(isThere ? "" : "More pictures could not be loaded.");
        if (isThere) this.step(way);
      });
    } else if (!this.owner.answer.complete) {
      const from = this.item;
      this.#say("Loading more pictures…");
      this.owner.loadMore({ retry: true }).then(() => {
        if (this.item !== from) return;
        if (to < this.owner.answer.items.length) this.owner.showNext(to);
        else this.#say(this.owner.answer.failed ? "More pictures could not be loaded." : "");
      });
    }
  }

  #count() {
    const { answer, data } = this.owner;
    const total = data.total ?? (answer.complete ? answer.items.length : null);
    const here = count(this.index + 1);
    this.counter.textContent =
      this.index < 0 ? this.absence : total === null ? here : `${here} of ${count(total)}`;
    this.previous.hidden = this.index <= 0;
    this.next.hidden = this.index < 0 || (this.index + 1 >= answer.items.length && answer.complete);
  }

  // --- what is known of it --------------------------------------------------------------------

  #showDetails(item) {
    this.buttons.text.hidden = true;
    this.drawer.wait(item);
    clearTimeout(this.asking);
    this.asking = setTimeout(async () => {
      try {
        const details = await this.owner.answer.details(item.id);
        if (this.item !== item) return;
        if (this.index < 0) {
          this.dialog.setAttribute("aria-label", `Picture: ${short(details.title)}`);
        }
        this.drawer.show(details, Boolean(this.owner.data.can?.why));
        this.#holdFocus();
        if (!this.marks.has(item.id)) this.#showMark(details.mark);
        this.lines = details.lines ?? [];
        this.buttons.text.hidden = !this.lines.length;
        this.#drawFrames();
        if (details.problem) {
          this.problem.textContent = details.problem;
          this.problem.hidden = false;
        }
      } catch {
        if (this.item === item) this.drawer.fail(item);
        if (this.owner.answer.lost) this.owner.reportLost();
      }
    }, this.drawer.element.hidden ? DETAILS_AFTER_MS : 0);
  }

  #toggleDrawer() {
    const isOpen = this.drawer.element.hidden;
    this.drawer.element.hidden = !isOpen;
    this.dialog.classList.toggle("informed", isOpen);
    this.buttons.info.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) this.#showHeat(null);
    this.#holdFocus();
  }

  #showHeat(heat) {
    this.heat?.remove();
    this.heat = heat ? make("img", { class: "heat", alt: "", src: heat }) : undefined;
    if (this.heat) this.picture.append(this.heat);
  }

  #toggleFrames() {
    if (this.buttons.text.hidden) {
      this.#say("No text was found in this picture.");
      return;
    }
    this.framesShown = !this.framesShown;
    this.#drawFrames();
  }

  #drawFrames() {
    this.frames?.remove();
    this.frames = undefined;
    this.buttons.text.setAttribute("aria-pressed", String(this.framesShown));
    nameButton(this.buttons.text, this.framesShown ? "Hide text in the picture" : "Show text in the picture", "t");
    if (!this.framesShown || !this.lines?.length) return;
    this.frames = make("div", { class: "frames" }, ...this.lines.map(({ text, box, marked }) => {
      const frame = make("span", { class: marked ? "frame marked" : "frame", title: short(text) });
      const [left, top, right, bottom] = box.map((share) => share * 100);
      frame.style.cssText = `left:${left}%;top:${top}%;width:${right - left}%;height:${bottom - top}%`;
      return frame;
    }));
    this.picture.append(this.frames);
  }

  // --- actions --------------------------------------------------------------------------------

  /** Another request, which the page will answer; this picture stays until then. */
  #search(act) {
    this.#say("Searching…");
    this.owner.act({ act, id: this.item.id });
    this.owner.expectAnswer(ANSWERED_WITHIN_MS, () => this.#say(""));
  }

  #mark(mark) {
    const { id } = this.item;
    const isOff = this.marked === mark;
    this.marks.set(id, isOff ? null : mark);
    this.#showMark(isOff ? null : mark);
    this.owner.act({ act: isOff ? "unmark" : mark, id });
    this.#say(isOff ? "No longer marked" : `Marked as ${mark} for this request`);
  }

  #showMark(mark) {
    this.marked = mark;
    this.buttons.right.setAttribute("aria-pressed", String(mark === "right"));
    this.buttons.wrong.setAttribute("aria-pressed", String(mark === "wrong"));
  }

  #toggleMenu() {
    if (!this.menu.hidden) {
      this.#closeMenu();
      return;
    }
    const names = this.owner.data.can?.collect ?? [];
    this.menu.replaceChildren(...names.map((name) => make("button", {
      type: "button",
      role: "menuitem",
      tabindex: "-1",
      dir: "auto",
      text: short(name),
      onclick: () => {
        this.owner.act({ act: "collect", id: this.item.id, to: name });
        this.#closeMenu();
        this.#say(`Adding to ${short(name)}…`);
      },
    })));
    if (!names.length) {
      this.#say("There is no collection yet.");
      return;
    }
    this.menuFrom = this.dialog.getRootNode().activeElement;
    this.menu.hidden = false;
    this.buttons.collect.setAttribute("aria-expanded", "true");
    this.menu.firstElementChild.focus();
  }

  #closeMenu() {
    if (this.menu.hidden) return;
    this.menu.hidden = true;
    this.buttons.collect.setAttribute("aria-expanded", "false");
    this.menuFrom?.focus();
  }

  #menuKey(event) {
    const items = [...this.menu.children];
    const here = items.indexOf(event.target);
    const to = {
      ArrowDown: (here + 1) % items.length,
      ArrowUp: (here + items.length - 1) % items.length,
      Home: 0,
      End: items.length - 1,
    }[event.key];
    if (to !== undefined) items[to].focus();
    else if (event.key === "Escape" || event.key === "Tab") this.#closeMenu();
    else if (event.key !== "Enter" && event.key !== " ") return;
    else event.target.click();
    event.preventDefault();
    event.stopPropagation();
  }

  /** What the page says of an action that was asked for here. */
  tell(text) {
    this.#say(short(text, 400));
  }

  /** Said aloud, and shown for a while. */
  #say(text) {
    this.status.textContent = text;
    clearTimeout(this.said);
    if (text && text !== "Searching…") this.said = setTimeout(() => this.#say(""), 4000);
  }

  // --- keys -----------------------------------------------------------------------------------

  #key(event) {
    // The page's own keys and Streamlit's, as 'c' is one, do nothing below.
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onButton = event.target.closest("button, a");
    const { buttons } = this;
    const press = (button) => () => button.hidden || button.click();
    const does = {
      ArrowRight: () => this.step(1),
      ArrowLeft: () => this.step(-1),
      PageDown: () => this.step(1),
      PageUp: () => this.step(-1),
      Home: () => this.index > 0 && this.owner.showNext(0),
      "+": () => this.zoom.to(this.zoom.scale * 1.5),
      "=": () => this.zoom.to(this.zoom.scale * 1.5),
      "-": () => this.zoom.to(this.zoom.scale / 1.5),
      0: () => this.zoom.to(1),
      1: () => this.zoom.to(this.zoom.whole),
      i: () => this.#toggleDrawer(),
      t: () => this.#toggleFrames(),
      m: press(buttons.like),
      n: press(buttons.not),
      y: press(buttons.right),
      x: press(buttons.wrong),
      d: press(this.download),
      c: press(buttons.collect),
      "?": () => this.keys(),
      " ": onButton ? null : () => this.zoom.toggle(),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  /** Takes the picture away; the gallery minds address and focus. */
  hide() {
    const index = this.index;
    this.item = null;
    clearTimeout(this.asking);
    clearTimeout(this.said);
    this.dialog.close();
    this.picture.replaceChildren();
    this.dialog.dataset.shown = "";
    return index;
  }

  close() {
    if (this.isOpen) this.hide();
    this.resized.disconnect();
  }
}

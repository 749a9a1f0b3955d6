// The drawer of the open picture: what is known of it, and on demand why it was found.

import { make } from "../make.js";
import { short } from "./dom.js";

export class Drawer {
  /** `askWhy()` resolves to words and heat; `showHeat(address or null)` lays it over the picture. */
  constructor({ askWhy, showHeat }) {
    this.askWhy = askWhy;
    this.showHeat = showHeat;
    this.body = make("div", { class: "facts" });
    this.element = make("aside", { class: "drawer", "aria-label": "Details", hidden: true, tabindex: "0" },
      make("h2", { text: "Details" }), this.body);
  }

  wait(item) {
    this.body.replaceChildren(
      make("p", { class: "name", dir: "auto", text: short(item.title, 600) }),
      make("p", { class: "quiet", text: "…" }),
    );
  }

  fail(item) {
    this.body.replaceChildren(
      make("p", { class: "name", dir: "auto", text: short(item.title, 600) }),
      make("p", { class: "quiet", text: "The details could not be loaded." }),
    );
  }

  show(details, canWhy) {
    const parts = [];
    const captions = details.captions ?? [];
    if (!captions.includes(details.title)) {
      parts.push(make("p", { class: "name", dir: "auto", text: details.title }));
    }
    for (const caption of captions) {
      parts.push(make("p", { class: "said", dir: "auto", text: caption }));
    }
    const facts = [...(details.facts ?? [])];
    if (details.place) {
      const { lat, lon } = details.place;
      facts.push(["Place", `${degrees(lat, "N", "S")}, ${degrees(lon, "E", "W")}`]);
    }
    if (facts.length) {
      parts.push(make("dl", {}, ...facts.map(([name, value]) => make("div", {},
        make("dt", { text: name }), make("dd", { dir: "auto", text: value })))));
    }
    if (details.lines?.length) {
      parts.push(make("h3", { text: "Text in the picture" }), make("p", { class: "lines", dir: "auto" },
        ...details.lines.flatMap(({ text, marked }) => [
          marked ? make("mark", { text }) : text, make("br"),
        ])));
    }
    if (details.found || canWhy) {
      parts.push(make("h3", { text: "Why it was found" }));
      if (details.found) parts.push(make("p", { text: details.found }));
      if (canWhy) parts.push(this.#why());
    }
    if (details.path) {
      parts.push(make("h3", { text: "File" }), make("p", { class: "path", text: details.path }));
    }
    this.body.replaceChildren(...parts);
  }

  #why() {
    const place = make("div", { class: "why" });
    const button = make("button", {
      type: "button",
      class: "wide",
      "aria-expanded": "false",
      text: "Show words and places",
      onclick: async () => {
        const isOpen = button.getAttribute("aria-expanded") === "true";
        button.setAttribute("aria-expanded", String(!isOpen));
        button.textContent = isOpen ? "Show words and places" : "Hide words and places";
        place.replaceChildren();
        this.showHeat(null);
        if (isOpen) return;
        place.append(make("p", { class: "quiet", text: "Comparing…" }));
        try {
          const { words, more, heat } = await this.askWhy();
          if (!place.isConnected || button.getAttribute("aria-expanded") !== "true") return;
          place.replaceChildren(...bars(words ?? [], more ?? 0));
          if (heat) {
            this.showHeat(heat);
            place.append(make("p", { class: "quiet", text: "The picture is red where it shows it." }));
          }
        } catch {
          place.replaceChildren(make("p", { class: "quiet", text: "This cannot be shown now." }));
        }
      },
    });
    return make("div", {}, button, place);
  }
}

/** What each word adds to the match; the longest bar is the strongest word. */
function bars(words, more) {
  const most = Math.max(...words.map(([, effect]) => Math.abs(effect)), 1e-9);
  const rows = words.map(([word, effect]) => {
    const bar = make("span", { class: effect < 0 ? "bar against" : "bar" });
    bar.style.width = `${(Math.abs(effect) / most) * 100}%`;
    const effectShown = `${effect < 0 ? "−" : "+"}${Math.abs(effect).toFixed(2)}`;
    return make("div", { class: "word" },
      make("span", { class: "of", dir: "auto", text: word }),
      make("span", { class: "track" }, bar),
      make("span", { class: "effect", text: effectShown }));
  });
  if (more) {
    rows.push(make("p", { class: "quiet", text: `${more} more words were not examined.` }));
  }
  return rows;
}

function degrees(value, positive, negative) {
  return `${Math.abs(value).toFixed(4)}° ${value < 0 ? negative : positive}`;
}

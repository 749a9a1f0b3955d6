// Requests and collections as tiles, each with a picture; a click chooses one.

import { isDark, make } from "../make.js";

function tile({ kind, text, picture }, setTriggerValue) {
  return make("button", {
    type: "button", class: picture ? "tile" : "tile bare", title: text,
    onclick: () => setTriggerValue("chosen", { kind, text }),
  },
  // Without alternative text: the words say what it stands for.
  ...(picture ? [make("img", { alt: "", decoding: "async", src: picture })] : []),
  make("span", { class: "words" }, make("span", { text })));
}

export default function ({ parentElement, data, setTriggerValue }) {
  let root = parentElement.querySelector(".tiles");
  if (!root) {
    root = make("div", { class: "tiles" });
    parentElement.append(root);
  }
  root.dataset.theme = isDark(root) ? "dark" : "light";
  const told = JSON.stringify(data);
  if (root.told === told) return;
  root.told = told;
  root.replaceChildren(...data.rows.map((row) => make("section", { "aria-label": row.title },
    make("h2", { text: row.title }),
    make("div", { class: "row" }, ...row.tiles.map((one) => tile(one, setTriggerValue))))));
}

// Requests and collections as tiles, each with a picture; a click chooses one.
//
// Text from libraries becomes text nodes and attributes, never markup.

function isDark(element) {
  const paper = getComputedStyle(element).getPropertyValue("--st-background-color").trim();
  const parts = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})/i.exec(paper);
  return parts !== null && parts.slice(1).every((part) => parseInt(part, 16) < 128);
}

function tile(told, choose) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = told.picture ? "tile" : "tile bare";
  button.title = told.text;
  if (told.picture) {
    const image = document.createElement("img");
    image.alt = ""; // the words say what it stands for
    image.decoding = "async";
    image.src = told.picture;
    button.append(image);
  }
  const words = document.createElement("span");
  const text = document.createElement("span");
  words.className = "words";
  text.textContent = told.text;
  words.append(text);
  button.append(words);
  button.addEventListener("click", () => choose(told));
  return button;
}

export default function ({ parentElement, data, setTriggerValue }) {
  let root = parentElement.querySelector(".tiles");
  if (!root) {
    root = document.createElement("div");
    root.className = "tiles";
    parentElement.append(root);
  }
  root.dataset.theme = isDark(parentElement.host || parentElement) ? "dark" : "light";
  const told = JSON.stringify(data);
  if (root.told === told) return;
  root.told = told;
  root.replaceChildren(...data.rows.map((row) => {
    const section = document.createElement("section");
    const title = document.createElement("h2");
    const line = document.createElement("div");
    title.textContent = row.title;
    section.setAttribute("aria-label", row.title);
    line.className = "row";
    line.append(...row.tiles.map((one) =>
      tile(one, () => setTriggerValue("chosen", { kind: one.kind, text: one.text }))));
    section.append(title, line);
    return section;
  }));
}

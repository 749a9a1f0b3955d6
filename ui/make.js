// What the components share. Text from libraries becomes text nodes and attributes, never markup.

/** An element; `text` is its text, `on…` a listener, null and false leave an attribute out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Whether the page around the element is dark, whatever the system wants. */
export function isDark(element) {
  const probe = make("span", { style: "color: var(--st-background-color, transparent)" });
  element.append(probe);
  const [red, green, blue, opacity = 1] = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
  probe.remove();
  return opacity === 0
    ? matchMedia("(prefers-color-scheme: dark)").matches
    : red * 0.3 + green * 0.59 + blue * 0.11 < 128;
}

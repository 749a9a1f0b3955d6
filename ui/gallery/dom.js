// Icons, buttons and words.

import { make } from "../make.js";

const SVG = "http://www.w3.org/2000/svg";

// Strokes in a square of 24.
const ICONS = {
  close: "M6 6l12 12M18 6L6 18",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  info: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5.5M12 7.6v.1",
  text: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M8.5 9h7M12 9v7",
  like: "M4 4h10v10H4zM14 9h6v11H9v-6",
  not: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM5.7 5.7l12.6 12.6",
  right: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM8 12.4l2.8 2.8L16 9.6",
  wrong: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM9 9l6 6M15 9l-6 6",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  collect: "M3.5 19V6h6l2 2.5h9V19zM12 11v5.5M9.2 13.7h5.6",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon, named for everybody: read out, and shown with its key on hover. */
export function iconButton(name, label, key, onclick) {
  const button = make("button", { type: "button", class: "icon", "data-act": name, onclick });
  nameButton(button, label, key);
  button.append(icon(name));
  return button;
}

export function nameButton(button, label, key) {
  button.setAttribute("aria-label", label);
  button.title = key ? `${label} (${key})` : label;
  if (key) button.setAttribute("aria-keyshortcuts", key === "Esc" ? "Escape" : key);
}

/** No longer than is bearable when it is read out. */
export function short(text, longest = 200) {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}

export function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August",
  "September", "October", "November", "December"];

/** "July 2019" of "2019-07-12"; the year alone of "2019"; "" of anything else. */
export function monthName(date) {
  const [, year, month] = /^(\d{4})(?:-(\d{2}))?/.exec(date) ?? [];
  if (!year) return "";
  return month && MONTHS[month - 1] ? `${MONTHS[month - 1]} ${year}` : year;
}

export const count = (number) => number.toLocaleString("en");

// The header of a bitmap of 16 x 16 points, top to bottom. 4 x 4 are blended to so many here, since
// browsers stretch a few points into visible bands.
const SIDE = 16;
const HEADER = [
  66, 77, 54, 3, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 16, 0, 0, 0, 240, 255, 255, 255,
  1, 0, 24, 0, 0, 0, 0, 0, 0, 3, 0, 0, 19, 11, 0, 0, 19, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

const isColours = (colours) => /^[A-Za-z0-9+/]{64}$/.test(colours ?? "");

/** CSS of one colour for a picture that flies past; "" if none is known. */
export function flatColour(colours) {
  if (!isColours(colours)) return "";
  const given = atob(colours.slice(20, 24)); // from the middle
  return `rgb(${given.charCodeAt(0)}, ${given.charCodeAt(1)}, ${given.charCodeAt(2)})`;
}

/** CSS of a picture's blurred placeholder, from 4 x 4 colours in base64; "" if there are none. */
export function placeholder(colours) {
  if (!isColours(colours)) return "";
  const given = atob(colours);
  const bytes = [...HEADER];
  for (let y = 0; y < SIDE; y++) {
    const [above, below, down] = between(y);
    for (let x = 0; x < SIDE; x++) {
      const [left, right, along] = between(x);
      for (let channel = 2; channel >= 0; channel--) { // bitmaps want blue first
        const at = (row, column) => given.charCodeAt((row * 4 + column) * 3 + channel);
        const top = at(above, left) * (1 - along) + at(above, right) * along;
        const bottom = at(below, left) * (1 - along) + at(below, right) * along;
        bytes.push(Math.round(top * (1 - down) + bottom * down));
      }
    }
  }
  return `url("data:image/bmp;base64,${btoa(String.fromCharCode(...bytes))}")`;
}

/** The two of four colours that a point lies between, and how far towards the second, smoothly. */
function between(point) {
  const place = clamp(((point + 0.5) / SIDE) * 4 - 0.5, 0, 3);
  const first = Math.min(Math.floor(place), 2);
  const share = place - first;
  return [first, first + 1, share * share * (3 - 2 * share)];
}

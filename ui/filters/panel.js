// The panel of filters: values with their counts, a timeline to brush, stars.
//
// Python keeps what is chosen, and draws again with every change.

import { isDark, make } from "../make.js";

const SHOWN = 5; // values of a field before all are asked for
const LISTED = 100; // values in the open list
const MOST_GAPS = 400; // periods without pictures that a timeline still draws

const number = new Intl.NumberFormat("en");
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/** The head of a section: its name, and the way back to any value. */
function head(section, clear) {
  const button = make("button", { type: "button", class: "clear", text: "Clear", onclick: clear });
  const name = make("span", { text: section.label, title: section.help || null });
  button.setAttribute("aria-label", `Clear ${section.label}`);
  return { element: make("div", { class: "name" }, name, button), button };
}

// --- values --------------------------------------------------------------------------------------

function values(first, send) {
  let section = first;
  let all = false;
  const top = head(section, () => send([]));
  const find = make("input", {
    type: "search", class: "find", autocomplete: "off", placeholder: `Find in ${section.label}`,
    "aria-label": `Find in ${section.label}`,
    oninput: draw,
    onkeydown: (event) => {
      const typed = find.value.trim();
      if (event.key !== "Enter" || !typed) return;
      // That value, or else the first that is listed.
      const known = section.values.find(([text]) => plain(text) === plain(typed))
        || (section.typed ? null : found()[0]);
      if (!known && !section.typed) return;
      find.value = "";
      send([...new Set([...section.chosen, known ? known[0] : typed])]);
    },
  });
  const list = make("ul", { class: "values" });
  const more = make("button", {
    type: "button", class: "more",
    onclick: () => {
      all = !all;
      if (!all) find.value = "";
      draw();
      if (all) find.focus();
    },
  });
  const element = make(
    "div", { role: "group", "aria-label": section.label }, top.element, find, list, more);

  function row([text, count]) {
    const box = make("input", { type: "checkbox" });
    box.checked = section.chosen.includes(text);
    box.addEventListener("change", () => {
      const others = section.chosen.filter((one) => one !== text);
      send(box.checked ? [...others, text] : others);
    });
    const counted = count === null ? "" : number.format(count);
    const label = make(
      "label", { title: text, class: count === 0 ? "none" : null }, box,
      make("span", { class: "text", text }), make("span", { class: "count", text: counted }));
    return make("li", { "data-value": text }, label);
  }

  function found() {
    const sought = plain(find.value.trim());
    const others = section.values.filter(([text]) => !section.chosen.includes(text));
    return sought ? others.filter(([text]) => plain(text).includes(sought)) : others;
  }

  function draw() {
    const focused = element.getRootNode().activeElement;
    const kept = focused && list.contains(focused) ? focused.closest("li").dataset.value : null;
    const known = new Map(section.values);
    const chosen = section.chosen.map((text) => [text, known.has(text) ? known.get(text) : 0]);
    const room = all ? LISTED : Math.max(0, SHOWN - chosen.length);
    list.replaceChildren(...[...chosen, ...found().slice(0, room)].map(row));
    list.classList.toggle("all", all);
    if (kept !== null) {
      const again = [...list.children].find((item) => item.dataset.value === kept);
      if (again) again.querySelector("input").focus();
    }
    top.button.hidden = section.chosen.length === 0;
    find.hidden = !all;
    more.hidden = section.values.length <= SHOWN && !section.typed;
    more.textContent = all ? "Show fewer" : `Show all ${number.format(section.values.length)}`;
    more.setAttribute("aria-expanded", String(all));
    more.setAttribute("aria-label", `${more.textContent} of ${section.label}`);
  }

  return {
    element,
    update(next, pending) {
      // The counts of the answer before stay until those of this one are there.
      section = pending ? { ...next, values: kept(section.values, next.values) } : next;
      draw();
    },
  };
}

function kept(before, now) {
  return before.some(([, count]) => count !== null) ? before : now;
}

// --- dates ---------------------------------------------------------------------------------------

/** The first and the last day of a year ('2019') or a month ('2019-07'). */
function days(period) {
  if (period.length === 4) return [`${period}-01-01`, `${period}-12-31`];
  const [year, month] = period.split("-").map(Number);
  const last = new Date(Date.UTC(year, month, 0)).getUTCDate();
  return [`${period}-01`, `${period}-${last}`];
}

function named(period) {
  if (period.length === 4) return period;
  const day = new Date(`${period}-15T00:00:00Z`);
  return day.toLocaleDateString("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });
}

function following(period) {
  if (period.length === 4) return String(Number(period) + 1).padStart(4, "0");
  const [year, month] = period.split("-").map(Number);
  return month === 12 ? following(String(year)) + "-01"
    : `${period.slice(0, 4)}-${String(month + 1).padStart(2, "0")}`;
}

/** The periods with those between them in which there is nothing. */
function filled(bars) {
  if (bars.length < 2) return bars;
  const counts = new Map(bars);
  const last = bars[bars.length - 1][0];
  const all = [];
  for (let period = bars[0][0]; period <= last; period = following(period)) {
    all.push([period, counts.get(period) || 0]);
    if (all.length > MOST_GAPS) return bars;
  }
  return all;
}

function dates(first, send) {
  let section = first;
  let bars = [];
  let anchor = 0; // the roving bar, and where a range begins
  let brushed = null; // the range while it is drawn, [from, to]
  const top = head(section, () => send("", ""));
  const plot = make("div", {
    class: "bars", role: "group",
    "aria-label": `${section.label}: drag over the bars, or use arrow keys with Shift, then Enter`,
  });
  const range = make("div", { class: "range" }, make("span"), make("span"));
  const element = make(
    "div", { role: "group", "aria-label": section.label }, top.element, plot, range);

  const isIn = (index) => {
    if (brushed) return index >= Math.min(...brushed) && index <= Math.max(...brushed);
    if (!section.from && !section.until) return false;
    const [begins, ends] = days(bars[index][0]);
    return (!section.from || ends >= section.from) && (!section.until || begins <= section.until);
  };
  const mark = () => {
    [...plot.children].forEach((bar, index) => {
      bar.classList.toggle("in", isIn(index));
      bar.setAttribute("aria-pressed", String(isIn(index)));
      bar.tabIndex = index === anchor ? 0 : -1;
    });
    const said = brushed && bars.length
      ? [named(bars[Math.min(...brushed)][0]), named(bars[Math.max(...brushed)][0])]
      : bars.length ? [named(bars[0][0]), named(bars[bars.length - 1][0])] : ["", ""];
    range.firstChild.textContent = said[0];
    range.lastChild.textContent = said[0] === said[1] && !brushed ? "" : said[1];
  };
  const choose = ([one, other]) => {
    const from = days(bars[Math.min(one, other)][0])[0];
    const until = days(bars[Math.max(one, other)][0])[1];
    brushed = null;
    if (section.from === from && section.until === until) send("", "");
    else send(from, until);
  };
  const at = (event) => {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.min(bars.length - 1, Math.max(0, Math.floor(share * bars.length)));
  };
  plot.addEventListener("pointerdown", (event) => {
    if (!bars.length || event.button) return;
    anchor = at(event);
    brushed = [anchor, anchor];
    plot.setPointerCapture(event.pointerId);
    mark();
  });
  plot.addEventListener("pointermove", (event) => {
    if (!brushed || !plot.hasPointerCapture(event.pointerId)) return;
    brushed = [brushed[0], at(event)];
    mark();
  });
  plot.addEventListener("pointerup", () => brushed && choose(brushed));
  plot.addEventListener("pointercancel", () => { brushed = null; mark(); });
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && bars.length) {
      const next = Math.min(bars.length - 1, Math.max(0, anchor + step));
      brushed = event.shiftKey ? [brushed ? brushed[0] : anchor, next] : null;
      anchor = next;
      mark();
      plot.children[anchor].focus();
      event.preventDefault();
    } else if ((event.key === "Enter" || event.key === " ") && bars.length) {
      choose(brushed || [anchor, anchor]);
      event.preventDefault();
    }
  });

  return {
    element,
    update(next, pending) {
      section = pending && bars.length ? { ...next, bars: section.bars } : next;
      const drawn = filled(section.bars);
      if (JSON.stringify(drawn) !== JSON.stringify(bars)) {
        const focused = plot.contains(element.getRootNode().activeElement);
        bars = drawn;
        anchor = Math.min(anchor, Math.max(0, bars.length - 1));
        const most = Math.max(1, ...bars.map(([, count]) => count));
        plot.replaceChildren(...bars.map(([period, count]) => {
          const said = `${named(period)}: ${number.format(count)}`;
          const height = count ? `max(3px, ${(100 * count) / most}%)` : "0px";
          return make("button", {
            type: "button", class: "bar", title: said, "aria-label": said,
            style: `--height: ${height}`,
          });
        }));
        if (focused && bars.length) plot.children[anchor].focus();
      }
      top.button.hidden = !section.from && !section.until;
      mark();
    },
  };
}

// --- stars ---------------------------------------------------------------------------------------

function stars(first, send) {
  let section = first;
  const top = head(section, () => send([]));
  const said = make("span", { class: "said" });
  const buttons = [1, 2, 3, 4, 5].map((count) => make("button", {
    type: "button", class: "star", text: "★",
    "aria-label": count === 1 ? "At least 1 star" : `At least ${count} stars`,
    onclick: () => send(Number(section.chosen[0]) === count ? [] : [String(count)]),
  }));
  const element = make(
    "div", { role: "group", "aria-label": section.label }, top.element,
    make("div", { class: "stars" }, ...buttons, said));
  return {
    element,
    update(next) {
      section = next;
      const least = Number(section.chosen[0]) || 0;
      buttons.forEach((button, index) => {
        button.classList.toggle("lit", index < least);
        button.setAttribute("aria-pressed", String(index + 1 === least));
      });
      said.textContent = !least ? "any" : least < 5 ? "or more" : "";
      top.button.hidden = !least;
    },
  };
}

// --- all of it -----------------------------------------------------------------------------------

const KINDS = { values, dates, stars };

/** Whether the run that draws the answer is over: counting must not make it wait. */
function isIdle() {
  const app = document.querySelector('[data-testid="stApp"]');
  return !app || app.dataset.testScriptState !== "running";
}

function mount(parent) {
  const root = make("div", { class: "panel" });
  parent.append(root);
  const panel = { root, sections: new Map(), wanted: "", seen: false, data: null, send: null };
  const ask = () => {
    const { data } = panel;
    if (!data || !data.pending || !panel.seen || panel.wanted === data.run) return;
    if (!isIdle()) return;
    panel.wanted = data.run;
    panel.send("wanted", data.run);
  };
  // Counted when it is looked at: not behind a closed sidebar.
  const observer = new IntersectionObserver((entries) => {
    panel.seen = entries[entries.length - 1].isIntersecting;
    ask();
  });
  observer.observe(root);
  const timer = setInterval(ask, 100);
  panel.end = () => { observer.disconnect(); clearInterval(timer); };
  panel.ask = ask;
  return panel;
}

export default function ({ parentElement, data, setTriggerValue }) {
  const panel = parentElement.filterPanel || (parentElement.filterPanel = mount(parentElement));
  panel.data = data;
  panel.send = setTriggerValue;
  panel.root.dataset.theme = isDark(panel.root) ? "dark" : "light";
  panel.root.classList.toggle("pending", data.pending);
  const keys = data.sections.map((section) => `${section.kind} ${section.key}`);
  const same = keys.join("\n") === [...panel.sections.keys()].join("\n");
  if (!same) {
    panel.sections = new Map(data.sections.map((section, index) => {
      const send = (...chosen) => panel.send("changed", { key: section.key, chosen: chosen.flat() });
      return [keys[index], KINDS[section.kind](section, send)];
    }));
    panel.root.replaceChildren(...[...panel.sections.values()].map((one) => one.element));
  }
  data.sections.forEach((section, index) =>
    panel.sections.get(keys[index]).update(section, data.pending));
  panel.ask();
  return () => {
    panel.end();
    panel.root.remove();
    delete parentElement.filterPanel;
  };
}

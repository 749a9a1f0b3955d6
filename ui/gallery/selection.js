// The ticked pictures of a library: remembered by the browser for this tab, told to the page.

const TOLD_AFTER_MS = 150;

export class Selection {
  /** `tell` gets the list of ids, some time after it changed. */
  constructor(library, tell) {
    this.key = `gallery-selected:${library}`;
    this.library = library;
    this.ids = new Set(remembered(this.key));
    this.tell = tell;
    this.given = undefined;
    window.addEventListener("pagehide", this.#keep);
    if (this.ids.size) this.#tellSoon();
  }

  get size() {
    return this.ids.size;
  }

  has(id) {
    return this.ids.has(id);
  }

  set(ids) {
    this.ids = new Set(ids);
    this.#tellSoon();
  }

  toggle(id) {
    const ids = new Set(this.ids);
    if (!ids.delete(id)) ids.add(id);
    this.set(ids);
  }

  #keep = () => {
    try {
      sessionStorage.setItem(this.key, JSON.stringify([...this.ids]));
    } catch {
      // Storage is full or forbidden: the selection lives as long as the page.
    }
  };

  #tellSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.#keep();
      this.tell([...this.ids]);
    }, TOLD_AFTER_MS);
  }

  /** What the page says is selected, as when its bar clears the selection: said once, and null in
   * the runs after it. Whether that changed anything. */
  take(given) {
    const written = JSON.stringify(given ?? null);
    if (written === this.given) return false;
    this.given = written;
    if (!given) return false;
    clearTimeout(this.timer);
    this.ids = new Set(given);
    this.#keep();
    return true;
  }

  close() {
    clearTimeout(this.timer);
    this.#keep();
    window.removeEventListener("pagehide", this.#keep);
  }
}

function remembered(key) {
  try {
    const ids = JSON.parse(sessionStorage.getItem(key) ?? "[]");
    return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
  } catch {
    return [];
  }
}

// An answer: its pictures as they arrive in portions, and what is asked about each of them.

const PORTION = 60;
export const LARGE_PORTION = 200; // on the way to a place far below
const REMEMBERED = 200; // details

export class Answer {
  constructor(data) {
    this.token = data.answer;
    this.base = data.base;
    this.items = [];
    this.indices = new Map();
    this.failed = false;
    this.lost = false; // the server no longer knows the token
    this.scrollTop = 0;
    this.#take(data);
  }

  #details = new Map();

  #take({ items, next, nearest }) {
    this.nearest ??= nearest; // of the first picture under the cut, once its portion has come
    for (const item of items) {
      if (this.indices.has(item.id)) continue; // the library changed between two portions
      this.indices.set(item.id, this.items.length);
      this.items.push(item);
    }
    this.next = next;
  }

  get complete() {
    return this.next === null || this.next === undefined;
  }

  /** The next portion is in `items` afterwards, or `failed` or `lost` is true. Never rejects. */
  async more(limit = PORTION) {
    try {
      const address = this.address("items", { answer: this.token, after: this.next, limit });
      const response = await fetch(address);
      if (response.status === 410) {
        this.lost = true;
        return;
      }
      if (!response.ok) throw new Error(`${response.status}`);
      this.#take(await response.json());
    } catch {
      this.failed = true;
    }
  }

  address(what, parameters) {
    // Slashes stay legible: ids are paths.
    const written = Object.entries(parameters)
      .filter(([, value]) => value !== "" && value !== undefined)
      .map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%2F", "/")}`);
    return `${this.base}gallery/${what}?${written.join("&")}`;
  }

  thumb(item, h) {
    return this.address("thumb", { id: item.id, v: item.v, h });
  }

  view(item) {
    return this.address("view", { id: item.id, v: item.v });
  }

  full(item) {
    return this.address("full", { id: item.id, v: item.v });
  }

  download(item) {
    return this.address("download", { id: item.id });
  }

  /** What is known of a picture; asked once. Rejects if it cannot be had now. */
  details(id) {
    let asked = this.#details.get(id);
    if (!asked) {
      asked = this.#json("details", id);
      asked.catch(() => this.#details.delete(id));
      if (this.#details.size >= REMEMBERED) this.#details.delete(this.#details.keys().next().value);
      this.#details.set(id, asked);
    }
    return asked;
  }

  why(id) {
    return this.#json("why", id);
  }

  async #json(what, id) {
    const response = await fetch(this.address(what, { id, answer: this.token }));
    if (response.status === 410) this.lost = true;
    if (!response.ok) throw new Error(`${response.status}`);
    return response.json();
  }
}

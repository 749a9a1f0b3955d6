// An answer: its pictures as they arrive in portions, and what is asked about each of them.
//
// Most answers are read from their beginning. One that has a shape (the library by date) says how all
// its pictures lie, and any part of it is read by itself: `items` then is as long as the answer, with
// holes.

const PORTION = 60;
const AT_ONCE = 4; // portions in one request
export const LARGE_PORTION = 200; // on the way to a place far below
const REMEMBERED = 200; // details

// In the place of a picture that has left the library since the answer was made.
const GONE = Object.freeze({
  id: "", title: "This picture is gone", w: 0, h: 0, v: "", colours: "", date: "", score: "", note: "",
});

export class Answer {
  constructor(data) {
    this.token = data.answer;
    this.base = data.base;
    this.items = [];
    this.indices = new Map();
    this.failed = false;
    this.lost = false; // the server no longer knows the token
    this.aspects = null; // width by height of all pictures, where there is a shape
    this.months = null; // [["2019-07", place of its first picture]]
    this.scrollTop = 0;
    this.#take(data);
  }

  #details = new Map();
  #asked = new Map(); // number of a portion -> when it is there
  #shaping = null;

  #take({ items, next, nearest }) {
    this.nearest ??= nearest; // of the first picture under the cut, once its portion has come
    for (const item of items) {
      if (this.indices.has(item.id)) continue; // the library changed between two portions
      const index = item.at ?? this.items.length;
      while (this.items.length < index) this.items.push(GONE);
      this.indices.set(item.id, index);
      this.items[index] = item;
    }
    if (!this.shaped) this.next = next;
  }

  get shaped() {
    return this.aspects !== null;
  }

  /** Whether the place of every picture is known, if not the picture itself. */
  get complete() {
    return this.next === null || this.next === undefined;
  }

  /** The next portion is in `items` afterwards, or `failed` or `lost` is true. Never rejects. */
  async more(limit = PORTION) {
    await this.#read(this.next, limit);
  }

  async #read(after, limit) {
    try {
      this.#take(await this.#json("items", { after, limit }));
      return true;
    } catch {
      this.failed = !this.lost;
      return false;
    }
  }

  /** How all pictures lie is known afterwards, unless it could not be had. Never rejects. */
  shape() {
    this.#shaping ??= this.#shape();
    return this.#shaping;
  }

  async #shape() {
    try {
      const { aspects, months } = await this.#json("shape");
      const bytes = Uint8Array.from(atob(aspects), (letter) => letter.charCodeAt(0));
      this.aspects = Float32Array.from(new Uint16Array(bytes.buffer), (parts) => parts / 10_000);
      this.months = months;
      this.items.length = this.aspects.length;
      this.next = null;
    } catch {
      // Portion after portion it goes on as any answer.
    }
  }

  /** Width by height of the pictures from this place on. */
  aspectsFrom(index) {
    return this.aspects?.subarray(index) ?? this.items.slice(index).map(({ w, h }) => w / h);
  }

  /** Whether pictures of these places have not come. */
  lacks(from, to) {
    return this.#portions(from, to).some((number) => this.#isOpen(number));
  }

  /** The same of those that are not on their way either. */
  wants(from, to) {
    return this.#portions(from, to).some((number) => !this.#asked.has(number) && this.#isOpen(number));
  }

  /** The pictures of these places are in `items` afterwards, or `failed` or `lost` is true. Never
   * rejects. */
  async need(from, to) {
    const numbers = this.#portions(from, to).filter((number) => this.#isOpen(number));
    let run = [];
    for (const number of numbers) {
      if (this.#asked.has(number)) continue;
      if (run.length === AT_ONCE || (run.length && run.at(-1) !== number - 1)) {
        this.#ask(run);
        run = [];
      }
      run.push(number);
    }
    if (run.length) this.#ask(run);
    await Promise.all(numbers.map((number) => this.#asked.get(number)));
  }

  #portions(from, to) {
    const first = Math.max(Math.floor(from / PORTION), 0);
    const end = Math.ceil(Math.min(to, this.items.length) / PORTION);
    return Array.from({ length: Math.max(end - first, 0) }, (_, n) => first + n);
  }

  #isOpen(number) {
    const end = Math.min((number + 1) * PORTION, this.items.length);
    for (let index = number * PORTION; index < end; index++) if (!this.items[index]) return true;
    return false;
  }

  #ask(numbers) {
    const start = numbers[0] * PORTION;
    const limit = numbers.length * PORTION;
    const asked = this.#read(start, limit).then((isThere) => {
      for (const number of numbers) this.#asked.delete(number);
      if (!isThere) return;
      const end = Math.min(start + limit, this.items.length);
      for (let index = start; index < end; index++) this.items[index] ??= GONE;
    });
    for (const number of numbers) this.#asked.set(number, asked);
  }

  /** Where a picture stands, null if it is not among them. Rejects if that cannot be had now. */
  async place(id) {
    return (await this.#json("place", { id })).at;
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
      asked = this.#json("details", { id });
      asked.catch(() => this.#details.delete(id));
      if (this.#details.size >= REMEMBERED) this.#details.delete(this.#details.keys().next().value);
      this.#details.set(id, asked);
    }
    return asked;
  }

  why(id) {
    return this.#json("why", { id });
  }

  async #json(what, parameters = {}) {
    const response = await fetch(this.address(what, { answer: this.token, ...parameters }));
    if (response.status === 410) this.lost = true;
    if (!response.ok) throw new Error(`${response.status}`);
    return response.json();
  }
}

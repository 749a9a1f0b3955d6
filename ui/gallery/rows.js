// Justified rows: every row as wide as the gallery, every picture in its own proportions.
//
// Pictures arrive in portions, or as the shape of all of them, and rows are only ever added, so that
// nothing that is seen moves. What does not fill a row waits (`sealed` places it, not stretched). Rows are
// records in typed arrays: at 100,000 pictures a new width takes milliseconds, and a position is
// found by halving.

export const GAP = 4;
const LINE = 52; // the height of "less certain below"
// Beyond these a picture would be a thread, or its row one; it is shown whole on its placeholder.
const NARROWEST = 0.4;
const WIDEST = 4;
const TALLEST_ROW = 1.5;
const ALMOST_FULL = 1.3; // what the row above the line may be stretched by

/** The height that rows of a gallery of this width aim at: 120 on a phone, 220 on a desk. */
export function rowHeight(width) {
  return Math.round(Math.min(Math.max(120 + (width - 340) * 0.2, 120), 220));
}

export class Rows {
  /** `below`: room for a caption under each row. */
  constructor(width, below) {
    this.width = Math.max(Math.floor(width), 80);
    this.target = rowHeight(this.width);
    this.below = below;
    this.breakAt = -1; // the picture before which the line stands
    this.aspects = new Float32Array(512);
    this.count = 0; // pictures known
    this.placed = 0; // pictures in rows
    this.rows = 0;
    this.first = new Int32Array(128);
    this.top = new Float64Array(128);
    this.high = new Float64Array(128); // exact, so that widths add up; drawn rounded
    this.bottom = 0;
    this.lineTop = null;
    this.ragged = false; // whether the last row is one that may still fill up
  }

  /** The next pictures, by width by height: 0 or not a number where that is not known. */
  add(aspects, sealed) {
    for (const aspect of aspects) {
      if (this.count === this.aspects.length) this.aspects = grown(this.aspects);
      const isKnown = aspect > 0 && aspect < Infinity;
      this.aspects[this.count++] = isKnown ? Math.min(Math.max(aspect, NARROWEST), WIDEST) : 4 / 3;
    }
    this.place(sealed);
  }

  place(sealed) {
    if (this.ragged) {
      this.rows -= 1;
      this.placed = this.first[this.rows];
      this.bottom = this.top[this.rows];
      this.ragged = false;
    }
    const { width, target, aspects } = this;
    let start = this.placed;
    let sum = 0;
    for (let at = start; at < this.count; at++) {
      if (at === this.breakAt && this.lineTop === null) {
        if (at > start) this.#row(start, at, this.#loose(start, at, sum, ALMOST_FULL));
        this.lineTop = this.bottom;
        this.bottom += LINE;
        start = at;
        sum = 0;
      }
      sum += aspects[at];
      const room = width - GAP * (at - start);
      if (sum * target < room) continue;
      const without = at > start ? (room + GAP) / (sum - aspects[at]) : Infinity;
      if (without <= target * TALLEST_ROW && without / target < (target * sum) / room) {
        this.#row(start, at, without);
        start = at;
        sum = aspects[at];
        if (sum * target < width) continue;
      }
      this.#row(start, at + 1, (width - GAP * (at - start)) / sum);
      start = at + 1;
      sum = 0;
    }
    if (sealed && start < this.count) {
      this.#row(start, this.count, this.#loose(start, this.count, sum));
      this.ragged = true;
    }
  }

  /** The height of a row that does not fill the width, unless it is `almost` times as high. */
  #loose(start, end, sum, almost = 1) {
    const full = (this.width - GAP * (end - start - 1)) / sum;
    return full <= this.target * almost ? full : this.target;
  }

  #row(start, end, high) {
    if (this.rows === this.first.length) {
      this.first = grown(this.first);
      this.top = grown(this.top);
      this.high = grown(this.high);
    }
    this.first[this.rows] = start;
    this.top[this.rows] = this.bottom;
    this.high[this.rows] = high;
    this.rows += 1;
    this.placed = end;
    this.bottom += Math.round(high) + this.below + GAP;
  }

  /** The last row that begins at or above y. */
  rowAt(y) {
    return lastUpTo(this.top, this.rows, y);
  }

  rowOf(index) {
    return lastUpTo(this.first, this.rows, index);
  }

  end(row) {
    return row + 1 < this.rows ? this.first[row + 1] : this.placed;
  }

  /** Where the pictures of a row lie, in whole points. */
  boxes(row) {
    const top = this.top[row];
    const high = this.high[row];
    const boxes = [];
    let left = 0;
    for (let index = this.first[row]; index < this.end(row); index++) {
      const right = left + this.aspects[index] * high;
      const x = Math.round(left);
      boxes.push({ index, left: x, top, width: Math.round(right) - x, height: Math.round(high) });
      left = right + GAP;
    }
    return boxes;
  }

  box(index) {
    const row = this.rowOf(index);
    return this.boxes(row)[index - this.first[row]];
  }

  /** The picture at a point, or the nearest in its row. */
  indexAt(x, y) {
    const row = this.rowAt(y);
    const boxes = this.boxes(row);
    return (boxes.find((box) => x < box.left + box.width + GAP / 2) ?? boxes.at(-1))?.index ?? 0;
  }

  /** The picture at x in the row above (way -1) or below (1). */
  vertical(index, way, x) {
    const row = this.rowOf(index) + way;
    return row < 0 || row >= this.rows ? index : this.indexAt(x, this.top[row]);
  }

  middle(index) {
    const box = this.box(index);
    return box.left + box.width / 2;
  }
}

function grown(array) {
  const larger = new array.constructor(array.length * 2);
  larger.set(array);
  return larger;
}

function lastUpTo(array, length, value) {
  let low = 0;
  let high = length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (array[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

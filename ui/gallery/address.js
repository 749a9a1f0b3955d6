// The open picture in the page's address: `#picture=ID`, after whatever the page itself has there.
//
// Streamlit runs the page again, with its widgets at their defaults, whenever the history moves to an
// address without '#' or with another query. Ours differ only behind the '#', which the entry below
// an open picture gets too: Back closes a picture without a request to the server.

// In the state of the entries that were made here: the page's own script (ui/style.py) tells them
// from Streamlit's by it, and below each lies the same page without a picture.
const OURS = "gallery";
const PICTURE = "#picture=";

/** What of the address is the request's, and not ours. */
const requestOf = ({ pathname, search }) => pathname + search;

export class Address {
  /** `moved` is called when Back or Forward led to another picture of the same request, or none. */
  constructor(moved) {
    this.moved = moved;
    this.traversedAt = -Infinity; // when Back or Forward led to another request
    this.leaving = false; // between history.back() and its popstate
    this.waiting = null;
    this.seen();
    window.addEventListener("popstate", this.#popped);
  }

  /** The page may have written another request into the address. */
  seen() {
    this.request = requestOf(location);
  }

  get picture() {
    if (!location.hash.startsWith(PICTURE)) return null;
    try {
      return decodeURIComponent(location.hash.slice(PICTURE.length)) || null;
    } catch {
      return null;
    }
  }

  #written(id) {
    // Slashes stay legible: ids are paths.
    const behind = id === null ? "#" : PICTURE + encodeURIComponent(id).replaceAll("%2F", "/");
    return location.pathname + location.search + behind;
  }

  /** A new entry: Back leads here. */
  push(id) {
    if (this.leaving) {
      this.waiting = () => this.push(id);
      return;
    }
    history.replaceState(history.state, "", this.#written(null));
    history.pushState({ [OURS]: true }, "", this.#written(id));
  }

  /** The same entry with another picture, or with none. */
  replace(id) {
    if (this.leaving) {
      this.waiting = () => this.replace(id);
    } else if (this.picture !== id) {
      history.replaceState(history.state, "", this.#written(id));
    }
  }

  /** Closes the picture: the entry before, if the picture was opened here. */
  leave() {
    if (!history.state?.[OURS]) {
      this.replace(null);
      return;
    }
    this.leaving = true;
    history.back();
  }

  #popped = () => {
    const isOurs = requestOf(location) === this.request;
    this.seen();
    if (!isOurs) this.traversedAt = performance.now();
    if (this.leaving) {
      this.leaving = false;
      const waiting = this.waiting;
      this.waiting = null;
      waiting?.();
    } else if (isOurs) {
      this.moved(this.picture);
    }
  };

  close() {
    window.removeEventListener("popstate", this.#popped);
  }
}

"""The page's own style sheet, on top of Streamlit's light and dark themes, and its keys."""

# Tables are drawn by the browser once their script has come: 35 px a row and the line of names, and
# from so many rows on 400 px, within which they scroll. See `ui.components.table`.
TABLE_ROWS = 11
_ROOM_FOR_TABLES = "\n".join(
    f'  [class*="st-key-rows-{rows}-"] {{ min-height: {min(36 + 35 * rows, 400)}px; }}'
    for rows in range(1, TABLE_ROWS + 1)
)

STYLE = (
    f"""
<style>
{_ROOM_FOR_TABLES}
"""
    + """
  .stMainBlockContainer { padding: 4rem clamp(1rem, 3vw, 2.5rem) 3rem; }
  .stMainBlockContainer h1 { font-size: 1.9rem; padding: 0.5rem 0; }

  .stMainBlockContainer :is(h2, h3) { font-size: 1.2rem; padding: 0.4rem 0 0.3rem; }

  /* Text from a library keeps its own line breaks and never widens the page. */
  [data-testid="stText"] { white-space: pre-wrap; overflow-wrap: anywhere; }

  :root { --gallery-top: 11rem; }  /* what covers the top of the window, for the gallery */

  /* The header stays in sight below Streamlit's own, over whatever scrolls under it. */
  [data-testid="stLayoutWrapper"]:has(> .st-key-header) {
    position: sticky; top: 3.75rem; z-index: 20; background: var(--page-background, Canvas);
  }
  .st-key-header { gap: 0.25rem; padding: 0.4rem 0; }
  .st-key-ask { flex-wrap: nowrap; }
  .st-key-ask > :first-child { flex: 1 1 auto; min-width: 0; }
  .st-key-ask .stFormSubmitButton { flex: 0 0 auto; }
  /* Read out as the first heading, seen only before the first request. */
  .st-key-quiet-title {
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  }
  .st-key-by-picture img {
    height: 2.5rem; width: 2.5rem; object-fit: cover; border-radius: 0.4rem;
  }
  .st-key-by-picture [data-testid="stElementToolbar"] { display: none; }
  .st-key-picture-remove p { white-space: nowrap; }
  .share {
    font: inherit; font-size: 0.9rem; color: inherit; background: none; border: 0; cursor: pointer;
    padding: 0.35rem 0.5rem; border-radius: 0.4rem; white-space: nowrap;
  }
  .share:hover { background: rgba(128, 128, 128, 0.15); }
  .share:focus-visible { outline: 2px solid #2f6fde; outline-offset: 1px; }
  .skip {
    position: fixed; top: -4rem; left: 0.75rem; z-index: 1000000; padding: 0.5rem 1rem;
    font: 1rem system-ui, sans-serif; color: #fff; background: #2a63c8; border: 0;
    border-radius: 0.5rem;
  }
  .skip:focus { top: 0.5rem; }
  @media (max-width: 640px) {  /* icons alone */
    .st-key-ask .stFormSubmitButton p, .st-key-camera button p, .st-key-picture-remove p {
      position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
    }
    .st-key-request { flex-wrap: nowrap; overflow-x: auto; }
    .st-key-request > * { flex-shrink: 0; }
  }

  /* Collections as cards; the button lies invisibly over the picture. */
  .st-key-grid-collections {
    display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 1rem;
    align-items: start;
  }
  [class*="st-key-card-"] { position: relative; gap: 0.25rem; }
  [class*="st-key-card-"] [data-testid="stImage"] img {
    aspect-ratio: 5 / 4; width: 100%; height: auto; object-fit: cover; border-radius: 0.5rem;
    background: rgba(128, 128, 128, 0.15);
  }
  [class*="st-key-card-"] [data-testid="stImage"],
  [class*="st-key-card-"] [data-testid="stImageContainer"] { width: 100%; }
  [class*="st-key-open-"] { position: absolute; inset: 0 0 auto 0; z-index: 1; width: 100%; }
  [class*="st-key-open-"] button {
    aspect-ratio: 5 / 4; width: 100%; border-radius: 0.5rem; border: 0;
    background: transparent; color: transparent; cursor: pointer;
  }
  [class*="st-key-open-"] button * { color: transparent; }
  [class*="st-key-open-"] button:hover { background: rgba(255, 255, 255, 0.12); }
  [class*="st-key-open-"] button:focus-visible { outline: 3px solid #2f6fde; outline-offset: 2px; }
  [class*="st-key-card-"] [data-testid="stElementToolbar"] { display: none; }
  [class*="st-key-card-"] [data-testid="stText"] span {
    font-size: 0.9rem; line-height: 1.3;
    display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden;
  }

  /* What can be done with ticked pictures lies over the end of the window, below the grid: it
     takes no room from the pictures when it appears. */
  [data-testid="stLayoutWrapper"]:has(> .st-key-bar) {
    position: sticky; bottom: 0.5rem; z-index: 5;
  }
  .st-key-selection {
    background: var(--page-background, Canvas); padding: 0.4rem 0.75rem;
    box-shadow: 0 2px 12px rgba(0, 0, 0, 0.25);
  }
  @media (max-width: 640px) {  /* one row that is pushed aside, not a third of the window */
    .st-key-selection { flex-wrap: nowrap; overflow-x: auto; }
    .st-key-selection > * { flex-shrink: 0; }
  }

  .log-out { text-align: right; font-size: 0.9rem; }

  [class*="st-key-small-"] [data-testid="stText"] span,
  [class*="st-key-card-"] .stElementContainer:has([data-testid="stText"]) ~ .stElementContainer
    [data-testid="stText"] span {
    font-size: 0.8rem; line-height: 1.3; opacity: 0.8;
  }

  /* The theme's colour is dark enough under white text, but too pale for text itself. */
  [data-testid="stSliderThumbValue"], [data-testid="stSliderThumbValue"] p { color: inherit; }
  button[role="radio"][aria-checked="true"] { color: inherit !important; font-weight: 600; }

  /* The filters stay as they are while a new answer is made. */
  .st-key-filters [data-stale="true"] { opacity: 1 !important; }

  /* Nothing moves while the page opens: it is seen from its heading on, which each view has. */
  [data-testid="stLayoutWrapper"]:has(> .st-key-keys) { display: none; }
  .stApp:not(:has(.stMain .stHeading)) .stAppViewContainer > * { visibility: hidden; }

  .st-key-title .stHeading { padding-bottom: 1rem; }  /* which Streamlit takes from what follows */

  /* Room for the tiles before they are drawn: a row has a title, 32 px, and tiles of 128. */
  .st-key-tiles-1 { min-height: 164px; }
  .st-key-tiles-2 { min-height: 344px; }
  @media (max-width: 640px) {
    .st-key-tiles-1 { min-height: 141px; }
    .st-key-tiles-2 { min-height: 290px; }
  }

  /* And before the scripts of figures and boxes have come. */
  .st-key-figures .stColumn { min-height: 76px; }
  :is(.st-key-model, .st-key-report, .st-key-which, .st-key-build-encoder, .st-key-promote-which) {
    min-height: 68px;
  }
  @media (max-width: 640px) { .st-key-queries { min-height: 128px; } }
  @media (max-width: 384px) { .st-key-evaluation-part { min-height: 68px; } }  /* two lines */

  /* On a phone the views for everybody are in a bar at the thumb, and the filters behind a button
     that says so. Spaces are multiples of 4 px. */
  [data-testid="stLayoutWrapper"]:has(> .st-key-bottom-bar) { display: none; }
  @media (max-width: 640px) {
    [data-testid="stLayoutWrapper"]:has(> .st-key-bottom-bar) {
      display: block; position: fixed; inset: auto 0 0 0; z-index: 30; width: 100%;
      background: var(--page-background, Canvas); border-top: 1px solid rgba(128, 128, 128, 0.3);
      padding: 4px 8px max(4px, env(safe-area-inset-bottom));
    }
    .st-key-bottom-bar { flex-wrap: nowrap; gap: 0; }
    .st-key-bottom-bar > * { flex: 1 1 0; min-width: 0; }
    .st-key-bottom-bar a {
      flex-direction: column; gap: 0; min-height: 48px; padding: 4px; justify-content: center;
    }
    .st-key-bottom-bar a p { font-size: 12px; line-height: 16px; }
    .stMainBlockContainer { padding-bottom: 5rem; padding-top: 3.5rem; }
    [data-testid="stLayoutWrapper"]:has(> .st-key-bar) { bottom: 72px; }
    [data-testid="stSidebarContent"] { display: flex; flex-direction: column; }
    [data-testid="stSidebarNav"] { order: 2; }  /* after the filters */
    [data-testid="stExpandSidebarButton"] { width: auto; padding: 0 12px; gap: 8px; }
    .stApp:has(.st-key-filters) [data-testid="stExpandSidebarButton"]::after { content: "Filters"; }
    .stApp:not(:has(.st-key-filters)) [data-testid="stExpandSidebarButton"]::after {
      content: "Menu";
    }
  }
</style>
"""
)

# Copies the address of the request; the script below does it.
SHARE = '<button type="button" class="share" data-said="Address copied">Share</button>'

# What the page's own elements cannot do. Installed once in the window, whatever is drawn
# afterwards.
KEYS = """
<script>
(() => {
  if (window.scenesearchKeys) return;
  window.scenesearchKeys = true;

  // Each request is an entry of the history. Streamlit replaces the address when a visitor changes
  // a box that is bound to it; then it names the whole address, and a path in all other cases.
  // What lies behind the '#' is the gallery's: the picture that is open.
  const { pushState, replaceState } = History.prototype;
  const request = (url) => {
    url.searchParams.sort();
    return url.pathname + url.search;
  };
  const isOther = (url) => request(new URL(url)) !== request(new URL(location.href));
  history.pushState = function (state, title, to) {
    const url = new URL(to, location.href);
    if (state && state.gallery) return pushState.call(this, state, title, to);
    url.hash = "";
    if (isOther(url)) pushState.call(this, state, title, url.href);
  };
  history.replaceState = function (state, title, to) {
    const isRequest = /^https?:/.test(String(to)) && isOther(to);
    // Streamlit names the address anew with each key; all that is typed in one go is one entry.
    if (!isRequest || typed.entry) return replaceState.call(this, state, title, to);
    typed.entry = typed.now;
    return this.pushState(state, title, to);
  };

  // The answer comes while one types, once the keys rest; Streamlit ends the run of the text
  // before. A text that ends in the middle of a filter, a quotation or a group waits for its end.
  const REST_MS = 300;
  const typed = { now: false, entry: false, over: false, timer: 0 };
  const isWhole = (text) => text.length > 2 && !/[:(+=<>,-]$/.test(text)
    && text.split('"').length % 2 && text.split("(").length === text.split(")").length;
  document.addEventListener("input", (event) => {
    const box = event.target;
    if (!box.matches(".st-key-q input") || event.isComposing) return;
    if (typed.over) typed.entry = typed.over = false;
    typed.now = true;
    clearTimeout(typed.timer);
    typed.timer = setTimeout(() => {
      if (!box.isConnected || !isWhole(box.value.trim())) return;
      // As the visitor's own Enter would: the box keeps the focus and what is typed meanwhile.
      box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    }, REST_MS);
  }, true);  // before Streamlit hears of it
  const endTyping = () => {
    clearTimeout(typed.timer);
    typed.over = true;
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.isTrusted) endTyping();
  }, true);
  document.addEventListener("focusout", (event) => {
    if (!event.target.matches(".st-key-q input")) return;
    endTyping();
    typed.now = typed.entry = false;
  });
  addEventListener("popstate", endTyping);

  const typing = (element) => element && (
    element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key !== "/") return;
    const box = document.querySelector(".st-key-q input");
    if (!box || typing(event.composedPath()[0])) return;
    box.focus();
    box.select();
    event.preventDefault();
  });

  // What lies over the page has its colour, light or dark.
  const paint = () => {
    const page = document.querySelector(".stApp");
    const colour = page && getComputedStyle(page).backgroundColor;
    if (colour) document.documentElement.style.setProperty("--page-background", colour);
  };
  paint();
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  isDark.addEventListener("change", () => setTimeout(paint, 500));

  // The first Tab of the page.
  const skip = document.createElement("nav");
  skip.setAttribute("aria-label", "Skip");
  const toPictures = document.createElement("button");
  toPictures.className = "skip";
  toPictures.type = "button";
  toPictures.textContent = "Skip to the pictures";
  toPictures.addEventListener("click", () => {
    const inside = [...document.querySelectorAll('[class*="st-key-gallery"] *')];
    const gallery = inside.find((element) => element.shadowRoot);
    const picture = gallery && gallery.shadowRoot.querySelector('[role="option"][tabindex="0"]');
    if (picture) picture.focus();
  });
  skip.append(toPictures);
  document.body.prepend(skip);

  // A chart's own alt text says what it shows; its unnamed marks would be read out too.
  new MutationObserver(() => document
    .querySelectorAll('svg.marks [role="graphics-symbol"]:not([aria-label])')
    .forEach((mark) => mark.removeAttribute("role"))
  ).observe(document.body, { childList: true, subtree: true });

  // On a phone Streamlit's menu lies in the sidebar, with headings between the items of its list.
  const MENU = '[data-testid="stSidebarNavItems"]';
  const unlist = () => document
    .querySelectorAll(`ul${MENU}:not([role]), ${MENU} :is(li, ul):not([role])`)
    .forEach((element) => element.setAttribute("role", "none"));
  unlist();
  new MutationObserver(unlist).observe(document.body, { childList: true, subtree: true });

  document.addEventListener("click", async (event) => {
    const clicked = (selector) => event.target.closest && event.target.closest(selector);
    // Another page of a list begins at its top.
    const turned = clicked(".st-key-pager button");
    const main = document.querySelector('[data-testid="stMain"]');
    if (turned && !turned.disabled && main) main.scrollTo({ top: 0 });
    const share = clicked(".share");
    if (!share) return;
    await copied(location.href.replace(/#$/, ""));
    const name = share.dataset.name || (share.dataset.name = share.textContent);
    share.textContent = share.dataset.said;
    setTimeout(() => { share.textContent = name; }, 2000);
  });
  const copied = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const box = document.createElement("textarea");  // over http, browsers have no clipboard
    box.value = text;
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  };

  // A pasted picture goes to the upload field of the header, which opens for it.
  const field = () => document.querySelector('[class*="st-key-picture-"] input[type="file"]');
  document.addEventListener("paste", async (event) => {
    const pasted = [...(event.clipboardData ? event.clipboardData.files : [])];
    const picture = pasted.find((file) => file.type.startsWith("image/"));
    const camera = document.querySelector(".st-key-camera button");
    if (!picture || !(field() || camera)) return;
    event.preventDefault();
    if (!field()) camera.click();
    for (let waits = 0; !field() && waits < 100; waits++) {
      await new Promise((done) => setTimeout(done, 50));
    }
    const box = field();
    if (!box) return;
    const carried = new DataTransfer();
    carried.items.add(picture);
    box.files = carried.files;
    box.dispatchEvent(new Event("change", { bubbles: true }));
  });
})();
</script>
"""

"""The page's own style sheet, on top of Streamlit's light and dark themes, and its keys."""

STYLE = """
<style>
  .stMainBlockContainer { padding: 4rem clamp(1rem, 3vw, 2.5rem) 3rem; }
  .stMainBlockContainer h1 { font-size: 1.9rem; padding: 0.5rem 0; }

  .stMainBlockContainer :is(h2, h3) { font-size: 1.2rem; padding: 0.4rem 0 0.3rem; }

  /* Text from a library keeps its own line breaks and never widens the page. */
  [data-testid="stText"] { white-space: pre-wrap; overflow-wrap: anywhere; }

  [class*="st-key-grid"] {
    display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 1rem;
    align-items: start;
  }

  /* A card is the picture with its words; the button lies invisibly over the picture. */
  [class*="st-key-card-"] { position: relative; gap: 0.25rem; }
  /* Whole pictures in frames of one shape: a crop would hide what was searched for. */
  [class*="st-key-card-"] [data-testid="stImage"] img {
    aspect-ratio: 5 / 4; width: 100%; height: auto; object-fit: contain;
    border-radius: 0.5rem; background: rgba(128, 128, 128, 0.15);
  }
  [class*="st-key-card-"] [data-testid="stImage"],
  [class*="st-key-card-"] [data-testid="stImageContainer"] { width: 100%; }
  [class*="st-key-open-"] { position: absolute; inset: 0 0 auto 0; z-index: 1; width: 100%; }
  [class*="st-key-open-"] button {
    aspect-ratio: 5 / 4; width: 100%; border-radius: 0.5rem; border: 0;
    background: transparent; color: transparent; cursor: zoom-in;
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
    background: Canvas; box-shadow: 0 2px 12px rgba(0, 0, 0, 0.25); padding: 0.4rem 0.75rem;
  }
  @media (max-width: 640px) {  /* one row that is pushed aside, not a third of the window */
    .st-key-selection { flex-wrap: nowrap; overflow-x: auto; }
    .st-key-selection > * { flex-shrink: 0; }
  }

  .log-out { text-align: right; font-size: 0.9rem; }

  /* The checkbox that selects a picture, in its corner, legible on every picture. */
  [class*="st-key-tick-"] {
    position: absolute; top: 0.35rem; left: 0.35rem; z-index: 2; width: auto;
    background: rgba(255, 255, 255, 0.85); border-radius: 0.35rem; padding: 0.15rem 0.2rem;
  }
  [class*="st-key-tick-"] label { min-height: 1.5rem; padding: 0.1rem; }
  [class*="st-key-tick-"] [data-testid="stWidgetLabel"] { display: none; }

  [class*="st-key-small-"] [data-testid="stText"] span,
  [class*="st-key-card-"] .stElementContainer:has([data-testid="stText"]) ~ .stElementContainer
    [data-testid="stText"] span {
    font-size: 0.8rem; line-height: 1.3; opacity: 0.8;
  }

  /* The theme's colour is dark enough under white text, but too pale for text itself. */
  [data-testid="stSliderThumbValue"], [data-testid="stSliderThumbValue"] p { color: inherit; }
  button[role="radio"][aria-checked="true"] { color: inherit !important; font-weight: 600; }

  /* The original no higher than leaves its description in sight. */
  .st-key-original [data-testid="stImage"] img { max-height: 64vh; object-fit: contain; }
</style>
"""

# '/' goes to the search box, arrows go from picture to picture, Enter opens one since it is a
# button. A pasted picture goes to the upload field. Installed once in the window, whatever is drawn
# afterwards.
KEYS = """
<script>
(() => {
  if (window.scenesearchKeys) return;
  window.scenesearchKeys = true;
  const typing = (element) => element && (
    element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !typing(event.target)) {
      const box = document.querySelector('.st-key-q input, .st-key-mixed input');
      if (box) { box.focus(); box.select(); event.preventDefault(); }
      return;
    }
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 0, ArrowUp: 0 }[event.key];
    const card = event.target.closest && event.target.closest('[class*="st-key-open-"]');
    if (step === undefined || !card) return;
    const cards = [...document.querySelectorAll('[class*="st-key-open-"] button')];
    const here = cards.findIndex((button) => card.contains(button));
    let next = here + step;
    if (step === 0) {
      const box = cards[here].getBoundingClientRect();
      const way = event.key === "ArrowDown" ? 1 : -1;
      next = here;
      for (let at = here + way; at >= 0 && at < cards.length; at += way) {
        const other = cards[at].getBoundingClientRect();
        if (Math.abs(other.left - box.left) < box.width / 2 && other.top !== box.top) {
          next = at; break;
        }
      }
    }
    if (cards[next]) { cards[next].focus(); event.preventDefault(); }
  });
  // A chart's own alt text says what it shows; its unnamed marks would be read out too.
  new MutationObserver(() => document
    .querySelectorAll('svg.marks [role="graphics-symbol"]:not([aria-label])')
    .forEach((mark) => mark.removeAttribute("role"))
  ).observe(document.body, { childList: true, subtree: true });
  document.addEventListener("paste", (event) => {
    const box = document.querySelector('.st-key-picture input[type="file"]');
    const pasted = [...(event.clipboardData ? event.clipboardData.files : [])];
    const picture = pasted.find((file) => file.type.startsWith("image/"));
    if (!box || !picture) return;
    const carried = new DataTransfer();
    carried.items.add(picture);
    box.files = carried.files;
    box.dispatchEvent(new Event("change", { bubbles: true }));
    event.preventDefault();
  });
})();
</script>
"""

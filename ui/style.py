"""The page's own style sheet, on top of Streamlit's light and dark themes."""

STYLE = """
<style>
  .stMainBlockContainer { padding: 3rem clamp(1rem, 3vw, 2.5rem); }
  .stMainBlockContainer h1 { font-size: 1.9rem; padding: 0.5rem 0; }

  /* Text from a library keeps its own line breaks and never widens the page. */
  [data-testid="stText"] { white-space: pre-wrap; overflow-wrap: anywhere; }

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
  [class*="st-key-words-"] [data-testid="stText"] span {
    font-size: 0.9rem; line-height: 1.3;
    display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden;
  }

  [class*="st-key-small-"] [data-testid="stText"] span {
    font-size: 0.8rem; line-height: 1.3; opacity: 0.7;
  }

  /* The original as high as the window allows, so that its description is in sight. */
  .st-key-original [data-testid="stImage"] img { max-height: 72vh; object-fit: contain; }
</style>
"""

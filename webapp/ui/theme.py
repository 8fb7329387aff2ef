"""The page frame's looks: what the theme in .streamlit/config.toml cannot say. Editors bring their own style."""

from pathlib import Path

from streamlit import config

TITLE = "ControlNet Studio"
ICON = str(Path(__file__).with_name("icon.png"))


_GROUND = 'body, [data-testid="stApp"]'


def dressed(page: bytes) -> bytes:
    """Streamlit's page of HTML with our title and looks, so that nothing changes them once it is painted."""
    light, dark = (config.get_option(f"theme.{scheme}.backgroundColor") for scheme in ("light", "dark"))
    # Streamlit paints white, then its own dark, before it is told of our theme.
    ground = f"{_GROUND} {{ background: {light}; }} @media (prefers-color-scheme: dark) {{ {_GROUND} {{ background: {dark}; }} }}"
    head = f'<meta name="color-scheme" content="light dark"><title>{TITLE}</title>'
    titled = page.replace(b"<title>Streamlit</title>", head.encode())
    # At its end, after the styles that Streamlit makes while it runs: of two that weigh the same the last one counts.
    return titled.replace(b"</body>", f"<style>{ground}{CSS}</style></body>".encode())


def here(place: int) -> str:
    """Marks the fold of the bar that holds the present page, whose link lies hidden in it; `place` counts from 1.

    Where the bar has no room for that place, the one that holds what has none is marked.
    """
    item = f".rc-overflow-item:nth-child({place})"
    fold = f"{item} > [data-testid='stTopNavSection']"
    rest = f"nav:has(> {item}[aria-hidden='true']) > .rc-overflow-item-rest > button"
    return f"<style>{fold}, {rest} {{ {HERE} }}</style>"


HERE = "background: color-mix(in srgb, currentColor 9%, transparent); border-radius: 6px; font-weight: 600;"
EDITOR_HEIGHT, RESULT_HEIGHT = "var(--editor-height)", "var(--result-height)"
CSS = """
/* Editor and result fit the window: the whole sheet is seen without scrolling, and where the window is narrow nothing stands empty.
   Their places are kept free while they load. */
:root { --editor-height: clamp(480px, min(100dvh - 144px, 50vw + 340px), 1200px);
  --result-height: clamp(280px, min(100dvh - 420px, 37vw + 110px), 900px); }
@media (max-width: 640px) { :root { --editor-height: clamp(480px, 100dvh - 144px, 700px); } }
.st-key-compose { --result-height: clamp(280px, min(100dvh - 470px, 37vw + 110px), 900px); }
/* Open settings are seen with prompt, Generate and picture, which makes room: words to pick give way, and the rest scrolls. */
@media (min-width: 641px) {
  :is(:root, .st-key-compose):has([class*="-settings st-"] details[open]) {
    --result-height: clamp(168px, min(max(100dvh - 860px, min(260px, 100dvh - 600px)), 37vw + 110px), 900px);
    --result-margin: 8px; }
  [class*="-settings st-"] details[open] > [data-testid="stExpanderDetails"] {
    max-height: max(168px, 100dvh - var(--result-height) - 356px); overflow-y: auto; padding-top: .25rem; }
  [data-testid="stColumn"]:has([class*="-settings st-"] details[open]) [class*="-word st-"] { display: none; }
}
:is([class*="-editor st-"], [class*="-photo-view st-"]):not([class*="-pairs-"]) { min-height: var(--editor-height); }
[class*="-results st-"] { min-height: var(--result-height); }
/* One screen, no scroll at 1440x900: the editor gets the height that Streamlit's own padding would take. */
[data-testid="stMainBlockContainer"] { padding: 4.25rem 1.5rem 1rem; max-width: none; }
[data-testid="stHeader"] { height: 3.25rem; border-bottom: 1px solid var(--st-border-color, rgba(128,128,128,.2)); }
[data-testid="stVerticalBlock"] { gap: 0.75rem; }
[data-testid="stTopNavLink"] span, [data-testid="stTopNavSection"] span { font-size: 0.925rem; }
[data-testid="stDecoration"], footer { display: none; }
.stElementContainer:has(> .stHtml style) { display: none; }
/* A longer prompt is read whole; from some lines on it scrolls. */
[data-testid="stTextArea"] textarea { line-height: 1.4; field-sizing: content; height: auto; min-height: 4rem; max-height: 11rem; }
[data-testid="stTextAreaRootElement"] { height: auto !important; }
[data-testid="stHeading"] h3 { font-size: 1.15rem; padding: 0.25rem 0 0.4rem; }
/* Streamlit draws what follows a heading up to it, which suits a caption and no card. */
.stElementContainer:has(> [data-testid="stHeading"]) + [data-testid="stLayoutWrapper"] { margin-top: 1rem; }
/* Contrast of 4.5 : 1 where Streamlit's shades of a theme miss it. */
[data-testid="stCaptionContainer"] { color: inherit; opacity: .8; }
button[data-selected="true"] p { color: light-dark(color-mix(in srgb, currentColor 80%, #000), currentColor); }
button[kind^="primary"]:not(:disabled) :is(p, [data-testid="stIconMaterial"]) { color: light-dark(#fff, #17181c); }
/* The Jobs drawer stands in the bar, where the menu leaves it room, and takes no place on the page. */
[data-testid="stHeader"] { padding-right: 6.5rem; }
@media (max-width: 1000px) { [data-testid="stHeader"] { padding-right: 4rem; } }
.st-key-drawer { position: absolute; height: 0; }
[data-testid="stLayoutWrapper"]:has(> .st-key-drawer) { position: absolute; }
/* Compose: the row of the layer in the editor stands out; on narrow screens the layers lie above the editor. */
[class*="st-key-compose-layer-"] { padding: 2px 8px 2px 6px; border-radius: 8px; border: 1px solid transparent; }
[class*="st-key-compose-layer-"][class*="-on"] {
  background: var(--st-secondary-background-color); border-color: var(--st-border-color); }
[class*="st-key-compose-name-"] button > div { justify-content: flex-start; width: 100%; padding-left: 4px; }
[class*="st-key-icon-"] [data-testid="stMarkdownContainer"] {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.layer { display: block; width: 36px; height: 36px; border-radius: 6px; overflow: hidden; background: #000;
  border: 2px solid var(--tint); }
.layer img { width: 100%; height: 100%; object-fit: cover; display: block; }
.layer.faint, .seen .faint, img.faint { opacity: .4; }
/* A reference lies nowhere: it has no tint of a layer. */
.layer.reference { border-color: transparent; background: none; }
.layer.reference:empty { border: 1.5px dashed color-mix(in srgb, currentColor 45%, transparent); }
.seen { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; }
.seen figure { margin: 0; }
.seen figure > div { position: relative; background: #000; border-radius: 8px; overflow: hidden;
  border-bottom: 4px solid var(--tint); }
.seen img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: fill; }
/* Greyed, not blackened: the ground of most maps is black, and would not show where the mask ends. */
.seen img.veil { filter: invert(1); mix-blend-mode: screen; opacity: .45; }
.seen figcaption { margin-top: 6px; font-size: 14px; }
@media (max-width: 1180px) {
  .st-key-compose > * > [data-testid="stHorizontalBlock"], .st-key-compose > [data-testid="stHorizontalBlock"] {
    flex-wrap: wrap; }
  .st-key-compose [data-testid="stColumn"]:has(.st-key-compose-list) { flex: 1 1 100%; }
  .st-key-compose [data-testid="stColumn"]:has(.st-key-compose-list) > [data-testid="stVerticalBlock"] {
    flex-direction: row; gap: 32px; }
  /* Two layers a row: however many there are, the result stays where it is. */
  .st-key-compose-list { display: grid; grid-template-columns: 1fr 1fr; align-content: start; }
  .st-key-compose-list > :first-child { grid-column: 1 / -1; }
  .st-key-compose-properties { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 24px; align-items: center; }
  .st-key-compose-properties > :is(:first-child, :has([data-testid="stButtonGroup"])) { grid-column: 1 / -1; }
}
@media (max-width: 640px) {
  .st-key-compose [data-testid="stColumn"]:has(.st-key-compose-list) > [data-testid="stVerticalBlock"] {
    flex-direction: column; gap: 16px; }
  .st-key-compose-properties { grid-template-columns: 1fr; }
}
img.begin { display: block; max-width: 100%; max-height: 180px; border-radius: 6px; }
img.begin.square { width: 100%; aspect-ratio: 1; object-fit: cover; }
/* A reference as it is, and bright the square of it that an adapter sees. */
.looked { position: relative; overflow: hidden; margin: 0 auto; border-radius: 8px; }
.looked img { display: block; width: 100%; }
.looked i { position: absolute; inset: 0; margin: auto; max-width: 100%; max-height: 100%; border-radius: 4px;
  box-shadow: 0 0 0 4000px rgba(0, 0, 0, .55); outline: 1px solid rgba(255, 255, 255, .8); outline-offset: -1px; }
.looked.tall i { width: 100%; }
.looked.wide i { height: 100%; }
"""

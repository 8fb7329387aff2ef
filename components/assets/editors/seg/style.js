/** How the painter's palette looks; everything else is the shell's. */

export const SEG_STYLE = `
.studio.seg .paper > canvas { image-rendering: pixelated; }
.studio.seg .paper > img { z-index: 1; }
.studio.seg .paper > .regions { z-index: 2; }
.studio.seg .panel { width: 248px; display: flex; flex-direction: column; overflow: hidden; }
.swatch { display: inline-block; flex: none; width: 16px; height: 16px; border-radius: 4px; box-shadow: inset 0 0 0 1px rgb(0 0 0 / .18); }
.dark .swatch { box-shadow: inset 0 0 0 1px rgb(255 255 255 / .18); }

.now { display: flex; align-items: center; gap: 12px; padding: 12px 8px 8px 12px; min-height: 60px; flex: none; }
.now .pair { all: unset; position: relative; width: 40px; height: 40px; flex: none; cursor: pointer; border-radius: 8px; }
.now .pair:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.now .pair .swatch { position: absolute; width: 28px; height: 28px; border-radius: 8px; }
.now .pair .swatch:first-child { right: 0; bottom: 0; }
.now .pair .swatch:last-child { left: 0; top: 0; box-shadow: inset 0 0 0 1px rgb(0 0 0 / .18), 0 0 0 2px var(--surface); }
.now .words { flex: 1; min-width: 0; display: flex; flex-direction: column; }
.now .words b { font-weight: 600; font-size: 15px; line-height: 20px; }
.now .words span { font-size: 12px; line-height: 16px; color: var(--soft); }
.now .words > * { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.find { position: relative; padding: 0 12px 8px; flex: none; border-bottom: 1px solid var(--faint); }
.find input { width: 100%; height: 32px; padding: 0 8px 0 30px; border-radius: 8px; }
.find input::placeholder { color: var(--soft); opacity: 1; }
.find input::-webkit-search-cancel-button { filter: grayscale(1) opacity(.6); }
.find svg { position: absolute; left: 20px; top: 8px; color: var(--soft); pointer-events: none; }

.classes { flex: 1; min-height: 0; overflow: hidden auto; padding: 4px 8px 12px; scrollbar-width: thin;
  scrollbar-color: var(--faint) transparent; }
.classes section { margin-top: 8px; }
.studio.seg .classes h3 { margin: 0; padding: 4px; display: flex; justify-content: space-between;
  font: 600 12px/18px var(--st-font, system-ui, sans-serif); letter-spacing: 0; color: var(--soft); }
.classes h3 span { font-weight: 400; font-variant-numeric: tabular-nums; }
.mix { display: flex; height: 8px; border-radius: 4px; overflow: hidden; margin: 2px 4px 6px; gap: 1px; }
.mix span { min-width: 2px; flex-basis: 0; }
.row { position: relative; display: flex; align-items: center; border-radius: 6px; height: 28px; }
.row .class { all: unset; display: flex; align-items: center; gap: 10px; flex: 1; min-width: 0; height: 100%; padding: 0 4px;
  cursor: pointer; border-radius: 6px; }
.row .class:focus-visible { outline: 2px solid var(--accent) !important; outline-offset: -2px; }
.row:hover { background: var(--hover); }
.row:has([aria-pressed="true"].class) { background: var(--tint); }
.row .name { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; min-width: 0; flex: 1; }
.row .name i { font-style: normal; color: var(--soft); margin-left: 6px; }
.row .share { color: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.foreign { display: inline-block; width: 7px; height: 7px; border-radius: 50%; border: 1.5px solid #d97706; margin-left: 7px;
  vertical-align: middle; }
.known { display: inline-block; width: 6px; height: 6px; border-radius: 50%; background: var(--accent); margin-left: 7px;
  vertical-align: middle; }
.row .act { all: unset; display: none; place-items: center; width: 26px; height: 26px; flex: none; border-radius: 6px; cursor: pointer;
  color: var(--soft); }
.row .act:hover { color: var(--text); background: var(--hover); }
.row:is(:hover, :focus-within) .act, .row .act[aria-pressed="true"] { display: grid; }
.act[aria-pressed="true"] { color: var(--accent-text) !important; }
.act[aria-pressed="true"] svg path { fill: currentColor; }
.tiles { display: flex; flex-wrap: wrap; gap: 6px; padding: 2px 4px 0; }
.tiles button { all: unset; cursor: pointer; border-radius: 6px; line-height: 0; }
.tiles .swatch { width: 22px; height: 22px; border-radius: 6px; }
.tiles button[aria-pressed="true"] { box-shadow: 0 0 0 2px var(--surface), 0 0 0 4px var(--accent); }
.none { padding: 12px 4px; color: var(--soft); line-height: 1.5; }

.under { display: inline-flex; align-items: center; gap: 8px; flex: 1; min-width: 0; color: var(--text); overflow: hidden;
  white-space: nowrap; }
.under:empty, .under:not(:empty) + .hint { display: none; }
.under .swatch { width: 12px; height: 12px; border-radius: 3px; }
.layouts { display: grid; grid-template-columns: repeat(3, 112px); gap: 8px; padding: 4px 8px 8px; }
.layouts button { all: unset; cursor: pointer; border-radius: 8px; font-size: 12px; line-height: 16px; text-align: center; padding: 4px; }
.layouts button:hover { background: var(--hover); }
.layouts button:focus-visible { outline: 2px solid var(--accent); }
.layouts canvas { display: block; width: 104px; height: 78px; border-radius: 6px; margin-bottom: 4px; }

.studio.seg.narrow { grid: "top top" 44px "rail stage" minmax(0, 1fr) "panel panel" 224px "status status" 32px / 48px minmax(0, 1fr); }
.studio.seg.narrow:has(.panel[hidden]) { grid: "top top" 44px "rail stage" minmax(0, 1fr) "status status" 32px / 48px minmax(0, 1fr); }
.studio.seg.narrow .panel { width: auto; border-left: 0; border-top: 1px solid var(--faint); display: grid;
  grid: "now find" 56px "list list" minmax(0, 1fr) / minmax(176px, 1fr) minmax(0, 1.4fr); }
.studio.seg.narrow .now { padding: 8px 8px 8px 12px; border-bottom: 1px solid var(--faint); min-height: 0; }
.studio.seg.narrow .find { padding: 12px 12px 12px 0; }
.studio.seg.narrow .find svg { left: 8px; top: 20px; }
.studio.seg.narrow .classes { grid-area: list; }
.studio.seg.narrow .rows { display: grid; grid-template-columns: repeat(auto-fill, minmax(152px, 1fr)); gap: 0 8px; }
@media (pointer: coarse) { .row { height: 40px; } .row .act { display: grid; width: 36px; height: 36px; } .tiles .swatch { width: 32px;
  height: 32px; }
  .studio.seg.narrow { grid-template-columns: 56px minmax(0, 1fr); } }
`;

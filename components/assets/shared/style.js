/** How the shell looks. Colours follow Streamlit's theme variables; everything sits on a 4 and 8 px grid. */

export const STYLE = `
:host, .studio { color-scheme: inherit; }
.studio {
  --text: var(--st-text-color, #1d1e22);
  --ground: var(--st-background-color, #fff);
  --accent: var(--st-primary-color, #4f46e5); --on-accent: #fff;
  --soft: color-mix(in srgb, var(--text) 74%, var(--ground));
  --faint: color-mix(in srgb, var(--text) 10%, transparent);
  --hover: color-mix(in srgb, var(--text) 7%, transparent);
  --tint: color-mix(in srgb, var(--accent) 16%, transparent);
  --surface: var(--ground);
  --stage: color-mix(in srgb, #6b7280 11%, var(--ground));
  --paper: #fff;
  --shadow: 0 1px 2px rgb(0 0 0 / .08), 0 8px 24px rgb(0 0 0 / .10);
  position: relative; display: grid; box-sizing: border-box; overflow: hidden;
  grid: "top top top" 44px "rail stage panel" minmax(0, 1fr) "status status status" 32px / 48px minmax(0, 1fr) auto;
  border: 1px solid var(--faint); border-radius: 12px; background: var(--surface); color: var(--text);
  font: 400 13px/1.4 var(--st-font, system-ui, sans-serif); outline: none; user-select: none; -webkit-user-select: none;
}
.studio.dark { --stage: color-mix(in srgb, #000 28%, var(--ground)); --surface: color-mix(in srgb, #fff 3%, var(--ground));
  --shadow: 0 1px 2px rgb(0 0 0 / .4), 0 10px 32px rgb(0 0 0 / .45); --accent-text: color-mix(in srgb, var(--accent) 62%, #fff);
    --on-accent: #17181c; }
.studio:not(.dark) { --accent-text: color-mix(in srgb, var(--accent) 80%, #000); }
.studio *, .studio *::before { box-sizing: border-box; }
.studio:focus-visible { border-color: var(--accent); }
.studio [hidden] { display: none !important; }
.top, .status { display: flex; align-items: center; gap: 4px; padding: 0 8px; min-width: 0; }
.top { grid-area: top; border-bottom: 1px solid var(--faint); }
.rail { grid-area: rail; display: flex; flex-direction: column; align-items: center; gap: 4px; padding: 8px 0;
  border-right: 1px solid var(--faint); overflow: hidden auto; scrollbar-width: none; }
.panel { grid-area: panel; border-left: 1px solid var(--faint); overflow: auto; min-height: 0; }
.panel:empty { display: none; }
.status { grid-area: status; border-top: 1px solid var(--faint); font-size: 12px; color: var(--soft); gap: 8px; }
.actions, .zoom { display: flex; align-items: center; gap: 4px; flex: none; }
.options { display: flex; align-items: center; gap: 4px 16px; padding: 0 8px; min-width: 0; overflow: hidden; flex: 1; }
.separator { background: var(--faint); flex: none; }
.narrow .spare { display: none !important; }
.narrow .actions { gap: 0; }
.narrow .save[data-state=saved] { min-width: 0; font-size: 0; gap: 0; }
.narrow .options { gap: 4px; padding: 0; }
.narrow .options .slider > span { display: none; }
.narrow .options input[type=range] { width: 80px; }
.top .separator, .status .separator { width: 1px; height: 20px; margin: 0 4px; }
.rail .separator { width: 24px; height: 1px; margin: 4px 0; }
.hint { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; flex: 1; min-width: 0; }
.status > .hint { height: 18px; line-height: 18px; contain: strict; } /* its words change while one draws: nothing else is laid out */

button.tool, button.text, button.item { all: unset; box-sizing: border-box; cursor: pointer; color: var(--text);
  display: inline-flex; align-items: center; justify-content: center; border-radius: 8px; flex: none; font: inherit; }
button.tool { width: 32px; height: 32px; color: color-mix(in srgb, var(--text) 82%, transparent); }
button.text { height: 24px; padding: 0 8px; gap: 6px; border-radius: 6px; font-variant-numeric: tabular-nums; color: var(--soft); }
button.item { display: flex; width: 100%; justify-content: flex-start; gap: 10px; padding: 0 10px; height: 34px; border-radius: 6px; }
button.item > span:last-child { margin-left: auto; padding-left: 16px; color: var(--soft); }
:is(button.tool, button.text, button.item):hover { background: var(--hover); color: var(--text); }
:is(button.tool, button.text, button.item):active { background: var(--faint); }
:is(button.tool, button.text, button.item)[aria-pressed="true"] { background: var(--tint); color: var(--accent-text); }
:is(button.tool, button.text, button.item):disabled { opacity: .32; cursor: default; background: none; }
:is(button, input, select, a):focus-visible { outline: 2px solid var(--accent) !important; outline-offset: 1px; }
button.primary { background: var(--accent) !important; color: var(--on-accent) !important; }

.slider { display: inline-flex; align-items: center; gap: 8px; color: var(--soft); white-space: nowrap; }
.slider output { min-width: 34px; font-variant-numeric: tabular-nums; color: var(--text); }
input[type=range] { appearance: none; -webkit-appearance: none; width: 112px; height: 20px; margin: 0; background: none; cursor: pointer;
  border-radius: 4px; }
input[type=range]::-webkit-slider-runnable-track { height: 4px; border-radius: 2px;
  background: linear-gradient(to right, var(--accent) var(--fill, 50%), var(--faint) var(--fill, 50%)); }
input[type=range]::-webkit-slider-thumb { -webkit-appearance: none; width: 14px; height: 14px; margin-top: -5px; border-radius: 50%;
  background: #fff; border: 1px solid rgb(0 0 0 / .12); box-shadow: 0 1px 3px rgb(0 0 0 / .3); }
input[type=range]::-moz-range-track { height: 4px; border-radius: 2px; background: var(--faint); }
input[type=range]::-moz-range-progress { height: 4px; border-radius: 2px; background: var(--accent); }
input[type=range]::-moz-range-thumb { width: 13px; height: 13px; border: 1px solid rgb(0 0 0 / .12); border-radius: 50%; background: #fff; }
select, input[type=search], input[type=text], input[type=number] { font: inherit; color: var(--text); background: var(--hover);
  border: 1px solid transparent;
  border-radius: 6px; height: 28px; padding: 0 8px; }
select option { background: var(--ground); color: var(--text); }

.stage { grid-area: stage; position: relative; overflow: hidden; background: var(--stage); touch-action: none; cursor: crosshair; }
.paper { position: absolute; left: 0; top: 0; background: var(--paper); box-shadow: var(--shadow); transform-origin: 0 0;
  overflow: hidden; }
.studio:not([data-ready]) .paper, .studio:not([data-ready]) .status .zoom,
.studio:not([data-ready]) .nobody { visibility: hidden; } /* no sheet of one pixel, and no word of an empty one, while the drawing comes */
.paper > * { position: absolute; left: 0; top: 0; width: 100%; height: 100%; pointer-events: none; }
.paper > img { object-fit: contain; }
.paper.pixels > canvas { image-rendering: pixelated; }
.overlay { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }

.popover, .sheet { position: absolute; z-index: 5; background: var(--surface); border: 1px solid var(--faint); border-radius: 12px;
  box-shadow: var(--shadow); padding: 8px; color: var(--text); }
.popover { width: max-content; min-width: 192px; max-width: calc(100% - 16px); max-height: calc(100% - 16px); overflow: auto; }
.popover h3, .panel h3, .sheet h3 { margin: 4px 8px 6px; font-weight: 600; font-size: 12px; line-height: 1.4; font-family: inherit;
  letter-spacing: .02em; color: var(--soft); padding: 0; }
.popover .slider { padding: 4px 8px; }
.popover .told { margin: 0 8px 4px; max-width: 264px; font-size: 12px; color: var(--soft); }
.popover .rule { height: 1px; background: var(--faint); margin: 8px -8px; }
.sheet { inset: 0; margin: auto; width: min(720px, calc(100% - 32px)); height: fit-content; max-height: calc(100% - 32px); overflow: auto;
  padding: 20px 24px 24px; z-index: 8; }
.sheet header { display: flex; align-items: center; justify-content: space-between; margin-bottom: 8px; }
.sheet h2 { font-weight: 600; font-size: 16px; line-height: 1.3; font-family: inherit; margin: 0; padding: 0; }
.sheet:focus { outline: none; }
.sheet .columns { columns: 2 240px; column-gap: 40px; }
.sheet section { break-inside: avoid; margin-bottom: 16px; }
.sheet h3 { margin: 0 0 4px; }
.sheet dl { margin: 0; display: grid; grid-template-columns: 1fr auto; gap: 6px 16px; align-items: center; }
.sheet dd { margin: 0; text-align: right; white-space: nowrap; }
.sheet dd > span + span::before { content: "or"; color: var(--soft); margin: 0 2px 0 6px; }
.veil { position: absolute; inset: 0; background: rgb(0 0 0 / .28); z-index: 7; }
kbd { font: 500 11px/18px var(--st-font, system-ui, sans-serif); display: inline-block; min-width: 18px; padding: 0 5px; text-align: center;
  border-radius: 4px; background: var(--faint); color: inherit; margin-left: 3px; }
.tooltip { position: absolute; z-index: 9; pointer-events: none; background: #17181c; color: #f4f4f6; border-radius: 6px; padding: 4px 8px;
  font-size: 12px;
  white-space: nowrap; box-shadow: 0 2px 8px rgb(0 0 0 / .25); opacity: 0; transition: opacity .1s; }
.tooltip.shown { opacity: 1; }
.tooltip kbd { background: rgb(255 255 255 / .16); color: #fff; margin-left: 6px; }
.toasts { position: absolute; z-index: 6; left: 48px; right: 0; bottom: 48px; display: flex; flex-direction: column; align-items: center;
  gap: 8px; pointer-events: none; }
.toast { pointer-events: auto; display: flex; align-items: center; gap: 8px; background: #17181c; color: #f4f4f6; border-radius: 10px;
  padding: 8px 8px 8px 16px; min-height: 40px;
  box-shadow: var(--shadow); max-width: calc(100% - 32px); animation: rise .16s ease-out; }
.toast span { padding-right: 8px; }
.toast button.text { color: #fff; background: rgb(255 255 255 / .12); height: 28px; }
.toast button.text:hover { background: rgb(255 255 255 / .22); color: #fff; }
.drop { position: absolute; inset: 8px; z-index: 6; border: 2px dashed var(--accent); border-radius: 8px; background: var(--tint);
  display: grid; place-items: center;
  font-size: 15px; font-weight: 600; pointer-events: none; }
.save { display: inline-flex; align-items: center; gap: 6px; min-width: 64px; justify-content: flex-end; white-space: nowrap; }
.save::before { content: ""; width: 6px; height: 6px; border-radius: 50%; background: #22a06b; transition: background .2s; }
.save[data-state=saving]::before { background: var(--soft); }
.save[data-state=offline]::before, .save[data-state=conflict]::before { background: #d97706; }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@keyframes rise { from { opacity: 0; transform: translateY(8px); } }
@media (prefers-reduced-motion: reduce) { .toast { animation: none; } .tooltip { transition: none; } }
@media (pointer: coarse) { button.tool { width: 40px; height: 40px; } .studio { grid-template-columns: 56px minmax(0, 1fr) auto;
  grid-template-rows: 52px minmax(0, 1fr) 36px; } }
`;

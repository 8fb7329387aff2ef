/** How the result pane looks, beyond what it shares with the editors. */

export const RESULT_STYLE = `
.results { display: flex; flex-direction: column; container-type: size; }
.results .room { position: relative; flex: 1; min-height: 0; display: grid; place-items: center; padding: var(--result-margin, 24px);
  background: var(--stage); container-type: size; }
.results .frame { position: relative; width: min(100cqw, 100cqh * var(--ratio)); aspect-ratio: var(--ratio); border-radius: 4px;
  overflow: hidden;
  background: color-mix(in srgb, var(--surface) 72%, transparent); transition: background .2s; }
.results.dark .frame { background: color-mix(in srgb, #fff 5%, transparent); }
.results .frame img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.results:is([data-phase=done], [data-phase=idle]) .frame:has(.image:not([hidden])) { background: none; box-shadow: var(--shadow); }
.results .frame .control { pointer-events: none; object-fit: fill; } /* so the ControlNet gets it, too */
.results .words { position: absolute; inset: 0; display: flex; flex-direction: column; align-items: center; justify-content: center;
  gap: 6px; text-align: center;
  padding: 24px; color: var(--soft); border: 1px dashed var(--faint); border-radius: 4px; }
.results .words:empty { display: none; }
.results .words svg { opacity: .55; margin-bottom: 6px; }
.results .words strong { font-weight: 600; font-size: 15px; color: var(--text); text-wrap: balance; }
.results .words span { max-width: 34ch; text-wrap: balance; }
@container (max-height: 240px) { .results .words { padding: 8px; } .results .words svg { display: none; } }
/* Where the place is too small for its words they have the whole width. */
@container (max-height: 160px) { .results .frame:has(.words:not(:empty)) { position: static; background: none; } }
.results[data-phase=failed] .words svg { color: #d97706; opacity: 1; }
.results[data-phase=waiting] .frame::after { content: ""; position: absolute; inset: 0;
  background: linear-gradient(100deg, transparent 35%, var(--hover) 50%, transparent 65%) 0 0 / 250% 100%;
    animation: sheen 2.2s linear infinite; }
.results .strip { display: none; gap: 8px; padding: 8px 16px; height: 72px; border-top: 1px solid var(--faint); overflow: auto hidden;
  flex: none; justify-content: safe center; }
.results .strip.shown, .results[data-images=several] .strip { display: flex; }
.results .strip button { all: unset; box-sizing: border-box; cursor: pointer; width: 56px; height: 56px; border-radius: 6px;
  overflow: hidden; flex: none; opacity: .72; }
.results .strip button:hover { opacity: 1; }
.results .strip button[aria-selected=true] { outline: 2px solid var(--accent); outline-offset: 2px; opacity: 1; }
.results .strip button:focus-visible { opacity: 1; }
.results .strip img { width: 100%; height: 100%; object-fit: cover; display: block; }
.results .progress { background: var(--faint); }
.results .foot { height: 44px; flex: none; display: flex; align-items: center; gap: 8px; padding: 0 8px 0 16px; color: var(--soft);
  font-size: 12px; }
.results .elapsed { font-variant-numeric: tabular-nums; min-width: 32px; text-align: right; }
.results .buttons { display: flex; gap: 4px; }
.results .stop { background: var(--hover); height: 28px; color: var(--text); }
.results .foot:has(.slider:not([hidden])) .hint { visibility: hidden; }
.results .foot input[type=range] { width: 88px; }
.results.away .foot .hint::after { content: " · connection lost, trying again"; }
@keyframes sheen { from { background-position: 140% 0; } to { background-position: -60% 0; } }
@container (max-width: 420px) { .results .fader span { display: none; } }
@media (prefers-reduced-motion: reduce) { .results[data-phase=waiting] .frame::after { animation: none; } }
`;

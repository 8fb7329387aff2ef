/** How the Models page looks: groups of rows on a calm ground, facts in one line, progress in the row itself. */

export const MODELS_STYLE = `
.models { display: block; border: 0; border-radius: 0; background: none; overflow: visible; user-select: text; -webkit-user-select: text;
  font-size: 14px; padding-bottom: 56px;
  --good: #1a7f4b; --warn: #9a5b00; --bad: #b3261e; }
.models.dark { background: none; --good: #5fcf95; --warn: #f0b35a; --bad: #ff8a80; }
.models :is(.head, .kinds, .add) { display: flex; align-items: center; gap: 8px; flex-wrap: wrap; }
.models .head { margin-bottom: 12px; }
.models .find { position: relative; flex: 1 1 260px; max-width: 420px; }
.models .find svg { position: absolute; left: 10px; top: 9px; color: var(--soft); pointer-events: none; }
.models :is(input[type=search], input[type=text], select) { height: 36px; border: 1px solid var(--faint); background: var(--surface);
  border-radius: 8px; padding: 0 10px; }
.models .find input[type=search] { width: 100%; padding-left: 34px; }
.models .room { margin-left: auto; color: var(--soft); font-size: 13px; display: flex; gap: 4px 12px; align-items: center;
  flex-wrap: wrap; }
.models .room code { font: 12px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.models button.push, .models button.quiet { all: unset; box-sizing: border-box; cursor: pointer; display: inline-flex; align-items: center;
  gap: 6px; height: 32px; padding: 0 12px; border-radius: 8px;
  font: 500 13px/1 var(--st-font, system-ui, sans-serif); white-space: nowrap; color: var(--text); }
.models button.push { border: 1px solid color-mix(in srgb, var(--text) 18%, transparent); background: var(--surface); }
.models button.push:hover { border-color: var(--accent); color: var(--accent-text); }
.models button.push.small { height: 24px; padding: 0 8px; font-size: 12px; margin-left: 4px; }
.models button.push.primary { border-color: transparent; color: #fff !important; background: var(--accent) !important; }
.models.dark button.push.primary { color: #22170f !important; }
.models button.quiet { color: var(--soft); padding: 0 8px; }
.models button.quiet:hover { background: var(--hover); color: var(--text); }
.models button:disabled { opacity: .4; cursor: default; }
.models .kinds { margin: 0 0 16px; gap: 4px; }
.models .kinds button { all: unset; cursor: pointer; height: 30px; padding: 0 12px; border-radius: 15px; font-size: 13px;
  color: var(--soft); line-height: 30px; }
.models .kinds button:hover { background: var(--hover); color: var(--text); }
.models .kinds button[aria-pressed=true] { background: var(--tint); color: var(--accent-text); font-weight: 600; }
.models .kinds .count { opacity: .75; font-variant-numeric: tabular-nums; margin-left: 6px; font-weight: 400; }
.models .add { padding: 12px 16px; border: 1px solid var(--faint); border-radius: 12px; background: var(--surface); margin-bottom: 16px; }
.models .add input { flex: 1 1 300px; }
.models .add p { flex: 1 0 100%; margin: 0; color: var(--soft); font-size: 13px; line-height: 1.5; overflow-wrap: anywhere; }
.models .add p.bad { color: var(--bad); }
.models section { margin-bottom: 24px; }
.models h2 { font: 600 15px/1.4 var(--st-font, system-ui, sans-serif); margin: 0 0 8px; padding: 0; display: flex; gap: 8px;
  align-items: baseline; }
.models h2 span { font-weight: 400; font-size: 13px; color: var(--soft); }
.models ul { list-style: none; margin: 0; padding: 0; border: 1px solid var(--faint); border-radius: 12px; background: var(--surface);
  overflow: hidden; }
.models li { position: relative; display: grid; grid-template-columns: 20px minmax(0, 1fr) auto; gap: 2px 12px; align-items: center;
  padding: 12px 16px; }
.models li + li { border-top: 1px solid var(--faint); }
.models ul.parts { border: 0; border-radius: 0; background: none; display: flex; flex-wrap: wrap; gap: 4px 6px; margin: 6px 0;
  overflow: visible; }
.models ul.parts li { display: inline-flex; gap: 6px; padding: 2px 9px; border: 1px solid var(--faint); border-radius: 10px;
  font-size: 12.5px; line-height: 18px; }
.models ul.parts li small { color: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.models ul.parts li.here { border-color: color-mix(in srgb, var(--good) 50%, transparent); color: var(--good); }
.models .mark { width: 10px; height: 10px; border-radius: 50%; border: 1.5px solid color-mix(in srgb, var(--text) 30%, transparent);
  justify-self: center; }
.models li.here .mark { background: var(--good); border-color: var(--good); }
.models li.troubled .mark { background: var(--warn); border-color: var(--warn); }
.models .name { display: flex; flex-wrap: wrap; gap: 2px 8px; align-items: center; font-weight: 600; overflow-wrap: anywhere; }
.models .badge { font-weight: 500; font-size: 11.5px; line-height: 18px; padding: 0 7px; border-radius: 9px; background: var(--faint);
  color: var(--soft); white-space: nowrap; }
.models .badge.use { background: color-mix(in srgb, var(--good) 16%, transparent); color: var(--good); }
.models .badge.limit { background: color-mix(in srgb, var(--warn) 16%, transparent); color: var(--warn); }
.models .facts { color: var(--soft); font-size: 13px; line-height: 1.5; overflow-wrap: anywhere; }
.models .facts b { font-weight: 500; color: var(--text); }
.models .predicts { display: inline-flex; align-items: center; gap: 6px; margin-top: 4px; }
.models .predicts select { height: 26px; padding: 0 6px; font-size: 13px; border-radius: 6px; }
.models .says { font-size: 13px; line-height: 1.5; margin: 2px 0 0; color: var(--soft); overflow-wrap: anywhere; }
.models .says.bad { color: var(--bad); }
.models .says.good { color: var(--good); }
.models .says.warn { color: var(--warn); }
.models .deeds { display: flex; gap: 4px; align-items: center; }
.models .bar { grid-column: 2 / 4; display: flex; align-items: center; gap: 12px; margin-top: 6px; color: var(--soft); font-size: 13px;
  font-variant-numeric: tabular-nums; }
.models .bar .track { flex: 1; height: 6px; border-radius: 3px; background: var(--faint); overflow: hidden; }
.models .bar .track i { display: block; height: 100%; border-radius: 3px; background: var(--accent); transform-origin: 0 0;
  transition: transform .4s linear; }
.models .bar .track.vague i { width: 30%; animation: models-pass 1.4s ease-in-out infinite; }
.models .bar.paused .track i { background: color-mix(in srgb, var(--text) 40%, transparent); }
.models .none { color: var(--soft); padding: 32px 0; text-align: center; }
.models .toasts { position: fixed; left: 0; right: 0; bottom: 24px; }
@keyframes models-pass { 0% { transform: translateX(-100%); } 100% { transform: translateX(340%); } }
@media (prefers-reduced-motion: reduce) { .models .bar .track.vague i { animation: none; } }
@container (max-width: 620px) { .models li { grid-template-columns: 20px minmax(0, 1fr); } .models .deeds { grid-column: 2; margin-top: 6px;
  flex-wrap: wrap; } .models .bar { grid-column: 2; } }
.models-box { container-type: inline-size; }
@media (pointer: coarse) { .models button.push, .models button.quiet { height: 40px; } }
`;

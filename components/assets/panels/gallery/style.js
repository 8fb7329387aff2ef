/** How the picture wall looks, beyond what it shares with the editors. */

export const WALL_STYLE = `
.wall { display: flex; flex-direction: column; height: calc(100dvh - 88px); min-height: 360px; background: none; border: 0;
  border-radius: 0; overflow: visible; }
.wall .tools { display: flex; align-items: center; gap: 8px; height: 48px; flex: none; padding: 0 4px 8px; }
.wall .tools input[type=search] { width: 280px; height: 36px; padding: 0 12px; border-radius: 8px; background: var(--surface);
  border: 1px solid var(--faint); min-width: 120px; }
.wall .tools select { height: 36px; border-radius: 8px; background: var(--surface); border: 1px solid var(--faint); padding: 0 8px;
  max-width: 190px; }
@media (max-width: 640px) { .wall .tools { flex-wrap: wrap; height: auto; } .wall .tools input[type=search] { flex: 1 1 100%; } }
.wall .shelves { display: flex; padding: 3px; border-radius: 8px; background: var(--hover); }
.wall .shelves button { all: unset; box-sizing: border-box; cursor: pointer; height: 30px; padding: 0 12px; border-radius: 6px;
  color: var(--soft); display: inline-flex; align-items: center; gap: 6px; }
.wall .shelves button[aria-pressed=true] { background: var(--surface); color: var(--text); box-shadow: 0 1px 2px rgb(0 0 0 / .12); }
.wall .count { color: var(--soft); margin-left: auto; white-space: nowrap; font-variant-numeric: tabular-nums; overflow: hidden;
  text-overflow: ellipsis; }
.wall .tools .text { height: 36px; padding: 0 12px; border-radius: 8px; color: var(--text); }
.wall .tools .text:not(.primary):hover { background: var(--hover); }
.wall .zoom { width: 88px; }
.wall .scroll { flex: 1; min-height: 0; overflow: hidden auto; position: relative; overscroll-behavior: contain; padding: 0 4px;
  scrollbar-gutter: stable; border-top: 1px solid var(--faint); }
.wall .stack { position: relative; }
.wall .line { position: absolute; left: 0; right: 0; }
.wall .day { display: flex; align-items: end; padding-bottom: 10px; font-weight: 600; color: var(--text); font-size: 14px; margin: 0; }
.wall .tile { position: absolute; top: 0; height: 100%; border-radius: 8px; overflow: hidden; background: var(--hover); }
.wall .tile > button.look { all: unset; display: block; width: 100%; height: 100%; cursor: zoom-in; }
.wall .tile img { width: 100%; height: 100%; object-fit: cover; display: block; }
.wall .tile .shade { position: absolute; inset: auto 0 0; padding: 24px 10px 8px; color: #fff; font-size: 12px; line-height: 1.35;
  opacity: 0; transition: opacity .12s; pointer-events: none;
  background: linear-gradient(transparent, rgb(0 0 0 / .74)); display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical;
    overflow: hidden; }
.wall .tile:is(:hover, :focus-within) .shade { opacity: 1; }
.wall .mark { all: unset; box-sizing: border-box; position: absolute; top: 6px; width: 28px; height: 28px; display: grid;
  place-items: center; border-radius: 50%; cursor: pointer;
  color: #fff; background: rgb(20 21 24 / .5); opacity: 0; transition: opacity .12s; }
.wall .mark:hover { background: rgb(20 21 24 / .78); }
.wall .mark.pick { left: 6px; }
.wall .mark.star { right: 6px; }
.wall .tile:is(:hover, :focus-within) .mark, .wall .mark[aria-pressed=true], .wall.picking .mark.pick { opacity: 1; }
.wall .mark.pick[aria-pressed=true] { background: var(--accent); }
.wall .mark.star[aria-pressed=true] { color: #ffd25e; }
.wall .mark.star[aria-pressed=true] svg { fill: currentColor; }
.wall .tile.picked { outline: 3px solid var(--accent); outline-offset: -3px; }
.wall .tile.picked img { transform: scale(.94); border-radius: 6px; }
.wall .tile:focus-within { box-shadow: 0 0 0 2px var(--ground), 0 0 0 4px var(--accent); }
.wall .tile:focus-within:not(:has(:focus-visible)) { box-shadow: none; }
.wall .none { display: grid; place-content: center; justify-items: center; gap: 8px; text-align: center; height: 100%; color: var(--soft); }
.wall .none strong { color: var(--text); font-size: 16px; }
.wall .none svg { opacity: .55; }
.wall .none span { max-width: 44ch; text-wrap: balance; }
.wall .note { position: absolute; left: 50%; bottom: 20px; translate: -50%; z-index: 8; display: flex; align-items: center; gap: 12px;
  padding: 10px 12px 10px 16px; border-radius: 10px;
  background: #22252b; color: #fff; box-shadow: var(--shadow); max-width: 90%; }
.wall .note button { all: unset; cursor: pointer; font-weight: 600; padding: 4px 8px; border-radius: 6px; color: #ffb596;
  white-space: nowrap; }
.wall .note button:hover { background: rgb(255 255 255 / .12); }
@media (pointer: coarse) { .wall .mark { opacity: .9; width: 36px; height: 36px; } }
@media (max-width: 1100px) { .wall .zoom { display: none; } .wall .tools input[type=search] { width: 200px; flex: 1; } }
`;

export const LARGE_STYLE = `
dialog.large { position: fixed; inset: 0; width: 100vw; height: 100dvh; max-width: none; max-height: none; margin: 0; border: 0; padding: 0;
  border-radius: 0; outline: none;
  grid: "stage panel" minmax(0, 1fr) / minmax(0, 1fr) 376px; background: #121316; color: var(--text); }
dialog.large:not([open]) { display: none; }
dialog.large .room { --behind: #121316; grid-area: stage; position: relative; display: grid; place-items: center; padding: 56px 72px;
  container-type: size; overflow: hidden; }
dialog.large .frame { position: relative; aspect-ratio: var(--ratio); width: min(100cqw - 144px, (100cqh - 112px) * var(--ratio)); }
dialog.large .frame > img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; border-radius: 4px; }
dialog.large .room > .step { all: unset; position: absolute; top: 50%; translate: 0 -50%; width: 48px; height: 48px; display: grid;
  place-items: center; border-radius: 50%; cursor: pointer; color: #fff; background: rgb(255 255 255 / .1); }
dialog.large .room > .step:hover { background: rgb(255 255 255 / .2); }
dialog.large .room > .step:disabled { opacity: .25; cursor: default; }
dialog.large .step.back { left: 12px; rotate: 90deg; }
dialog.large .step.on { right: 12px; rotate: -90deg; }
dialog.large .place { position: absolute; top: 18px; left: 20px; color: rgb(255 255 255 / .75); font-variant-numeric: tabular-nums; }
dialog.large .panel { grid-area: panel; background: var(--ground); border: 0; display: flex; flex-direction: column; min-height: 0;
  overflow: hidden; }
dialog.large .head { display: flex; align-items: center; gap: 4px; padding: 8px 8px 8px 20px; border-bottom: 1px solid var(--faint);
  flex: none; }
dialog.large .head h2 { font-size: 15px; margin: 0; font-weight: 600; flex: 1; }
dialog.large .head [aria-pressed=true] svg { fill: currentColor; }
dialog.large .words:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
dialog.large .words { overflow: auto; flex: 1; padding: 16px 20px; user-select: text; -webkit-user-select: text; }
dialog.large .prompt { font-size: 15px; line-height: 1.45; margin: 0 0 16px; white-space: pre-wrap; overflow-wrap: anywhere; }
dialog.large dl { display: grid; grid-template-columns: 112px minmax(0, 1fr); gap: 8px 12px; margin: 0; }
dialog.large dt { color: var(--soft); }
dialog.large dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; white-space: pre-wrap; }
dialog.large .controls { display: flex; gap: 8px; margin: 20px 0 0; flex-wrap: wrap; }
dialog.large .controls button { all: unset; box-sizing: border-box; cursor: pointer; width: 76px; border-radius: 6px; color: var(--soft);
  font-size: 12px; text-align: center; }
dialog.large .controls img { width: 76px; height: 76px; object-fit: cover; border-radius: 6px; display: block; margin-bottom: 4px;
  background: #000; }
dialog.large .controls button[aria-pressed=true] img { outline: 2px solid var(--accent); outline-offset: 2px; }
dialog.large .controls .slider { width: 100%; }
dialog.large .controls .slider input { flex: 1; }
dialog.large .acts { flex: none; padding: 12px 20px 20px; display: grid; grid-template-columns: 1fr 1fr; gap: 8px;
  border-top: 1px solid var(--faint); }
dialog.large .acts button { height: 38px; border-radius: 8px; background: var(--hover); color: var(--text); justify-content: center;
  gap: 8px; padding: 0 8px; }
dialog.large .acts button:hover { background: var(--faint); }
dialog.large .acts .primary { grid-column: 1 / -1; }
dialog.large .acts [aria-pressed=true] { background: var(--tint); color: var(--accent-text); }
@media (max-width: 1000px) and (orientation: portrait) { dialog.large { grid: "stage" minmax(0, 1fr) "panel" minmax(0, 46%) / 1fr; }
  dialog.large .room { padding: 40px 64px; }
  dialog.large .frame { width: min(100cqw - 128px, (100cqh - 80px) * var(--ratio)); }
    dialog.large .acts { grid-template-columns: repeat(4, 1fr); } }
@media (max-width: 1000px) and (orientation: landscape) { dialog.large { grid-template-columns: minmax(0, 1fr) 300px; } }
`;

/** How the photo view looks, beyond what it shares with the editors. */

import { PROGRESS_STYLE } from "../../shared/following.js";

export const PHOTO_STYLE = PROGRESS_STYLE + `
.studio.photo { grid: "top top" 44px "stage panel" minmax(0, 1fr) "bar bar" 2px "status status" 32px / minmax(0, 1fr) auto; }
.photo .stage { display: grid; place-items: center; padding: 24px; container-type: size; touch-action: auto; cursor: default; }
.photo .frame { position: relative; width: min(100cqw, 100cqh * var(--ratio)); aspect-ratio: var(--ratio); border-radius: 4px;
  overflow: hidden;
  background: #000; box-shadow: var(--shadow); }
.photo .frame.empty { background: none; box-shadow: none; }
.photo .frame img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: fill; user-select: none; -webkit-user-drag: none; }
.photo .frame .map { clip-path: inset(0 0 0 var(--at)); }
.photo .frame.alone .map { clip-path: none; }
.photo .frame.alone .divider, .photo .frame.alone .side { display: none; }
.photo .frame.late .map { opacity: .35; transition: opacity .2s; }
.photo .divider { position: absolute; inset: 0 auto 0 var(--at); width: 44px; margin-left: -22px; cursor: ew-resize; touch-action: none;
  outline: none; }
.photo .divider::before { content: ""; position: absolute; inset: 0 21px; background: #fff; box-shadow: 0 0 0 1px rgb(0 0 0 / .25); }
.photo .divider::after { content: "‹ ›"; position: absolute; left: 6px; top: calc(50% - 16px); width: 32px; height: 32px;
  border-radius: 50%; background: #fff; color: #1d1e22;
  display: grid; place-items: center; font: 600 15px/1 system-ui, sans-serif; box-shadow: 0 1px 4px rgb(0 0 0 / .4); }
.photo .divider:focus-visible::after { box-shadow: 0 0 0 3px var(--accent); }
.photo .side { position: absolute; bottom: 10px; padding: 2px 8px; border-radius: 6px; background: rgb(0 0 0 / .55); color: #fff;
  font-size: 12px; pointer-events: none; }
.photo .side.left { left: 10px; }
.photo .side.right { right: 10px; }
.photo .invite { position: absolute; inset: auto 16px 16px; display: flex; flex-direction: column; align-items: center; gap: 10px;
  padding: 20px 24px; border-radius: 12px; text-align: center;
  background: var(--surface); border: 1px solid var(--faint); box-shadow: var(--shadow); margin-inline: auto; max-width: 440px; }
.photo .frame.empty + .invite { inset: 0; margin: auto; height: fit-content; }
.photo .invite svg { color: var(--soft); }
.photo .frame:not(.empty) + .invite > svg { display: none; }
.photo .invite strong { font-weight: 600; font-size: 15px; }
.photo .invite span { color: var(--soft); text-wrap: balance; }
.photo .invite .row { display: flex; gap: 8px; flex-wrap: wrap; justify-content: center; }
.photo button.text.primary { height: 32px; padding: 0 14px; border-radius: 8px; font-weight: 600; }
.photo button.text.plain { height: 32px; padding: 0 12px; border-radius: 8px; background: var(--hover); color: var(--text); }
.photo .top .spring { flex: 1; }
.photo .top button.text { height: 32px; border-radius: 8px; color: var(--text); }
.photo .top select { max-width: 200px; }
.photo .panel { width: 248px; padding: 12px 16px 16px; display: flex; flex-direction: column; gap: 14px; }
.photo .panel p { margin: 0; color: var(--soft); font-size: 12px; }
.photo .panel .param { display: flex; flex-direction: column; gap: 2px; }
.photo .panel .slider { display: grid; grid-template-columns: 1fr auto; gap: 0 8px; white-space: normal; color: var(--text); }
.photo .panel .slider output { grid-area: 1 / 2; text-align: right; color: var(--soft); }
.photo .panel .slider input { grid-area: 2 / 1 / 3 / 3; width: 100%; }
.photo .panel .switch { display: flex; align-items: center; justify-content: space-between; gap: 8px; min-height: 28px; cursor: pointer; }
.photo .panel .switch input { accent-color: var(--accent); width: 16px; height: 16px; margin: 0; }
.photo .panel .choice { display: flex; align-items: center; justify-content: space-between; gap: 8px; }
.photo .panel .spring { flex: 1; }
.photo .panel .need { padding: 10px 12px; border-radius: 8px; background: var(--hover); font-size: 12px; color: var(--soft);
  display: flex; flex-direction: column; gap: 4px; overflow-wrap: anywhere; }
.photo .panel .need b { color: var(--text); font-weight: 600; }
.photo > .progress { grid-area: bar; }
.photo .elapsed { font-variant-numeric: tabular-nums; }
.photo .problem { position: absolute; inset: 0; margin: auto; height: fit-content; width: fit-content;
  max-width: min(440px, calc(100% - 32px)); z-index: 4; padding: 20px 24px; border-radius: 12px;
  background: var(--surface); border: 1px solid var(--faint); box-shadow: var(--shadow); text-align: center; display: flex;
  flex-direction: column; gap: 8px; align-items: center; }
.photo .problem svg { color: #d97706; }
.photo .problem strong { font-weight: 600; text-wrap: balance; }
.photo .problem span { color: var(--soft); text-wrap: balance; overflow-wrap: anywhere; }
.photo .problem .row { display: flex; gap: 8px; margin-top: 8px; flex-wrap: wrap; justify-content: center; }
.photo .gallery { display: grid; grid-template-columns: repeat(4, 72px); gap: 8px; padding: 4px; }
.photo .invite .gallery { grid-template-columns: repeat(auto-fit, 56px); justify-content: center; width: 100%; padding: 0; }
.photo .invite .gallery button { width: 56px; height: 56px; }
.photo .invite .or { font-size: 12px; }
.photo .gallery button:hover img { filter: brightness(1.08); }
.gallery button { all: unset; cursor: pointer; width: 72px; height: 72px; border-radius: 6px; overflow: hidden; }
.gallery button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.photo .gallery img { position: static; width: 100%; height: 100%; object-fit: cover; display: block; }
@container (max-width: 360px) { .photo .side { display: none; } }
@container (max-height: 360px) { .photo .stage > .invite > :is(.or, .gallery) { display: none; } }
@media (max-width: 1100px) {
  .studio.photo { grid: "top" auto "stage" minmax(0, 1fr) "panel" auto "bar" 2px "status" 32px / minmax(0, 1fr); }
  .photo .top { flex-wrap: wrap; min-height: 44px; padding: 4px 8px; }
  .photo .panel { width: auto; max-height: 240px; padding: 12px 16px; flex-flow: row wrap; align-items: flex-start; gap: 8px 24px;
    border-left: none; border-top: 1px solid var(--faint); }
  .photo .panel > p { width: 100%; }
  .photo .panel .param { flex: 1 1 160px; }
  .photo .panel .spring { display: none; }
}
`;

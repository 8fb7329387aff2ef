/** How the sheet and the box of crayons look; everything else is the shell's. */

export const COLOUR_STYLE = `
.studio.colour .panel { width: 88px; display: flex; flex-direction: column; align-items: center; gap: 12px; padding: 12px 8px;
  overflow: hidden auto; scrollbar-width: none; }
.studio.colour .swatch { display: block; width: 28px; height: 28px; border-radius: 50%; box-shadow: inset 0 0 0 1px rgb(0 0 0 / .14); }
.studio.colour.dark .swatch { box-shadow: inset 0 0 0 1px rgb(255 255 255 / .22); }
.studio.colour .swatch.none { background: linear-gradient(to bottom right, transparent calc(50% - 1px), #d64545 calc(50% - 1px),
  #d64545 calc(50% + 1px), transparent calc(50% + 1px)), #fff !important; }
.studio.colour .pair { all: unset; position: relative; width: 52px; height: 52px; flex: none; cursor: pointer; border-radius: 12px; }
.studio.colour .pair:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.studio.colour .pair .swatch { position: absolute; }
.studio.colour .pair .swatch:first-child { right: 0; bottom: 0; width: 26px; height: 26px; }
.studio.colour .pair .swatch:last-child { left: 0; top: 0; width: 38px; height: 38px;
  box-shadow: inset 0 0 0 1px rgb(0 0 0 / .14), 0 0 0 3px var(--surface); }
.crayons { display: grid; grid-template-columns: 32px 32px; gap: 4px; justify-items: center; }
.crayons .one, .crayons .any { all: unset; display: grid; place-items: center; width: 32px; height: 32px; cursor: pointer;
  border-radius: 50%; }
.crayons .one:focus-visible { outline: 2px solid var(--accent) !important; outline-offset: 1px; }
.crayons .one:hover .swatch, .crayons .any:hover input { transform: scale(1.08); }
.crayons .one[aria-pressed="true"] .swatch { box-shadow: 0 0 0 2px var(--surface), 0 0 0 4px var(--accent); transform: scale(.86); }
.crayons .swatch, .crayons .any input { transition: transform .12s; }
.crayons .any input { all: unset; width: 28px; height: 28px; border-radius: 50%; cursor: pointer;
  background: conic-gradient(from 30deg, #ce423a, #f0c246, #4a925c, #3e70b8, #865ca4, #ce423a); }
.crayons .any input::-webkit-color-swatch-wrapper { padding: 7px; }
.crayons .any input::-webkit-color-swatch { border: 2px solid #fff; border-radius: 50%; }
.crayons .any input::-moz-color-swatch { border: 2px solid #fff; border-radius: 50%; }
.crayons.recent { border-top: 1px solid var(--faint); padding-top: 12px; }
.crayons.recent .swatch { width: 22px; height: 22px; }

.studio.colour.narrow { grid: "top top" 44px "rail stage" minmax(0, 1fr) "panel panel" 56px "status status" 32px / 48px minmax(0, 1fr); }
.studio.colour.narrow .panel { width: auto; flex-direction: row; border-left: 0; border-top: 1px solid var(--faint); padding: 0 12px;
  gap: 8px; overflow: auto hidden; }
.studio.colour.narrow .pair { width: 40px; height: 40px; }
.studio.colour.narrow .pair .swatch:first-child { width: 20px; height: 20px; }
.studio.colour.narrow .pair .swatch:last-child { width: 30px; height: 30px; }
.studio.colour.narrow .crayons { display: flex; gap: 0; flex: none; }
.studio.colour.narrow .crayons.recent { border-top: 0; border-left: 1px solid var(--faint); padding: 0 0 0 8px; }
@media (prefers-reduced-motion: reduce) { .crayons .swatch, .crayons .any input { transition: none; } }
@media (pointer: coarse) { .studio.colour .panel { width: 104px; } .crayons { grid-template-columns: 40px 40px; }
  .crayons .one, .crayons .any { width: 40px; height: 40px; }
  .studio.colour.narrow .panel { width: auto; } .studio.colour.narrow { grid-template-columns: 56px minmax(0, 1fr); } }
`;

/** How the Jobs drawer looks, beyond what it shares with the editors. */

export const DRAWER_STYLE = `
.drawer { display: block; position: fixed; top: 12px; right: 16px; z-index: 1000000; border: 0; background: none; overflow: visible; }
.drawer .opener { all: unset; box-sizing: border-box; cursor: pointer; height: 32px; padding: 0 10px; border-radius: 8px;
  display: inline-flex; align-items: center; gap: 6px; color: var(--text); font-size: 0.925rem; }
.drawer .opener:hover { background: var(--hover); }
.drawer .opener.busy svg { animation: breathe 1.6s ease-in-out infinite; }
.drawer .badge { min-width: 18px; height: 18px; padding: 0 5px; border-radius: 9px; background: var(--accent); color: #fff; font-size: 11px;
  font-weight: 600; display: grid; place-items: center; }
.drawer.dark .badge { color: #17181c; }
.drawer dialog { color: var(--text); background: var(--ground); border: 0; padding: 0; }
.drawer dialog.jobs { position: fixed; inset: 0 0 0 auto; margin: 0; width: min(420px, 100vw); height: 100dvh; max-height: none;
  max-width: none; border-left: 1px solid var(--faint); box-shadow: var(--shadow); }
.drawer dialog.jobs[open] { display: flex; flex-direction: column; animation: slide .16s ease-out; }
.drawer dialog::backdrop { background: rgb(10 11 13 / .28); }
.drawer .head { display: flex; align-items: center; padding: 10px 10px 10px 20px; border-bottom: 1px solid var(--faint); flex: none; }
.drawer .head h2 { flex: 1; font-size: 16px; margin: 0; font-weight: 600; }
.drawer .list { overflow: auto; flex: 1; padding: 4px 12px 24px 20px; }
.drawer h3 { font-size: 12px; font-weight: 600; color: var(--soft); margin: 16px 0 4px; }
.drawer .job { display: flex; align-items: center; gap: 12px; padding: 8px 0; border-bottom: 1px solid var(--faint); min-height: 72px; }
.drawer .job .place { width: 56px; height: 56px; flex: none; border-radius: 8px; background: var(--hover); display: grid;
  place-items: center; overflow: hidden; color: var(--soft); }
.drawer .job.failed .place { color: #d97706; }
.drawer .thumb { width: 56px; height: 56px; object-fit: cover; display: block; }
.drawer .about { flex: 1; min-width: 0; display: flex; flex-direction: column; gap: 4px; }
.drawer .title { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: 14px; }
.drawer .state { color: var(--soft); overflow-wrap: anywhere; font-variant-numeric: tabular-nums; user-select: text;
  -webkit-user-select: text; }
.drawer code { font-size: 11px; color: var(--soft); user-select: all; -webkit-user-select: all; }
.drawer .bar { height: 3px; border-radius: 2px; background: var(--faint); overflow: hidden; }
.drawer .bar i { display: block; height: 100%; width: 0; background: var(--accent); transition: width .18s ease-out; }
.drawer .job .text { background: var(--hover); height: 30px; padding: 0 12px; border-radius: 8px; color: var(--text); flex: none; }
.drawer .job .text:hover { background: var(--faint); }
.drawer .devices { list-style: none; margin: 0; padding: 0; font-size: 14px; }
.drawer .devices li { display: flex; justify-content: space-between; gap: 16px; padding: 6px 0; }
.drawer .devices .state { text-align: right; }
.drawer .devices .busy .state { color: var(--text); }
.drawer .devices .gone .state, .drawer .devices .broken .state { color: #d97706; }
.drawer .empty { display: grid; justify-items: center; gap: 6px; text-align: center; color: var(--soft); padding: 96px 24px; margin: 0; }
.drawer .empty strong { color: var(--text); font-size: 15px; }
.drawer .empty svg { opacity: .5; }
.drawer dialog.question { border-radius: 12px; box-shadow: var(--shadow); max-width: 460px; margin: auto; }
.drawer dialog.question[open] { display: flex; gap: 20px; padding: 20px; align-items: center; }
.drawer .question img { width: 128px; height: 128px; object-fit: cover; border-radius: 8px; flex: none; }
.drawer .question strong { font-size: 15px; }
.drawer .question p { margin: 4px 0 16px; color: var(--soft); }
.drawer .answers { display: flex; gap: 8px; flex-wrap: wrap; }
.drawer .answers button { height: 36px; padding: 0 14px; border-radius: 8px; background: var(--hover); color: var(--text); }
@keyframes slide { from { translate: 24px 0; opacity: 0; } }
@keyframes breathe { 50% { opacity: .4; } }
@media (max-width: 1000px) { .drawer .opener { font-size: 0; gap: 4px; } }
@media (prefers-reduced-motion: reduce) { .drawer dialog.jobs[open], .drawer .opener.busy svg { animation: none; } }
`;

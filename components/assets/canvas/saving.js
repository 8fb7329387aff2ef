/** A drawing's way to browser and server, and what people are asked when two drawings claim one place. See sync.js. */

import { decode, encode } from "./document.js";
import { KeptHistory } from "./kept-history.js";
import { Sync } from "./sync.js";

const WORDS = { saved: "saved", saving: "saving…", offline: "not saved: reconnecting", conflict: "not saved: choose" };

export class Saving {
  constructor(shell) {
    this.shell = shell;
    const { slot, upload_url: url, rev } = shell.props;
    this.sync = new Sync({
      slot, rev, url: new URL(url, document.baseURI).href,
      encode: () => encode(shell.editor.document()),
      store: shell.store,
      channel: globalThis.BroadcastChannel ? new BroadcastChannel("controlnet-studio") : null,
      onState: (state, reason) => this.#tell(state, reason),
      onConflict: (conflict) => this.ask(conflict),
      onOtherTab: (other) => this.#askOtherTab(other),
    });
    this.steps = new KeptHistory({ slot, store: shell.store, history: shell.history, document: () => shell.editor.document() });
    this.#retryWhenBack();
  }

  /** Show what is newest, the server's document (`bytes`) or the browser's own copy of it, with the history that led there. */
  async open(bytes) {
    const [begun, steps] = await Promise.all([this.sync.begin(), this.steps.read()]);
    const own = begun.bytes && (await decoded(begun.bytes));
    const restored = begun.source === "browser" ? own : null;
    const shown = this.shell.show(restored ?? (await decode(bytes)));
    if (shown) this.steps.restore(steps, this.shell.editor.document(), begun.source === "server" ? own : null);
    this.shell.refresh();
    if (restored) {
      this.shell.toast("Your drawing is back, as this browser kept it.");
      this.sync.changed();
    } else if (begun.source === "both") this.#offerUnsaved(begun.bytes);
  }

  close() {
    this.stopWatching?.abort();
    this.sync.close();
  }

  /** The server's drawing at `rev` in place of the present one, which undo brings back. */
  async adopt(rev, bytes) {
    const next = await decode(bytes);
    if (rev < this.sync.rev) return; // a newer one has come meanwhile
    if (!this.shell.replaceQuietly(next)) return;
    this.closeQuestion?.();
    this.other = null;
    await this.sync.adopt(rev, bytes);
  }

  /** A tab that comes back, or whose network does, saves at once what waits. */
  #retryWhenBack() {
    this.stopWatching = new AbortController();
    const { signal } = this.stopWatching;
    for (const type of ["online", "pageshow", "focus"]) addEventListener(type, () => this.sync.retry(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.sync.retry(), { signal });
  }

  #tell(state, reason) {
    this.shell.frame.tellSaved(state, reason ? "not saved" : WORDS[state]);
    if (reason && reason !== this.told) this.shell.toast(`Not saved: ${reason}`);
    this.told = reason;
  }

  /** The server holds another drawing at `rev`: people choose. */
  ask({ rev }) {
    this.closeQuestion?.();
    this.closeQuestion = this.shell.toast("A newer drawing was saved elsewhere.", [
      ["Keep this one", () => this.sync.keepMine(rev)],
      ["Show the other", () => this.#showTheirs()],
    ]);
  }

  async #showTheirs() {
    try {
      const { rev, bytes } = await this.sync.theirs();
      await this.adopt(rev, bytes);
      this.shell.toast("This is the other drawing. Undo brings yours back.");
    } catch {
      this.shell.toast("The other drawing could not be fetched.", [["Try again", () => this.#showTheirs()]]);
    }
  }

  #askOtherTab(other) {
    if (other.rev <= this.sync.rev) return; // it is shown here already
    const asked = this.other;
    this.other = other;
    if (asked || this.sync.state === "conflict") return;
    this.closeQuestion = this.shell.toast("This drawing was changed in another tab.", [
      ["Keep this one", () => {}],
      ["Show the other", async () => {
        const { rev, bytes } = this.other;
        await this.adopt(rev, bytes);
      }],
    ]);
  }

  #offerUnsaved(bytes) {
    this.shell.toast("This browser holds a drawing that was never saved.", [
      ["Open it", async () => {
        const unsaved = await decoded(bytes);
        if (unsaved) this.shell.replace(unsaved);
      }],
      ["Leave it", () => {}],
    ]);
  }
}

function decoded(bytes) {
  return decode(bytes).catch(() => null);
}

/**
 * Keeping a drawing: in the browser with every stroke, on the server within a moment, never over somebody else's.
 *
 * The browser owns the live drawing. `rev` is the server's revision that it builds upon. A save is a PUT of the container
 * with that number as X-Rev; the server answers {rev} with the new one, or 409 {rev} when it holds another revision than
 * the one built upon. A server that knows less than we do (restarted without its files) is simply told again; one that
 * knows more means that another tab or device drew, and then people choose. No DOM: fetch, store and channel are given.
 */

const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 15_000;

export class Sync {
  /**
   * slot: name of the drawing; url: where it is PUT; encode(): resolves to the present container; store, channel:
   * see store.js and BroadcastChannel; onState("saved" | "saving" | "offline" | "conflict"), onConflict({rev}),
   * onOtherTab({rev, bytes}) whenever another tab of this browser saved the same slot.
   */
  constructor({ slot, url, rev, encode, store, channel = null, fetch = globalThis.fetch.bind(globalThis), ...events }) {
    Object.assign(this, { slot, url, rev, encode, store, channel, fetch });
    this.onState = events.onState ?? (() => {});
    this.onConflict = events.onConflict ?? (() => {});
    this.onOtherTab = events.onOtherTab ?? (() => {});
    this.wait = events.wait ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
    this.now = events.now ?? Date.now;
    this.version = 0; // counts changes in this tab
    this.savedVersion = 0; // the last one that the server has
    this.snapshot = null; // {version, bytes: promise of the container}
    this.state = "saved";
    this.pushing = null;
    this.keeping = Promise.resolve(); // writes to the store, one after the other
    this.nudge = () => {};
    this.closed = false;
    if (channel) channel.onmessage = ({ data }) => this.#heard(data);
  }

  /** Whether the server lacks something drawn here. */
  get dirty() {
    return this.savedVersion < this.version;
  }

  /**
   * What to open, given what the server sent: {source: "server"}, {source: "browser", bytes} when the browser's copy
   * is ahead of the server, or {source: "both", bytes} when each has something that the other lacks.
   */
  async begin() {
    const local = await this.store.get(this.slot);
    if (!local?.bytes) return { source: "server" };
    if (local.rev > this.rev || (local.dirty && local.rev === this.rev)) {
      this.rev = local.rev; // what it builds upon; a server that really knows less will say so
      return { source: "browser", bytes: local.bytes, time: local.time };
    }
    return local.dirty ? { source: "both", bytes: local.bytes, time: local.time } : { source: "server" };
  }

  /** Where it is PUT from now on: a server that was started again gives another address. */
  moveTo(url) {
    if (url === this.url) return;
    this.url = url;
    this.nudge();
  }

  /** The drawing changed: save it here and there. Resolves when the server has it, or when that must wait. */
  changed() {
    this.version += 1;
    this.#keepLatest(this.version);
    this.nudge();
    return this.flush();
  }

  /** Resolves to true once the server has everything, to false when it cannot be reached or people must choose. */
  async flush() {
    if (!this.dirty && !this.pushing) return true;
    if (this.state === "conflict") return false; // people choose first
    this.pushing ??= this.#push().finally(() => (this.pushing = null));
    await this.pushing;
    return !this.dirty;
  }

  /** After a conflict: what is drawn here goes over what the server has at `rev`. */
  keepMine(rev) {
    this.rev = rev;
    this.#tell("saving");
    return this.changed();
  }

  /** The server's drawing: {rev, bytes}. */
  async theirs() {
    const response = await this.fetch(this.url, { cache: "no-store" });
    if (!response.ok) throw new Error(`The server answered ${response.status}.`);
    return { rev: Number(response.headers.get("X-Rev")), bytes: new Uint8Array(await response.arrayBuffer()) };
  }

  /** The drawing shown is now the server's at `rev`; nothing of ours is waiting. */
  async adopt(rev, bytes) {
    this.rev = rev;
    this.savedVersion = this.version;
    this.#tell("saved");
    await this.#keep({ version: this.version, bytes });
  }

  close() {
    this.closed = true;
    this.channel?.close?.();
  }

  async #push() {
    let delay = RETRY_FIRST_MS;
    let lostReply = false;
    while (this.dirty && !this.closed) {
      if (this.state !== "offline") this.#tell("saving");
      const { version, bytes: promised } = this.#snapshot();
      const bytes = await promised;
      const answer = await this.#put(bytes);
      if (answer.kind === "stored" || (answer.kind === "stale" && lostReply && (await this.#isOurs(answer.rev, bytes)))) {
        this.rev = answer.rev;
        this.savedVersion = version;
        this.channel?.postMessage({ slot: this.slot, rev: this.rev, bytes });
        await this.#keep({ version, bytes });
        [delay, lostReply] = [RETRY_FIRST_MS, false];
      } else if (answer.kind === "stale" && answer.rev < this.rev) {
        this.rev = answer.rev;
      } else if (answer.kind === "stale") {
        this.#tell("conflict");
        this.onConflict({ rev: answer.rev });
        return;
      } else {
        lostReply = true;
        this.#tell("offline");
        await Promise.race([this.wait(delay), new Promise((resolve) => (this.nudge = resolve))]);
        delay = Math.min(RETRY_LAST_MS, delay * 2);
      }
    }
    if (!this.dirty) this.#tell("saved");
  }

  /** The present version as a container, made once. */
  #snapshot() {
    if (this.snapshot?.version !== this.version) this.snapshot = { version: this.version, bytes: this.encode() };
    return this.snapshot;
  }

  /** The browser's own copy; when strokes come faster than they are packed and written, only the last counts. */
  #keepLatest(version) {
    this.keeping = this.keeping.then(() => (version < this.version ? null : this.#write(this.#snapshot())));
    return this.keeping;
  }

  #keep(snapshot) {
    this.keeping = this.keeping.then(() => this.#write(snapshot));
    return this.keeping;
  }

  async #write({ version, bytes }) {
    if (version < this.version) return;
    const record = { rev: this.rev, bytes: await bytes, dirty: version > this.savedVersion, time: this.now() };
    await this.store.put(this.slot, record);
  }

  async #put(bytes) {
    try {
      const response = await this.fetch(this.url, {
        method: "PUT", body: bytes, headers: { "X-Rev": String(this.rev), "Content-Type": "application/octet-stream" },
      });
      if (response.ok || response.status === 409) {
        const rev = Number((await response.json()).rev);
        if (Number.isInteger(rev)) return { kind: response.ok ? "stored" : "stale", rev };
      }
    } catch {
      // No connection, or a cut one: tried again below.
    }
    return { kind: "failed" };
  }

  /** Whether the server's newer revision is what we sent before the connection broke. */
  async #isOurs(rev, bytes) {
    try {
      const theirs = await this.theirs();
      return theirs.rev === rev && theirs.bytes.length === bytes.length && theirs.bytes.every((b, i) => b === bytes[i]);
    } catch {
      return false;
    }
  }

  #heard(message) {
    if (message?.slot !== this.slot || !message.bytes) return;
    this.onOtherTab({ rev: message.rev, bytes: message.bytes });
  }

  #tell(state) {
    if (state === this.state) return;
    this.state = state;
    this.onState(state);
  }
}

/**
 * Keeping a drawing: in the browser with every stroke, on the server within a moment, never over somebody else's.
 *
 * The browser owns the live drawing. `rev` is the server's revision that it builds upon. A save is a PUT of the container
 * with that number as X-Rev; the server answers {rev} with the new one, or 409 {rev} when it holds another revision than
 * the one built upon. A server that knows less than we do (restarted without its files) is simply told again; one that
 * knows more means that another tab or device drew, and then people choose. A server that was started again does not know
 * the address either (404): it is tried again until the page brings a new one. No DOM: fetch, store and channel are given.
 */

const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 3000; // how long a server that is back may stay unnoticed
const ANSWER_MS = 10_000; // for the server to answer, beside the time that the bytes take on a slow line
const UPLOAD_BYTES_PER_MS = 50;
const DOWNLOAD_MS = 30_000;

/** @typedef {"saved" | "saving" | "offline" | "conflict"} SaveState */
/** @typedef {{version: number, bytes: Bytes | Promise<Bytes>}} Snapshot  one version, as a container */
/** @typedef {{version: number, bytes: Bytes}} Found */

/**
 * How a save came out. "stored" and "stale" name the server's revision, "refused" its reason; `found` is what the server was
 * found to hold already.
 *
 * @typedef {{kind: "stored", rev: number, found?: Found, reason?: undefined} |
 *   {kind: "stale", rev: number, found?: undefined, reason?: undefined} |
 *   {kind: "refused" | "unanswered" | "failed", reason?: string, rev?: undefined, found?: undefined}} Answer
 */

export class Sync {
  /**
   * slot: name of the drawing; url: where it is PUT; encode(): resolves to the present container; store, channel:
   * see store.js and BroadcastChannel; onState("saved" | "saving" | "offline" | "conflict", the server's word on why it
   * was not stored, or ""), onConflict({rev}), onOtherTab({rev, bytes}) whenever another tab of this browser saved the
   * same slot. `wait(ms)` and `now()` are the clock.
   *
   * @param {{slot: string, url: string, rev: number, encode: () => Promise<Bytes>,
   *   store: {get(key: string): Promise<any>, put(key: string, record: object): Promise<unknown>},
   *   channel?: Pick<BroadcastChannel, "onmessage" | "postMessage" | "close"> | null, fetch?: typeof globalThis.fetch,
   *   onState?: (state: SaveState, reason: string) => void, onConflict?: (conflict: {rev: number}) => void,
   *   onOtherTab?: (other: {rev: number, bytes: Bytes}) => void,
   *   wait?: (ms: number) => Promise<unknown>, now?: () => number}} about
   */
  constructor({ slot, url, rev, encode, store, channel = null, fetch = globalThis.fetch.bind(globalThis), ...events }) {
    this.slot = slot;
    this.url = url;
    this.rev = rev;
    this.encode = encode;
    this.store = store;
    this.channel = channel;
    this.fetch = fetch;
    this.onState = events.onState ?? (() => {});
    this.onConflict = events.onConflict ?? (() => {});
    this.onOtherTab = events.onOtherTab ?? (() => {});
    this.wait = events.wait ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
    this.now = events.now ?? Date.now;
    this.version = 0; // counts changes in this tab
    this.savedVersion = 0; // the last one that the server has
    /** @type {Snapshot | null} */
    this.snapshot = null; // {version, bytes: promise of the container}
    /** @type {SaveState} */
    this.state = "saved";
    this.reason = "";
    /** @type {Promise<void> | null} */
    this.pushing = null;
    /** @type {Promise<void | null>} */
    this.keeping = Promise.resolve(); // writes to the store, one after the other
    /** @type {(value?: unknown) => void} */
    this.wake = () => {};
    this.hurried = false; // asked to try again while a request was under way
    this.closed = false;
    if (channel) channel.onmessage = ({ data }) => this.#heard(data);
  }

  /** Whether the server lacks something drawn here. */
  get dirty() {
    return this.savedVersion < this.version;
  }

  /**
   * What to open, given what the server sent: {source: "server"}, {source: "browser"} when the browser's copy is ahead of
   * the server, or {source: "both"} when each has something that the other lacks; `bytes` are the browser's copy, if any.
   */
  async begin() {
    const local = await this.store.get(this.slot);
    if (!local?.bytes) return { source: "server", bytes: null };
    if (local.rev > this.rev || (local.dirty && local.rev === this.rev)) {
      this.rev = local.rev; // what it builds upon; a server that really knows less will say so
      return { source: "browser", bytes: local.bytes, time: local.time };
    }
    return { source: local.dirty ? "both" : "server", bytes: local.bytes, time: local.time };
  }

  /**
   * Where it is PUT from now on: a server that was started again gives another address.
   *
   * @param {string} url
   */
  moveTo(url) {
    if (url === this.url) return;
    this.url = url;
    this.retry();
  }

  /** Try again now, not after the present wait: the server may be back. */
  retry() {
    this.hurried = true;
    this.wake();
  }

  /** The drawing changed: save it here and there. Resolves when the server has it, or when that must wait. */
  changed() {
    this.version += 1;
    this.#keepLatest(this.version);
    this.retry();
    return this.flush();
  }

  /** Resolves to true once the server has everything, to false when it cannot be reached or people must choose. */
  async flush() {
    if (!this.dirty && !this.pushing) return true;
    if (this.state === "conflict") return false; // people choose first
    this.pushing ??= this.#push().finally(() => {
      this.pushing = null;
      if (this.closed) this.#hangUp();
    });
    await this.pushing;
    return !this.dirty;
  }

  /**
   * After a conflict: what is drawn here goes over what the server has at `rev`.
   *
   * @param {number} rev
   */
  keepMine(rev) {
    this.rev = rev;
    this.#tell("saving");
    return this.changed();
  }

  /** The server's drawing: {rev, bytes}. */
  async theirs() {
    const response = await this.fetch(this.url, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS + DOWNLOAD_MS) });
    if (!response.ok) throw new Error(`The server answered ${response.status}.`);
    return { rev: Number(response.headers.get("X-Rev")), bytes: new Uint8Array(await response.arrayBuffer()) };
  }

  /**
   * The drawing shown is now the server's at `rev`; nothing of ours is waiting.
   *
   * @param {number} rev
   * @param {Bytes} bytes
   */
  async adopt(rev, bytes) {
    this.rev = rev;
    this.savedVersion = this.version;
    this.#tell("saved");
    await this.#keep({ version: this.version, bytes });
  }

  /** The page is left: what was drawn last is still sent, once; it waits for nothing any more. */
  close() {
    this.closed = true;
    this.retry();
    if (!this.pushing) this.#hangUp();
  }

  #hangUp() {
    this.channel?.close?.();
    this.channel = null;
  }

  async #push() {
    let delay = RETRY_FIRST_MS;
    const unanswered = new Map(); // versions that were sent and may have been stored all the same, by fingerprint
    while (this.dirty) {
      if (this.state !== "offline") this.#tell("saving");
      const { version, bytes: promised } = this.#snapshot();
      const bytes = await promised;
      this.hurried = false;
      let answer = await this.#put(bytes);
      if (answer.kind === "stale" && answer.rev >= this.rev) {
        answer = await this.#recognised(answer, new Map([...unanswered, [fingerprint(bytes), version]]));
      }
      if (answer.kind === "stored") {
        const stored = { version, bytes, ...answer.found };
        this.rev = answer.rev;
        this.savedVersion = stored.version;
        this.channel?.postMessage({ slot: this.slot, rev: this.rev, bytes: stored.bytes });
        await this.#keep(stored);
        delay = RETRY_FIRST_MS;
        unanswered.clear();
      } else if (answer.kind === "stale" && answer.rev < this.rev) {
        this.rev = answer.rev;
      } else if (answer.kind === "stale") {
        this.#tell("conflict");
        this.onConflict({ rev: answer.rev });
        return;
      } else {
        if (answer.kind === "unanswered") unanswered.set(fingerprint(bytes), version);
        this.#tell("offline", answer.reason);
        if (this.closed) return;
        await this.#pause(delay);
        delay = Math.min(RETRY_LAST_MS, delay * 2);
      }
    }
    if (!this.dirty) this.#tell("saved");
  }

  /** @param {number} ms */
  async #pause(ms) {
    if (!this.hurried) await Promise.race([this.wait(ms), new Promise((resolve) => (this.wake = resolve))]);
  }

  /** The present version as a container, made once. */
  #snapshot() {
    if (this.snapshot?.version !== this.version) this.snapshot = { version: this.version, bytes: this.encode() };
    return this.snapshot;
  }

  /**
   * The browser's own copy; when strokes come faster than they are packed and written, only the last counts.
   *
   * @param {number} version
   */
  #keepLatest(version) {
    this.keeping = this.keeping.then(() => (version < this.version ? null : this.#write(this.#snapshot())));
    return this.keeping;
  }

  /** @param {Snapshot} snapshot */
  #keep(snapshot) {
    this.keeping = this.keeping.then(() => this.#write(snapshot));
    return this.keeping;
  }

  /** @param {Snapshot} snapshot */
  async #write({ version, bytes }) {
    if (version < this.version) return;
    const record = { rev: this.rev, bytes: await bytes, dirty: version > this.savedVersion, time: this.now() };
    await this.store.put(this.slot, record);
  }

  /**
   * @param {Bytes} bytes
   * @returns {Promise<Answer>}
   */
  async #put(bytes) {
    const signal = AbortSignal.timeout(ANSWER_MS + Math.ceil(bytes.length / UPLOAD_BYTES_PER_MS));
    /** @type {Response | null} */
    let response = null;
    try {
      response = await this.fetch(this.url, {
        method: "PUT", body: bytes, headers: { "X-Rev": String(this.rev), "Content-Type": "application/octet-stream" }, signal,
      });
      const told = await response.json();
      const stale = response.status === 409;
      if ((response.ok || stale) && Number.isInteger(told.rev)) return { kind: stale ? "stale" : "stored", rev: told.rev };
      if (!response.ok) return { kind: "refused", reason: response.status === 404 ? "" : [told.error, told.hint].filter(Boolean).join(" ") };
    } catch {
      // No connection, a cut one, or an answer of somebody else's: tried again.
      if (response && !response.ok) return { kind: "refused" };
    }
    return { kind: "unanswered" };
  }

  /**
   * The server holds a newer revision: is it one of `ours`, sent from here without an answer, or by the page that was here before?
   *
   * @param {{kind: "stale", rev: number}} stale
   * @param {Map<string, number>} ours
   * @returns {Promise<Answer>}
   */
  async #recognised(stale, ours) {
    try {
      const { rev, bytes } = await this.theirs();
      const version = ours.get(fingerprint(bytes));
      return version ? { kind: "stored", rev, found: { version, bytes } } : { ...stale, rev };
    } catch {
      return { kind: "failed" };
    }
  }

  /** @param {{slot: string, rev: number, bytes: Bytes} | null} message */
  #heard(message) {
    if (message?.slot !== this.slot || !message.bytes) return;
    this.onOtherTab({ rev: message.rev, bytes: message.bytes });
  }

  /**
   * @param {SaveState} state
   * @param {string} [reason]
   */
  #tell(state, reason = "") {
    if (state === this.state && reason === this.reason) return;
    this.state = state;
    this.reason = reason;
    this.onState(state, reason);
  }
}

/**
 * A container in few bytes: its length and two independent 32-bit hashes (multiplicative, of Knuth's and FNV's primes).
 *
 * @param {Bytes} bytes
 */
function fingerprint(bytes) {
  let [a, b] = [0, 0x811c9dc5];
  for (const byte of bytes) {
    a = (Math.imul(a, 0x9e3779b1) + byte) | 0;
    b = Math.imul(b ^ byte, 0x01000193);
  }
  return `${bytes.length} ${a} ${b}`;
}

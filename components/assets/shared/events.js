/**
 * One stream of events for everybody on a page: the result pane, the wall and the Jobs drawer share a connection, which is
 * open only while one of them needs it. A browser allows six connections to a server, over all of its tabs.
 */

const RECONNECT_MS = 2000;
const REMEMBERED = 64;
/** @typedef {{hear: (event: JobEvent) => void, state: (connected: boolean) => void, passive: boolean}} Listener */

/** By address. @type {Map<string, Stream>} */
const streams = new Map();

/**
 * Hear the events of a stream: `hear(event)` for each, those of the newest state of every job first; `state(connected)` when
 * the connection comes or goes. A `passive` listener hears what others' connection brings and opens none.
 * Returns a function that ends it.
 *
 * @param {string} address
 * @param {(event: JobEvent) => void} hear
 * @param {{state?: (connected: boolean) => void, passive?: boolean}} [how]
 */
export function follow(address, hear, { state = () => {}, passive = false } = {}) {
  const url = new URL(address, document.baseURI).href;
  const stream = streams.get(url) ?? new Stream(url);
  streams.set(url, stream);
  const listener = { hear, state, passive };
  stream.add(listener);
  return () => stream.remove(listener);
}

class Stream {
  /** @type {Set<Listener>} */
  #listeners = new Set();
  /** The newest event of each job. @type {Map<string, JobEvent>} */
  #newest = new Map();
  /** @type {EventSource | null} */
  #source = null;
  #retry = 0;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
  }

  /** @param {Listener} listener */
  add(listener) {
    this.#listeners.add(listener);
    if (!listener.passive && !this.#source) this.#open();
    const known = [...this.#newest.values()];
    queueMicrotask(() => { // when the listener knows how to end it
      for (const event of known) if (this.#listeners.has(listener)) listener.hear(event);
    });
  }

  /** @param {Listener} listener */
  remove(listener) {
    this.#listeners.delete(listener);
    if ([...this.#listeners].some((one) => !one.passive)) return;
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
    this.#newest.clear(); // the next connection brings it anew
  }

  #open() {
    const source = (this.#source = new EventSource(this.url));
    source.onmessage = ({ data }) => {
      for (const event of [JSON.parse(data)].flat()) this.#heard(event);
    };
    source.onopen = () => this.#say(true);
    source.onerror = () => {
      this.#say(false);
      if (this.#source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      this.#retry = setTimeout(() => this.#open(), RECONNECT_MS);
    };
  }

  /** @param {JobEvent} event */
  #heard(event) {
    this.#newest.delete(event.job);
    this.#newest.set(event.job, event);
    if (this.#newest.size > REMEMBERED) this.#newest.delete([...this.#newest.keys()][0]);
    for (const listener of [...this.#listeners]) listener.hear(event);
  }

  /** @param {boolean} connected */
  #say(connected) {
    for (const listener of [...this.#listeners]) listener.state(connected);
  }
}

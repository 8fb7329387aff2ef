/** Live over a photo: the map is found on the server, and travels from there as the drawing that pictures follow. */

import { liveLink } from "../../shared/live.js";

export class LiveMap {
  /** @type {import("../../shared/live.js").LiveLink | null} */
  #link = null;
  #source;
  #address = "";

  /** @param {(seed: number) => void} keep */
  constructor(keep) {
    this.#source = { whole: () => this.#whole(), changes: () => null, keep };
  }

  /** @param {{live?: {on: boolean, url: string}, document_url: string}} data */
  update({ live, document_url: address }) {
    this.#address = address;
    const link = live?.on ? liveLink(live.url) : null;
    if (link === this.#link) return;
    this.leave();
    this.#link = link;
    link?.start(this.#source);
  }

  /** There is another map. */
  touch() {
    this.#link?.touch();
  }

  leave() {
    this.#link?.stop(this.#source);
    this.#link = null;
  }

  async #whole() {
    const answer = await fetch(new URL(this.#address, document.baseURI), { cache: "no-store" });
    if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
    return new Uint8Array(await answer.arrayBuffer());
  }
}

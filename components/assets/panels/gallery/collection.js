/** The pictures of a gallery as far as they are known here: fetched page by page, changed by deeds. No DOM. */

const PAGE = 120;

export class Collection {
  pictures = [];
  total = 0;
  controls = {};
  binned = 0;
  more = true;
  query = { text: "", control: "", shelf: "all" };
  #asked = 0;
  #known = new Set();

  /** `base` is the address of the gallery's routes, `changed()` is called after every change. */
  constructor(base, changed) {
    this.base = base;
    this.changed = changed;
  }

  /** Look for something else; what was there stays until the answer comes. */
  async search(query) {
    this.query = { ...this.query, ...query };
    this.loading = true;
    const asked = ++this.#asked;
    try {
      const answer = await this.#get("");
      if (asked !== this.#asked) return;
      this.pictures = answer.pictures;
      this.#known = new Set(answer.pictures.map(({ id }) => id));
      this.#take(answer);
    } finally {
      if (asked === this.#asked) this.loading = false;
    }
    this.changed();
  }

  /** The next page, when there is one. */
  async next() {
    if (!this.more || this.loading) return;
    this.loading = true;
    const asked = ++this.#asked;
    try {
      const answer = await this.#get(this.pictures.at(-1)?.id ?? "");
      if (asked !== this.#asked) return;
      for (const picture of answer.pictures) this.#known.add(picture.id);
      this.pictures = [...this.pictures, ...answer.pictures];
      this.more = answer.more;
    } finally {
      if (asked === this.#asked) this.loading = false;
    }
    this.changed();
  }

  /** What came since: put before the rest. Returns how many. */
  async fresh() {
    if (this.loading) return 0;
    const asked = this.#asked;
    const answer = await this.#get("");
    if (asked !== this.#asked) return 0;
    const came = answer.pictures.filter(({ id }) => !this.#known.has(id));
    for (const { id } of came) this.#known.add(id);
    this.pictures = [...came, ...this.pictures];
    this.#take({ ...answer, more: this.more });
    if (came.length) this.changed();
    return came.length;
  }

  /** Star, unstar, delete or restore; returns the ids that it happened to. */
  async deed(name, ids) {
    const done = new Set((await this.#post(name, { ids })).ids);
    const starred = { star: true, unstar: false }[name];
    if (starred === undefined) {
      const leaves = name === "delete" ? this.query.shelf !== "bin" : this.query.shelf === "bin";
      if (leaves) this.pictures = this.pictures.filter(({ id }) => !done.has(id));
      this.total += leaves ? -done.size : 0;
      this.binned += name === "delete" ? done.size : -done.size;
    } else {
      this.pictures = this.pictures.map((one) => (done.has(one.id) ? { ...one, starred } : one));
    }
    this.changed();
    return [...done];
  }

  /** Remove what is in the bin for good. */
  async empty() {
    await this.#post("empty", {});
    await this.search({});
  }

  /** Make siblings of a picture; returns the job. */
  async vary(id, images) {
    return (await this.#post("vary", { id, images })).job;
  }

  /** Everything about one picture. */
  async about(id) {
    return ask(new URL(`./studio/pictures/${id}.json`, document.baseURI));
  }

  /** Where the ZIP file comes from. */
  get zip() {
    return new URL(`${this.base}/pictures.zip`, document.baseURI);
  }

  #take({ total, controls, binned, more }) {
    Object.assign(this, { total, controls, binned, more });
  }

  async #get(before) {
    const url = new URL(this.base, document.baseURI);
    url.search = String(new URLSearchParams({ ...this.query, n: String(PAGE), ...(before && { before }) }));
    return ask(url);
  }

  async #post(name, told) {
    return ask(new URL(`${this.base}/${name}`, document.baseURI), { method: "POST", body: JSON.stringify(told) });
  }
}

/** The answer's JSON; refusals become errors with the server's own sentence, silence one with ours. */
export async function ask(url, options) {
  const answer = await fetch(url, options).catch(() => {
    throw new Error("The studio does not answer. It may be starting again: try once more in a moment.");
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error([told.error ?? "The studio did not answer.", told.hint].filter(Boolean).join(" "));
  return told;
}

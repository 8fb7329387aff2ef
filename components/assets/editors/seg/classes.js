/**
 * The classes that a map can hold, and how people find one: by name or by meaning.
 *
 * A class is {index, name, rgb, synonyms}; its index is the truth and its colour only how it looks, for two classes may share
 * one. No DOM.
 */

export class ClassTable {
  /** rows: the classes, index = place; trained: indices that the present model has learnt (empty: unknown). */
  constructor(rows, trained = []) {
    this.rows = rows.map((row, index) => ({ ...row, index }));
    this.trained = new Set();
    this.learn(trained);
    this.keys = this.rows.map(({ rgb: [red, green, blue] }) => (red << 16) | (green << 8) | blue);
    this.byKey = new Map();
    for (const { index } of this.rows) this.byKey.set(this.keys[index], [...(this.byKey.get(this.keys[index]) ?? []), index]);
    this.byName = new Map(this.rows.map(({ name, index }) => [name, index]));
  }

  /** The model now knows these indices; returns whether that is news. */
  learn(trained) {
    const known = new Set((trained ?? []).filter((index) => index in this.rows));
    const same = known.size === this.trained.size && [...known].every((index) => this.trained.has(index));
    this.trained = known;
    return !same;
  }

  get size() {
    return this.rows.length;
  }

  name(index) {
    return this.rows[index]?.name ?? "no class";
  }

  rgb(index) {
    return this.rows[index].rgb;
  }

  css(index) {
    return `rgb(${this.rows[index].rgb.join(" ")})`;
  }

  /** The index of a name; where the table lacks it, that of its first class. */
  named(name) {
    return this.byName.get(name) ?? 0;
  }

  /** Classes that share the colour of `index`, itself included, lowest first. */
  sharing(index) {
    return this.byKey.get(this.keys[index]);
  }

  /** Indices in the order in which they are listed: those that the model has learnt first. */
  listed() {
    const all = this.rows.map(({ index }) => index);
    return [...all.filter((index) => this.trained.has(index)), ...all.filter((index) => !this.trained.has(index))];
  }

  /**
   * Classes that a text may mean, best first: [{index, via}]; `via` is the synonym that was meant, "" where the name says
   * it. Every word of the text must be found. When nothing is, one wrong, missing, doubled or swapped letter is forgiven.
   */
  search(text) {
    const wanted = words(text);
    if (!wanted.length) return this.listed().map((index) => ({ index, via: "" }));
    const exact = this.#ranked((row) => rank(row, wanted));
    return exact.length ? exact : this.#ranked((row) => rankTypo(row, wanted));
  }

  #ranked(rankRow) {
    return this.rows
      .map((row) => ({ index: row.index, ...rankRow(row) }))
      .filter(({ score }) => Number.isFinite(score))
      .sort((a, b) => a.score - b.score || this.trained.has(b.index) - this.trained.has(a.index) || a.index - b.index)
      .map(({ index, via }) => ({ index, via }));
  }
}

function words(text) {
  const plain = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
}

/** How well a term answers: 0 the same, 1 its beginning, 2 beginnings of its words, 3 somewhere inside. */
function fit(term, wanted) {
  const own = words(term);
  const [whole, asked] = [own.join(" "), wanted.join(" ")];
  if (whole === asked || whole === singular(asked)) return 0;
  if (whole.startsWith(asked)) return 1;
  if (wanted.every((word) => own.some((mine) => mine.startsWith(word) || mine === singular(word)))) return 2;
  return wanted.every((word) => word.length > 1 && whole.includes(word)) ? 3 : Infinity;
}

function singular(word) {
  return word.replace(/(?<=[^s])e?s$/, (end) => (end === "es" && /(ch|sh|x|z)es$/.test(word) ? "" : end === "es" ? "e" : ""));
}

/** Names count before synonyms of the same fit; words of both together as a last resort ("wooden pier dock"). */
function rank({ name, synonyms }, wanted) {
  let best = { score: 2 * fit(name, wanted), via: "" };
  for (const synonym of synonyms) {
    const score = 2 * fit(synonym, wanted) + 1;
    if (score < best.score) best = { score, via: synonym };
  }
  if (best.score === Infinity && wanted.length > 1 && fit([name, ...synonyms].join(" "), wanted) <= 2) return { score: 9, via: "" };
  return best;
}

function rankTypo({ name, synonyms }, wanted) {
  const near = (term) => {
    const own = words(term);
    return wanted.every((word) => word.length > 3 && own.some((mine) => isOneEdit(word, mine)));
  };
  if (near(name)) return { score: 0, via: "" };
  const via = synonyms.find(near);
  return via ? { score: 1, via } : { score: Infinity, via: "" };
}

/** Whether two words differ by one letter changed, added, left out, or two neighbours swapped. */
function isOneEdit(a, b) {
  if (Math.abs(a.length - b.length) > 1) return false;
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  const rest = (word, from) => word.slice(from);
  return rest(a, i + 1) === rest(b, i + 1) || rest(a, i) === rest(b, i + 1) || rest(a, i + 1) === rest(b, i)
    || (a[i] === b[i + 1] && a[i + 1] === b[i] && rest(a, i + 2) === rest(b, i + 2));
}

/** Classes in use with their part of the area, largest first: [{index, count, share}]; counts by index. */
export function sharesOf(counts) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const used = [];
  for (let index = 0; index < counts.length; index++) {
    if (counts[index]) used.push({ index, count: counts[index], share: counts[index] / total });
  }
  return used.sort((a, b) => b.count - a.count || a.index - b.index);
}

/** A share in words that never lie: "100 %" only when it is all, "<1 %" when it is little. */
export function percent(share) {
  if (share > 0 && share < 0.01) return "<1 %";
  if (share < 1 && share > 0.99) return "99 %";
  return `${Math.round(share * 100)} %`;
}

/**
 * Undo and redo in bounded memory.
 *
 * The history holds patches and does not know what they mean: whoever pushes a patch also applies it, backwards for
 * undo and forwards for redo. Ways to make small patches stand in patch.js.
 */

export const STEPS_MAX = 2000;
export const BYTES_MAX = 96 << 20;

/** @template {Patch} P */
export class History {
  /**
   * `apply(patch, direction)` is called with direction -1 (undo) or +1 (redo).
   *
   * @param {(patch: P, direction: Direction) => unknown} apply
   * @param {{stepsMax?: number, bytesMax?: number}} [limits]  how many patches, and how much they may take together
   */
  constructor(apply, { stepsMax = STEPS_MAX, bytesMax = BYTES_MAX } = {}) {
    this.apply = apply;
    this.stepsMax = stepsMax;
    this.bytesMax = bytesMax;
    /** @type {{patch: P, bytes: number}[]} */
    this.entries = [];
    this.position = 0; // entries before it can be undone, the others redone
    this.bytes = 0;
    this.onChange = () => {}; // after every step that came, went back or forth
  }

  clear() {
    this.fill([], 0);
    this.onChange();
  }

  /**
   * Steps of an earlier time in place of the present ones; those before `position` can be undone.
   *
   * @param {{patch: P, bytes: number}[]} entries
   * @param {number} position
   */
  fill(entries, position) {
    this.entries = [...entries];
    this.position = position;
    this.bytes = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * Remember a patch that has just been applied; what could be redone is forgotten. `patch.bytes` is its size.
   *
   * @param {P} patch
   */
  push(patch) {
    for (const { bytes } of this.entries.splice(this.position)) this.bytes -= bytes;
    const bytes = 64 + (patch.bytes ?? 0);
    this.entries.push({ patch, bytes });
    this.bytes += bytes;
    while (this.entries.length > this.stepsMax || (this.bytes > this.bytesMax && this.entries.length > 1)) {
      this.bytes -= this.entries.shift()?.bytes ?? 0;
    }
    this.position = this.entries.length;
    this.onChange();
  }

  get canUndo() {
    return this.position > 0;
  }

  get canRedo() {
    return this.position < this.entries.length;
  }

  /** Returns whether there was anything to undo. */
  undo() {
    if (!this.canUndo) return false;
    this.position -= 1;
    this.apply(this.entries[this.position].patch, -1);
    this.onChange();
    return true;
  }

  /** Returns whether there was anything to redo. */
  redo() {
    if (!this.canRedo) return false;
    this.apply(this.entries[this.position].patch, +1);
    this.position += 1;
    this.onChange();
    return true;
  }
}

/**
 * The browser's own copy of drawings, and the steps that led to them, in IndexedDB; in memory where the browser refuses (private windows,
 * full disk).
 *
 * Records are plain objects under a text key. `persistent` says whether they outlive the page. Nothing here throws for
 * want of storage: losing the copy must not stop the drawing.
 */

const DATABASE = "controlnet-studio";
const TABLE = "drawings";
const STEPS = "steps"; // keys [slot, name]

export class Store {
  /**
   * `factory` gives the browser's IndexedDB; where storage is forbidden even asking for it throws.
   *
   * @param {() => IDBFactory} [factory]
   */
  constructor(factory = () => globalThis.indexedDB) {
    this.memory = new Map();
    this.persistent = true;
    this.opened = open(factory).catch(() => {
      this.persistent = false;
      return null;
    });
  }

  /**
   * @param {string} key
   * @returns {Promise<any>}
   */
  async get(key) {
    const database = await this.opened;
    if (!database || this.memory.has(key)) return this.memory.get(key) ?? null;
    try {
      return (await finish(database.transaction(TABLE).objectStore(TABLE).get(key))) ?? null;
    } catch {
      return null;
    }
  }

  /**
   * Returns whether the record will outlive the page.
   *
   * @param {string} key
   * @param {object} record
   */
  async put(key, record) {
    const database = await this.opened;
    try {
      if (!database) throw new Error("no database");
      const transaction = database.transaction(TABLE, "readwrite", { durability: "relaxed" });
      await finish(transaction.objectStore(TABLE).put(record, key));
      this.memory.delete(key);
      this.persistent = true;
    } catch {
      this.memory.set(key, record);
      this.persistent = false;
    }
    return this.persistent;
  }

  /**
   * The records of a drawing's history by their names, see kept-history.js; none where the browser stores nothing.
   *
   * @param {string} slot
   * @returns {Promise<Map<string, any>>}
   */
  async steps(slot) {
    const database = await this.opened;
    try {
      if (!database) return new Map();
      const [table, all] = [database.transaction(STEPS).objectStore(STEPS), IDBKeyRange.bound([slot], [slot, []])];
      const [keys, records] = await Promise.all([finish(table.getAllKeys(all)), finish(table.getAll(all))]);
      return new Map(keys.map((key, i) => [/** @type {string[]} */ (key)[1], records[i]]));
    } catch {
      return new Map();
    }
  }

  /**
   * Put records of a drawing's history and take others away, all or nothing. Returns whether they will outlive the page.
   *
   * @param {string} slot
   * @param {Map<string, object>} put
   * @param {string[]} gone
   */
  async keepSteps(slot, put, gone) {
    const database = await this.opened;
    try {
      if (!database) return false;
      const transaction = database.transaction(STEPS, "readwrite", { durability: "relaxed" });
      const table = transaction.objectStore(STEPS);
      const requests = [...gone.map((name) => table.delete([slot, name])),
        ...[...put].map(([name, record]) => table.put(record, [slot, name]))];
      await Promise.all(requests.map((request) => finish(/** @type {IDBRequest} */ (request))));
      return true;
    } catch {
      return false;
    }
  }

  /** @param {string} key */
  async delete(key) {
    this.memory.delete(key);
    const database = await this.opened;
    try {
      if (database) await finish(database.transaction(TABLE, "readwrite").objectStore(TABLE).delete(key));
    } catch {
      // It stays; a later put replaces it.
    }
  }
}

/** @param {() => IDBFactory} factory */
async function open(factory) {
  const request = factory().open(DATABASE, 2);
  request.onupgradeneeded = () => {
    const { result } = request;
    for (const name of [TABLE, STEPS]) if (!result.objectStoreNames.contains(name)) result.createObjectStore(name);
  };
  const database = await finish(request);
  database.onversionchange = () => database.close();
  return database;
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function finish(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    if ("onblocked" in request) request.onblocked = () => reject(new Error("blocked"));
  });
}

/**
 * The browser's own copy of drawings, in IndexedDB; in memory where the browser refuses (private windows, full disk).
 *
 * Records are plain objects under a text key. `persistent` says whether they outlive the page. Nothing here throws for
 * want of storage: losing the copy must not stop the drawing.
 */

const DATABASE = "controlnet-studio";
const TABLE = "drawings";

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
  const request = factory().open(DATABASE, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
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

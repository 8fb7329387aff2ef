import assert from "node:assert/strict";
import { test } from "node:test";
import { Store } from "../../components/assets/canvas/store.js";
import { Sync } from "../../components/assets/canvas/sync.js";

/** A server that keeps the protocol of components/__init__.py; `broken` makes connections fail. */
class Server {
  rev = 0;
  bytes = new Uint8Array();
  broken = null; // null, "before" (nothing arrives) or "after" (stored, but the answer is lost)
  puts = 0;
  fetch = async (url, { method = "GET", headers = {}, body } = {}) => {
    if (method === "GET") return answer(200, this.bytes, { "X-Rev": String(this.rev) });
    this.puts += 1;
    if (this.broken === "before") throw new TypeError("Failed to fetch");
    if (Number(headers["X-Rev"]) !== this.rev) return answer(409, { rev: this.rev });
    this.rev += 1;
    this.bytes = body;
    if (this.broken === "after") throw new TypeError("Failed to fetch");
    return answer(200, { rev: this.rev });
  };
}
function answer(status, body, headers = {}) {
  return { ok: status < 300, status, headers: new Headers(headers), json: async () => body, arrayBuffer: async () => body.buffer.slice(0) };
}

/** A tab with its own drawing, the text in `tab.text`. */
function tab(server, { store = new Store(() => { throw new Error("refused"); }), rev = server.rev, wait } = {}) {
  const it = { text: "", states: [], reasons: [], conflicts: [], others: [], store };
  it.sync = new Sync({
    slot: "a", url: "/x", rev, store, fetch: server.fetch, now: () => 5,
    channel: (it.channel = { postMessage: (message) => it.posted = message }),
    encode: async () => new TextEncoder().encode(it.text),
    wait: wait ?? (async () => (server.broken = null)),
    onState: (state, reason) => it.states.push(state) && it.reasons.push(reason), onConflict: (conflict) => it.conflicts.push(conflict),
    onOtherTab: (other) => it.others.push(other),
  });
  it.draw = (text) => {
    it.text = text;
    return it.sync.changed();
  };
  return it;
}
const text = (bytes) => new TextDecoder().decode(bytes);

test("a stroke is saved in the browser and on the server", async () => {
  const server = new Server();
  const it = tab(server);
  assert.equal(await it.draw("one"), true);
  assert.equal(text(server.bytes), "one");
  const kept = await it.store.get("a");
  assert.deepEqual([text(kept.bytes), kept.rev, kept.dirty], ["one", 1, false]);
  assert.deepEqual(it.states, ["saving", "saved"]);
});

test("strokes faster than the network: the last one wins, none waits for all", async () => {
  const server = new Server();
  const it = tab(server);
  for (let i = 0; i < 50; i++) it.draw(`stroke ${i}`);
  assert.equal(await it.sync.flush(), true);
  assert.equal(text(server.bytes), "stroke 49");
  assert.ok(server.puts < 5, `${server.puts} requests`);
  assert.equal(text((await it.store.get("a")).bytes), "stroke 49");
});

test("no connection: kept in the browser, told, tried again until it is there", async () => {
  const server = new Server();
  let waits = 0;
  const it = tab(server, { wait: async () => { if (++waits === 4) server.broken = null; } });
  server.broken = "before";
  const saved = it.draw("in the tunnel");
  assert.equal(await saved, true);
  assert.equal(waits, 4);
  assert.ok(it.states.includes("offline"));
  assert.equal(it.states.at(-1), "saved");
  assert.equal(text(server.bytes), "in the tunnel");
});

test("while the server is away the browser has every stroke", async () => {
  const server = new Server();
  server.broken = "before";
  const it = tab(server, { wait: () => new Promise(() => {}) });
  it.draw("first");
  await new Promise((resolve) => setTimeout(resolve, 5));
  it.draw("second");
  await new Promise((resolve) => setTimeout(resolve, 5));
  const kept = await it.store.get("a");
  assert.deepEqual([text(kept.bytes), kept.dirty], ["second", true]);
});

test("an answer that was lost is no conflict", async () => {
  const server = new Server();
  const it = tab(server);
  server.broken = "after";
  assert.equal(await it.draw("sent once"), true);
  assert.deepEqual([it.conflicts, it.sync.rev, server.rev], [[], 1, 1]);
});

test("an answer that was lost is no conflict either when more was drawn since", async () => {
  const server = new Server();
  server.broken = "after";
  let back;
  const it = tab(server, { wait: () => new Promise((resolve) => (back = resolve)) });
  const saved = it.draw("sent once");
  while (!back) await new Promise((resolve) => setTimeout(resolve, 1));
  server.broken = "before";
  back = null;
  it.draw("drawn in the tunnel");
  while (!back) await new Promise((resolve) => setTimeout(resolve, 1));
  server.broken = null;
  it.sync.retry();
  assert.equal(await saved, true);
  assert.deepEqual([text(server.bytes), it.conflicts, server.rev], ["drawn in the tunnel", [], 2]);
});

test("a server that cannot say what it holds is asked again before people are", async () => {
  const server = new Server();
  const it = tab(server);
  const { fetch } = it.sync;
  let cuts = 2;
  it.sync.fetch = (url, options) => ((options?.method ?? "GET") === "GET" && cuts-- > 0 ? Promise.reject(new TypeError("cut")) : fetch(url, options));
  server.broken = "after";
  assert.equal(await it.draw("sent once"), true);
  assert.deepEqual([it.conflicts, server.rev, cuts < 0], [[], 1, true]);
});

test("a server that was started again knows no address: tried until the page brings one, also while a request runs", async () => {
  const server = new Server();
  const [asked, stopped] = [[], new Promise(() => {})];
  const it = tab(server, { wait: () => stopped });
  const { fetch } = it.sync;
  it.sync.fetch = async (url, options) => {
    asked.push(url);
    if (url === "/new") return fetch(url, options);
    it.sync.moveTo("/new"); // the page's run ends while the refusal is still on its way
    return answer(404, { error: "This drawing is no longer open here.", hint: "Reload the page: it is kept." });
  };
  assert.equal(await it.draw("one"), true);
  assert.deepEqual([asked, text(server.bytes), it.reasons], [["/x", "/new"], "one", ["", "", ""]]);
});

test("what the server says against it is told, once, and it is tried again", async () => {
  const server = new Server();
  let full = 3;
  const it = tab(server);
  const { fetch } = it.sync;
  it.sync.fetch = async (url, options) => (full-- > 0 ? answer(507, { error: "The disk is full.", hint: "Make room." }) : fetch(url, options));
  assert.equal(await it.draw("one"), true);
  assert.deepEqual([it.states, it.reasons], [["saving", "offline", "saved"], ["", "The disk is full. Make room.", ""]]);
});

test("what was drawn last before the page is left is still sent; then it waits for nothing", async () => {
  const server = new Server();
  const it = tab(server, { wait: () => new Promise(() => {}) });
  let closed = 0;
  it.channel.close = () => (closed += 1);
  const saved = it.draw("one");
  it.draw("two");
  it.sync.close();
  assert.equal(await saved, true);
  assert.deepEqual([text(server.bytes), closed, it.sync.channel], ["two", 1, null]);
  server.broken = "before";
  const late = tab(server, { wait: () => new Promise(() => {}) });
  const lost = late.draw("three");
  late.sync.close();
  assert.equal(await lost, false);
  const { bytes, dirty } = await late.store.get("a");
  assert.deepEqual([text(bytes), dirty], ["three", true], "the browser keeps it for the next visit");
});

test("a newer revision with the same drawing is no conflict: the page before sent it", async () => {
  const server = new Server();
  const [left, here] = [tab(server), tab(server)];
  await left.draw("the same");
  assert.equal(await here.draw("the same"), true);
  assert.deepEqual([here.conflicts, here.sync.rev, server.rev], [[], 1, 1]);
});

test("a request that nobody answers is given up and made again", async () => {
  const server = new Server();
  const it = tab(server);
  const { fetch } = it.sync;
  let hung = 0;
  it.sync.fetch = (url, options) => {
    assert.ok(options.signal instanceof AbortSignal);
    if (hung++) return fetch(url, options);
    return Promise.reject(new DOMException("signal timed out", "TimeoutError"));
  };
  assert.equal(await it.draw("one"), true);
  assert.equal(hung, 2);
});

test("a server that lost its files is told again", async () => {
  const server = new Server();
  const it = tab(server);
  await it.draw("one");
  await it.draw("two");
  Object.assign(server, { rev: 0, bytes: new Uint8Array() });
  assert.equal(await it.draw("three"), true);
  assert.deepEqual([text(server.bytes), it.conflicts.length], ["three", 0]);
});

test("two tabs: the second is asked and overwrites nothing by itself", async () => {
  const server = new Server();
  const [a, b] = [tab(server), tab(server)];
  await a.draw("by a");
  assert.equal(await b.draw("by b"), false);
  assert.equal(text(server.bytes), "by a");
  assert.deepEqual(b.conflicts, [{ rev: 1 }]);
  assert.equal(b.states.at(-1), "conflict");
  assert.equal(text((await b.sync.theirs()).bytes), "by a");
  const { puts } = server;
  await b.draw("by b, more");
  assert.deepEqual([b.conflicts.length, server.puts], [1, puts], "asked once, and nothing is sent until there is an answer");
  await b.sync.keeping;
  assert.equal(text((await b.store.get("a")).bytes), "by b, more", "the browser keeps what comes meanwhile");
  assert.equal(await b.sync.keepMine(1), true);
  assert.equal(text(server.bytes), "by b, more");
});

test("the other tab of this browser is heard at once", async () => {
  const server = new Server();
  const [a, b] = [tab(server), tab(server)];
  await a.draw("by a");
  b.channel.onmessage({ data: a.posted });
  assert.equal(text(b.others[0].bytes), "by a");
  b.channel.onmessage({ data: { ...a.posted, slot: "another" } });
  b.channel.onmessage({ data: null });
  assert.equal(b.others.length, 1);
});

test("opening: the newer of browser and server, both when each has something of its own", async () => {
  const server = new Server();
  const first = tab(server);
  assert.equal((await first.sync.begin()).source, "server");
  await first.draw("drawn");
  const { store } = first;
  assert.equal((await tab(server, { store }).sync.begin()).source, "server");
  const late = tab(server, { store, rev: 0 }); // the page does not know yet that the server has revision 1
  const begun = await late.sync.begin();
  assert.deepEqual([begun.source, text(begun.bytes)], ["browser", "drawn"]);
  assert.equal(await late.draw("drawn"), true, "our own revision is no conflict");
  Object.assign(server, { rev: 0, bytes: new Uint8Array() });
  const forgotten = tab(server, { store });
  await forgotten.sync.begin();
  assert.equal(await forgotten.draw("drawn"), true, "and neither is a server that lost it");
  assert.deepEqual([text(server.bytes), server.rev, late.conflicts, forgotten.conflicts], ["drawn", 1, [], []]);
  await store.put("a", { rev: 1, bytes: new TextEncoder().encode("never sent"), dirty: true, time: 1 });
  assert.equal((await tab(server, { store }).sync.begin()).source, "browser");
  assert.equal((await tab(server, { store, rev: 9 }).sync.begin()).source, "both");
});

test("a browser without storage keeps working and says so", async () => {
  const closed = [() => { throw new Error("refused"); }, () => ({ open() { throw new Error("refused"); } }), () => undefined];
  for (const factory of closed) {
    const store = new Store(factory);
    assert.equal(await store.put("k", { v: 1 }), false);
    assert.deepEqual(await store.get("k"), { v: 1 });
    await store.delete("k");
    assert.equal(await store.get("k"), null);
  }
});

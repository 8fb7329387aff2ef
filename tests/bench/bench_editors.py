"""The editors under a hand that draws: what one pointer event, one undo and one pen-up cost.

Prints one JSON line a measurement, all from one Chromium and one server. Times of the page are main-thread times: the handler
of a pointer event and the frame that shows it (scripts, style, layout, paint). On a machine that does other work besides, a
thread waits in the middle of that; so `cpu_ms` also says how long the main thread worked for each event, by its own clock.
`limit_ms` is what each has to stay below; the exit status is 1 when a median misses it. Names of editors as arguments measure
those alone.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.conftest import Server  # noqa: E402
from tests.chromium import ARGUMENTS, install  # noqa: E402

READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'
STUDIO = (
    "[...document.querySelectorAll('*')].map(n => n.shadowRoot?.querySelector('.studio[data-ready]') ?? "
    "(n.matches?.('.studio[data-ready]') ? n : null)).find(Boolean).studio"
)
KINDS = ("scribble", "pose", "seg")
EVENTS, UNDOS, STROKES = 120, 25, 30
EVENT_LIMIT_MS = {512: 4.0, 1024: 4.0, 2048: 8.0}
SAVE_LIMIT_MS = {512: 40.0, 1024: 100.0}

# The time of handlers, and of the frame that follows from its first callback to the first task after it: scripts, style, layout
# and paint, without the wait for the screen between the two.
METER = """() => {
  window.lifted = [];
  window.addEventListener("pointerup", () => window.lifted.push(performance.now()), true);
  const frame = window.requestAnimationFrame.bind(window), channel = new MessageChannel();
  let [begin, done] = [0, null];
  channel.port1.onmessage = () => done?.(performance.now() - begin);
  window.frameSpent = () => new Promise((resolve) => {
    done = resolve;
    frame(() => channel.port2.postMessage(0));
  });
  window.requestAnimationFrame = (run) => frame((now) => {
    if (begin < now) begin = performance.now();
    run(now);
  });
  (function tick() { frame((now) => { begin = performance.now(); tick(); }); })();
}"""
# One circle around the middle, as fast as a quick hand: about 16 px of the screen between two events.
CIRCLE = """async ([events, radius, x, y]) => {
  const stage = STUDIO.stage.element, box = stage.getBoundingClientRect(), times = [];
  stage.setPointerCapture = () => {};
  const fire = (type, i) => {
    const begin = performance.now();
    const [cx, cy] = [box.left + box.width / 2 + x, box.top + box.height / 2 + y];
    const at = { clientX: cx + radius * Math.cos(i / 12), clientY: cy + radius * Math.sin(i / 12) };
    stage.dispatchEvent(new PointerEvent(type, { bubbles: true, composed: true, pointerId: 7, button: 0, pointerType: "pen",
      pressure: 0.8, ...at }));
    return performance.now() - begin;
  };
  fire("pointerdown", 0);
  await frameSpent();
  for (let i = 1; i <= events; i++) times.push(fire("pointermove", i) + await frameSpent());
  fire("pointerup", events);
  await frameSpent();
  return times;
}""".replace("STUDIO", STUDIO)
UNDO = """async (count) => {
  const studio = STUDIO, times = [];
  for (const [step, can] of [["undo", "canUndo"], ["redo", "canRedo"]]) for (let i = 0; i < count && studio.history[can]; i++) {
    const begin = performance.now();
    studio[step]();
    const own = performance.now() - begin;
    times.push(own + await frameSpent());
  }
  return times;
}""".replace("STUDIO", STUDIO)
ANSWERS = """() => {
  const puts = performance.getEntriesByType("resource").filter((one) => one.name.includes("/documents/"));
  return window.lifted.flatMap((at) => {
    const answer = puts.find((one) => one.startTime >= at);
    return answer ? [answer.responseEnd - at] : [];
  });
}"""
FORTY_CLASSES = """side => {
  const pixels = new Uint8Array(side * side);
  let state = 7;
  const random = (n) => ((state = (state * 1103515245 + 12345) & 0x7fffffff) >> 8) % n;
  const seeds = Array.from({ length: 90 }, (_, i) => [random(side), random(side), i % 40]);
  for (let y = 0; y < side; y += 4) for (let x = 0; x < side; x += 4) {
    let [best, label] = [Infinity, 0];
    for (const [sx, sy, own] of seeds) {
      const away = (x - sx) ** 2 + (y - sy) ** 2;
      if (away < best) [best, label] = [away, own];
    }
    for (let k = 0; k < 4; k++) pixels.fill(label, (y + k) * side + x, (y + k) * side + x + 4);
  }
  STUDIO.replace({ kind: "classes", width: side, height: side, pixels });
}""".replace("STUDIO", STUDIO)
# Standing people as large as they are in a picture (one alone, or rows of a crowd that overlap), with hands and faces.
CROWD = """count => {
  const height = count === 1 ? 400 : 150;
  const STANDING = [[0, .08], [0, .18], [-.1, .18], [-.16, .33], [-.2, .46], [.1, .18], [.16, .33], [.2, .46], [-.07, .5],
    [-.08, .72], [-.09, .95], [.07, .5], [.08, .72], [.09, .95], [-.025, .06], [.025, .06], [-.05, .07], [.05, .07]];
  const points = (n, at, step) => Array.from({ length: n }, (_, i) => (
    { x: at.x + (i % 7) * step, y: at.y + Math.floor(i / 7) * step, confidence: 1 }));
  const person = (i) => {
    const [x, y] = count === 1 ? [256, 60] : [50 + (i % 8) * 58, 10 + Math.floor(i / 8) * 48];
    const body = STANDING.map(([right, down]) => ({ x: x + right * height, y: y + down * height, confidence: 1 }));
    const [hand, face] = [height * 0.01, height * 0.008];
    return { body, left_hand: points(21, body[7], hand), right_hand: points(21, body[4], hand), face: points(70, body[0], face),
      hidden: [], ghosts: [], visible: true };
  };
  STUDIO.replace({ kind: "skeleton", width: 512, height: 512, people: Array.from({ length: count }, (_, i) => person(i)) });
}""".replace("STUDIO", STUDIO)
HAND = """() => {
  const studio = STUDIO, { element } = studio.stage, { x, y } = studio.editor.people.at(-1).body[4];
  const at = studio.view.toStage(x, y);
  return [at.x - element.clientWidth / 2, at.y - element.clientHeight / 2];
}""".replace("STUDIO", STUDIO)
missed: list[str] = []


class Times(list[float]):
    """Milliseconds of events; `cpu_ms` is what one of them cost on average by the main thread's own clock."""

    cpu_ms = 0.0


def tell(name: str, times: list[float], limit_ms: float, **more: object) -> None:
    """Print one measurement: median, 95th percentile and worst of `times` (ms)."""
    median = statistics.median(times)
    if median > limit_ms:
        missed.append(name)
    row = {"median_ms": median, "p95_ms": statistics.quantiles(times, n=20)[-1], "worst_ms": max(times)}
    if isinstance(times, Times):
        row["cpu_ms"] = times.cpu_ms
    figures = {key: round(value, 2) for key, value in row.items()}
    print(json.dumps({"bench": name, **figures, "limit_ms": limit_ms, "count": len(times), **more}), flush=True)


def opened(browser: Browser, url: str, page_path: str, sent: list[object]) -> Page:
    """An editor, ready for drawing and quiet; `sent` gets what its page tells Streamlit from now on."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    # Playwright marks the functions that it is given, which a list's own method does not let it do.
    page.on("websocket", lambda socket: socket.on("framesent", lambda message: sent.append(message)))  # noqa: PLW0108
    page.goto(f"{url}/{page_path}")
    page.wait_for_selector(".studio[data-ready]")
    page.wait_for_selector(READY)
    page.evaluate(METER)
    page.wait_for_timeout(1500)
    sent.clear()
    return page


def circle(page: Page, radius: int = 190, start: tuple[float, float] = (0, 0), events: int = EVENTS) -> Times:
    """Draw round in circles: what each event and its frame took."""
    return timed(page, CIRCLE, [events, radius, *start])


def timed(page: Page, code: str, argument: object) -> Times:
    """Run a script of the page that gives a list of times, and look at its main thread's clock before and after."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked_s() -> float:
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "TaskDuration")

    begin = worked_s()
    times = Times(page.evaluate(code, argument))
    times.cpu_ms = 1000 * (worked_s() - begin) / max(1, len(times))
    devtools.detach()
    return times


def raster_editor(page: Page, kind: str) -> None:
    """Events, undo and saving of an editor of pixels."""

    def fresh(side: int) -> None:
        if kind == "seg":
            page.evaluate(FORTY_CLASSES, side)
        else:
            blank = "{ kind: 'mask', width: side, height: side, pixels: new Uint8Array(side * side) }"
            page.evaluate(f"side => {STUDIO}.replace({blank})", side)
        page.wait_for_timeout(600)

    for side in (512, 1024, 2048):
        fresh(side)
        circle(page, events=40)
        tell(f"{kind}_event_{side}", circle(page), EVENT_LIMIT_MS[side])
        for i in range(UNDOS):
            circle(page, radius=40 + 6 * i, events=8)
        tell(f"{kind}_undo_{side}", timed(page, UNDO, UNDOS), 30)
        if side in SAVE_LIMIT_MS:
            fresh(side)
            times = saves(page, lambda i: circle(page, radius=20 + 7 * i, events=6))
            tell(f"{kind}_pen_to_python_{side}", times, SAVE_LIMIT_MS[side])


def saves(page: Page, stroke: Callable[[int], object]) -> list[float]:
    """From the pen's lifting to the server's answer, which comes after its callbacks ran: one for each stroke."""
    page.wait_for_timeout(800)
    page.evaluate("() => { window.lifted.length = 0; performance.clearResourceTimings(); }")
    for i in range(STROKES):
        stroke(i)
        page.wait_for_timeout(250)
    times = page.evaluate(ANSWERS)
    if len(times) != STROKES:
        raise RuntimeError(f"{STROKES} strokes, but {len(times)} answers")
    return times


def pose_editor(page: Page) -> None:
    """Dragging a wrist: one person, then a full canvas of people with hands and faces."""

    def drag(turn: int = 0, events: int = 6) -> Times:
        start = page.evaluate(HAND)
        radius = (30, -30)[turn % 2]  # there and back, so that the arm is never stretched out
        return circle(page, radius, (start[0] - radius, start[1]), events)

    for count in (1, 64):
        page.evaluate(CROWD, count)
        page.wait_for_timeout(600)
        drag(events=40)
        tell(f"pose_event_{count}_people", drag(events=EVENTS), EVENT_LIMIT_MS[1024])
        for turn in range(UNDOS):
            drag(turn)
        tell(f"pose_undo_{count}_people", timed(page, UNDO, UNDOS), 30)
        tell(f"pose_pen_to_python_{count}_people", saves(page, drag), SAVE_LIMIT_MS[512])


def main() -> int:
    """Measure everything once."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        server.start()
        browser = playwright.chromium.launch(executable_path=install(), args=ARGUMENTS)
        try:
            for path, kind in (("", "scribble"), ("seg", "seg"), ("pose", "pose")):
                if kind not in (sys.argv[1:] or KINDS):
                    continue
                sent: list[object] = []
                page = opened(browser, server.url, path, sent)
                if kind == "pose":
                    pose_editor(page)
                else:
                    raster_editor(page, kind)
                print(
                    json.dumps({"bench": f"{kind}_reruns", "messages_to_streamlit": len(sent), "limit": 0}), flush=True
                )
                page.context.close()
        finally:
            browser.close()
            server.stop()
    if missed:
        print(f"over the limit: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())

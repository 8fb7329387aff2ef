"""Live drawing on the embedded model: from the stroke to the picture, and what it costs page, server and worker.

Prints one JSON line a measurement, from one Chromium and one server:

    stroke_to_picture   ms from the oldest change that a picture is the first to show until it is there; the same of every
                        change, whether it was the oldest or not; pictures a second while a pen draws without a pause;
                        processor time a picture, which other work on the machine does not change
    page                handlers of pointer events, and frames, at a canvas of 1024 px while pictures come in; how long the main
                        thread worked for each of its tasks, by its own clock; events lost
    sustained           120 events a second for a while: what page, server and worker have grown by
    idle                share of a core while Live is on and nobody draws

`--seconds N` sets how long the first two draw, `--sustained N` the third.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.bench.bench_editors import METER, READY, STUDIO  # noqa: E402
from tests.browser.conftest import Server  # noqa: E402
from tests.chromium import ARGUMENTS, install  # noqa: E402

EVENTS_PER_S = 120
IDLE_S = 10.0
TRACED_S = 6.0
LIMIT_MS = {"p50": 200.0, "p95": 350.0}

# A pen that circles over the sheet at an even pace; what was late is caught up, as a browser hands over what it has collected.
DRAW = """async ([seconds, pace]) => {
  const studio = STUDIO, stage = studio.stage.element, box = stage.getBoundingClientRect(), handlers = [], frames = [];
  let [heard, fired, over] = [0, 0, false];
  const { move } = studio.pointer.actions;
  studio.pointer.actions.move = (points, last) => { heard += points.length; move(points, last); };
  stage.setPointerCapture = () => {};
  const changes = new Map(); // when a picture was there -> how long its changes had waited
  const told = (list) => list.getEntriesByName("studio.live");
  const hear = ({ startTime, duration }) => {
    const end = Math.round(startTime + duration);
    changes.set(end, [...(changes.get(end) ?? []), duration]);
  };
  const observer = new PerformanceObserver((list) => told(list).forEach(hear));
  observer.observe({ entryTypes: ["measure"] });
  const fire = (type, i) => {
    const begin = performance.now(), radius = 60 + 100 * (1 + Math.sin(i / 97));
    const [x, y] = [box.left + box.width / 2 + radius * Math.cos(i / 25), box.top + box.height / 2 + radius * Math.sin(i / 31)];
    stage.dispatchEvent(new PointerEvent(type, { bubbles: true, composed: true, pointerId: 7, button: 0, pointerType: "pen",
      pressure: 0.8, clientX: x, clientY: y }));
    return performance.now() - begin;
  };
  const watch = (async () => { while (!over) frames.push(await frameSpent()); })();
  const begin = performance.now();
  fire("pointerdown", 0);
  while (performance.now() - begin < 1000 * seconds) {
    while (fired < ((performance.now() - begin) / 1000) * pace) handlers.push(fire("pointermove", ++fired));
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
  const lasted = (performance.now() - begin) / 1000;
  fire("pointerup", fired);
  over = true;
  await watch;
  studio.pointer.actions.move = move;
  observer.disconnect();
  const pictures = [...changes.values()].map((waited) => Math.max(...waited));
  const waited = [...changes.values()].flat();
  return { handlers, frames, pictures, changes: waited, fired, heard, lasted, heap: performance.memory?.usedJSHeapSize ?? 0 };
}""".replace("STUDIO", STUDIO)


def tell(name: str, **more: object) -> None:
    print(json.dumps({"bench": "live", "name": name, **more}), flush=True)


def share(times: list[float], part: float) -> float:
    """The value below which `part` of the times lie, ms."""
    ordered = sorted(times) or [0.0]
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1)


def done(page: Page) -> None:
    page.wait_for_selector('.results .beat[data-phase="done"]', timeout=180_000)


def draw(page: Page, seconds: float) -> dict[str, Any]:
    found = page.evaluate(DRAW, [seconds, EVENTS_PER_S])
    done(page)
    return found


def worked_for_tasks(page: Page, seconds: float) -> list[float]:
    """How long the main thread worked for each task of more than a quarter of a millisecond while somebody draws, ms."""
    browser = page.context.browser
    assert browser is not None
    browser.start_tracing(page=page, categories=["toplevel", "devtools.timeline"])
    draw(page, seconds)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    mains = {(one["pid"], one["tid"]) for one in events if one.get("args", {}).get("name") == "CrRendererMain"}
    tasks: dict[tuple[int, int], list[float]] = {}
    for one in events:
        key = (one["pid"], one["tid"])
        if one["name"] == "ThreadControllerImpl::RunTask" and key in mains:
            tasks.setdefault(key, []).append(one.get("tdur", 0) / 1000)
    busiest = max(tasks.values(), key=sum)
    return [one for one in busiest if one > 0.25]


def resize(page: Page, side: int) -> None:
    page.evaluate(f"side => {STUDIO}.replace({STUDIO}.resized(side, side))", side)
    done(page)


def processes(server: Server) -> dict[str, psutil.Process]:
    assert server.process is not None
    web = psutil.Process(server.process.pid)
    worker = next(one for one in web.children(recursive=True) if "execution.worker" in " ".join(one.cmdline()))
    return {"server": web, "worker": worker}


def worked(running: dict[str, psutil.Process]) -> dict[str, float]:
    """Seconds of processor time that each has taken."""
    return {name: sum(one.cpu_times()[:2]) for name, one in running.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--sustained", type=float, default=60.0)
    args = parser.parse_args()
    server = Server(Path(tempfile.mkdtemp()))
    server.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=install(), args=ARGUMENTS)
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.set_default_timeout(180_000)
            page.goto(server.url)
            page.wait_for_selector(READY)
            page.wait_for_selector(".studio[data-ready]")
            page.evaluate(METER)
            page.locator(".studio[data-ready]").focus()
            page.keyboard.press("Shift+L")
            done(page)
            draw(page, 3)  # everything has been loaded once
            measure(page, server, args.seconds, args.sustained)
            browser.close()
    finally:
        server.stop()


def measure(page: Page, server: Server, seconds: float, sustained: float) -> None:
    running = processes(server)
    spent = worked(running)
    found = draw(page, seconds)
    pictures = found["pictures"]
    cost = {name: round(1000 * (now - spent[name]) / max(1, len(pictures))) for name, now in worked(running).items()}
    tell(
        "stroke_to_picture",
        px=512,
        p50_ms=share(pictures, 0.5),
        p95_ms=share(pictures, 0.95),
        change_p50_ms=share(found["changes"], 0.5),
        change_p95_ms=share(found["changes"], 0.95),
        pictures_per_s=round(len(pictures) / found["lasted"], 1),
        cpu_ms_per_picture=cost,
        limit_ms=LIMIT_MS,
        load=round(psutil.getloadavg()[0], 1),
    )
    resize(page, 1024)
    found = draw(page, seconds)
    tasks = worked_for_tasks(page, min(seconds, TRACED_S))
    tell(
        "page",
        px=1024,
        handler_p99_ms=share(found["handlers"], 0.99),
        frame_p99_ms=share(found["frames"], 0.99),
        frame_p50_ms=round(statistics.median(found["frames"]), 1),
        task_cpu_p99_ms=share(tasks, 0.99),
        task_cpu_max_ms=round(max(tasks), 1),
        fired=found["fired"],
        lost=found["fired"] - found["heard"],
        limit_ms=8.0,
    )
    before = {name: one.memory_info().rss for name, one in running.items()} | {"page": found["heap"]}
    found = draw(page, sustained)
    after = {name: one.memory_info().rss for name, one in running.items()} | {"page": found["heap"]}
    tell(
        "sustained",
        seconds=sustained,
        events_per_s=round(found["fired"] / found["lasted"]),
        lost=found["fired"] - found["heard"],
        grown_mb={name: round((after[name] - before[name]) / 1e6, 1) for name in before},
        last_picture_ms=round(found["pictures"][-1], 1) if found["pictures"] else None,
    )
    spent = {name: sum(one.cpu_times()[:2]) for name, one in running.items()}
    time.sleep(10)
    tell(
        "idle",
        core_percent={name: round(10 * (sum(one.cpu_times()[:2]) - spent[name]), 2) for name, one in running.items()},
    )


if __name__ == "__main__":
    main()

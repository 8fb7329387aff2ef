"""The end, as asked for by a service manager or by Ctrl-C: within ten seconds, clean, the running job kept for the next start."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
import psutil

from tests.soak.row import Row
from tests.soak.server import Running, running
from tests.soak.tab import open_tab

LIMIT_S = 10.0


def check(folder: Path) -> list[Row]:
    """End a studio at work by SIGTERM and by Ctrl-C in its terminal, which reaches the whole group."""
    return [
        _end(folder / name, name, number) for name, number in (("SIGTERM", signal.SIGTERM), ("Ctrl-C", signal.SIGINT))
    ]


def _end(folder: Path, name: str, number: signal.Signals) -> Row:
    with running(folder) as studio, open_tab(studio.url, "ab" * 16) as tab:
        tab.run()
        tab.run(**{"scribble.prompt": ("string_value", "slow=0.5")})
        tab.run(**{"scribble.prompt": ("string_value", "slow=0.5"), "scribble.generate": ("trigger_value", True)})
        _until_running(studio)
        workers = [one.pid for one in studio.workers()]
        with httpx.stream("GET", f"{studio.url}/studio/events/{tab.stream}", timeout=30) as events:
            next(events.iter_lines())
            begun = time.monotonic()
            if number == signal.SIGINT:
                os.killpg(studio.process.pid, number)
            else:
                studio.process.send_signal(number)
            try:
                status = studio.process.wait(60)
            except Exception:
                status = None
            seconds = time.monotonic() - begun
        said = studio.said.read_text()
    left = sum(psutil.pid_exists(pid) for pid in workers)
    states = _states(folder)
    figure = f"{seconds:.1f} s, status {status}, {left} processes left, job {states[0] if states else 'lost'}"
    clean = status in (0, -number, 128 + number) and "Traceback" not in said and not left
    return Row(
        f"end by {name}", "1 running job, 1 open stream", figure, clean and seconds <= LIMIT_S and states == ["queued"]
    )


def _until_running(studio: Running) -> None:
    end = time.monotonic() + 60
    while _states(studio.data) != ["running"]:
        assert time.monotonic() < end, "the job did not begin"
        time.sleep(0.1)


def _states(data: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{data / 'jobs.sqlite'}?mode=ro", uri=True)) as file:
        return [row[0] for row in file.execute("SELECT state FROM job")]

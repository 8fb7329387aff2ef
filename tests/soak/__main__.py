"""Everything, with figures, in one table: `make soak`, or `python -m tests.soak --minutes 10`.

The time is that of the steady work; the rest takes about half an hour in full and less with fewer `--kills`, `--examples`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.soak import (
    crowd,
    disk,
    far,
    farewell,
    files,
    fuzz,
    kills,
    load,
    memory,
    pictures,
    silence,
    sockets,
    steady,
    worst_tables,
)
from tests.soak.row import Row
from tests.soak.server import running


def hostile(folder: Path, messages: int) -> Row:
    """Hostile messages to a studio of its own."""
    with running(folder) as studio:
        return sockets.check(studio.url, studio.log, messages)


def main() -> int:
    """Run all checks, print the table, return 1 when one failed."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="of steady work (60)")
    parser.add_argument("--kills", type=int, default=20, help="at each phase (20)")
    parser.add_argument("--examples", type=int, default=10_000, help="inputs for each reader (10000)")
    parser.add_argument("--flips", type=int, default=500, help="of bits in each kind of model file (500)")
    parser.add_argument("--sessions", type=int, default=30, help="that work at once, 20 jobs each (30)")
    parser.add_argument("--messages", type=int, default=300, help="with hostile values (300)")
    parser.add_argument("--only", default="", help="names of checks, separated by commas")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="studio-soak-"))
    checks: dict[str, Callable[[], Row | list[Row]]] = {
        "load": lambda: load.check_load(folder / "load", given.sessions, 20),
        "fairness": lambda: load.check_fairness(folder / "fairness"),
        "kills": lambda: kills.check(folder / "kills", given.kills),
        "ray": lambda: far.check(folder / "ray", max(1, given.kills // 2), max(1, given.kills // 4)),
        "memory": lambda: memory.check(folder / "memory", 3),
        "disk": lambda: [disk.check(folder / "disk", 30), disk.check_drawings(folder / "drawing", 60)],
        "locked": lambda: disk.check_locked(folder / "locked", 40),
        "files": lambda: files.check(folder / "files", given.flips),
        "fuzz": lambda: fuzz.check(given.examples),
        "websocket": lambda: hostile(folder / "websocket", given.messages),
        "pictures": pictures.check,
        "tables": lambda: worst_tables.check(folder / "tables", 100),
        "crowd": lambda: crowd.check(folder / "crowd", 500),
        "silence": lambda: silence.check(folder / "silence"),
        "end": lambda: farewell.check(folder / "end"),
        "steady": lambda: steady.check(folder / "steady", 60 * given.minutes),
    }
    wanted = given.only.split(",") if given.only else list(checks)
    rows: list[Row] = []
    for name in wanted:
        begun = time.monotonic()
        try:
            found = checks[name]()
        except Exception as error:
            found = Row(name, "", f"{type(error).__name__}: {error}"[-66:], False)
        rows += found if isinstance(found, list) else [found]
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print("\n".join(map(str, rows)), flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return any(row.passed is False for row in rows)


if __name__ == "__main__":
    sys.exit(main())

"""Whether all is well on this machine's GPU, then how fast it is: `make gpu`, or `python -m tests.gpu --minutes 8`.

It goes on where it was, stops when the time is up, and ends with one table. Everything is random and made here. Without a GPU
it rehearses on small models: that every row runs, and nothing about speed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.gpu import run

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run what is missing, print the table; 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="make gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8, help="when to stop (8)")
    parser.add_argument("--rows", default="", help='only these, with semicolons between: "ours;stock"')
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "gpu.jsonl", help="where lines are kept (runs/gpu.jsonl)"
    )
    parser.add_argument("--models", type=Path, default=ROOT / "runs" / "gpu-models", help="where models are kept")
    parser.add_argument(
        "--scale", choices=("real", "small"), default="", help="sizes of part 2 (real on a GPU, else small)"
    )
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md from the file, and run nothing")
    given = parser.parse_args()
    if given.docs:
        from tests.gpu import table

        lines = [line for line in run.held(given.out, "") if not line["device"].startswith("no GPU")]
        newest = [line for line in lines if line["device"] == lines[-1]["device"]]
        table.write(newest, ROOT / "docs" / "performance.md")
        return 0
    scale = given.scale or ("real" if run._has_driver() else "small")
    small = "fifth" if scale == "real" else "small"
    processes = run.Processes(run.Settings(str(given.models), small, scale))
    wanted = [name.strip() for name in given.rows.split(";") if name.strip()]
    lines = run.run(processes, given.out, given.minutes, wanted, lambda text: print(text, flush=True))
    from tests.gpu import table

    print("\n" + table.table(lines), flush=True)
    return int(any(run.is_open(line) for line in lines))


if __name__ == "__main__":
    sys.exit(main())

"""Whether all is well on this machine's GPU, then how fast it is: `make gpu`, or `python -m tests.gpu --minutes 8`.

It goes on where it was, stops when the time is up, and ends with one table. Everything is random and made here. What does not
fit a card is left out with the reason. Without a GPU nothing is tried, unless --rehearse asks for small models on the processor:
that tells that every row runs, and nothing about speed. It ends with 1 where something is wrong, and with 2 where nothing could
be tried.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.gpu import run

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run what is missing, print the table; 1 where something is wrong, 2 where nothing could be tried."""
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
    parser.add_argument("--rehearse", action="store_true", help="without a GPU: run every row on the processor")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md from the file, and run nothing")
    given = parser.parse_args()
    if given.docs:
        from tests.gpu import table

        lines = [line for line in run.held(given.out, "") if not line["device"].startswith("no GPU")]
        newest = [line for line in lines if line["device"] == lines[-1]["device"]]
        table.write(newest, ROOT / "docs" / "performance.md")
        return 0
    processes = run.Processes(run.Settings(str(given.models), "small", "small"))
    found = processes.look()
    if "failed" in found or not (run.has_card(found) or given.rehearse):
        print(found.get("failed") or run.absent(), flush=True)
        return 2
    if (given.scale or ("real" if run.has_card(found) else "small")) == "real":
        processes.settings = run.Settings(str(given.models), "fifth", "real")
    wanted = [name.strip() for name in given.rows.split(";") if name.strip()]
    lines = run.run(processes, given.out, given.minutes, wanted, lambda text: print(text, flush=True))
    from tests.gpu import table

    if not lines:
        return 2
    print("\n" + table.table(lines), flush=True)
    return int(any(run.is_open(line) for line in lines))


if __name__ == "__main__":
    sys.exit(main())

"""What one warm run of a page's script costs, beside that of an empty page: processor time, so that a busy machine counts less.

Prints one JSON line a page. Measured without a browser, so the components' own time is not in it.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
RUNS = 15
PAGES = {
    "empty": 'st.write("x")',
    "scribble": 'studio.page("scribble")',
    "pose": 'studio.page("pose")',
    "seg": 'studio.page("seg")',
    "depth": 'studio.page("depth")',
    "compose": "compose.page()",
}


def warm_ms(body: str) -> float:
    """Median milliseconds of processor time of a run, once everything has been made."""
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_string(
        f"import streamlit as st\nfrom pages import compose, studio\n{body}\n", default_timeout=120
    )
    times: list[float] = []
    for _ in range(RUNS):
        begin = time.process_time()
        page.run()
        times.append(1000 * (time.process_time() - begin))
    assert not page.exception, page.exception
    return statistics.median(times[3:])


def main() -> None:
    """Measure every page once."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STUDIO_DATA"] = folder
        for name, body in PAGES.items():
            print(json.dumps({"bench": "page_run", "page": name, "cpu_ms": round(warm_ms(body), 1)}), flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()

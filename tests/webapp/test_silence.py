"""Nothing goes out: no request leaves this machine except a download that a person asked for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.ports import free_port
from tests.soak import silence
from tests.soak.server import ENGINE, ROOT


def test_nothing_leaves_a_studio_in_use(tmp_path: Path) -> None:
    row = silence.check(tmp_path)
    assert row.passed, str(row)


def test_nothing_leaves_when_streamlit_itself_starts_it_for_a_network(tmp_path: Path) -> None:
    with silence.no_way_out(tmp_path) as heard:
        os.environ |= {"STUDIO_DATA": str(tmp_path / "data"), "STUDIO_ENGINE": ENGINE}
        command = [sys.executable, "-m", "streamlit", "run", "webapp/app.py", "--server.address", "0.0.0.0"]
        with (tmp_path / "said.txt").open("w+") as said:
            child = subprocess.Popen(
                [*command, "--server.port", str(free_port())], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT
            )
            end = time.monotonic() + 60
            while "URL" not in (tmp_path / "said.txt").read_text() and child.poll() is None:
                assert time.monotonic() < end
                time.sleep(0.2)
            child.terminate()
            child.wait(30)
        assert not heard.lines()
        assert silence.listens(heard)


def test_a_page_names_no_other_server(tmp_path: Path) -> None:
    """Of the pages' headers and of Streamlit's own page: nothing is loaded from elsewhere, so nobody hears of a visit."""
    import streamlit

    from webapp.routes.guard import PAGE

    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    policy = PAGE["Content-Security-Policy"]
    assert not re.search(r"https?:|\bwss?:(?!//)|\*", policy)

"""A client that sends any value to any widget of the running studio: a sentence at most, and the session goes on."""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamlit.components.v2.bidi_component.constants import EVENT_DELIM
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX

from tests.soak.row import Row
from tests.soak.tab import fill, open_tab

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("", "pose", "seg", "canny", "compose", "gallery", "models")
JSON = (
    '{"kind": "reopen", "id": "../x"}',
    "[" * 5000,
    '{"action": 1}',
    "null",
    "NaN",
    '{"kind": "studio", "text": "{}"}',
    '"\\ud800"',
)


EVENTS = ("action", "wanted", "use", "generate", "keep", "live", "changed", "edit", "ended")
"""What our components tell Python of; `components/mount.py` names them."""
TOLD = (
    {"kind": "reopen", "id": "../x"}, {"kind": "job", "id": "0" * 32}, {"kind": "studio", "text": "[" * 5000},
    {"kind": "parameters", "text": "Steps: " * 9000}, {"kind": "edit", "photo": "0" * 64, "control": "canny", "detector": "x"},
    {"kind": "photo", "photo": 7}, {"kind": "keep", "cell": -1, "picture": 10**30}, {"kind": "vary", "picture": 1e308},
    {"rev": "x", "seed": -1, "example": {}}, {"rev": 2**70}, {"shapes": [[]] * 5000}, "x" * 100_000, [], None, True, 1e308,
    {"kind": {"kind": []}}, {"kind": "open", "id": "\0"}, {"objects": [{"type": "path", "path": "x"}]},
)  # fmt: skip


def values(rng: random.Random) -> Sequence[tuple[str, Any]]:
    """One value of every kind that the protocol knows."""
    text = rng.choice(["", "x" * 100_000, "<script>alert(1)</script>", "\0\x1b", "../../etc/passwd", "-1", "💥" * 50])
    number = rng.choice([float("nan"), float("inf"), -float("inf"), -1e300, 0.5, 1e18])
    return [
        ("trigger_value", rng.random() < 0.5),
        ("bool_value", rng.random() < 0.5),
        ("double_value", number),
        ("int_value", rng.choice([-(2**63), 2**63 - 1, -1, 0, 10**12])),
        ("string_value", text),
        ("double_array_value", [number] * rng.randint(0, 5)),
        ("int_array_value", [rng.randint(-(2**40), 2**40)] * rng.randint(0, 5)),
        ("string_array_value", [text] * rng.randint(0, 3)),
        ("json_value", rng.choice(JSON)),
        ("bytes_value", rng.randbytes(64)),
        ("string_trigger_value", text),
        ("json_trigger_value", rng.choice(JSON)),
    ]


def check(url: str, log: Path, messages: int, seed: int = 0) -> Row:
    """Send `messages` messages, each with hostile values for some widgets of a page; every page must then still run.

    What Streamlit itself cannot read fails before any line of ours: those sentences are counted apart, by the traces in `log`.
    """
    rng = random.Random(seed)
    sent = alive = leaks = reached = 0
    before = log.stat().st_size if log.is_file() else 0
    pages = PAGES if messages >= 50 else PAGES[:1]
    for page in pages:
        with open_tab(url) as tab:
            tab.run(page)
            for _ in range(max(1, messages // len(pages))):
                message = BackMsg()
                message.rerun_script.page_name = page
                for id in rng.sample(sorted(tab.widgets), k=min(3, len(tab.widgets))):
                    _hostile(message, id, tab.widgets[id], rng)
                if rng.random() < 0.2:
                    message.rerun_script.query_string = "".join(rng.choices(string.printable, k=500))
                tab.send(message)
                sent += 1
            # What our own lines refuse they say in an alert; Streamlit's would be an exception.
            reached += sum("exception" not in text[:9] for text in tab.texts)
            leaks += sum("Traceback" in text or "/site-packages/" in text for text in tab.texts)
            tab.texts.clear()
            alive += tab.run(page)
        with open_tab(url) as tab:
            alive += tab.run(page)
    ours, theirs = failures(log.read_bytes()[before:].decode("utf-8", "replace") if log.is_file() else "")
    figure = f"{alive} of {2 * len(pages)} alive, refused {reached} by us, {theirs} by Streamlit; {ours} failed, {leaks} traces"
    right = alive == 2 * len(pages) and not leaks and not ours and (reached > 0 or messages < 50)
    return Row("hostile websocket values", f"{sent} messages", figure, right)


def failures(log: str) -> tuple[int, int]:
    """How many traces of failed pages in a log end in our code, and how many in Streamlit's."""
    ours = theirs = 0
    for entry in re.split(r"(?m)^(?=\d{4}-\d\d-\d\d )", log):
        frames = re.findall(r'File "([^"]+)", line', entry)
        if "a page failed" not in entry or not frames:
            continue
        if any("site-packages" in frame for frame in frames[_last_of_ours(frames) + 1 :]):
            theirs += 1
        else:
            ours += 1
    return ours, theirs


def _last_of_ours(frames: list[str]) -> int:
    inside = [n for n, frame in enumerate(frames) if frame.startswith(str(ROOT)) and "site-packages" not in frame]
    return inside[-1] if inside else -1


def _hostile(message: BackMsg, id: str, kind: str, rng: random.Random) -> None:
    state = message.rerun_script.widget_states.widgets.add()
    if kind == "bidi_component" and rng.random() < 0.8:
        # Events of a component travel under a name of their own, as a list; under the component's they reach nobody.
        state.id = f"{STREAMLIT_INTERNAL_KEY_PREFIX}_{id}{EVENT_DELIM}events"
        state.json_trigger_value = json.dumps([{"event": rng.choice(EVENTS), "value": rng.choice(TOLD)}])
        return
    state.id = id
    field, value = rng.choice(values(rng))
    fill(state, field, value)

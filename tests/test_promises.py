"""What SECURITY.md promises names tests that exist, and what is installed is locked by checksums."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def promised() -> list[str]:
    """The paragraphs and table rows of the promises."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    part = text.split("## What is promised", 1)[1].split("## What is not promised", 1)[0]
    paragraphs = [one for one in part.split("\n\n") if one.startswith("**") and not one.startswith("**Files**")]
    rows = [line for line in part.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    return paragraphs + rows


def test_every_promise_names_tests_and_all_of_them_exist() -> None:
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    known = {name for text in files for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert len(promised()) >= 12
    for promise in promised():
        named = set(re.findall(r"`(test_\w+)`", promise))
        assert named, f"no test shows this: {promise[:80]}"
        assert named <= known, f"there are no such tests: {named - known}"


def pins(text: str) -> dict[str, str]:
    """Names and versions of a list of requirements."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_every_requirement_is_locked_with_hashes() -> None:
    wanted = pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = pins(text)
    assert len(wanted) > 15
    assert {name: locked.get(name) for name in wanted} == wanted
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:60]

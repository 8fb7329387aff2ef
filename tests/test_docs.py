"""The documentation as a site: it builds without a dead link, and knows every control and every sentence it quotes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import annotator

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("controlnet_core", "annotator", "webapp", "components")


def test_the_site_builds_without_a_dead_link(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for key in annotator.controls():
        assert (tmp_path / "site" / "controls" / key / "index.html").is_file()
    html = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="https?://(?!localhost|127\.)[^"]*\.(?:js|css|woff2?)"', html), (
        "fetched from elsewhere"
    )


def test_readme_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_refusals_are_quoted_as_the_program_says_them() -> None:
    """Every sentence in quotes stands in the code, up to the places that it fills in."""
    said = "\n".join(path.read_text(encoding="utf-8") for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    quoted = re.findall(r"\*\*“([^”]+)”\*\*", (ROOT / "docs" / "faq.md").read_text(encoding="utf-8"))
    assert len(quoted) >= 5
    for sentence in quoted:
        parts = [part.strip() for part in re.split(r"\.\.\.|[\d.]+ GB", sentence)]
        assert all(part in said for part in parts if len(part) > 3), sentence


def test_the_changelog_has_a_section_for_a_release() -> None:
    command = [sys.executable, str(ROOT / "packaging" / "changelog.py")]
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first
    found = subprocess.run([*command, first[1]], capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert len(found.stdout) > 100
    missing = subprocess.run([*command, "99.0.0"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "no section for 99.0.0" in missing.stderr


def test_the_architecture_names_what_is_there() -> None:
    """Every path in it exists, and every word of code is a module, a folder, or something that is defined here."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    here = [
        path.relative_to(ROOT) for room in (*ROOMS, "paperworld", "pages", "tests") for path in (ROOT / room).rglob("*")
    ]
    here = [path for path in here if not {"node_modules", "__pycache__"} & set(path.parts)]
    code = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in here if path.suffix == ".py")
    known = {part for path in here for part in (*path.parts, path.stem)} | {path.name for path in ROOT.iterdir()}
    known |= {name for pair in re.findall(r"(?:def|class) (\w+)|^ +(\w+): ", code, re.MULTILINE) for name in pair}
    known |= {"checkpoints", "controlnet", "loras", "vae"}  # in the user's models folder
    for name in re.findall(r"(?<![\w`])`(?!/)([a-z_][\w/]*(?:\.py)?)`", text):
        assert (ROOT / name).exists() or {part for part in name.split("/") if part} <= known, name

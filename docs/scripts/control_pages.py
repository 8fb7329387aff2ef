"""A page for every control, made from the registry while the site is built: what the program knows is what the site says.

A hook of MkDocs. Pictures beside the pages (docs/controls/KEY.png) come from `control_pictures.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import annotator  # noqa: E402
from controlnet_core.domain.control import ControlType, Param  # noqa: E402
from controlnet_core.models.catalog import ModelCard, shipped  # noqa: E402

WAYS = {
    "scribble": "a canvas for lines",
    "colour": "ink and crayons on white paper: colours go under the lines, the bucket stops at them, white says nothing",
    "pose": "a skeleton whose joints you drag",
    "seg": "a painter with ADE20K's 150 classes",
    "view": "a viewer that adjusts the map",
    "inpaint": "a brush for the holes",
}


def on_config(config: Any) -> Any:
    """Put every control's page into the navigation, in the order of the program's own."""
    pages = [{one.title: f"controls/{key}.md"} for key, one in annotator.controls().items()]
    section = next(entry for entry in config.nav if "Controls" in entry)
    section["Controls"] = [{"All controls": "controls/index.md"}, *pages]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add one page a control, and the table of them all."""
    known = annotator.controls()
    pictures = ROOT / "docs" / "controls"
    for key, control in known.items():
        picture = f"{key}.png" if (pictures / f"{key}.png").is_file() else ""
        files.append(File.generated(config, f"controls/{key}.md", content=page(control, picture)))
    files.append(File.generated(config, "controls/index.md", content=table(list(known.values()))))
    return files


def table(known: list[ControlType]) -> str:
    """The page that lists all controls."""
    rows = [f"| [{one.title}]({one.key}.md) | `{one.key}` | {one.help} |" for one in known]
    head = (
        "# Controls\n\nA control is drawn by hand, found in a photo, or both: what was found opens in the editor.\n\n"
    )
    return head + "| | key | what it keeps |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def page(control: ControlType, picture: str) -> str:
    """One control: its picture, its editor, its detectors with their values, the ControlNets that read it."""
    lines = [f"# {control.title}", "", control.help, ""]
    if picture:
        lines += [f"![The drawing, and what the embedded model makes of it]({picture})", ""]
    if control.editor in WAYS:
        lines += [f"**By hand**: {WAYS[control.editor]}.", ""]
    lines += ["    studio generate --control " + f'{control.key}=picture.png --prompt "{control.placeholder}"', ""]
    if control.params:
        lines += ["## How it is drawn", "", *_params(control.params), ""]
    if control.detectors:
        lines += ["## From a photo", ""]
        for detector in control.detectors:
            cards = [shipped()[name] for name in detector.weights if name in shipped()]
            needs = f" Needs {', '.join(_card(one) for one in cards)}." if cards else " Needs no download."
            lines += [f"**{detector.title}** (`{detector.key}`). {detector.help}{needs}".strip(), ""]
            lines += [*_params(detector.params), ""] if detector.params else []
    networks = [card for card in shipped().values() if card.kind == "controlnet" and control.key in card.controls]
    if networks:
        lines += ["## ControlNets that read it", ""]
        lines += [f"- {_card(card)}: `studio models download {card.id}`" for card in networks]
    return "\n".join(lines) + "\n"


def _card(card: ModelCard) -> str:
    size = f", {card.size_mib} MB" if card.size_mib else ""
    return f"{card.title} ({card.licence or 'licence unknown'}{size})"


def _params(params: tuple[Param, ...]) -> list[str]:
    rows = ["| value | default | |", "|---|---|---|"]
    rows += [f"| `{one.key}` | {one.default} | {one.title}{': ' + one.help if one.help else ''} |" for one in params]
    return rows

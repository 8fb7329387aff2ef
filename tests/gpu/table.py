"""What came out: a table for the terminal, and the part of docs/performance.md that is made from runs/gpu.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.gpu import fast
from tests.gpu.run import in_words, is_open, names

BEGIN, END = "<!-- gpu: made by `make gpu ARGS=--docs` -->", "<!-- /gpu -->"


def table(lines: list[dict[str, Any]], device: str = "") -> str:
    """Every row, the goals, and one sentence of verdict."""
    known = {(line["part"], line["row"]): line for line in lines}
    where = device or (lines[0]["device"] if lines else "nothing")
    told = [f"{where[0].upper()}{where[1:]}:", ""]
    for part in ("right", "fast"):
        for name in names(part):
            line = known.get((part, name))
            told.append(in_words(line) if line else f"{'-':<5}{name:<36} not tried yet")
        told.append("")
    if lines and lines[0]["device"].startswith("no GPU"):
        return "\n".join([*told, f"{verdict(lines)} What a rehearsal takes says nothing about a GPU."])
    for what, wanted, came, reached in fast.weigh(measured(lines)):
        told.append(f"{ {True: 'yes', False: 'no', None: '-'}[reached]:<5}{what:<44} {wanted:<24} {came}")
    return "\n".join([*told, "", verdict(lines)])


def verdict(lines: list[dict[str, Any]]) -> str:
    """All is well, or what is not, or how much has not been tried."""
    wrong = [line["row"] for line in lines if is_open(line)]
    tried = {(line["part"], line["row"]) for line in lines}
    missing = sum((part, name) not in tried for part in ("right", "fast") for name in names(part))
    left = sum("skipped" in line for line in lines)
    rest = f" {left} rows are left out: this machine is too small for them or cannot do them." if left else ""
    rest += f" {missing} rows have not been tried yet: call it again." if missing else ""
    if wrong:
        return f"NOT WELL: {', '.join(wrong)}.{rest}"
    return f"All is well.{rest}" if lines else f"Nothing was tried.{rest}"


def measured(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows of part 2 that have figures."""
    return {line["row"]: line for line in lines if line["part"] == "fast" and "seconds" in line}


def documentation(lines: list[dict[str, Any]]) -> str:
    """The section about GPUs, in Markdown; of what nobody measured it says so."""
    rows = measured(lines)
    checks = {line["row"]: line for line in lines if line["part"] == "right"}
    if lines:
        head = f"On {lines[0]['device']}, by `make gpu` (SD 1.5's size at 512 px, SDXL's at 1024 px, random weights, float16)."
    else:
        head = (
            f"No GPU has run this yet: all {sum(len(names(part)) for part in ('right', 'fast'))} rows are empty. `make gpu` fills "
            "them on a machine that has one, and these goals are for an H200:"
        )
        goals = [f"- {what}: {wanted}" for what, wanted, _, _ in fast.weigh({})]
        return "\n".join([BEGIN, head, "", *goals, END])
    told = [BEGIN, head, "", "| row | seconds | steps/s | peak, GB | by the estimate, GB |", "|---|---|---|---|---|"]
    for name in names("fast"):
        line = rows.get(name, {})
        if why := next((one["skipped"] for one in lines if one["row"] == name and "skipped" in one), ""):
            told.append(f"| {name} | left out: {why} | | | |")
            continue
        cells = [_cell(line.get(key)) for key in ("seconds", "steps_per_s", "peak_gb", "estimate_gb")]
        told.append(f"| {name} | {' | '.join(cells)} |")
    told += ["", "| goal on an H200 | wanted | came | reached |", "|---|---|---|---|"]
    for what, wanted, came, reached in fast.weigh(rows):
        told.append(f"| {what} | {wanted} | {came} | { {True: 'yes', False: 'no', None: '-'}[reached] } |")
    told += ["", "| right? | | |", "|---|---|---|"]
    for name in names("right"):
        line = checks.get(name)
        if line is None:
            told.append(f"| {name} | not tried | |")
        else:
            mark = "fails" if is_open(line) else "passes" if line.get("passed") else "-"
            words = next((line[key] for key in ("figure", "failed", "skipped") if key in line), "")
            told.append(f"| {name} | {mark} | {words} |")
    return "\n".join([*told, END])


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def write(lines: list[dict[str, Any]], file: Path) -> None:
    """Put the section into the documentation, in the place of the old one."""
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    file.write_text(before + documentation(lines) + after, encoding="utf-8")

"""Runs the rows, each in a process of its own, and writes a JSON line for each: what is done already is left out.

The processes are forks of one that has imported everything and has not touched CUDA, which does not survive a fork; so a row
that breaks the card's state, or dies, harms no other, and none waits for imports. Where a fork cannot use CUDA, processes are
made from nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# NVML is asked whether a GPU is here: CUDA would be started by that, in a process that will fork.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

PARTS = ("right", "fast")
WORKERS = "two workers on a card"
_AFTER_S = 5.0
"""What is left to a row that would be stopped before it: there is no use in beginning it."""


@dataclass(frozen=True)
class Settings:
    """Where models lie and which sizes they have: `real` says whether those of part 2 are as large as life."""

    models: str
    small: str
    real: str


def work(part: str, name: str, settings: Settings) -> dict[str, Any]:
    """One row, in this process."""
    import torch
    from diffusers.utils import logging as told_by_diffusers
    from transformers.utils import logging as told_by_transformers

    from tests.gpu import fast, models, right
    from tests.gpu.card import card

    here = card()
    if not here.real:
        torch.set_num_threads(1)
    for library in (told_by_diffusers, told_by_transformers):
        library.disable_progress_bar()
    if part == "look":
        return {"device": here.name}
    if why := here.refuses(name):
        return {"skipped": why, "device": here.name}
    root = Path(settings.models)
    folders = {scale: root / scale for scale in {settings.small, settings.real}}
    if part == "models":
        short = models.short_of_space(root, settings.real)
        if short:
            raise OSError(short)
        for scale, folder in folders.items():
            models.save(folder, models.SCALES[scale])
        if models.SCALES[settings.real].side_xl:
            models.save_xl(folders[settings.real], models.SCALES[settings.real])
        return {}
    bench = right.Bench(
        here, folders[settings.small], models.SCALES[settings.small], folders[settings.real], models.SCALES[settings.real]
    )  # fmt: skip
    with here.ready():
        if part == "right":
            passed, figure = right.CHECKS[name](bench)
            return {"passed": passed, "figure": figure, "device": here.name}
        if part == "worker":
            return {"drawn": right.one_of_two(bench, int(name)), "device": here.name}
        return fast.measure(name, bench.real, bench.real_scale, here) | {"device": here.name}


def told(part: str, name: str, settings: Settings) -> dict[str, Any]:
    """`work`, with what went wrong as its answer."""
    try:
        return work(part, name, settings)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:400], "where": traceback.format_exc()[-1500:]}


def _child(there: Connection, part: str, name: str, settings: Settings, env: dict[str, str]) -> None:
    os.environ.update(env)
    there.send(told(part, name, settings))
    there.close()
    os._exit(0)  # device libraries may hang in their own clean-up


Answer = dict[str, Any]


class Processes:
    """Makes processes for rows."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.method = "fork"

    def prepare(self) -> Answer:
        """Import everything, save the models in a process of its own, and draw one picture."""
        import diffusers

        from controlnet_core import engine  # noqa: F401 - first: it keeps xformers out
        from tests.gpu import fast, right  # noqa: F401

        names = ("ControlNetPipeline", "XLControlNetPipeline")
        assert all(getattr(diffusers, f"StableDiffusion{name}") for name in names)
        found = self.ask("models", "", timeout_s=300)
        return found if "failed" in found else self.ask("worker", "0", timeout_s=180)

    def look(self) -> Answer:
        """What computes here, by name; how processes are made is found out with it."""
        found = self.ask("look", "", timeout_s=120)
        if not has_card(found) and _has_driver():
            self.method = "spawn"
            again = self.ask("look", "", timeout_s=180)
            found = again if "failed" in found or has_card(again) else found
        return found

    def ask(self, part: str, name: str, *, timeout_s: float, fresh: bool = False, **env: str) -> Answer:
        """What one process answers; `fresh`, one that has imported nothing yet."""
        return self.ask_all([(part, name)], timeout_s=timeout_s, fresh=fresh, **env)[0]

    def ask_all(
        self, rows: list[tuple[str, str]], *, timeout_s: float, fresh: bool = False, **env: str
    ) -> list[Answer]:
        """What processes that run beside each other answer."""
        context: Any = multiprocessing.get_context("spawn" if fresh else self.method)
        running: list[tuple[Connection, Any]] = []
        for part, name in rows:
            here, there = context.Pipe(duplex=False)
            child = context.Process(target=_child, args=(there, part, name, self.settings, env))
            child.start()
            there.close()
            running.append((here, child))
        until = time.monotonic() + timeout_s
        return [self._heard(here, child, until) for here, child in running]

    def _heard(self, here: Connection, child: Any, until: float) -> Answer:
        try:
            if not here.poll(max(0.0, until - time.monotonic())):
                return {"late": True}
            return here.recv()
        except EOFError:
            child.join(10)
            return {"failed": f"its process died (exit status {child.exitcode})"}
        finally:
            if child.is_alive():
                child.join(2)
            if child.is_alive():
                child.kill()
            child.join()


class Here(Processes):
    """Runs rows in this process: for rehearsals."""

    def prepare(self) -> Answer:
        """See `Processes.prepare`."""
        found = told("models", "", self.settings)
        return found if "failed" in found else told("worker", "0", self.settings)

    def ask_all(
        self, rows: list[tuple[str, str]], *, timeout_s: float, fresh: bool = False, **env: str
    ) -> list[Answer]:
        """See `Processes.ask_all`."""
        from tests.gpu.right import environment

        with environment(**env):
            return [told(part, name, self.settings) for part, name in rows]


def names(part: str) -> list[str]:
    """The rows of a part, in their order."""
    from tests.gpu import fast, right

    return [*right.CHECKS, WORKERS] if part == "right" else list(fast.ROWS)


def run(
    processes: Processes, out: Path | None, minutes: float, wanted: list[str], say: Callable[[str], None] = print
) -> list[Answer]:
    """All rows that `out` does not hold yet, as long as there is time; returns every line, those held included."""
    began = time.monotonic()
    until = began + 60 * minutes
    probe = processes.prepare()
    if "failed" in probe:
        say(f"Nothing can be tried: {probe['failed']}\n{probe.get('where', '')}")
        return []
    device = probe["device"]
    lines = held(out, device)
    done = {(line["part"], line["row"]) for line in lines if not is_open(line)}
    for part in PARTS:
        for name in names(part):
            if (part, name) in done or (wanted and name not in wanted):
                continue
            left = until - time.monotonic()
            if left < _AFTER_S:
                say("The time is up; the next call goes on here.")
                return lines
            start = time.monotonic()
            answer = _two_workers(processes, left) if name == WORKERS else _one(processes, part, name, left)
            if "late" in answer:
                say(f"The time is up in the middle of: {name}. The next call goes on here.")
                return lines
            line = {
                "bench": "gpu",
                "part": part,
                "row": name,
                "device": device,
                **answer,
                "took_s": round(time.monotonic() - start, 1),
            }
            lines = [one for one in lines if (one["part"], one["row"]) != (part, name)] + [line]
            _write(line, out)
            say(in_words(line))
    return lines


def _one(processes: Processes, part: str, name: str, left: float) -> Answer:
    if name == "xformers":  # it is decided while diffusers is imported
        return processes.ask(part, name, timeout_s=left, fresh=True, STUDIO_ATTENTION="xformers")
    return processes.ask(part, name, timeout_s=left)


def _two_workers(processes: Processes, left: float) -> Answer:
    """Two processes that draw at the same time, beside each of them alone."""
    rows = [("worker", "1"), ("worker", "2")]
    begun = time.monotonic()
    alone = [processes.ask(part, name, timeout_s=left / 2) for part, name in rows]
    both = processes.ask_all(rows, timeout_s=left - (time.monotonic() - begun))
    for answer in (*alone, *both):
        if "drawn" not in answer:
            return answer
    same = [one["drawn"] == other["drawn"] for one, other in zip(alone, both, strict=True)]
    return {"passed": all(same), "figure": f"{sum(same)} of 2 draw the same pictures beside each other as alone"}


def held(out: Path | None, device: str) -> list[Answer]:
    """The lines of a file that are about a device, the latest of each row."""
    latest: dict[tuple[str, str], Answer] = {}
    if out is not None and out.is_file():
        for text in out.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # the last line of a process that was cut off
            if line.get("bench") == "gpu" and (not device or line["device"] == device):
                latest.pop((line["part"], line["row"]), None)  # the newest is the last
                latest[line["part"], line["row"]] = line
    return list(latest.values())


def is_open(line: Answer) -> bool:
    """Whether a row is to be run again: it failed, and may have been mended meanwhile."""
    return "failed" in line or line.get("passed") is False


def in_words(line: Answer) -> str:
    """A line as people read it."""
    if "failed" in line:
        verdict, figure = "FAIL", line["failed"]
    elif "skipped" in line:
        verdict, figure = "-", f"left out: {line['skipped']}"
    elif line["part"] == "right":
        verdict = {True: "PASS", False: "FAIL", None: "-"}[line["passed"]]
        figure = line["figure"]
    else:
        verdict = ""
        figure = f"{1000 * line['seconds']:.1f} ms"
        if "steps_per_s" in line:
            figure += f", {line['steps_per_s']} steps/s"
        if "p95_s" in line:
            figure += f", p95 {1000 * line['p95_s']:.1f} ms"
        figure += f", {line['peak_gb']} GB"
        if "estimate_gb" in line:
            figure += f" ({line['estimate_gb']} by the estimate, {line['plan']})"
    return f"{verdict:<5}{line['row']:<36} {figure}"


def _write(line: Answer, out: Path | None) -> None:
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def has_card(answer: Answer) -> bool:
    """Whether an answer came from a GPU."""
    return not answer.get("device", "no GPU").startswith("no GPU")


def absent() -> str:
    """Why there is nothing to try, and what to do."""
    if _has_driver():
        import torch

        why = f"A GPU is here, but this PyTorch ({torch.__version__}) cannot use it: install a build of it for CUDA."
    else:
        why = "There is no GPU here that PyTorch can use, so nothing was tried."
    return f"{why} make gpu ARGS=--rehearse runs every row on the processor, on small models."


def _has_driver() -> bool:
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


if "pytest" not in sys.modules:
    # Children that are made from nothing import this module before anything else of ours.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

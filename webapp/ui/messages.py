"""Errors in the words of users: the one place where a StudioError becomes text on a page."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st

from controlnet_core.domain.errors import StudioError

log = logging.getLogger("studio")


def refuse(error: StudioError) -> None:
    """Show what happened and what to do. Names and prompts inside are shown as plain text, never as markup."""
    st.error(plain(str(error)), icon=":material/error:")


def unexpected(error: BaseException) -> None:
    """What a page says when something failed that nobody foresaw; the log says more under the same reference."""
    reference = secrets.token_hex(4)
    log.error("a page failed, reference %s", reference, exc_info=error)
    st.error(
        "Something went wrong here. Your drawing is kept. Reload the page; if it happens again, data/studio.log says what it "
        f"was, under {reference}.",
        icon=":material/error:",
    )


@dataclass
class Telling:
    """How a block that may be refused went."""

    refused: bool = False


@contextmanager
def told() -> Iterator[Telling]:
    """Run a block; a StudioError in it is shown in place of its result, and the block's `Telling` says so afterwards."""
    telling = Telling()
    try:
        yield telling
    except StudioError as error:
        telling.refused = True
        log.info("refused: %s", error)
        refuse(error)


def places(devices: Sequence[str]) -> str:
    """Where something is done, in words: "on the CPU", "on 2 GPUs and the CPU", "on 5 GPUs of 2 machines"; "" while nobody knows.

    A device of another machine is called "cuda:1 on box2".
    """
    kinds = [device.partition(" on ")[0].partition(":")[0] for device in devices]
    machines = {machine for device in devices if (machine := device.partition(" on ")[2])}
    gpus, cpus = (sum(kind in named for kind in kinds) for named in (("cuda", "mps"), ("cpu",)))
    parts = ["the GPU" if gpus == 1 else f"{gpus} GPUs"] if gpus else []
    parts += ["the CPU" if cpus == 1 or not machines else f"{cpus} CPUs"] if cpus else []
    where = (
        f" of {plain(machines.pop())}" if len(machines) == 1 else f" of {len(machines)} machines" if machines else ""
    )
    return f"on {' and '.join(parts)}{where}" if parts else ""


def plain(text: str) -> str:
    """Escape Markdown and HTML, so that text from outside is shown as it is."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]()#+-.!|<>~$:^" else character for character in text)

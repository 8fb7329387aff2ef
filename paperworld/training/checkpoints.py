"""What a training folder holds beside its checkpoint, so that one training goes on over years of changes.

studio.pt    networks, averages, optimizer and step (`controlnet_core.training`)
settled.pt   the same after a short while at a falling rate: what is exported
words.txt    the vocabulary that its tokens are numbered by
whitening.pt the basis in which keys and values of texts learn
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from controlnet_core.training.loop import read
from paperworld.model import tokens
from paperworld.model.networks import by_token

STUDIO, SETTLED, WORDS, WHITENING = "studio.pt", "settled.pt", "words.txt", "whitening.pt"
TABLE = "text.embeddings.token_embedding.weight"


def carry(folder: Path, words: Iterable[str], fresh: Tensor) -> bool:
    """Renumber the checkpoint in `folder` for `words`, when it was made for others; whether it was.

    Rows of the token table follow their tokens: in the networks, in the averages and in the optimizer's moments. New words
    begin as in `fresh` (tokens, width), with moments of zero.
    """
    listed, checkpoint = folder / WORDS, folder / STUDIO
    words = sorted(words)
    if not checkpoint.exists() or not listed.exists() or listed.read_text("utf-8").split() == words:
        return False
    old = tokens.build(listed.read_text("utf-8").split()).get_vocab()
    new = tokens.build(words).get_vocab()
    state = read(checkpoint)
    place = list(state["module"]).index(TABLE)
    for part in (state["module"], state["average"]):
        part[TABLE] = by_token(part[TABLE], old, new, fresh.to(part[TABLE].dtype))
    moments: dict[str, Any] = state["optimizer"]["state"].get(place, {})
    for name, value in moments.items():
        if isinstance(value, Tensor) and value.ndim == 2:
            moments[name] = by_token(value, old, new, torch.zeros_like(fresh))
    part = checkpoint.with_suffix(".part")
    torch.save(state, part)
    part.replace(checkpoint)
    note(folder, words)
    return True


def grow(folder: Path, fresh: dict[str, Tensor], scale: float) -> None:
    """Give the checkpoint in `folder` the parts that the networks have got since, as they are in `fresh`.

    They form the last group of the optimizer, without moments, at `scale` times the rate of the others.
    """
    checkpoint = folder / STUDIO
    if not checkpoint.exists():
        return
    state = read(checkpoint)
    lacking = [name for name in fresh if name not in state["module"]]
    if not lacking:
        return
    for name in lacking:
        state["module"][name] = fresh[name]
        state["average"][name] = fresh[name].float()
    groups = state["optimizer"]["param_groups"]
    first = sum(len(group["params"]) for group in groups)
    groups.append({**groups[0], "scale": scale, "params": list(range(first, first + len(lacking)))})
    part = checkpoint.with_suffix(".part")
    torch.save(state, part)
    part.replace(checkpoint)


def note(folder: Path, words: Iterable[str]) -> None:
    """Write down the vocabulary of the checkpoint in `folder`."""
    (folder / WORDS).write_text("\n".join(sorted(words)) + "\n", "utf-8")

"""The tokenizer: a small byte-pair vocabulary in CLIP's form that holds every word of the world whole.

Unknown words fall apart into letters; nothing is out of vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 40


def build(words: Iterable[str]) -> CLIPTokenizer:
    """A CLIP tokenizer of `words` (lower case), by merges that spell each of them from its letters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate([*alphabet, *(letter + "</w>" for letter in alphabet)])}
    merges: list[tuple[str, str]] = []
    # Longest words first would steal pairs from shorter ones; one left-to-right chain per word, shared prefixes once,
    # keeps every chain reachable because merges apply in the order in which they were learned.
    for word in sorted({word.lower() for word in words if word}, key=lambda word: (len(word), word)):
        parts = _apply([*word[:-1], word[-1] + "</w>"], merges)
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            merges.append(pair)
            vocabulary.setdefault("".join(pair), len(vocabulary))
            parts = _apply(parts, [pair])
    for special in (START, END):
        vocabulary[special] = len(vocabulary)
    make = cast("Any", CLIPTokenizer)
    return make(vocab=vocabulary, merges=merges, model_max_length=LENGTH, pad_token=END, unk_token=END)


def _apply(parts: list[str], merges: list[tuple[str, str]]) -> list[str]:
    for left, right in merges:
        index = 0
        while index < len(parts) - 1:
            if parts[index] == left and parts[index + 1] == right:
                parts = [*parts[:index], left + right, *parts[index + 2 :]]
            index += 1
    return parts


def is_whole(tokenizer: CLIPTokenizer, word: str) -> bool:
    """Whether `word` is one token."""
    return len(tokenizer(word)["input_ids"]) == 3

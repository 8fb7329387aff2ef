"""Text to embeddings, by the text encoder that came with a base model.

`parts` reads weights out of a prompt; `encode` turns prompts of any length into embeddings, with weights, textual
inversions and skipped layers. A prompt that fits and asks for nothing special is encoded exactly as without all this.
"""
# torch and transformers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from controlnet_core.domain.errors import ModelError, ModelMissing, RecipeError
from controlnet_core.models.loading import Base

MORE = 1.1
"""What a pair of round brackets multiplies a weight by, and a pair of square brackets divides it by."""
WEIGHT_MAX = 10.0
"""The largest weight of a word, either way; a hundred brackets would make numbers that are none, and a black picture."""
COMMA_REACH = 20
"""A long prompt is parted at a comma when one lies at most this many tokens back."""
_MARK = re.compile(r"\\[\\()\[\]]|[()\[\]]|:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)|[^\\()\[\]:]+|[\\:]")
_PAIRS = {")": "(", "]": "["}


@dataclass(frozen=True)
class Reading:
    """How texts become embeddings.

    `weighted` reads "(word:1.3)" and lets texts be of any length; else they are taken letter by letter and cut.
    `clip_skip` 1 takes the last layer. `embeddings` are textual inversions (vectors, width) by the word that calls them.
    """

    weighted: bool = True
    clip_skip: int = 1
    embeddings: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


def parts(text: str) -> list[tuple[str, float]]:
    """A prompt as pieces with their weights.

    "(red)" weighs 1.1, "((red))" 1.21, "(red:1.4)" 1.4, "[red]" 1 / 1.1; a backslash before a bracket makes it a letter, and
    so is a bracket without its partner.
    """
    pieces: list[tuple[str, float]] = []
    open_at: list[int] = []
    for token in _MARK.findall(text):
        closes = token[-1] if token[-1] in _PAIRS and not token.startswith("\\") else ""
        if token in ("(", "["):
            open_at.append(len(pieces))
            pieces.append((token, 1.0))
        elif closes and open_at and pieces[open_at[-1]][0] == _PAIRS[closes]:
            weight = MORE if token == ")" else 1 / MORE if token == "]" else float(token[1:-1])
            start = open_at.pop()
            pieces[start:] = [("", 1.0), *((words, old * weight) for words, old in pieces[start + 1 :])]
        else:
            pieces.append((token[1:] if token.startswith("\\") and len(token) > 1 else token, 1.0))
    return _joined(pieces)


def _joined(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    joined: list[tuple[str, float]] = []
    for words, weight in pieces:
        if joined and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + words, weight)
        elif words:
            joined.append((words, weight))
    return joined


def encode_text(base: Base, text: str) -> Tensor:
    """The embedding (1, tokens, width) of a text, cut after as many tokens as the encoder takes (77)."""
    return encode(base, [text], Reading(weighted=False))[0]


@torch.inference_mode()
def encode(base: Base, texts: Sequence[str], reading: Reading) -> list[Tensor]:
    """The embeddings (1, tokens, width) of texts, all of one length: a multiple of what the encoder takes (77).

    Raises ModelMissing without a vocabulary, ModelError when a textual inversion does not fit and RecipeError when more
    layers are skipped than there are. A weight moves a token's embedding away from the one it has in an empty text.
    """
    if base.tokenizer is None:
        raise ModelMissing(
            f"{base.name} came without a vocabulary.", "Download the vocabulary of CLIP on the Models page."
        )
    layers = int(base.text_encoder.config.num_hidden_layers)
    if reading.clip_skip > layers:
        raise RecipeError(
            f"Clip skip {reading.clip_skip} is too much for {base.name}: its text encoder has {layers} layers.",
            "Choose a smaller one.",
        )
    with _Words(base, reading).present() as words:
        rows = [words.rows(text) for text in texts]
        longest = max(len(one) for one in rows)
        empty = words.rows("")[0]
        return [_embedded(base, [*one, *[empty] * (longest - len(one))], empty, reading.clip_skip) for one in rows]


@torch.inference_mode()
def encode_tokens(base: Base, tokens: Tensor, clip_skip: int = 1) -> Tensor:
    """The embeddings (B, tokens, width) of token numbers (B, tokens): a hidden state, normalised."""
    encoder: Any = base.text_encoder
    placed = tokens.long().to(encoder.device)
    if clip_skip == 1:
        return encoder(placed).last_hidden_state
    return encoder.final_layer_norm(encoder(placed, output_hidden_states=True).hidden_states[-clip_skip])


@dataclass(frozen=True)
class _Row:
    """As many token numbers as the encoder takes, and the weight of each."""

    tokens: list[int]
    weights: list[float]


def _embedded(base: Base, rows: Sequence[_Row], empty: _Row, clip_skip: int) -> Tensor:
    encoded = encode_tokens(base, torch.tensor([row.tokens for row in rows]), clip_skip)
    if any(weight != 1 for row in rows for weight in row.weights):
        nothing = encode_tokens(base, torch.tensor([empty.tokens]), clip_skip)
        weights = torch.tensor([row.weights for row in rows]).to(encoded)[..., None]
        encoded = torch.where(weights == 1, encoded, nothing + weights * (encoded - nothing))
    return encoded.reshape(1, -1, encoded.shape[-1])


class _Words:
    """A tokenizer that knows the textual inversions: their vectors have numbers after the last word's."""

    def __init__(self, base: Base, reading: Reading) -> None:
        self._encoder: Any = base.text_encoder
        self._tokenizer: Any = base.tokenizer
        self._reading = reading
        self._length = int(base.text_encoder.config.max_position_embeddings)
        known = self._encoder.embeddings.token_embedding.weight
        self._numbers: dict[str, list[int]] = {}
        following = len(known)
        for key, vectors in reading.embeddings.items():
            if vectors.ndim != 2 or vectors.shape[1] != known.shape[1] or len(vectors) > self._length - 2:
                raise ModelError(
                    f"The textual inversion {key} was made for another kind of model than {base.name}.",
                    "Leave it out, or choose a model of its family.",
                )
            self._numbers[key.lower()] = list(range(following, following + len(vectors)))
            following += len(vectors)
        keys = sorted(map(re.escape, self._numbers), key=len, reverse=True)
        self._calls = re.compile(rf"(?<![\w-])({'|'.join(keys)})(?![\w-])", re.IGNORECASE) if keys else None

    @contextmanager
    def present(self) -> Generator[_Words]:
        """Have the encoder know the vectors."""
        home, own = self._encoder.embeddings, self._encoder.embeddings.token_embedding
        if self._numbers:
            more = [vectors.to(own.weight) for vectors in self._reading.embeddings.values()]
            home.token_embedding = nn.Embedding.from_pretrained(torch.cat([own.weight, *more]))
        try:
            yield self
        finally:
            home.token_embedding = own

    def rows(self, text: str) -> list[_Row]:
        """A text as one or more rows of tokens."""
        pieces = parts(text) if self._reading.weighted else [(text, 1.0)]
        for words, weight in pieces:
            if not abs(weight) <= WEIGHT_MAX:
                raise RecipeError(
                    f"The prompt gives “{words.strip()[:40]}” a weight of {weight:g}; from -10 to 10 can be used.",
                    "Take brackets away, or write a number, as in (word:1.3).",
                )
        plain = len(pieces) <= 1 and all(weight == 1 for _, weight in pieces)
        if plain and not (self._calls and self._calls.search(text)):
            # As pieces, for escapes are gone from them.
            written = pieces[0][0] if pieces else ""
            given = self._tokenizer(written, padding="max_length", max_length=self._length, truncation=True).input_ids
            if not self._reading.weighted or len(self._numbered(written)) <= self._room:
                return [_Row(given, [1.0] * self._length)]
        groups = [(group, weight) for words, weight in pieces for group in self._groups(words)]
        return [self._row(chunk) for chunk in self._chunks(groups)]

    @property
    def _room(self) -> int:
        ends = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id)
        return self._length - sum(end is not None for end in ends)

    def _numbered(self, words: str) -> list[int]:
        return self._tokenizer(words, add_special_tokens=False).input_ids if words.strip() else []

    def _groups(self, words: str) -> list[list[int]]:
        """The tokens of some words; those of a textual inversion stay together."""
        groups: list[list[int]] = []
        for part in self._calls.split(words) if self._calls else [words]:
            called = self._numbers.get(part.lower())
            groups += [called] if called else [[number] for number in self._numbered(part)]
        return groups

    def _chunks(self, groups: Sequence[tuple[list[int], float]]) -> list[list[tuple[list[int], float]]]:
        comma = self._numbered(",")
        chunks: list[list[tuple[list[int], float]]] = [[]]
        for group in groups:
            chunk = chunks[-1]
            if sum(len(tokens) for tokens, _ in chunk) + len(group[0]) > self._room:
                commas = [at for at, (tokens, _) in enumerate(chunk[-COMMA_REACH:]) if tokens == comma]
                cut = len(chunk[:-COMMA_REACH]) + commas[-1] + 1 if commas else len(chunk)
                chunks[-1:] = [chunk[:cut], chunk[cut:]]
            chunks[-1].append(group)
        return chunks

    def _row(self, chunk: Sequence[tuple[list[int], float]]) -> _Row:
        tokenizer = self._tokenizer
        starts = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
        ends = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        tokens = [*starts, *(number for group, _ in chunk for number in group), *ends]
        weights = [*(1.0 for _ in starts), *(weight for group, weight in chunk for _ in group), *(1.0 for _ in ends)]
        missing = self._length - len(tokens)
        return _Row([*tokens, *[tokenizer.pad_token_id] * missing], [*weights, *[1.0] * missing])

"""What the networks are conditioned on beside pictures: text as hidden states, and what some families add to it.

`parts` reads weights out of a prompt; `encode` turns prompts of any length into `Conditioning`, with weights, textual
inversions and skipped layers. A prompt that fits and asks for nothing special is encoded exactly as without all this.
"""
# torch and transformers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from controlnet_core.domain.errors import ModelError, ModelMissing, RecipeError
from controlnet_core.domain.recipe import MicroConditioning
from controlnet_core.families import TextEncoder
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
class Conditioning:
    """c of the papers: what U-Net and ControlNets read beside latents and control pictures.

    `context` (B, tokens, width) are the text's hidden states. `added` holds what a family takes beside it, by diffusers'
    names, each (B, n): SDXL's pooled text "text_embeds" and sizes "time_ids". Whatever is put in here reaches every network
    (`unet_kwargs`) and every recorded step (`tensors`).
    """

    context: Tensor
    added: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def unet_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the forward pass of diffusers' U-Nets and ControlNets."""
        return {"encoder_hidden_states": self.context, "added_cond_kwargs": dict(self.added) or None}

    def tensors(self) -> tuple[Tensor, ...]:
        """All that it holds, in one order: what a recorded step reads."""
        return (self.context, *(self.added[name] for name in sorted(self.added)))

    def to(self, like: Tensor) -> Conditioning:
        """The same, with the device and the dtype of a tensor."""
        return Conditioning(self.context.to(like), {name: value.to(like) for name, value in self.added.items()})

    def __getitem__(self, rows: slice) -> Conditioning:
        """Some rows of the batch."""
        return Conditioning(self.context[rows], {name: value[rows] for name, value in self.added.items()})

    def copy_(self, other: Conditioning) -> None:
        """Take the contents of another one of the same shape, in place."""
        for mine, new in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(new)


def joined(parts: Iterable[Conditioning], count: int = 1) -> Conditioning:
    """Conditionings one below the other, each `count` times."""
    given = list(parts)

    def rows(values: Iterable[Tensor]) -> Tensor:
        return torch.cat([value.expand(count, *value.shape[1:]) if len(value) == 1 else value for value in values])

    names = given[0].added
    return Conditioning(
        rows(one.context for one in given), {name: rows(one.added[name] for one in given) for name in names}
    )


@dataclass(frozen=True)
class Reading:
    """How texts become embeddings.

    `weighted` reads "(word:1.3)" and lets texts be of any length; else they are taken letter by letter and cut.
    `clip_skip` 1 takes the layer that the family reads. `embeddings` are textual inversions by the word that calls them:
    vectors (count, width), or those of each encoder by its name in the file.
    """

    weighted: bool = True
    clip_skip: int = 1
    embeddings: Mapping[str, Tensor | Mapping[str, Tensor]] = field(default_factory=dict[str, Any])


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


Size = tuple[int, int]
"""Width and height of a picture in pixels."""
_AS_MADE = MicroConditioning()


def encode_text(base: Base, text: str, size: Size = (0, 0)) -> Conditioning:
    """What a text says to the networks, cut after as many tokens as the encoder takes (77)."""
    return encode(base, [text], Reading(weighted=False), size)[0]


@torch.inference_mode()
def encode(
    base: Base, texts: Sequence[str], reading: Reading, size: Size = (0, 0), micro: MicroConditioning = _AS_MADE
) -> list[Conditioning]:
    """Texts as conditionings of one row, all of one length: a multiple of what the encoders take (77).

    `size` is that of the picture, `micro` what else to say of sizes; families ask for them that were told them in their
    training. Raises ModelMissing without a
    vocabulary, ModelError when a textual inversion does not fit and RecipeError when more layers are skipped than there are.
    A weight moves a token's embedding away from the one it has in an empty text.
    """
    encoded = [_TextEncoder(base, number, reading).encode(texts) for number in range(len(base.texts))]
    longest = max(one.shape[1] for states, _ in encoded for one in states)
    result: list[Conditioning] = []
    for row in range(len(texts)):
        states = [_lengthened(states[row], longest) for states, _ in encoded]
        pooled = next((pooled[row] for _, pooled in encoded if pooled), None)
        context = torch.cat([one.to(states[0]) for one in states], dim=-1)
        result.append(Conditioning(context, _added(base, pooled, size, micro, context)))
    return result


def encode_pair(
    base: Base, text: str, negative: str, reading: Reading, size: Size = (0, 0), micro: MicroConditioning = _AS_MADE
) -> tuple[Conditioning, Conditioning]:
    """c and uc: a prompt and its negative one, which is zeros where it is empty and the model was trained so."""
    if negative or not base.empty_is_zero:
        conditional, unconditional = encode(base, [text, negative], reading, size, micro)
        return conditional, unconditional
    conditional = encode(base, [text], reading, size, micro)[0]
    nothing = {
        name: value if name == "time_ids" else torch.zeros_like(value) for name, value in conditional.added.items()
    }
    return conditional, Conditioning(torch.zeros_like(conditional.context), nothing)


def _lengthened(states: Tensor, tokens: int) -> Tensor:
    """Encoders may part a text at different places: the shorter reading ends in its last row again."""
    missing = tokens - states.shape[1]
    return torch.cat([states, states[:, -missing:]], dim=1) if missing else states


def _added(base: Base, pooled: Tensor | None, size: Size, micro: MicroConditioning, like: Tensor) -> dict[str, Tensor]:
    """The conditions that a family takes beside the text.

    "time_ids" are the sizes of micro-conditioning (Podell et al., "SDXL", 2023, section 2.2): of the original picture, the
    corner of its crop, and of the target; height before width. The picture is wanted whole, at its own size, unless `micro`
    says otherwise.
    """
    found: dict[str, Tensor] = {}
    if "text_embeds" in base.family.added and pooled is not None:
        found["text_embeds"] = pooled
    if "time_ids" in base.family.added:
        pairs = (micro.original or size, micro.crop, micro.target or size)
        found["time_ids"] = torch.tensor([[number for across, down in pairs for number in (down, across)]]).to(like)
    return found


@torch.inference_mode()
def encode_tokens(
    encoder: Any, tokens: Tensor, layer: int = 1, *, normalised: bool = True
) -> tuple[Tensor, Tensor | None]:
    """What an encoder makes of token numbers (B, tokens): hidden states (B, tokens, width), and its pooled output (B, width).

    `layer` is counted from the last (1); `normalised` applies the final layer norm. Encoders without a projection have no
    pooled output.
    """
    placed = tokens.long().to(encoder.device)
    if layer == 1 and normalised:
        output = encoder(placed)
        return output.last_hidden_state, getattr(output, "text_embeds", None)
    output = encoder(placed, output_hidden_states=True)
    states = output.hidden_states[-layer]
    norm = encoder.text_model.final_layer_norm if hasattr(encoder, "text_model") else encoder.final_layer_norm
    return norm(states) if normalised else states, getattr(output, "text_embeds", None)


@dataclass(frozen=True)
class _Row:
    """As many token numbers as the encoder takes, and the weight of each."""

    tokens: list[int]
    weights: list[float]


class _TextEncoder:
    """One text encoder of a base model, reading texts in one way."""

    def __init__(self, base: Base, number: int, reading: Reading) -> None:
        self._facts, self._encoder, tokenizer = base.texts[number]
        if tokenizer is None:
            raise ModelMissing(
                f"{base.name} came without a vocabulary.", "Download the vocabulary of CLIP on the Models page."
            )
        layers = int(self._encoder.config.num_hidden_layers)
        if reading.clip_skip > layers:
            raise RecipeError(
                f"Clip skip {reading.clip_skip} is too much for {base.name}: its text encoder has {layers} layers.",
                "Choose a smaller one.",
            )
        # Counted from the last one, whatever the family reads: so a clip skip means what it does in other programs.
        self._layer = max(self._facts.layer, reading.clip_skip)
        vectors = {key: _vectors(found, self._facts) for key, found in reading.embeddings.items()}
        self._words = _Words(base.name, self._encoder, tokenizer, vectors, weighted=reading.weighted)

    def encode(self, texts: Sequence[str]) -> tuple[list[Tensor], list[Tensor]]:
        """Of each text the hidden states (1, tokens, width), and the pooled output (1, width) if the family wants it."""
        with self._words.present() as words:
            rows = [words.rows(text) for text in texts]
            longest = max(len(one) for one in rows)
            empty = words.rows("")[0]
            read = [self._read([*one, *[empty] * (longest - len(one))], empty) for one in rows]
        return [states for states, _ in read], [pooled for _, pooled in read if pooled is not None]

    def _read(self, rows: Sequence[_Row], empty: _Row) -> tuple[Tensor, Tensor | None]:
        encoded, pooled = self._states([row.tokens for row in rows])
        if any(weight != 1 for row in rows for weight in row.weights):
            nothing, _ = self._states([empty.tokens])
            weights = torch.tensor([row.weights for row in rows]).to(encoded)[..., None]
            encoded = torch.where(weights == 1, encoded, nothing + weights * (encoded - nothing))
        # A long prompt is pooled by its first row.
        first = pooled[:1] if self._facts.pooled and pooled is not None else None
        return encoded.reshape(1, -1, encoded.shape[-1]), first

    def _states(self, tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
        return encode_tokens(self._encoder, torch.tensor(tokens), self._layer, normalised=self._facts.normalised)


def _vectors(found: Tensor | Mapping[str, Tensor], encoder: TextEncoder) -> Tensor:
    """The part of a textual inversion that is meant for an encoder."""
    if isinstance(found, Tensor):
        return found
    return found.get(encoder.inversion, next(iter(found.values())))


class _Words:
    """A tokenizer that knows the textual inversions: their vectors have numbers after the last word's."""

    def __init__(
        self, name: str, encoder: Any, tokenizer: Any, inversions: Mapping[str, Tensor], *, weighted: bool
    ) -> None:
        self._encoder, self._tokenizer = encoder, tokenizer
        self._inversions, self._weighted = inversions, weighted
        self._length = int(encoder.config.max_position_embeddings)
        known = encoder.get_input_embeddings().weight
        self._numbers: dict[str, list[int]] = {}
        following = len(known)
        for key, vectors in inversions.items():
            if vectors.ndim != 2 or vectors.shape[1] != known.shape[1] or len(vectors) > self._length - 2:
                raise ModelError(
                    f"The textual inversion {key} was made for another kind of model than {name}.",
                    "Leave it out, or choose a model of its family.",
                )
            self._numbers[key.lower()] = list(range(following, following + len(vectors)))
            following += len(vectors)
        keys = sorted(map(re.escape, self._numbers), key=len, reverse=True)
        self._calls = re.compile(rf"(?<![\w-])({'|'.join(keys)})(?![\w-])", re.IGNORECASE) if keys else None

    @contextmanager
    def present(self) -> Generator[_Words]:
        """Have the encoder know the vectors."""
        own = self._encoder.get_input_embeddings()
        if self._numbers:
            more = [vectors.to(own.weight) for vectors in self._inversions.values()]
            self._encoder.set_input_embeddings(nn.Embedding.from_pretrained(torch.cat([own.weight, *more])))
        try:
            yield self
        finally:
            if self._numbers:
                self._encoder.set_input_embeddings(own)

    def rows(self, text: str) -> list[_Row]:
        """A text as one or more rows of tokens."""
        pieces = parts(text) if self._weighted else [(text, 1.0)]
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
            if not self._weighted or len(self._numbered(written)) <= self._room:
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

"""Makes the steps of a run quicker without changing what they compute.

`TextAttention` computes the keys and values of the text once a run instead of once a step. `Graphs` records a step on a
CUDA device and replays it: the pictures, texts and masks of the next run are copied into the recorded tensors, so a new
drawing costs no new recording. `Denoiser.predict` is what is made quicker; nothing else knows of it.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Generator, Hashable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache as once
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from controlnet_core.diffusion.denoiser import Denoiser, Predicts, Shown
from controlnet_core.diffusion.reference_only import ReferenceAttention, headed
from controlnet_core.domain.options import EngineOptions
from controlnet_core.memory import cache, plan
from controlnet_core.models import diffusers_setup
from controlnet_core.models.diffusers_setup import Attention, AttnProcessor2_0

_RECORDS_MAX = 3
_CROSSED: WeakKeyDictionary[nn.Module, list[ref[Attention]]] = WeakKeyDictionary()
"""The cross attentions of networks, in their order: to look for them takes longer than a small network's step."""
_log = logging.getLogger("studio.quick")


@dataclass(frozen=True)
class _KeysValues:
    """The keys and values of a text, and what makes them from it."""

    attn: Any
    text: Tensor
    to_k: Any
    to_v: Any
    key: Tensor
    value: Tensor


class TextAttention:
    """An attention processor of diffusers that keeps the keys and values of the texts it has seen.

    A text is known by its tensor, not by its content: `Denoiser` hands out the same one in every step. References are read
    beside it, by the layers of their IP-Adapter that belong to the cross attention of this `number`; None reads none.
    """

    def __init__(self, number: int | None = None) -> None:
        self._number = number
        self._kept: dict[int, _KeysValues] = {}

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        ip_hidden_states: Sequence[Shown] = (),
        **_rest: object,
    ) -> Tensor:
        """AttnProcessor2_0 for (B, tokens, width) without a mask; IPAdapterAttnProcessor2_0 with references."""
        assert encoder_hidden_states is not None
        assert attention_mask is None
        key, value = self._of(attn, encoder_hidden_states, attn.to_k, attn.to_v)
        query = headed(attn, attn.to_q(hidden_states))
        mixed = F.scaled_dot_product_attention(query, key, value)
        for shown in ip_hidden_states:
            if self._number is None:
                break
            layers = (shown.adapter.to_k[self._number], shown.adapter.to_v[self._number])
            mixed = mixed + shown.weight * F.scaled_dot_product_attention(query, *self._of(attn, shown.tokens, *layers))
        flat = mixed.transpose(1, 2).reshape(len(hidden_states), -1, attn.heads * mixed.shape[-1]).to(key.dtype)
        return attn.to_out[1](attn.to_out[0](flat)) / attn.rescale_output_factor

    def _of(self, attn: Any, text: Tensor, to_k: Any, to_v: Any) -> tuple[Tensor, Tensor]:
        known = self._kept.get(id(text))
        if known is None or known.text is not text:
            key, value = headed(attn, to_k(text)), headed(attn, to_v(text))
            known = self._kept[id(text)] = _KeysValues(attn, text, to_k, to_v, key, value)
        return known.key, known.value

    @property
    def used(self) -> bool:
        """Whether anything is kept."""
        return bool(self._kept)

    def refresh(self) -> None:
        """Compute again, in place, what is kept: the texts' tensors have new contents."""
        for one in self._kept.values():
            one.key.copy_(headed(one.attn, one.to_k(one.text)))
            one.value.copy_(headed(one.attn, one.to_v(one.text)))


@contextmanager
def text_kept(networks: Iterable[nn.Module], shown: nn.Module | None = None) -> Generator[list[TextAttention]]:
    """Have the cross attention of networks keep what it computes from the text, for so long.

    `shown` is the one that reads references: all of its cross attentions have to.
    """
    changed: list[tuple[Any, Any, int | None]] = []
    for network in networks:
        if network not in _CROSSED:
            every = [one for one in network.modules() if isinstance(one, Attention)]
            _CROSSED[network] = [ref(one) for one in every if one.is_cross_attention]
        crossed = [one for at in _CROSSED[network] if (one := at()) is not None]
        chosen = ((number, one) for number, one in enumerate(crossed) if network is shown or _plain(one))
        changed += [(one, one.processor, number if network is shown else None) for number, one in chosen]
    keepers: list[TextAttention] = []
    try:
        for module, _, number in changed:
            keepers.append(TextAttention(number))
            module.processor = keepers[-1]
        yield keepers
    finally:
        for module, before, _ in changed:
            module.processor = before


def _plain(attn: Any) -> bool:
    """Whether it is the cross attention of a transformer block, and nothing more."""
    return (
        attn.is_cross_attention
        and type(attn.processor) is AttnProcessor2_0
        and not attn.residual_connection
        and not attn.norm_cross
        and all(getattr(attn, name, None) is None for name in ("group_norm", "spatial_norm", "norm_q", "norm_k"))
    )


def prepared(network: Any) -> None:
    """Set up a freshly loaded U-Net or ControlNet as the environment asks, which is for GPUs.

    STUDIO_ATTENTION=xformers takes its attention instead of PyTorch's own; where it cannot, the log says why. STUDIO_COMPILE=1
    has torch compile the blocks: the first picture of every size then waits for the compiler, which takes a minute or more.
    """
    options = EngineOptions.from_environment()
    if options.xformers and (why := diffusers_setup.take_xformers(network)):
        _log.warning("STUDIO_ATTENTION=xformers is not heeded, PyTorch's own attention computes: %s", why)
    if options.compiles:
        _left_uncompiled()
        for block in (*network.down_blocks, network.mid_block, *getattr(network, "up_blocks", ())):
            block.compile()


@once
def _left_uncompiled() -> None:
    """Have the compiler pass by what keeps tensors: blocks would be compiled anew for every change of what is kept.

    Done where something is compiled, and not as a decorator: that would import the compiler, half a second, everywhere.
    """
    compiler: Any = torch.compiler  # its published type takes a method's first argument away
    for attention, method in ((TextAttention, "_of"), (ReferenceAttention, "__call__")):
        setattr(attention, method, compiler.disable(getattr(attention, method)))


@dataclass
class _Record:
    """A denoiser whose tensors the recorded steps read, and the steps."""

    denoiser: Denoiser
    keepers: list[TextAttention] = field(default_factory=list[TextAttention])
    steps: dict[Hashable, _Step] = field(default_factory=dict[Hashable, "_Step"])


@dataclass
class _Step:
    """One recorded step: what to fill in before it is replayed, and where the result appears."""

    graph: Any
    model_input: Tensor
    time: Tensor
    output: Tensor


class Graphs:
    """The recorded steps of a device; on anything but CUDA it records nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on = plan.records(device.type)
        self._records: OrderedDict[Hashable, _Record] = OrderedDict()
        self._pool: Any = None
        self._side: Any = None

    @contextmanager
    def quickened(self, denoiser: Denoiser, *, still: bool = True) -> Generator[Predicts]:
        """Something that predicts as `denoiser` does, only quicker. `still` says that no weight moves during the run."""
        if not still:
            self.clear()  # recorded steps read the memory that weights leave now
        networks = dict.fromkeys([denoiser.unet, *(control.network for control in denoiser.controls)])
        with text_kept(networks, denoiser.unet if denoiser.references else None) as keepers:
            yield _Recorded(self, denoiser, keepers) if self._on and still else denoiser

    def clear(self) -> None:
        """Forget all recorded steps and free their memory."""
        self._records.clear()
        self._pool = None

    def off(self) -> None:
        """Record nothing any more."""
        self._on = False
        self.clear()

    def record_for(self, denoiser: Denoiser) -> _Record:
        """The record whose tensors fit `denoiser`, with its contents. Those of other models go: they hold memory."""
        key = _shape(denoiser)
        for other in [other for other, held in self._records.items() if held.denoiser.unet is not denoiser.unet]:
            del self._records[other]
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record(denoiser)
        elif record.denoiser is not denoiser:
            refill(record.denoiser, denoiser)
            for keeper in record.keepers:
                keeper.refresh()
        self._records.move_to_end(key)
        while len(self._records) > _RECORDS_MAX:
            self._records.popitem(last=False)
        return record

    def recorded(
        self, record: _Record, keepers: list[TextAttention], model_input: Tensor, time: Tensor, index: int, steps: int
    ) -> _Step:
        """The step of a record for latents of this size, recorded if it is new."""
        read = record.denoiser
        acting = tuple(one.acts(index, steps) for one in (*read.controls, *read.references, *read.attended))
        key = (tuple(model_input.shape), time.dtype, acting)
        if key not in record.steps:
            record.steps[key] = self._record(record.denoiser, model_input.clone(), time.clone(), index, steps)
            # The step reads what these keep now, so the next text has to be filled in there.
            record.keepers += [keeper for keeper in keepers if keeper.used and keeper not in record.keepers]
        return record.steps[key]

    def _record(self, denoiser: Denoiser, model_input: Tensor, time: Tensor, index: int, steps: int) -> _Step:
        if not any(record.steps for record in self._records.values()):
            # PyTorch takes no pool again whose recordings are all gone: "use_count > 0" fails inside it.
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # One stream for all of it, and the same each time: cuBLAS keeps memory for every one that it has worked on, for good (32 MB
        # on an H100), and what it took while recording would keep the recording's own memory from being freed.
        self._side = self._side or torch.cuda.Stream(self._device)
        main, side = torch.cuda.current_stream(self._device), self._side
        side.wait_stream(main)
        # A recording that breaks off leaves its own stream behind as the current one; leaving this puts the old one back.
        with torch.cuda.stream(side):
            for _ in range(2):  # libraries choose their kernels and take their memory now
                denoiser.predict(model_input, time, index, steps)
            # What other threads do meanwhile is no part of it, and no error.
            with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
                output = denoiser.predict(model_input, time, index, steps)
        main.wait_stream(side)
        return _Step(graph, model_input, time, output)


class _Recorded:
    """Predicts by replaying; falls back to the denoiser itself where recording fails."""

    def __init__(self, graphs: Graphs, denoiser: Denoiser, keepers: list[TextAttention]) -> None:
        self._graphs = graphs
        self._denoiser = denoiser
        self._keepers = keepers
        self._record: _Record | None = graphs.record_for(denoiser)

    def predict(self, model_input: Tensor, time: Tensor, index: int = 0, steps: int = 1) -> Tensor:
        """See `Denoiser.predict`."""
        if self._record is None:
            return self._denoiser.predict(model_input, time, index, steps)
        try:
            step = self._graphs.recorded(self._record, self._keepers, model_input, time, index, steps)
        except Exception as error:
            # What ends a recording that ran out of memory complains about the recording.
            if cache.is_exhausted(error) or (error.__context__ and cache.is_exhausted(error.__context__)):
                raise
            _log.warning("a step cannot be recorded on this device, so steps run one by one", exc_info=True)
            self._graphs.off()
            self._record = None
            return self._denoiser.predict(model_input, time, index, steps)
        step.model_input.copy_(model_input)
        step.time.copy_(time)
        step.graph.replay()
        return step.output.clone()  # the next replay writes there again


def _shape(denoiser: Denoiser) -> Hashable:
    """Everything about a denoiser that a recorded step has fixed; the contents of tensors are not."""
    controls = tuple(
        (id(one.network), one.scales, one.conditional_only, one.start, one.end, one.mask is None, one.task)
        for one in denoiser.controls
    )
    seen = tuple((id(one.adapter), one.weight, one.start, one.end) for one in denoiser.references)
    attended = tuple((one.share, one.style_fidelity, one.start, one.end) for one in denoiser.attended)
    shapes = tuple(tuple(tensor.shape) for tensor in denoiser.tensors())
    return (
        id(denoiser.unet),
        shapes,
        denoiser.guided,
        denoiser.guidance,
        controls,
        seen,
        attended,
        denoiser.inpaint_latents is None,
    )


def refill(old: Denoiser, new: Denoiser) -> None:
    """Give the tensors of `old`, which recorded steps read, the contents of `new`'s. Both have the same `_shape`."""
    for mine, other in zip(old.tensors(), new.tensors(), strict=True):
        mine.copy_(other)
    old.renew()

"""CUDA on paper: what a processor can rehearse of a GPU.

`recording` stands in for the recorded steps of CUDA. A recording is the list of operations that ran inside it, with the very
memory that each read and wrote: played again, they read and write there and nowhere else, as a CUDA graph does. So a step that
reads memory which somebody has exchanged meanwhile goes wrong here as it does on a GPU. Two rules of PyTorch hold here, too: a
pool of memory is no more when all its recordings are gone, and a recording that breaks off leaves its stream the current one.

`Elsewhere` is a device that is not there: its tensors have shapes and no contents, and whatever would be an error or a wait on
a GPU is noticed, that is tensors of two devices in one operation, numbers read out of tensors, and copies that are waited for.
On `APPLE` numbers of 64 bits are an error too, as they are on a Mac's GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock
from weakref import WeakSet

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from controlnet_core.memory import plan

DEVICE, APPLE = torch.device("cuda:0"), torch.device("mps:0")


class Graph:
    """What stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def replay(self) -> None:
        """Do the recorded operations again, in their memory."""
        for call in self.calls:
            call()


_ASK = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.item.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
}
"""What needs a number before it can go on; in inference mode the first is never seen behind the others."""


class _Recorder(TorchDispatchMode):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _ASK:
            raise RuntimeError("operation not permitted when stream is capturing")
        output = func(*args, **kwargs)
        # A parameter may get other memory later; a recording keeps to what it was given.
        bound = [tree_map(_bound, part) for part in (args, kwargs)]
        made = [one for one in tree_flatten(output)[0] if isinstance(one, Tensor)]
        given = {one.untyped_storage().data_ptr() for one in tree_flatten(bound)[0] if isinstance(one, Tensor)}
        fresh = [_bound(one) for one in made if one.untyped_storage().data_ptr() not in given]

        def again() -> None:
            results = [one for one in tree_flatten(func(*bound[0], **bound[1]))[0] if isinstance(one, Tensor)]
            if fresh:
                for mine, result in zip(fresh, results, strict=True):
                    mine.copy_(result)

        if fresh or func._schema.is_mutable:
            self._graph.calls.append(again)
        return output


def _bound(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


class Stream:
    """What stands in for `torch.cuda.Stream`; `current` is the one that work goes to."""

    current: Stream
    made = 0
    """How many there have been: libraries hold memory for each."""

    def __init__(self) -> None:
        Stream.made += 1

    def wait_stream(self, _other: Stream) -> None:
        """Everything is done at once here."""


Stream.current = Stream()


@contextmanager
def _on(stream: Stream) -> Iterator[None]:
    """`torch.cuda.stream`."""
    before, Stream.current = Stream.current, stream
    try:
        yield
    finally:
        Stream.current = before


class Pool:
    """What `torch.cuda.graph_pool_handle` gives out: memory for as long as one of its recordings lives."""

    def __init__(self) -> None:
        self._graphs: WeakSet[Graph] = WeakSet()
        self._begun = False

    def take(self, graph: Graph) -> None:
        """A recording begins that uses it."""
        if self._begun and not self._graphs:
            raise RuntimeError("it->second->use_count > 0 INTERNAL ASSERT FAILED")
        self._begun = True
        self._graphs.add(graph)


@contextmanager
def _captured(
    graph: Graph, pool: Pool | None = None, stream: Stream | None = None, capture_error_mode: str = "global"
) -> Iterator[None]:
    """`torch.cuda.graph`."""
    if pool is not None:
        pool.take(graph)
    before, Stream.current = Stream.current, stream or Stream()
    try:
        with _Recorder(graph):
            yield
    except torch.OutOfMemoryError:  # an allocation that fails is no part of what is recorded
        Stream.current = before
        raise
    except Exception as error:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture") from error
    Stream.current = before


@contextmanager
def recording() -> Iterator[None]:
    """Have steps recorded and played on a processor, by the code that records them on CUDA."""
    stands = {
        "CUDAGraph": Graph,
        "graph": _captured,
        "graph_pool_handle": Pool,
        # Of a device that is named: the current one may be another than that of the tensors, and a stream there records nothing.
        "Stream": lambda _device: Stream(),
        "current_stream": lambda _device: Stream.current,
        "stream": _on,
    }
    with ExitStack() as stack:
        for name, stand in stands.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand))
        # These are asked for CUDA by its name, which a processor does not bear.
        for name in ("records", "forks", "previews"):
            asked = getattr(plan, name)
            stack.enter_context(mock.patch.object(plan, name, lambda _device, asked=asked: asked("cuda")))
        yield


def _sent(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.tensor`, whose way to a device no mode sees otherwise."""

    def made(*given: Any, device: Any = None, **more: Any) -> Tensor:
        return make(*given, **more) if device is None else make(*given, **more).to(device)

    return made


def _indexed(tensor: Tensor, index: Any) -> Tensor:
    """`tensor[index]`."""
    given = index if isinstance(index, tuple) else (index,)
    if any(isinstance(one, Tensor) and one.ndim for one in given):
        return torch.ops.aten.index.Tensor(tensor, list(given))
    dim = 0
    for place, one in enumerate(given):
        if isinstance(one, slice):
            start, stop, step = one.indices(tensor.shape[dim])
            tensor = torch.as_strided(
                tensor,
                [*tensor.shape[:dim], max(0, -(-(stop - start) // step)), *tensor.shape[dim + 1 :]],
                [*tensor.stride()[:dim], tensor.stride(dim) * step, *tensor.stride()[dim + 1 :]],
                tensor.storage_offset() + start * tensor.stride(dim),
            )
            dim += 1
        elif one is None:
            tensor = tensor.unsqueeze(dim)
            dim += 1
        elif one is Ellipsis:
            dim = tensor.ndim - sum(later is not None for later in given[place + 1 :])
        else:  # a number, or a tensor of none: on a GPU its number would be waited for
            tensor = tensor.select(dim, int(one))
    return tensor


def _put(tensor: Tensor, index: Any, value: Any) -> None:
    """`tensor[index] = value`."""
    place = _indexed(tensor, index)
    place.copy_(value) if isinstance(value, Tensor) else place.fill_(value)


def _attended(query: Tensor, key: Tensor, value: Tensor, *_given: Any, **_more: Any) -> Tensor:
    """`scaled_dot_product_attention`, whose kernels are looked for by the device's name."""
    weights = (query @ key.transpose(-2, -1)).softmax(-1)
    return weights @ value


def _contiguous(tensor: Tensor, *, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    """`tensor.contiguous()`."""
    same = tensor.is_contiguous(memory_format=memory_format)
    return tensor if same else torch.ops.aten.clone(tensor, memory_format=memory_format)


class Elsewhere(TorchDispatchMode):
    """A GPU without contents; `waits` are the operations at which a processor would wait for it."""

    def __init__(self, device: torch.device = DEVICE) -> None:
        super().__init__()
        self.device = device
        self.waits: list[str] = []
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._patched = ExitStack()

    def __enter__(self) -> Elsewhere:
        torch._C._ensureCUDADeviceGuardSet()
        self._patched.enter_context(mock.patch.object(torch.cuda, "_lazy_init", lambda: None))
        self._patched.enter_context(mock.patch.object(torch, "tensor", _sent(torch.tensor)))
        self._patched.enter_context(mock.patch.object(Tensor, "pin_memory", lambda tensor: tensor))
        if self.device == APPLE:
            self._patched.enter_context(mock.patch.object(F, "scaled_dot_product_attention", _attended))
        # These ask for the real device on their way, whose guard is not there.
        for name, stand in {"__getitem__": _indexed, "__setitem__": _put, "contiguous": _contiguous}.items():
            self._patched.enter_context(mock.patch.object(FakeTensor, name, stand, create=True))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patched.close()

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor there."""
        with self._fake:
            return torch.empty(shape, dtype=dtype, device=self.device)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = tree_flatten((args, kwargs))[0]
        there = any(isinstance(one, FakeTensor) for one in given)
        goes = any(isinstance(one, torch.device) and one.type == self.device.type for one in given)
        if not there and not goes:
            return func(*args, **kwargs)
        if goes and not there and any(isinstance(one, Tensor) for one in given) and not kwargs.get("non_blocking"):
            self.waits.append(str(func))
        if there and any(isinstance(one, torch.device) and one.type == "cpu" for one in given):
            self.waits.append(str(func))
        args, kwargs = tree_map(self._faked, (args, kwargs))
        with self._fake:
            output = func(*args, **kwargs)
        made = (one for one in tree_flatten(output)[0] if isinstance(one, Tensor) and one.device.type == "mps")
        if any(one.dtype == torch.float64 for one in made):
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        return output

    def _faked(self, value: Any) -> Any:
        plain = isinstance(value, Tensor) and not isinstance(value, FakeTensor)
        return self._fake.from_tensor(value) if plain else value

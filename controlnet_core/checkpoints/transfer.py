"""New ControlNets from old ones by arithmetic on their weights, tensor by tensor: no network is built and no GPU needed.

    transfer     p + target - origin for every weight that the control copied from its base model: a control that was
                 trained on one model, carried over to another of the same family (ControlNet's tool_transfer_control)
    extract      the control part alone out of a full checkpoint
    add_control  a fresh control on a base model, for training: the encoder's weights copied, the new layers as
                 untrained ones begin, the connections at zero (ControlNet's tool_add_control)

Files in the original layout and in that of diffusers, in any container. An output called *.safetensors is one file, any other
name a folder of diffusers (which says more than a file can: what comes from a folder should become one). Metadata say what
it was made from. Memory: the inputs stay mapped, and tensors are worked on in pieces of a megabyte.
"""
# torch publishes partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from controlnet_core.checkpoints import ldm_keys
from controlnet_core.checkpoints.safetensors_header import ORDINARY
from controlnet_core.checkpoints.weight_files import DTYPES, TensorEntry, Weights, write
from controlnet_core.domain.errors import Cancelled, ModelError
from controlnet_core.storage import store

_HINT_WIDTHS = (16, 32, 96, 256)
_WIDTH = 320
"""The original's condition embedding, and the width of the U-Net that it was made for."""
_NEW = ("controlnet_down_blocks.", "controlnet_mid_block.", "controlnet_cond_embedding.")
_FAMILY = "Choose a model of the same family: SD 1.5 with SD 1.5."


@dataclass(frozen=True)
class Done:
    """What was made: `moved` weights were changed, by `change` on average (norm of the difference over the norm)."""

    path: Path
    tensors: int
    moved: int
    size: int
    change: float = 0.0


@dataclass(frozen=True)
class TransferOptions:
    """How to work: half precision or that of the control, whom to tell (share done, 0 to 1), whether to stop."""

    half: bool = False
    on_share: Callable[[float], None] = lambda _share: None
    cancelled: Callable[[], bool] = lambda: False
    free_min_bytes: int = store.FREE_MIN_BYTES

    def stored(self, dtype: torch.dtype) -> torch.dtype:
        """In what a weight of some dtype is written."""
        return torch.float16 if self.half and dtype.is_floating_point else dtype


@dataclass(frozen=True)
class _Part:
    """A network inside a file: `weights` under the names of diffusers, and how each is called in the file."""

    weights: Weights
    named: Mapping[str, str]
    whole: Weights
    """Everything in the file."""
    config: dict[str, Any] | None = None
    """What a folder of diffusers says of the network."""

    @property
    def original(self) -> bool:
        """Whether the file has the original's layout."""
        return any(
            name.startswith((ldm_keys.CONTROL, "input_hint_block.", ldm_keys.UNET)) for name in self.named.values()
        )


def transfer(
    control: Path,
    origin: Path | None,
    target: Path,
    output: Path,
    work: TransferOptions | None = None,
    *,
    full: bool = False,
) -> Done:
    """Carry `control`, trained on the base model `origin`, over to the base model `target`; write it to `output`.

    `origin` None takes the base model inside a full control checkpoint. `full` writes the whole of `target` with it (both
    in the original layout). Computes in float32, p + target - origin from left to right, as the original does. Raises
    ModelError when the three do not belong together, NoSpace, Cancelled.
    """
    work = work or TransferOptions()
    given, aim = _control(control), _base(target)
    start = _base(origin) if origin else _base_inside(given)
    _check_twins(given, start, aim)
    change = _Change()

    def moved(name: str) -> Iterable[Tensor]:
        weight = given.weights.get(name)
        if name not in aim.weights or not weight.is_floating_point():
            return _pieces(weight)
        return change.moved(weight, aim.weights.get(name), start.weights.get(name))

    entries = [_entry(given.named[name], given.weights, name, work, moved) for name in given.weights.shapes]
    if full:
        entries += _rest(given, start, aim, work)
    about = {"made by": "transfer", "control": control.name, "target": target.name}
    about["origin"] = origin.name if origin else f"the base model in {control.name}"
    size = _write(output, entries, about, work, given.config)
    return Done(output, len(entries), change.count, size, change.share)


def extract(source: Path, output: Path, work: TransferOptions | None = None) -> Done:
    """Write the control part of a full checkpoint to `output`, under its names. Raises ModelError, NoSpace, Cancelled."""
    work = work or TransferOptions()
    given = _control(source)
    if len(given.named) == len(given.whole.shapes) and not work.half and given.config is None:
        raise ModelError(f"{source.name} holds the control alone already.", "It can be used as it is.")
    entries = [_entry(given.named[name], given.weights, name, work) for name in given.weights.shapes]
    size = _write(output, entries, {"made by": "extract", "source": source.name}, work, given.config)
    return Done(output, len(entries), 0, size)


def add_control(
    base: Path,
    output: Path,
    work: TransferOptions | None = None,
    *,
    full: bool = False,
    channels: int = 3,
    seed: int = 0,
) -> Done:
    """Write a fresh control for the base model `base` to `output`: what training starts from.

    The encoder is copied, connections are zero, so it changes no picture yet. The layers that read the control picture
    (`channels` of it) begin as untrained convolutions do (He initialisation), the same ones for the same `seed`. `full`
    writes the base model (original layout) with it, as the original's tool does.
    """
    work = work or TransferOptions()
    given = _base(base)
    if full and not given.original:
        raise ModelError(
            f"{base.name} is a folder: a full checkpoint can only be made of a single file.",
            "Write the control part alone.",
        )
    name_of = partial(_original_name, last=2 * (2 * _halvings(base) + 1)) if given.original else str
    twins = {name: name for name in given.weights.shapes if name.startswith(_ENCODER)}
    entries = [_entry(_control_name(given, name), given.weights, name, work) for name in sorted(twins)]
    copied = len(entries)
    dtype, halvings = given.weights.dtype("conv_in.weight"), _halvings(base)
    for name, tensor in _fresh(given.weights, channels, halvings, seed).items():
        ready = tensor.to(torch.float16 if work.half else dtype)
        entries.append(TensorEntry(name_of(name), tuple(ready.shape), DTYPES[ready.dtype], lambda ready=ready: [ready]))
    if full:
        entries += [_entry(name, given.whole, name, work) for name in _beside_control(given.whole)]
    told = _TOLD if given.config and given.config.get("addition_embed_type") == "text_time" else ()
    config = given.config and {
        **{key: given.config[key] for key in (*_SHARED, *told) if key in given.config},
        "_class_name": "ControlNetModel",
        "conditioning_channels": channels,
        "conditioning_embedding_out_channels": hint_widths(halvings),
    }
    size = _write(output, entries, {"made by": "add_control", "base": base.name, "seed": str(seed)}, work, config)
    return Done(output, len(entries), copied, size)


_PIECE = 1 << 18
"""Numbers of a tensor at a time: 1 MB in full precision."""
_SHARED = (
    "in_channels", "flip_sin_to_cos", "freq_shift", "down_block_types", "mid_block_type", "only_cross_attention",
    "block_out_channels", "layers_per_block", "downsample_padding", "mid_block_scale_factor", "act_fn",
    "norm_num_groups", "norm_eps", "cross_attention_dim", "transformer_layers_per_block", "attention_head_dim",
    "num_attention_heads", "use_linear_projection", "upcast_attention", "resnet_time_scale_shift",
)  # fmt: skip
"""What a ControlNet takes over from the configuration of its U-Net, in the words of diffusers."""
_TOLD = ("addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim")
"""The same, of what SDXL is told beside the text; of other kinds, ControlNets are told nothing here."""
_ENCODER = ("conv_in.", "time_embedding.", "add_embedding.linear_", "down_blocks.", "mid_block.")


class _Change:
    """Moves weights and counts how far."""

    def __init__(self) -> None:
        self.count = 0
        self._moved = self._norm = 0.0

    @property
    def share(self) -> float:
        return math.sqrt(self._moved / self._norm) if self._norm else 0.0

    def moved(self, weight: Tensor, target: Tensor, origin: Tensor) -> Iterator[Tensor]:
        """`weight` + `target` - `origin`, float32, in pieces."""
        self.count += 1
        for own, aim, start in zip(_pieces(weight), _pieces(target), _pieces(origin), strict=True):
            before = own.float()
            moved = before + aim.float() - start.float()
            self._norm += float(torch.linalg.vector_norm(before) ** 2)
            self._moved += float(torch.dist(moved, before) ** 2)
            yield moved


def _pieces(tensor: Tensor) -> Iterable[Tensor]:
    """The numbers of a tensor in their order, some at a time."""
    return tensor.reshape(-1).split(_PIECE)


def _entry(
    name: str, weights: Weights, key: str, work: TransferOptions, make: Callable[[str], Iterable[Tensor]] | None = None
) -> TensorEntry:
    """A tensor of the output: named `name`, made by `make(key)` or as it is, in the dtype that `weights` has for it."""
    dtype = work.stored(weights.dtype(key))

    def pieces() -> Iterator[Tensor]:
        return (piece.to(dtype) for piece in (make(key) if make else _pieces(weights.get(key))))

    return TensorEntry(name, weights.shapes[key], DTYPES[dtype], pieces)


def _write(
    output: Path,
    entries: list[TensorEntry],
    about: Mapping[str, str],
    work: TransferOptions,
    config: dict[str, Any] | None,
) -> int:
    total = sum(entry.size for entry in entries) or 1
    told = 0.0

    def on_bytes(count: int) -> None:
        nonlocal told
        if work.cancelled():
            raise Cancelled()
        if time.monotonic() - told > 0.1 or count == total:
            told = time.monotonic()
            work.on_share(count / total)

    metadata = {"format": "pt", "made with": "ControlNet Studio", **about}
    if output.suffix == ".safetensors":
        return write(output, entries, metadata, on_bytes, free_min_bytes=work.free_min_bytes)
    if config is None:
        raise ModelError(
            "What comes from a single file can only become a single file.", "Give it a name that ends in .safetensors."
        )
    part = output.with_name(f".{output.name}.part")
    try:
        file = part / "diffusion_pytorch_model.safetensors"
        size = write(file, entries, metadata, on_bytes, free_min_bytes=work.free_min_bytes)
        store.write(part / "config.json", json.dumps(config, indent=1).encode(), free_min_bytes=0)
        part.rename(output)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    store.flush_folder(output.parent)
    return size


def _rest(given: _Part, start: _Part, aim: _Part, work: TransferOptions) -> list[TensorEntry]:
    """Everything of the target beside the control. What a control checkpoint changed in its own base comes along."""
    if not (given.original and aim.original):
        raise ModelError(
            "A full checkpoint can only be made of files in the original layout.", "Write the control part alone."
        )
    own = _own_base(given)
    if own is not None and own.whole is not start.whole:
        _check_twins(own, start, aim)
    else:
        own = None

    def moved(name: str) -> Iterable[Tensor]:
        weight = aim.whole.get(name)
        key = name_here.get(name)
        if own is None or key is None or key not in own.weights:
            return _pieces(weight)
        return change.moved(own.weights.get(key), weight, start.weights.get(key))

    change = _Change()
    name_here = {old: new for new, old in aim.named.items()}
    return [_entry(name, aim.whole, name, work, moved) for name in _beside_control(aim.whole)]


def _beside_control(whole: Weights) -> list[str]:
    """What stands in a checkpoint beside a ControlNet that it may have already: the new one takes its place."""
    return [name for name in whole.shapes if not name.startswith(ldm_keys.CONTROL)]


def _control(path: Path) -> _Part:
    """The ControlNet in a file or folder."""
    whole = Weights.open(path)
    prefixed = {name.removeprefix(ldm_keys.CONTROL): name for name in whole.shapes if name.startswith(ldm_keys.CONTROL)}
    names = prefixed or {name: name for name in whole.shapes}
    if "input_hint_block.0.weight" in names:
        return _part(whole, names, path)
    if "controlnet_cond_embedding.conv_in.weight" in names:
        return _Part(whole.renamed(names), names, whole, _config(path))
    raise ModelError(f"{path.name} holds no ControlNet.", "Choose a file such as control_v11p_sd15_canny.pth.")


def _config(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((path / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _base(path: Path) -> _Part:
    """The U-Net of a base model."""
    if path.is_dir():
        inner = path / "unet" if (path / "unet").is_dir() else path
        whole = Weights.open(inner)
        return _Part(whole, {name: name for name in whole.shapes}, whole, _config(inner))
    found = _unet_inside(Weights.open(path), path)
    if found is None:
        raise ModelError(f"{path.name} holds no base model.", "Choose a full checkpoint, or a folder of diffusers.")
    return found


def _base_inside(given: _Part) -> _Part:
    found = _own_base(given)
    if found is None:
        raise ModelError(
            f"{given.whole.name} holds the control alone: it does not say what it was trained on.",
            "Choose the base model that it was trained on; for the published ones that is Stable Diffusion 1.5.",
        )
    return found


def _own_base(given: _Part) -> _Part | None:
    return _unet_inside(given.whole, Path(given.whole.name))


def _unet_inside(whole: Weights, path: Path) -> _Part | None:
    names = {name.removeprefix(ldm_keys.UNET): name for name in whole.shapes if name.startswith(ldm_keys.UNET)}
    return _part(whole, names, path) if names else None


def _part(whole: Weights, names: Mapping[str, str], path: Path) -> _Part:
    try:
        named = ldm_keys.unet(names)  # works on names alone: the "tensors" are the names in the file
    except (ValueError, KeyError) as error:
        raise ModelError(
            f"{path.name} holds parts of a model, but not a whole one of a known kind.", ORDINARY
        ) from error
    return _Part(whole.renamed(named), named, whole)


def _check_twins(given: _Part, start: _Part, aim: _Part) -> None:
    for name, shape in given.weights.shapes.items():
        if name.startswith(_NEW):
            continue
        for base in (start, aim):
            if base.weights.shapes.get(name) != shape:
                raise ModelError(
                    f"{base.whole.name} is another kind of model than the one {given.whole.name} was made for.", _FAMILY
                )


def _control_name(given: _Part, name: str) -> str:
    own = given.named[name]
    return ldm_keys.CONTROL + own.removeprefix(ldm_keys.UNET) if given.original else own


def _original_name(name: str, last: int) -> str:
    """The original's name of a layer that only ControlNets have; `last` counts the layer that ends the hint block."""
    stem, _, leaf = name.rpartition(".")
    if stem == "controlnet_mid_block":
        place = "middle_block_out.0"
    elif stem.startswith("controlnet_down_blocks."):
        place = f"zero_convs.{stem.rpartition('.')[2]}.0"
    else:
        hint = stem.removeprefix("controlnet_cond_embedding.")
        ends = {"conv_in": 0, "conv_out": last}
        place = f"input_hint_block.{ends[hint] if hint in ends else 2 * int(hint.rpartition('.')[2]) + 2}"
    return f"{ldm_keys.CONTROL}{place}.{leaf}"


def _fresh(base: Weights, channels: int, halvings: int, seed: int) -> dict[str, Tensor]:
    """The layers that a ControlNet has and its base model has not, under the names of diffusers, as they begin."""
    widths = _widths(base)
    made: dict[str, Tensor] = {}
    outlets = {f"controlnet_down_blocks.{index}": width for index, width in enumerate(widths)}
    outlets["controlnet_mid_block"] = widths[-1]
    for stem, width in outlets.items():
        made[f"{stem}.weight"], made[f"{stem}.bias"] = torch.zeros(width, width, 1, 1), torch.zeros(width)
    random = torch.Generator().manual_seed(seed)
    stages = hint_widths(halvings)
    for stem, inward, outward in _hint_layers(channels, stages):
        bound = 1 / math.sqrt(inward * 9)  # of torch's convolutions: kaiming_uniform with a = sqrt(5)
        weight = torch.empty(outward, inward, 3, 3).uniform_(-bound, bound, generator=random)
        made[f"controlnet_cond_embedding.{stem}.weight"] = weight
        made[f"controlnet_cond_embedding.{stem}.bias"] = torch.empty(outward).uniform_(-bound, bound, generator=random)
    made["controlnet_cond_embedding.conv_out.weight"] = torch.zeros(widths[0], stages[-1], 3, 3)
    made["controlnet_cond_embedding.conv_out.bias"] = torch.zeros(widths[0])
    return made


def _hint_layers(channels: int, stages: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Name, channels in and channels out of the layers that read a control picture, as diffusers counts them."""
    yield "conv_in", channels, stages[0]
    for index, (here, then) in enumerate(pairwise(stages)):
        yield f"blocks.{2 * index}", here, here
        yield f"blocks.{2 * index + 1}", here, then


def hint_widths(halvings: int, width: int = _WIDTH) -> list[int]:
    """Channels of the layers that read a control picture, at its size and after each of `halvings`; more keep the last.

    For a U-Net whose first level has `width` channels: as wide as the original's, in proportion. What is made here by
    arithmetic is always as wide as the original's, as its own tool has it; a training of a small base need not be.
    """
    known = [*_HINT_WIDTHS, *_HINT_WIDTHS[-1:] * halvings][: halvings + 1]
    return [max(4, 4 * round(one * width / _WIDTH / 4)) for one in known]


def _halvings(base: Path) -> int:
    """How often a picture is halved on the way to its latents: 3 times, unless the model's own autoencoder says more."""
    try:
        config = json.loads((base / "vae" / "config.json").read_text(encoding="utf-8"))
        return len(config.get("encoder_block_out_channels") or config["block_out_channels"]) - 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 3


def _widths(base: Weights) -> list[int]:
    """Channels of what every step of the encoder hands on, from the first convolution to the last block."""
    widths = [base.shapes["conv_in.weight"][0]]
    level = 0
    while f"down_blocks.{level}.resnets.0.conv2.weight" in base:
        layer = 0
        while (name := f"down_blocks.{level}.resnets.{layer}.conv2.weight") in base:
            widths.append(base.shapes[name][0])
            layer += 1
        if (name := f"down_blocks.{level}.downsamplers.0.conv.weight") in base:
            widths.append(base.shapes[name][0])
        level += 1
    return widths

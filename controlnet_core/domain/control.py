"""What a condition is: a `ControlType` says everything the rest of the studio needs to know about it.

One file in `annotator` builds one `ControlType`; pages, navigation, command line, API, data sets and training follow
from it. Types only: no condition is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.document import Document, DocumentKind, Skeleton
from controlnet_core.domain.errors import InputError

Rgb = NDArray[np.uint8]
"""uint8 H,W,3 in RGB order; the only picture type that crosses a module border."""

Value = float | int | bool | str
Values = Mapping[str, Value]


@dataclass(frozen=True)
class Param:
    """A parameter: one slider, choice or switch on the page, one recipe entry, one command line flag.

    With `choices` it is a choice; with a bool `default` a switch; else a number in [low, high] by `step`.
    """

    key: str
    title: str
    default: Value
    low: float = 0
    high: float = 1
    step: float = 1
    choices: tuple[str, ...] = ()
    unit: str = ""
    help: str = ""

    def check(self, value: object) -> Value:
        """Return `value` as this parameter's type, or raise InputError naming the parameter and its range."""
        if self.choices:
            if isinstance(value, str) and value in self.choices:
                return value
            raise InputError(f"{self.title} must be one of {', '.join(self.choices)}.")
        if isinstance(self.default, bool):
            if isinstance(value, bool):
                return value
            raise InputError(f"{self.title} must be on or off.")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            raise InputError(f"{self.title} must be a number from {self.low:g} to {self.high:g}.")
        return int(value) if isinstance(self.default, int) else float(value)


def values(params: tuple[Param, ...], given: Mapping[str, object]) -> dict[str, Value]:
    """Complete `given` with defaults and check it. Unknown keys and values out of range raise InputError."""
    known = {param.key for param in params}
    unknown = [key for key in given if key not in known]
    if unknown:
        raise InputError(
            f"There is no parameter called {unknown[0]!r}.", f"Known: {', '.join(sorted(known)) or 'none'}."
        )
    return {param.key: param.check(given.get(param.key, param.default)) for param in params}


@dataclass(frozen=True)
class Detector:
    """One way from a photo to a document.

    `run(picture, values)` gets a uint8 RGB picture at the detection size and the completed values of `params`, and
    returns the document in the coordinates of that picture; heavy imports happen inside it. `weights` names the cards it
    needs; with none it is instant and runs in the web process. It raises InputError when it finds nothing. `reads` says
    what it wants: a photo, or a map or drawing that somebody has made already. With `alpha` the picture has four channels,
    its transparency as the last. `reading` are the values with which it reads what the condition's own renderer drew.
    """

    key: str
    title: str
    run: Callable[[Rgb, Values], Document]
    help: str = ""
    params: tuple[Param, ...] = ()
    weights: tuple[str, ...] = ()
    reads: Literal["photo", "map"] = "photo"
    alpha: bool = False
    reading: Mapping[str, Value] = field(default_factory=dict[str, Value])


class Truth(Protocol):
    """What the rendered world knows exactly about one of its pictures; all arrays share the picture's H and W."""

    @property
    def picture(self) -> Rgb:
        """The picture itself."""
        ...

    @property
    def classes(self) -> NDArray[np.uint8]:
        """H,W class indices, ADE20K, 0-based."""
        ...

    @property
    def depth(self) -> NDArray[np.float32]:
        """H,W distance from the viewer in metres, larger is farther."""
        ...

    @property
    def normal(self) -> NDArray[np.float32]:
        """H,W,3 unit normals: x right, y down, z towards the viewer."""
        ...

    @property
    def outlines(self) -> NDArray[np.uint8]:
        """H,W mask, 255 on the outlines that a person would draw."""
        ...

    @property
    def edges(self) -> NDArray[np.uint8]:
        """H,W mask, 255 on every visible colour edge."""
        ...

    @property
    def lines(self) -> NDArray[np.float32]:
        """N,4 straight segments x1 y1 x2 y2 in pixels."""
        ...

    @property
    def skeleton(self) -> Skeleton:
        """The people."""
        ...


Group = Literal["draw", "photo", "rework"]
"""What a condition begins with: an empty canvas, what is found in a photo, or a picture that becomes another one."""
EditorKind = Literal["scribble", "colour", "pose", "seg", "view", "inpaint"]
"""The editors by the names of their modules in components/assets."""

HOLE_BELOW = 128
"""A pixel of less alpha is a hole in a control picture: nothing is known of it there."""

Feed = Literal["rgb", "bgr", "opposed", "black", "blocks"]
"""How colours go into a network: as they are, channels reversed (the 1.0 normal model), or with red and green as their
opposites (normals whose axes point right and down), or with holes in black (the union networks' inpainting), or as one colour for
each square of `BLOCK_PX` (T2I-Adapter's spatial palette). What a network wants stands on its card."""
BLOCK_PX = 64


def fed(picture: Rgb, feed: Feed) -> Rgb:
    """A control picture as a network learnt to read it."""
    if feed == "bgr":
        return np.ascontiguousarray(picture[:, :, ::-1])
    if feed == "opposed":
        # Black is no direction: nothing is said there, to any network.
        return np.where(picture.any(axis=2, keepdims=True), picture ^ np.array([255, 255, 0], np.uint8), picture)
    if feed == "black" and picture.shape[2] == 4:
        return np.where(picture[:, :, 3:] < HOLE_BELOW, np.uint8(0), picture[:, :, :3])
    if feed == "blocks":
        height, width = picture.shape[:2]
        few = max(1, round(width / BLOCK_PX)), max(1, round(height / BLOCK_PX))
        palette = cv2.resize(picture, few, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(palette, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    return picture


@dataclass(frozen=True)
class ControlType:
    """Everything about one condition.

    `render(document, values)` turns a document into the control picture that the network sees (uint8 H,W,3 at the
    document's size, lines white on black; H,W,4 where it may have holes, see `HOLE_BELOW`); `params` are its parameters.
    `truth(world)` is the document of a rendered scene; None where a scene has none to tell. `nearest` resizes without
    inventing new colours. Which ControlNets read it stands on their cards (`controlnet_core/models/cards`).
    """

    key: str
    title: str
    icon: str
    group: Group
    order: int
    help: str
    document: DocumentKind
    editor: EditorKind
    render: Callable[[Document, Values], Rgb]
    truth: Callable[[Truth], Document] | None = None
    params: tuple[Param, ...] = ()
    detectors: tuple[Detector, ...] = ()
    nearest: bool = False
    placeholder: str = ""
    """An example prompt that suits the condition."""
    paper: int = 0
    """The value of every pixel of an empty raster: 255 where one draws on white paper, through which other layers are seen."""
    options: Callable[[], Mapping[str, object]] = dict[str, object]
    """What its editor needs to know besides the document, as JSON: a class table, which adjustments make sense."""

    @property
    def wants_hand(self) -> bool:
        """Whether what is found in a photo is only where a hand begins."""
        return self.group == "draw" or self.document == "rgba"

    @property
    def takes_shapes(self) -> bool:
        """Whether lines can be stamped onto its document."""
        return self.document == "mask" or (self.document == "rgb" and self.paper == 255)

    @property
    def trains(self) -> bool:
        """Whether a ControlNet can be trained here to read it: pairs of files say nothing of holes."""
        return self.document != "rgba"

    @property
    def teaches(self) -> bool:
        """Whether photos and what is found in them are pairs to learn from: not where that is the photo itself."""
        return self.truth is not None

    def truth_of(self, world: Truth) -> Document:
        """The document of a rendered scene. Raises InputError where a scene has none to tell."""
        if self.truth is None:
            raise InputError(*self.no_pairs)
        return self.truth(world)

    @property
    def no_pairs(self) -> tuple[str, str]:
        """Why there is nothing to learn from where it does not teach, and what to do, in two sentences."""
        return (
            f"{self.title} is no map of a picture: the picture itself would be its own answer.",
            "Choose another control, or bring pairs that you have.",
        )

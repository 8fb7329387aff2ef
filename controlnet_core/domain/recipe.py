"""Recipes: everything that decides a result, and only that.

A recipe is strict (unknown keys, NaN and values out of range are refused), versioned and small. Pictures and documents
stand in it by the SHA-256 of their bytes, never inline; whoever runs it brings the bytes along.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from controlnet_core.domain import json_input
from controlnet_core.domain.document import SIDE_MAX_PX
from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.samplers import SAMPLER_TITLES, SPACINGS, Sampler, Spacing

RECIPE_MAX_BYTES = 64 * 1024
SEED_MAX = 2**32 - 1

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
SIDE_STEP, SIDE_MIN, SIDE_MAX = 64, 64, SIDE_MAX_PX
"""Sides of pictures in pixels: multiples of 64. A base model's family may make smaller ones only."""
Side = Annotated[int, Field(ge=SIDE_MIN, le=SIDE_MAX, multiple_of=SIDE_STEP)]
PROMPT_MAX = 4000
Text = Annotated[str, Field(max_length=PROMPT_MAX)]

Mode = Literal["balanced", "prompt", "control"]
Resize = Literal["stretch", "crop", "fit"]
Fill = Literal["original", "noise"]
ReferenceKind = Literal["ip_adapter", "reference_only"]
TOLD_MAX = 8192
Told = tuple[Annotated[int, Field(ge=0, le=TOLD_MAX)], Annotated[int, Field(ge=0, le=TOLD_MAX)]]
"""Two numbers of pixels that a model is told: width and height, or left and top."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Value = bool | int | Number | Annotated[str, Field(max_length=200)]
Values = Annotated[dict[Key, Value], Field(max_length=32)]
"""Parameters of a detector or a renderer by their keys."""


class Strict(BaseModel):
    """Refuses unknown keys, other types and NaN; never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Found(Strict):
    """Where a document came from: a detector, the values of all its parameters, and the photo that it looked at."""

    detector: Key
    picture: Digest
    values: Values = Field(default_factory=dict[str, Value])


class ControlUnit(Strict):
    """One control of a recipe.

    `picture` is the control picture as rendered; it alone decides the result. The next three say how to make it again, for
    whoever wants to change it: `document` is what it was rendered from, `values` are those of all the renderer's parameters
    (empty in recipes from before they were noted: the defaults), `found` is the look at a photo that the document began as.

    `weight` scales the control's residuals, `start` and `end` are shares of the steps between which it acts. mode "balanced":
    the same scale on every level, on both halves of the guidance. "prompt": level i of 13 (shallowest first) is scaled by
    0.825 ** (12 - i) on both halves. "control": the same scale, on the conditional half alone (the original's guess mode).
    `mask` is a picture that says where the control acts (white) and where not (black); it is brought to size as `picture` is.
    """

    control: Key
    picture: Digest
    document: Digest | None = None
    values: Values = Field(default_factory=dict[str, Value])
    found: Found | None = None
    network: Key | None = None
    weight: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    start: Unit = 0.0
    end: Unit = 1.0
    mode: Mode = "balanced"
    resize: Resize = "stretch"
    mask: Digest | None = None

    @model_validator(mode="after")
    def _window(self) -> ControlUnit:
        if self.start > self.end:
            raise ValueError("start must not lie after end")
        return self


class Source(Strict):
    """The picture that a result starts from instead of pure noise.

    `strength` is the share of the steps that run: 1 keeps next to nothing of the picture, a little keeps nearly all.
    `mask` is a picture that says what is made anew (white); the rest stays, to the pixel where the mask is black after its
    edge is softened by `blur_px`. `fill` says what the white part starts from: the picture itself, or noise alone.
    """

    picture: Digest
    strength: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.75
    mask: Digest | None = None
    blur_px: Annotated[int, Field(ge=0, le=64)] = 4
    fill: Fill = "original"
    resize: Resize = "crop"


class Reference(Strict):
    """A picture that the result is to be like, in what it shows and how.

    kind "ip_adapter": the IP-Adapter of the catalog called `adapter` looks at it, and `weight` scales what it adds to the text.
    "reference_only" needs no weights: self attention reads the picture beside the one that is made. Then `weight` is the share
    of the layers that do, the widest first (1 and more: all), and `style_fidelity` how far the unconditional half is kept from
    it: the guidance leads towards what only the other half has seen.
    As noisy as the latents of a step are, it says little in the first one, and nothing where that is the only one.
    `start` and `end` are shares of the steps between which it acts.
    """

    kind: ReferenceKind = "ip_adapter"
    picture: Digest
    adapter: Key | None = None
    weight: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.6
    style_fidelity: Unit = 0.5
    start: Unit = 0.0
    end: Unit = 1.0

    @model_validator(mode="after")
    def _window(self) -> Reference:
        if self.start > self.end:
            raise ValueError("start must not lie after end")
        return self

    @model_validator(mode="after")
    def _seen_by(self) -> Reference:
        if (self.adapter is None) == (self.kind == "ip_adapter"):
            raise ValueError("adapter must name an IP-Adapter where the kind is one, and only there")
        return self


class MicroConditioning(Strict):
    """Sizes in pixels that SDXL is told (Podell et al. 2023, section 2.2): of its training pictures, they said how sharp one was
    and how it was cropped.

    `original` and `target` are width and height, None that of the picture that is made. `crop` is how far from the left and
    from the top it was cut. Both halves of the guidance are told the same.
    """

    original: Told | None = None
    crop: Told = (0, 0)
    target: Told | None = None


class Lora(Strict):
    """A LoRA of the catalog at a weight; 0 leaves it out, below 0 it works the other way round."""

    key: Key
    weight: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] = 1.0


class Recipe(Strict):
    """Everything that decides the pictures. Sizes in pixels; `guidance` 1 runs the conditional half alone.

    Picture k of `images` starts from noise that depends on `seed` + k alone, so it is the same in every batch size and
    on every device. With a `variation_strength` above 0 the noise moves that share of the way to the noise of
    `variation_seed` + k, and all pictures share `seed`.

    `version` 2 reads prompts with weights, as in "(red:1.3) house", and of any length; version 1 takes them letter by
    letter and cuts them after 75 tokens. `embeddings` are textual inversions of the catalog; the prompt calls each by its
    key. `clip_skip` 1 takes the text encoder's layer that the model was made for, 2 the one before the last, and so on.
    `vae` None is the model's own. `micro_conditioning` None tells the model the size of the picture, uncropped. `spacing`
    says where the noise levels of the sampler lie.
    """

    version: Literal[1, 2] = 2
    model: Key
    prompt: Text = ""
    added_prompt: Text = ""
    negative: Text = ""
    controls: Annotated[tuple[ControlUnit, ...], Field(max_length=4)] = ()
    width: Side
    height: Side
    images: Annotated[int, Field(ge=1, le=12)] = 1
    steps: Annotated[int, Field(ge=1, le=100)] = 20
    guidance: Annotated[float, Field(ge=0, le=30, allow_inf_nan=False)] = 9.0
    sampler: Sampler = "ddim"
    spacing: Spacing = "model"
    seed: Annotated[int, Field(ge=0, le=SEED_MAX)] = 0
    eta: Unit = 0.0
    source: Source | None = None
    references: Annotated[tuple[Reference, ...], Field(max_length=4)] = ()
    loras: Annotated[tuple[Lora, ...], Field(max_length=8)] = ()
    embeddings: Annotated[tuple[Key, ...], Field(max_length=16)] = ()
    clip_skip: Annotated[int, Field(ge=1, le=12)] = 1
    vae: Key | None = None
    micro_conditioning: MicroConditioning | None = None
    variation_seed: Annotated[int, Field(ge=0, le=SEED_MAX)] = 0
    variation_strength: Unit = 0.0

    @model_validator(mode="after")
    def _once(self) -> Recipe:
        for field, keys in (("loras", [lora.key for lora in self.loras]), ("embeddings", list(self.embeddings))):
            if len(set(keys)) < len(keys):
                raise ValueError(f"{field} must name each one once")
        return self

    @model_validator(mode="after")
    def _spaced(self) -> Recipe:
        if self.spacing not in SPACINGS[self.sampler]:
            raise ValueError(
                f"{SAMPLER_TITLES[self.sampler]} takes no spacing {self.spacing!r}, only {', '.join(SPACINGS[self.sampler])}"
            )
        return self

    @property
    def pictures(self) -> tuple[str, ...]:
        """The digests of all pictures that an engine needs to run this: of controls, source, masks and references."""
        wanted = [digest for unit in self.controls for digest in (unit.picture, unit.mask)]
        wanted += [self.source.picture, self.source.mask] if self.source else []
        wanted += [reference.picture for reference in self.references]
        return tuple(dict.fromkeys(digest for digest in wanted if digest is not None))

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of everything that it names: `pictures`, drawings, and the photos that something was found in."""
        drawn = [unit.document for unit in self.controls]
        drawn += [unit.found.picture for unit in self.controls if unit.found]
        return tuple(dict.fromkeys((*self.pictures, *(digest for digest in drawn if digest is not None))))

    def keeps_alpha(self, digest: str) -> bool:
        """Whether the transparency of a picture of `pictures` says something: that of a control's holes does."""
        return any(digest == unit.picture for unit in self.controls)

    def role(self, digest: str) -> str:
        """What a picture of `pictures` is to the recipe, in words."""
        for unit in self.controls:
            if digest in (unit.picture, unit.mask):
                return f"{'picture' if digest == unit.picture else 'mask'} of the {unit.control} control"
        if any(digest == reference.picture for reference in self.references):
            return "reference picture"
        return "picture to start from" if self.source and digest == self.source.picture else "mask"

    @property
    def text(self) -> str:
        """The prompt as the text encoder gets it: the original appends the added prompt after a comma."""
        return f"{self.prompt}, {self.added_prompt}" if self.added_prompt else self.prompt

    def to_json(self) -> str:
        """The recipe as one line of JSON."""
        return self.model_dump_json(exclude_none=True)


def parse(text: str | bytes) -> Recipe:
    """Read a recipe that may come from anywhere. Raises RecipeError with the name of the first wrong field."""
    if len(text) > RECIPE_MAX_BYTES:
        raise RecipeError("The recipe is larger than 64 KiB.", "It cannot come from this program.")
    try:
        return Recipe.model_validate_json(text)
    except RecursionError as error:
        raise RecipeError("The recipe is nested too deeply.") from error
    except ValidationError as error:
        raise refusal(error) from error


def refusal(error: ValidationError, what: str = "recipe") -> RecipeError:
    """The first problem of a validation of `what`, in a sentence that names the field."""
    return RecipeError(json_input.first_fault(error, what))

"""A recipe as a client of /api/v1 writes it, and how it becomes one of ours."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, ValidationError

from controlnet_core.domain import control as controls_of
from controlnet_core.domain import document as documents
from controlnet_core.domain.control import Value
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import (
    Fill,
    Lora,
    MicroConditioning,
    Mode,
    Recipe,
    Reference,
    ReferenceKind,
    Resize,
    refusal,
)
from controlnet_core.domain.samplers import Sampler, Spacing
from controlnet_core.models.catalog import ModelCard
from webapp.api import pictures
from webapp.api.routing import parsed
from webapp.api.v1.common import Asked, Digest, Picture
from webapp.application import given_maps
from webapp.application.recipe_builder import Draft, Finished, Photo, RecipeBuilder
from webapp.application.studio import Studio


class ControlRequest(Asked):
    """One control. Exactly one of `document`, `picture` and `photo` says what it is given.

    A `picture` is a finished map, read as the command line reads it: ink on paper or on a transparent ground becomes light on
    dark, class numbers their colours. For a pose it may be OpenPose JSON instead. What it was taken for is `said` in the answer.
    """

    control: str
    document: Digest | None = None
    picture: Picture | None = None
    photo: Picture | None = None
    detector: str = ""
    detector_values: dict[str, Value] = Field({})
    values: dict[str, Value] = Field({})
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: Mode = "balanced"
    network: str | None = None
    resize: Resize = "stretch"
    mask: Picture | None = None


class StartRequest(Asked):
    """The picture to start from, and what of it is made anew (white in the mask)."""

    picture: Picture
    strength: float = 0.75
    mask: Picture | None = None
    blur_px: int = 4
    fill: Fill = "original"
    resize: Resize = "crop"


class ReferenceRequest(Asked):
    """A picture that the result is to be like, and the IP-Adapter that looks at it; the first one here by default.

    Of the kind "reference_only", the base model itself looks at it.
    """

    picture: Picture
    kind: ReferenceKind = "ip_adapter"
    adapter: str | None = None
    weight: float = 0.6
    style_fidelity: float = 0.5
    start: float = 0.0
    end: float = 1.0


class MicroRequest(Asked):
    """What SDXL is told of sizes, in pixels: width and height, and how far from the left and the top it was cropped.

    What is left out is the size of the picture that is made.
    """

    original: tuple[int, int] | None = None
    crop: tuple[int, int] = (0, 0)
    target: tuple[int, int] | None = None


class LoraRequest(Asked):
    """A LoRA of this machine and its weight."""

    key: str
    weight: float = 1.0


class JobRequest(Asked):
    """A recipe. What is left out is what the model's card suggests; `seed` -1 draws one; the same `id` again is the same job.

    `preset` is one of few steps (that of a model or LoRA here, or "auto" for whatever is): it decides what is left out.
    """

    id: str | None = None
    model: str | None = None
    prompt: str = ""
    added_prompt: str | None = None
    negative: str | None = None
    controls: list[ControlRequest] = Field([], max_length=4)
    start_from: StartRequest | None = None
    references: list[ReferenceRequest] = Field([], max_length=4)
    width: int | None = None
    height: int | None = None
    images: int = 1
    steps: int | None = None
    guidance: float | None = None
    sampler: Sampler | None = None
    spacing: Spacing | None = None
    preset: str | None = None
    seed: int = -1
    eta: float | None = None
    loras: list[LoraRequest] = Field([], max_length=8)
    embeddings: list[str] = Field([], max_length=16)
    vae: str | None = None
    clip_skip: int | None = None
    micro_conditioning: MicroRequest | None = None
    variation_seed: int | None = None
    variation_strength: float | None = None


def recipe_of(
    studio: Studio,
    builder: RecipeBuilder,
    asked: JobRequest,
    files: Mapping[str, bytes],
    owner: str,
    said: list[str],
) -> Recipe:
    """The recipe that a request of the workspace `owner` describes; `said` hears what its maps were taken for.

    Raises StudioError.
    """
    base = studio.catalog.base() if asked.model is None else studio.catalog.card(asked.model)
    source = None
    if asked.start_from is not None:
        start = asked.start_from
        source = builder.source(
            pictures.kept(studio, owner, start.picture, files),
            strength=start.strength,
            mask=None if start.mask is None else pictures.kept_mask(studio, owner, start.mask, files),
            blur_px=start.blur_px,
            fill=start.fill,
            resize=start.resize,
        )
    apart = {"id", "model", "controls", "start_from", "references", "loras", "embeddings", "micro_conditioning"}
    plain = asked.model_dump(exclude=apart)
    return builder.for_base(
        base,
        [_draft(studio, one, files, owner, said) for one in asked.controls],
        source=source,
        references=tuple(_reference(studio, builder, base, one, files, owner) for one in asked.references),
        loras=tuple(_lora(one) for one in asked.loras),
        embeddings=tuple(asked.embeddings),
        micro_conditioning=None if asked.micro_conditioning is None else _told(asked.micro_conditioning),
        **plain,
    )


def _reference(
    studio: Studio,
    builder: RecipeBuilder,
    base: ModelCard,
    asked: ReferenceRequest,
    files: Mapping[str, bytes],
    owner: str,
) -> Reference:
    image = pictures.kept(studio, owner, asked.picture, files)
    return builder.reference(
        base,
        image,
        kind=asked.kind,
        adapter=asked.adapter,
        weight=asked.weight,
        style_fidelity=asked.style_fidelity,
        start=asked.start,
        end=asked.end,
    )


def _told(asked: MicroRequest) -> MicroConditioning:
    try:
        return MicroConditioning(original=asked.original, crop=asked.crop, target=asked.target)
    except ValidationError as error:
        raise refusal(error, "micro-conditioning") from error


def _draft(studio: Studio, asked: ControlRequest, files: Mapping[str, bytes], owner: str, said: list[str]) -> Draft:
    if sum(one is not None for one in (asked.document, asked.picture, asked.photo)) != 1:
        raise InputError(f"The control {asked.control[:64]} needs one of document, picture and photo.")
    control = studio.control(asked.control)
    if asked.photo is None and (asked.detector or asked.detector_values):
        raise InputError("A detector looks at a photo.", "Send the picture as photo, or leave the detector away.")
    what: documents.Document | Finished | Photo
    if asked.document is not None:
        what = documents.decode(studio.blobs.get(studio.belongings.check(owner, asked.document, "document")))
    elif asked.picture is not None:
        what, words = given_maps.taken(control, pictures.bytes_of(studio, owner, asked.picture, files))
        if words:
            said.append(f"{control.title}: {words}")
    else:
        what = Photo(pictures.kept(studio, owner, asked.photo or "", files), asked.detector, asked.detector_values)
    if asked.network is not None:
        studio.catalog.card(asked.network)  # says so at once where there is none
    return Draft(
        control.key,
        what,
        controls_of.values(control.params, asked.values),
        weight=asked.weight,
        start=asked.start,
        end=asked.end,
        mode=asked.mode,
        network=asked.network,
        resize=asked.resize,
        mask=None if asked.mask is None else pictures.kept_mask(studio, owner, asked.mask, files),
    )


def _lora(asked: LoraRequest) -> Lora:
    if not -2 <= asked.weight <= 2:
        raise InputError("The weight of a LoRA must lie between -2 and 2.")
    return parsed(Lora, asked.model_dump_json().encode())

"""`studio generate`: a recipe from the command line, run in this process."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from webapp.cli.annotate import document_of, values_of
from webapp.cli.words import told

if TYPE_CHECKING:
    from annotator import finished
    from controlnet_core.domain.control import ControlType
    from controlnet_core.domain.document import Document
    from controlnet_core.domain.job import Step
    from controlnet_core.domain.recipe import Lora, MicroConditioning, Recipe, Reference, Source
    from controlnet_core.models.catalog import ModelCard
    from webapp.application.recipe_builder import Draft, Finished
from webapp.application.studio import Studio

_UNIT = re.compile(
    r"(?P<key>[a-z0-9_-]+)(\.(?P<detector>[a-z0-9_-]+))?=(?P<path>.+?)"
    r"(:(?P<weight>\d*\.?\d+)(:(?P<start>\d*\.?\d+)-(?P<end>\d*\.?\d+))?)?"
    r"(?P<more>(,[a-z_]+=[^,]+)*)"
)
_REFERENCE = re.compile(
    r"(?P<picture>.+?)(?::(?P<weight>\d*\.?\d+)(?::(?P<start>\d*\.?\d+)-(?P<end>\d*\.?\d+))?)?", re.DOTALL
)
_LORA = re.compile(r"(?P<key>[^:]+)(:(?P<weight>-?\d*\.?\d+))?")
_UNIT_HINT = "Write KEY=PICTURE[:WEIGHT[:START-END]][,mask=FILE][,mode=control], e.g. scribble=house.png:0.8:0-0.7"


def generate(
    prompt: Annotated[str, typer.Option(help="What the picture shows; (word:1.3) gives a word more weight.")] = "",
    control: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY[.DETECTOR]=PICTURE[:WEIGHT[:START-END]], and after commas mask=FILE (where it acts), "
            "hole=FILE (what inpaint makes anew), mode=balanced|prompt|control, resize=stretch|crop|fit, network=ID, "
            "and how it is drawn, as style=1.1. "
            "A finished map is taken as it is, a photo is detected; DETECTOR map says that it is a map, "
            "ink=dark|light and numbers=0|1 how it is read. Up to four times."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="A base model of `studio models list`; the first one by default.")] = "",
    steps: Annotated[int | None, typer.Option(min=1, max=100)] = None,
    guidance: Annotated[float | None, typer.Option(min=0, max=30)] = None,
    sampler: Annotated[str, typer.Option(help="As on the page; the model's own by default.")] = "",
    spacing: Annotated[
        str, typer.Option(help="Where the noise levels lie: model, karras, exponential, beta or sgm_uniform.")
    ] = "",
    preset: Annotated[
        str,
        typer.Option(
            help="Few steps by a model or LoRA that is made for them: lcm, tcd, turbo, lightning, hyper, dmd2, or auto for "
            "what is here. Sets sampler, spacing, steps and guidance; what you give yourself wins."
        ),
    ] = "",
    negative: Annotated[str | None, typer.Option(help="What the picture should not show.")] = None,
    added: Annotated[str | None, typer.Option(help="Added to the prompt; the model's own words by default.")] = None,
    seed: Annotated[int, typer.Option(min=-1, max=2**32 - 1, help="-1 draws one.")] = -1,
    number: Annotated[int, typer.Option("-n", min=1, max=12, help="How many pictures.")] = 1,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels, multiples of 64.")] = "",
    eta: Annotated[float | None, typer.Option(min=0, max=1, help="Noise that DDIM and TCD add in every step.")] = None,
    source: Annotated[Path | None, typer.Option(help="The picture to start from.")] = None,
    mask: Annotated[Path | None, typer.Option(help="What of the source is made anew: white.")] = None,
    strength: Annotated[float, typer.Option(min=0.01, max=1, help="How far to go from the source.")] = 0.75,
    blur: Annotated[int, typer.Option(min=0, max=64, help="Softness of the mask's edge in pixels.")] = 4,
    fill: Annotated[str, typer.Option(help="What the mask's part starts from: original or noise.")] = "original",
    reference: Annotated[
        list[str] | None,
        typer.Option(help="PICTURE[:WEIGHT[:START-END]]: a picture that the result is to be like. Up to four times."),
    ] = None,
    reference_only: Annotated[
        list[str] | None,
        typer.Option(help="The same, looked at by the base model itself: no IP-Adapter is needed."),
    ] = None,
    style_fidelity: Annotated[
        float, typer.Option(min=0, max=1, help="How close to the style of a --reference-only.")
    ] = 0.5,
    ip_adapter: Annotated[
        str, typer.Option(help="What looks at the references; the first one of the model's family by default.")
    ] = "",
    lora: Annotated[list[str] | None, typer.Option(help="KEY[:WEIGHT], as often as needed.")] = None,
    embedding: Annotated[
        list[str] | None, typer.Option(help="A textual inversion; the prompt calls it by name.")
    ] = None,
    vae: Annotated[str, typer.Option(help="Another VAE of `studio models list`.")] = "",
    clip_skip: Annotated[int, typer.Option(min=1, max=12, help="2 leaves out the text encoder's last layer.")] = 1,
    original_size: Annotated[
        str, typer.Option(help="WIDTHxHEIGHT that SDXL is told the picture had; that of the picture by default.")
    ] = "",
    crop: Annotated[str, typer.Option(help="LEFTxTOP in pixels that SDXL is told were cut off; 0x0 by default.")] = "",
    target_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT that SDXL is told the picture shall have.")] = "",
    variation: Annotated[str, typer.Option(help="SEED:STRENGTH, e.g. 7:0.2 for a picture near that of --seed.")] = "",
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Make a picture again: a PNG or JSON of the studio. Of a picture that another program made (A1111, ComfyUI, "
            "InvokeAI, NovelAI) the prompt and the settings are taken; options beside it win."
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            help="A folder for the pictures, a file (several: NAME-2.png and so on), or - for standard output."
        ),
    ] = ".",
) -> None:
    """Make pictures without a browser; each PNG carries its recipe."""
    with told():
        from controlnet_core.domain.recipe import Recipe
        from controlnet_core.storage.foreign_settings import sides_within
        from webapp.root import studio

        here = studio()
        found = None if recipe is None else _recipe_in(recipe)
        if isinstance(found, Recipe):
            _make(here, found, out)
            return
        taken = found or {}
        card = here.catalog.base(model)
        width, height = _size(size) if size else (taken.get("width"), taken.get("height"))
        if width and height and not size:  # of another program's picture: as large as this model makes them
            width, height = sides_within(here.catalog.family(card).side_max, width, height)
        variation_seed, variation_strength = _variation(variation)
        _make(here, here.builder.for_base(
            card,
            [_draft(here, card, given) for given in control or []],
            prompt=prompt or taken.get("prompt", ""),
            added_prompt=added,
            negative=taken.get("negative") if negative is None else negative,
            width=width,
            height=height,
            images=number,
            steps=steps or taken.get("steps"),
            guidance=taken.get("guidance") if guidance is None else guidance,
            sampler=sampler or taken.get("sampler"),
            spacing=spacing or taken.get("spacing"),
            preset=preset or None,
            seed=taken.get("seed", seed) if seed == -1 else seed,
            eta=taken.get("eta") if eta is None else eta,
            source=_source(here, source, mask, strength, blur, fill),
            references=(
                *(_reference(here, card, given, adapter=ip_adapter or None) for given in reference or []),
                *(
                    _reference(here, card, given, kind="reference_only", style_fidelity=style_fidelity)
                    for given in reference_only or []
                ),
            ),
            loras=tuple(_lora(given) for given in lora or []),
            embeddings=tuple(embedding or []),
            vae=vae or None,
            clip_skip=taken.get("clip_skip", 1) if clip_skip == 1 else clip_skip,
            micro_conditioning=_micro(original_size, crop, target_size),
            variation_seed=variation_seed,
            variation_strength=variation_strength,
        ), out)  # fmt: skip


def _loading(say: Callable[[str], None], text: str, done: int = 0, total: int = 0) -> None:
    say(text)


def _make(here: Studio, recipe: Recipe, out: str) -> None:
    """Run a recipe and write its pictures."""
    from controlnet_core.engine import LocalEngine
    from controlnet_core.execution.queue import pictures_of
    from controlnet_core.memory import plan
    from controlnet_core.storage import gallery
    from webapp.cli.outputs import Output

    output = Output.of(out, recipe.images)
    say = partial(print, file=output.words, flush=True)
    pictures = pictures_of(recipe, here.blobs)
    title = here.catalog.card(recipe.model).title
    say(f"{title}, {recipe.width} x {recipe.height} px, {recipe.steps} steps, seed {recipe.seed}")
    engine = LocalEngine(here.catalog, here.controls)
    device = engine.device.type
    facts = plan.facts_of(recipe, here.catalog)
    say(plan.estimate(recipe, facts, device, plan.room(device)).text)
    made = engine.run(recipe, pictures, partial(_progress, say), on_load=partial(_loading, say))
    for index, rgb in enumerate(made):
        alone = gallery.alone(recipe, index)
        name = f"{alone.seed}-{alone.variation_seed}" if alone.variation_strength else str(alone.seed)
        data = gallery.to_png(rgb, alone)
        say(output.write(f"{recipe.model}-{name}.png", index, data, here.settings.free_min_bytes))


def _recipe_in(path: Path) -> Recipe | dict[str, Any]:
    """The recipe of a PNG or a JSON file; of another program's picture the fields of one, and what they are is said."""
    from controlnet_core.domain.errors import RecipeError
    from controlnet_core.domain.recipe import parse
    from controlnet_core.storage import foreign_settings
    from controlnet_core.storage.gallery import recipe_of
    from controlnet_core.storage.metadata import parameters_of

    data = _read(path)
    if not data.startswith((b"\x89PNG", b"\xff\xd8", b"RIFF")):
        return parse(data)
    found = recipe_of(data)
    if found is not None:
        return found
    text = parameters_of(data)
    settings = None if text is None else foreign_settings.read(text)
    if settings is None or not settings.fields:
        held = f" It holds {', '.join(settings.left_out)}." if settings else ""
        raise RecipeError(
            f"{path} carries no recipe.{held}",
            "Choose a picture of the studio, or of a program that writes its settings.",
        )
    lost = f" Left out: {'; '.join(settings.left_out)}." if settings.left_out else ""
    print(
        f"{path.name}: taken from {settings.program}: {', '.join(settings.fields)}.{lost}", file=sys.stderr, flush=True
    )
    return settings.fields


def _read(path: Path) -> bytes:
    from controlnet_core.domain.errors import InputError

    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def _kept(here: Studio, path: Path) -> str:
    """The blob of a picture file, as the pages would keep it."""
    from controlnet_core.domain.picture import open_picture, to_png

    return here.blobs.put(to_png(open_picture(_read(path))))


def _kept_mask(here: Studio, path: Path) -> str:
    """The blob of a mask: what was painted on a transparent layer is white, with any ink."""
    from controlnet_core.domain.picture import open_mask, to_png

    return here.blobs.put(to_png(open_mask(_read(path))))


def _source(here: Studio, path: Path | None, mask: Path | None, strength: float, blur: int, fill: str) -> Source | None:
    from pydantic import ValidationError

    from controlnet_core.domain.errors import InputError
    from controlnet_core.domain.recipe import Source, refusal

    if path is None:
        if mask is not None:
            raise InputError("--mask says what of the --source is made anew.", "Give a --source as well.")
        return None
    fields: dict[str, Any] = {"strength": strength, "blur_px": blur, "fill": fill}
    try:
        return Source(picture=_kept(here, path), mask=None if mask is None else _kept_mask(here, mask), **fields)
    except ValidationError as error:
        raise refusal(error) from error


def _micro(original: str, crop: str, target: str) -> MicroConditioning | None:
    from controlnet_core.domain.recipe import TOLD_MAX, MicroConditioning
    from webapp.application import validation

    told = MicroConditioning(
        original=validation.sides(original, 0, TOLD_MAX, "--original-size"),
        crop=validation.sides(crop, 0, TOLD_MAX, "--crop") or (0, 0),
        target=validation.sides(target, 0, TOLD_MAX, "--target-size"),
    )
    return None if told == MicroConditioning() else told


def _reference(here: Studio, base: ModelCard, given: str, **how: Any) -> Reference:
    match = _REFERENCE.fullmatch(given)
    assert match is not None  # the picture's name may be anything
    return here.builder.reference(
        base,
        _kept(here, Path(match["picture"])),
        **how,
        weight=float(match["weight"] or 0.6),
        start=float(match["start"] or 0),
        end=float(match["end"] or 1),
    )


def _lora(given: str) -> Lora:
    from pydantic import ValidationError

    from controlnet_core.domain.errors import InputError
    from controlnet_core.domain.recipe import Lora, refusal

    match = _LORA.fullmatch(given)
    if match is None:
        raise InputError(f"{given!r} is not a LoRA.", "Write KEY[:WEIGHT], e.g. paper-style:0.7.")
    try:
        return Lora(key=match["key"], weight=float(match["weight"] or 1))
    except ValidationError as error:
        raise refusal(error) from error


def _variation(given: str) -> tuple[int, float]:
    from controlnet_core.domain.errors import InputError

    match = re.fullmatch(r"(\d{1,10}):(\d*\.?\d+)", given) if given else None
    if given and match is None:
        raise InputError(f"{given!r} is not a variation.", "Write SEED:STRENGTH, e.g. 7:0.2.")
    return (int(match[1]), float(match[2])) if match else (0, 0.0)


def _draft(here: Studio, base: ModelCard, given: str) -> Draft:
    from controlnet_core.domain.errors import InputError
    from webapp.application.choices import networks_for
    from webapp.application.recipe_builder import Draft

    match = _UNIT.fullmatch(given)
    if match is None:
        raise InputError(f"{given!r} is not a control.", _UNIT_HINT)
    more: dict[str, Any] = dict(part.split("=", 1) for part in match["more"].split(",") if part)
    if "mask" in more:
        more["mask"] = _kept_mask(here, Path(more["mask"]))
    kind = here.control(match["key"])
    hole = more.pop("hole", "")
    if hole and kind.document != "rgba":
        raise InputError(f"{kind.title} knows no hole.", "Leave hole=... away; mask=... says where a control acts.")
    polarity, numbers = more.pop("ink", "auto"), more.pop("numbers", "auto")
    params = {name: str(more.pop(name)) for name in sorted(set(more) - {"mask", "mode", "resize", "network"})}
    offered = networks_for(here.catalog, base, kind)
    if offered.titles:  # else the run says what to download
        more.setdefault("network", offered.chosen(None))
    given_picture = _given(here, kind, match["detector"], Path(match["path"]), polarity, numbers)
    if hole:
        given_picture = _with_hole(given_picture, Path(hole))
    return Draft(
        kind.key,
        given_picture,
        values_of(params, kind.params),
        weight=float(match["weight"] or 1),
        start=float(match["start"] or 0),
        end=float(match["end"] or 1),
        **more,
    )


def _given(
    here: Studio, kind: ControlType, detector: str | None, path: Path, polarity: str, numbers: str
) -> Document | Finished:
    """A file as what a control is given: a finished map as it is, else what a detector finds in it."""
    from annotator import detection as detecting
    from annotator import finished
    from controlnet_core.domain.errors import InputError
    from webapp.application.recipe_builder import finished_map, map_reader

    for name, chosen, known in (("ink", polarity, finished.POLARITIES), ("numbers", numbers, finished.NUMBERS)):
        if chosen not in known:
            raise InputError(f"{name} must be one of {', '.join(known)}.")
    if detector in (None, "map"):
        found = finished_map(
            kind,
            _read(path),
            polarity=cast("finished.Polarity", polarity),
            numbers=cast("finished.Numbers", numbers),
            sure=detector == "map",
        )
        if found is not None:
            print(f"{path.name}: {found[1]}", file=sys.stderr, flush=True)
            return found[0]
    looks = detecting.detector(kind, detector) if detector else map_reader(here.catalog, kind)
    return document_of(kind, looks, path, {})


def _with_hole(given: Document | Finished, mask: Path) -> Document:
    """A picture with a hole where a mask is white."""
    import numpy as np

    from controlnet_core.domain.document import Raster
    from controlnet_core.domain.picture import open_picture, resize_to

    assert isinstance(given, Raster), "a picture with holes is pixels"
    white = resize_to(open_picture(_read(mask)).max(axis=2), given.width, given.height)
    return Raster("rgba", np.dstack([given.pixels[..., :3], np.minimum(given.pixels[..., 3], 255 - white)]))


def _size(text: str) -> tuple[int, int]:
    from controlnet_core.domain.errors import InputError

    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if match is None:
        raise InputError(f"{text!r} is not a size.", "Write WIDTHxHEIGHT, e.g. 512x768.")
    return int(match[1]), int(match[2])


def _progress(say: Callable[..., None], step: Step) -> None:
    say(f"\rstep {step.step} of {step.steps}", end="\n" if step.step == step.steps else "")

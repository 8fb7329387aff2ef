"""The shape that clients of the A1111 web UI and its ControlNet extension speak: /sdapi/v1/* and /controlnet/*.

A request becomes a recipe like any other. What such a request asks for and the studio does not do is either refused in a
sentence or named under `extra_generation_params` of `info`: no picture is made silently without what was asked for.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Annotated, Any

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from annotator.formats import openpose_json
from controlnet_core.domain import document as documents
from controlnet_core.domain import json_input, picture
from controlnet_core.domain.errors import InputError, StudioError
from controlnet_core.domain.recipe import PROMPT_MAX, Recipe, Source
from controlnet_core.domain.samplers import SAMPLER_TITLES, SPACING_TITLES, Named, named
from controlnet_core.execution import decoder
from controlnet_core.execution.queue import QueueEntry
from controlnet_core.models.catalog import ModelCard
from controlnet_core.storage.metadata import alone, parameters, parameters_of, read_parameters
from webapp.api import a1111_extras as extras
from webapp.api import a1111_options as options
from webapp.api import a1111_units as units
from webapp.api import pictures
from webapp.api.guard import Caller, check_limits
from webapp.api.names import Notes, nearest, pick, shown
from webapp.api.routing import Operation, read
from webapp.api.work import finished
from webapp.application.choices import called, fitting
from webapp.application.photos import LONGEST_PX
from webapp.application.recipe_builder import RecipeBuilder
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown
from webapp.routes.guard import body

IMAGES_MAX = 12
_LORA = re.compile(r"<lora:([^:<>]{1,120})(?::(-?\d{0,3}\.?\d{1,4}))?[^<>]{0,40}>")
_UNUSED = {
    "styles": None,
    "restore_faces": False,
    "tiling": False,
    "refiner_checkpoint": None,
    "seed_resize_from_h": -1,
    "seed_resize_from_w": -1,
    "s_churn": 0,
    "s_tmin": 0,
    "firstpass_image": None,
    "image_cfg_scale": 1.5,
    "initial_noise_multiplier": 1,
    "latent_mask": None,
}
"""What the studio does not do, by the value that asks for nothing."""
_SILENT = {
    "sampler_index", "send_images", "save_images", "do_not_save_samples", "do_not_save_grid", "s_min_uncond", "s_tmax",
    "s_noise", "override_settings_restore_afterwards", "refiner_switch_at", "disable_extra_networks", "comments",
    "firstphase_width", "firstphase_height", "hr_scale", "hr_upscaler", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y",
    "hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt", "hr_negative_prompt", "hr_cfg", "force_task_id",
    "hr_distilled_cfg", "script_args", "infotext", "mask_round", "include_init_images", "mask_blur_y", "distilled_cfg_scale",
    "hr_additional_modules",
}  # fmt: skip
"""What changes no picture that is made here, and is passed over."""


Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Words = Annotated[str, Field(max_length=4 * PROMPT_MAX)]
"""A prompt with what is read out of it, such as LoRAs."""


class Txt2Img(BaseModel):
    """What is read of a request; the rest is passed over, and named where it matters."""

    model_config = ConfigDict(extra="allow", frozen=True)
    prompt: Words = ""
    negative_prompt: Words = ""
    seed: Whole = -1
    subseed: Whole = -1
    subseed_strength: float = 0
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    batch_size: Whole = 1
    n_iter: Whole = 1
    steps: Whole = 50
    cfg_scale: float = 7.0
    width: Whole = 512
    height: Whole = 512
    eta: float | None = None
    denoising_strength: float | None = None
    override_settings: dict[str, Any] | None = None
    enable_hr: bool | None = False
    script_name: str | None = None
    send_images: bool = True
    alwayson_scripts: dict[str, Any] | None = None


class Img2Img(Txt2Img):
    """A request with a picture to start from; white of the mask is made anew."""

    init_images: list[str] | None = None
    resize_mode: Whole = 0
    mask: str | None = None
    mask_blur: Whole | None = None
    mask_blur_x: Whole = 4
    inpainting_fill: Whole = 0
    inpaint_full_res: bool = True
    inpainting_mask_invert: Whole = 0


# ---- pictures


async def txt2img(studio: Studio, request: Request, caller: Caller) -> Response:
    """Pictures from words."""
    return await _made(studio, request, caller, await read(request, Txt2Img))


async def img2img(studio: Studio, request: Request, caller: Caller) -> Response:
    """Pictures from a picture."""
    asked = await read(request, Img2Img)
    if not asked.init_images:
        raise Unknown("Init image not found.", "Send init_images: a list of base64 texts.")
    return await _made(studio, request, caller, asked)


async def _made(studio: Studio, request: Request, caller: Caller, asked: Txt2Img) -> Response:
    notes = Notes()

    def submit() -> tuple[str, Recipe, list[units.Unit]]:
        images = asked.batch_size * asked.n_iter
        if not 1 <= images <= IMAGES_MAX or asked.batch_size < 1:
            raise InputError(f"batch_size times n_iter is {images}; 1 to {IMAGES_MAX} pictures are made at once.")
        if caller.key is not None:
            check_limits(studio, caller.key, images)
        builder = studio.builder_for(caller.session, caller.owner)
        recipe, used = recipe_of(studio, builder, caller, asked, notes)
        return studio.submit(caller.session, recipe, owner=caller.owner, lifetime="detached"), recipe, used

    job, recipe, used = await to_thread.run_sync(submit)
    entry = await finished(studio, job, request)
    if entry.state == "failed":
        raise StudioError(entry.text, entry.hint)
    return JSONResponse(await to_thread.run_sync(_answer, studio, asked, recipe, entry, used, notes))


def recipe_of(
    studio: Studio, builder: RecipeBuilder, caller: Caller, asked: Txt2Img, notes: Notes
) -> tuple[Recipe, list[units.Unit]]:
    """The recipe of a request, and its ControlNet units. Raises StudioError."""
    if asked.enable_hr:
        raise InputError("The studio makes no second pass at a higher resolution.", "Leave enable_hr off.")
    if asked.script_name:
        raise InputError("Scripts are not run here.", "Leave script_name away.")
    base = base_of(studio, caller, asked)
    chosen = options.chosen(studio, caller.owner)
    source = _source(studio, builder, asked, notes) if isinstance(asked, Img2Img) else None
    width, height = notes.size(asked.width, asked.height)
    prompt, loras = _loras(studio, base, asked.prompt)
    used = units.read(studio, base, asked.alwayson_scripts or {}, source, min(width, height), notes)
    texts = f"{prompt} {asked.negative_prompt}"
    sampler = _sampler(asked, notes)
    recipe = builder.for_base(
        base,
        [one.draft for one in used],
        prompt=prompt,
        added_prompt="",
        negative=asked.negative_prompt,
        width=width,
        height=height,
        images=asked.batch_size * asked.n_iter,
        steps=asked.steps,
        guidance=asked.cfg_scale,
        sampler=sampler.sampler,
        spacing=sampler.spacing if sampler.spacing != "model" else None,
        seed=asked.seed if asked.seed >= 0 else -1,
        eta=asked.eta,
        source=source,
        loras=tuple(loras),
        embeddings=tuple(called(texts, fitting(studio.catalog, base, "embedding"))[:16]),
        vae=_vae(studio, base, asked, chosen),
        clip_skip=_clip_skip(studio, base, asked, chosen),
        variation_seed=max(0, asked.subseed) if asked.subseed_strength else None,
        variation_strength=asked.subseed_strength or None,
    )
    _name_unused(asked, notes)
    return recipe, used


def base_of(studio: Studio, caller: Caller, asked: Txt2Img) -> ModelCard:
    """The base model: of the request, of the caller's options, else the first. Raises Unknown with the nearest names."""
    wanted = _overridden(asked, "sd_model_checkpoint", options.chosen(studio, caller.owner).sd_model_checkpoint)
    first = studio.catalog.base()
    return pick(str(wanted), studio.catalog.bases(), "checkpoint") if wanted else first


def _overridden(asked: Txt2Img, name: str, default: Any) -> Any:
    value = (asked.override_settings or {}).get(name)
    return default if value is None else value


def _vae(studio: Studio, base: ModelCard, asked: Txt2Img, chosen: options.Options) -> str | None:
    wanted = _overridden(asked, "sd_vae", None)
    if wanted is None:
        return options.vae_for(studio, base, chosen)
    return None if str(wanted).lower() in options.AUTOMATIC else options.vae_called(studio, str(wanted)).id


def _clip_skip(studio: Studio, base: ModelCard, asked: Txt2Img, chosen: options.Options) -> Any:
    """As asked; else as chosen, where the base model knows it."""
    wanted = _overridden(asked, "CLIP_stop_at_last_layers", None)
    if wanted is not None:
        return wanted
    return chosen.CLIP_stop_at_last_layers if "clip_skip" in studio.catalog.family(base).supports else None


def _sampler(asked: Txt2Img, notes: Notes) -> Named:
    name = asked.sampler_name or asked.sampler_index or "Euler"
    found = named(name, asked.scheduler or "")
    if found is None:
        raise Unknown("Sampler not found.", f"Nearest: {nearest(name, list(SAMPLER_TITLES.values()))}.")
    if found.ignored:
        notes.ignored(f"scheduler {found.ignored}")
    return found


def _loras(studio: Studio, base: ModelCard, prompt: str) -> tuple[str, list[Any]]:
    from controlnet_core.domain.recipe import Lora

    offered, found = fitting(studio.catalog, base, "lora"), dict[str, float]()
    for name, weight in _LORA.findall(prompt):
        found[pick(name, offered, "LoRA").id] = float(weight or 1)
    for key, weight in found.items():
        if not -2 <= weight <= 2:
            raise InputError(f"The weight of the LoRA {key} must lie between -2 and 2.")
    return " ".join(_LORA.sub("", prompt).split()) if found else prompt, [
        Lora(key=k, weight=w) for k, w in found.items()
    ]


def _source(studio: Studio, builder: RecipeBuilder, asked: Img2Img, notes: Notes) -> Source:
    image = studio.photos.keep(pictures.data_of((asked.init_images or [""])[0], "The first of init_images"))
    if len(asked.init_images or []) > 1:
        notes.ignored("all of init_images but the first")
    strength = 0.75 if asked.denoising_strength is None else asked.denoising_strength
    if strength == 0:
        strength = 0.01
        notes.corrected("denoising_strength 0 to 0.01")
    mask = None
    if asked.mask is not None:
        white = decoder.decode_mask(pictures.data_of(asked.mask, "The mask"), longest=LONGEST_PX)
        mask = builder.kept(255 - white if asked.inpainting_mask_invert else white)
        if asked.inpaint_full_res:
            notes.ignored("inpaint_full_res: the whole picture is made at its own size")
        if asked.inpainting_fill in (0, 3):
            notes.corrected(f"inpainting_fill {asked.inpainting_fill} to {1 if asked.inpainting_fill == 0 else 2}")
    if asked.resize_mode == 3:
        notes.corrected("resize_mode 3 to 0")
    return builder.source(
        image,
        strength=strength,
        mask=mask,
        blur_px=asked.mask_blur_x if asked.mask_blur is None else asked.mask_blur,
        fill="noise" if asked.inpainting_fill in (2, 3) else "original",
        resize={0: "stretch", 1: "crop", 2: "fit"}.get(asked.resize_mode, "stretch"),  # type: ignore[arg-type]
    )


def _name_unused(asked: Txt2Img, notes: Notes) -> None:
    for name, value in (asked.model_extra or {}).items():
        if name in _SILENT:
            continue
        if name not in _UNUSED:
            notes.ignored(name[:40])
        elif value not in (None, _UNUSED[name], "", 0, False) and value != []:
            notes.ignored(name)
    for name in asked.override_settings or {}:
        if name not in options.Options.model_fields:
            notes.ignored(f"override_settings.{name[:40]}")


def _answer(
    studio: Studio, asked: Txt2Img, recipe: Recipe, entry: QueueEntry, used: list[units.Unit], notes: Notes
) -> dict[str, Any]:
    images: list[str] = []
    if asked.send_images:
        images = [pictures.encoded(studio.gallery.get(id).png.read_bytes()) for id in entry.kept]
        maps = [unit.picture for unit, one in zip(recipe.controls, used, strict=True) if one.shows_map]
        images += [pictures.encoded(studio.blobs.get(digest)) for digest in maps]
    each = [alone(recipe, index) for index in range(len(entry.kept))]
    echo = asked.model_dump(include=set(type(asked).model_fields) - {"alwayson_scripts", "init_images", "mask"})
    return {"images": images, "parameters": echo, "info": json.dumps(_info(studio, recipe, each, notes))}


def _info(studio: Studio, recipe: Recipe, each: list[Recipe], notes: Notes) -> dict[str, Any]:
    seeds, subseeds = [one.seed for one in each], [one.variation_seed for one in each]
    return {
        "prompt": recipe.prompt,
        "all_prompts": [recipe.prompt for _ in each],
        "negative_prompt": recipe.negative,
        "all_negative_prompts": [recipe.negative for _ in each],
        "seed": recipe.seed,
        "all_seeds": seeds,
        "subseed": recipe.variation_seed,
        "all_subseeds": subseeds,
        "subseed_strength": recipe.variation_strength,
        "width": recipe.width,
        "height": recipe.height,
        "sampler_name": SAMPLER_TITLES[recipe.sampler],
        "cfg_scale": recipe.guidance,
        "steps": recipe.steps,
        "batch_size": recipe.images,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": shown(studio.catalog.card(recipe.model)),
        "sd_model_hash": "",
        "sd_vae_name": recipe.vae,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": recipe.source.strength if recipe.source else None,
        "extra_generation_params": notes.told(),
        "index_of_first_image": 0,
        "infotexts": [parameters(one) for one in each],
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S"),
        "clip_skip": recipe.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": "ControlNet Studio",
    }


# ---- progress and stopping


async def progress(studio: Studio, request: Request, caller: Caller) -> Response:
    """How far the caller's job is, with a preview."""

    def told() -> dict[str, Any]:
        mine = [entry for entry in studio.queue.open(caller.session) if entry.kind == "recipe"]
        running = next((entry for entry in mine if entry.state == "running"), mine[0] if mine else None)
        event = studio.events.last(caller.session, running.id) if running else None
        step, steps = (event.step, event.steps) if event and event.kind == "step" else (0, 0)
        share = step / steps if steps else 0.0
        took = event.seconds if event else 0.0
        skip = request.query_params.get("skip_current_image", "").lower() in ("true", "1")
        return {
            "progress": min(share, 0.99),
            "eta_relative": took / share - took if share else 0.0,
            "state": {
                "skipped": False,
                "interrupted": False,
                "stopping_generation": False,
                "job": running.id if running else "",
                "job_count": len(mine),
                "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(running.created if running else 0)),
                "job_no": 0,
                "sampling_step": step,
                "sampling_steps": steps,
            },
            "current_image": event.preview if event and not skip else None,
            "textinfo": event.text if event and event.text else None,
            "current_task": running.id if running else None,
        }

    return JSONResponse(await to_thread.run_sync(told))


async def interrupt(studio: Studio, _request: Request, caller: Caller) -> Response:
    """Stop the caller's jobs."""

    def stop() -> None:
        for entry in studio.queue.open(caller.session):
            studio.cancel(entry.id)

    await to_thread.run_sync(stop)
    return JSONResponse({})


# ---- what there is


async def get_options(studio: Studio, _request: Request, caller: Caller) -> Response:
    """The options."""

    def told() -> dict[str, Any]:
        bases, chosen = studio.catalog.bases(), options.chosen(studio, caller.owner)
        return {
            "sd_model_checkpoint": chosen.sd_model_checkpoint or (shown(bases[0]) if bases else None),
            "sd_checkpoint_hash": "",
            "sd_vae": chosen.sd_vae or "Automatic",
            "CLIP_stop_at_last_layers": chosen.CLIP_stop_at_last_layers or 1,
            "samples_format": "png",
        }

    return JSONResponse(await to_thread.run_sync(told))


async def set_options(studio: Studio, request: Request, caller: Caller) -> Response:
    """Choose a checkpoint, a VAE, a clip skip; other options are passed over, as clients send the whole object back."""
    asked = await read(request, Anything)
    await to_thread.run_sync(options.choose, studio, caller.owner, asked.model_extra or {})
    return JSONResponse({})


class Anything(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(extra="allow")


async def sd_models(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The base models."""
    cards = await to_thread.run_sync(studio.catalog.bases)
    return JSONResponse(
        [
            {"title": name, "model_name": name, "hash": None, "sha256": None, "filename": name, "config": None}
            for name in map(shown, cards)
        ]
    )


async def samplers(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The samplers."""
    return JSONResponse(
        [{"name": title, "aliases": [f"k_{key}"], "options": {}} for key, title in SAMPLER_TITLES.items()]
    )


async def schedulers(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The schedulers."""
    spacings = (
        (key, title, 7.0 if key == "karras" else -1.0) for key, title in SPACING_TITLES.items() if key != "model"
    )
    known = [("automatic", "Automatic", -1.0), *spacings]
    return JSONResponse(
        [
            {"name": name, "label": label, "aliases": None, "default_rho": rho, "need_inner_model": False}
            for name, label, rho in known
        ]
    )


async def loras(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The LoRAs."""
    cards = [card for card in studio.catalog.cards() if card.kind == "lora" and studio.catalog.installed(card)]
    return JSONResponse([{"name": one.id, "alias": one.title, "path": one.id, "metadata": {}} for one in cards])


async def embeddings(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The textual inversions."""
    cards = [card for card in studio.catalog.cards() if card.kind == "embedding" and studio.catalog.installed(card)]
    one = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": 768, "vectors": 1}
    return JSONResponse({"loaded": {card.id: one for card in cards}, "skipped": {}})


async def vaes(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The VAEs."""
    cards = [card for card in studio.catalog.cards() if card.kind == "vae" and studio.catalog.installed(card)]
    return JSONResponse([{"model_name": card.id, "filename": card.id} for card in cards])


async def upscalers(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """Those that need no network."""
    about = {"model_name": None, "model_path": None, "model_url": None, "scale": 4}
    return JSONResponse([{"name": name} | about for name in extras.UPSCALERS])


async def latent_upscalers(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """Clients want one; a second pass is refused."""
    return JSONResponse([{"name": "Latent"}])


async def scripts(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """What may stand under alwayson_scripts; "controlnet m2m" is what a client looks for to know of ControlNets."""
    names = ["controlnet", "controlnet m2m"]
    return JSONResponse({"txt2img": names, "img2img": names})


async def script_info(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The ControlNet units as a script."""
    return JSONResponse(
        [
            {"name": "controlnet", "is_alwayson": True, "is_img2img": is_img2img, "args": []}
            for is_img2img in (False, True)
        ]
    )


async def memory(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The machine's memory in bytes."""
    import psutil

    found = psutil.virtual_memory()
    ram = {"free": found.available, "used": found.used, "total": found.total}
    return JSONResponse({"ram": ram, "cuda": {"error": "unavailable"}})


async def nothing(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """An empty list."""
    return JSONResponse([])


async def no_flags(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """An empty object: how the server was started is nobody's business."""
    return JSONResponse({})


async def done(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """What there is is looked up anew each time anyway."""
    return JSONResponse(None)


class PngInfo(BaseModel):
    """A picture with its settings inside."""

    image: str


async def png_info(_studio: Studio, request: Request, _caller: Caller) -> Response:
    """The settings inside a PNG."""
    data = pictures.data_of((await read(request, PngInfo)).image)
    text = await to_thread.run_sync(parameters_of, data) or ""
    found = await to_thread.run_sync(read_parameters, text) if text else {}
    plain = {key: value for key, value in found.items() if isinstance(value, (str, int, float))}
    return JSONResponse({"info": text, "items": {"parameters": text} if text else {}, "parameters": plain})


# ---- the ControlNet extension


async def version(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """That of the extension's API."""
    return JSONResponse({"version": 3})


async def settings(_studio: Studio, _request: Request, _caller: Caller) -> Response:
    """How many units a request may have."""
    return JSONResponse({"control_net_unit_count": units.UNITS_MAX, "control_net_max_models_num": units.UNITS_MAX})


async def model_list(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The ControlNets on this machine."""
    return JSONResponse({"model_list": [shown(card) for card in units.networks(studio)]})


async def module_list(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """The preprocessors with their sliders."""
    return JSONResponse({"module_list": list(units.MODULES), "module_detail": units.details(studio)})


async def control_types(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """Preprocessors and ControlNets by condition."""
    return JSONResponse({"control_types": units.types(studio)})


class Detect(BaseModel):
    """Pictures and a preprocessor. One client calls the pictures otherwise than the extension does: both names are taken."""

    controlnet_module: str = "none"
    controlnet_input_images: list[str] = []
    controlnet_images: list[str] = []
    controlnet_processor_res: float = -1
    controlnet_threshold_a: float = -1
    controlnet_threshold_b: float = -1


async def detect(studio: Studio, request: Request, caller: Caller) -> Response:
    """Maps of pictures."""
    asked = await read(request, Detect)
    given = asked.controlnet_input_images or asked.controlnet_images
    if not given:
        raise InputError("No image selected.", "Send controlnet_input_images: a list of base64 texts.")
    if len(given) > units.UNITS_MAX:
        raise InputError(f"At most {units.UNITS_MAX} pictures are looked at in one request.")

    def find() -> dict[str, Any]:
        if caller.key is not None:
            check_limits(studio, caller.key, 0)
        builder = studio.builder_for(caller.session, caller.owner)
        sliders = (asked.controlnet_processor_res, asked.controlnet_threshold_a, asked.controlnet_threshold_b)
        maps: list[str] = []
        poses: list[Any] = []
        for text in given:
            draft = units.looked_at(studio, asked.controlnet_module, pictures.data_of(text), sliders)
            if isinstance(draft, units.Plain):
                maps.append(pictures.encoded(picture.to_png(draft.picture)))
                continue
            made = builder.unit(draft)
            maps.append(pictures.encoded(studio.blobs.get(made.picture)))
            document = documents.decode(studio.blobs.get(made.document)) if made.document else None
            if isinstance(document, documents.Skeleton):
                poses.append(json.loads(openpose_json.write(document)))
        told: dict[str, Any] = {"info": "Success", "images": maps}
        return told | ({"poses": poses} if "openpose" in asked.controlnet_module else {})

    return JSONResponse(await to_thread.run_sync(find))


async def render_openpose(studio: Studio, request: Request, _caller: Caller) -> Response:
    """Pictures of people in OpenPose JSON."""
    data = await body(request, 8 << 20, "request", "Send fewer.")
    json_input.check_value_count(data, openpose_json.VALUES_MAX, "The request")
    try:
        people = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("The request is no JSON.") from error
    given = people if isinstance(people, list) else [people]
    if not 0 < len(given) <= units.UNITS_MAX:
        raise InputError(f"Send a list of 1 to {units.UNITS_MAX} poses.")

    said: list[str] = []

    def draw() -> Iterator[str]:
        for one in given:
            skeleton, lost = openpose_json.read_with_losses(json.dumps(one))
            said.extend(lost)
            yield pictures.encoded(picture.to_png(studio.render("pose", skeleton)))

    images = await to_thread.run_sync(lambda: list(draw()))
    return JSONResponse({"images": images, "info": " ".join(said) or "Success"})


def words(error: StudioError, status: int) -> tuple[dict[str, object], int]:
    """A refusal as those clients read it."""
    errors = "" if status < 500 else error.message
    return {"error": "HTTPException", "detail": str(error), "body": "", "errors": errors}, status


_READ = {
    "sd-models": sd_models, "options": get_options, "samplers": samplers, "schedulers": schedulers, "upscalers": upscalers,
    "latent-upscale-modes": latent_upscalers, "sd-vae": vaes, "loras": loras, "embeddings": embeddings, "scripts": scripts,
    "script-info": script_info, "memory": memory, "cmd-flags": no_flags, "progress": progress, "prompt-styles": nothing,
    "hypernetworks": nothing, "face-restorers": nothing, "realesrgan-models": nothing,
}  # fmt: skip
_MAKE = {
    "txt2img": txt2img, "img2img": img2img, "interrupt": interrupt, "skip": interrupt, "options": set_options,
    "refresh-checkpoints": done, "refresh-vae": done, "refresh-loras": done, "png-info": png_info,
    "extra-single-image": extras.single_image,
}  # fmt: skip
_CONTROLNET = {
    "version": version, "settings": settings, "model_list": model_list, "module_list": module_list,
    "control_types": control_types,
}  # fmt: skip
_ABOUT = "As clients of the A1111 web UI know it"
OPERATIONS: list[Operation] = [
    *(Operation("GET", f"/sdapi/v1/{name}", answer, _ABOUT, "read") for name, answer in _READ.items()),
    *(Operation("POST", f"/sdapi/v1/{name}", answer, _ABOUT, "make") for name, answer in _MAKE.items()),
    *(Operation("GET", f"/controlnet/{name}", answer, _ABOUT, "read") for name, answer in _CONTROLNET.items()),
    Operation("POST", "/controlnet/detect", detect, _ABOUT, "make"),
    Operation("POST", "/controlnet/render_openpose_json", render_openpose, _ABOUT, "make"),
]
WORDS = [("/sdapi/", words), ("/controlnet/", words)]

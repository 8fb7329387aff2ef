"""Runs recipes on one local device: from words and pictures to pictures.

Holds the loaded models and walks down a ladder of cheaper plans when memory runs out. The loop itself is `sampling`,
controls come from `control_inputs`, models from `catalog` and `loading`. One run at a time; not for use by two threads.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from controlnet_core.diffusion import cuda_graphs, init_image, reference_only, references, schedulers, vae, winograd
from controlnet_core.diffusion.conditioning import Conditioning, Reading, encode, encode_pair
from controlnet_core.diffusion.control_inputs import ControlInput, ControlInputs
from controlnet_core.diffusion.denoiser import (
    AnyControl,
    Denoiser,
    PictureReference,
    Predicts,
    StepProgress,
    sample,
)
from controlnet_core.diffusion.schedulers import Noise
from controlnet_core.domain.control import ControlType, Rgb
from controlnet_core.domain.errors import OutOfMemory, RecipeError
from controlnet_core.domain.job import OnLoad, OnStep, Step
from controlnet_core.domain.lending import Lent
from controlnet_core.domain.recipe import SEED_MAX, ControlUnit, MicroConditioning, Recipe, Reference
from controlnet_core.memory import cache, gpu
from controlnet_core.memory import plan as memory_plan
from controlnet_core.memory.kept import Kept
from controlnet_core.memory.placement import Placement, sent
from controlnet_core.memory.precision import Precision
from controlnet_core.models import fit
from controlnet_core.models.catalog import Catalog, Kind, ModelCard, size_of, stamp_of
from controlnet_core.models.diffusers_setup import CLIPVisionModelWithProjection, ControlNetXSAdapter, T2IAdapter
from controlnet_core.models.loading import Base, Hints, Network, Vae, lend_vocabularies, load_base, load_network
from controlnet_core.models.loading.load_extras import load_embedding, load_vae
from controlnet_core.models.loading.load_ip_adapter import IpAdapter, load_image_encoder, load_ip_adapter
from controlnet_core.models.lora import Adapters

M = TypeVar("M", bound=nn.Module)


def unheard(text: str, done: int = 0, total: int = 0) -> None:
    """Nobody wants to know what is loaded."""


@dataclass(frozen=True)
class _Request:
    """What one call of `run` was asked for."""

    recipe: Recipe
    card: ModelCard
    units: list[ControlUnit]
    pictures: Mapping[str, Rgb]
    on_step: OnStep
    announce: OnLoad


@dataclass
class _Loaded:
    """A base model, the LoRAs that are in it, and its preview, which is fitted when somebody looks."""

    base: Base
    adapters: Adapters
    previews: dict[str, Callable[[Tensor], Rgb]] = field(default_factory=dict[str, "Callable[[Tensor], Rgb]"])
    """By the card of the autoencoder; "" is the model's own."""
    vae: str = ""


@dataclass(frozen=True)
class _Seen:
    """A reference of a recipe with what looks at its picture."""

    reference: Reference
    adapter: IpAdapter
    encoder: CLIPVisionModelWithProjection
    stamps: tuple[str, str]
    """What adapter and encoder are called in the cache."""


class LocalEngine:
    """The `Engine` for one device of this machine.

    `controls` says, by key, what the controls of recipes are. `device` None takes the GPU when there is one that CUDA shows.
    Raises StudioError for a device on which this PyTorch cannot compute.
    """

    def __init__(
        self, catalog: Catalog, controls: Mapping[str, ControlType], device: torch.device | str | None = None
    ) -> None:
        self.catalog = catalog
        self.controls = controls
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        gpu.check(self.device)
        self._models: cache.Cache[Any] = cache.Cache(cache.budget(self.device))
        self._precision: Precision | None = None
        self._inputs = ControlInputs(catalog, controls)
        self._kept = Kept()
        self._stamps: dict[str, str] = {}  # by card, of this run
        self._graphs = cuda_graphs.Graphs(self.device)
        if self.device.type == "cuda":
            # TF32 convolutions would move float32 results away from those of other devices.
            torch.backends.cudnn.allow_tf32 = False

    def run(self, recipe: Recipe, pictures: Mapping[str, Rgb], on_step: OnStep, on_load: OnLoad = unheard) -> list[Rgb]:
        """Return `recipe.images` pictures, uint8 RGB at the recipe's size.

        `pictures` holds what `recipe.pictures` names. `on_step` is called after every step; what it raises ends the run
        and leaves the engine usable. `on_load` hears what is being loaded. Raises RecipeError, ModelError and OutOfMemory.
        """
        card = self._card(recipe.model, "base", "cannot make pictures by itself", "Choose a base model.")
        fit.check(recipe, self.catalog)
        units = self._inputs.check(recipe, pictures)
        request = _Request(recipe, card, units, pictures, on_step, on_load)
        first = memory_plan.chosen(recipe, self.catalog, self.device.type, cache.room(self.device))
        self._models.begin()
        self._kept.begin()
        self._stamps.clear()
        for plan in cache.plans(self.device, first):
            spared = True
            while spared:
                try:
                    return self._attempt(request, plan)
                except Exception as error:
                    if not cache.is_exhausted(error):
                        raise
                # Outside the except block: the exception holds the tensors that have to go. Models of earlier runs go
                # before this one has to do with less.
                self._graphs.clear()
                self._kept.clear()
                spared = self._models.spare()
                cache.release(self.device)
        self.make_room()
        controls = f" with {len(units)} control{'s' if len(units) > 1 else ''}" if units else ""
        raise OutOfMemory(
            f"A picture of {recipe.width} x {recipe.height} px{controls} needs more memory than this machine has.",
            "Make the picture smaller or use fewer controls.",
        )

    def works(self) -> bool:
        """Whether the device computes at all in this process: after some errors of CUDA nothing does until it is another one."""
        if self.device.type != "cuda":
            return True
        try:
            torch.cuda.synchronize(self.device)
        except RuntimeError:
            return False
        return True

    def loaded(self) -> list[str]:
        """The ids of the models that are in memory."""
        return [name.partition("@")[0] for name in self._models.names()]

    def make_room(self) -> None:
        """Forget every loaded model: the next run loads its own again."""
        self._graphs.clear()
        self._kept.clear()
        self._models.clear()
        cache.release(self.device)

    def _attempt(self, request: _Request, plan: cache.MemoryPlan) -> list[Rgb]:
        if plan.precision != self._precision:  # models are loaded in one precision at a time
            self.make_room()
            self._precision = plan.precision
        loaded = self._base(request, plan)
        loaded.adapters.use([(self._file(lora.key, "lora"), lora.weight) for lora in request.recipe.loras])
        loaded = self._with_vae(request, loaded)
        inputs = [self._input(unit, loaded.base, request) for unit in request.units]
        looked = ((one, one.adapter) for one in request.recipe.references if one.weight)
        seen = [self._seen(one, adapter, loaded.base, request) for one, adapter in looked if adapter is not None]
        placement = Placement(self.device, plan)
        try:
            return self._made(request, loaded, inputs, seen, placement)
        finally:
            if placement.changed:  # the weights are no longer those of the files
                for card in (request.card, *(wire.card for wire in inputs)):
                    self._models.drop(self._stamped(card))

    def _made(
        self,
        request: _Request,
        loaded: _Loaded,
        inputs: Sequence[ControlInput],
        seen: Sequence[_Seen],
        placement: Placement,
    ) -> list[Rgb]:
        recipe, base, plan = request.recipe, loaded.base, placement.plan
        vae.tile(base.vae, plan.tiled)
        done: list[Rgb] = []
        with torch.inference_mode():
            conditional, unconditional = self._texts(request, loaded, placement)
            shown = self._references(request, seen, placement)
            initial = self._initial(request, loaded, placement)
            read = self._attended(request, loaded, placement)
            while len(done) < recipe.images:
                networks = (*(one.network for one in inputs), *(one.adapter for one in seen))
                with placement.present(base.unet, *networks):
                    controls = [self._control(one, placement) for one in inputs]
                    denoiser = Denoiser(
                        base.unet,
                        conditional,
                        unconditional,
                        recipe.guidance,
                        controls,
                        initial.inpaint_latents,
                        shown,
                        read,
                    )
                    which = range(recipe.images)[len(done) :][: plan.batch]
                    with self._graphs.quickened(denoiser, still=plan.still) as quickened:
                        latent = self._latents(request, loaded, quickened, initial, which, placement)
                with placement.present(base.vae):
                    decoded = vae.finite(vae.decode(base.vae, latent))
                    done += [initial.finish(made) for made in vae.to_rgb(decoded)]
        return done

    def _references(self, request: _Request, seen: Sequence[_Seen], placement: Placement) -> list[PictureReference]:
        """What the recipe's reference pictures say to the U-Net."""
        found: list[PictureReference] = []
        for one in seen:

            def look(one: _Seen = one) -> tuple[Tensor, Tensor]:
                with placement.present(one.encoder, one.adapter):
                    return references.look(request.pictures[one.reference.picture], one.adapter, one.encoder)

            key = ("reference", *one.stamps, one.reference.picture, placement.plan.name)
            tokens, nothing = self._kept.get(key, look)
            wanted = one.reference
            found.append(PictureReference(one.adapter, tokens, nothing, wanted.weight, wanted.start, wanted.end))
        return found

    def _initial(self, request: _Request, loaded: _Loaded, placement: Placement) -> init_image.InitImage:
        """What the run starts from."""
        recipe, base = request.recipe, loaded.base
        if recipe.source is None and not base.inpaints:
            return init_image.InitImage()

        def encode_picture() -> init_image.InitImage:
            with placement.present(base.vae):
                return init_image.prepare(recipe, base, request.pictures, self.device)

        source = recipe.source.model_dump_json(exclude={"strength"}) if recipe.source else ""
        return self._kept.get(("start", *self._encoded_by(request, loaded, placement), source), encode_picture)

    def _attended(
        self, request: _Request, loaded: _Loaded, placement: Placement
    ) -> list[reference_only.AttendedReference]:
        """The recipe's pictures that self attention reads."""
        recipe, base = request.recipe, loaded.base
        found: list[reference_only.AttendedReference] = []
        for one in recipe.references:
            if one.kind != "reference_only" or not one.weight:
                continue

            def latent(one: Reference = one) -> Tensor:
                with placement.present(base.vae):
                    picture = request.pictures[one.picture]
                    return references.latent(picture, (recipe.width, recipe.height), base.vae, self.device)

            clean = self._kept.get(("attended", *self._encoded_by(request, loaded, placement), one.picture), latent)
            found.append(
                reference_only.AttendedReference(
                    clean,
                    Noise([references.NOISE_SEED], self.device).draw(clean.shape[1:]),
                    sent(schedulers.alphas(base.schedule), self.device),
                    one.weight,
                    one.style_fidelity,
                    one.start,
                    one.end,
                )
            )
        return found

    def _encoded_by(self, request: _Request, loaded: _Loaded, placement: Placement) -> tuple[Hashable, ...]:
        """All but the picture that the latents of one depend on."""
        autoencoder = self._stamped(self.catalog.card(loaded.vae)) if loaded.vae else ""
        recipe = request.recipe
        return (self._stamped(request.card), autoencoder, placement.plan.name, recipe.width, recipe.height)

    def _control(self, one: ControlInput, placement: Placement) -> AnyControl:
        key = ("control", self._stamped(one.card), *one.shown, placement.plan.name)
        return one.control(self._kept.get(key, lambda: one.embedding(self.device)))

    def _texts(
        self, request: _Request, loaded: _Loaded, placement: Placement
    ) -> tuple[Conditioning, Conditioning | None]:
        base = loaded.base
        recipe = request.recipe
        files = {key: self._file(key, "embedding") for key in recipe.embeddings}
        size, micro = (0, 0), recipe.micro_conditioning or MicroConditioning()
        if "time_ids" in base.family.added:
            size = (recipe.width, recipe.height)
        guided = recipe.guidance != 1

        def read() -> tuple[Conditioning, Conditioning | None]:
            reading = Reading(
                weighted=recipe.version > 1,
                clip_skip=recipe.clip_skip,
                embeddings={key: load_embedding(file) for key, file in files.items()},
            )
            with placement.present(*base.text_encoders):
                if not guided:
                    return encode(base, [recipe.text], reading, size, micro)[0], None
                return encode_pair(base, recipe.text, recipe.negative, reading, size, micro)

        words = (recipe.text, recipe.negative if guided else None, recipe.version > 1, recipe.clip_skip, size, micro)
        inversions = tuple((key, stamp_of(file)) for key, file in files.items())
        key = ("text", self._stamped(request.card), words, inversions, loaded.adapters.uses, placement.plan.name)
        return self._kept.get(key, read)

    def _latents(
        self,
        request: _Request,
        loaded: _Loaded,
        denoiser: Predicts,
        initial: init_image.InitImage,
        which: range,
        placement: Placement,
    ) -> Tensor:
        """The clean latents of the pictures numbered `which`."""
        recipe, base = request.recipe, loaded.base
        strength = recipe.source.strength if recipe.source else 1.0
        sampler = schedulers.make(recipe.sampler, base.schedule, recipe.steps, self.device, strength, recipe.spacing)
        steps = sampler.steps - sampler.first
        noise = _noise(recipe, which, self.device)
        shape = (base.channels, recipe.height // base.vae_scale_factor, recipe.width // base.vae_scale_factor)

        def tell(progress: StepProgress) -> None:
            step = which.start * steps + (progress.index + 1) * len(which)
            request.on_step(Step(step, recipe.images * steps, partial(self._look, loaded, placement, progress)))

        return sample(denoiser, sampler, noise, noise.start(shape), eta=recipe.eta, kept=initial.kept, on_step=tell)

    def _look(self, loaded: _Loaded, placement: Placement, progress: StepProgress) -> Rgb:
        """A rough picture of what a step aims at."""
        if loaded.vae not in loaded.previews:
            loaded.previews[loaded.vae] = self._preview(loaded.base, placement)
        return loaded.previews[loaded.vae](progress.clean()[0])

    def _preview(self, base: Base, placement: Placement) -> Callable[[Tensor], Rgb]:
        if base.family.preview and memory_plan.previews(self.device.type):
            card = self.catalog.card(base.family.preview)
            if self.catalog.installed(card):
                small = load_vae(self.catalog.locate(card), base.unet.dtype)
                cast("Any", small).to(self.device)
                return lambda latent: vae.to_rgb(vae.decode(small, latent[None]))[0]
        # It is fitted where pictures are decoded: in half precision a processor would take minutes for that.
        with placement.present(base.vae):
            return vae.Preview(base.vae, base.vae_scale_factor)

    def has(self, lent: Lent) -> Path | None:
        """Where this machine itself has a model of that name; see `Borrower`."""
        card = ModelCard.model_validate_json(lent.card)
        return self.catalog.locate(card) if self.catalog.installed(card) else None

    def lend(self, models: Mapping[str, tuple[Lent, Path]]) -> None:
        """Use these models from these places; see `Borrower`."""
        self.catalog.lend(
            {id: (ModelCard.model_validate_json(lent.card), place) for id, (lent, place) in models.items()}
        )

    def _card(self, key: str, kind: Kind, otherwise: str, hint: str) -> ModelCard:
        card = self.catalog.card(key)
        if card.kind != kind:
            raise RecipeError(f"{card.title} {otherwise}.", hint)
        return card

    def _file(self, key: str, kind: Kind) -> Path:
        return self.catalog.locate(self._addition(key, kind))

    def _addition(self, key: str, kind: Kind) -> ModelCard:
        return self._card(
            key, kind, f"is not a {fit.TITLES[kind]}", f"Choose one of the installed {fit.TITLES[kind]}s."
        )

    def _input(self, unit: ControlUnit, base: Base, request: _Request) -> ControlInput:
        def load(card: ModelCard) -> Network:
            return self._network(card, base, request.announce)

        return self._inputs.prepare(unit, request.recipe, request.card, base, request.pictures, load)

    def _base(self, request: _Request, plan: cache.MemoryPlan) -> _Loaded:
        card = request.card

        def load() -> _Loaded:
            path = self.catalog.locate(card)
            request.announce(f"Loading {card.title} ...")
            base = load_base(path, self._dtype(path, plan), Hints(prediction=card.prediction))
            lend_vocabularies(base, self.catalog)
            for module in (base.unet, base.vae):
                _quicken(module, self.device)
            cuda_graphs.prepared(base.unet)
            return _Loaded(base, Adapters(base))

        return self._models.get(self._stamped(card), load, lambda one: cache.size_of(one.base.modules))

    def _with_vae(self, request: _Request, loaded: _Loaded) -> _Loaded:
        """The model with the autoencoder that the recipe asks for."""
        key = request.recipe.vae
        if key is None:
            return loaded
        card = self._addition(key, "vae")

        def load() -> Vae:
            request.announce(f"Loading {card.title} ...")
            return _quicken(
                load_vae(self.catalog.locate(card), loaded.base.unet.dtype, family=loaded.base.family), self.device
            )

        vae: Vae = self._models.get(self._stamped(card), load, lambda one: cache.size_of([one]))
        base = replace(loaded.base, vae=vae)
        if base.vae_scale_factor != loaded.base.vae_scale_factor or _channels(vae) != _channels(loaded.base.vae):
            raise RecipeError(f"{card.title} does not fit {request.card.title}.", "Choose a VAE of the same family.")
        return replace(loaded, base=base, vae=key)

    def _network(self, card: ModelCard, base: Base, announce: OnLoad) -> Network:
        def load() -> Network:
            announce(f"Loading {card.title} ...")
            network = _quicken(
                load_network(self.catalog.locate(card), base.unet.dtype, Hints(pooled=card.pooled)), self.device
            )
            if not isinstance(network, (T2IAdapter, ControlNetXSAdapter)):
                cuda_graphs.prepared(network)
            return network

        return self._models.get(self._stamped(card), load, lambda one: cache.size_of([one]))

    def _seen(self, reference: Reference, adapter_key: str, base: Base, request: _Request) -> _Seen:
        card = self._addition(adapter_key, "ip_adapter")
        encoder = self.catalog.card(card.encoder) if card.encoder else None
        if encoder is None:
            raise RecipeError(f"Which image encoder {card.title} needs is not known.", "Choose a published IP-Adapter.")

        def load() -> IpAdapter:
            request.announce(f"Loading {card.title} ...")
            return load_ip_adapter(self.catalog.locate(card), base.unet)

        def look() -> CLIPVisionModelWithProjection:
            request.announce(f"Loading {encoder.title} ...")
            return load_image_encoder(self.catalog.locate(encoder), base.unet.dtype)

        def size(one: nn.Module) -> int:
            return cache.size_of([one])

        stamps = self._stamped(card), self._stamped(encoder)
        adapter = self._models.get(stamps[0], load, size)
        return _Seen(reference, adapter, self._models.get(stamps[1], look, size), stamps)

    def _stamped(self, card: ModelCard) -> str:
        """What a model is called in the cache: trained further or replaced under the same name, it is another one."""
        if card.id not in self._stamps:
            self._stamps[card.id] = f"{card.id}@{stamp_of(self.catalog.locate(card))}{card.prediction or ''}"
        return self._stamps[card.id]

    def _dtype(self, path: Path, plan: cache.MemoryPlan) -> torch.dtype:
        bits = memory_plan.computes_in(plan, self.device.type, size_of(path))
        gpu.check_precision(self.device, bits)
        return getattr(torch, bits)


def _noise(recipe: Recipe, which: range, device: torch.device) -> Noise:
    """The random numbers of the pictures numbered `which`: of their seeds, or of one seed and their variations."""

    def counted(first: int) -> list[int]:
        return [(first + number) % (SEED_MAX + 1) for number in which]

    if not recipe.variation_strength:
        return Noise(counted(recipe.seed), device)
    same = [recipe.seed] * len(which)
    return Noise(same, device, counted(recipe.variation_seed), recipe.variation_strength)


def _quicken(module: M, device: torch.device) -> M:
    """Have convolutions read their weights in the order that is fastest, and on a CPU multiply less."""
    if device.type != "mps":  # Apple's GPUs have an order of their own
        cast("Any", module).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        winograd.hasten(module)
    return module


def _channels(vae: Vae) -> int:
    return int(vae.config["latent_channels"])

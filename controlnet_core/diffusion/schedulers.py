"""Samplers: how a latent goes from one noise level to the next.

`make` turns a recipe's sampler and a model's schedule configuration into a `Sampler`. DDIM is our own (Song et al.,
"Denoising Diffusion Implicit Models", equation 12): it visits exactly the steps asked for and works at a terminal
signal-to-noise ratio of zero. The others are diffusers' schedulers behind the same four methods. Knows no networks.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from controlnet_core.domain.errors import ModelError
from controlnet_core.models import diffusers_setup

_SCHEDULERS: dict[str, tuple[str, dict[str, object]]] = {
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
_DISTILLED = ("lcm", "tcd")
_DISTILLED_STEPS = 50
_STEPS_MAX = 500
PREDICTIONS = ("epsilon", "v_prediction", "sample")
"""What a network may predict: the noise, the velocity (Salimans & Ho 2022), or the clean latent."""
# diffusers has not written these for networks that predict the clean latent: they get the same said as a velocity.
_WITHOUT_SAMPLE = ("euler_a",)
# The published configurations leave these out and mean the original's values by it; latents are never clipped.
_ABSENT: dict[str, object] = {"timestep_spacing": "leading"}
_FIXED: dict[str, object] = {"clip_sample": False, "thresholding": False}


class Noise:
    """The random numbers of a batch: picture k draws from a CPU generator of its own, seeded with `seeds[k]`.

    So a picture depends on its seed alone, not on the batch around it nor on the device. What `start` draws may lie
    between the noise of `seeds[k]` and that of `variations[k]`: `share` of the way.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        variations: Sequence[int] = (),
        share: float = 0.0,
    ) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.device = device
        self._others = [torch.Generator().manual_seed(seed) for seed in variations] if share else []
        self._share = share

    def start(self, shape: Sequence[int]) -> Tensor:
        """The noise that a run starts from, standard normal (pictures, *shape), float32."""
        drawn = self.draw(shape)
        if not self._others:
            return drawn
        others = [torch.randn(tuple(shape), generator=generator) for generator in self._others]
        mixed = [_between(one, other.to(drawn), self._share) for one, other in zip(drawn, others, strict=True)]
        return torch.stack(mixed)

    def draw(self, shape: Sequence[int]) -> Tensor:
        """Standard normal noise (pictures, *shape), float32."""
        drawn = [torch.randn(tuple(shape), generator=generator) for generator in self.generators]
        return torch.stack(drawn).to(self.device)


def _between(one: Tensor, other: Tensor, share: float) -> Tensor:
    """The point at `share` of the great arc from one noise to another (Shoemake 1985): noise stays as strong as it was."""
    cosine = (one.flatten() @ other.flatten()) / (one.norm() * other.norm())
    angle = cosine.clamp(-1, 1).acos()
    if angle.sin() < 1e-6:
        return one
    return (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()


class Sampler:
    """One run of `steps` steps; make a new one for every run, for some of them remember the last steps.

    `times[i]` is the time step that the network is told at step i, a 0-d tensor on `device`. Latents are float32. A run
    that starts from a picture leaves out the steps before `first`.
    """

    times: Tensor
    first: int = 0

    @property
    def steps(self) -> int:
        """How many steps the schedule has, those before `first` included."""
        return len(self.times)

    def start(self, noise: Tensor) -> Tensor:
        """The latent at the first noise level, from standard normal noise."""
        return noise

    def noised(self, index: int, clean: Tensor, noise: Tensor) -> Tensor:
        """A clean latent with as much of `noise` as latents have before step `index`, the one that comes next."""
        raise NotImplementedError

    def seen(self, index: int, latent: Tensor) -> Tensor:
        """What the network sees of `latent` at step `index`: the same, at unit variance."""
        return latent

    def clean(self, index: int, seen: Tensor, output: Tensor) -> Tensor:
        """The clean latent that the network's `output` predicts for what it has `seen` at step `index`."""
        raise NotImplementedError

    def step(self, index: int, output: Tensor, latent: Tensor, eta: float, noise: Noise) -> Tensor:
        """The latent after step `index`."""
        raise NotImplementedError


def clean_and_noise(prediction: str, alpha: Tensor, seen: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Split `seen` = sqrt(alpha) clean + sqrt(1 - alpha) noise by what the network says, whatever it predicts."""
    signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
    if prediction == "epsilon":
        return (seen - spread * output) / signal, output
    if prediction == "v_prediction":
        return signal * seen - spread * output, signal * output + spread * seen
    if prediction == "sample":
        return output, (seen - signal * output) / spread
    raise ValueError(f"unknown prediction type {prediction!r}")


def velocity(alpha: Tensor, seen: Tensor, clean: Tensor) -> Tensor:
    """v (Salimans & Ho 2022) of a clean latent in `seen` = sqrt(alpha) clean + sqrt(1 - alpha) noise."""
    return (alpha.sqrt() * seen - clean) / (1 - alpha).sqrt()


class Ddim(Sampler):
    """DDIM; `eta` 0 is deterministic, 1 adds the noise of DDPM."""

    def __init__(self, schedule: Mapping[str, Any], steps: int, device: torch.device | str, first: int) -> None:
        self.first = first
        scheduler = _construct("ddim", schedule, steps)
        scheduler.set_timesteps(steps)
        times = scheduler.timesteps
        alphas = scheduler.alphas_cumprod.float()
        self.prediction = str(scheduler.config["prediction_type"])
        self.times = times.to(device)
        self._alphas = alphas[times].to(device)
        # diffusers assumes that steps are 1000 // steps apart; here the next noise level is that of the next step.
        self._next = torch.cat([alphas[times[1:]], scheduler.final_alpha_cumprod.float().reshape(1)]).to(device)

    def noised(self, index: int, clean: Tensor, noise: Tensor) -> Tensor:
        """See `Sampler.noised`."""
        alpha = self._alphas[index]
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def clean(self, index: int, seen: Tensor, output: Tensor) -> Tensor:
        """See `Sampler.clean`."""
        return clean_and_noise(self.prediction, self._alphas[index], seen, output)[0]

    def step(self, index: int, output: Tensor, latent: Tensor, eta: float, noise: Noise) -> Tensor:
        """See `Sampler.step`."""
        now, then = self._alphas[index], self._next[index]
        clean, direction = clean_and_noise(self.prediction, now, latent, output)
        if eta == 0:
            return then.sqrt() * clean + (1 - then).sqrt() * direction
        sigma = eta * ((1 - then) / (1 - now) * (1 - now / then)).clamp(min=0).sqrt()
        moved = then.sqrt() * clean + (1 - then - sigma**2).clamp(min=0).sqrt() * direction
        return moved + sigma * noise.draw(latent.shape[1:])


class Scheduled(Sampler):
    """A scheduler of diffusers."""

    def __init__(
        self, name: str, schedule: Mapping[str, Any], steps: int, device: torch.device | str, first: int
    ) -> None:
        self.first = first
        self.prediction = str(schedule.get("prediction_type", "epsilon"))
        self._as_velocity = self.prediction == "sample" and name in _WITHOUT_SAMPLE
        told = {**schedule, "prediction_type": "v_prediction"} if self._as_velocity else schedule
        self._scheduler = _construct(name, told, steps)
        if name in _DISTILLED:
            # Distilled models know 50 noise levels; more steps than that need a finer grid.
            self._scheduler.set_timesteps(steps, original_inference_steps=max(_DISTILLED_STEPS, steps))
        else:
            self._scheduler.set_timesteps(steps)
        self._scheduler.set_begin_index(first)
        parameters = inspect.signature(self._scheduler.step).parameters
        self._random = "generator" in parameters
        self._eta = "eta" in parameters
        self._times = self._scheduler.timesteps
        self.times = self._times.to(device)
        self._alphas = self._scheduler.alphas_cumprod.float()

    def start(self, noise: Tensor) -> Tensor:
        """See `Sampler.start`."""
        return noise * float(self._scheduler.init_noise_sigma)

    def noised(self, index: int, clean: Tensor, noise: Tensor) -> Tensor:
        """See `Sampler.noised`."""
        return self._scheduler.add_noise(clean, noise, self._times[index : index + 1])

    def seen(self, index: int, latent: Tensor) -> Tensor:
        """See `Sampler.seen`."""
        return self._scheduler.scale_model_input(latent, self._times[index])

    def clean(self, index: int, seen: Tensor, output: Tensor) -> Tensor:
        """See `Sampler.clean`."""
        return clean_and_noise(self.prediction, self._alpha(index).clamp(min=1e-6).to(seen.device), seen, output)[0]

    def _alpha(self, index: int) -> Tensor:
        return self._alphas[int(self._times[index])]

    def step(self, index: int, output: Tensor, latent: Tensor, eta: float, noise: Noise) -> Tensor:
        """See `Sampler.step`."""
        extra: dict[str, Any] = {"generator": noise.generators} if self._random else {}
        if self._eta:
            extra["eta"] = eta
        if self._as_velocity:
            output = velocity(self._alpha(index).to(latent.device), self.seen(index, latent), output)
        return self._scheduler.step(output, self._times[index], latent, return_dict=False, **extra)[0]


def make(
    name: str, schedule: Mapping[str, Any], steps: int, device: torch.device | str = "cpu", strength: float = 1.0
) -> Sampler:
    """The sampler `name` of a recipe for a model with this schedule configuration, with exactly `steps` steps.

    Below 1, `strength` is the share of the steps that run: the rest is left out at the beginning. Where not even one would
    be left, one runs all the same, the last of as many as make its share no more than `strength`. Every sampler serves every
    one of `PREDICTIONS`; a model that predicts anything else is refused with ModelError.
    """
    prediction = schedule.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ModelError(
            f"This model predicts {prediction!r}, which no sampler here knows.", "Choose another base model."
        )
    runs = int(steps * strength)
    if runs < 1:
        runs, steps = 1, min(math.ceil(1 / strength), _STEPS_MAX)
    first = steps - runs
    return Ddim(schedule, steps, device, first) if name == "ddim" else Scheduled(name, schedule, steps, device, first)


def _construct(name: str, schedule: Mapping[str, Any], steps: int) -> Any:
    # By name: importing a scheduler costs time, and a run needs one of them.
    kind, own = _SCHEDULERS[name]
    make: Any = diffusers_setup.scheduler(kind)
    known = inspect.signature(make).parameters
    # Leading steps begin at 1000 - 1000 / n: a single one would be told that pure noise is a clean latent. The original's
    # DDIM does say so, and is kept.
    spaced = {"timestep_spacing": "trailing"} if steps == 1 and name != "ddim" else {}
    settings = {**_ABSENT, **schedule, **own, **_FIXED, **spaced}
    return make(**{key: value for key, value in settings.items() if key in known})

"""Samplers: how a latent goes from one noise level to the next.

`make` turns a recipe's sampler and a model's schedule configuration into a `Sampler`. DDIM is our own (Song et al.,
"Denoising Diffusion Implicit Models", equation 12): it visits exactly the steps asked for and works at a terminal
signal-to-noise ratio of zero. So are those of the second order, which ask the network twice a step and serve every prediction:
Heun (Karras et al. 2022, algorithm 1), DPM2 (DPM-Solver-2, Lu et al. 2022a) with and without fresh noise, and DPM++ SDE
(Lu et al. 2022b), all as k-diffusion has them. The others are diffusers' schedulers behind the same methods. Knows no
networks.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from controlnet_core.domain.errors import ModelError
from controlnet_core.domain.samplers import Spacing
from controlnet_core.memory.placement import sent
from controlnet_core.models import diffusers_setup

_SCHEDULERS: dict[str, tuple[str, dict[str, object]]] = {
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
_DISTILLED = ("lcm", "tcd")
_DISTILLED_STEPS = 50
_TRAINED = 1000
_SPACED: dict[Spacing, dict[str, object]] = {
    "sgm_uniform": {"timestep_spacing": "trailing"},
    # Between the first and the last noise level that the model knows, as Karras et al. and k-diffusion have it.
    "karras": {"use_karras_sigmas": True, "timestep_spacing": "linspace"},
    "exponential": {"use_exponential_sigmas": True, "timestep_spacing": "linspace"},
}
_BETA = 0.6
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
        return sent(torch.stack(drawn), self.device)


def _between(one: Tensor, other: Tensor, share: float) -> Tensor:
    """The point at `share` of the great arc from one noise to another (Shoemake 1985): noise stays as strong as it was."""
    cosine = (one.flatten() @ other.flatten()) / (one.norm() * other.norm())
    angle = cosine.clamp(-1, 1).acos()
    if angle.sin() < 1e-6:
        return one
    return (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()


@dataclass(frozen=True)
class Halfway:
    """Where a step of the second order asks the network again: the `latent` there, the `model_input` there, and the time (0-d)."""

    latent: Tensor
    model_input: Tensor
    time: Tensor


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

    def scale_model_input(self, index: int, latent: Tensor) -> Tensor:
        """What the network sees of `latent` at step `index`: the same, at unit variance."""
        return latent

    def clean(self, index: int, model_input: Tensor, output: Tensor) -> Tensor:
        """The clean latent that the network's `output` predicts for its `model_input` at step `index`."""
        raise NotImplementedError

    def halfway(self, index: int, output: Tensor, latent: Tensor, noise: Noise) -> Halfway | None:
        """Where step `index` asks the network once more before it is taken; None where the first `output` is enough."""
        return None

    def step(self, index: int, output: Tensor, latent: Tensor, eta: float, noise: Noise) -> Tensor:
        """The latent after step `index`. After a look `halfway`, both `output` and `latent` are those from there."""
        raise NotImplementedError


def clean_and_noise(prediction: str, alpha: Tensor, model_input: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Split `model_input` = sqrt(alpha) clean + sqrt(1 - alpha) noise by what the network says, whatever it predicts."""
    sqrt_alpha, sigma = alpha.sqrt(), (1 - alpha).sqrt()
    if prediction == "epsilon":
        return (model_input - sigma * output) / sqrt_alpha, output
    if prediction == "v_prediction":
        return sqrt_alpha * model_input - sigma * output, sqrt_alpha * output + sigma * model_input
    if prediction == "sample":
        return output, (model_input - sqrt_alpha * output) / sigma
    raise ValueError(f"unknown prediction type {prediction!r}")


def velocity(alpha: Tensor, model_input: Tensor, clean: Tensor) -> Tensor:
    """v (Salimans & Ho 2022) of a clean latent in `model_input` = sqrt(alpha) clean + sqrt(1 - alpha) noise."""
    return (alpha.sqrt() * model_input - clean) / (1 - alpha).sqrt()


class Ddim(Sampler):
    """DDIM; `eta` 0 is deterministic, 1 adds the noise of DDPM."""

    def __init__(
        self,
        schedule: Mapping[str, Any],
        steps: int,
        device: torch.device | str,
        first: int,
        spacing: Spacing = "model",
    ) -> None:
        self.first = first
        scheduler = _construct("ddim", schedule, steps, spacing)
        scheduler.set_timesteps(steps)
        times = torch.tensor(beta_times(steps)) if spacing == "beta" else scheduler.timesteps
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

    def clean(self, index: int, model_input: Tensor, output: Tensor) -> Tensor:
        """See `Sampler.clean`."""
        return clean_and_noise(self.prediction, self._alphas[index], model_input, output)[0]

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
        self,
        name: str,
        schedule: Mapping[str, Any],
        steps: int,
        device: torch.device | str,
        first: int,
        spacing: Spacing = "model",
    ) -> None:
        self.first = first
        self.prediction = str(schedule.get("prediction_type", "epsilon"))
        self._as_velocity = self.prediction == "sample" and name in _WITHOUT_SAMPLE
        told = {**schedule, "prediction_type": "v_prediction"} if self._as_velocity else schedule
        self._scheduler = _construct(name, told, steps, spacing)
        if spacing == "beta":
            self._scheduler.set_timesteps(timesteps=beta_times(steps))
        elif name in _DISTILLED and spacing == "sgm_uniform":
            # Its makers' own times, as 999, 749, 499, 249; said to be of a grid as fine as the training's.
            times = np.round(np.arange(steps, 0, -1) * _TRAINED / steps).astype(int) - 1
            self._scheduler.set_timesteps(timesteps=times.tolist(), original_inference_steps=_TRAINED)
        elif name in _DISTILLED:
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
        self._sigmas: Tensor | None = getattr(self._scheduler, "sigmas", None)

    def start(self, noise: Tensor) -> Tensor:
        """See `Sampler.start`."""
        return noise * float(self._scheduler.init_noise_sigma)

    def noised(self, index: int, clean: Tensor, noise: Tensor) -> Tensor:
        """See `Sampler.noised`."""
        # The shares of both, asked for on the processor: the scheduler would look for them on the device, and wait for it.
        time, one, none = self._times[index : index + 1], torch.ones(()), torch.zeros(())
        of_clean, of_noise = (self._scheduler.add_noise(*pair, time).reshape(()) for pair in ((one, none), (none, one)))
        return of_clean * clean + of_noise * noise

    def scale_model_input(self, index: int, latent: Tensor) -> Tensor:
        """See `Sampler.scale_model_input`."""
        return self._scheduler.scale_model_input(latent, self._times[index])

    def clean(self, index: int, model_input: Tensor, output: Tensor) -> Tensor:
        """See `Sampler.clean`."""
        return clean_and_noise(self.prediction, self._alpha(index).clamp(min=1e-6), model_input, output)[0]

    def _alpha(self, index: int) -> Tensor:
        if self._sigmas is not None:  # between the times of the training there are noise levels too
            return _alpha_of(self._sigmas[index])
        return self._alphas[int(self._times[index])]

    def step(self, index: int, output: Tensor, latent: Tensor, eta: float, noise: Noise) -> Tensor:
        """See `Sampler.step`."""
        extra: dict[str, Any] = {"generator": noise.generators} if self._random else {}
        if self._eta:
            extra["eta"] = eta
        if self._as_velocity:
            output = velocity(self._alpha(index), self.scale_model_input(index, latent), output)
        return self._scheduler.step(output, self._times[index], latent, return_dict=False, **extra)[0]


class SecondOrder(Sampler):
    """A sampler that asks the network twice in every step but the last, which leads to the clean latent itself.

    Latents are clean + sigma * noise (Karras et al. 2022). Noise levels and times are those of diffusers' Euler.
    """

    def __init__(
        self,
        schedule: Mapping[str, Any],
        steps: int,
        device: torch.device | str,
        first: int,
        spacing: Spacing = "model",
    ) -> None:
        self.first = first
        self._scheduler = _construct("euler", schedule, steps, spacing)
        if spacing == "beta":
            self._scheduler.set_timesteps(timesteps=beta_times(steps))
        else:
            self._scheduler.set_timesteps(steps)
        self.prediction = str(schedule.get("prediction_type", "epsilon"))
        self.times = self._scheduler.timesteps.to(device)
        self._sigmas = [float(sigma) for sigma in self._scheduler.sigmas]
        self._alphas = self._scheduler.alphas_cumprod.float()
        self._log_sigmas = np.log(((1 - self._alphas) / self._alphas).sqrt().numpy())
        self._began: tuple[Tensor, Tensor, float] | None = None
        """While a step is halfway: the latent that it began at, the clean one seen there, and the noise level halfway."""

    def start(self, noise: Tensor) -> Tensor:
        """See `Sampler.start`."""
        return noise * float(self._scheduler.init_noise_sigma)

    def noised(self, index: int, clean: Tensor, noise: Tensor) -> Tensor:
        """See `Sampler.noised`."""
        return clean + self._sigmas[index] * noise

    def scale_model_input(self, index: int, latent: Tensor) -> Tensor:
        """See `Sampler.scale_model_input`."""
        return latent / math.hypot(self._sigmas[index], 1)

    def clean(self, index: int, model_input: Tensor, output: Tensor) -> Tensor:
        """See `Sampler.clean`."""
        return self._clean_at(self._sigmas[index], model_input, output)

    def _clean_at(self, sigma: float, model_input: Tensor, output: Tensor) -> Tensor:
        return clean_and_noise(self.prediction, _alpha_of(torch.tensor(sigma)), model_input, output)[0]

    def halfway(self, index: int, output: Tensor, latent: Tensor, noise: Noise) -> Halfway | None:
        """See `Sampler.halfway`."""
        now, then = self._sigmas[index : index + 2]
        if then == 0:
            return None
        clean = self.clean(index, self.scale_model_input(index, latent), output)
        sigma, there = self._middle(latent, clean, now, then, noise)
        self._began = (latent, clean, sigma)
        time = float(self._scheduler._sigma_to_t(np.array(sigma), self._log_sigmas))
        return Halfway(there, there / math.hypot(sigma, 1), torch.full_like(self.times[0], time))

    def step(self, index: int, output: Tensor, latent: Tensor, eta: float, noise: Noise) -> Tensor:
        """See `Sampler.step`."""
        if self._began is None:
            return self.clean(index, self.scale_model_input(index, latent), output)
        (began, first, sigma), self._began = self._began, None
        second = self._clean_at(sigma, latent / math.hypot(sigma, 1), output)
        now, then = self._sigmas[index : index + 2]
        ways = (began - first) / now, (latent - second) / sigma
        return self._end(began, second, ways, now, then, noise)

    @abstractmethod
    def _middle(self, latent: Tensor, clean: Tensor, now: float, then: float, noise: Noise) -> tuple[float, Tensor]:
        """The noise level halfway between two, and the latent there."""

    @abstractmethod
    def _end(
        self, latent: Tensor, clean: Tensor, ways: tuple[Tensor, Tensor], now: float, then: float, noise: Noise
    ) -> Tensor:
        """The latent at the end of a step: `clean` is what was seen halfway, `ways` the slopes at its beginning and there."""


class Heun(SecondOrder):
    """The mean of the slopes at both ends."""

    def _middle(self, latent: Tensor, clean: Tensor, now: float, then: float, noise: Noise) -> tuple[float, Tensor]:
        return then, _moved(latent, clean, now, then)

    def _end(
        self, latent: Tensor, clean: Tensor, ways: tuple[Tensor, Tensor], now: float, then: float, noise: Noise
    ) -> Tensor:
        return latent + (then - now) * (ways[0] + ways[1]) / 2


class Dpm2(SecondOrder):
    """The slope in the middle, on a logarithmic scale."""

    def _middle(self, latent: Tensor, clean: Tensor, now: float, then: float, noise: Noise) -> tuple[float, Tensor]:
        middle = math.sqrt(now * then)
        return middle, _moved(latent, clean, now, middle)

    def _end(
        self, latent: Tensor, clean: Tensor, ways: tuple[Tensor, Tensor], now: float, then: float, noise: Noise
    ) -> Tensor:
        return latent + (then - now) * ways[1]


class Dpm2Ancestral(Dpm2):
    """DPM2 to a level below the next one, and fresh noise up to it."""

    def _middle(self, latent: Tensor, clean: Tensor, now: float, then: float, noise: Noise) -> tuple[float, Tensor]:
        return super()._middle(latent, clean, now, _below(now, then)[0], noise)

    def _end(
        self, latent: Tensor, clean: Tensor, ways: tuple[Tensor, Tensor], now: float, then: float, noise: Noise
    ) -> Tensor:
        below, fresh = _below(now, then)
        return latent + (below - now) * ways[1] + fresh * noise.draw(latent.shape[1:])


class DpmppSde(SecondOrder):
    """What is seen in the middle is believed for the whole step; fresh noise on both ways."""

    def _middle(self, latent: Tensor, clean: Tensor, now: float, then: float, noise: Noise) -> tuple[float, Tensor]:
        middle = math.sqrt(now * then)
        below, fresh = _below(now, middle)
        return middle, _moved(latent, clean, now, below) + fresh * noise.draw(latent.shape[1:])

    def _end(
        self, latent: Tensor, clean: Tensor, ways: tuple[Tensor, Tensor], now: float, then: float, noise: Noise
    ) -> Tensor:
        below, fresh = _below(now, then)
        return _moved(latent, clean, now, below) + fresh * noise.draw(latent.shape[1:])


def _moved(latent: Tensor, clean: Tensor, now: float, then: float) -> Tensor:
    """A latent at the noise level `then`, straight on the way to a clean one."""
    return clean + (then / now) * (latent - clean)


def _below(now: float, then: float) -> tuple[float, float]:
    """The level from which fresh noise of so much leads up to `then`, and how much that is: an ancestral step."""
    fresh = min(then, math.sqrt(then**2 * max(0.0, now**2 - then**2)) / now)
    return math.sqrt(then**2 - fresh**2), fresh


def _alpha_of(sigma: Tensor) -> Tensor:
    return 1 / (1 + sigma**2)


def beta_times(steps: int) -> list[int]:
    """Times from 999 on that lie as the quantiles of a beta distribution do: close at both ends, wide in the middle.

    Lee et al. 2024, "Beta Sampling is All You Need", with the usual exponents of 0.6 on both sides.
    """
    # Here, for loading it takes longer than most runs; it publishes no types.
    from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs]

    wanted = np.rint(betaincinv(_BETA, _BETA, 1 - np.arange(steps) / steps) * _TRAINED).astype(int).tolist()
    times: list[int] = []
    for index, time in enumerate(wanted):
        highest = times[-1] - 1 if times else _TRAINED - 1
        times.append(max(min(time, highest), steps - 1 - index))
    return times


_OWN: dict[str, type[SecondOrder]] = {"heun": Heun, "dpm2": Dpm2, "dpm2_a": Dpm2Ancestral, "dpmpp_sde": DpmppSde}


def make(
    name: str,
    schedule: Mapping[str, Any],
    steps: int,
    device: torch.device | str = "cpu",
    strength: float = 1.0,
    spacing: Spacing = "model",
) -> Sampler:
    """The sampler `name` of a recipe for a model with this schedule configuration, with exactly `steps` steps.

    `spacing` is one of those that the sampler takes (`samplers.SPACINGS`).

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
    if name == "ddim":
        return Ddim(schedule, steps, device, first, spacing)
    if name in _OWN:
        return _OWN[name](schedule, steps, device, first, spacing)
    return Scheduled(name, schedule, steps, device, first, spacing)


def alphas(schedule: Mapping[str, Any]) -> Tensor:
    """The signal's share of the variance at every time of a model's training (T,), float32."""
    return _construct("ddim", schedule, 1, "model").alphas_cumprod.float()


def _construct(name: str, schedule: Mapping[str, Any], steps: int, spacing: Spacing) -> Any:
    # By name: importing a scheduler costs time, and a run needs one of them.
    kind, own = _SCHEDULERS[name]
    make: Any = diffusers_setup.scheduler(kind)
    known = inspect.signature(make).parameters
    # Leading steps begin at 1000 - 1000 / n: a single one would be told that pure noise is a clean latent. The original's
    # DDIM does say so, and is kept.
    spaced = {"timestep_spacing": "trailing"} if steps == 1 and name != "ddim" else {}
    settings = {**_ABSENT, **schedule, **own, **_FIXED, **_SPACED.get(spacing, {}), **spaced}
    return make(**{key: value for key, value in settings.items() if key in known})

"""The golden vectors of the original, reached through the public loader; limits as their README states them."""

import json
from dataclasses import dataclass

import pytest
import torch
from diffusers import ControlNetModel

from controlnet_core.diffusion import schedulers, vae
from controlnet_core.diffusion.conditioning import Conditioning, encode_tokens
from controlnet_core.diffusion.denoiser import Control, Denoiser, embed_hint, level_scales, residuals, sample
from controlnet_core.diffusion.schedulers import Noise
from controlnet_core.models.loading import Base, load_base, load_control

TIMES = (1, 951)


class GivenNoise(Noise):
    """Hands out stored noise instead of drawing it."""

    def __init__(self, stored):
        super().__init__([0])
        self.rest = list(stored)

    def draw(self, shape):
        noise = self.rest.pop(0)
        assert noise.shape[1:] == tuple(shape)
        return noise


@dataclass
class Lab:
    base: Base
    network: ControlNetModel
    context: torch.Tensor
    hint: torch.Tensor
    arrays: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def lab(checkpoints, hints, golden_arrays):
    base, network = (load(checkpoints["wrapped"], hints=hints) for load in (load_base, load_control))
    with torch.inference_mode():
        hint = embed_hint(network, golden_arrays["hint"].permute(0, 3, 1, 2) / 255)
    return Lab(base, network, encode_tokens(base.text_encoder, golden_arrays["tokens"])[0], hint, golden_arrays)


@pytest.mark.parametrize("container", ["bare", "safetensors"])
def test_every_container_holds_the_same_model(container, checkpoints, hints, lab):
    base, network = (load(checkpoints[container], hints=hints) for load in (load_base, load_control))
    pairs = [
        (base.unet, lab.base.unet),
        (base.vae, lab.base.vae),
        (base.text_encoder, lab.base.text_encoder),
        (network, lab.network),
    ]
    for module, other in pairs:
        states = module.state_dict(), other.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert base.schedule == lab.base.schedule
    assert base.unet.config == lab.base.unet.config


def near(result, expected, limit):
    assert result.shape == expected.shape
    assert (result - expected).abs().max().item() <= limit


def test_context(lab):
    near(lab.context, lab.arrays["context"], 2e-5)


@pytest.mark.parametrize("time", TIMES)
def test_residuals(time, lab):
    with torch.inference_mode():
        outputs = residuals(
            lab.network, lab.arrays["x"], torch.tensor([time, time]), Conditioning(lab.context), lab.hint
        )
    assert len(outputs) == 13
    for level, output in enumerate(outputs):
        near(output, lab.arrays[f"residual_t{time}_{level:02d}"], 3e-4)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize(
    ("name", "scales"),
    [
        ("scale1", level_scales(1.0, "balanced")),
        ("scale06", level_scales(0.6, "balanced")),
        ("nocontrol", (0.0,) * 13),
        ("midonly", (0.0,) * 12 + (1.0,)),
        ("guess07", level_scales(0.7, "prompt")),
    ],
)
def test_noise_prediction(time, name, scales, lab):
    # Both samples of the golden batch have a text of their own, so each runs as a batch of one.
    with torch.inference_mode():
        for row in (slice(0, 1), slice(1, 2)):
            control = Control(lab.network, lab.hint[row], scales=scales)
            denoiser = Denoiser(lab.base.unet, Conditioning(lab.context[row]), controls=[control])
            output = denoiser.predict(lab.arrays["x"][row], torch.tensor(time))
            near(output, lab.arrays[f"eps_t{time}_{name}"][row], 1e-4)


def run(lab, *, guidance=9.0, weight=1.0, mode="balanced", eta=0.0):
    control = Control(lab.network, lab.hint[1:], scales=level_scales(weight, mode), conditional_only=mode == "control")
    denoiser = Denoiser(
        lab.base.unet, Conditioning(lab.context[:1]), Conditioning(lab.context[1:]), guidance, [control]
    )
    sampler = schedulers.make("ddim", lab.base.schedule, 20)
    assert sampler.times.tolist() == lab.arrays["timesteps_20"].tolist()
    seen = []
    noise = GivenNoise(lab.arrays["step_noise"])
    latent = sample(
        denoiser, sampler, noise, lab.arrays["x_T"], eta=eta, on_step=lambda p: seen.append((p.latent, p.clean()))
    )
    return latent, seen


def near_latent(result, expected):
    near(result, expected, 1e-4 * expected.abs().max().item())


def test_ddim(lab):
    latent, seen = run(lab)
    near_latent(seen[0][0], lab.arrays["ddim20_cfg9_step1"])
    near_latent(seen[1][0], lab.arrays["ddim20_cfg9_step2"])
    near_latent(seen[0][1], lab.arrays["ddim20_cfg9_pred_x0_step1"])
    near_latent(latent, lab.arrays["ddim20_cfg9"])


@pytest.mark.parametrize("name", ["ddim20_cfg9", "x_T"])
def test_decoded_picture(name, lab):
    with torch.inference_mode():
        decoded = vae.decode(lab.base.vae, lab.arrays[name])
    near(decoded, lab.arrays[f"decoded_{name}"], 1e-4)
    difference = torch.from_numpy(vae.to_rgb(decoded)[0]).int() - lab.arrays[f"picture_{name}"][0].int()
    assert difference.abs().max() <= 1
    assert difference.abs().float().mean() <= 0.005


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ddim20_cfg9_strength06", {"weight": 0.6}),
        ("ddim20_cfg9_eta1", {"eta": 1.0}),
        ("ddim20_guess_cfg5_strength07", {"guidance": 5.0, "weight": 0.7, "mode": "control"}),
    ],
)
def test_ddim_variants(name, settings, lab):
    latent, _ = run(lab, **settings)
    near_latent(latent, lab.arrays[name])


def test_first_stage(lab):
    picture = lab.arrays["vae_image"].permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        distribution = lab.base.vae.encode(picture).latent_dist
        scaled = vae.encode(lab.base.vae, picture)
    near(distribution.mean, lab.arrays["vae_mean"].reshape(distribution.mean.shape), 1e-4)
    near(distribution.logvar, lab.arrays["vae_logvar"].reshape(distribution.mean.shape), 1e-4)
    near(scaled, lab.arrays["vae_mean"].reshape(scaled.shape) * 0.18215, 1e-4)


def test_every_step_count_is_exact(oracles):
    original = json.loads((oracles / "ddim_timesteps.json").read_text())
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    equal = 0
    for steps in range(1, 101):
        times = schedulers.make("ddim", {**schedule, "set_alpha_to_one": False}, steps).times.tolist()
        assert len(set(times)) == steps
        assert sorted(times, reverse=True) == times
        assert times[-1] == 1
        assert times[0] < 1000
        if original[str(steps)] is not None and len(original[str(steps)]) == steps:
            assert times == original[str(steps)]
            equal += 1
    assert equal >= 11

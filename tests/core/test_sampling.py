"""The loop and its samplers on plain tensors."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from controlnet_core.diffusion import schedulers
from controlnet_core.diffusion import vae as codec
from controlnet_core.diffusion.conditioning import Conditioning
from controlnet_core.diffusion.denoiser import Control, Denoiser, level_scales, sample
from controlnet_core.diffusion.schedulers import Noise
from controlnet_core.domain.errors import ModelError
from controlnet_core.domain.resize import fit
from controlnet_core.domain.samplers import SAMPLER_TITLES, SPACINGS, looks
from controlnet_core.models.loading import load_base

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
ZERO_SNR = {
    **SCHEDULE,
    "steps_offset": 0,
    "set_alpha_to_one": True,
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "prediction_type": "v_prediction",
}
SAMPLERS = tuple(SAMPLER_TITLES)
SPACED = [(sampler, spacing) for sampler, spacings in SPACINGS.items() for spacing in spacings if spacing != "model"]
CLEAN = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)
# Not the noise where the first latent is noise alone: it says nothing about it, and no such model can be.
PREDICTED = [
    pytest.param({**schedule, "prediction_type": prediction}, id=f"{title}-{prediction}")
    for title, schedule in (("leading", SCHEDULE), ("zero-snr", ZERO_SNR))
    for prediction in schedulers.PREDICTIONS
    if (title, prediction) != ("zero-snr", "epsilon")
]
STEPS = (1, 2, 3, 7, 20, 100)


@pytest.mark.parametrize("schedule", [SCHEDULE, ZERO_SNR], ids=["leading", "zero-snr"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_takes_exactly_as_many_steps_as_asked(name, schedule):
    for steps in (*range(1, 33), 36, 37, 49, 50, 51, 63, 99, 100):
        times = schedulers.make(name, schedule, steps).times
        assert len(times) == steps
        assert (times.diff() <= 0).all()
        assert 0 <= times.min() <= times.max() <= 1000


class Oracle:
    """A network that knows the clean latent: every sampler must end there, whatever it predicts."""

    def __init__(self, sampler):
        self.sampler = sampler
        alphas = getattr(sampler, "_alphas", None)
        self.all = alphas if len(alphas) == 1000 else None
        self.asked = 0

    def predict(self, seen, time, index, steps):
        self.asked += 1
        alpha = self.sampler._alphas[index] if self.all is None else self.between(float(time))
        noise = (seen - alpha.sqrt() * CLEAN) / (1 - alpha).sqrt()
        if self.sampler.prediction == "epsilon":
            return noise
        if self.sampler.prediction == "sample":
            return CLEAN.expand_as(seen)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * CLEAN

    def between(self, time):
        """The share of the clean latent at a time that may lie between two of the training's: as k-diffusion has it."""
        low = min(int(time), 998)
        logs = [((1 - alpha) / alpha).sqrt().log() for alpha in self.all[low : low + 2]]
        return 1 / (1 + torch.lerp(*logs, time - low).exp() ** 2) if time % 1 else self.all[int(time)]


@pytest.mark.parametrize("schedule", [SCHEDULE, ZERO_SNR], ids=["leading", "zero-snr"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_perfect_network_leads_to_the_clean_latent(name, schedule):
    sampler = schedulers.make(name, schedule, 20)
    noise = Noise([3])
    seen = []
    latent = sample(Oracle(sampler), sampler, noise, noise.draw((3, 4, 4)), on_step=lambda p: seen.append(p.clean()))  # type: ignore[arg-type]
    assert len(seen) == 20
    assert (seen[10] - CLEAN).abs().max() < 0.02
    # The original's last noise level is not quite zero, nor is TCD's.
    assert (latent - CLEAN).abs().max() < (0.12 if schedule is SCHEDULE or name == "tcd" else 0.02)


@pytest.mark.parametrize("schedule", PREDICTED)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_serves_every_prediction_in_any_number_of_steps(name, schedule):
    for steps in STEPS:
        sampler = schedulers.make(name, schedule, steps)
        assert sampler.prediction == schedule["prediction_type"] and sampler.steps == steps
        off, worst = strayed(Oracle(sampler), sampler)
        assert worst < 0.05, steps
        if (
            name != "ddim" or "rescale_betas_zero_snr" in schedule or steps > 1
        ):  # the original's single step ends where it begins
            assert off < 0.15, steps


@pytest.mark.parametrize("schedule", PREDICTED)
@pytest.mark.parametrize(("name", "spacing"), SPACED)
def test_every_spacing_serves_every_prediction_in_any_number_of_steps(name, spacing, schedule):
    for steps in STEPS:
        sampler = schedulers.make(name, schedule, steps, spacing=spacing)
        assert sampler.prediction == schedule["prediction_type"] and sampler.steps == steps
        assert int(sampler.times[0]) >= 979  # every one begins where there is nothing but noise
        oracle = Oracle(sampler)
        off, worst = strayed(oracle, sampler)
        assert oracle.asked == looks(name, steps)
        assert worst < 0.05, steps
        assert off < 0.15, steps


def strayed(oracle, sampler):
    """How far from the clean latent a run ends, and how far from it anything was that its steps showed."""
    noise, seen = Noise([3]), []
    latent = sample(oracle, sampler, noise, noise.draw((3, 4, 4)), on_step=lambda p: seen.append(p.clean()))  # type: ignore[arg-type]
    return float((latent - CLEAN).abs().max()), max(float((one - CLEAN).abs().max()) for one in seen)


def wavering(seen, time, index=0, steps=1):
    """A network that is no oracle: what it says bends with the time and the latent."""
    return torch.tanh(seen * (0.5 + float(time) / 2000)) + 0.1 * math.sin(float(time) / 90)


@pytest.mark.parametrize(
    ("name", "kind", "spacing", "settings"),
    [
        ("heun", "HeunDiscreteScheduler", "model", {"timestep_spacing": "leading"}),
        ("heun", "HeunDiscreteScheduler", "karras", {"timestep_spacing": "linspace", "use_karras_sigmas": True}),
        ("dpm2", "KDPM2DiscreteScheduler", "model", {"timestep_spacing": "leading"}),
        ("dpm2", "KDPM2DiscreteScheduler", "sgm_uniform", {"timestep_spacing": "trailing"}),
    ],
)
def test_samplers_of_the_second_order_go_where_those_of_diffusers_go(name, kind, spacing, settings):
    import diffusers

    sampler = schedulers.make(name, SCHEDULE, 12, spacing=spacing)
    noise = Noise([3])
    drawn = noise.draw((3, 4, 4))
    ours = sample(type("Net", (), {"predict": staticmethod(wavering)})(), sampler, noise, drawn)
    made = getattr(diffusers, kind)
    known = {key: value for key, value in {**SCHEDULE, **settings}.items() if key != "set_alpha_to_one"}
    theirs = made(**known)
    theirs.set_timesteps(12)
    latent = sampler.start(drawn)
    for time in theirs.timesteps:
        output = wavering(theirs.scale_model_input(latent, time), time)
        latent = theirs.step(output, time, latent, return_dict=False)[0]
    assert (ours - latent).abs().max() < 2e-3


@pytest.mark.parametrize("name", ["dpm2_a", "dpmpp_sde", "dpmpp_2m_sde", "euler_a"])
def test_fresh_noise_depends_on_the_seed_of_its_picture_alone(name):
    def made(seeds):
        noise = Noise(seeds)
        net = type("Net", (), {"predict": staticmethod(wavering)})()
        return sample(net, schedulers.make(name, SCHEDULE, 6), noise, noise.draw((3, 4, 4)))

    assert torch.allclose(made([5, 9])[1], made([9])[0], atol=1e-5)
    assert not torch.allclose(made([5])[0], made([9])[0], atol=1e-2)


def test_the_times_of_the_beta_spacing_are_close_at_both_ends_and_never_the_same():
    for steps in (1, 2, 20, 100, 500):
        times = schedulers.beta_times(steps)
        assert len(times) == steps and times[0] == 999 and times[-1] >= 0
        assert all(low < high for high, low in itertools.pairwise(times))
    gaps = -np.diff(schedulers.beta_times(20))
    assert gaps[0] < gaps[9] / 2 and gaps[-1] < gaps[9]


def test_distilled_models_visit_the_times_of_their_makers():
    assert schedulers.make("lcm", SCHEDULE, 4, spacing="sgm_uniform").times.tolist() == [999, 749, 499, 249]
    assert schedulers.make("euler", SCHEDULE, 4, spacing="sgm_uniform").times.tolist() == [999, 749, 499, 249]
    assert schedulers.make("lcm", SCHEDULE, 4).times.tolist() == [999, 759, 499, 259]


@pytest.mark.parametrize("name", SAMPLERS[1:])
def test_a_single_step_begins_where_there_is_nothing_but_noise(name):
    """Leading steps would say "next to no noise" of it."""
    assert int(schedulers.make(name, SCHEDULE, 1).times[0]) >= 979  # distilled models' last noise level but one


@pytest.mark.parametrize("schedule", [SCHEDULE, ZERO_SNR], ids=["leading", "zero-snr"])
@pytest.mark.parametrize(("strength", "steps"), [(0.01, 1), (0.05, 8), (0.4, 2), (0.75, 1), (1e-9, 3)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_never_gets_more_noise_than_its_strength_says(name, schedule, strength, steps):
    sampler = schedulers.make(name, schedule, steps, strength=strength)
    assert sampler.steps - sampler.first == max(1, int(steps * strength))
    assert int(sampler.times[sampler.first]) <= strength * 1000 + 20  # distilled models know 50 noise levels
    clean = CLEAN.expand(1, 3, 4, 4)
    started = sampler.noised(sampler.first, clean, torch.zeros_like(clean))
    if strength <= 0.05:
        assert (started - clean).abs().max() < 0.05


def test_an_unknown_prediction_is_refused_in_a_sentence():
    with pytest.raises(ModelError, match="predicts 'flow_prediction'"):
        schedulers.make("euler", {**SCHEDULE, "prediction_type": "flow_prediction"}, 4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_predictions_are_three_words_for_one_thing(prediction):
    alpha = torch.tensor(0.3)
    clean, noise = torch.randn(2, 3), torch.randn(2, 3)
    seen = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    output = {
        "epsilon": noise,
        "sample": clean,
        "v_prediction": alpha.sqrt() * noise - (1 - alpha).sqrt() * clean,
    }[prediction]
    found = schedulers.clean_and_noise(prediction, alpha, seen, output)
    assert torch.allclose(found[0], clean, atol=1e-5)
    assert torch.allclose(found[1], noise, atol=1e-5)


@given(weight=st.floats(0, 2), levels=st.integers(2, 20))
def test_level_scales(weight, levels):
    assert level_scales(weight, "balanced", levels) == (weight,) * levels
    scales = level_scales(weight, "control", levels)
    assert scales == level_scales(weight, "prompt", levels)
    assert scales[-1] == weight
    assert scales[0] == pytest.approx(weight * 0.825 ** (levels - 1))
    assert all(low <= high for low, high in itertools.pairwise(scales))


@given(start=st.floats(0, 1), end=st.floats(0, 1), steps=st.integers(1, 100))
def test_windows_act_on_a_block_of_steps(start, end, steps):
    control = Control(None, None, scales=(1.0,), start=start, end=end)  # type: ignore[arg-type]
    acting = [index for index in range(steps) if control.acts(index, steps)]
    assert acting == list(range(acting[0], acting[-1] + 1)) if acting else True
    assert len(acting) <= max(0, math.ceil((end - start) * steps + 1e-9))
    if (start, end) == (0, 1):
        assert len(acting) == steps
    assert not Control(None, None, scales=(0.0, 0.0)).acts(0, steps)  # type: ignore[arg-type]


def test_noise_depends_on_the_seed_alone():
    together = Noise([1, 2, 3])
    first, second = together.draw((4, 2, 2)), together.draw((4, 2, 2))
    alone = Noise([2])
    assert torch.equal(alone.draw((4, 2, 2))[0], first[1])
    assert torch.equal(alone.draw((4, 2, 2))[0], second[1])
    assert not torch.equal(first[0], first[1])


@pytest.fixture(scope="module")
def base(small_model):
    return load_base(small_model)


def test_guidance_of_one_runs_the_conditional_half_alone(base, monkeypatch):
    batches: list[int] = []
    plain = base.unet.forward
    monkeypatch.setattr(
        base.unet, "forward", lambda seen, *a, **k: (batches.append(len(seen)), plain(seen, *a, **k))[1]
    )
    cond, uncond = Conditioning(torch.randn(1, 77, 32)), Conditioning(torch.randn(1, 77, 32))
    seen, time = torch.randn(2, 4, 8, 8), torch.tensor(500)
    with torch.inference_mode():
        alone = Denoiser(base.unet, cond).predict(seen, time)
        one = Denoiser(base.unet, cond, uncond, guidance=1.0).predict(seen, time)
        three = Denoiser(base.unet, cond, uncond, guidance=3.0).predict(seen, time)
        free = Denoiser(base.unet, uncond).predict(seen, time)
    assert batches == [2, 2, 4, 2]
    assert torch.equal(alone, one)
    assert torch.allclose(three, free + 3 * (alone - free), atol=1e-4)


def test_whatever_a_callback_raises_ends_the_run():
    sampler = schedulers.make("ddim", SCHEDULE, 10)
    done = []

    def stop(progress):
        done.append(progress.index)
        if progress.index == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError):
        sample(Oracle(sampler), sampler, Noise([0]), torch.randn(1, 3, 4, 4), on_step=stop)  # type: ignore[arg-type]
    assert done == [0, 1, 2, 3]


def test_preview_follows_a_linear_autoencoder():
    """With latents that are patch colours the fitted map must be nearly the truth."""

    class Patches(torch.nn.Module):
        dtype = torch.float32

        def __init__(self):
            super().__init__()
            self.config = {"scaling_factor": 2.0, "shift_factor": 0.5}
            self.one = torch.nn.Parameter(torch.ones(1))

        def encode(self, pictures, return_dict):
            assert not return_dict
            latents = torch.nn.functional.avg_pool2d(pictures, 8)
            return (torch.cat([latents, latents[:, :1] - latents[:, 1:2]], 1),)

    vae = Patches()
    preview = codec.Preview(vae, 8)  # type: ignore[arg-type]
    colours = torch.rand(1, 3, 4, 6) * 1.6 - 0.8
    smooth = torch.nn.functional.interpolate(colours, scale_factor=16, mode="nearest")
    shown = preview(codec.encode(vae, smooth)[0])  # type: ignore[arg-type]
    assert shown.shape == (64, 96, 3)
    wanted = codec.to_rgb(smooth)[0]
    inner = (slice(6, None, 16), slice(6, None, 16))
    assert np.abs(shown[inner].astype(int) - wanted[inner].astype(int)).mean() < 12


@settings(max_examples=40)
@given(
    width=st.sampled_from([64, 128, 192]),
    height=st.sampled_from([64, 128]),
    tall=st.integers(1, 150),
    wide=st.integers(1, 150),
    resize=st.sampled_from(["stretch", "crop", "fit"]),
)
def test_control_pictures_fit_without_new_colours(width, height, tall, wide, resize):
    palette = np.array([[4, 200, 3], [120, 120, 80], [140, 140, 140]], np.uint8)
    picture = palette[np.random.default_rng(tall * wide).integers(0, 3, (tall, wide))]
    fitted = fit(picture, width, height, resize, nearest=True)
    assert fitted.shape == (height, width, 3)
    assert {tuple(colour) for colour in fitted.reshape(-1, 3)} <= {tuple(colour) for colour in palette}
    assert fit(picture, width, height, resize).shape == (height, width, 3)


@pytest.mark.parametrize("shape", [(2048, 1), (1, 2048)])
def test_a_strip_is_not_enlarged_for_what_nobody_sees(shape, monkeypatch):
    """What is cut away from 1 x 2048 px would be gigabytes at the size of its middle."""
    from controlnet_core.domain import resize

    made = []
    plain = resize.cv2.resize
    monkeypatch.setattr(resize.cv2, "resize", lambda *args, **more: made.append(plain(*args, **more)) or made[-1])
    strip = np.zeros((*shape, 3), np.uint8)
    strip.reshape(-1, 3)[1000:1048] = 200
    fitted = fit(strip, 512, 512, "crop")
    assert fitted.shape == (512, 512, 3)
    assert (fitted == 200).all()
    assert sum(one.size for one in made) <= 4 * fitted.size


def test_fit_keeps_the_aspect_and_fills_with_the_border():
    picture = np.zeros((50, 100, 3), np.uint8)
    picture[20:30, 40:60] = 255
    fitted = fit(picture, 128, 128, "fit")
    assert not fitted[:32].any()
    assert not fitted[96:].any()
    assert fitted[64, 64].tolist() == [255, 255, 255]
    cropped = fit(picture, 128, 128, "crop")
    assert cropped[64, 64].tolist() == [255, 255, 255]
    assert np.array_equal(fit(picture, 100, 50, "crop"), picture)

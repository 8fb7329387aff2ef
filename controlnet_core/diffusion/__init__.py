"""From noise to pictures: conditioning, denoiser, schedulers, controls, VAE, and what makes steps cheap."""

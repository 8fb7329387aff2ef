"""The embedded model: its latent codes, its networks, its tokenizer, and how it is sampled."""

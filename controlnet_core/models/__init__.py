"""Which models there are, where they come from and how their files become networks."""

"""Model files as bytes and tensors: read safely, recognised, renamed, transferred and written. Builds no networks."""

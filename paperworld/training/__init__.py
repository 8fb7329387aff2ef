"""How the embedded model is trained: examples of the world, the training itself, and its export."""

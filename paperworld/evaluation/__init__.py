"""How good the embedded model is: held-out scenes, measures, and how pictures are read."""

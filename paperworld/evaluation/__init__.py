"""How good the embedded model is: held-out scenes, measures, and the classifier that reads pictures."""

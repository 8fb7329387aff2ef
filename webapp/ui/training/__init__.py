"""Trainings: putting one together, running it in a process of its own, watching it learn."""

"""Data sets: annotating photos into pairs, and looking through the pairs."""

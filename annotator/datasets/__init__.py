"""Whole folders of photos annotated into pairs."""

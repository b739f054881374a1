"""Hooks of a run, one a file; engine/trainer.py says in which order they work."""

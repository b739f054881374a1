"""Evaluation: mean teachers, ranking and re-ranking."""

"""Weights of networks: read safely, renamed from other projects' names, complete or not at all."""

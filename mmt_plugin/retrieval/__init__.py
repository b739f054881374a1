"""Distances and rankings of a gallery, usable without fastreid."""

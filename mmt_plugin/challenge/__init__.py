"""Entries of the VisDA-2020 challenge: ensembles, the camera term, submissions."""

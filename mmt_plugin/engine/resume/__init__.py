"""Runs that can be stopped at any iteration and resumed to the bit."""

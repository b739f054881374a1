"""How good pseudo labels are, with annotations and without."""

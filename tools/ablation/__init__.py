"""Tables of the papers, filled anew: grids of runs, their result files, and what is drawn from these."""

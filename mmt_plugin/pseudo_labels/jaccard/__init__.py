"""The k-reciprocal Jaccard distance as a sparse graph."""

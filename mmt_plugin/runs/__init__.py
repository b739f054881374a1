"""A run's folder: what lies in it, who may write to it, how it is read."""

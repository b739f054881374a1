"""What tools/benchmark measures, a module a subject."""

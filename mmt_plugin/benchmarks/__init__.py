"""Measurements that tools/benchmark.py runs, one module each."""

"""The exact neighbour search against blocked float32 products with top-k, on easy and on hostile features.

Shapes: N images, D feature size.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from tabulate import tabulate

from mmt_plugin.pseudo_labels.neighbours import exact

from .features import clustered_features

# Rows of a block of the rival, and how often either runs, in turns; the fastest run counts.
BLOCK, TRIALS = 2048, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=12936, help="N")
    parser.add_argument("--size", type=int, default=2048, help="D")
    parser.add_argument("--k", type=int, default=30)
    parser.add_argument(
        "--features", nargs="+", default=list(FEATURES), choices=list(FEATURES), metavar="KIND"
    )


def run(arguments: argparse.Namespace) -> None:
    """Print one table."""
    plain = clustered_features(arguments.images, arguments.size)[0]
    exact.search(plain[:3000], arguments.k)  # compiles
    rows = []
    for name in arguments.features:
        features = np.ascontiguousarray(FEATURES[name](plain), dtype=np.float32)
        ours, rival = _fastest(features, arguments.k)
        rows.append([name, ours, rival, ours / rival])
    print(
        f"\nN = {arguments.images:,}, D = {arguments.size}, k = {arguments.k}; the fastest of {TRIALS} runs\n"
    )
    print(tabulate(rows, ["features", "mmt_plugin s", "float32 top-k s", "ratio"], "github", floatfmt=".2f"))


def _fastest(features: np.ndarray, k: int) -> tuple[float, float]:
    works: list[Callable] = [exact.search, blocked_topk]
    seconds = [np.inf, np.inf]
    for _ in range(TRIALS):
        for at, work in enumerate(works):
            start = time.perf_counter()
            work(features, k)
            seconds[at] = min(seconds[at], time.perf_counter() - start)
    return seconds[0], seconds[1]


def blocked_topk(features: np.ndarray, k: int) -> torch.Tensor:
    """The k nearest others by float32 products of blocks of rows with all images, N x k."""
    rows = torch.from_numpy(features)
    norms = rows.square().sum(dim=1)
    found = torch.empty(len(rows), k, dtype=torch.int64)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        gaps = torch.addmm(norms, rows[block], rows.T, alpha=-2)
        found[block] = gaps.topk(k + 1, largest=False).indices[:, 1:]
    return found


def _noise(like: np.ndarray, seed: int = 1) -> np.ndarray:
    """Gaussian vectors of length 1, about."""
    return np.random.default_rng(seed).standard_normal(like.shape, dtype=np.float32) / like.shape[1] ** 0.5


def _isotropic_clusters(plain: np.ndarray) -> np.ndarray:
    """17 images around each centre: a list of 30 reaches far beyond its cluster."""
    centres = np.repeat(_noise(plain[::17], seed=2), 17, axis=0)[: len(plain)]
    return centres + 1.1 * _noise(plain)


def _first_times(plain: np.ndarray, factor: float) -> np.ndarray:
    return np.concatenate([plain[:1] * np.float32(factor), plain[1:]])


def _every_second(plain: np.ndarray, spread: float) -> np.ndarray:
    near = plain[:1] + spread * _noise(plain)
    return np.where(np.arange(len(plain))[:, None] % 2 == 0, near, plain)


def _bundles(plain: np.ndarray, size: int, spread: float) -> np.ndarray:
    """As many images around each of a few of them: frames of still cameras."""
    return np.repeat(plain[::size], size, axis=0)[: len(plain)] + spread * _noise(plain)


FEATURES = {
    "clusters": lambda plain: plain,
    "common offset": lambda plain: plain + 3 * _noise(plain[:1]),
    "positive": lambda plain: np.maximum(plain + 0.02, 0),
    "isotropic clusters": _isotropic_clusters,
    "half equal": lambda plain: _every_second(plain, 0.0),
    "half nearly equal": lambda plain: _every_second(plain, 1e-3),
    "bundles of 500": lambda plain: _bundles(plain, 500, 1e-3),
    "bundles of 200": lambda plain: _bundles(plain, 200, 1e-3),
    "all equal": lambda plain: np.repeat(plain[:1], len(plain), axis=0),
    "equidistant": lambda plain: np.eye(*plain.shape),
    "heavy tails": lambda plain: plain * np.abs(plain) ** 2 * 1e4,
    "one far away": lambda plain: _first_times(plain, 1e6),
    "one beyond float32's squares": lambda plain: _first_times(plain, 1e25),
    "tiny": lambda plain: plain * np.float32(1e-20),
    "large": lambda plain: plain * np.float32(1e15),
}

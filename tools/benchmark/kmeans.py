"""k-means against scikit-learn's. Shapes: N images, D feature size, K clusters."""

import argparse
from functools import partial
from types import SimpleNamespace

import numpy as np
from sklearn.cluster import KMeans
from tabulate import tabulate

from mmt_plugin.pseudo_labels import kmeans
from mmt_plugin.pseudo_labels.timing import Stages

from .features import clustered_features
from .measure import in_fresh_process


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=12936, help="N")
    parser.add_argument("--size", type=int, default=2048, help="D")
    parser.add_argument("--clusters", type=int, nargs="+", default=[500, 700], help="K")
    parser.add_argument(
        "--restarts", type=int, nargs="+", default=[1], help="PSEUDO_LABELS.KMEANS.NUM_RESTARTS"
    )
    parser.add_argument("--without-sklearn", action="store_true", help="leave scikit-learn out")


def run(arguments: argparse.Namespace) -> None:
    """Print one table."""
    works = {f"mmt_plugin (faiss), {count} starts": partial(_ours, count) for count in arguments.restarts}
    if not arguments.without_sklearn:
        works["scikit-learn, n_init 1"] = _by_sklearn
    rows = []
    for clusters in arguments.clusters:
        data = (arguments.images, arguments.size, clusters)
        for name, work in works.items():
            done = in_fresh_process(_prepare, work, *data)
            rows.append([clusters, name, done.seconds["total"], *done.result, done.added_gib])
    print(f"\nk-means, N = {arguments.images:,}, D = {arguments.size}\n")
    headers = ["K", "implementation", "s", "inertia", "clusters in use", "added GiB"]
    print(tabulate(rows, headers=headers, tablefmt="github", floatfmt=".2f"))


def _prepare(num_images: int, size: int, clusters: int) -> SimpleNamespace:
    return SimpleNamespace(features=clustered_features(num_images, size)[0], clusters=clusters)


def _ours(restarts: int, prepared: SimpleNamespace, stages: Stages) -> tuple[float, int]:
    found = kmeans(prepared.features, prepared.clusters, num_restarts=restarts)
    return _inertia(prepared.features, found)


def _by_sklearn(prepared: SimpleNamespace, stages: Stages) -> tuple[float, int]:
    found = KMeans(prepared.clusters, n_init=1, random_state=1).fit_predict(prepared.features)
    return _inertia(prepared.features, found)


def _inertia(features: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
    """Sum of squared distances to the cluster means, and the number of clusters in use."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sums = np.add.reduceat(features[order].astype(np.float64), starts)
    counts = np.diff(np.append(starts, len(labels)))
    return float(
        np.square(features, dtype=np.float64).sum() - (np.square(sums).sum(axis=1) / counts).sum()
    ), len(starts)

"""k-means against scikit-learn's. Shapes: N images, D feature size, K clusters."""

import argparse
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
from sklearn.cluster import KMeans
from tabulate import tabulate

from mmt_plugin.pseudo_labels import kmeans
from mmt_plugin.pseudo_labels.timing import Stages

from .features import clustered_features
from .measure import in_fresh_process

Cluster = Callable[[np.ndarray, int], np.ndarray]


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
    works: dict[str, Cluster] = {
        f"mmt_plugin (faiss), {count} starts": partial(kmeans, num_restarts=count)
        for count in arguments.restarts
    }
    if not arguments.without_sklearn:
        works["scikit-learn, n_init 1"] = _by_sklearn
    rows = []
    for clusters in arguments.clusters:
        data = (arguments.images, arguments.size, clusters)
        for name, work in works.items():
            done = in_fresh_process(_prepare, partial(_clustered, work), *data)
            rows.append([clusters, name, done.seconds["total"], *done.result, done.added_gib])
    print(f"\nk-means, N = {arguments.images:,}, D = {arguments.size}\n")
    headers = ["K", "implementation", "s", "CPU s", "inertia", "clusters in use", "added GiB"]
    print(tabulate(rows, headers=headers, tablefmt="github", floatfmt=".2f"))


def _prepare(num_images: int, size: int, clusters: int) -> SimpleNamespace:
    return SimpleNamespace(features=clustered_features(num_images, size)[0], clusters=clusters)


def _clustered(cluster: Cluster, prepared: SimpleNamespace, stages: Stages) -> tuple[float, float, int]:
    """Seconds of all threads together, inertia, and clusters in use."""
    start = time.process_time()
    labels = cluster(prepared.features, prepared.clusters)
    return time.process_time() - start, *_inertia(prepared.features, labels)


def _by_sklearn(features: np.ndarray, clusters: int) -> np.ndarray:
    return KMeans(clusters, n_init=1, random_state=1).fit_predict(features)


def _inertia(features: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
    """Sum of squared distances to the cluster means, and the number of clusters in use."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sums = np.add.reduceat(features[order].astype(np.float64), starts)
    counts = np.diff(np.append(starts, len(labels)))
    return float(
        np.square(features, dtype=np.float64).sum() - (np.square(sums).sum(axis=1) / counts).sum()
    ), len(starts)

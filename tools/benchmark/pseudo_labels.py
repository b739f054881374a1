"""The label step against the host's: seconds, memory, and the physical floor. Shapes: N images, D feature
size.
"""

import argparse
import time
from types import SimpleNamespace

import faiss
import numpy as np
import torch
from sklearn.cluster import DBSCAN
from tabulate import tabulate

from mmt_plugin.pseudo_labels import agreement, dbscan, graph_from_neighbours
from mmt_plugin.pseudo_labels.jaccard.graph import neighbour_lists
from mmt_plugin.pseudo_labels.labels import with_singletons
from mmt_plugin.pseudo_labels.neighbours.products import fastest_dtype
from mmt_plugin.pseudo_labels.timing import Stages

from .features import clustered_features
from .measure import Measurement, in_fresh_process, matmul_rate

EPS, MIN_SAMPLES, K2 = 0.6, 4, 6

# Images among which an approximate search's labels are compared with exact ones.
SUBSET = 100_000

HEADERS = [
    "implementation",
    "k-NN s",
    "after it s",
    "total s",
    "added GiB",
    "peak GiB",
    "clusters",
    "ARI",
    "ARI of identities",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=int, nargs="+", default=[12936], help="N (12936: Market-1501, 32621: MSMT17)"
    )
    parser.add_argument("--size", type=int, default=2048, help="D")
    parser.add_argument("--k1", type=int, default=20)
    parser.add_argument("--search", nargs="+", default=["exact"], help="exact, hnsw, tree")
    parser.add_argument(
        "--without-host", action="store_true", help="leave out the host, whose memory grows with N x N"
    )


def run(arguments: argparse.Namespace) -> None:
    """Print one table for each N."""
    for num_images in arguments.images:
        data = (num_images, arguments.size)
        rows, references = [], {}
        for search in arguments.search:
            ours = in_fresh_process(_prepare_ours, _our_step, *data, arguments.k1, search)
            references.setdefault("labels", ours.result.labels)
            rows.append(_row(f"mmt_plugin, {_described(ours, search)}", ours, references["labels"]))
        if not arguments.without_host:
            hosts = in_fresh_process(_prepare_host, _host_step, *data, arguments.k1)
            rows.append(_row("fastreid + scikit-learn DBSCAN", hosts, references["labels"]))
        print(f"\nN = {num_images:,}, D = {arguments.size}, k1 = {arguments.k1}, k2 = {K2}, eps {EPS}")
        print(f"threads: {torch.get_num_threads()}; ARI is agreement with the first row's labels\n")
        print(tabulate(rows, headers=HEADERS, tablefmt="github", floatfmt=".2f"))
        if not arguments.without_host:
            print("\n" + _ratios(ours, hosts))
        print(_floor(num_images, arguments.size, ours if search == "exact" else None))
        for search in set(arguments.search) - {"exact"}:
            _compare_on_subset(min(num_images, SUBSET), arguments.size, arguments.k1, search)


def _prepare_ours(num_images: int, size: int, k1: int, search: str) -> SimpleNamespace:
    features, identities, _ = clustered_features(num_images, size)
    prepared = SimpleNamespace(features=features, identities=identities, k1=k1, search=search)
    few = features[:500].copy()
    _our_step(SimpleNamespace(features=few, identities=identities[:500], k1=k1, search=search), Stages())
    return prepared


def _our_step(prepared: SimpleNamespace, stages: Stages) -> SimpleNamespace:
    bound = float(np.nextafter(np.float32(EPS), np.float32(1)))
    with stages.stage("k-NN"):
        neighbours = neighbour_lists(prepared.features, prepared.k1, True, search=prepared.search)
    with stages.stage("graph"):
        graph = graph_from_neighbours(prepared.features, neighbours, prepared.k1, K2, bound)
    with stages.stage("DBSCAN"):
        labels = dbscan(graph, EPS, MIN_SAMPLES)
    return _result(labels, prepared.identities, neighbours.recall)


def _prepare_host(num_images: int, size: int, k1: int) -> SimpleNamespace:
    # Imported here: the other measurements need no host.
    from fastreid.utils.compute_dist import compute_jaccard_distance

    features, identities, _ = clustered_features(num_images, size)
    compute_jaccard_distance(torch.from_numpy(features[:200]), k1, K2, search_option=3)
    return SimpleNamespace(
        features=torch.from_numpy(features), identities=identities, k1=k1, compute=compute_jaccard_distance
    )


def _host_step(prepared: SimpleNamespace, stages: Stages) -> SimpleNamespace:
    flat_search = faiss.IndexFlat.search

    def timed_search(*arguments, **options):
        start = time.perf_counter()
        found = flat_search(*arguments, **options)
        stages.seconds["k-NN"] = time.perf_counter() - start
        return found

    faiss.IndexFlat.search = timed_search
    distances = prepared.compute(prepared.features, prepared.k1, K2, search_option=3)
    with stages.stage("DBSCAN"):
        clustering = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed", n_jobs=-1)
        labels = clustering.fit_predict(distances)
    return _result(labels, prepared.identities)


def _result(labels: np.ndarray, identities: np.ndarray, recall: float | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        labels=labels,
        clusters=int(labels.max() + 1),
        truth=agreement(labels, identities)["ARI"],
        recall=recall,
    )


def _described(measured: Measurement, search: str) -> str:
    return search if search == "exact" else f"{search} (recall {measured.result.recall:.3f})"


def _row(name: str, measured: Measurement, reference: np.ndarray) -> list:
    knn, total = measured.seconds["k-NN"], measured.seconds["total"]
    result = measured.result
    same = agreement(result.labels, with_singletons(reference))["ARI"]
    return [
        name,
        knn,
        total - knn,
        total,
        measured.added_gib,
        measured.peak_gib,
        result.clusters,
        same,
        result.truth,
    ]


def _ratios(ours: Measurement, hosts: Measurement) -> str:
    after = [measured.seconds["total"] - measured.seconds["k-NN"] for measured in (ours, hosts)]
    return (
        f"ours against the host: whole step {hosts.seconds['total'] / ours.seconds['total']:.1f} x faster, "
        f"after the k-NN {after[1] / after[0]:.0f} x, added memory 1/{hosts.added_gib / ours.added_gib:.0f}"
    )


def _floor(num_images: int, size: int, exact: Measurement | None) -> str:
    """Each pair of images multiplied once, at the rate of this machine's matrix product."""
    flops = num_images * (num_images - 1) * size
    lines = []
    for dtype in {torch.float32, fastest_dtype()}:
        rate = matmul_rate(dtype, size)
        name = str(dtype).removeprefix("torch.")
        line = f"k-NN floor, {name}: {flops / rate:.2f} s at {rate / 1e9:.0f} GFLOP/s"
        if exact is not None:
            line += f"; the k-NN ran at {flops / exact.seconds['k-NN'] / rate:.0%} of that rate"
        lines.append(line)
    return "\n".join(lines)


def _compare_on_subset(num_images: int, size: int, k1: int, search: str) -> None:
    """Print how far approximate neighbours change the labels of a set that an exact search can serve."""
    exact = in_fresh_process(_prepare_ours, _our_step, num_images, size, k1, "exact")
    approximate = in_fresh_process(_prepare_ours, _our_step, num_images, size, k1, search)
    same = agreement(approximate.result.labels, with_singletons(exact.result.labels))["ARI"]
    print(
        f"N = {num_images:,}: {search} has recall {approximate.result.recall:.3f} and "
        f"ARI {same:.3f} with the exact labels "
        f"({approximate.seconds['total']:.1f} s against {exact.seconds['total']:.1f} s)"
    )

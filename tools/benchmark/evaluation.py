"""CMC and mAP, and re-ranking, against the host's. Shapes: Q queries, G gallery images, D feature size."""

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
from tabulate import tabulate

from mmt_plugin.pseudo_labels.timing import Stages
from mmt_plugin.retrieval.ranking import rank_gallery
from mmt_plugin.retrieval.reranking import jaccard_distances

from .features import clustered_features
from .measure import Measurement, in_fresh_process

MAX_RANK = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queries", type=int, default=3368, help="Q (Market-1501's)")
    parser.add_argument("--gallery", type=int, default=15913, help="G (Market-1501's)")
    parser.add_argument("--size", type=int, default=2048, help="D, for re-ranking")
    parser.add_argument("--k1", type=int, default=20)
    parser.add_argument("--k2", type=int, default=6)


def run(arguments: argparse.Namespace) -> None:
    """Print one table for ranking and one for re-ranking."""
    shape = (arguments.queries, arguments.gallery)
    works = {"mmt_plugin": _rank_ours, "fastreid, Python": _rank_by_host}
    if importlib.util.find_spec("Cython") and shutil.which("cc"):
        works["fastreid, Cython"] = _rank_by_cython
    else:
        print("fastreid's compiled ranking is left out: it needs Cython and a C compiler")
    print(f"\nCMC, mAP and mINP of {shape[0]:,} queries in a gallery of {shape[1]:,}\n")
    _print_table(
        {name: in_fresh_process(_prepare_ranking, work, *shape, name) for name, work in works.items()}
    )

    data = (*shape, arguments.size, arguments.k1, arguments.k2)
    works = {"mmt_plugin": _rerank_ours, "fastreid": _rerank_by_host}
    print(f"\nJaccard distances of re-ranking, D = {arguments.size}, neighbour search included\n")
    _print_table({name: in_fresh_process(_prepare_reranking, work, *data) for name, work in works.items()})


def _print_table(measured: dict[str, Measurement]) -> None:
    ours = measured["mmt_plugin"]
    rows = [
        [
            name,
            done.seconds["total"],
            done.seconds["total"] / ours.seconds["total"],
            done.added_gib,
            float(np.abs(np.asarray(done.result, np.float64) - ours.result).max()),
        ]
        for name, done in measured.items()
    ]
    headers = ["implementation", "s", "times ours", "added GiB", "largest difference from ours"]
    print(tabulate(rows, headers=headers, tablefmt="github", floatfmt=(".3f", ".3f", ".1f", ".3f", ".1e")))


def _prepare_ranking(queries: int, gallery: int, name: str) -> SimpleNamespace:
    rng = np.random.default_rng(0)
    identities = max(2, queries // 4)
    query_ids, gallery_ids = (
        rng.integers(0, identities, queries),
        rng.integers(-identities // 4, identities, gallery),
    )
    # Matches are nearer on average. No two distances of a row are equal, so that every order is the right
    # one.
    distances = rng.random((queries, gallery), dtype=np.float32)
    distances -= np.float32(0.45) * (query_ids[:, None] == gallery_ids)
    distances = distances.argsort(axis=1).argsort(axis=1).astype(np.float32)
    labels = (query_ids, gallery_ids, rng.integers(0, 6, queries), rng.integers(0, 6, gallery))
    host = _compiled_host() if "Cython" in name else _unrepaired_host() if "Python" in name else None
    prepared = SimpleNamespace(distances=distances, labels=labels, host=host)
    if host is None:
        rank_gallery(distances[:2], labels[0][:2], labels[1], labels[2][:2], labels[3])
    return prepared


def _rank_ours(prepared: SimpleNamespace, stages: Stages) -> list[float]:
    ranking = rank_gallery(prepared.distances, *prepared.labels, MAX_RANK)
    return _metrics(ranking.cmc, ranking.average_precisions, ranking.inverse_penalties)


def _rank_by_host(prepared: SimpleNamespace, stages: Stages) -> list[float]:
    return _metrics(*prepared.host.eval_market1501(prepared.distances, *prepared.labels, MAX_RANK))


def _rank_by_cython(prepared: SimpleNamespace, stages: Stages) -> list[float]:
    return _metrics(*prepared.host.evaluate_cy(prepared.distances, *prepared.labels, MAX_RANK, False))


def _metrics(cmc, precisions, penalties) -> list[float]:
    return [*np.asarray(cmc, dtype=np.float64), float(np.mean(precisions)), float(np.mean(penalties))]


def _unrepaired_host() -> ModuleType:
    """The host's ranking as it was released."""
    import fastreid.evaluation.rank as repaired

    return _module_from("host_rank", Path(repaired.__file__))


def _compiled_host() -> ModuleType:
    """The host's Cython ranking, compiled in a temporary folder; needs Cython and a C compiler."""
    import fastreid.evaluation.rank_cylib as package

    source = Path(package.__file__).with_name("rank_cy.pyx")
    folder = Path(tempfile.mkdtemp())
    (folder / source.name).write_text(source.read_text())
    build = (
        "from setuptools import setup; from Cython.Build import cythonize; import numpy; "
        "setup(ext_modules=cythonize('rank_cy.pyx'), include_dirs=[numpy.get_include()])"
    )
    command = [sys.executable, "-c", build, "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return _module_from("rank_cy", next(folder.glob("rank_cy*.so")))


def _module_from(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _prepare_reranking(queries: int, gallery: int, size: int, k1: int, k2: int) -> SimpleNamespace:
    features, _, _ = clustered_features(queries + gallery, size)
    jaccard_distances(features[:50], features[50:500], k1, k2)
    return SimpleNamespace(query=features[:queries], gallery=features[queries:], k1=k1, k2=k2)


def _rerank_ours(prepared: SimpleNamespace, stages: Stages) -> np.ndarray:
    return jaccard_distances(prepared.query, prepared.gallery, prepared.k1, prepared.k2)


def _rerank_by_host(prepared: SimpleNamespace, stages: Stages) -> np.ndarray:
    import torch
    from fastreid.utils.compute_dist import compute_jaccard_distance

    features = torch.from_numpy(np.concatenate([prepared.query, prepared.gallery]))
    distances = compute_jaccard_distance(features, prepared.k1, prepared.k2, search_option=3)
    return distances[: len(prepared.query), len(prepared.query) :]

"""Evaluation: no compiler, small galleries, the same weights on every rank, results that can be printed.

Q queries, G gallery images.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps

import numpy as np
from fastreid.evaluation import evaluator, rank, reid_evaluation, testing
from fastreid.utils import comm
from tabulate import tabulate
from termcolor import colored
from torch import nn

from . import parts
from .patching import replace

logger = logging.getLogger("fastreid.mmt.host")


def never_compile() -> None:
    """Without it building an evaluator runs `make` inside site-packages, with whichever python3 is on the
    PATH, and ends the process where that has no Cython.
    """
    replace(reid_evaluation.ReidEvaluator, "_compile_dependencies", lambda _: lambda self: comm.synchronize())


def rank_any_gallery() -> None:
    """Without it galleries that leave a query fewer than 50 images, or fewer than 10 in all, crash the
    evaluation, large ones take minutes in a Python loop, and distances that are not numbers get an mAP
    like any others.
    """
    replace(rank, "eval_market1501", lambda _: rank_market1501)
    replace(rank, "evaluate_rank", _finite_and_padded)


def rank_market1501(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    max_rank: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`rank_gallery` with the host's signature: the CMC curve, and AP and INP of every query that counts."""
    ranking = parts.given.rank_gallery(
        distances, query_ids, gallery_ids, query_cameras, gallery_cameras, max_rank
    )
    return ranking.cmc, ranking.average_precisions, ranking.inverse_penalties


def _finite_and_padded(evaluate_rank):
    @wraps(evaluate_rank)
    def checked(distmat, q_pids, g_pids, q_camids, g_camids, max_rank=50, **kwargs):
        if not np.isfinite(distmat).all():
            raise parts.given.DataError(
                "the query-gallery distances contain NaN or infinite values: the features cannot be ranked"
            )
        curve, *rest = evaluate_rank(distmat, q_pids, g_pids, q_camids, g_camids, max_rank, **kwargs)
        # A compiled evaluation, where somebody has built one, still stops at the last gallery image.
        return np.pad(curve, (0, max_rank - len(curve)), mode="edge"), *rest

    return checked


def restore_training_mode() -> None:
    """Without it an exception during evaluation leaves the model in evaluation mode, and evaluation puts
    frozen layers and mean teachers back into training mode.
    """
    replace(evaluator, "inference_context", lambda _: inference_context)


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every submodule is in the mode it was in before."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        model.train(modes[0][1])
        for module, training in modes:
            module.training = training


def evaluate_the_same_weights() -> None:
    """Without it every rank scores its share of the test set with batch-norm statistics of its own, and the
    mAP differs from that of the saved checkpoint by several points.
    """

    def make(inference_on_dataset):
        @wraps(inference_on_dataset)
        def synchronised(model, *args, **kwargs):
            parts.given.broadcast_buffers(model)
            return inference_on_dataset(model, *args, **kwargs)

        return synchronised

    replace(evaluator, "inference_on_dataset", make)


def print_any_results() -> None:
    """Without it results that are a plain dict, or lack the key 'dataset' that `DefaultTrainer.test` adds for
    the occasion, fail an assertion instead of being printed.
    """
    replace(testing, "print_csv_format", lambda _: print_csv_format)


def print_csv_format(results: Mapping) -> None:
    """Log results as a table that pastes into a spreadsheet.

    Args:
        results: {metric: number}, or {data set: {metric: number}}. A key 'dataset', the name to print, is
            removed.
    """
    name = results.pop("dataset", "")
    nested = results and all(isinstance(value, Mapping) for value in results.values())
    rows = dict(results) if nested else {name: results}
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    cells = [[key, *(float(row[m]) if m in row else None for m in metrics)] for key, row in rows.items()]
    table = tabulate(cells, headers=["Dataset", *metrics], tablefmt="pipe", floatfmt=".2f", numalign="left")
    logger.info("Evaluation results in csv format: \n%s", colored(table, "cyan"))


REPAIRS = (
    never_compile,
    rank_any_gallery,
    restore_training_mode,
    evaluate_the_same_weights,
    print_any_results,
)

"""The steps of a challenge entry on a test set: runs, ensemble, camera term, re-ranking. Shapes: Q queries, G
gallery images.

In the order of github.com/yxgeee/VisDA-ECCV20, examples/test_ensemble.py.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin.retrieval.distances import ImageDistances
from mmt_plugin.retrieval.ranking import rank_in_blocks
from mmt_plugin.retrieval.reranking import rerank_distances
from mmt_plugin.runs.run import Run, check_roles, features_of_test_set

from .ensemble import RunFeatures, ensemble, image_distances
from .submission import LISTED


@dataclass(frozen=True)
class Step:
    """One step of an entry.

    Attributes:
        name: of the run, or of what is added to what stands before.
        blocks: makes its distances, Q x G in blocks of queries, smaller is nearer.
        over: numbers of the steps whose best mAP this one's gain is counted from; empty for single runs.
    """

    name: str
    blocks: Callable[[], Iterable[np.ndarray]]
    over: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Entry:
    """A test set and the steps to its ranking; the last gives the result.

    Attributes:
        images: the data set.
        features: of the runs together.
        steps: in order.
    """

    images: ImageDataset
    features: RunFeatures
    steps: list[Step]

    def measure(self, step: Step, top_k: int = 0) -> dict[str, float]:
        """A step's metrics in percent, by fastreid's names, over the first `top_k` images of each list (0:
        all).

        Raises:
            MismatchError: the test set lacks camera ids.
        """
        self.features.check_labels()
        return rank_in_blocks(step.blocks(), *self.features.labels, top_k=top_k or None).percent()

    def nearest(self, step: Step) -> np.ndarray:
        """A step's first gallery images of every query, Q x min(100, G); of equals the earlier."""
        orders = [np.argsort(block, axis=1, kind="stable")[:, :LISTED] for block in step.blocks()]
        return np.concatenate(orders)


def make_entry(runs: Sequence[Run], camera: Run | None, settings: CfgNode, dataset: str) -> Entry:
    """Extract features and lay out the steps.

    Args:
        runs: their features are concatenated.
        camera: a camera model, whose distances are subtracted; or None.
        settings: TEST.CAMERA.WEIGHT and TEST.RERANK.
        dataset: name of the test set.

    Raises:
        ConfigError: a run is not what it is used as.
        CheckpointError: weights are missing or do not fit.
        MismatchError: runs do not go together.
    """
    check_roles(runs, camera)
    loaded = [features_of_test_set(run, dataset) for run in runs]
    parts = [features for features, _ in loaded]
    together = ensemble(parts)
    seen_by_camera = features_of_test_set(camera, dataset)[0] if camera else None
    distances = image_distances(together, seen_by_camera, settings.TEST.CAMERA.WEIGHT)

    steps = [Step(part.run, image_distances(part).query_blocks) for part in parts]
    if len(parts) > 1:
        steps.append(Step(together.run, image_distances(together).query_blocks, tuple(range(len(parts)))))
    if camera:
        steps.append(Step("+ camera term", distances.query_blocks, (len(steps) - 1,)))
    if settings.TEST.RERANK.ENABLED:
        steps.append(Step("+ re-ranking", _reranked(distances, settings.TEST.RERANK), (len(steps) - 1,)))
    return Entry(loaded[0][1], together, steps)


def _reranked(distances: ImageDistances, rerank: CfgNode) -> Callable[[], list[np.ndarray]]:
    """Re-ranked distances, made once: they are measured and listed."""

    @functools.cache
    def blocks() -> list[np.ndarray]:
        return [rerank_distances(distances, rerank.K1, rerank.K2, rerank.LAMBDA, rerank.POWER)]

    return blocks

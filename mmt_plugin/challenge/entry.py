"""The steps of a challenge entry on a test set: runs, ensemble, camera term, re-ranking. Shapes: Q queries, G
gallery images.

In the order of github.com/yxgeee/VisDA-ECCV20, examples/test_ensemble.py.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin.retrieval import ImageDistances, Labels, Measured, Method, measure
from mmt_plugin.retrieval.evaluation import measure_draws, normalised

from .ensemble import RunFeatures, ensemble, image_distances
from .ranked_run import RankedRun, check_roles, features_of_test_set, needs_directions
from .submission import LISTED


@dataclass(frozen=True, eq=False)
class Step:
    """One step of an entry.

    Attributes:
        name: of the run, or of what is added to what stands before.
        distances: between all images, before re-ranking.
        method: how they are ranked; without re-ranking, where that is a later step.
        over: numbers of the steps whose best mAP this one's gain is counted from; empty for single runs.
    """

    name: str
    distances: ImageDistances
    method: Method
    over: tuple[int, ...] = ()

    @functools.cached_property
    def _reranked(self) -> list[np.ndarray]:
        """Made once: they are measured and listed."""
        return list(self.method.blocks(self.distances))

    def blocks(self) -> Iterable[np.ndarray]:
        """Q x G distances in blocks of queries, smaller is nearer."""
        return self._reranked if self.method.reranks else self.distances.query_blocks()


@dataclass(frozen=True, eq=False)
class Entry:
    """A test set and the steps to its ranking; the last gives the result.

    Attributes:
        images: the data set.
        features: of the runs together.
        steps: in order.
        method: how they rank and are measured.
    """

    images: ImageDataset
    features: RunFeatures
    steps: list[Step]
    method: Method

    def measure(self, step: Step) -> Measured:
        """A step's metrics.

        Raises:
            MismatchError: the test set lacks camera ids.
            RankingError: no query has a match.
        """
        if self.method.gallery_draws:
            return measure_draws(step.distances, Labels(*self.features.labels), step.method)
        self.features.check_labels()
        return measure(step.blocks(), self.features.labels, self.method)

    def nearest(self, step: Step) -> np.ndarray:
        """A step's first gallery images of every query, Q x min(100, G); of equals the earlier."""
        orders = [np.argsort(block, axis=1, kind="stable")[:, :LISTED] for block in step.blocks()]
        return np.concatenate(orders)


def make_entry(runs: Sequence[RankedRun], camera: RankedRun | None, settings: CfgNode, dataset: str) -> Entry:
    """Extract features and lay out the steps.

    Args:
        runs: their features are concatenated.
        camera: a camera model, whose distances are subtracted; or None.
        settings: its node TEST.
        dataset: name of the test set.

    Raises:
        ConfigError: a run is not what it is used as.
        CheckpointError: weights are missing or do not fit.
        MismatchError: runs do not go together.
    """
    check_roles(runs, camera)
    method = Method.from_config(settings.TEST)
    normalise = needs_directions(runs, camera, method)
    loaded = [features_of_test_set(run, dataset, normalise) for run in runs]
    parts = [features for features, _ in loaded]
    together = ensemble(parts)
    seen_by_camera = features_of_test_set(camera, dataset)[0] if camera else None

    @functools.cache
    def compared(features: RunFeatures) -> RunFeatures:
        prepared = method.prepared(features.features)
        directions = method.metric == "cosine" or camera is not None
        return replace(
            features, features=normalised(prepared) if directions else prepared, is_normalised=directions
        )

    plain = replace(method, reranks=False)
    steps = [Step(part.run, image_distances(compared(part)), plain) for part in parts]
    if len(parts) > 1:
        before = tuple(range(len(parts)))
        steps.append(Step(together.run, image_distances(compared(together)), plain, before))
    last = image_distances(compared(together), seen_by_camera, settings.TEST.CAMERA.WEIGHT)
    if camera:
        steps.append(Step("+ camera term", last, plain, (len(steps) - 1,)))
    if method.reranks:
        steps.append(Step("+ re-ranking", last, method, (len(steps) - 1,)))
    return Entry(loaded[0][1], together, steps, method)

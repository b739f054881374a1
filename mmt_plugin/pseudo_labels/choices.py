"""What the label step may be asked for: names, and the ranges of its numbers, each stated once.

Both the library and the check of a configuration read them here. Importing this compiles nothing.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

# A condition, and the sentence to say where it does not hold.
Rule = tuple[bool, str]

# By key of PSEUDO_LABELS: SEARCH, JACCARD_WEIGHTS, OUTLIERS, DBSCAN.EPS_RULE.
SEARCHES = ("exact", "hnsw", "tree")
JACCARD_WEIGHTS = ("softmax", "scaled")
OUTLIERS = ("drop", "singletons")
EPS_RULES = ("fixed", "rho", "auto")


def _built_in(name: str) -> Callable:
    """A function of `step`, which is imported when it is called."""

    def method(*arguments: Any) -> Any:
        return getattr(importlib.import_module("mmt_plugin.pseudo_labels.step"), name)(*arguments)

    return method


# By PSEUDO_LABELS.METHOD: features (N x D float32), the keys of PSEUDO_LABELS, camera numbers, an earlier
# result, the device of the neighbour search and a clock of stages -> N labels, dense from 0, -1 for an
# outlier, and what `PseudoLabels` records of their origin. Add a clustering by adding an entry.
METHODS: dict[str, Callable] = {"dbscan": _built_in("dbscan_labels"), "kmeans": _built_in("kmeans_labels")}


def query_expansion_rule(k1: int, k2: int) -> Rule:
    """Query expansion averages over the head of the neighbour list."""
    return (
        1 <= k2 <= k1,
        f"PSEUDO_LABELS.K2 is {k2}, more than PSEUDO_LABELS.K1, which is {k1}"
        if k2 > k1
        else f"PSEUDO_LABELS.K2 is {k2}; it must be at least 1",
    )


def radius_rule(eps: float) -> Rule:
    """The sparse graph stores what is nearer than 1."""
    return (
        bool(0 <= np.float32(eps) < 1),
        f"PSEUDO_LABELS.DBSCAN.EPS is {eps}; it must lie in [0, 1): at Jaccard distance 1 every image is "
        "every other's neighbour",
    )


def radii_rule(eps: float, gap: float) -> Rule:
    """The reliability criterion clusters with a smaller and a larger radius, too."""
    return (
        0 < gap <= eps < 1 - gap,
        f"PSEUDO_LABELS.RELIABILITY.EPS_GAP is {gap}: PSEUDO_LABELS.DBSCAN.EPS, {eps}, less and plus it must "
        "lie in [0, 1)",
    )


def choice_rule(key: str, value: str, accepted: tuple[str, ...]) -> Rule:
    """A key of PSEUDO_LABELS has one of some values."""
    return (
        value in accepted,
        f"PSEUDO_LABELS.{key} is {value!r}; clustering accepts {', '.join(map(repr, accepted))}",
    )


def demand(rule: Rule) -> None:
    """Refuse what breaks a rule.

    Raises:
        ValueError: with the rule's sentence.
    """
    holds, message = rule
    if not holds:
        raise ValueError(message)

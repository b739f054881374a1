"""What a finished run amounts to, in words: worked, no better than the start, or doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from mmt_plugin.pseudo_labels.quality.nuisances import FOLLOWED
from mmt_plugin.pseudo_labels.quality.size import LARGE

WORKED, NO_BETTER, DOUBTFUL = "worked", "no better than the start", "doubtful"
# No word without a comparison: neither the start was a candidate, nor is there a test set that knows it.
UNKNOWN = "not compared with the start"
# Below these shares of images in clusters, and agreement with the labels in use, a labelling is doubted.
FEW, UNSTEADY = 0.5, 0.5
EXPLORE = "look at the contact sheets that `mmt explore-labels` makes of this run, and try what it recommends"


@dataclass(frozen=True)
class Verdict:
    """A word, the reasons for it, and what to try next."""

    word: str
    why: str
    next: str

    def as_dict(self) -> dict[str, str]:
        """As results.json holds it."""
        return asdict(self)

    def __str__(self) -> str:
        return f"Verdict: {self.word}. {self.why} Next: {self.next}"


def verdict_of(
    findings: Mapping,
    start: tuple[str, float, float] | None,
    gain: float | None,
) -> Verdict:
    """Judge a run.

    Args:
        findings: of the chosen model: "label_free" measures by name, and "selected_epoch".
        start: where the starting models were candidates: the name of the better one, its guard, and the guard
            of the chosen model.
        gain: mAP of the chosen model less that of the source models, where a test set knows both.
    """
    if start is not None and not findings.get("selected_epoch"):
        why = f"No epoch has a better guard than {start[0]}, {start[1]:.3f}, which is model_best.pth."
        return Verdict(NO_BETTER, why, f"{EXPLORE}; a lower SOLVER.BASE_LR changes less at a time.")
    if gain is not None and gain <= 0:
        why = f"On the test set mAP is {gain:+.1f} against the source models."
        return Verdict(NO_BETTER, why, f"{EXPLORE}.")
    doubts = list(_doubts(findings))
    if doubts:
        return Verdict(DOUBTFUL, f"{'; '.join(doubts)}.", f"{EXPLORE}; label a few hundred images as a test.")
    if gain is not None:
        why = f"On the test set mAP is {gain:+.1f} against the source models."
        return Verdict(WORKED, why, "look at the clusters in the report, then use the model.")
    if start is not None:
        why = f"The guard rose from {start[1]:.3f} ({start[0]}) to {start[2]:.3f}."
        return Verdict(WORKED, why, "look at the clusters in the report, then use the model.")
    why = "Nothing speaks against the clusters, but nothing tells whether the model is better than before."
    return Verdict(
        UNKNOWN, why, "MMT.SELECTION.RULE guarded compares it without labels, a test set with them."
    )


def _doubts(findings: Mapping) -> Iterator[str]:
    """Reasons, each a clause, not to trust the labels."""
    quality = findings.get("label_free", {})
    for nuisance in ("cameras", "poses"):
        if (value := quality.get(f"follows_{nuisance}", 0.0)) > FOLLOWED:
            yield f"clusters follow {nuisance} ({value:.2f} of 1)"
    if (largest := quality.get("largest", 0.0)) > LARGE:
        yield f"the largest cluster holds {largest:.0%} of the images"
    if (share := quality.get("clustered", 1.0)) < FEW:
        yield f"only {share:.0%} of the images are in a cluster"
    if (steady := quality.get("stability", 1.0)) < UNSTEADY:
        yield f"labels change from epoch to epoch (stability {steady:.2f} of 1)"

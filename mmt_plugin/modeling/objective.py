"""The objective as data: terms of a name, a weight and a function of what the networks gave for a batch.

Shapes: B batch of one process, W processes, D feature size, C live classes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.utils.registry import Registry
from torch import Tensor

from .collectives import gather_batch
from .layers import TARGET
from .losses import (
    hardest_triplets,
    label_smooth_cross_entropy,
    moco_loss,
    soft_cross_entropy,
    soft_softmax_triplet_loss,
    softmax_triplet_loss,
)
from .losses.softmax_triplet import Triplets
from .memory import KeyQueue

# By name in MMT.EXTRA_LOSSES: called with `Outputs`, returns a scalar.
LOSS_REGISTRY = Registry("LOSS")

Output = dict[str, Tensor]


def with_peers(students: list[Output], teachers: list[Output]) -> list[tuple[Output, Output]]:
    """Outputs of each student beside those of the teacher it learns from: the next pair's."""
    return list(zip(students, teachers[1:] + teachers[:1], strict=True))


@dataclass(frozen=True)
class Outputs:
    """What the networks gave for one batch, and what came with it.

    Attributes:
        students: of each student a dict of ``features`` (B x D, before the BNNeck), ``embeddings`` (B x D,
            after it) and ``logits`` (B x C).
        teachers: the same of each mean teacher, without gradient; empty where there are none.
        targets: B class indices.
        domains: B domain indices, on the CPU; None: all images are of the target.
        queues: of keys, one a pair; empty without a MoCo loss.
    """

    students: list[Output]
    teachers: list[Output]
    targets: Tensor
    domains: Tensor | None = None
    queues: Sequence[KeyQueue] = ()
    _mined: dict[str, list[Triplets]] = field(default_factory=dict)

    @property
    def pairs(self) -> list[tuple[Output, Output]]:
        """Each student with who teaches it: the next pair's teacher, or without teachers its student."""
        return with_peers(self.students, self.teachers or self.students)

    @cached_property
    def all_targets(self) -> Tensor:
        """Class indices of all processes, W B."""
        return gather_batch(self.targets)

    @cached_property
    def all_features(self) -> list[tuple[Tensor, Tensor]]:
        """Features of all processes, W B x D, of each of the `pairs`."""
        students = [gather_batch(student["features"]) for student in self.students]
        teachers = [gather_batch(teacher["features"]) for teacher in self.teachers] or students
        return list(zip(students, teachers[1:] + teachers[:1], strict=True))

    def triplets(self, gradient: str) -> list[Triplets]:
        """Of each student, mined in the whole batch, that of all processes together, and only once."""
        if gradient not in self._mined:
            self._mined[gradient] = [
                hardest_triplets(features, self.all_targets, gradient) for features, _ in self.all_features
            ]
        return self._mined[gradient]


@dataclass(frozen=True)
class Term:
    """A part of the objective: weight * function(outputs). Logged and guarded by its name."""

    name: str
    weight: float
    function: Callable[[Outputs], Tensor]


class Objective:
    """A sum of terms. One of weight 0 is not computed."""

    def __init__(self, terms: Iterable[Term]):
        self.terms = [term for term in terms if term.weight != 0]

    def __call__(self, outputs: Outputs) -> dict[str, Tensor]:
        """Weighted scalars by name."""
        return {term.name: term.weight * term.function(outputs) for term in self.terms}

    def __contains__(self, name: str) -> bool:
        return any(term.name == name for term in self.terms)


def build_objective(cfg: CfgNode) -> Objective:
    """The plugin's terms, and the losses that MMT.EXTRA_LOSSES names."""
    extra = {name: (weight, LOSS_REGISTRY.get(name)) for name, weight in cfg.MMT.EXTRA_LOSSES}
    return Objective(Term(f"loss_{name}", *term) for name, term in {**own_terms(cfg.MMT), **extra}.items())


def own_terms(mmt: CfgNode) -> dict[str, tuple[float, Callable[[Outputs], Tensor]]]:
    """Weight and function by name: the MMT objective (paper, Eq. 9), and MMT+'s instance discrimination
    (report, Eq. 11).
    """
    moco = {"domains": mmt.MOCO.DOMAINS, "temperature": mmt.MOCO.TEMPERATURE}
    return {
        "ce": (1 - mmt.SOFT_CE_WEIGHT, partial(hard_classification, epsilon=mmt.CE_EPSILON)),
        "soft_ce": (mmt.SOFT_CE_WEIGHT, soft_classification),
        "triplet": (
            mmt.TRIPLET_WEIGHT * (1 - mmt.SOFT_TRI_WEIGHT),
            partial(hard_triplet, gradient=mmt.TRIPLET_GRADIENT),
        ),
        "soft_triplet": (
            mmt.TRIPLET_WEIGHT * mmt.SOFT_TRI_WEIGHT,
            partial(soft_triplet, gradient=mmt.TRIPLET_GRADIENT),
        ),
        "moco": (mmt.MOCO.WEIGHT, partial(instance_discrimination, **moco)),
    }


def hard_classification(outputs: Outputs, epsilon: float) -> Tensor:
    return sum(
        label_smooth_cross_entropy(student["logits"], outputs.targets, epsilon)
        for student in outputs.students
    )


def soft_classification(outputs: Outputs) -> Tensor:
    return sum(soft_cross_entropy(student["logits"], peer["logits"]) for student, peer in outputs.pairs)


def hard_triplet(outputs: Outputs, gradient: str) -> Tensor:
    return sum(
        softmax_triplet_loss(student, outputs.all_targets, triplets)
        for (student, _), triplets in zip(outputs.all_features, outputs.triplets(gradient), strict=True)
    )


def soft_triplet(outputs: Outputs, gradient: str) -> Tensor:
    return sum(
        soft_softmax_triplet_loss(student, peer, outputs.all_targets, triplets)
        for (student, peer), triplets in zip(outputs.all_features, outputs.triplets(gradient), strict=True)
    )


def instance_discrimination(outputs: Outputs, domains: str, temperature: float) -> Tensor:
    """Each student against its own teacher's keys, which then enter the queue, those of all processes."""
    chosen: slice | Tensor = slice(None)
    if outputs.domains is not None and domains == "target":
        chosen = (outputs.domains == TARGET).nonzero()[:, 0].to(outputs.targets.device, non_blocking=True)
    total = 0
    for queue, student, teacher in zip(outputs.queues, outputs.students, outputs.teachers, strict=True):
        query, key = student["embeddings"][chosen], teacher["embeddings"][chosen].float()
        total = total + moco_loss(query, key, queue.queue, temperature)
        queue.enqueue(gather_batch(F.normalize(key.detach(), dim=1)))
    return total

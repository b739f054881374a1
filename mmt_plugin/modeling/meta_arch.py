"""Mutual Mean-Teaching: pairs of a student and its mean teacher that train each other.

Shapes: V views (one per pair), B batch, D feature size, C live classes.
"""

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .collectives import gather_batch
from .layers import TARGET, route, running_statistics
from .losses import (
    MoCoQueue,
    hardest_triplets,
    label_smooth_cross_entropy,
    soft_cross_entropy,
    soft_softmax_triplet_loss,
    softmax_triplet_loss,
)
from .network import build_network


@dataclass(frozen=True)
class LossWeights:
    """What each loss is multiplied by; 0 means that it is not computed."""

    ce: float
    soft_ce: float
    triplet: float
    soft_triplet: float
    moco: float

    @classmethod
    def from_config(cls, mmt: CfgNode) -> "LossWeights":
        """The shares of soft and hard losses (config node MMT) as one weight a loss."""
        return cls(
            ce=1 - mmt.SOFT_CE_WEIGHT,
            soft_ce=mmt.SOFT_CE_WEIGHT,
            triplet=mmt.TRIPLET_WEIGHT * (1 - mmt.SOFT_TRI_WEIGHT),
            soft_triplet=mmt.TRIPLET_WEIGHT * mmt.SOFT_TRI_WEIGHT,
            moco=mmt.MOCO.WEIGHT,
        )


def with_peers(
    students: list[dict[str, Tensor]], teachers: list[dict[str, Tensor]]
) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Outputs of each student beside those of the teacher it learns from: the next pair's."""
    return list(zip(students, teachers[1:] + teachers[:1], strict=True))


@META_ARCH_REGISTRY.register()
class MutualMeanTeaching(nn.Module):
    """A list of student/teacher pairs over the host's backbones and heads (Ge et al., ICLR 2020).

    Pair k sees view k of every image. Student k learns from hard pseudo labels and from the soft predictions
    of the *next* pair's teacher, which saw another view. With one pair the network learns from its own mean
    teacher; without teachers (MMT.EMA.ENABLED False) from its peer's current predictions; with soft weights 0
    from hard labels alone, which is the clustering baseline, and source pre-training when the labels are
    annotations. MMT+ (arXiv 2008.10313) is the same with labelled source images in the batch, whose classes
    come before the clusters, domain-specific BN, and instance discrimination against queues of keys.
    """

    @configurable
    def __init__(
        self,
        *,
        students: list[nn.Module],
        mean_teachers: bool,
        teacher_margin: bool,
        teacher_statistics: str,
        weights: LossWeights,
        ce_epsilon: float,
        moco: dict | None,
        moco_domains: str,
        pixel_mean: list[float],
        pixel_std: list[float],
        channels_last: bool = False,
    ):
        """
        Args:
            students: the networks that are trained.
            mean_teachers: whether each student has a mean teacher, which then also gives the inference
                features.
            teacher_margin: whether margin classifiers of teachers see the labels, too.
            teacher_statistics: "own" BN statistics of the teachers, or the average of the "student"'s.
            weights: of the losses.
            ce_epsilon: label smoothing of the hard classification loss.
            moco: arguments of each pair's MoCoQueue, or None for no such loss.
            moco_domains: "target" or "both", whose images the MoCo loss is for.
            pixel_mean: 3 channel means, of pixels in 0-255.
            pixel_std: 3 channel deviations.
            channels_last: whether feature maps and convolutions have their channels last in memory.
        """
        super().__init__()
        self.students = nn.ModuleList(students)
        self.teachers = nn.ModuleList(
            copy.deepcopy(s).requires_grad_(False) for s in students if mean_teachers
        )
        self.queues = nn.ModuleList(MoCoQueue(**moco) for _ in students if moco is not None)
        self.teacher_margin = teacher_margin
        self.teacher_statistics = teacher_statistics
        if teacher_statistics == "student":
            for layer in self.teachers.modules():
                if isinstance(layer, _BatchNorm):
                    layer.momentum = 0.0
        self.weights = weights
        self.ce_epsilon = ce_epsilon
        self.moco_domains = moco_domains
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)
        # Which of `inference_networks` answers in evaluation; part of the checkpoint.
        self.register_buffer("inference_index", torch.tensor(0))
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        students = [build_network(cfg) for _ in range(cfg.MMT.NUM_PAIRS)]
        moco = {
            "dim": students[0].heads.weight.shape[1],
            "size": cfg.MMT.MOCO.QUEUE_SIZE,
            "temperature": cfg.MMT.MOCO.TEMPERATURE,
        }
        return {
            "students": students,
            "mean_teachers": cfg.MMT.EMA.ENABLED,
            "teacher_margin": cfg.MMT.TEACHER_MARGIN,
            "teacher_statistics": cfg.MMT.EMA.BN_STATISTICS,
            "weights": LossWeights.from_config(cfg.MMT),
            "ce_epsilon": cfg.MMT.CE_EPSILON,
            "moco": moco if cfg.MMT.MOCO.WEIGHT > 0 else None,
            "moco_domains": cfg.MMT.MOCO.DOMAINS,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "channels_last": cfg.MODEL.CHANNELS_LAST,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def inference_networks(self) -> nn.ModuleList:
        """The networks that label and are evaluated: the mean teachers, or without them the students."""
        return self.teachers if len(self.teachers) else self.students

    @property
    def num_classes(self) -> int:
        return self.students[0].heads.num_classes

    def forward(self, batch: dict) -> dict[str, Tensor] | Tensor:
        """Losses in training, features in evaluation.

        Args:
            batch: in training ``images`` B x V x 3 x H x W, ``targets`` B class indices and, optionally,
                ``domains`` B (on the CPU; without them all images are of the target) and ``bn_images``
                B' x 3 x H x W that are shown to the students' BN layers only; in evaluation ``images``
                B x 3 x H x W. Pixels are in 0-255.

        Returns:
            A dict of weighted scalar losses, summed over pairs; or B x D features of the chosen inference
            network.
        """
        if not self.training:
            return self.inference_networks[int(self.inference_index)](self.normalize(batch["images"]))
        targets, domains = batch["targets"].to(self.device, non_blocking=True), batch.get("domains")
        views = [self.normalize(view) for view in batch["images"].unbind(dim=1)]
        with route(TARGET if domains is None else domains):
            students = [student(view, targets) for student, view in zip(self.students, views, strict=True)]
            with torch.no_grad():
                shown = targets if self.teacher_margin else None
                teachers = [teacher(view, shown) for teacher, view in zip(self.teachers, views, strict=False)]
        if "bn_images" in batch:
            self._update_bn_statistics(self.normalize(batch["bn_images"]))
        with torch.autocast(self.device.type, enabled=False):
            losses = self.mutual_losses(students, teachers or students, targets)
            if len(self.queues):
                losses["loss_moco"] = self.moco_loss(students, teachers, domains)
        return losses

    def mutual_losses(
        self, students: list[dict[str, Tensor]], teachers: list[dict[str, Tensor]], targets: Tensor
    ) -> dict[str, Tensor]:
        """The MMT objective (paper, Eq. 9). A loss of weight 0 is not computed.

        Triplets are mined in the whole batch, that of all processes together, once for both triplet losses.
        """
        weights = self.weights
        if weights.triplet > 0 or weights.soft_triplet > 0:
            labels = gather_batch(targets)
            students, teachers = (
                [{**output, "features": gather_batch(output["features"])} for output in outputs]
                for outputs in (students, teachers)
            )
            for student in students:
                student["triplets"] = hardest_triplets(student["features"], labels)
        terms = {
            "loss_ce": (
                weights.ce,
                lambda s, _: label_smooth_cross_entropy(s["logits"], targets, self.ce_epsilon),
            ),
            "loss_soft_ce": (weights.soft_ce, lambda s, t: soft_cross_entropy(s["logits"], t["logits"])),
            "loss_triplet": (
                weights.triplet,
                lambda s, _: softmax_triplet_loss(s["features"], labels, s["triplets"]),
            ),
            "loss_soft_triplet": (
                weights.soft_triplet,
                lambda s, t: soft_softmax_triplet_loss(s["features"], t["features"], labels, s["triplets"]),
            ),
        }
        pairs = with_peers(students, teachers)
        return {
            name: weight * sum(loss(student, peer) for student, peer in pairs)
            for name, (weight, loss) in terms.items()
            if weight > 0
        }

    def moco_loss(
        self, students: list[dict[str, Tensor]], teachers: list[dict[str, Tensor]], domains: Tensor | None
    ) -> Tensor:
        """Instance discrimination, each student against its own teacher's keys (MMT+ report, Eq. 11)."""
        chosen = slice(None)
        if domains is not None and self.moco_domains == "target":
            chosen = (domains == TARGET).nonzero()[:, 0].to(self.device, non_blocking=True)
        return self.weights.moco * sum(
            queue(student["embeddings"][chosen], teacher["embeddings"][chosen])
            for queue, student, teacher in zip(self.queues, students, teachers, strict=True)
        )

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels 0-255 -> zero mean, unit deviation. Never in place: the same images pass through several
        networks.
        """
        return (images.to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std

    @torch.no_grad()
    def extract(self, images: Tensor) -> Tensor:
        """BNNeck features of every inference network, V x B x D, not normalised, of images B x 3 x H x W."""
        images = self.normalize(images)
        return torch.stack([network(images).float() for network in self.inference_networks])

    @torch.no_grad()
    def copy_students_to_teachers(self) -> None:
        """Let every teacher start as its student, buffers included."""
        for student, teacher in zip(self.students, self.teachers, strict=False):
            self._match_classifier(student, teacher)
            teacher.load_state_dict(student.state_dict())

    @torch.no_grad()
    def update_teachers(self, alpha: float) -> None:
        """theta_teacher <- alpha * theta_teacher + (1 - alpha) * theta_student (paper, Eq. 4).

        As in the published code, parameters only: a teacher's BN statistics come from its own train-mode
        forwards, unless MMT.EMA.BN_STATISTICS asks for the average of the student's.
        """
        average = get_ema_multi_avg_fn(alpha)
        average(*self._averaged_parameters, None)
        if self.teacher_statistics == "student":
            students = self.students[: len(self.teachers)]
            average(running_statistics(self.teachers), running_statistics(students), None)

    @cached_property
    def _averaged_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Parameters of all teachers and, beside each, the student's. They stay the same objects for the
        model's life: classifiers and devices change what is in them.
        """
        pairs = [
            pair
            for networks in zip(self.teachers, self.students, strict=False)
            for pair in zip(*(network.parameters() for network in networks), strict=True)
        ]
        return [teacher for teacher, _ in pairs], [student for _, student in pairs]

    @torch.no_grad()
    def set_classifiers(self, rows: Tensor | None, num_classes: int, keep: int = 0) -> list[nn.Parameter]:
        """Give all networks the same C x D classifier rows, or fresh random ones where ``rows`` is None.

        Args:
            rows: C x D, or None.
            num_classes: C.
            keep: the first rows that each network has now are left before the new ones: the source classes
                of a joint label space. Not for random rows.

        Returns:
            The students' classifier weights, whose optimiser state is now meaningless.
        """
        if rows is None:
            for student in self.students:
                student.heads.set_num_classes(num_classes)
            for student, teacher in zip(self.students, self.teachers, strict=False):
                self._match_classifier(student, teacher)
        else:
            for network in (*self.students, *self.teachers):
                kept = network.heads.weight.data[:keep]
                network.heads.set_classifier(torch.cat([kept, rows.to(kept)]) if keep else rows)
        return [student.heads.weight for student in self.students]

    @torch.no_grad()
    def _update_bn_statistics(self, images: Tensor) -> None:
        for student in self.students:
            student.update_bn_statistics(images)

    @staticmethod
    def _match_classifier(student: nn.Module, teacher: nn.Module) -> None:
        teacher.heads.set_classifier(student.heads.weight.data)

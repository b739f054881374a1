"""Mutual Mean-Teaching: pairs of a student and its mean teacher that train each other.

Shapes: V views (one per pair), B batch, D feature size, C live classes.
"""

import copy

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .losses import (
    label_smooth_cross_entropy,
    soft_cross_entropy,
    soft_softmax_triplet_loss,
    softmax_triplet_loss,
)
from .network import build_network


@META_ARCH_REGISTRY.register()
class MutualMeanTeaching(nn.Module):
    """A list of student/teacher pairs over the host's backbones and heads (Ge et al., ICLR 2020).

    Pair k sees view k of every image. Student k learns from hard pseudo labels and from the soft predictions
    of the *next* pair's teacher, which saw another view. With one pair the network learns from its own mean
    teacher; without teachers (MMT.EMA.ENABLED False) from its peer's current predictions; with soft weights 0
    from hard labels alone, which is the clustering baseline, and source pre-training when the labels are
    annotations.
    """

    @configurable
    def __init__(
        self,
        *,
        students: list[nn.Module],
        mean_teachers: bool,
        soft_ce_weight: float,
        soft_triplet_weight: float,
        ce_epsilon: float,
        pixel_mean: list[float],
        pixel_std: list[float],
    ):
        """
        Args:
            students: the networks that are trained.
            mean_teachers: whether each student has a mean teacher, which then also gives the inference
                features.
            soft_ce_weight: lambda_id^t, share of the soft classification loss, in [0, 1].
            soft_triplet_weight: lambda_tri^t, share of the soft softmax-triplet loss, in [0, 1].
            ce_epsilon: label smoothing of the hard classification loss.
            pixel_mean: 3 channel means, of pixels in 0-255.
            pixel_std: 3 channel deviations.
        """
        super().__init__()
        self.students = nn.ModuleList(students)
        self.teachers = nn.ModuleList(
            copy.deepcopy(s).requires_grad_(False) for s in students if mean_teachers
        )
        self.soft_ce_weight = soft_ce_weight
        self.soft_triplet_weight = soft_triplet_weight
        self.ce_epsilon = ce_epsilon
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)
        # Which of `inference_networks` answers in evaluation; part of the checkpoint.
        self.register_buffer("inference_index", torch.tensor(0))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {
            "students": [build_network(cfg) for _ in range(cfg.MMT.NUM_PAIRS)],
            "mean_teachers": cfg.MMT.EMA.ENABLED,
            "soft_ce_weight": cfg.MMT.SOFT_CE_WEIGHT,
            "soft_triplet_weight": cfg.MMT.SOFT_TRI_WEIGHT,
            "ce_epsilon": cfg.MMT.CE_EPSILON,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
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
                ``bn_images`` B' x 3 x H x W that are shown to the students' BN layers only; in evaluation
                ``images`` B x 3 x H x W. Pixels are in 0-255.

        Returns:
            A dict of weighted scalar losses, summed over pairs; or B x D features of the chosen inference
            network.
        """
        if not self.training:
            return self.inference_networks[int(self.inference_index)](self.normalize(batch["images"]))
        targets = batch["targets"].to(self.device)
        views = [self.normalize(view) for view in batch["images"].unbind(dim=1)]
        student_outputs = [student(view, targets) for student, view in zip(self.students, views, strict=True)]
        with torch.no_grad():
            if "bn_images" in batch:
                bn_images = self.normalize(batch["bn_images"])
                for student in self.students:
                    student.update_bn_statistics(bn_images)
            teacher_outputs = [
                teacher(view, targets) for teacher, view in zip(self.teachers, views, strict=False)
            ]
        with torch.autocast(self.device.type, enabled=False):
            return self.losses(student_outputs, teacher_outputs or student_outputs, targets)

    def losses(
        self,
        student_outputs: list[dict[str, Tensor]],
        teacher_outputs: list[dict[str, Tensor]],
        targets: Tensor,
    ) -> dict[str, Tensor]:
        """The MMT objective (paper, Eq. 9). A loss of weight 0 is not computed."""
        peer_outputs = teacher_outputs[1:] + teacher_outputs[:1]
        terms = {
            "loss_ce": (
                1 - self.soft_ce_weight,
                lambda s, _: label_smooth_cross_entropy(s["logits"], targets, self.ce_epsilon),
            ),
            "loss_soft_ce": (self.soft_ce_weight, lambda s, t: soft_cross_entropy(s["logits"], t["logits"])),
            "loss_triplet": (
                1 - self.soft_triplet_weight,
                lambda s, _: softmax_triplet_loss(s["features"], targets),
            ),
            "loss_soft_triplet": (
                self.soft_triplet_weight,
                lambda s, t: soft_softmax_triplet_loss(s["features"], t["features"], targets),
            ),
        }
        return {
            name: weight * sum(loss(s, t) for s, t in zip(student_outputs, peer_outputs, strict=True))
            for name, (weight, loss) in terms.items()
            if weight > 0
        }

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
        """theta_teacher <- alpha * theta_teacher + (1 - alpha) * theta_student (paper, Eq. 4), parameters
        only.

        BN statistics are not averaged: a teacher's come from its own train-mode forwards, as in the published
        code.
        """
        average = get_ema_multi_avg_fn(alpha)
        for student, teacher in zip(self.students, self.teachers, strict=False):
            average(list(teacher.parameters()), list(student.parameters()), None)

    @torch.no_grad()
    def set_classifiers(self, rows: Tensor | None, num_classes: int) -> list[nn.Parameter]:
        """Give all networks the same C x D classifier rows, or fresh random ones where ``rows`` is None.

        Returns:
            The students' classifier weights, whose optimiser state is now meaningless.
        """
        for student in self.students:
            if rows is None:
                student.heads.set_num_classes(num_classes)
            else:
                student.heads.set_classifier(rows)
        for student, teacher in zip(self.students, self.teachers, strict=False):
            self._match_classifier(student, teacher)
        return [student.heads.weight for student in self.students]

    @staticmethod
    def _match_classifier(student: nn.Module, teacher: nn.Module) -> None:
        teacher.heads.set_classifier(student.heads.weight.data)

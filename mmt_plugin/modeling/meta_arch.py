"""Mutual Mean-Teaching: pairs of a student and its mean teacher that train each other.

Shapes: V views (one per pair), B batch, D feature size, C live classes.
"""

import copy
from collections.abc import Mapping
from functools import cached_property

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .collectives import gather_batch
from .layers import TARGET, route, running_statistics
from .memory import MEMORY_REGISTRY, ClassMemory, KeyQueue, queue_size
from .network import build_network
from .objective import Objective, Output, Outputs, build_objective


@META_ARCH_REGISTRY.register()
class MutualMeanTeaching(nn.Module):
    """A list of student/teacher pairs over the host's backbones and heads (Ge et al., ICLR 2020).

    Pair k sees view k of every image. Student k learns from hard pseudo labels and from the soft predictions
    of the *next* pair's teacher, which saw another view. With one pair the network learns from its own mean
    teacher; without teachers (MMT.EMA.ENABLED False) from its peer's current predictions; with soft weights 0
    from hard labels alone, which is the clustering baseline, and source pre-training when the labels are
    annotations. MMT+ (arXiv 2008.10313) is the same with labelled source images in the batch, whose classes
    come before the clusters, domain-specific BN, and instance discrimination against queues of keys.

    With MMT.CLASSIFIER other than "weights" each pair has a memory of classes in place of classifier weights.
    """

    @configurable
    def __init__(
        self,
        *,
        students: list[nn.Module],
        mean_teachers: bool,
        teacher_margin: bool,
        teacher_statistics: str,
        objective: Objective,
        queues: list[KeyQueue],
        memories: list[ClassMemory],
        remembered: str,
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
            objective: what is minimised.
            queues: of keys, one a pair, or none.
            memories: of classes, one a pair; none where classifiers have weights.
            remembered: whose embeddings the memories follow, the "student"'s or the "teacher"'s.
            pixel_mean: 3 channel means, of pixels in 0-255.
            pixel_std: 3 channel deviations.
            channels_last: whether feature maps and convolutions have their channels last in memory.
        """
        super().__init__()
        self.students = nn.ModuleList(students)
        self.teachers = nn.ModuleList(
            copy.deepcopy(s).requires_grad_(False) for s in students if mean_teachers
        )
        self.queues = nn.ModuleList(queues)
        self.memories = nn.ModuleList(memories)
        self.remembered = remembered
        self._last_batch: tuple[list[Tensor], Tensor, Tensor] | None = None
        self.teacher_margin = teacher_margin
        self.teacher_statistics = teacher_statistics
        if teacher_statistics == "student":
            for layer in self.teachers.modules():
                if isinstance(layer, _BatchNorm):
                    layer.momentum = 0.0
        self.objective = objective
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)
        # Which of `inference_networks` answers in evaluation; part of the checkpoint.
        self.register_buffer("inference_index", torch.tensor(0))
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        students = [build_network(cfg) for _ in range(cfg.MMT.NUM_PAIRS)]
        dim, mmt = students[0].heads.weight.shape[1], cfg.MMT
        memories = []
        if mmt.CLASSIFIER != "weights":
            memories = [MEMORY_REGISTRY.get(mmt.CLASSIFIER)(cfg, dim) for _ in students]
            for student in students:
                student.heads.weight.requires_grad_(False)  # and of no rows
        return {
            "students": students,
            "mean_teachers": mmt.EMA.ENABLED,
            "teacher_margin": mmt.TEACHER_MARGIN,
            "teacher_statistics": mmt.EMA.BN_STATISTICS,
            "objective": build_objective(cfg),
            "queues": [KeyQueue(dim, queue_size(cfg)) for _ in students if mmt.MOCO.WEIGHT > 0],
            "memories": memories,
            "remembered": mmt.MEMORY.UPDATE,
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
        return self.memories[0].num_classes if len(self.memories) else self.students[0].heads.num_classes

    def forward(self, batch: dict) -> dict[str, Tensor] | Tensor:
        """Losses in training, features in evaluation.

        Args:
            batch: in training ``images`` B x V x 3 x H x W, ``targets`` B class indices and, optionally,
                ``domains`` B (on the CPU; without them all images are of the target) and ``bn_images``
                B' x 3 x H x W that are shown to the students' BN layers only; for memories ``indices`` B of
                the images in their training set; in evaluation ``images`` B x 3 x H x W. Pixels are in 0-255.

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
            if len(self.memories):
                self._classify_by_memory(students, teachers, targets, batch["indices"])
            return self.losses(Outputs(students, teachers, targets, domains, self.queues))

    def losses(self, outputs: Outputs) -> dict[str, Tensor]:
        """The terms of the objective, weighted, by name."""
        return self.objective(outputs)

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

    def reset_memories(self, labels: Tensor, features: Tensor, keep: int = 0) -> None:
        """Start the memories from new labels.

        Args:
            labels: N class indices from 0, -1 for images left out.
            features: V x N x D, L2-normalised, of each pair's inference network.
            keep: the first classes that stay as they are: the source's of a joint label space.
        """
        for memory, own in zip(self.memories, features, strict=True):
            memory.reset(labels, own, keep)

    def update_memories(self) -> None:
        """Let the memories follow the last batch; for after the optimiser's step, if it was taken."""
        if self._last_batch is not None:
            embeddings, targets, indices = self._last_batch
            for memory, own in zip(self.memories, embeddings, strict=True):
                memory.update(own, targets, indices)
            self._last_batch = None

    def match_classes(self, weights: Mapping[str, Tensor]) -> None:
        """Make room for the classes of a checkpoint, which is loaded next."""
        rows = weights["students.0.heads.weight"]
        for network in (*self.students, *self.teachers):
            network.heads.set_classifier(rows)
        for k, memory in enumerate(self.memories):
            memory.resize_like(weights, prefix=f"memories.{k}.")

    def _classify_by_memory(
        self, students: list[Output], teachers: list[Output], targets: Tensor, indices: Tensor
    ) -> None:
        """Give every output the logits of its pair's memory, and keep what the memories are to follow."""
        for outputs in (students, teachers):
            for memory, output in zip(self.memories, outputs, strict=False):
                output["logits"] = memory(output["embeddings"])
        followed = teachers if self.remembered == "teacher" else students
        self._last_batch = (
            [gather_batch(output["embeddings"].detach().float()) for output in followed],
            gather_batch(targets),
            gather_batch(indices.to(self.device, non_blocking=True)),
        )

    @torch.no_grad()
    def _update_bn_statistics(self, images: Tensor) -> None:
        for student in self.students:
            student.update_bn_statistics(images)

    @staticmethod
    def _match_classifier(student: nn.Module, teacher: nn.Module) -> None:
        teacher.heads.set_classifier(student.heads.weight.data)

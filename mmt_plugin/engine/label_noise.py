"""What soft labels do to wrong hard labels, seen in training itself. For comparison only: nothing is trained
by it. Shapes: B batch, C classes, N images.
"""

from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.engine.train_loop import HookBase
from torch import Tensor, nn

from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.modeling.collectives import gather_batch
from mmt_plugin.modeling.layers import TARGET
from mmt_plugin.modeling.losses import hardest_triplets
from mmt_plugin.modeling.losses.softmax_triplet import euclidean_distance
from mmt_plugin.pseudo_labels import cluster_identities

PREFIX = "label_noise/"
NAMES = ("wrong", "p_wrong", "p_right", "p_own", "triplets_wrong", "t_wrong", "t_right")


class LabelNoiseHook(HookBase):
    """Record, epoch by epoch, how wrong the hard labels are and how far the teachers agree with them.

    A hard label is wrong where the image's identity is not the commonest of its cluster. Under MMT's losses
    its class keeps a weight of 1 - w + w p of what hard labels alone would give it: p is the probability that
    the teacher gives the class, w is MMT.SOFT_CE_WEIGHT. Likewise a mined triplet is wrong where its positive
    is another person or its negative the same, and its loss keeps a pull of 1 - w + w T. Recorded, of the
    target images and their triplets that were trained on, are

    - ``label_noise/wrong``: the share of wrong hard labels;
    - ``label_noise/p_wrong`` and ``p_right``: mean p where the hard label is wrong, and where it is right;
    - ``label_noise/p_own``: where it is wrong, what the teachers give to clusters of the image's own person;
    - ``label_noise/triplets_wrong``: the share of wrong triplets;
    - ``label_noise/t_wrong`` and ``t_right``: mean T of the teachers on wrong triplets and on right ones.

    Of several processes each mines its own images. A run resumed within an epoch records what was left of it.
    """

    def __init__(self, truth: np.ndarray | None):
        """
        Args:
            truth: N identities of the target's training images from 0; None where they are not annotated.

        Raises:
            DatasetError: they are not.
        """
        if truth is None:
            raise DatasetError(
                "REPORT.LABEL_NOISE is True, but the training images of DATASETS.TARGETS carry no "
                "identities, which tell wrong labels from right ones. Set it False"
            )
        self.truth = truth
        self._outputs: dict[nn.Module, dict[str, Tensor]] = {}

    def before_train(self) -> None:
        model = self.trainer.raw_model
        hooks = [each.register_forward_hook(self._keep) for each in (*model.students, *model.teachers)]
        self._hooks = [*hooks, model.register_forward_hook(self._add_batch)]

    def before_epoch(self) -> None:
        device = self.trainer.raw_model.device
        clusters = cluster_identities(self.trainer.label_hook.labels.labels, self.truth)
        # Source classes are nobody of the target: -1, -2, ...
        source = -1 - torch.arange(self.trainer.num_source_classes)
        self._of_class = torch.cat([source, torch.as_tensor(clusters)]).to(device)
        self._of_image = torch.as_tensor(self.truth).to(device)
        self._sums = defaultdict(lambda: torch.zeros(2, dtype=torch.float64, device=device))

    def after_epoch(self) -> None:
        sums = gather_batch(torch.stack([self._sums[name] for name in NAMES])[None]).sum(dim=0)
        means = {
            PREFIX + name: total / weight
            for name, (total, weight) in zip(NAMES, sums.tolist(), strict=True)
            if weight
        }
        self.trainer.storage.put_scalars(smoothing_hint=False, **means)

    def after_train(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, network: nn.Module, _: tuple, output: dict[str, Tensor] | Tensor) -> None:
        if network.training:
            self._outputs[network] = output

    @torch.no_grad()
    def _add_batch(self, model: nn.Module, arguments: tuple[dict], _: object) -> None:
        if not model.training:
            return
        batch, device = arguments[0], model.device
        targets, images = batch["targets"].to(device), batch["indices"].to(device)
        domains = batch.get("domains", torch.full_like(batch["targets"], TARGET)).to(device)
        is_target = domains == TARGET
        # Indices of source images are of another data set.
        person = torch.where(is_target, self._of_image[images.where(is_target, 0)], -1 - targets)
        students = [self._outputs.pop(network) for network in model.students]
        teachers = [self._outputs.pop(network) for network in model.teachers] or students
        with torch.autocast(device.type, enabled=False):
            for student, teacher in zip(students, teachers[1:] + teachers[:1], strict=True):
                self._add_labels(teacher["logits"], targets, person, is_target)
                self._add_triplets(student["features"], teacher["features"], targets, person, is_target)

    def _add_labels(self, logits: Tensor, targets: Tensor, person: Tensor, among: Tensor) -> None:
        wrong = self._of_class[targets] != person
        probabilities = F.softmax(logits.float(), dim=1)
        p = probabilities.gather(1, targets[:, None])[:, 0]
        p_own = (probabilities * (self._of_class == person[:, None])).sum(dim=1)
        self._add("wrong", wrong, among)
        self._add("p_wrong", p, among & wrong)
        self._add("p_right", p, among & ~wrong)
        self._add("p_own", p_own, among & wrong)

    def _add_triplets(
        self, student: Tensor, teacher: Tensor, targets: Tensor, person: Tensor, among: Tensor
    ) -> None:
        pairs = hardest_triplets(student, targets).pairs
        positive, negative = person[pairs].unbind(dim=1)
        wrong = (positive != person) | (negative == person)
        t = F.softmax(euclidean_distance(teacher).gather(1, pairs), dim=1)[:, 1]
        self._add("triplets_wrong", wrong, among)
        self._add("t_wrong", t, among & wrong)
        self._add("t_right", t, among & ~wrong)

    def _add(self, name: str, values: Tensor, among: Tensor) -> None:
        self._sums[name] += torch.stack([(values * among).sum(), among.sum()])

"""What soft labels do to wrong hard labels, seen in training itself. For comparison only: nothing is trained
by it. Shapes: B batch, C classes, N images.
"""

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.engine.train_loop import HookBase
from torch import Tensor, nn

from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.modeling.collectives import gather_batch
from mmt_plugin.modeling.layers import TARGET
from mmt_plugin.modeling.losses import hardest_triplets, triplet_probabilities
from mmt_plugin.modeling.objective import with_peers
from mmt_plugin.pseudo_labels import cluster_identities

PREFIX = "label_noise/"
NAMES = ("wrong", "p_wrong", "p_right", "p_own", "triplets_wrong", "t_wrong", "t_right")


class LabelNoiseHook(HookBase):
    """Record, epoch by epoch, how wrong the hard labels are and how far the teachers agree with them.

    A hard label is wrong where the image's identity is not the commonest of its cluster. What the losses ask
    for together gives the label's class a weight of 1 - w + w p, label smoothing aside: p is the probability
    that the teacher gives the class, w is MMT.SOFT_CE_WEIGHT; hard labels alone give 1. Likewise a mined
    triplet is wrong where its positive is another person or its negative the same, and what is asked of its T
    is 1 - w + w T of the teacher, w being MMT.SOFT_TRI_WEIGHT. Recorded, of the target images that were
    trained on and their triplets, are

    - ``label_noise/wrong``: the share of wrong hard labels;
    - ``label_noise/p_wrong`` and ``p_right``: mean p where the hard label is wrong, and where it is right;
    - ``label_noise/p_own``: where it is wrong, what the teachers give to clusters of the image's own person;
    - ``label_noise/triplets_wrong``: the share of wrong triplets;
    - ``label_noise/t_wrong`` and ``t_right``: mean T of the teachers on wrong triplets and on right ones.

    What an epoch has none of is not recorded: without a wrong label no p_wrong.
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
        # By name: the sum of what was found in this epoch, and of how many; then those of the last batch,
        # which count unless its step is skipped.
        self._sums = torch.zeros(len(NAMES), 2, dtype=torch.float64)
        self._batch = self._sums

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
        self._sums = self._sums.to(device)
        if not self.trainer.steps_done:  # otherwise resumed within the epoch
            self._sums.zero_()

    def after_step(self) -> None:
        if not self.trainer.step_was_skipped:
            self._sums += self._batch

    def after_epoch(self) -> None:
        sums = gather_batch(self._sums[None]).sum(dim=0)
        means = {
            PREFIX + name: total / weight
            for name, (total, weight) in zip(NAMES, sums.tolist(), strict=True)
            if weight
        }
        self.trainer.storage.put_scalars(smoothing_hint=False, **means)

    def state_dict(self) -> dict:
        return {"sums": self._sums.cpu()}

    def load_state_dict(self, state: dict) -> None:
        self._sums = state["sums"]

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
        targets = batch["targets"].to(device, non_blocking=True)
        images = batch["indices"].to(device, non_blocking=True)
        if "domains" in batch:
            is_target = batch["domains"].to(device, non_blocking=True) == TARGET
        else:
            is_target = torch.ones_like(targets, dtype=torch.bool)
        # Indices of source images are of another data set.
        person = torch.where(is_target, self._of_image[images.where(is_target, 0)], -1 - targets)
        students = [self._outputs.pop(network) for network in model.students]
        teachers = [self._outputs.pop(network) for network in model.teachers] or students
        self._batch = torch.zeros_like(self._sums)
        # Triplets are mined in the batch of all processes.
        everywhere = [gather_batch(each) for each in (targets, person, is_target)]
        with torch.autocast(device.type, enabled=False):
            for student, teacher in with_peers(students, teachers):
                self._add_labels(teacher["logits"], targets, person, is_target)
                if "loss_triplet" in model.objective or "loss_soft_triplet" in model.objective:
                    features = [gather_batch(each["features"]) for each in (student, teacher)]
                    self._add_triplets(*features, *everywhere)

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
        t = triplet_probabilities(teacher, pairs)[:, 1]
        self._add("triplets_wrong", wrong, among)
        self._add("t_wrong", t, among & wrong)
        self._add("t_right", t, among & ~wrong)

    def _add(self, name: str, values: Tensor, among: Tensor) -> None:
        self._batch[NAMES.index(name)] += torch.stack([torch.where(among, values, 0).sum(), among.sum()])

"""What a step asks of its device, and that asking less often changes no number."""

from collections import defaultdict
from itertools import chain

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.pipeline import train
from mmt_plugin.engine.training_step import TrainingStep
from mmt_plugin.modeling import MutualMeanTeaching
from mmt_plugin.modeling.losses import softmax_triplet


class Waits(TorchDispatchMode):
    """Counts the numbers that Python asks of tensors one by one; each is a wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
        return function(*args, **(kwargs or {}))


def test_recorded_losses_are_those_of_each_step(tiny_config, monkeypatch):
    seen, kept = defaultdict(list), {}
    forward, after = MutualMeanTeaching.forward, MMTTrainer.after_train

    def watched(self, batch):
        losses = forward(self, batch)
        if self.training:
            values = {name: loss.item() for name, loss in losses.items()}
            for name, value in {**values, "total_loss": sum(values.values())}.items():
                seen[name].append(value)
        return losses

    def keep(self):
        kept.update({name: history.values() for name, history in self.storage.histories().items()})
        after(self)

    monkeypatch.setattr(MutualMeanTeaching, "forward", watched)
    monkeypatch.setattr(MMTTrainer, "after_train", keep)
    train(tiny_config(), resume=False)
    assert len(seen["loss_ce"]) == 4
    for name, values in seen.items():
        assert kept[name] == list(zip(values, range(4), strict=True)), name
    assert len(kept["data_time"]) == 4
    assert all(0 <= value < 60 for value, _ in kept["data_time"])


@pytest.mark.parametrize("recipe", ["plaza2metro_mmt", "plaza2metro_mmt_plus"])
def test_a_step_asks_its_device_once(tiny_config, monkeypatch, recipe):
    """The rest of what it asks is about the labels, which a GPU is not asked for."""
    asked, step, mine = [], TrainingStep.run_step, softmax_triplet.hardest_triplets

    def watched(self):
        batches = self._data_loader_iter  # which have questions of their own
        self._data_loader_iter = chain([next(batches)], batches)
        with Waits() as waits:
            step(self)
        asked.append(waits.count)

    mined = []
    monkeypatch.setattr(TrainingStep, "run_step", watched)
    monkeypatch.setattr(
        "mmt_plugin.modeling.objective.hardest_triplets", lambda *args: mined.append(1) or mine(*args)
    )
    train(tiny_config(recipe, MMT__SOURCE__PRETRAIN=False, SOLVER__MAX_EPOCH=1), resume=False)
    assert len(asked) == 2
    assert sum(asked) == len(mined) == 2 * 2

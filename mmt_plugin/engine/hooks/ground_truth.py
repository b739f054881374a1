"""Annotated identities as labels."""

from fastreid.engine.train_loop import HookBase

from mmt_plugin.data.dataset import Item
from mmt_plugin.data.items import dense_ids


class GroundTruthHook(HookBase):
    """Annotated identities as labels, the same in every epoch."""

    def __init__(self, items: list[Item]):
        self.labels = dense_ids([item[1] for item in items])

    def before_train(self) -> None:
        self.trainer.set_labels(self.labels)
        if self.trainer.start_iter == 0:
            self.trainer.restart_classifiers(None, int(self.labels.max()) + 1)

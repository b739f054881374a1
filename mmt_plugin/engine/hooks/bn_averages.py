"""BN statistics of several processes."""

from fastreid.engine.train_loop import HookBase

from mmt_plugin.modeling.collectives import average_over_processes
from mmt_plugin.modeling.layers import running_statistics


class BatchNormHook(HookBase):
    """Give all processes the mean of their BN statistics after an epoch, before anything looks at the model.

    Each collects those of its own images; what is evaluated and saved is then that of all images, as in a
    single process.
    """

    def after_epoch(self) -> None:
        average_over_processes(running_statistics(self.trainer.raw_model))

"""What the last epoch's model makes of the training images."""

from fastreid.engine.train_loop import HookBase


class FinalQualityHook(HookBase):
    """After the last epoch, cluster by its model, and record what can be told of the clusters.

    For runs that have nothing else to judge the last model by: without a test set, or selected without
    labels. The models of all other epochs are judged at the next epoch's label step.
    """

    def after_epoch(self) -> None:
        trainer = self.trainer
        if trainer.epoch + 1 == trainer.max_epoch:
            with trainer.stop.phase(trainer.iters_per_epoch):
                *_, scalars = trainer.label_hook.cluster_now()
            trainer.storage.put_scalars(smoothing_hint=False, **scalars)

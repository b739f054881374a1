"""One step of adversarial training: generators, then discriminators, each with an optimiser of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from mmt_plugin.engine.training_step import TrainingStep
from mmt_plugin.modeling.collectives import average_over_processes

from .cycle_gan import StructuredDomainAdaptation
from .loader import PairedLoader
from .regularizers import SelfSimilarity


class AdversarialStep(TrainingStep):
    """Translations are made once a step: the generators learn from them, then, as they were before that, the
    discriminators, and last the similarity network where there is one.

    Attributes:
        optimizers: one Adam a part of the model, by the part's name.
    """

    def __init__(self, cfg: CfgNode, model: StructuredDomainAdaptation, loader: PairedLoader):
        self.optimizers = {name: build_adam(cfg, part) for name, part in model.trained.items()}
        super().__init__(cfg, model, loader, self.optimizers["generators"])

    def run_step(self) -> None:
        """Train on the next batch.

        Raises:
            NotFiniteError: a loss or gradient is not finite and must not be skipped, in any process.
        """
        batch = self.next_batch()
        model, buffers = self.model, self.copy_of_buffers()
        judges = [part for name, part in model.trained.items() if name != "generators"]
        with self.autocast(), frozen(judges):
            images = model.translate(batch)
            losses = model.generator_losses(images, batch["targets"], self.epoch)
        values = self._update_part("generators", losses, batch, buffers)
        if values is not None:
            with self.autocast():
                parts = {"discriminators": model.discriminator_losses(images)}
                if isinstance(model.regularizer, SelfSimilarity):
                    parts["similarity"] = model.regularizer.network_losses(images)
            for name, losses in parts.items():
                more = self._update_part(name, losses, batch, buffers)
                if more is None:
                    values = None
                    break
                values |= more
        self.last_was_skipped = values is None
        if values is not None:
            self.record(values)

    def _update_part(
        self, name: str, losses: dict[str, Tensor], batch: dict, buffers: list[Tensor]
    ) -> dict[str, float] | None:
        """`update` of one part of the model, by its name."""
        return self.update(losses, self.optimizers[name], self.model.trained[name], batch, buffers)

    def share_gradients(self, module: nn.Module) -> None:
        """Average a module's gradients over processes: they differ in their images only."""
        average_over_processes([p.grad for p in module.parameters() if p.grad is not None])


def build_adam(cfg: CfgNode, module: nn.Module) -> torch.optim.Optimizer:
    """Adam over all of a module's parameters, with SOLVER.BASE_LR and SDA.BETAS and without weight decay."""
    return torch.optim.Adam(
        module.parameters(), lr=cfg.SOLVER.BASE_LR, betas=tuple(cfg.SDA.BETAS), fused=True
    )


@contextmanager
def frozen(modules: list[nn.Module]) -> Iterator[None]:
    """Modules whose parameters get no gradients inside; gradients pass through them."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)

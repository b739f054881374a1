"""Memories follow what was trained on."""

from fastreid.engine.train_loop import HookBase


class MemoryHook(HookBase):
    """Update the memories after every optimiser step that was taken."""

    def after_step(self) -> None:
        if not self.trainer.step_was_skipped:
            self.trainer.raw_model.update_memories()

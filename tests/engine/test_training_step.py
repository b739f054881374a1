"""Numbers that are not finite never reach the weights."""

import logging

import pytest
import torch

from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.pipeline import train
from mmt_plugin.engine.training_step import NotFiniteError
from mmt_plugin.modeling import MutualMeanTeaching

pytestmark = pytest.mark.fault
PARTS = ("loss_ce", "loss_soft_ce", "loss_triplet", "loss_soft_triplet")


@pytest.fixture
def spoil(monkeypatch):
    """Make parts of the loss bad at some of the forwards, counted from 0."""

    def install(part: str, value: float, when: set[int]):
        losses, calls = MutualMeanTeaching.losses, iter(range(1000))

        def spoiled(self, *args):
            terms = losses(self, *args)
            if next(calls) in when:
                for buffer in self.students[0].buffers():
                    # What a bad batch leaves; past autograd, which has yet to go backward.
                    buffer.data.fill_(torch.nan if buffer.is_floating_point() else 0)
                terms[part] = terms[part] * value
            return terms

        monkeypatch.setattr(MutualMeanTeaching, "losses", spoiled)

    return install


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_loss_is_named_with_its_place_and_images(tiny_config, spoil, observe, part, value):
    cfg = tiny_config()
    spoil(part, value, {3})
    with pytest.raises(NotFiniteError, match=rf"^{part} is (nan|inf) at epoch 1, iteration 3") as error:
        train(cfg, resume=False)
    assert str(error.value).count(".jpg") == cfg.SOLVER.IMS_PER_BATCH
    happened = "error: <part> is nan/inf at epoch 1, iteration 3. The images of the batch: ..."
    observe("NaN or infinity in a part of the loss", happened, "the epoch")


def test_a_bad_gradient_is_named(tiny_config, monkeypatch, observe):
    step = MMTTrainer.run_step

    def poison(self):
        weight = self.raw_model.students[1].heads.weight
        weight.register_hook(lambda gradient: gradient * torch.nan)
        step(self)

    monkeypatch.setattr(MMTTrainer, "run_step", poison)
    with pytest.raises(NotFiniteError, match=r"^gradient of students\.1\.heads\.weight is nan") as error:
        train(tiny_config(), resume=False)
    observe("NaN in a gradient", str(error.value)[:80] + " ...", "the epoch")


def state_after(cfg, monkeypatch) -> dict:
    """Weights and buffers at the end of a run."""
    kept = {}
    after = MMTTrainer.after_train
    monkeypatch.setattr(
        MMTTrainer, "after_train", lambda self: kept.update(self.raw_model.state_dict()) or after(self)
    )
    train(cfg, resume=False)
    return kept


def test_a_skipped_step_leaves_no_trace(tiny_config, spoil, monkeypatch, caplog, observe):
    cfg = tiny_config(SOLVER__ON_BAD_STEP="skip", SOLVER__MAX_EPOCH=1, MMT__EMA__ALPHA=0.5)
    spoil("loss_ce", float("nan"), {0})
    logging.getLogger("fastreid").propagate = True
    with caplog.at_level(logging.WARNING):
        weights = state_after(cfg, monkeypatch)
    assert all(torch.isfinite(value).all() for value in weights.values())
    message = next(r.message for r in caplog.records if "step skipped" in r.message)
    assert message.startswith("loss_ce is nan at epoch 0, iteration 0: step skipped (1 of at most 10")
    observe("NaN in a loss, SOLVER.ON_BAD_STEP skip", message, "the step")


def test_too_many_bad_steps_end_the_run(tiny_config, spoil, observe):
    spoil("loss_ce", float("nan"), set(range(100)))
    cfg = tiny_config(SOLVER__ON_BAD_STEP="skip", SOLVER__MAX_BAD_STEPS=1)
    with pytest.raises(NotFiniteError, match="after 1 skipped steps in this epoch") as error:
        train(cfg, resume=False)
    observe("NaN in every loss, SOLVER.ON_BAD_STEP skip", str(error.value)[:90] + " ...")


def test_a_guarded_run_is_the_unguarded_one_while_all_is_well(tiny_config, tmp_path, monkeypatch):
    ends = [
        state_after(tiny_config(OUTPUT_DIR=str(tmp_path / mode), SOLVER__ON_BAD_STEP=mode), monkeypatch)
        for mode in ("error", "skip")
    ]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_float32_under_autocast(tiny_config, dtype):
    model = MMTTrainer.build_model(tiny_config())
    model.set_classifiers(None, 4)
    images, targets = 255 * torch.rand(8, 2, 3, 64, 32), torch.arange(4).repeat_interleave(2)
    seen = []
    model.students[0].heads.register_forward_hook(lambda *args: seen.append(args[-1]["logits"].dtype))
    with torch.autocast("cpu", dtype=dtype):
        losses = model({"images": images, "targets": targets})
    assert seen == [dtype]
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert losses.keys() == set(PARTS)

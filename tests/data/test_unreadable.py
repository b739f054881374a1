"""Images that cannot be read: an error that names the file, or a run that goes on without them."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastreid.engine.train_loop import HookBase

from mmt_plugin.data.build import build_extraction_loader, build_train_loader
from mmt_plugin.data.items import dense_ids, training_items
from mmt_plugin.data.unreadable import TooManyUnreadableError, UnreadableImages
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.features import extract_features
from mmt_plugin.engine.hooks.unreadable_images import UnreadableHook
from mmt_plugin.engine.pipeline import train
from mmt_plugin.engine.resume.resumable_trainer import ResumableTrainer
from mmt_plugin.system.decoding import UnreadableImageError

pytestmark = pytest.mark.fault


@pytest.fixture
def spoiled(tiny_config, monkeypatch, tmp_path):
    """A config of a world of its own, and the paths of training images that have been cut short."""

    def make(number: int, **overrides):
        monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
        cfg = tiny_config(
            **{"DATALOADER__ON_BAD_IMAGE": "skip", "DATALOADER__MAX_BAD_IMAGES": 0.1, **overrides}
        )
        monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
        items = training_items(cfg.DATASETS.TARGETS)
        # Padding at the end keeps the size that the built-in world checks.
        paths = [Path(item[0]) for item in items[5 : 5 + 7 * number : 7]]
        for path in paths:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 3] + bytes(len(content) - len(content) // 3))
        return cfg, items, paths

    return make


def test_a_batch_goes_on_with_readable_images_of_the_same_class():
    images = torch.arange(6.0).reshape(6, 1, 1, 1, 1).repeat(1, 2, 3, 2, 2)
    images[[1, 4]] = torch.nan
    batch = {
        "images": images,
        "targets": torch.tensor([7, 7, 8, 8, 9, 9]),
        "indices": torch.tensor([10, 11, 12, 13, 14, 15]),
    }
    skipped = UnreadableImages([f"{i}.jpg" for i in range(20)], limit=0.1)
    replaced = skipped.replace(batch)
    assert replaced["images"][:, 0, 0, 0, 0].tolist() == [0, 0, 2, 3, 5, 5]
    assert replaced["targets"].tolist() == [7, 7, 8, 8, 9, 9]
    assert replaced["indices"].tolist() == [10, 10, 12, 13, 15, 15]
    assert skipped.describe() == "2 of 20 training images cannot be read: 11.jpg, 14.jpg"


def test_without_another_image_of_its_class_an_image_takes_another_class():
    batch = {
        "images": torch.tensor([torch.nan, 1.0, 2.0]).reshape(3, 1, 1, 1, 1),
        "targets": torch.tensor([5, 6, 6]),
        "indices": torch.arange(3),
    }
    assert UnreadableImages(["a"] * 30, 0.1).replace(batch)["targets"].tolist() == [6, 6, 6]


def test_a_wholly_unreadable_batch_is_an_error():
    batch = {
        "images": torch.full((2, 1, 1, 1, 1), torch.nan),
        "targets": torch.arange(2),
        "indices": torch.arange(2),
    }
    with pytest.raises(TooManyUnreadableError, match="no image of a whole batch"):
        UnreadableImages(["a"] * 30, 0.5).replace(batch)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_training_image_is_an_error_that_names_it(spoiled, observe, workers):
    cfg, items, (path,) = spoiled(1, DATALOADER__ON_BAD_IMAGE="error", DATALOADER__NUM_WORKERS=workers)
    with pytest.raises(UnreadableImageError, match=path.name) as error:
        for _ in build_extraction_loader(cfg, items):
            pass
    if not workers:
        observe("truncated training image, DATALOADER.ON_BAD_IMAGE error", error.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_skipped_images_have_no_features_and_leave_the_others_as_they_are(spoiled, workers):
    cfg, items, paths = spoiled(2, DATALOADER__NUM_WORKERS=workers)
    bad = [i for i, item in enumerate(items) if Path(item[0]) in paths]
    model = MMTTrainer.build_model(cfg)
    features = extract_features(model, build_extraction_loader(cfg, items))
    assert torch.isnan(features).any(dim=2).nonzero()[:, 1].tolist() == bad * 2
    good = [item for i, item in enumerate(items) if i not in bad]
    expected = extract_features(model, build_extraction_loader(cfg, good))
    torch.testing.assert_close(np.delete(features, bad, axis=1), expected)
    loader = build_train_loader(cfg, items)
    loader.set_labels(dense_ids([item[1] for item in items]))
    assert all(torch.isfinite(batch["images"]).all() for epoch in range(3) for batch in loader.epoch(epoch))


def test_a_run_reports_what_it_skipped(spoiled, observe, caplog):
    cfg, _, paths = spoiled(2)
    logging.getLogger("fastreid").propagate = True
    with caplog.at_level(logging.WARNING):
        metrics = train(cfg, resume=False)
    assert np.isfinite(metrics["mAP"])
    reports = [
        record.message for record in caplog.records if "training images cannot be read" in record.message
    ]
    assert len(reports) == cfg.SOLVER.MAX_EPOCH
    assert all(path.name in reports[0] for path in paths)
    lines = [json.loads(line) for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()]
    assert [line["unreadable"] for line in lines if "unreadable" in line] == [2.0, 2.0]
    observe("2 of 60 training images truncated, DATALOADER.ON_BAD_IMAGE skip", reports[0], "those images", 2)


def test_a_checkpoint_within_an_epoch_holds_what_every_rank_skipped(monkeypatch):
    loader = SimpleNamespace(skipped=[UnreadableImages(["a"] * 30, 0.1)])
    loader.skipped[0].add([3])
    hook = UnreadableHook()
    hook.trainer = SimpleNamespace(data_loader=loader, _hooks=[HookBase(), hook])
    monkeypatch.setattr("mmt_plugin.engine.hooks.unreadable_images.comm.all_gather", lambda mine: [mine, {7}])
    ResumableTrainer.gather_state(hook.trainer)
    assert hook.state_dict() == {"indices": [[3, 7]]}


def test_too_many_end_the_run(spoiled, observe):
    cfg, *_ = spoiled(8)
    with pytest.raises(TooManyUnreadableError, match=r"8 of 60 .*share of 0\.1 .*MAX_BAD_IMAGES") as error:
        train(cfg, resume=False)
    observe("more unreadable images than DATALOADER.MAX_BAD_IMAGES", error.value)


@pytest.mark.parametrize("reaction", ["error", "skip"])
def test_a_file_that_is_deleted_during_training(spoiled, monkeypatch, observe, reaction):
    cfg, items, _ = spoiled(0, DATALOADER__ON_BAD_IMAGE=reaction)
    victim = Path(items[11][0])
    step = MMTTrainer.run_step

    def delete_then_step(self):
        victim.unlink(missing_ok=True)
        step(self)

    monkeypatch.setattr(MMTTrainer, "run_step", delete_then_step)
    if reaction == "skip":
        assert np.isfinite(train(cfg, resume=False)["mAP"])
        observe("file deleted during training, ON_BAD_IMAGE skip", "skipped and reported", "that image")
        return
    with pytest.raises(UnreadableImageError, match=rf"{victim.name}.*No such file") as error:
        train(cfg, resume=False)
    observe("file deleted during training, ON_BAD_IMAGE error", error.value, "the epoch")

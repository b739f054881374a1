"""MMT+ runs: source classes keep their rows, queues fill, a stopped run goes on as if it had not stopped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.utils.events import EventStorage

from mmt_plugin.data.build import build_extraction_loader
from mmt_plugin.data.items import training_items
from mmt_plugin.data.joint import build_joint_loader
from mmt_plugin.data.unreadable import TooManyUnreadableError
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.features import extract_features, reestimate_bn_statistics
from mmt_plugin.engine.hooks.source_classes import SourceClassesHook, centroids_of
from mmt_plugin.engine.pipeline import source_config, train
from mmt_plugin.modeling.layers import SOURCE, TARGET, DomainBatchNorm
from mmt_plugin.pseudo_labels import PseudoLabels
from mmt_plugin.weights.load_network import CheckpointError, load_file

CONFIG_FILE = str(Path(__file__).parents[2] / "configs" / "synthetic" / "plaza2metro_mmt_plus.yml")
SOURCE_CLASSES = 10


@pytest.fixture
def plus_config(tiny_config):
    def make(**overrides):
        settings = {"MMT__MOCO__QUEUE_SIZE": 20, "MMT__SOURCE__PRETRAIN": False, **overrides}
        cfg = tiny_config("plaza2metro_mmt_plus", **settings)
        Path(cfg.OUTPUT_DIR).mkdir(exist_ok=True)
        return cfg

    return make


def start_source_classes(trainer: MMTTrainer) -> SourceClassesHook:
    """Do what happens to the source classes before a run's first epoch."""
    hook = next(hook for hook in trainer._hooks if isinstance(hook, SourceClassesHook))
    trainer.start_iter = 0
    hook.before_train()
    return hook


def test_batches_hold_both_domains_in_one_label_space(plus_config):
    cfg = plus_config(MMT__JOINT__IMS_PER_BATCH=4)
    source, target = (training_items(names) for names in (cfg.DATASETS.NAMES, cfg.DATASETS.TARGETS))
    loader = build_joint_loader(cfg, source, target)
    for epoch, clusters in enumerate((8, 5)):
        loader.set_labels(np.arange(60) % clusters)
        batches = list(loader.epoch(epoch))
        assert len(batches) == 2
        for batch in batches:
            assert batch["images"].shape == (12, 2, 3, 64, 32)
            assert batch["domains"].tolist() == [SOURCE] * 4 + [TARGET] * 8
            assert (batch["targets"][:4] < SOURCE_CLASSES).all()
            assert (batch["targets"][4:] >= SOURCE_CLASSES).all()
            assert (batch["targets"][4:] < SOURCE_CLASSES + clusters).all()


def test_source_classes_keep_their_rows_when_the_clusters_change(plus_config):
    trainer = MMTTrainer(plus_config(SOLVER__MAX_EPOCH=1))
    trainer.train()
    model = trainer.raw_model
    networks = [*model.students, *model.teachers]
    before = [network.heads.weight.data[:SOURCE_CLASSES].clone() for network in networks]
    assert not torch.equal(before[0], before[1])  # trained apart from each other
    for clusters in (3, 7):
        rows = np.random.default_rng(clusters).normal(size=(clusters, before[0].shape[1])).astype(np.float32)
        trainer.restart_classifiers(rows, clusters)
        for network, kept in zip(networks, before, strict=True):
            assert network.heads.num_classes == SOURCE_CLASSES + clusters
            assert torch.equal(network.heads.weight.data[:SOURCE_CLASSES], kept)
            assert torch.equal(network.heads.weight.data[SOURCE_CLASSES:], torch.as_tensor(rows))


@pytest.mark.parametrize("rows", ["random", "centroids"])
def test_source_rows_at_the_start(plus_config, rows):
    trainer = MMTTrainer(plus_config(MMT__JOINT__ROWS=rows))
    hook = start_source_classes(trainer)
    first, second = (student.heads.weight.data for student in trainer.raw_model.students)
    assert first.shape[0] == SOURCE_CLASSES
    if rows == "random":
        assert not torch.equal(first, second)
        return
    features = extract_features(
        trainer.raw_model, build_extraction_loader(trainer.cfg, trainer.source_items), SOURCE
    ).mean(dim=0)
    features = torch.nn.functional.normalize(features, dim=1).numpy()
    expected = PseudoLabels.from_features(hook.labels, features).centroids
    torch.testing.assert_close(first, torch.from_numpy(expected))
    assert torch.equal(first, second)


def test_source_images_that_cannot_be_read_do_not_count():
    features = torch.tensor([[3.0, 0.0], [torch.nan, torch.nan], [0.0, 2.0]])
    centroids = centroids_of(np.array([0, 0, 1]), features)
    torch.testing.assert_close(centroids, torch.eye(2))
    with pytest.raises(TooManyUnreadableError, match="of 1 identities of the source no image can be read"):
        centroids_of(np.array([0, 1, 2]), features)


def test_pretrained_rows_come_from_each_networks_own_source_model(plus_config, tmp_path):
    base = plus_config(MMT__SOURCE__PRETRAIN=True, MMT__SOURCE__OPTS=["SOLVER.MAX_EPOCH", 1])
    paths = []
    for seed in (1, 2):
        cfg = source_config(base, CONFIG_FILE, seed)
        cfg.defrost()
        cfg.merge_from_list(["SOLVER.ITERS_PER_EPOCH", 1, "SOLVER.IMS_PER_BATCH", 8, "DATASETS.TESTS", ()])
        cfg.DATALOADER.NUM_INSTANCE = 2
        train(cfg, resume=False)
        paths.append(str(Path(cfg.OUTPUT_DIR, "model_final.pth")))
    settings = {"MMT__WEIGHTS": tuple(paths), "MMT__JOINT__ROWS": "pretrained"}
    trainer = MMTTrainer(plus_config(**settings))
    trainer.resume_or_load(resume=False)
    start_source_classes(trainer)
    model = trainer.raw_model
    for student, teacher, path in zip(model.students, model.teachers, paths, strict=True):
        weights = load_file(path)["model"]
        assert torch.equal(student.heads.weight.data, weights["students.0.heads.weight"])
        assert torch.equal(teacher.heads.weight.data, weights["students.0.heads.weight"])
        # An ordinary source model's BN layer is what both domains start from.
        neck = student.heads.bottleneck[0]
        for branch in (neck.source, neck.target):
            assert torch.equal(branch.running_var, weights["students.0.heads.bottleneck.0.running_var"])

    settings["SYNTHETIC__TRAIN_IDS"] = 9
    trainer = MMTTrainer(plus_config(**settings))
    trainer.resume_or_load(resume=False)
    with pytest.raises(CheckpointError, match=r"a classifier of \(10, .*9 identities.*MMT\.JOINT\.ROWS"):
        start_source_classes(trainer)


def test_a_step_fills_each_networks_queue_with_its_own_teachers_target_keys(plus_config):
    trainer = MMTTrainer(plus_config(SOLVER__MAX_EPOCH=1, SOLVER__ITERS_PER_EPOCH=1))
    model = trainer.raw_model
    before = [queue.queue.clone() for queue in model.queues]
    seen = []
    for teacher in model.teachers:
        teacher.register_forward_hook(
            lambda module, _, out: seen.append(out["embeddings"].clone()) if module.training else None
        )
    trainer.train()
    for queue, old, embeddings in zip(model.queues, before, seen, strict=True):
        assert int(queue.pointer) == 8
        torch.testing.assert_close(queue.queue[:8], torch.nn.functional.normalize(embeddings[8:], dim=1))
        assert torch.equal(queue.queue[8:], old[8:])


def test_a_resumed_run_ends_bit_equal(plus_config, tmp_path, cut_off):
    common = {"SOLVER__MAX_EPOCH": 3, "SOLVER__CHECKPOINT_PERIOD": 1, "TEST__EVAL_PERIOD": 3}
    whole = plus_config(OUTPUT_DIR=str(tmp_path / "whole"), **common)
    expected = train(whole, resume=False)
    parts = plus_config(OUTPUT_DIR=str(tmp_path / "parts"), **common)
    with cut_off(5):
        train(parts, resume=False)
    assert train(parts, resume=True) == expected
    a, b = (load_file(Path(cfg.OUTPUT_DIR, "model_final.pth"))["model"] for cfg in (whole, parts))
    assert {"queues.0.queue", "queues.1.pointer"} <= a.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_each_test_set_is_seen_through_its_domains_layers(plus_config):
    cfg = plus_config(DATASETS__TESTS=("SynthPlaza", "SynthMetro"))
    trainer = MMTTrainer(cfg)
    model = trainer.raw_model
    used = []
    for teacher in model.teachers:
        neck = teacher.heads.bottleneck[0]
        assert isinstance(neck, DomainBatchNorm)
        for name in ("source", "target"):
            getattr(neck, name).register_forward_hook(lambda *_, name=name: used.append(name))
    for dataset, domain in (("SynthPlaza", "source"), ("SynthMetro", "target")):
        used.clear()
        one = cfg.clone()
        one.DATASETS.TESTS = (dataset,)
        trainer.test(one, model)
        assert set(used) == {domain}


def test_reestimation_leaves_the_other_domain_alone(plus_config):
    cfg = plus_config()
    trainer = MMTTrainer(cfg)
    neck = trainer.raw_model.teachers[0].heads.bottleneck[0]
    source, target = neck.source.running_mean.clone(), neck.target.running_mean.clone()
    neck.source.running_mean += 1
    loader = build_extraction_loader(cfg, training_items(cfg.DATASETS.TARGETS))
    reestimate_bn_statistics(trainer.raw_model, loader)
    assert torch.equal(neck.source.running_mean, source + 1)
    assert not torch.equal(neck.target.running_mean, target)


def test_unsupervised_learning_needs_no_source(tiny_config):
    cfg = tiny_config(
        DATASETS__NAMES=(), MMT__SOURCE__PRETRAIN=False, MMT__SOURCE__CONFIG_FILE="", TEST__EVAL_PERIOD=2
    )
    assert np.isfinite(train(cfg, resume=False)["mAP"])


def test_random_source_rows_are_drawn_as_part_of_the_published_classifier(plus_config):
    """Xavier's bound for a row of every source class and every target image: sqrt(6 / (D + S + N))."""
    trainer = MMTTrainer(plus_config(MMT__JOINT__ROWS="random"))
    start_source_classes(trainer)
    model = trainer.raw_model
    rows = model.students[0].heads.weight.data
    bound = (6 / (rows.shape[1] + SOURCE_CLASSES + 60)) ** 0.5
    assert 0.98 * bound < rows.abs().max() <= bound
    for student, teacher in zip(model.students, model.teachers, strict=True):
        assert torch.equal(student.heads.weight, teacher.heads.weight)


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_source_rows_keep_their_moments_when_the_clusters_change(plus_config, optimizer):
    trainer = MMTTrainer(
        plus_config(
            SOLVER__MAX_EPOCH=1, TEST__EVAL_PERIOD=-1, MMT__RESET_OPTIMIZER=False, SOLVER__OPT=optimizer
        )
    )
    trainer.train()
    weight = trainer.raw_model.students[0].heads.weight
    name = "exp_avg" if optimizer == "Adam" else "momentum_buffer"
    before = trainer.optimizer.state[weight][name].clone()
    trainer.storage = EventStorage()
    trainer.restart_classifiers(np.ones((3, before.shape[1]), dtype=np.float32), 3)
    after = trainer.optimizer.state[weight][name]
    assert before[:SOURCE_CLASSES].abs().sum() > 0
    assert torch.equal(after[:SOURCE_CLASSES], before[:SOURCE_CLASSES])
    assert torch.equal(after[SOURCE_CLASSES:], torch.zeros(3, before.shape[1]))

"""Memories of classes against vectors of the published codes and slow loops, and in the model."""

import copy
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from batches import TARGETS, batch
from tiny import REPOSITORY

from mmt_plugin.config import ConfigError, check_config
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.pipeline import train
from mmt_plugin.modeling import MutualMeanTeaching
from mmt_plugin.modeling.losses import label_smooth_cross_entropy, soft_cross_entropy
from mmt_plugin.modeling.memory import ClusterMemory, HybridMemory, follow


def golden(name: str) -> dict[str, torch.Tensor]:
    with np.load(REPOSITORY / "tests" / "golden" / f"{name}.npz") as file:
        return {key: torch.as_tensor(file[key]) for key in file}


@pytest.mark.parametrize("kind", ["plain", "hard"])
def test_cluster_memory_as_published(kind):
    g = golden(f"cluster_memory_{kind}")
    memory = ClusterMemory(24, float(g["temperature"]), float(g["momentum"]), hard=kind == "hard")
    memory.reset(torch.arange(13), g["memory0"])
    for step in ("1", "2"):
        features, labels = g[f"features{step}"].requires_grad_(), g[f"labels{step}"]
        loss = F.cross_entropy(memory(features), labels)
        loss.backward()
        memory.update(features.detach(), labels)
        torch.testing.assert_close(loss.detach().double(), g[f"loss{step}"], atol=1e-5, rtol=0)
        torch.testing.assert_close(features.grad, g[f"grad{step}"], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(memory.rows, g[f"memory{step}"], atol=1e-6, rtol=0)


def test_hybrid_memory_as_published():
    g = golden("hybrid_memory")
    memory = HybridMemory(24, float(g["temperature"]), float(g["momentum"]))
    memory.reset(g["labels"], g["memory0"])
    for step in ("1", "2"):
        features, indices = g[f"features{step}"].requires_grad_(), g[f"indices{step}"]
        targets = g["labels"][indices]
        loss = F.cross_entropy(memory(features), targets)
        loss.backward()
        memory.update(features.detach(), targets, indices)
        # The published loss leaves a factor of 1 + 1e-6 C in the probabilities.
        torch.testing.assert_close(loss.detach().double(), g[f"loss{step}"], atol=2e-5, rtol=0)
        # Theirs is by the normalised features, of which ours has what is tangential to the sphere.
        along = (g[f"grad{step}"] * features.detach()).sum(dim=1, keepdim=True)
        expected = g[f"grad{step}"] - along * features.detach()
        torch.testing.assert_close(features.grad, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(memory.entries, g[f"memory{step}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_a_cluster_memory_against_a_loop(seed, hard):
    """Any sizes, with classes that the batch lacks, and batches of one picture over and over."""
    torch.manual_seed(seed)
    classes, images, momentum = seed % 4 + 1, 1 + 3 * seed, seed / 10
    memory = ClusterMemory(5, momentum=momentum, hard=hard)
    labels = torch.cat([torch.arange(classes), torch.randint(-1, classes, (20,))])
    memory.reset(labels, F.normalize(torch.randn(len(labels), 5), dim=1))
    embeddings, targets = 10 * torch.randn(images, 5), torch.randint(classes, (images,))
    if seed % 3 == 0:
        embeddings[:] = embeddings[0]
    expected, unit = memory.rows.clone(), F.normalize(embeddings, dim=1)
    for c in targets.unique():
        own = unit[targets == c]
        for x in own[(own @ memory.rows[c]).argmin()][None] if hard else own:
            expected[c] = F.normalize(momentum * expected[c] + (1 - momentum) * x, dim=0)
    memory.update(embeddings, targets)
    torch.testing.assert_close(memory.rows, expected)


@pytest.mark.parametrize("memory", [ClusterMemory(4), HybridMemory(4)])
def test_odd_input(memory):
    """A class of no image, an empty batch, half precision within autocast."""
    features = F.normalize(torch.randn(3, 4), dim=1)
    memory.reset(torch.tensor([0, 2, 2]), features)
    state = copy.deepcopy(memory.state_dict())
    nothing = torch.empty(0, dtype=torch.long)
    memory.update(torch.empty(0, 4), nothing, nothing)
    assert all(torch.equal(value, state[name]) for name, value in memory.state_dict().items())
    x = torch.randn(5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        inside = memory(x)
    assert torch.equal(inside, memory(x))
    assert inside.shape == (5, 3)
    assert torch.isfinite(inside).all()
    memory.update(x[:2].bfloat16(), torch.tensor([0, 2]), torch.tensor([0, 1]))
    memory.reset(torch.full((3,), -1), features)
    assert memory.num_classes == 0


@pytest.mark.parametrize("seed", range(3))
def test_rows_follow_one_image_after_the_other(seed):
    torch.manual_seed(seed)
    rows, index = F.normalize(torch.randn(5, 4), dim=1), torch.randint(5, (17,))
    embeddings = F.normalize(torch.randn(17, 4), dim=1)
    expected = rows.clone()
    for i, x in zip(index, embeddings, strict=True):
        moved = 0.3 * expected[i] + 0.7 * x
        expected[i] = moved / moved.norm()
    follow(rows, index, embeddings, 0.3)
    torch.testing.assert_close(rows, expected)


def test_labels_give_centroids_and_keep_the_source():
    features = F.normalize(torch.randn(6, 4), dim=1)
    features[2] = torch.nan  # an image that could not be read
    labels = torch.tensor([1, 0, -1, 1, 1, 0])
    memory = ClusterMemory(4)
    memory.reset(torch.arange(3), 2 * torch.eye(4)[:3])
    for _ in range(2):  # the second time other target rows go
        memory.reset(labels, features, keep=3)
    expected = [features[[1, 5]].mean(0), features[[0, 3, 4]].mean(0)]
    torch.testing.assert_close(memory.rows, torch.cat([torch.eye(4)[:3], F.normalize(torch.stack(expected))]))


def test_hybrid_entries_stay_while_labels_change():
    features = F.normalize(torch.randn(5, 4), dim=1)
    features[4] = torch.nan
    memory = HybridMemory(4, momentum=0.5)
    memory.reset(torch.arange(2), torch.eye(4)[:2])
    memory.reset(torch.tensor([0, 0, 1, -1, -1]), features, keep=2)
    assert memory.num_classes == 4
    source, target = F.normalize(torch.randn(2, 4), dim=1)
    memory.update(torch.stack([source, target]), torch.tensor([1, 3]), torch.tensor([4, 2]))
    torch.testing.assert_close(memory.entries[1], F.normalize(torch.eye(4)[1] + source, dim=0))
    torch.testing.assert_close(memory.entries[4], F.normalize(features[2] + target, dim=0))
    entries = memory.entries.clone()
    memory.reset(torch.tensor([1, 0, 2, 0, -1]), torch.randn(5, 4), keep=2)
    assert torch.equal(memory.entries, entries)
    x = torch.randn(3, 4)
    means = torch.stack([entries[0], entries[1], entries[[3, 5]].mean(0), entries[2], entries[4]])
    expected = (F.normalize(x) @ means.t() / 0.05).softmax(1)
    torch.testing.assert_close(memory(x).softmax(1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("arguments", [(0, 0.05, 0.1), (4, 0.0, 0.1), (4, 0.05, 1.0), (4, 0.05, -0.1)])
@pytest.mark.parametrize("memory", [ClusterMemory, HybridMemory])
def test_impossible_memories_are_refused(memory, arguments):
    with pytest.raises(ValueError, match="must be positive"):
        memory(*arguments)


@pytest.fixture
def with_memory(make_model):
    """A model of two pairs whose memories know three classes, and a batch."""

    def make(**overrides):
        model = make_model(MMT__CLASSIFIER="memory", **overrides)
        size = model.students[0].heads.weight.shape[1]
        features = F.normalize(torch.randn(2, 6, size, generator=torch.Generator().manual_seed(1)), dim=2)
        model.reset_memories(TARGETS, features)
        return model, {**batch(), "indices": torch.arange(6)}

    return make


@pytest.mark.parametrize("followed", ["student", "teacher"])
def test_a_pair_classifies_by_its_memory_which_moves_after_the_step(with_memory, followed):
    model, inputs = with_memory(MMT__MEMORY__UPDATE=followed, MMT__MEMORY__MOMENTUM=0.5)
    for parameter in model.teachers.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    nets = copy.deepcopy(model)
    views = [nets.normalize(view) for view in inputs["images"].unbind(1)]
    outputs = {
        name: [net(view)["embeddings"] for net, view in zip(networks, views, strict=True)]
        for name, networks in (("student", nets.students), ("teacher", nets.teachers))
    }
    logits = {
        name: [F.normalize(x) @ memory.rows.t() / 0.05 for x, memory in zip(own, nets.memories, strict=True)]
        for name, own in outputs.items()
    }
    losses = model(inputs)
    expected = 0.5 * sum(label_smooth_cross_entropy(z, TARGETS, 0.1) for z in logits["student"])
    torch.testing.assert_close(losses["loss_ce"], expected)
    crossed = zip(logits["student"], logits["teacher"][::-1], strict=True)
    torch.testing.assert_close(
        losses["loss_soft_ce"], 0.5 * sum(soft_cross_entropy(*each) for each in crossed)
    )
    sum(losses.values()).backward()
    assert model.students[0].heads.bottleneck[0].weight.grad.abs().sum() > 0
    for memory, before in zip(model.memories, nets.memories, strict=True):
        assert torch.equal(memory.rows, before.rows)
    model.update_memories()
    for memory, before, own in zip(model.memories, nets.memories, outputs[followed], strict=True):
        before.update(own.detach(), TARGETS)
        torch.testing.assert_close(memory.rows, before.rows)


def test_memories_are_part_of_the_state_and_weights_are_not_trained(with_memory):
    model, _ = with_memory()
    assert model.num_classes == 3
    assert model.state_dict()["memories.1.rows"].shape[0] == 3
    assert not any(student.heads.weight.requires_grad for student in model.students)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"MMT__CLASSIFIER": "memori"},
            "CLASSIFIER is 'memori', but nothing is registered under .* did you mean memory",
        ),
        ({"PSEUDO_LABELS__METHOD": "ground_truth"}, "whose memory is filled by clustering"),
        ({"MODEL__HEADS__CLS_LAYER": "CosSoftmax"}, "which knows no margin"),
        ({"MMT__MEMORY__UPDATE": "teacher", "MMT__EMA__ENABLED": False}, "MMT.MEMORY.UPDATE is 'teacher'"),
        ({"MMT__MEMORY__TEMPERATURE": 0.0}, "MMT.MEMORY.TEMPERATURE is 0.0"),
    ],
)
def test_what_cannot_work_is_refused(tiny_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_config(tiny_config(**{"MMT__CLASSIFIER": "memory", **overrides}))


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("plaza2metro_mmt", {"MMT__CLASSIFIER": "hybrid", "PSEUDO_LABELS__OUTLIERS": "singletons"}),
        ("plaza2metro_mmt_plus", {"MMT__CLASSIFIER": "memory", "MMT__JOINT__ROWS": "centroids"}),
    ],
)
def test_a_run_with_a_memory_trains_and_resumes_to_the_bit(tiny_config, tmp_path, recipe, overrides):
    """Stopped after the first of two epochs, and not stopped: the same checkpoint."""
    settings = {**overrides, "MMT__SOURCE__PRETRAIN": False, "MODEL__HEADS__CLS_LAYER": "Linear"}
    settings |= {"DATASETS__TESTS": (), "SOLVER__CHECKPOINT_PERIOD": 1}
    found = []
    for stops in (False, True):
        cfg = tiny_config(recipe, **settings, OUTPUT_DIR=str(tmp_path / str(stops)))
        Path(cfg.OUTPUT_DIR).mkdir()
        if stops:
            with closing(MMTTrainer(cfg)) as trainer:
                trainer.resume_or_load(resume=False)
                trainer.max_epoch = 1
                trainer.train()
        train(cfg, resume=stops)
        found.append(torch.load(Path(cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)["model"])
    names = [name for name in found[0] if name.startswith("memories.1.")]
    assert names
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    first = found[0]["memories.0.rows" if "memories.0.rows" in found[0] else "memories.0.entries"]
    torch.testing.assert_close(first.norm(dim=1), torch.ones(len(first)))


def test_a_skipped_step_leaves_the_memory_alone(tiny_config, monkeypatch):
    """The second of two steps is bad: the memory ends as the first one left it."""
    cfg = tiny_config(
        MMT__CLASSIFIER="memory",
        MMT__SOURCE__PRETRAIN=False,
        SOLVER__ON_BAD_STEP="skip",
        SOLVER__MAX_EPOCH=1,
        DATASETS__TESTS=(),
    )
    losses, rows = MutualMeanTeaching.losses, []

    def spoiled(self, outputs):
        rows.append(self.memories[0].rows.clone())
        terms = losses(self, outputs)
        return {**terms, "loss_ce": terms["loss_ce"] * (torch.nan if len(rows) == 2 else 1)}

    monkeypatch.setattr(MutualMeanTeaching, "losses", spoiled)
    train(cfg, resume=False)
    final = torch.load(Path(cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)["model"]
    assert not torch.equal(rows[0], rows[1])
    assert torch.equal(final["memories.0.rows"], rows[1])

"""How wrong hard labels are, and how far teachers agree with them, against loops over images."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastreid.utils.events import EventStorage
from torch import nn

from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.engine.hooks.label_noise import NAMES, PREFIX, LabelNoiseHook
from mmt_plugin.engine.pipeline import train
from mmt_plugin.pseudo_labels import PseudoLabels

CLASSES, DIM = 3, 4
TRUTH = np.array([0, 0, 1, 1, 2, 2, 2, 0])
LABELS = np.array([0, 0, 0, 1, 2, 2, 1, -1])  # clusters of persons 0, 1 (of equally common ones the first), 2


class Network(nn.Module):
    """Answers with numbers that were drawn beforehand, one row an image of the data set."""

    def __init__(self, seed: int, classes: int = CLASSES):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(len(TRUTH) * 2, classes, generator=generator)
        self.features = torch.randn(len(TRUTH) * 2, DIM, generator=generator)

    def forward(self, rows):
        return {"logits": self.logits[rows], "features": self.features[rows]}


class Model(nn.Module):
    device = torch.device("cpu")

    def __init__(self, pairs: int, teachers: bool = True, classes: int = CLASSES, triplets: float = 1.0):
        super().__init__()
        self.objective = {"loss_soft_triplet"} if triplets else set()
        self.students = nn.ModuleList(Network(seed, classes) for seed in range(pairs))
        self.teachers = nn.ModuleList(Network(10 + seed, classes) for seed in range(pairs if teachers else 0))

    def forward(self, batch):
        for network in (*self.students, *self.teachers):
            network(batch["rows"])


def trainer_of(model: nn.Module, source_classes: int = 0) -> SimpleNamespace:
    found = PseudoLabels.from_features(LABELS, np.eye(len(LABELS), dtype=np.float32))
    return SimpleNamespace(
        raw_model=model,
        label_hook=SimpleNamespace(labels=found),
        num_source_classes=source_classes,
        storage=EventStorage(),
        steps_done=0,
        step_was_skipped=False,
    )


def means(hook: LabelNoiseHook) -> dict[str, float]:
    hook.after_epoch()
    latest = hook.trainer.storage.latest()
    return {name.removeprefix(PREFIX): value for name, (value, _) in latest.items()}


def recorded(model: nn.Module, batches: list[dict], source_classes: int = 0) -> dict[str, float]:
    hook = LabelNoiseHook(TRUTH)
    hook.trainer = trainer_of(model, source_classes)
    hook.before_train()
    hook.before_epoch()
    for batch in batches:
        model(batch)
        hook.after_step()
    model.eval()
    model(batches[0])
    hook.after_train()
    assert not any(module._forward_hooks for module in model.modules())
    return means(hook)


def batch_of(images: list[int]) -> dict:
    indices = torch.tensor(images)
    return {"indices": indices, "targets": torch.tensor(LABELS)[indices], "rows": indices}


def mean_by_loop(peers: list[tuple[nn.Module, nn.Module]], batches: list[list[int]]) -> dict[str, float]:
    values = {name: [] for name in NAMES}
    person_of_cluster = [0, 1, 2]
    for images in batches:
        for student, teacher in peers:
            for i in images:
                p = torch.softmax(teacher.logits[i], dim=0).tolist()
                wrong = person_of_cluster[LABELS[i]] != TRUTH[i]
                values["wrong"].append(wrong)
                values["p_wrong" if wrong else "p_right"].append(p[LABELS[i]])
                if wrong:
                    own = [p[c] for c in range(CLASSES) if person_of_cluster[c] == TRUTH[i]]
                    values["p_own"].append(sum(own))

                def distance(network, j, i=i):
                    return float((network.features[i] - network.features[j]).norm())

                far = max((j for j in images if LABELS[j] == LABELS[i]), key=lambda j: distance(student, j))
                near = min((j for j in images if LABELS[j] != LABELS[i]), key=lambda j: distance(student, j))
                t = 1 / (1 + np.exp(distance(teacher, far) - distance(teacher, near)))
                wrong = TRUTH[far] != TRUTH[i] or TRUTH[near] == TRUTH[i]
                values["triplets_wrong"].append(wrong)
                values["t_wrong" if wrong else "t_right"].append(t)
    return {name: np.mean(found) for name, found in values.items()}


@pytest.mark.parametrize("pairs", [1, 2])
@pytest.mark.parametrize("teachers", [True, False], ids=["teachers", "no teachers"])
def test_means_are_those_of_a_loop(pairs, teachers):
    model = Model(pairs, teachers)
    batches = [[0, 1, 2, 3], [2, 6, 4, 5]]
    networks = list(model.teachers if teachers else model.students)
    peers = list(zip(model.students, networks[1:] + networks[:1], strict=True))
    found, expected = recorded(model, [batch_of(images) for images in batches]), mean_by_loop(peers, batches)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Of triplets, an image's distance to itself is rounding alone, which differs by processor.
        tolerance = 1e-4 if name.startswith("t_") else 1e-5
        assert found[name] == pytest.approx(value, abs=tolerance), name


def test_where_no_label_is_wrong_nothing_is_said_of_wrong_ones():
    found = recorded(Model(2), [batch_of([0, 1, 4, 5])])
    assert (found["wrong"], found["triplets_wrong"]) == (0, 0)
    assert found.keys() == {"wrong", "p_right", "triplets_wrong", "t_right"}


def test_source_images_are_left_out():
    target, source = [0, 2, 3, 6], [0, 1, 2, 3]  # four rows of either; those of the source come first
    model = Model(2, classes=CLASSES + 2)
    labels = torch.tensor(LABELS)[torch.tensor(target)] + 2
    batch = {
        "indices": torch.tensor(source + target),
        "targets": torch.cat([torch.tensor([0, 0, 1, 1]), labels]),
        "domains": torch.tensor([0] * 4 + [1] * 4),
        "rows": torch.tensor([8, 9, 10, 11, *target]),
    }
    found = recorded(model, [batch], source_classes=2)
    assert found["wrong"] == pytest.approx(2 / 4)  # images 2 and 6
    p = [torch.softmax(teacher.logits[i], 0)[2 + LABELS[i]] for teacher in model.teachers for i in (2, 6)]
    assert found["p_wrong"] == pytest.approx(float(np.mean(p)), abs=1e-6)
    # Each target image's only positive is another person; the triplets of source images would all be right.
    assert found["triplets_wrong"] == 1
    assert "t_right" not in found


def test_a_loss_that_is_not_computed_mines_no_triplets():
    one_cluster = batch_of([0, 1, 2])  # in which no triplet can be mined
    assert recorded(Model(2, triplets=0.0), [one_cluster]).keys() == {"wrong", "p_wrong", "p_right", "p_own"}


def test_skipped_steps_do_not_count():
    model, images = Model(2), [0, 1, 2, 3]
    expected = recorded(model, [batch_of(images)])
    model.train()
    hook = LabelNoiseHook(TRUTH)
    hook.trainer = trainer_of(model)
    hook.before_train()
    hook.before_epoch()
    model(batch_of([2, 6, 4, 5]))
    hook.trainer.step_was_skipped = True
    hook.after_step()
    model(batch_of(images))
    hook.trainer.step_was_skipped = False
    hook.after_step()
    hook.after_train()
    assert means(hook) == expected


def test_a_run_resumed_within_an_epoch_records_all_of_it():
    batches = [batch_of([0, 1, 2, 3]), batch_of([2, 6, 4, 5])]
    expected = recorded(Model(2), batches)
    state = LabelNoiseHook(TRUTH).state_dict()
    for done, batch in enumerate(batches):
        hook = LabelNoiseHook(TRUTH)
        hook.trainer = trainer_of(Model(2))
        hook.trainer.steps_done = done
        hook.load_state_dict(state)
        hook.before_train()
        hook.before_epoch()
        hook.trainer.raw_model(batch)
        hook.after_step()
        state = hook.state_dict()
    assert means(hook) == pytest.approx(expected)


def test_a_run_records_its_epochs_and_is_not_changed(tiny_config, tmp_path):
    metrics = []
    for noise in (True, False):
        folder = tmp_path / str(noise)
        metrics.append(train(tiny_config(REPORT__LABEL_NOISE=noise, OUTPUT_DIR=str(folder)), resume=False))
    assert metrics[0] == metrics[1]
    weights = [
        torch.load(tmp_path / name / "model_final.pth", weights_only=True) for name in ("True", "False")
    ]
    assert all(torch.equal(weights[0]["model"][key], weights[1]["model"][key]) for key in weights[0]["model"])
    lines = [json.loads(line) for line in Path(tmp_path, "True", "metrics.json").read_text().splitlines()]
    found = {name: [line[PREFIX + name] for line in lines if PREFIX + name in line] for name in NAMES}
    assert len(found["wrong"]) == len(found["triplets_wrong"]) == 2
    assert all(0 <= value <= 1 for values in found.values() for value in values)


def test_joint_runs_record_it_too(tiny_config):
    cfg = tiny_config("plaza2metro_mmt_plus", REPORT__LABEL_NOISE=True)
    train(cfg, resume=False)
    text = Path(cfg.OUTPUT_DIR, "metrics.json").read_text()
    assert text.count(PREFIX + "wrong") == 2


def test_images_without_identities_are_an_error():
    with pytest.raises(DatasetError, match=r"REPORT\.LABEL_NOISE is True, but .* carry no identities"):
        LabelNoiseHook(None)

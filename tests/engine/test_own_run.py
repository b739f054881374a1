"""From crops to a model: runs on own folders and lists, with what they know and what they do not."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin import data
from mmt_plugin.commands.strip_labels import strip_labels
from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.data.items import training_items
from mmt_plugin.engine import MMTTrainer, load_for_evaluation
from mmt_plugin.engine.hooks.pseudo_labels import PseudoLabelHook
from mmt_plugin.engine.pipeline import train
from mmt_plugin.pseudo_labels import conflicts


@pytest.fixture
def crops(tiny_config, tmp_path):
    """The tiny SynthMetro's training images, stripped."""
    paths = [item[0] for item in training_items(tiny_config().DATASETS.TARGETS)]
    strip_labels(paths, tmp_path / "crops")
    return tmp_path / "crops"


@pytest.fixture
def own_config(tiny_config):
    def make(target, **overrides):
        cfg = tiny_config(DATASETS__TARGETS=(target,), DATASETS__TESTS=(), **overrides)
        data.configure(cfg)
        return cfg

    return make


def test_stripped_crops_give_a_model_that_can_be_evaluated_later(own_config, crops):
    cfg = own_config(f"folder:{crops}", MMT__SELECTION__RULE="stable")
    assert train(cfg, resume=False) == {}
    results = json.loads(Path(cfg.OUTPUT_DIR, "results.json").read_text())
    assert results["clusters"] == 8
    assert "cross_camera" not in results["label_free"]
    recorded = set().union(*map(json.loads, Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()))
    assert not {"ARI", "NMI", "mAP"} & recorded  # nothing here comes from an annotation
    later = cfg.clone()
    later.DATASETS.TESTS = ("SynthMetro",)
    later.MODEL.WEIGHTS = str(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    assert MMTTrainer.test(later, load_for_evaluation(later))["mAP"] > 0


def test_a_labelled_own_test_set_is_evaluated(own_config, crops):
    dataset = data.items.build_dataset("SynthMetro")
    for part in ("query", "gallery"):
        (crops / part).mkdir()
        for path, _, _ in getattr(dataset, part):
            (crops / part / Path(path).name).symlink_to(path)
    name = f"folder:{crops}"
    cfg = own_config(name)
    cfg.DATASETS.TESTS = (name, "SynthMetro")
    results = train(cfg, resume=False)
    assert results[name] == results["SynthMetro"]


@pytest.mark.parametrize("method", ["dbscan", "kmeans"])
def test_tracklets_of_a_list_share_labels_in_a_run(own_config, crops, tmp_path, method):
    names = sorted(path.name for path in crops.iterdir())
    tracklets = np.arange(len(names)) // 3
    lines = ["path,camera,tracklet,frame"] + [
        f"crops/{name},cam{t % 2},{t},{t // 4}" for name, t in zip(names, tracklets, strict=True)
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    cfg = own_config(
        f"csv:{tmp_path / 'list.csv'}",
        PSEUDO_LABELS__MUST_LINK=True,
        PSEUDO_LABELS__CANNOT_LINK=True,
        PSEUDO_LABELS__METHOD=method,
        PSEUDO_LABELS__DBSCAN__EPS_RULE="rho",
        PSEUDO_LABELS__DBSCAN__RHO=0.1,
        PSEUDO_LABELS__K1=8,
        PSEUDO_LABELS__K2=2,
    )
    Path(cfg.OUTPUT_DIR).mkdir()
    trainer = MMTTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    trainer.close()
    labels = trainer.label_hook.labels.labels
    assert all(len(set(labels[tracklets == t])) == 1 for t in range(tracklets.max() + 1))
    # Every fourth tracklet and the one after the next are seen together by one camera.
    pairs = [(t, t + 2) for t in range(tracklets.max() - 1) if t % 4 < 2]
    assert pairs
    assert conflicts(labels, tracklets, np.array(pairs)) == 0
    assert "cross_camera" in trainer.label_free_quality
    assert trainer.label_free_quality["conflicts"] == 0
    # Known, but not used: then it is told how often they share a cluster.
    cfg.PSEUDO_LABELS.MUST_LINK = cfg.PSEUDO_LABELS.CANNOT_LINK = False
    hook = PseudoLabelHook(cfg, training_items(cfg.DATASETS.TARGETS))
    assert (hook.tracklets, hook.exclusive) == (None, None)
    assert len(hook.together[1]) == len(pairs)
    np.testing.assert_array_equal(hook.together[1], trainer.label_hook.exclusive)


def test_cameras_that_are_not_known_cannot_be_compared(own_config, crops):
    cfg = own_config(
        f"folder:{crops}", PSEUDO_LABELS__METHOD="dbscan", PSEUDO_LABELS__CAMERA_AWARE__ENABLED=True
    )
    with pytest.raises(DatasetError, match=r"PSEUDO_LABELS\.CAMERA_AWARE\.ENABLED"):
        PseudoLabelHook(cfg, training_items(cfg.DATASETS.TARGETS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--eval-only"], "error: --eval-only: DATASETS.TESTS is empty"),
        (
            ["DATASETS.TARGETS", "('folder:{folder}/none',)"],
            "error: there is no folder '{folder}/none' (folder: in DATASETS)",
        ),
        (
            ["--eval-only", "DATASETS.TESTS", "('folder:{folder}',)"],
            "error: DATASETS.TESTS names folder:{folder}, which has no query and no gallery images",
        ),
    ],
)
def test_mistakes_end_in_one_sentence(crops, tmp_path, command, options, message):
    settings = {**TINY, "OUTPUT_DIR": tmp_path / "run", "DATASETS.TARGETS": (f"folder:{crops}",)}
    config = REPOSITORY / "configs" / "own" / "folder_no_source.yml"
    flags = [word for word in options if word.startswith("--")]
    words = [word.format(folder=crops) for word in options if not word.startswith("--")]
    ended = command("train", "--config-file", config, *flags, *as_options(settings), *words)
    assert ended.status == 2
    assert ended.err.startswith(message.format(folder=crops))

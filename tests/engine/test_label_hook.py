"""Labels at the start of an epoch, degenerate clusterings included."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastreid.utils.events import EventStorage

from mmt_plugin.data.items import training_items
from mmt_plugin.data.unreadable import UnreadableImages
from mmt_plugin.engine.hooks import pseudo_labels as label_hook
from mmt_plugin.engine.hooks.pseudo_labels import DegenerateClusteringError, PseudoLabelHook
from mmt_plugin.engine.pipeline import train
from mmt_plugin.engine.resume.stopping import StopHook
from mmt_plugin.pseudo_labels import PseudoLabels


def labels_of(values) -> PseudoLabels:
    values = np.asarray(values)
    features = np.eye(len(values), dtype=np.float32)[:, :6]
    return PseudoLabels.from_features(values, features)


@pytest.fixture
def make_hook(tiny_config, monkeypatch):
    """A hook over 60 images whose clustering gives the labellings handed over, one an epoch."""

    def make(labellings, **overrides):
        cfg = tiny_config(**overrides)
        hook = PseudoLabelHook(cfg, training_items(cfg.DATASETS.TARGETS))
        calls = iter(labellings)
        monkeypatch.setattr(label_hook, "extract_features", lambda *_: torch.ones(2, 60, 6))
        monkeypatch.setattr(label_hook, "cluster", lambda *_, **__: labels_of(next(calls)))
        trainer = SimpleNamespace(
            raw_model=SimpleNamespace(device="cpu"), storage=EventStorage(), used=[], restarted=[]
        )
        trainer.steps_done, trainer.stop = 0, StopHook()
        trainer.data_loader = SimpleNamespace(skipped=[UnreadableImages(["image.jpg"] * 60, 0.1)])
        trainer.set_labels = trainer.used.append
        trainer.restart_classifiers = lambda rows, count: trainer.restarted.append((len(rows), count))
        hook.trainer = trainer
        return hook

    return make


def scalars(hook) -> dict:
    return {name: value for name, (value, _) in hook.trainer.storage.latest().items()}


def test_clusters_become_labels_and_classifier_rows(make_hook):
    hook = make_hook([np.arange(60) % 10])
    hook.before_epoch()
    assert hook.trainer.used[0].tolist() == (np.arange(60) % 10).tolist()
    assert hook.trainer.restarted == [(10, 10)]
    recorded = scalars(hook)
    assert (recorded["clusters"], recorded["outliers"], recorded["largest_cluster"]) == (10, 0, 6)
    assert -0.5 < recorded["ARI"] < 0.5


def test_clustering_is_told_cameras_device_and_what_came_before(make_hook, monkeypatch):
    hook = make_hook([np.arange(60) % 10, np.arange(60) % 5])
    told, answer = [], label_hook.cluster
    monkeypatch.setattr(label_hook, "cluster", lambda *_, **options: (told.append(options), answer())[1])
    hook.before_epoch()
    first = hook.labels
    hook.before_epoch()
    assert [options["previous"] for options in told] == [None, first]
    assert told[0]["device"] == "cpu"
    cameras = [item[2] for item in training_items(hook.cfg.DATASETS.TARGETS)]
    assert len(set(cameras)) > 1
    assert len(set(zip(cameras, told[0]["cameras"].tolist(), strict=True))) == len(set(cameras))


@pytest.mark.parametrize("degenerate", [np.full(60, -1), np.zeros(60, dtype=int)])
def test_degenerate_first_clustering_stops_with_advice(make_hook, degenerate):
    hook = make_hook([degenerate])
    with pytest.raises(DegenerateClusteringError, match=r"PSEUDO_LABELS\.DBSCAN\.EPS"):
        hook.before_epoch()
    assert hook.trainer.used == []


@pytest.mark.parametrize("degenerate", [np.full(60, -1), np.zeros(60, dtype=int)])
def test_degenerate_later_clustering_keeps_the_previous_labels(make_hook, degenerate, caplog):
    good = np.arange(60) % 10
    hook = make_hook([good, degenerate, good + 0])
    hook.before_epoch()
    with caplog.at_level(logging.WARNING):
        logging.getLogger("fastreid").propagate = True
        hook.before_epoch()
    assert "keeping the previous epoch's 10 clusters" in caplog.text
    assert hook.trainer.used[1].tolist() == good.tolist()
    assert len(hook.trainer.restarted) == 1  # the classifiers go on as they are
    hook.before_epoch()
    assert len(hook.trainer.restarted) == 2


def test_unannotated_images_have_no_agreement(make_hook):
    hook = make_hook([np.arange(60) % 10])
    hook.truth = None
    hook.before_epoch()
    assert "ARI" not in scalars(hook)


def test_state_round_trip(make_hook):
    hook = make_hook([np.arange(60) % 10])
    hook.before_epoch()
    other = make_hook([])
    other.load_state_dict(hook.state_dict())
    assert other.labels.labels.tolist() == hook.labels.labels.tolist()
    other.load_state_dict(make_hook([]).state_dict())
    assert other.labels is None


def test_real_run_with_fewer_clusters_than_a_batch_needs(tiny_config):
    """2 clusters for batches of 4 identities: identities repeat, training goes on."""
    metrics = train(tiny_config(PSEUDO_LABELS__KMEANS__NUM_CLUSTERS=2), resume=False)
    assert np.isfinite(metrics["mAP"])


def test_rho_radius_is_frozen_after_the_first_epoch(tiny_config, monkeypatch):
    cfg = tiny_config(
        PSEUDO_LABELS__METHOD="dbscan", PSEUDO_LABELS__DBSCAN__EPS_RULE="rho", PSEUDO_LABELS__DBSCAN__RHO=0.1
    )
    hook = PseudoLabelHook(cfg, training_items(cfg.DATASETS.TARGETS))
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 16, generator=generator).repeat_interleave(6, dim=0)

    def features(spread):
        return torch.nn.functional.normalize(
            centres + spread * torch.randn(60, 16, generator=generator), dim=1
        )

    monkeypatch.setattr(label_hook, "extract_features", lambda *_: features(0.4).expand(2, 60, 16))
    hook.trainer = SimpleNamespace(
        raw_model=SimpleNamespace(device="cpu"),
        storage=EventStorage(),
        set_labels=lambda _: None,
        restart_classifiers=lambda *_: None,
    )
    hook.trainer.steps_done, hook.trainer.stop = 0, StopHook()
    hook.trainer.data_loader = SimpleNamespace(skipped=[UnreadableImages(["image.jpg"] * 60, 0.1)])
    hook.before_epoch()
    first = hook.labels.eps
    monkeypatch.setattr(label_hook, "extract_features", lambda *_: features(0.1).expand(2, 60, 16))
    hook.before_epoch()
    assert hook.labels.eps == first


@pytest.mark.parametrize("normalize", [True, False])
def test_the_mean_of_the_networks_features_is_clustered_normalised_where_the_config_says_so(
    make_hook, monkeypatch, normalize
):
    hook = make_hook([], PSEUDO_LABELS__NORMALIZE=normalize)
    networks = torch.randn(2, 60, 6, generator=torch.Generator().manual_seed(0))
    clustered = []

    def cluster(features, *_, **__):
        clustered.append(features)
        return labels_of(np.arange(60) % 10)

    monkeypatch.setattr(label_hook, "extract_features", lambda *_: networks)
    monkeypatch.setattr(label_hook, "cluster", cluster)
    hook.before_epoch()
    mean = (networks[0] + networks[1]) / 2
    expected = mean / mean.norm(dim=1, keepdim=True) if normalize else mean
    torch.testing.assert_close(clustered[0], expected)

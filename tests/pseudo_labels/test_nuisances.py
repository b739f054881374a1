"""Clusters that follow cameras or poses, and a radius that needs no hand."""

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg

from mmt_plugin.config import add_mmt_config
from mmt_plugin.pseudo_labels import cluster
from mmt_plugin.pseudo_labels.quality.label_free import guard, label_free_quality
from mmt_plugin.pseudo_labels.quality.nuisances import follows, layouts, nuisance_warnings, pose_groups


def stripes(vertical: bool, colour: tuple) -> torch.Tensor:
    wave = (torch.arange(64) // 4 % 2).float()
    picture = wave.expand(128, 64) if vertical else wave.repeat(2)[:, None].expand(128, 64)
    return picture * torch.tensor(colour)[:, None, None] + 20


def test_a_layout_knows_poses_and_no_colours():
    images = torch.stack([stripes(v, c) for v in (True, False) for c in ((9.0, 90, 30), (200, 20, 10))] * 4)
    found = layouts(images.byte())
    assert torch.allclose(found[0], found[1], atol=0.05)
    assert (found[0] - found[2]).norm() > 1
    groups = pose_groups(np.concatenate([found.numpy(), np.full((1, found.shape[1]), np.nan)]))
    assert not set(groups[:16:4]) & set(groups[2:16:4])


def test_clusters_that_follow_cameras_are_told():
    draw = np.random.default_rng(0)
    cameras, identities = draw.integers(0, 4, 400), draw.integers(0, 40, 400)
    assert follows(identities, cameras) < 0.1
    mixed = cameras * 40 + identities  # clusters of one identity in one camera
    assert follows(np.unique(mixed, return_inverse=True)[1], cameras) > 0.99
    assert follows(np.full(400, -1), cameras) == 0
    (sentence,) = nuisance_warnings({"follows_cameras": 0.9, "follows_poses": 0.1})
    assert "CAMERA_AWARE" in sentence


def test_the_guard_falls_with_each_doubt():
    fine = {
        "silhouette": 0.5,
        "clustered": 0.8,
        "follows_cameras": 0.2,
        "follows_poses": 0.2,
        "largest": 0.05,
    }
    assert guard(fine) == pytest.approx(0.4)
    for worse in ({"silhouette": 0.4}, {"clustered": 0.7}, {"follows_poses": 0.9}, {"follows_cameras": 0.9}):
        assert guard({**fine, **worse}) < 0.4
    assert guard({**fine, "largest": 0.4}) < guard({**fine, "largest": 0.2}) < 0.4


@pytest.mark.parametrize(("each", "k1"), [(6, 6), (6, 20), (30, 20)])
def test_the_radius_is_found_for_small_and_large_clusters(each, k1):
    draw = np.random.default_rng(0)
    truth = np.repeat(np.arange(12), each)
    features = np.repeat(draw.standard_normal((12, 24)), each, axis=0)
    features += 0.35 * draw.standard_normal(features.shape)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cfg = get_cfg()
    add_mmt_config(cfg)
    cfg.PSEUDO_LABELS.K1 = k1
    cfg.PSEUDO_LABELS.DBSCAN.EPS_RULE = "auto"
    found = cluster(features.astype(np.float32), cfg)
    assert found.num_clusters == 12
    assert all(len(set(found.labels[truth == k]) - {-1}) == 1 for k in range(12))
    kept = cluster(features.astype(np.float32), cfg, previous=found)
    assert kept.eps == found.eps
    networks = np.stack([features, features])
    poses = draw.integers(0, 8, len(truth))
    quality = label_free_quality(found, features, networks, poses=poses)
    assert quality["guard"] == guard(quality)

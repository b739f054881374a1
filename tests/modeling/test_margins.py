"""Margin classifiers against the published values, and where those would be NaN."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastreid.layers import any_softmax
from tiny import REPOSITORY

from mmt_plugin.modeling.layers import ArcMarginSoftmax


@pytest.mark.parametrize(("file", "layer"), [("arcface", "ArcMarginSoftmax"), ("cosface", "CosSoftmax")])
def test_logits_as_published(file, layer):
    with np.load(REPOSITORY / "tests" / "golden" / f"{file}.npz") as data:
        golden = {name: torch.from_numpy(np.asarray(data[name])) for name in data.files}
    layer = getattr(any_softmax, layer)(40, float(golden["scale"]), float(golden["margin"]))
    cosine = F.linear(F.normalize(golden["features"]), F.normalize(golden["weight"]))
    logits = layer(cosine.clone(), golden["labels"])
    torch.testing.assert_close(logits, golden["logits"], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [1.0, 1.0 + 1e-6, -1.0, -1.0 - 1e-6])
def test_aligned_and_opposite_vectors_stay_finite(value):
    cosine = torch.tensor([[value, 0.0]], requires_grad=True)
    logits = ArcMarginSoftmax(2, 64.0, 0.35)(cosine, torch.tensor([0]))
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(cosine.grad).all()


def test_logit_falls_with_the_angle_beyond_the_threshold_too():
    """cos(theta + m) alone would rise again for theta > pi - m."""
    angles = torch.linspace(0.05, math.pi - 0.05, 200)
    logits = ArcMarginSoftmax(1, 1.0, 0.5)(angles.cos()[:, None], torch.zeros(200, dtype=torch.long))[:, 0]
    inside, beyond = logits[angles < math.pi - 0.5], logits[angles > math.pi - 0.5]
    assert (inside.diff() < 0).all()
    assert (beyond.diff() < 0).all()

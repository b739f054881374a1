"""Small models."""

import pytest
import torch
from fastreid.modeling.meta_arch import build_model

import mmt_plugin  # noqa: F401  (registration)


@pytest.fixture
def make_model(tiny_config):
    def make(num_classes: int = 3, **overrides):
        torch.manual_seed(0)
        model = build_model(tiny_config(**overrides))
        model.set_classifiers(None, num_classes)
        return model

    return make

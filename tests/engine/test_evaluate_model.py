"""All networks evaluated in one pass, with the scores each would get alone."""

import pytest
import torch
from fastreid.evaluation import ReidEvaluator, inference_on_dataset
from fastreid.modeling.meta_arch import build_model

from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.evaluate_model import network_names


@pytest.mark.parametrize("flip", [False, True])
def test_each_network_scores_as_it_does_alone(tiny_config, flip):
    cfg = tiny_config(TEST__FLIP__ENABLED=flip)
    torch.manual_seed(0)
    model = build_model(cfg)
    together = MMTTrainer.test(cfg, model)
    for k, name in enumerate(network_names(model)):
        model.inference_index.fill_(k)
        loader, num_query = MMTTrainer.build_test_loader(cfg, "SynthMetro")
        alone = inference_on_dataset(model, loader, ReidEvaluator(cfg, num_query), flip_test=flip)
        for metric, value in alone.items():
            assert together[f"{name}/{metric}"] == pytest.approx(value, abs=1e-3)
    assert together["mAP"] == together["teacher1/mAP"]
    assert together["teacher1/mAP"] != together["teacher2/mAP"]


def test_several_test_sets_are_reported_by_name(tiny_config):
    cfg = tiny_config(DATASETS__TESTS=("SynthMetro", "SynthPlaza"))
    results = MMTTrainer.test(cfg, build_model(cfg))
    assert list(results) == ["SynthMetro", "SynthPlaza"]
    assert "teacher2/Rank-1" in results["SynthPlaza"]


def test_network_names(tiny_config):
    assert network_names(build_model(tiny_config())) == ["teacher1", "teacher2"]
    assert network_names(build_model(tiny_config(MMT__EMA__ENABLED=False))) == ["student1", "student2"]

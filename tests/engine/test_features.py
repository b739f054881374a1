"""Extraction and BN re-estimation over an image set."""

import torch
import torch.nn.functional as F
from fastreid.modeling.meta_arch import build_model

from mmt_plugin.data.build import build_extraction_loader
from mmt_plugin.data.items import training_items
from mmt_plugin.engine.features import extract_features, reestimate_bn_statistics


def test_features_are_those_of_each_image_alone(tiny_config):
    cfg = tiny_config()
    model = build_model(cfg)
    loader = build_extraction_loader(cfg, training_items(cfg.DATASETS.TARGETS)[:11])
    features = extract_features(model, loader)
    assert features.shape[:2] == (2, 11)
    assert model.training
    model.eval()
    for k, network in enumerate(model.inference_networks):
        for i in (0, 10):
            alone = F.normalize(network(model.normalize(loader.dataset[i][None])), dim=1)[0]
            torch.testing.assert_close(features[k, i], alone, atol=1e-5, rtol=1e-4)


def test_bn_statistics_become_the_average_over_the_images(tiny_config):
    cfg = tiny_config(
        TEST__IMS_PER_BATCH=10, MODEL__BACKBONE__NAME="build_resnet_backbone", MODEL__BACKBONE__DEPTH="18x"
    )
    model = build_model(cfg)
    loader = build_extraction_loader(cfg, training_items(cfg.DATASETS.TARGETS)[:30])
    network = model.inference_networks[1]
    bn, momentum = network.backbone.bn1, network.backbone.bn1.momentum
    bn.running_mean.fill_(1e3)
    weights = [p.clone() for p in model.parameters()]
    reestimate_bn_statistics(model, loader)
    with torch.no_grad():
        maps = network.backbone.conv1(model.normalize(torch.cat(list(loader))))
    torch.testing.assert_close(bn.running_mean, maps.mean(dim=(0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert bn.momentum == momentum
    assert model.training
    assert bn.training
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))

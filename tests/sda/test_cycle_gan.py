"""The model: which network judges and translates what, and who learns from which loss."""

import pytest
import torch

from mmt_plugin.sda.cycle_gan import TO_SOURCE, TO_TARGET
from mmt_plugin.sda.losses import adversarial_loss, discriminator_loss, relation_consistency_loss
from mmt_plugin.sda.translation_trainer import SDATrainer


@pytest.fixture
def model(sda_config):
    torch.manual_seed(0)
    return SDATrainer.build_model(sda_config())


@pytest.fixture
def batch():
    torch.manual_seed(1)
    images = 255 * torch.rand(2, 4, 3, 32, 24)
    return {"images": images[0], "target_images": images[1], "targets": torch.tensor([0, 0, 1, 1])}


def test_what_a_generator_returns_is_normalised(model, batch):
    """What leaves a generator is normalised like what enters it."""
    images = model.translate(batch)
    torch.testing.assert_close(model.pixels(images.source), batch["images"], atol=1e-3, rtol=1e-4)
    pixels = model.pixels(images.fake_target)
    assert pixels.min() >= -1e-3
    assert pixels.max() <= 255.001
    own = model.generators[TO_TARGET](images.source)
    torch.testing.assert_close(pixels, 255 * own, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(model(batch), pixels, atol=1e-3, rtol=1e-4)


def test_generator_losses_are_those_of_the_report(model, batch):
    images = model.translate(batch)
    losses = model.generator_losses(images, batch["targets"], epoch=0)
    judges = model.discriminators
    forth, back = (lambda x, n=name: model.apply_generator(n, x) for name in (TO_TARGET, TO_SOURCE))

    def l1(a, b):
        return (a - b).abs().mean()

    source, target = images.source, images.target
    expected = {
        "loss_adversarial": adversarial_loss(judges[TO_TARGET](forth(source)))
        + adversarial_loss(judges[TO_SOURCE](back(target))),
        "loss_cycle": 10 * (l1(back(forth(source)), source) + l1(forth(back(target)), target)),
        "loss_identity": 5 * (l1(forth(target), target) + l1(back(source), source)),
        "loss_relation": relation_consistency_loss(
            model.regularizer.target(forth(source)), model.regularizer.source(source), batch["targets"]
        ),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, atol=1e-4, rtol=1e-4)


def test_each_discriminator_judges_the_domain_that_is_translated_into(model, batch):
    images = model.translate(batch)
    losses = model.discriminator_losses(images)
    pairs = {
        TO_TARGET: (images.target, images.fake_target),
        TO_SOURCE: (images.source, images.fake_source),
    }
    for name, (real, fake) in pairs.items():
        judge = model.discriminators[name]
        torch.testing.assert_close(
            losses[f"loss_discriminator_{name}"], discriminator_loss(judge(real), judge(fake))
        )
        assert int(model.pools[name].stored) == 4
        assert torch.equal(model.pools[name].images[:4], fake)


def test_discriminators_get_no_gradient_to_the_generators(model, batch):
    sum(model.discriminator_losses(model.translate(batch)).values()).backward()
    assert all(p.grad is None for p in model.generators.parameters())
    assert all(p.grad is not None for p in model.discriminators.parameters())


def test_without_an_identity_loss_nothing_is_computed_for_it(sda_config, batch):
    model = SDATrainer.build_model(sda_config(SDA__IDENTITY_WEIGHT=0.0, SDA__RELATION_WEIGHT=0.0))
    images = model.translate(batch)
    assert images.same_source is images.same_target is None
    assert model.generator_losses(images, batch["targets"], 0).keys() == {"loss_adversarial", "loss_cycle"}


def test_spgan_has_a_network_in_place_of_encoders(sda_config, batch):
    model = SDATrainer.build_model(sda_config("sda/plaza2metro_spgan"))
    assert model.trained.keys() == {"generators", "discriminators", "similarity"}
    images = model.translate(batch)
    early, late = (model.generator_losses(images, batch["targets"], epoch) for epoch in (1, 2))
    assert late.keys() - early.keys() == {"loss_self_similarity"}
    late["loss_self_similarity"].backward(retain_graph=True)
    assert any(p.grad.abs().sum() > 0 for p in model.generators[TO_TARGET].parameters() if p.grad is not None)
    model.zero_grad()
    model.regularizer.network_losses(images)["loss_similarity_network"].backward()
    assert all(p.grad is None for p in model.generators.parameters())
    assert all(p.grad is not None for p in model.regularizer.network.parameters())

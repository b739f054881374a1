"""Batch normalisation by chunk and by domain against as many separate layers."""

import copy

import pytest
import torch
from fastreid.layers import get_norm
from fastreid.layers.batch_norm import IBN
from torch import nn

from mmt_plugin.modeling.layers import (
    SOURCE,
    TARGET,
    ChunkedBatchNorm,
    DomainBatchNorm,
    batch_norms,
    convert_batch_norm,
    fold_batch_norm,
    match_domains,
    route,
    whole_batches,
)


def filled(norm: nn.Module, seed: int = 0) -> nn.Module:
    """The layer with parameters and statistics that differ from channel to channel."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in (*norm.parameters(), *norm.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return norm


def images(count: int, shape: tuple[int, ...] = (5, 3, 2), seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("make", "shape"), [(nn.BatchNorm2d, (5, 3, 2)), (nn.BatchNorm1d, (5,))])
def test_chunks_equal_replicas(make, shape):
    """Output, gradients and statistics of 4 replicas with 4 images each, over two steps."""
    norm = filled(make(5))
    replicas = [copy.deepcopy(norm) for _ in range(4)]
    chunked = convert_batch_norm(norm, chunk=4)
    for step in range(2):
        x = images(16, shape, seed=step).requires_grad_()
        expected = torch.cat([replica(part) for replica, part in zip(replicas, x.chunk(4), strict=True)])
        weights = images(16, shape, seed=9)
        (expected * weights).sum().backward()
        wanted, x.grad = x.grad, None
        output = chunked(x)
        (output * weights).sum().backward()
        torch.testing.assert_close(output, expected)
        torch.testing.assert_close(x.grad, wanted)
    for name, parameter in chunked.named_parameters():
        torch.testing.assert_close(parameter.grad, sum(getattr(r, name).grad for r in replicas))
    for name in ("running_mean", "running_var"):
        mean = sum(getattr(r, name) for r in replicas) / 4
        torch.testing.assert_close(getattr(chunked, name), mean)
    assert int(chunked.num_batches_tracked) == 2


def test_chunks_are_consecutive_images():
    chunked = convert_batch_norm(nn.BatchNorm2d(5), chunk=4)
    x = images(8)
    before = chunked(x)
    x[4:] *= 3
    after = chunked(x)
    torch.testing.assert_close(before[:4], after[:4])
    torch.testing.assert_close(before[4:], after[4:], atol=1e-3, rtol=1e-3)  # each chunk has unit variance


@pytest.mark.parametrize(("chunk", "batch"), [(0, 6), (6, 6), (16, 6)])
def test_a_batch_of_one_chunk_is_an_ordinary_layer(chunk, batch):
    norm = filled(nn.BatchNorm2d(5))
    plain, chunked = copy.deepcopy(norm), convert_batch_norm(norm, chunk=chunk)
    torch.testing.assert_close(chunked(images(batch)), plain(images(batch)))
    torch.testing.assert_close(chunked.running_var, plain.running_var)


def test_without_momentum_statistics_are_the_average_over_batches():
    norm = nn.BatchNorm2d(5, momentum=None)
    chunked = convert_batch_norm(norm, chunk=2)
    batches = [images(4, seed=seed) for seed in range(3)]
    for batch in batches:
        chunked(batch)
    torch.testing.assert_close(chunked.running_mean, torch.cat(batches).mean(dim=(0, 2, 3)))


def test_evaluation_uses_running_statistics():
    norm = filled(nn.BatchNorm2d(5))
    plain, chunked = copy.deepcopy(norm).eval(), convert_batch_norm(norm, chunk=2).eval()
    assert torch.equal(chunked(images(6)), plain(images(6)))


def test_domains_have_their_own_statistics_whatever_their_shares():
    norm = filled(nn.BatchNorm2d(5))
    source, target = copy.deepcopy(norm), copy.deepcopy(norm)
    specific = convert_batch_norm(norm, domain_specific=True)
    x = images(11)
    domains = torch.tensor([SOURCE] * 3 + [TARGET] * 8)
    with route(domains):
        output = specific(x)
    torch.testing.assert_close(output, torch.cat([source(x[:3]), target(x[3:])]))
    torch.testing.assert_close(specific.source.running_mean, source.running_mean)
    torch.testing.assert_close(specific.target.running_mean, target.running_mean)
    assert not torch.allclose(source.running_mean, target.running_mean)


def test_domains_may_come_in_any_order():
    norm = filled(nn.BatchNorm2d(5))
    source, target = copy.deepcopy(norm), copy.deepcopy(norm)
    x = images(9)
    with route(torch.tensor([1, 1, 0, 0, 0, 1, 1, 1, 1])):
        output = convert_batch_norm(norm, domain_specific=True)(x)
    torch.testing.assert_close(output, torch.cat([target(x[:2]), source(x[2:5]), target(x[5:])]))


def test_each_domain_is_chunked_on_its_own():
    norm = filled(nn.BatchNorm2d(5))
    parts = [copy.deepcopy(norm) for _ in range(3)]
    x = images(12)
    with route(torch.tensor([SOURCE] * 4 + [TARGET] * 8)):
        output = convert_batch_norm(norm, chunk=4, domain_specific=True)(x)
    torch.testing.assert_close(output, torch.cat([n(c) for n, c in zip(parts, x.chunk(3), strict=True)]))


def test_training_must_say_the_domain_and_evaluation_is_on_the_target():
    specific = convert_batch_norm(filled(nn.BatchNorm2d(5)), domain_specific=True)
    with pytest.raises(RuntimeError, match="domain of each image"):
        specific(images(4))
    with route(torch.tensor([SOURCE, SOURCE, TARGET])), pytest.raises(RuntimeError):
        specific(images(4))  # a route of 3 images
    filled(specific.source, 1)
    specific.eval()
    x = images(4)
    assert torch.equal(specific(x), specific.target(x))
    with route(SOURCE):
        assert torch.equal(specific(x), specific.source(x))
    assert torch.equal(specific(x), specific.target(x))


def test_frozen_parameters_stay_frozen_unless_asked():
    def neck():
        return get_norm("BN", 5, bias_freeze=True)

    kept = convert_batch_norm(neck(), domain_specific=True)
    for branch in (kept.source, kept.target):
        assert branch.weight.requires_grad
        assert not branch.bias.requires_grad
    freed = convert_batch_norm(neck(), domain_specific=True, unfreeze=True)
    assert all(p.requires_grad for p in freed.parameters())
    assert not convert_batch_norm(neck(), chunk=2).bias.requires_grad


def test_domains_start_equal_and_share_nothing():
    specific = convert_batch_norm(filled(nn.BatchNorm2d(5)), domain_specific=True)
    for a, b in zip(
        specific.source.state_dict().values(), specific.target.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
        assert a.data_ptr() != b.data_ptr()


class Sharing(nn.Module):
    """An IBN, a BN that is used twice, and norms that are to stay."""

    def __init__(self):
        super().__init__()
        self.ibn = IBN(6, "BN")
        self.first = self.second = nn.BatchNorm2d(6)
        self.sync = nn.SyncBatchNorm(6)
        self.kept = nn.Sequential(nn.GroupNorm(2, 6), get_norm("FrozenBN", 6))

    def forward(self, x):
        return self.kept(self.sync(self.second(self.first(self.ibn(x)))))


def test_conversion_finds_every_batch_norm_and_only_those():
    network = convert_batch_norm(Sharing(), domain_specific=True)
    assert isinstance(network.ibn.BN, DomainBatchNorm)
    assert isinstance(network.ibn.IN, nn.InstanceNorm2d)
    assert network.first is network.second
    assert network.sync.target.synchronised
    assert not any(isinstance(m, (ChunkedBatchNorm, DomainBatchNorm)) for m in network.kept.modules())
    assert len(batch_norms(network)) == 3
    assert set(batch_norms(network)).isdisjoint(batch_norms(network, SOURCE))


@pytest.mark.parametrize("domain_specific", [False, True])
def test_folding_gives_the_same_features_under_the_plain_names(domain_specific):
    plain_keys = Sharing().state_dict().keys()
    network = convert_batch_norm(Sharing(), chunk=2, domain_specific=domain_specific)
    for seed, norm in enumerate(network.modules()):
        if isinstance(norm, ChunkedBatchNorm):
            filled(norm, seed)
    network.eval()
    x = images(4, (6, 3, 2))
    for domain in (SOURCE, TARGET):
        with route(domain):
            expected = network(x)
        folded = fold_batch_norm(copy.deepcopy(network), domain)
        assert torch.equal(folded(x), expected)
        assert folded.state_dict().keys() == plain_keys
        assert not any(isinstance(m, (ChunkedBatchNorm, DomainBatchNorm)) for m in folded.modules())


def test_weights_load_across_kinds_of_layers():
    plain, specific = Sharing(), convert_batch_norm(Sharing(), domain_specific=True)
    for norm in batch_norms(plain):
        filled(norm)
    weights = plain.state_dict()
    specific.load_state_dict(match_domains(weights, specific))
    for domain in (SOURCE, TARGET):
        folded = fold_batch_norm(copy.deepcopy(specific), domain).state_dict()
        assert all(torch.equal(folded[key], weights[key]) for key in weights)

    filled(specific.ibn.BN.source, 1)
    other = Sharing()
    other.load_state_dict(match_domains(specific.state_dict(), other, SOURCE))
    assert torch.equal(other.ibn.BN.weight, specific.ibn.BN.source.weight)
    same = match_domains(specific.state_dict(), specific)
    assert same.keys() == specific.state_dict().keys()


def test_whole_batches_for_a_while():
    layer, plain = (convert_batch_norm(nn.BatchNorm2d(5), chunk=chunk) for chunk in (2, 0))
    layer.synchronised = True
    with whole_batches([layer, nn.BatchNorm2d(5)]):
        torch.testing.assert_close(layer(images(8)), plain(images(8)))
    torch.testing.assert_close(layer.running_var, plain.running_var)
    assert (layer.chunk, layer.synchronised) == (2, True)
    assert not torch.allclose(layer(images(8)), plain(images(8)))

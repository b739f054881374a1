"""Networks whose batch normalisation is replaced, and back; and checkpoints of the one kind for the other."""

import re
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .batch_norm import ChunkedBatchNorm, DomainBatchNorm
from .routing import DOMAINS, TARGET

_BRANCH = re.compile(rf"\.({'|'.join(DOMAINS)})\.(weight|bias|running_mean|running_var|num_batches_tracked)$")


def convert_batch_norm(
    network: nn.Module, *, chunk: int = 0, domain_specific: bool = False, unfreeze: bool = False
) -> nn.Module:
    """Replace every 1d, 2d and synchronised BN of a network, the BN half of IBN included, in place.

    To be called when the network has the weights it starts from, before optimisers and copies are made of it.
    Instance, group, layer and frozen normalisation stay as they are.

    Args:
        network: any module; a single BN layer is returned converted.
        chunk: images that share statistics; 0 means all that a process has of a domain.
        domain_specific: whether each domain gets a layer of its own.
        unfreeze: make all parameters of domain-specific layers trainable, the BNNeck's bias too.
    """

    def convert(norm: nn.Module) -> nn.Module | None:
        if not isinstance(norm, _BatchNorm) or isinstance(norm, ChunkedBatchNorm):
            return None
        if not domain_specific:
            return ChunkedBatchNorm(norm, chunk)
        converted = DomainBatchNorm(norm, chunk)
        return converted.requires_grad_() if unfreeze else converted

    return _replace(network, convert)


def fold_batch_norm(network: nn.Module, domain: int = TARGET) -> nn.Module:
    """Undo the conversion, in place: ordinary BN layers, those of one domain where domains have their own.

    Evaluation gives the same features as before; the state dict has the names of a fastreid Baseline again.
    """

    def fold(layer: nn.Module) -> nn.Module | None:
        if isinstance(layer, DomainBatchNorm):
            return layer.of(domain).plain()
        return layer.plain() if isinstance(layer, ChunkedBatchNorm) else None

    return _replace(network, fold)


def batch_norms(network: nn.Module, domain: int = TARGET) -> list[_BatchNorm]:
    """The BN layers that images of a domain pass through, converted or not."""
    others = {
        layer.of(other)
        for layer in network.modules()
        if isinstance(layer, DomainBatchNorm)
        for other in range(len(DOMAINS))
        if other != domain
    }
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer not in others]


def running_statistics(network: nn.Module) -> list[Tensor]:
    """The running means and variances of all BN layers that have them, of every domain."""
    return [
        buffer
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.track_running_stats
        for buffer in (layer.running_mean, layer.running_var)
    ]


def match_domains(weights: dict[str, Tensor], network: nn.Module, domain: int = TARGET) -> dict[str, Tensor]:
    """A network's weights under the names that another one has for its BN layers.

    Args:
        weights: of a network with or without domain-specific BN.
        network: that is to load them. Its domain-specific layers all start from an ordinary one's weights.
        domain: whose branch an ordinary layer gets.
    """
    layers = network.named_modules(remove_duplicate=False)
    specific = {name for name, layer in layers if isinstance(layer, DomainBatchNorm)}
    matched = {}
    for key, value in weights.items():
        branch = _BRANCH.search(key)
        layer, _, leaf = key.rpartition(".")
        if branch and key[: branch.start()] not in specific:
            if branch[1] == DOMAINS[domain]:
                matched[f"{key[: branch.start()]}.{branch[2]}"] = value
        elif not branch and layer in specific:
            matched.update({f"{layer}.{name}.{leaf}": value for name in DOMAINS})
        else:
            matched[key] = value
    return matched


def _replace(module: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """Swap layers below a module, or itself; one that is used in several places stays one."""
    done: dict[nn.Module, nn.Module] = {}

    def visit(layer: nn.Module) -> nn.Module:
        if layer not in done:
            done[layer] = replacement(layer) or layer
            if done[layer] is layer:
                for name, child in layer._modules.items():  # named_children skips a layer's second name
                    if child is not None:
                        setattr(layer, name, visit(child))
        return done[layer]

    return visit(module)

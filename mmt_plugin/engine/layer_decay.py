"""Layer-wise decay of the learning rate (Clark et al., ELECTRA, arXiv 2003.10555), as timm counts layers: the
embedding is the first, each block one more, the last with the norm after it; the head has the whole rate.
"""

from torch import nn

from mmt_plugin.errors import UserError


class LayerDecayError(UserError, ValueError):
    """A backbone whose layers cannot be counted."""


def layer_scales(backbone: nn.Module, decay: float) -> dict[int, float]:
    """What the learning rate of each parameter is multiplied by, by the parameter's id.

    Args:
        backbone: one that numbers its layers itself (`layer_numbers`: by parameter name), or has a list
            ``blocks``.
        decay: factor from one layer to the one before, in (0, 1).

    Raises:
        LayerDecayError: the backbone has neither.
    """
    numbers = backbone.layer_numbers() if hasattr(backbone, "layer_numbers") else _by_blocks(backbone)
    head = max(numbers.values()) + 1
    return {id(parameter): decay ** (head - numbers[name]) for name, parameter in backbone.named_parameters()}


def _by_blocks(backbone: nn.Module) -> dict[str, int]:
    blocks = getattr(backbone, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        raise LayerDecayError(
            f"SOLVER.LAYER_DECAY needs a backbone of blocks, which {type(backbone).__name__} is not: "
            "set it 1.0, or choose a transformer or a timm model"
        )
    numbers = {}
    for name, _ in backbone.named_parameters():
        first, *rest = name.split(".")
        if first == "blocks":
            numbers[name] = 1 + int(rest[0])
        else:
            numbers[name] = len(blocks) if first == "norm" else 0
    return numbers

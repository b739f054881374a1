"""Finds a network in a file of weights, whichever project wrote it, by names and shapes."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from .foreign_names import OWN, PREFERRED, Layout, rename
from .positions import resize_positions

# Share of a network's names that must stand below a prefix before the network is looked for there.
_WORTH_A_LOOK = 0.5


@dataclass(frozen=True)
class Fit:
    """What a file holds for a network.

    Attributes:
        project: whose names the file uses.
        prefix: what stands before each of them.
        weights: those that fit, by the network's names.
        renamed: how many of them have another name in the file, the prefix aside.
        reshaped: names whose shape differs, with both shapes.
        lacking: needed names that nothing fits.
        surplus: names below the network's own modules that it has no place for: a deeper network's, mostly.
        unused: all other names below the prefix.
    """

    project: str
    prefix: str
    weights: dict[str, Tensor] = field(repr=False)
    renamed: int
    reshaped: list[str]
    lacking: list[str]
    surplus: list[str]
    unused: list[str]

    @property
    def is_complete(self) -> bool:
        return not self.lacking and not self.surplus

    def describe(self, total: int) -> str:
        """For the log.

        Args:
            total: weights that the network has.
        """
        where = f", below {self.prefix!r}" if self.prefix else ""
        unused = f"not used: {len(self.unused)}, such as {self.unused[:3]}"
        return (
            f"{len(self.weights)} of the backbone's {total} weights loaded, by the names of {self.project}"
            f"{where}{f', {self.renamed} renamed' if self.renamed else ''}; "
            f"{unused if self.unused else 'nothing is left over'}"
        )

    def complain(self, total: int) -> str:
        """What is wrong, in one clause."""
        parts = []
        if self.lacking:
            shapes = f" ({len(self.reshaped)} of another shape: {self.reshaped[0]})" if self.reshaped else ""
            parts.append(
                f"lacks {len(self.lacking)} of the {total} weights of the backbone, such as "
                f"{', '.join(self.lacking[:3])}{shapes}"
            )
        if self.surplus:
            parts.append(
                f"holds {len(self.surplus)} that the backbone has no place for, such as "
                f"{', '.join(self.surplus[:3])}"
            )
        return " and ".join(parts)


def fit_backbone(
    backbone: nn.Module,
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    layouts: Iterable[tuple[str, Layout]] = (),
) -> Fit:
    """The best of all ways to read a file as weights of a backbone.

    Args:
        backbone: that is to be filled.
        own: its weights, under the names that an ordinary one has (no domain-specific BN).
        given: all tensors of the file, by their keys joined by dots.
        layouts: projects, and how they name the backbone's weights.
    """
    given, layouts = _with_global_branch(given), list(layouts)
    needed = [name for name in own if is_needed(name)]
    fits = [
        _fit(backbone, own, needed, given, prefix, project, renames)
        for prefix in _prefixes(given, len(needed))
        for project, renames in (("its own", OWN), *layouts)
    ]

    def distance(fit: Fit) -> tuple[int, ...]:
        names = (len(fit.lacking), -len(fit.reshaped), len(fit.surplus))
        return *names, _rank(fit.prefix), len(fit.prefix)

    return min(fits, key=distance)


def _prefixes(given: Mapping[str, Tensor], needed: int) -> Iterator[str]:
    """Beginnings of names that are common enough to be where a network stands; always the empty one."""
    counts = {"": len(given)}
    for name in given:
        parts = name.split(".")[:-1]
        for end in range(1, len(parts) + 1):
            prefix = ".".join(parts[:end]) + "."
            counts[prefix] = counts.get(prefix, 0) + 1
    return (prefix for prefix, count in counts.items() if not prefix or count >= _WORTH_A_LOOK * needed)


def _rank(prefix: str) -> int:
    return 0 if set(prefix.split(".")) & set(PREFERRED) else 1


def _fit(
    backbone: nn.Module,
    own: Mapping[str, Tensor],
    needed: list[str],
    given: Mapping[str, Tensor],
    prefix: str,
    project: str,
    renames: Layout,
) -> Fit:
    below = {name[len(prefix) :]: value for name, value in given.items() if name.startswith(prefix)}
    names = {rename(name, renames): name for name in below}
    read = {new: below[old] for new, old in names.items()}
    if hasattr(backbone, "adapt_weights"):  # it knows more than names, such as other image sizes
        read = backbone.adapt_weights(read)
        names = {name: names.get(name, name) for name in read}
    adapted = {name: _adapted(backbone, own[name], name, read) for name in read if name in own}
    weights = {name: value for name, value in adapted.items() if value.shape == own[name].shape}
    modules = {name.split(".")[0] for name in own}
    left = [names[name] for name in read if name not in weights and is_needed(name)]
    surplus = [name for name in read if name not in own and is_needed(name) and name.split(".")[0] in modules]
    return Fit(
        project=project,
        prefix=prefix,
        weights=weights,
        renamed=sum(names[name] != name for name in weights),
        reshaped=[
            f"{name} is {tuple(read[name].shape)}, not {tuple(own[name].shape)}"
            for name in own
            if name in read and name not in weights
        ],
        lacking=[name for name in needed if name not in weights],
        surplus=surplus,
        unused=[name for name in left if rename(name, renames) not in surplus],
    )


def _adapted(backbone: nn.Module, own: Tensor, name: str, read: Mapping[str, Tensor]) -> Tensor:
    """A weight in the shape that is asked for, where that changes nothing of what it means."""
    value = read[name]
    if value.shape == own.shape:
        return value
    patches = getattr(backbone, "patch_embed", None)
    if name == "pos_embed" and hasattr(patches, "num_y") and value.dim() == 3:
        tokens = 2 if "dist_token" in read else 1
        return resize_positions(value, (patches.num_y, patches.num_x), tokens)
    if name.startswith("patch_embed.proj.") and value.dim() == 2 and value.numel() == own.numel():
        return value.reshape(own.shape)  # written by a linear layer
    if value.dim() == 2 and tuple(own.shape) == (*value.shape, 1, 1):
        return value.reshape(own.shape)  # a linear layer for a convolution of 1 x 1
    return value


def _with_global_branch(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """TransReID with its jigsaw branch trains copies of the last block and norm, `b1` for the whole image, in
    place of the backbone's own.
    """
    given = dict(given)
    for name in [name for name in given if re.search(r"(^|\.)b1\.1\.weight$", name)]:
        root = name.removesuffix("b1.1.weight")
        blocks = [re.match(rf"{re.escape(root)}base\.blocks\.(\d+)\.", key) for key in given]
        last = max((int(match[1]) for match in blocks if match), default=None)
        if last is not None:
            for key in [key for key in given if key.startswith(f"{root}b1.")]:
                layer, _, leaf = key.removeprefix(f"{root}b1.").partition(".")
                given[f"{root}base.{f'blocks.{last}' if layer == '0' else 'norm'}.{leaf}"] = given.pop(key)
    return given


def is_needed(name: str) -> bool:
    """Whether no network can do without a weight: not so non-local layers and counters of batches."""
    return not name.startswith("NL_") and "num_batches" not in name

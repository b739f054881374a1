"""Features of target images by the networks that are to start from, and of changed copies of the images.

Shapes: B batch, N images, D feature size, F numbers of a layout.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmt_plugin.engine.trained_model import PRETRAINED
from mmt_plugin.inference.inference_network import PixelsToFeatures
from mmt_plugin.modeling.network import build_network
from mmt_plugin.pseudo_labels.quality.nuisances import layouts
from mmt_plugin.weights.load_network import inference_weights, load_file, load_network, network_weights

# Share of the height and width that a cropped copy keeps.
CROP = 0.84


@dataclass(frozen=True)
class Views:
    """What is known of N images.

    Attributes:
        networks: N x D by each network, of unit length; the first is the one that is used for inference.
        copies: by the first network, "mirrored" and "cropped", N x D.
        layouts: N x F.
    """

    networks: list[np.ndarray]
    copies: dict[str, np.ndarray]
    layouts: np.ndarray

    @property
    def features(self) -> np.ndarray:
        """N x D, what a training would cluster: the mean over the networks, of unit length."""
        return F.normalize(torch.as_tensor(np.mean(self.networks, axis=0)), dim=1).numpy()


def load_networks(cfg: CfgNode, weights: Sequence[str | Path]) -> list[nn.Module]:
    """Networks of normalised pixels, in evaluation mode: of each file the one for inference, and of a single
    file that holds several networks the next one of its kind, too.

    Args:
        cfg: its MODEL says what they are.
        weights: checkpoints, or "pretrained".

    Raises:
        CheckpointError: a file does not fit the configuration.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    networks = []
    for path in map(str, weights):
        if path == PRETRAINED:
            cfg.MODEL.BACKBONE.PRETRAIN = True
            networks.append(build_network(cfg))
            continue
        network = build_network(cfg)
        load_network(network, inference_weights(path, network), path)
        networks.append(network)
        if len(weights) == 1 and (twin := _twin_prefix(path)):
            other = build_network(cfg)
            load_network(other, network_weights(path, other, (twin,)), path)
            networks.append(other)
    mean, std = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    return [PixelsToFeatures(each, mean, std, normalized=True).to(cfg.MODEL.DEVICE) for each in networks]


def _twin_prefix(path: str) -> str:
    """Where a checkpoint of two pairs holds the network that is not used for inference; "" without one."""
    content = load_file(path)
    model = content.get("model", content)
    chosen = int(model.get("inference_index", 0))
    kinds = [f"{kind}.{1 - chosen}." for kind in ("teachers", "students")]
    return next((kind for kind in kinds if any(name.startswith(kind) for name in model)), "")


@torch.inference_mode()
def view_images(networks: Sequence[nn.Module], loader: DataLoader, device: str) -> Views:
    """Show all images to all networks, and changed copies to the first.

    Args:
        networks: of pixels (B x 3 x H x W, 0-255), to B x D of unit length.
        loader: of image batches, in order.
        device: where the networks are.
    """
    found: dict[str, list[Tensor]] = {}
    for images in tqdm(loader, desc="features", leave=False, disable=None):
        found.setdefault("layouts", []).append(layouts(images))
        pixels = images.to(device).float()
        for name, features in _features(networks, pixels):
            found.setdefault(name, []).append(features.cpu())
    whole = {name: torch.cat(parts).numpy() for name, parts in found.items()}
    return Views(
        [whole[f"network {k}"] for k in range(len(networks))],
        {name: whole[name] for name in ("mirrored", "cropped")},
        whole["layouts"],
    )


def _features(networks: Sequence[nn.Module], pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
    for k, network in enumerate(networks):
        yield f"network {k}", network(pixels)
    yield "mirrored", networks[0](pixels.flip(3))
    height, width = pixels.shape[2:]
    top, left = (round(size * (1 - CROP) / 2) for size in (height, width))
    inner = pixels[:, :, top : height - top, left : width - left]
    size = (height, width)
    yield "cropped", networks[0](F.interpolate(inner, size, mode="bilinear", align_corners=False))

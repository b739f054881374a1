"""Features of an image set, and its BN statistics. Shapes: V networks, N images, D feature size."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from fastreid.evaluation.evaluator import inference_context
from fastreid.utils import comm
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmt_plugin.data.unreadable import unreadable_rows
from mmt_plugin.modeling import MutualMeanTeaching
from mmt_plugin.modeling.layers import TARGET, batch_norms, route, whole_batches
from mmt_plugin.pseudo_labels.quality.nuisances import layouts
from mmt_plugin.system.launch import broadcast_buffers


@torch.inference_mode()
def extract_features(model: MutualMeanTeaching, loader: DataLoader, domain: int = TARGET) -> Tensor:
    """L2-normalised features of every inference network in one pass over the images.

    Args:
        model: is put into evaluation mode meanwhile.
        loader: of image batches B x 3 x H x W, each rank's consecutive share.
        domain: of the images, for domain-specific BN.

    Returns:
        V x N x D on the CPU, complete and in order on every rank; NaN where the loader skipped an unreadable
        image.

    Raises:
        FloatingPointError: the networks give NaN or infinite features of readable images.
    """
    broadcast_buffers(model)
    with inference_context(model), route(domain):
        bar = tqdm(loader, desc="features", leave=False, disable=None)
        parts = [_finite_features(model, images) for images in bar]
    mine = torch.cat(parts, dim=1) if parts else torch.empty(len(model.inference_networks), 0, 0)
    shares = [share for share in comm.all_gather(mine) if share.numel()]
    return torch.cat(shares, dim=1)


def _finite_features(model: MutualMeanTeaching, images: Tensor) -> Tensor:
    features = F.normalize(model.extract(images), dim=2).cpu()
    bad = unreadable_rows(images)
    if not torch.isfinite(features[:, ~bad]).all():
        raise FloatingPointError(
            "the networks give features that are NaN or infinite: their weights or batch-norm statistics are "
            "broken; go back to an earlier checkpoint, and lower SOLVER.BASE_LR"
        )
    features[:, bad] = torch.nan
    return features


def extract_layouts(loader: DataLoader) -> Tensor:
    """`layouts` of all images, N x F, complete on every rank; NaN where the loader skipped an image."""
    parts = [layouts(images) for images in tqdm(loader, desc="layouts", leave=False, disable=None)]
    mine = torch.cat(parts) if parts else torch.empty(0)
    return torch.cat([share for share in comm.all_gather(mine) if len(share)])


@contextmanager
def running_statistics_kept(model: MutualMeanTeaching) -> Iterator[None]:
    """After the block, the BN statistics of all inference networks are what they were before it."""
    buffers = [buffer for layer in batch_norms(model.inference_networks) for buffer in layer.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


@torch.no_grad()
def reestimate_bn_statistics(model: MutualMeanTeaching, loader: DataLoader) -> None:
    """Replace the running BN statistics of all inference networks, domain-specific ones of the target, by
    their average over an image set (AdaBN, arXiv 1603.04779).

    Args:
        model: its weights stay as they are.
        loader: of image batches B x 3 x H x W; labels are not involved.
    """
    layers = batch_norms(model.inference_networks)
    momenta = [layer.momentum for layer in layers]
    was_training = model.training
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's cumulative average
        layer.train()
    with whole_batches(layers):
        for images in tqdm(loader, desc="BN statistics", leave=False, disable=None):
            readable = images[~unreadable_rows(images)]
            if len(readable) > 1:
                model.extract(readable)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.train(was_training)

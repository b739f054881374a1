"""Weights from the web, kept in a folder, with a word on where to put them by hand."""

import logging
import os
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from mmt_plugin.weights.backbones import PretrainedError

logger = logging.getLogger("fastreid.mmt.pretrained")


def load_from_url(url: str, model_dir: str | None = None, **kwargs: Any) -> dict[str, Tensor]:
    """`torch.hub.load_state_dict_from_url`, unpickling tensors only, onto the CPU.

    Raises:
        PretrainedError: the file is not in the cache and cannot be downloaded; it says where to put it.
    """
    folder = model_dir or os.path.join(torch.hub.get_dir(), "checkpoints")
    arguments = {**kwargs, "map_location": "cpu", "weights_only": True}
    try:
        return torch.hub.load_state_dict_from_url(url, model_dir, **arguments)
    except (URLError, TimeoutError, ConnectionError) as error:
        path = os.path.join(folder, url.split("/")[-1])
        raise PretrainedError(put_it_there(url, path, f"cannot be downloaded ({error})")) from error


def put_it_there(url: str, path: str, reason: str) -> str:
    """The message on weights that are not there.

    Args:
        url: where they can be downloaded.
        path: where they are looked for.
        reason: why they were not downloaded.
    """
    return (
        f"the ImageNet weights {path} are not there and {reason}: download {url} elsewhere and put it there, "
        "or name a file with MODEL.BACKBONE.PRETRAIN_PATH (under the host's names, torchvision's or timm's), "
        "or start from random weights with MODEL.BACKBONE.PRETRAIN False"
    )

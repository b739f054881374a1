"""Where the model and its batches live."""

import logging
from functools import lru_cache

import torch

from mmt_plugin.errors import ConfigError

logger = logging.getLogger("fastreid.mmt.devices")


def resolve_device(cfg) -> str:
    """Turn `MODEL.DEVICE: auto` into "cuda" where there is a CUDA device, else "cpu". Other values are left
    alone, if they name a device of this machine.

    Args:
        cfg: a fastreid config, frozen or not; changed in place.

    Returns:
        The value of MODEL.DEVICE afterwards.

    Raises:
        ConfigError: no device is called so, or this machine has none.
    """
    if cfg.MODEL.DEVICE == "auto":
        frozen = cfg.is_frozen()
        cfg.defrost()
        cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
        if frozen:
            cfg.freeze()
    _require(cfg.MODEL.DEVICE)
    return cfg.MODEL.DEVICE


def _require(name: str) -> None:
    """Refuse a device that is none, or that is not here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        choices = "auto, cpu, cuda, or cuda:0 and so on"
        raise ConfigError(f"MODEL.DEVICE is {name!r}, which is no device: choose {choices}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"MODEL.DEVICE is {name!r}, but torch finds {torch.cuda.device_count()} CUDA devices; auto takes "
            "the CPU where there is none, and mmt doctor says what torch was built for"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"MODEL.DEVICE is {name!r}, which this machine lacks: choose cpu, or auto")


def batch_device(configured: str | torch.device | None, local_rank: int) -> torch.device:
    """The device a process should find its batches on.

    Args:
        configured: MODEL.DEVICE; None, for loaders built without a config, means CUDA where there is any.
        local_rank: number of this process on its machine, which is also the number of its GPU.
    """
    if configured in (None, "auto"):
        configured = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(configured)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", local_rank)
    return device


@lru_cache
def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices natively; emulation is slower than float32. Logged on the
    first call.
    """
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    native = any(getattr(torch.cpu, probe)() for probe in probes if hasattr(torch.cpu, probe))
    logger.warning("SOLVER.AMP.ENABLED on a CPU: computing in %s", "bfloat16" if native else "float32")
    return native

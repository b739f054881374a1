"""Where the model and its batches live."""

import logging
from functools import lru_cache

import torch

logger = logging.getLogger("fastreid.mmt.devices")


def resolve_device(cfg) -> str:
    """Turn `MODEL.DEVICE: auto` into "cuda" where there is a CUDA device, else "cpu". Other values are left
    alone.

    Args:
        cfg: a fastreid config, frozen or not; changed in place.

    Returns:
        The value of MODEL.DEVICE afterwards.
    """
    if cfg.MODEL.DEVICE == "auto":
        frozen = cfg.is_frozen()
        cfg.defrost()
        cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
        if frozen:
            cfg.freeze()
    return cfg.MODEL.DEVICE


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

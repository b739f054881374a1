"""Features of any container and type, made one checked array. Shapes: N images, D feature size."""

import numpy as np
import torch


def search_device(features: np.ndarray | torch.Tensor, device: str | torch.device | None) -> torch.device:
    """Where the neighbours of features are searched: on the given device, else where the features are."""
    if device is None:
        device = features.device if isinstance(features, torch.Tensor) else "cpu"
    return torch.device(device)


def as_feature_matrix(features: np.ndarray | torch.Tensor) -> np.ndarray:
    """Return features as a C-contiguous float32 array on the CPU, without a copy where they already are one.

    Args:
        features: N x D array or tensor of any floating type, memory layout and device.

    Returns:
        N x D float32.

    Raises:
        TypeError: if the values are not floating point.
        ValueError: if the shape is not N x D with D >= 1, or a row holds NaN, infinity or a value beyond
            float32.
    """
    if isinstance(features, torch.Tensor):
        if not features.is_floating_point():
            raise TypeError(f"features are {features.dtype}; expected a floating-point tensor")
        features = features.detach().to(device="cpu", dtype=torch.float32).numpy()
    features = np.asarray(features)
    if not np.issubdtype(features.dtype, np.floating):
        raise TypeError(f"features are {features.dtype}; expected a floating-point array")
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"features have shape {features.shape}; expected N x D with D of at least 1")
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(features, dtype=np.float32)

    bad_rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad_rows.size:
        raise ValueError(
            f"features hold NaN or infinity in row {bad_rows[0]} (and {bad_rows.size - 1} further rows): "
            "check that image and the weights of the network"
        )
    return features

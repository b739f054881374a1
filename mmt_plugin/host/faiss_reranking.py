"""Re-ranking with whichever build of faiss is installed."""

from functools import wraps

import faiss
import numpy as np
import torch
from fastreid.utils import compute_dist, faiss_utils

from . import parts
from .patching import replace


def rerank_in_linear_memory() -> None:
    """Without it re-ranking asks for CUDA, or, on a GPU machine with faiss-cpu, for "StandardGpuResources";
    holds two matrices over all pairs of test images; and gives wrong distances without a word for fewer
    images than K1.
    """
    replace(compute_dist, "build_dist", _without_all_pairs)


def _without_all_pairs(build_dist):
    @wraps(build_dist)
    def build(feat_1: torch.Tensor, feat_2: torch.Tensor, metric: str = "euclidean", **kwargs) -> np.ndarray:
        if metric != "jaccard":
            return build_dist(feat_1, feat_2, metric, **kwargs)
        k2 = min(kwargs["k2"], kwargs["k1"], len(feat_1) + len(feat_2))
        return parts.given.jaccard_distances(feat_1, feat_2, kwargs["k1"], k2)

    return build


def point_faiss_to_tensors() -> None:
    """Without it handing index tensors to faiss fails with "no attribute 'cast_integer_to_long_ptr'"."""
    if not hasattr(faiss, "cast_integer_to_long_ptr"):
        replace(faiss_utils, "swig_ptr_from_LongTensor", lambda _: _pointer_to_int64)


def _pointer_to_int64(tensor: torch.Tensor):
    if not tensor.is_contiguous() or tensor.dtype != torch.int64:
        raise ValueError(
            f"faiss needs a contiguous int64 tensor, this is {tensor.dtype} with strides {tensor.stride()}"
        )
    return faiss.cast_integer_to_idx_t_ptr(tensor.data_ptr())


REPAIRS = (rerank_in_linear_memory, point_faiss_to_tensors)

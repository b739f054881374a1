"""Re-ranking with whichever build of faiss is installed."""

from functools import wraps

import faiss
import torch
from fastreid.utils import compute_dist, faiss_utils

from .patching import replace

_CPU_SEARCH = 3


def rerank_without_gpu_faiss() -> None:
    """Without it re-ranking asks for CUDA, or, on a GPU machine with faiss-cpu, for "StandardGpuResources";
    fewer images than K1 give wrong distances without a word.
    """
    replace(compute_dist, "compute_jaccard_distance", _with_available_search)


def _with_available_search(compute_jaccard_distance):
    @wraps(compute_jaccard_distance)
    def compute(
        features: torch.Tensor, k1: int = 20, k2: int = 6, search_option: int = 0, fp16: bool = False
    ):
        if not _gpu_search_is_available():
            search_option = _CPU_SEARCH
        # faiss fills missing neighbours with -1, which numpy takes for the last image.
        k1, k2 = min(k1, len(features)), min(k2, len(features))
        return compute_jaccard_distance(features, k1, k2, search_option, fp16)

    return compute


def _gpu_search_is_available() -> bool:
    return torch.cuda.is_available() and hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


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


REPAIRS = (rerank_without_gpu_faiss, point_faiss_to_tensors)

"""What the repairs need and the host lacks. This package imports nothing of the program that it is part of;
that program hands these over, once, with `repair(parts)`.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Parts:
    """Functions and error types that replace, or stand behind, the host's own.

    Args:
        load_weights: (path, **kwargs) -> what the file holds; reads data only, never code.
        load_from_url: `torch.hub.load_state_dict_from_url`, reading data only.
        load_pretrained: (backbone, path) fills a backbone from a file, or refuses it.
        put_it_there: (url, path, reason) -> the message on weights that cannot be downloaded.
        resize_positions: (position embeddings, grid, extra tokens, old grid) -> those of another grid.
        is_needed: whether a network cannot do without the weight of that name.
        replace_when_complete: (path, mode) -> a context with a file that takes its name once it is whole.
        read_image: (path) -> an RGB image, or UnreadableImageError.
        leave_signals: (worker number) makes a loader worker leave signals to its main process.
        batch_device: (MODEL.DEVICE, local rank) -> the device of this process.
        cpu_has_bfloat16: whether the CPU computes in bfloat16.
        broadcast_buffers: (model) gives every rank the buffers of rank 0.
        unwritten_scalars: (writer) -> (name, value, iteration) of the scalars that are new to it.
        launch: (main_func, processes, ...) starts the processes of a run.
        rank_gallery: the ranking of a gallery, with CMC and average precisions.
        jaccard_distances: (features, features, k1, k2) -> distances of k-reciprocal neighbours.
        PretrainedError: weights that are not there, or of another network.
        DataError: data, or a batch size, that cannot be used; a ValueError.
        MissingFileError: a file or folder that is not there; a FileNotFoundError.
        UnknownNameError: a name that no registry holds; a KeyError.
    """

    load_weights: Callable
    load_from_url: Callable
    load_pretrained: Callable
    put_it_there: Callable
    resize_positions: Callable
    is_needed: Callable
    replace_when_complete: Callable
    read_image: Callable
    leave_signals: Callable
    batch_device: Callable
    cpu_has_bfloat16: Callable
    broadcast_buffers: Callable
    unwritten_scalars: Callable
    launch: Callable
    rank_gallery: Callable
    jaccard_distances: Callable
    PretrainedError: type[Exception]
    DataError: type[Exception]
    MissingFileError: type[Exception]
    UnknownNameError: type[Exception]


# Set by `repair`, before anything reads it.
given: Parts

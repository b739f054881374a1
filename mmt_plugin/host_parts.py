"""What the plugin hands over to the repairs of the host."""

from typing import Any

from .errors import DataError, MissingFileError, UnknownNameError
from .host.parts import Parts
from .runs.unwritten import unwritten_scalars
from .system.decoding import read_image
from .system.devices import batch_device, cpu_has_bfloat16
from .system.files import replace_when_complete
from .system.launch import broadcast_buffers, launch
from .system.signals import leave_signals_to_the_main_process
from .weights.backbones import PretrainedError, load_pretrained
from .weights.checkpoint_files import load_weights
from .weights.download import load_from_url, put_it_there
from .weights.fit import is_needed
from .weights.positions import resize_positions


def _rank_gallery(*args: Any, **kwargs: Any) -> Any:
    # Imported here: it compiles, which a process that ranks nothing need not wait for.
    from .retrieval.ranking import rank_gallery

    return rank_gallery(*args, **kwargs)


def _jaccard_distances(*args: Any, **kwargs: Any) -> Any:
    from .retrieval.reranking import jaccard_distances

    return jaccard_distances(*args, **kwargs)


PARTS = Parts(
    load_weights=load_weights,
    load_from_url=load_from_url,
    load_pretrained=load_pretrained,
    put_it_there=put_it_there,
    resize_positions=resize_positions,
    is_needed=is_needed,
    replace_when_complete=replace_when_complete,
    read_image=read_image,
    leave_signals=leave_signals_to_the_main_process,
    batch_device=batch_device,
    cpu_has_bfloat16=cpu_has_bfloat16,
    broadcast_buffers=broadcast_buffers,
    unwritten_scalars=unwritten_scalars,
    launch=launch,
    rank_gallery=_rank_gallery,
    jaccard_distances=_jaccard_distances,
    PretrainedError=PretrainedError,
    DataError=DataError,
    MissingFileError=MissingFileError,
    UnknownNameError=UnknownNameError,
)

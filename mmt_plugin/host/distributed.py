"""Several processes: started on any device, and models on the CPU in them."""

import sys
from typing import Any

from fastreid.engine import defaults
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from . import parts
from .patching import replace


def launch_on_any_device() -> None:
    """Without it more than one process needs CUDA ("cuda is not available"), and the processes of a run
    import the host unrepaired.
    """
    # The package's attribute of that name is the function, not the module.
    replace(sys.modules["fastreid.engine.launch"], "launch", lambda _: parts.given.launch)


def wrap_cpu_models_for_ddp() -> None:
    """Without it `DefaultTrainer` cannot wrap a model on the CPU: "device_ids and output_device arguments
    only work with ...".
    """
    # Only here: checkpointer and hooks test for the real class.
    defaults.DistributedDataParallel = distributed_data_parallel


def distributed_data_parallel(
    model: nn.Module, device_ids: list[int] | None = None, **kwargs: Any
) -> DistributedDataParallel:
    """`DistributedDataParallel`, for which a model on the CPU must not be given device ids."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    return DistributedDataParallel(model, device_ids=None if on_cpu else device_ids, **kwargs)


REPAIRS = (launch_on_any_device, wrap_cpu_models_for_ddp)

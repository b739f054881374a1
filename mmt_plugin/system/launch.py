"""The processes of a run: NCCL on GPUs, gloo on CPUs."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from mmt_plugin.errors import UserError

from .devices import batch_device
from .signals import heeded

GRACE_SECONDS = 15


class LaunchError(UserError, ValueError):
    """Processes that cannot be started as asked; the message names the option."""


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    device: str | None = None,
) -> None:
    """Run `main_func(*args)` in as many processes as asked for, or, in a process that torchrun started, once.

    Args:
        main_func: a function of a module, so that it can be sent to the processes.
        num_gpus_per_machine: processes on this machine; one GPU each, where there are GPUs.
        num_machines, machine_rank: number of machines, and which one this is.
        dist_url: where rank 0 listens, e.g. "tcp://127.0.0.1:8686"; "auto" or None finds a free local port.
        args: arguments of `main_func`.
        device: MODEL.DEVICE; None or "auto" means CUDA where there is any.

    Raises:
        LaunchError: fewer GPUs than processes, or several machines without a common address.
    """
    world_size = num_machines * num_gpus_per_machine
    device_type = batch_device(device, 0).type
    if dist.is_torchelastic_launched():
        _run_rank_of_torchrun(main_func, device_type, args)
        return
    if world_size == 1:
        main_func(*args)
        return
    if device_type == "cuda" and num_gpus_per_machine > torch.cuda.device_count():
        raise LaunchError(
            f"{num_gpus_per_machine} processes (--num-gpus) need as many GPUs, this machine has "
            f"{torch.cuda.device_count()}; with MODEL.DEVICE cpu they need none"
        )
    if dist_url in (None, "auto"):
        if num_machines > 1:
            raise LaunchError("several machines need a common address (--dist-url tcp://host:port)")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    context = mp.spawn(
        _run_rank,
        nprocs=num_gpus_per_machine,
        args=(main_func, world_size, num_gpus_per_machine, machine_rank, dist_url, device_type, args),
        join=False,
    )
    with _passing_on_signals(context.pids()) as received:
        # When a process fails or dies, the others get this long to end by themselves, and again to be ended.
        while not context.join(grace_period=GRACE_SECONDS):
            pass
    if received:
        sys.exit(128 + received[0])


@contextmanager
def _passing_on_signals(pids: list[int]) -> Iterator[list[int]]:
    """Let the processes of a run, not the one that waits for them, react to signals that ask it to stop.

    Yields:
        The signals received so far.
    """
    received: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        for pid in pids:
            with suppress(ProcessLookupError):
                # A terminal's Ctrl-C reaches the processes directly; a second one would end them at once.
                os.kill(pid, signal.SIGTERM)

    previous = {number: signal.signal(number, pass_on) for number in heeded()}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run_rank_of_torchrun(main_func: Callable, device_type: str, args: tuple) -> None:
    names = ("LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")
    local_rank, world_size, ranks_per_machine, machine = (int(os.environ[name]) for name in names)
    _run_rank(local_rank, main_func, world_size, ranks_per_machine, machine, "env://", device_type, args)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _run_rank(
    local_rank: int,
    main_func: Callable,
    world_size: int,
    ranks_per_machine: int,
    machine_rank: int,
    dist_url: str,
    device_type: str,
    args: tuple,
) -> None:
    """The body of one process; found by name in the new process, which imports and so repairs the host."""
    from fastreid.utils import comm

    if device_type == "cuda":
        torch.cuda.set_device(local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // ranks_per_machine))
    dist.init_process_group(
        "nccl" if device_type == "cuda" else "gloo",
        init_method=dist_url,
        world_size=world_size,
        rank=machine_rank * ranks_per_machine + local_rank,
    )
    for machine in range(world_size // ranks_per_machine):
        group = dist.new_group(list(range(machine * ranks_per_machine, (machine + 1) * ranks_per_machine)))
        if machine == machine_rank:
            comm._LOCAL_PROCESS_GROUP = group
    main_func(*args)
    # Rank 0 holds the others' meeting point: nobody leaves before all are done.
    comm.synchronize()
    leave_process_group()


def leave_process_group() -> None:
    """Destroy the process group and what the host remembers of it, so that another can be made."""
    from fastreid.utils import comm

    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()


def broadcast_buffers(model: nn.Module) -> None:
    """Give every rank the buffers, batch-norm statistics above all, of rank 0, whose are the ones that are
    saved.

    The host averages gradients only; buffers drift apart from rank to rank. Does nothing in a single process.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)

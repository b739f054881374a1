"""What a training step costs beside the sum of its parts: bare students, bare teachers and the optimiser.

The step is the trainer's own, with everything that its hooks do in an iteration; only the loader is left out.
"""

import argparse
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from tabulate import tabulate
from torch import Tensor, nn

from mmt_plugin.config import load_config
from mmt_plugin.engine.optimizer import build_optimizer
from mmt_plugin.modeling import build_network
from mmt_plugin.modeling.losses import moco_loss

from .measure import seconds
from .ready_trainer import ReadyTrainer, ready_trainer

DEFAULT_CONFIGS = ("configs/synthetic/plaza2metro_mmt.yml", "configs/synthetic/plaza2metro_mmt_plus.yml")
# What makes a network's BN layers fastreid's own.
BARE = ["MMT.DSBN.ENABLED", False, "MMT.IMAGES_PER_BN", 0]
STEP = "step, ms"
WARM_UP = 3
MEGABYTE = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this measurement's options to a command line."""
    parser.add_argument("--config-files", nargs="+", default=DEFAULT_CONFIGS, help="recipes to compare")
    parser.add_argument("--classes", type=int, default=200, help="live classes of one domain")
    parser.add_argument("--repeats", type=int, default=15, help="steps measured, of which the median counts")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides for all")


def run(arguments: argparse.Namespace) -> None:
    """Print one table: a row a recipe, with the step, its parts, and what classifier and queues occupy."""
    rows = [
        measure(load_config(file, arguments.opts), arguments.classes, arguments.repeats)
        for file in arguments.config_files
    ]
    for file, row in zip(arguments.config_files, rows, strict=True):
        row["recipe"] = file
    keys = ["recipe", *(key for key in rows[0] if key != "recipe")]
    table = [[key, *(row[key] for row in rows)] for key in keys]
    print(f"\nTraining step beside its parts, medians of {arguments.repeats}\n")
    print(tabulate(table[1:], headers=table[0], tablefmt="github", floatfmt=".1f"))


def measure(cfg: CfgNode, classes: int, repeats: int) -> dict[str, float | int]:
    """Milliseconds and megabytes of one recipe.

    Step and parts take turns on the same tensors. The overhead is the median over the turns of step / parts:
    what disturbs the machine for longer than a turn disturbs both.
    """
    torch.manual_seed(0)
    with ready_trainer(cfg, classes) as trainer:
        actions = {STEP: trainer.one_iteration, **necessary_work(trainer)}
        turns = [
            {name: 1000 * seconds(action, trainer.cfg.MODEL.DEVICE) for name, action in actions.items()}
            for _ in range(WARM_UP + repeats)
        ][WARM_UP:]
        model, batch = trainer.raw_model, trainer.data_loader.batch
        parts = [sum(turn.values()) - turn[STEP] for turn in turns]
        rows = model.students[0].heads.weight
        return {
            **{name: median(turn[name] for turn in turns) for name in actions},
            "sum of parts, ms": median(parts),
            "overhead, %": median(
                100 * (turn[STEP] / part - 1) for turn, part in zip(turns, parts, strict=True)
            ),
            "images of a batch": len(batch["targets"]),
            "live classes": model.num_classes,
            "classifier of a network, MB": megabytes(rows),
            "classifier by live class, kB": 1000 * megabytes(rows) / len(rows),
            "queues, MB": sum(megabytes(queue.queue) for queue in model.queues),
            "kept for the backward pass by a MoCo loss, MB": kept_by_moco(model, len(batch["targets"])),
        }


def necessary_work(trainer: ReadyTrainer) -> dict[str, Callable[[], object]]:
    """The parts that no implementation can do without, on bare networks of the same sizes: a forward and
    backward pass of each student with a plain cross-entropy, a forward pass of each teacher, and one step of
    the optimiser.
    """
    model, batch = trainer.raw_model, trainer.data_loader.batch
    plain = trainer.cfg.clone()
    plain.defrost()
    plain.merge_from_list(BARE)
    students, teachers = (
        nn.ModuleList(build_network(plain) for _ in networks).to(model.device)
        for networks in (model.students, model.teachers)
    )
    for network in (*students, *teachers):
        network.heads.set_num_classes(model.num_classes)
    optimizer = build_optimizer(plain, students)
    views = [model.normalize(view) for view in batch["images"].unbind(dim=1)]
    targets = batch["targets"].to(model.device)

    def students_forward_backward() -> None:
        optimizer.zero_grad()
        for network, view in zip(students, views, strict=True):
            F.cross_entropy(network(view, targets)["logits"], targets).backward()

    @torch.no_grad()
    def teachers_forward() -> None:
        for network, view in zip(teachers, views, strict=False):
            network(view, targets)

    return {
        "students forward and backward, ms": students_forward_backward,
        "teachers forward, ms": teachers_forward,
        "optimiser, ms": optimizer.step,
    }


def kept_by_moco(model: nn.Module, batch_size: int) -> float:
    """Megabytes that autograd keeps of one MoCo loss; a copied queue would be among them."""
    if not len(model.queues):
        return 0.0
    queue = model.queues[0]
    query, key = torch.randn(2, batch_size, queue.queue.shape[1], device=queue.queue.device)
    kept: list[float] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(megabytes(tensor))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        moco_loss(query.requires_grad_(), key, queue.queue)
    return sum(kept)


def megabytes(tensor: Tensor) -> float:
    """What a tensor's elements occupy."""
    return tensor.numel() * tensor.element_size() / MEGABYTE

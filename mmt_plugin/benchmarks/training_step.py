"""What a training step costs beside the sum of its parts: bare students, bare teachers and the optimiser.

Shapes: B batch, V views, C live classes.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from tabulate import tabulate
from torch import Tensor, nn

from mmt_plugin.config import load_config
from mmt_plugin.config_plus import source_batch_size
from mmt_plugin.engine.optimizer import build_optimizer
from mmt_plugin.host import resolve_device
from mmt_plugin.modeling import build_network
from mmt_plugin.modeling.layers import SOURCE, TARGET

DEFAULT_CONFIGS = ("configs/synthetic/plaza2metro_mmt.yml", "configs/synthetic/plaza2metro_mmt_plus.yml")
# What makes a network's BN layers fastreid's own.
BARE = ["MMT.DSBN.ENABLED", False, "MMT.IMAGES_PER_BN", 0]
MEGABYTE = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this measurement's options to a command line."""
    parser.add_argument("--config-files", nargs="+", default=DEFAULT_CONFIGS, help="recipes to compare")
    parser.add_argument("--classes", type=int, default=200, help="live classes of one domain")
    parser.add_argument("--repeats", type=int, default=15, help="steps measured; the fastest counts")
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
    print(tabulate(table[1:], headers=table[0], tablefmt="github", floatfmt=".1f"))


def measure(cfg: CfgNode, classes: int, repeats: int) -> dict[str, float | int]:
    """Milliseconds and megabytes of one recipe.

    Step and parts take turns on the same tensors; of each the fastest turn counts, which other programs on
    the machine have disturbed least.
    """
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    resolve_device(cfg)
    torch.manual_seed(0)
    batch = make_batch(cfg, classes)
    num_classes = int(batch["targets"].max()) + 1
    model = build_model(cfg).to(cfg.MODEL.DEVICE)
    model.set_classifiers(None, num_classes)
    optimizer = build_optimizer(cfg, model.students)

    plain = cfg.clone()
    plain.merge_from_list(BARE)
    students, teachers = (
        nn.ModuleList(build_network(plain) for _ in networks).to(cfg.MODEL.DEVICE)
        for networks in (model.students, model.teachers)
    )
    for network in (*students, *teachers):
        network.heads.set_num_classes(num_classes)
    bare_optimizer = build_optimizer(cfg, students)
    views = [model.normalize(view) for view in batch["images"].unbind(dim=1)]
    targets = batch["targets"].to(cfg.MODEL.DEVICE)

    def step() -> None:
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        optimizer.step()
        model.update_teachers(cfg.MMT.EMA.ALPHA)

    def students_forward_backward() -> None:
        bare_optimizer.zero_grad()
        for network, view in zip(students, views, strict=True):
            F.cross_entropy(network(view, targets)["logits"], targets).backward()

    @torch.no_grad()
    def teachers_forward() -> None:
        for network, view in zip(teachers, views, strict=False):
            network(view, targets)

    actions = {
        "step, ms": step,
        "students forward and backward, ms": students_forward_backward,
        "teachers forward, ms": teachers_forward,
        "optimiser, ms": bare_optimizer.step,
    }
    times = {name: [] for name in actions}
    for repeat in range(repeats + 2):  # the first two warm up
        for name, action in actions.items():
            elapsed = seconds(action, cfg.MODEL.DEVICE)
            if repeat >= 2:
                times[name].append(1000 * elapsed)
    result = {name: min(values) for name, values in times.items()}
    parts = sum(result[name] for name in list(actions)[1:])
    return {
        **result,
        "sum of parts, ms": parts,
        "overhead, %": 100 * (result["step, ms"] / parts - 1),
        "images of a batch": len(targets),
        "live classes": num_classes,
        "classifier of a network, MB": megabytes(model.students[0].heads.weight),
        "classifier by live class, kB": 1000 * megabytes(model.students[0].heads.weight) / num_classes,
        "queues, MB": sum(megabytes(queue.queue) for queue in model.queues),
        "kept for the backward pass by a MoCo loss, MB": kept_by_moco(model, len(targets)),
    }


def make_batch(cfg: CfgNode, classes: int) -> dict[str, Tensor]:
    """Random images, B x V x 3 x H x W, with the labels and domains of a batch of the recipe."""
    k, views = cfg.DATALOADER.NUM_INSTANCE, cfg.MMT.NUM_PAIRS
    sizes = {TARGET: cfg.SOLVER.IMS_PER_BATCH}
    if cfg.MMT.JOINT.ENABLED:
        sizes = {SOURCE: source_batch_size(cfg), **sizes}
    targets = [
        torch.arange(size // k).remainder(classes).repeat_interleave(k) + index * classes
        for index, size in enumerate(sizes.values())
    ]
    targets[-1][-k:] = len(sizes) * classes - 1  # the last live class
    return {
        "images": 255 * torch.rand(sum(sizes.values()), views, 3, *cfg.INPUT.SIZE_TRAIN),
        "targets": torch.cat(targets),
        "domains": torch.tensor([domain for domain, size in sizes.items() for _ in range(size)]),
    }


def seconds(action: Callable[[], object], device: str) -> float:
    """Wall time of one call, the device's work included."""
    synchronise = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    synchronise()
    start = time.perf_counter()
    action()
    synchronise()
    return time.perf_counter() - start


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
        queue(query.requires_grad_(), key)
    return sum(kept)


def megabytes(tensor: Tensor) -> float:
    """What a tensor's elements occupy."""
    return tensor.numel() * tensor.element_size() / MEGABYTE

#!/usr/bin/env python
"""Everything that a first GPU has to show, in one table and one file; minutes on one card, no network.

    python tools/gpu_check.py --output gpu.json
    python tools/gpu_check.py --device cpu --small --output cpu.json      # what can be tried without a GPU
    python tools/gpu_check.py --table gpu.json                            # the table of a file

A training step of MMT and MMT+ is compared with the CPU's in float32 from equal weights, labels with the
CPU's labels. Then come speed, memory, copies and label steps of growing sets. A section that fails is a row
that says why, and the next one runs. The exit status is 1 if a comparison missed its tolerance.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the checkout is not installed
sys.path.insert(0, str(Path(__file__).resolve().parent))

from mmt_plugin import add_mmt_config  # noqa: F401  (first: it makes fastreid importable)

# isort: split
import argparse
import importlib.util
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch
from benchmark.features import clustered_features
from benchmark.measure import machine, seconds
from benchmark.memory import CHECKPOINTING, SINGLE
from benchmark.ready_trainer import ready_trainer
from tabulate import tabulate

from mmt_plugin.config import load_config
from mmt_plugin.pseudo_labels import cluster, nearest_neighbours
from mmt_plugin.recipes import find_recipe

RECIPES = {"MMT": "synthetic/plaza2metro_mmt", "MMT+": "synthetic/plaza2metro_mmt_plus"}
AMP = ["SOLVER.AMP.ENABLED", True]
# Largest difference from float32 on the CPU, of losses and of all gradients together, relative to their size.
# A gradient in half precision keeps its direction, not its digits.
FORMATS = {
    "float32": ([], None, 1e-4, 1e-2),
    "TF32": ([], None, 1e-2, 1e-1),
    "bfloat16": (AMP, torch.bfloat16, 5e-2, 5e-1),
    "float16": (AMP, torch.float16, 1e-2, 2e-1),
}
LARGE = ["INPUT.SIZE_TRAIN", [256, 128], "SOLVER.IMS_PER_BATCH", 64, "DATALOADER.NUM_INSTANCE", 4]
LARGE += ["MODEL.BACKBONE.DEPTH", "50x", "MMT.IMAGES_PER_BN", 16]
SMALL = ["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"]
SMALL += ["SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_INSTANCE", 2, "MMT.MOCO.QUEUE_SIZE", 20]

HEADERS = ["section", "what", "value", "unit", "limit", "ok"]
Row = tuple[str, float | str, str, float | None]


class Check:
    """The sections, each of which yields what, value, unit and the limit that the value must not exceed."""

    def __init__(self, device: str, small: bool):
        self.device, self.small = device, small
        self.on_gpu = torch.device(device).type == "cuda"
        self.options = SMALL if small else []
        self.classes = 8 if small else 200

    def environment(self) -> Iterator[Row]:
        yield "machine", machine(), "", None
        if self.on_gpu:
            card = torch.cuda.get_device_properties(self.device)
            yield "memory", card.total_memory / 2**30, "GiB", None
            yield "CUDA", f"{torch.version.cuda}, capability {card.major}.{card.minor}", "", None

    def step_against_cpu(self) -> Iterator[Row]:
        for name, recipe in RECIPES.items():
            expected, reference = self._one_step(recipe, "cpu", [], None)
            for kind, (overrides, dtype, loss_limit, gradient_limit) in FORMATS.items():
                if kind != "float32" and not self.on_gpu:
                    continue
                torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = kind == "TF32"
                losses, gradients = self._one_step(recipe, self.device, overrides, dtype)
                off = max(abs(losses[key] - value) / max(abs(value), 1) for key, value in expected.items())
                yield f"{name}, {kind}: losses", off, "relative", loss_limit
                for what, own, cpu in zip(("gradients", "parameters"), gradients, reference, strict=True):
                    off = float((own - cpu).norm() / cpu.norm())
                    yield f"{name}, {kind}: {what}", off, "relative", gradient_limit
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def labels_against_cpu(self) -> Iterator[Row]:
        features = torch.from_numpy(clustered_features(400 if self.small else 13_000, 256)[0])
        for name, changes in (("DBSCAN", []), ("k-means", ["PSEUDO_LABELS.METHOD", "kmeans"])):
            options = [*changes, "PSEUDO_LABELS.KMEANS.NUM_CLUSTERS", 20]
            node = load_config(str(find_recipe(RECIPES["MMT"])), options).PSEUDO_LABELS
            here, there = cluster(features, node), cluster(features.to(self.device), node)
            yield f"{name}: images of another label", float((here.labels != there.labels).sum()), "", 0

    def speed(self) -> Iterator[Row]:
        variants = {"float32": [], "AMP": AMP, "channels_last": ["MODEL.CHANNELS_LAST", True]}
        variants["AMP, channels_last"] = [*AMP, *variants["channels_last"]]
        for name, recipe in RECIPES.items():
            for variant, overrides in variants.items():
                with self._trainer(recipe, self.device, [*self._large(), *overrides]) as trainer:
                    times = [seconds(trainer.one_iteration, self.device) for _ in range(4)]
                    images = len(trainer.data_loader.batch["targets"])
                    yield f"{name}, {variant}", images / median(times[1:]), "images/s", None

    def compiled(self) -> Iterator[Row]:
        if self.small:
            return
        with self._trainer(RECIPES["MMT"], self.device, self._large()) as trainer:
            for network in (*trainer.raw_model.students, *trainer.raw_model.teachers):
                network.backbone.compile()
            times = [seconds(trainer.one_iteration, self.device) for _ in range(5)]
            yield "torch.compile: first step", times[0], "s", None
            yield "torch.compile", 64 / median(times[2:]), "images/s", None

    def cuda_graph(self) -> Iterator[Row]:
        if not self.on_gpu:
            return
        with self._trainer(RECIPES["MMT"], self.device, self._large()) as trainer, torch.no_grad():
            network = trainer.raw_model.teachers[0].eval()
            images = torch.zeros(64, 3, 256, 128, device=self.device)
            plain = median(seconds(lambda: network(images), self.device) for _ in range(5))
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                network(images)
            graphed = median(seconds(graph.replay, self.device) for _ in range(5))
            yield "teacher's forward as a CUDA graph", plain / graphed, "times as fast", None

    def memory(self) -> Iterator[Row]:
        if not self.on_gpu:
            return
        single = None
        cases = {"single network": ("MMT", SINGLE), "MMT": ("MMT", []), "MMT+": ("MMT+", [])}
        cases["MMT, checkpointing"] = ("MMT", CHECKPOINTING)
        for name, (recipe, overrides) in cases.items():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            with self._trainer(RECIPES[recipe], self.device, [*self._large(), *overrides]) as trainer:
                trainer.one_iteration()
                trainer.one_iteration()
            peak = torch.cuda.max_memory_allocated() / 2**30
            single = single or peak
            yield f"{name}: peak", peak, "GiB", None
            yield f"{name}: against 2 x single", peak / (2 * single), "", None

    def copies(self) -> Iterator[Row]:
        batch = torch.zeros(64, 2, 3, 256, 128, dtype=torch.uint8)
        batches = {"pageable": batch, "pinned": batch.pin_memory()} if self.on_gpu else {"pageable": batch}
        for name, images in batches.items():
            times = [seconds(lambda x=images: x.to(self.device), self.device) for _ in range(6)]
            yield f"batch of bytes to the device, {name}", 1000 * median(times[1:]), "ms", None

    def label_steps(self) -> Iterator[Row]:
        sizes = (1000,) if self.small else (13_000, 33_000, 100_000, 1_000_000)
        for num_images in sizes:
            features = torch.from_numpy(clustered_features(num_images, 256)[0]).to(self.device)
            took = seconds(lambda x=features: nearest_neighbours(x, 20), self.device)
            yield f"exact k-NN, N = {num_images:,}, D = 256", took, "s", None
            faiss = importlib.import_module("faiss") if importlib.util.find_spec("faiss") else None
            if self.on_gpu and hasattr(faiss, "StandardGpuResources"):
                index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatL2(256))
                array = features.cpu().numpy()
                index.add(array)
                start = time.perf_counter()
                index.search(array, 20)
                yield f"faiss-gpu, N = {num_images:,}, D = 256", time.perf_counter() - start, "s", None

    def _large(self) -> list:
        return [] if self.small else LARGE

    @contextmanager
    def _trainer(self, recipe: str, device: str, overrides: list) -> Iterator:
        options = [*self.options, *overrides, "MODEL.DEVICE", device, "MMT.SOURCE.PRETRAIN", False]
        cfg = load_config(str(find_recipe(recipe)), [*options, "MMT.JOINT.ROWS", "random"])
        torch.manual_seed(0)
        with ready_trainer(cfg, self.classes) as trainer:
            yield trainer

    def _one_step(self, recipe: str, device: str, overrides: list, dtype: torch.dtype | None) -> tuple:
        """Losses by name; all gradients and all parameters, each as one tensor, after a step."""
        if dtype is not None:
            torch.set_autocast_dtype(torch.device(device).type, dtype)
        with self._trainer(recipe, device, overrides) as trainer:
            trainer.one_iteration()
            losses = {key: value for key, (value, _) in trainer.storage.latest().items() if "loss" in key}
            trained = [each for each in trainer.raw_model.students.parameters() if each.grad is not None]
            tensors = ([each.grad for each in trained], trained)
            return losses, [torch.cat([x.detach().flatten().float().cpu() for x in part]) for part in tensors]


# In the order in which they are of use, should the time run out.
METHODS = (
    *("environment", "step_against_cpu", "labels_against_cpu", "memory", "speed", "copies", "label_steps"),
    *("cuda_graph", "compiled"),
)
SECTIONS: dict[str, Callable[[Check], Iterator[Row]]] = {
    name.replace("_", " "): getattr(Check, name) for name in METHODS
}


def measure(check: Check, names: list[str], minutes: float) -> list[dict]:
    """The rows of all sections; none begins after so many minutes."""
    rows, start = [], time.monotonic()
    for name in names:
        if time.monotonic() - start > 60 * minutes:
            rows.append(row(name, "not begun", f"{minutes:g} minutes are over", "", None))
            continue
        try:
            for found in SECTIONS[name](check):
                rows.append(row(name, *found))
                print(rows[-1]["section"], rows[-1]["what"], rows[-1]["value"], file=sys.stderr, flush=True)
        except Exception as error:
            logging.getLogger("mmt.gpu_check").exception("section %s", name)
            rows.append({**row(name, "failed", f"{type(error).__name__}: {error}", "", None), "ok": False})
    return rows


def row(section: str, what: str, value: float | str, unit: str, limit: float | None) -> dict:
    """A row as the file has it; `ok` is None where there is no limit."""
    ok = None if limit is None else value <= limit
    return dict(zip(HEADERS, (section, what, value, unit, limit, ok), strict=True))


def table(rows: list[dict]) -> str:
    """The rows as docs/performance.md shows them."""
    marks = {True: "yes", False: "NO", None: ""}
    cells = [[*(shown(each[key]) for key in HEADERS[:-1]), marks[each["ok"]]] for each in rows]
    return tabulate(cells, headers=HEADERS, tablefmt="github", disable_numparse=True)


def shown(cell: float | str | None) -> str:
    """A cell of the table."""
    return "" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="what is checked against the CPU")
    parser.add_argument("--small", action="store_true", help="sizes that a CPU computes in a minute")
    help_sections = f"of {', '.join(SECTIONS)}; quote names of several words"
    parser.add_argument(
        "--sections",
        nargs="+",
        default=list(SECTIONS),
        choices=list(SECTIONS),
        metavar="SECTION",
        help=help_sections,
    )
    parser.add_argument("--minutes", type=float, default=6, help="after which no section begins")
    parser.add_argument("--output", metavar="FILE", type=Path, help="all rows, as JSON")
    parser.add_argument("--table", metavar="FILE", type=Path, help="print a file's table alone")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(arguments.table.read_text())))
        return 0
    if torch.device(arguments.device).type == "cuda" and not torch.cuda.is_available():
        print("error: torch finds no GPU; --device cpu --small tries the script without one", file=sys.stderr)
        return 2
    logging.disable(logging.INFO)
    rows = measure(Check(arguments.device, arguments.small), arguments.sections, arguments.minutes)
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1))
    print(table(rows))
    return int(any(each["ok"] is False for each in rows))


if __name__ == "__main__":
    sys.exit(main())

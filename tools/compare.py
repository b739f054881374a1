#!/usr/bin/env python
"""Compare what each step brings: direct transfer, target BN statistics, and methods of adaptation.

    python tools/compare.py --seeds 1 2 3 --output logs/compare \\
        "hard-label baseline=configs/synthetic/plaza2metro_baseline.yml" \\
        "MMT=configs/synthetic/plaza2metro_mmt.yml"

Every stage is one call of tools/train_net.py, printed before it runs, so that each can be repeated by hand.
Finished stages are kept: an interrupted comparison goes on with the same command. All methods start from the
same source models, which the last method named pre-trains.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
from tabulate import tabulate

from mmt_plugin.config import load_config

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TRAIN_NET = Path(__file__).with_name("train_net.py")
METRICS = ("mAP", "Rank-1", "Rank-5", "Rank-10")
DIRECT, BN_ONLY = "direct transfer", "target BN statistics only"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "methods", nargs="+", metavar="NAME=CONFIG", help="methods of adaptation, by config file"
    )
    parser.add_argument(
        "--output", required=True, type=Path, help="folder of all runs, the table and the curves"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[1], help="repetitions, source pre-training included"
    )
    parser.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides for every method"
    )
    arguments = parser.parse_args()
    for method in arguments.methods:
        name, _, config = method.partition("=")
        if not name or not Path(config).is_file():
            parser.error(f"{method!r} is not NAME=CONFIG with an existing config file")
    return arguments


def train_net(output: Path, config: Path, *options: object) -> dict:
    """Run one stage unless it is complete, and return what it recorded."""
    results = output / ("evaluation.json" if "--eval-only" in options else "results.json")
    if not results.exists():
        command = [
            sys.executable,
            str(TRAIN_NET),
            "--config-file",
            str(config),
            "--resume",
            *map(str, options),
        ]
        command += ["OUTPUT_DIR", str(output)]
        print("$", shlex.join(command), flush=True)
        status = subprocess.run(command).returncode
        if status:
            sys.exit(f"error: the command above ended with status {status}; its log is {output / 'log.txt'}")
    return json.loads(results.read_text())


def run_seed(methods: dict[str, Path], output: Path, seed: int, opts: list[str]) -> dict[str, dict]:
    """Train and evaluate all rows of the table for one seed.

    Returns:
        What each stage recorded, by row name in the table's order.
    """
    *others, last = methods
    source_seeds = (2 * seed - 1, 2 * seed)
    rows = {
        last: train_net(
            output / slug(last), methods[last], "MMT.SOURCE.SEEDS", source_seeds, "SEED", seed, *opts
        )
    }
    sources = [output / slug(last) / f"source_seed{s}" for s in source_seeds]
    rows[DIRECT] = json.loads((sources[0] / "results.json").read_text())
    bn_options = {
        "MODEL.WEIGHTS": sources[0] / "model_final.pth",
        "TEST.PRECISE_BN.ENABLED": True,
        "TEST.PRECISE_BN.DATASET": load_config(methods[last], opts).DATASETS.TARGETS[0],
    }
    pairs = [word for item in bn_options.items() for word in item]
    rows[BN_ONLY] = train_net(output / slug(BN_ONLY), sources[0] / "config.yaml", "--eval-only", *pairs)
    for name in others:
        needed = load_config(methods[name], opts).MMT.NUM_PAIRS
        weights = tuple(str(source / "model_final.pth") for source in sources[:needed])
        rows[name] = train_net(
            output / slug(name), methods[name], "MMT.WEIGHTS", weights, "SEED", seed, *opts
        )
    return {name: rows[name] for name in (DIRECT, BN_ONLY, *methods)}


def slug(name: str) -> str:
    """A row's name as a folder name."""
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def table(records: list[dict[str, dict]]) -> str:
    """Mean over seeds, with the standard deviation where there are several."""
    body = []
    for name in records[0]:
        runs = [record[name] for record in records]
        columns = [[run["metrics"][metric] for run in runs] for metric in METRICS]
        columns += [[run["clusters"] for run in runs], [run["minutes"] for run in runs]]
        body.append(
            [
                name,
                *(
                    summary(column, digits)
                    for column, digits in zip(columns, (1, 1, 1, 1, 0, 1), strict=True)
                ),
            ]
        )
    return tabulate(
        body, headers=["", *METRICS, "clusters", "minutes"], tablefmt="github", disable_numparse=True
    )


def summary(values: list[float | None], digits: int) -> str:
    if None in values:
        return "-"
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def draw_curves(output: Path, methods: dict[str, Path], seeds: list[int]) -> Path:
    """mAP against training iterations, mean over seeds and their range, as ``curves.png``."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name in methods:
        curves = [read_curve(output / f"seed{seed}" / slug(name) / "metrics.json") for seed in seeds]
        iterations = sorted(set.intersection(*(set(curve) for curve in curves)))
        values = np.array([[curve[i] for i in iterations] for curve in curves])
        axes.plot(iterations, values.mean(axis=0), marker="o", markersize=3, label=name)
        axes.fill_between(iterations, values.min(axis=0), values.max(axis=0), alpha=0.15)
    axes.set(xlabel="iterations", ylabel="mAP on the target test set (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    path = output / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def read_curve(metrics_file: Path) -> dict[int, float]:
    """mAP by iteration, as the run's metrics.json has it."""
    lines = [json.loads(line) for line in metrics_file.read_text().splitlines()]
    return {line["iteration"] + 1: line["mAP"] for line in lines if "mAP" in line}


def main() -> None:
    arguments = parse_arguments()
    methods = {
        name: Path(config) for name, _, config in (method.partition("=") for method in arguments.methods)
    }
    records = [run_seed(methods, arguments.output / f"seed{s}", s, arguments.opts) for s in arguments.seeds]
    text = table(records)
    (arguments.output / "table.md").write_text(text + "\n")
    curves = draw_curves(arguments.output, methods, arguments.seeds)
    last = arguments.output / f"seed{arguments.seeds[-1]}" / slug(list(methods)[-1])
    print(f"\n{text}\n")
    places = {
        "model": last / "model_final.pth",
        "log": last / "log.txt",
        "ranked results": last / "rank_list.jpg",
        "learning curves": curves,
        "TensorBoard": f"tensorboard --logdir {arguments.output}",
    }
    if (last / "report.html").exists():  # REPORT.ENABLED
        places["report"] = last / "report.html"
    print(tabulate(places.items(), tablefmt="plain"))


if __name__ == "__main__":
    main()

"""Rank test sets by trained runs, as `mmt evaluate` asks for it: print what was measured, and record it."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode, get_cfg
from tabulate import tabulate

from mmt_plugin.config import ConfigError, add_mmt_config, check_evaluation, load_config
from mmt_plugin.retrieval import Measured
from mmt_plugin.runs.description import describe_entry
from mmt_plugin.runs.recipe import FREE_KEYS, flatten
from mmt_plugin.runs.run import Run, is_run
from mmt_plugin.runs.run_files import CONFIG, EVALUATION
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.files import replace_when_complete, require_folder

from .entry import Entry, make_entry
from .ranked_run import RankedRun, load_run
from .submission import read_index, score_submission, write_index, write_submission

# Keys of --opts that hold for all runs.
SHARED = ("DATASETS.TESTS", "DATASETS.OWN", "TEST", "SYNTHETIC", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS")
COLUMNS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")


def load_settings(arguments: argparse.Namespace) -> CfgNode:
    """What holds for all runs: the keys of --config-file, else of the first run, and then those of --opts.

    Raises:
        RunError: the first run is none.
        ConfigError: values are out of range, or there is no test set.
    """
    first = Run(arguments.runs[0])
    source = arguments.config_file or first.folder / CONFIG
    settings = load_config(source, ["MODEL.DEVICE", "auto", *arguments.opts])
    if arguments.config_file:  # what the command does not say of own data sets, the first run does
        default, own, given = get_cfg(), settings.DATASETS.OWN, arguments.opts[::2]
        add_mmt_config(default)
        for key, value in default.DATASETS.OWN.items():
            if own[key] == value and f"DATASETS.OWN.{key}" not in given:
                own[key] = first.cfg.DATASETS.OWN[key]
    check_evaluation(settings)
    problems = []
    if not settings.DATASETS.TESTS:
        problems.append(f"{source}: DATASETS.TESTS names no test set")
    if arguments.camera and settings.TEST.CAMERA.WEIGHT == 0:
        problems.append("--camera is given, but TEST.CAMERA.WEIGHT is 0")
    if problems:
        raise ConfigError("\n".join(problems))
    resolve_device(settings)
    return settings


def check_overrides(keys: Sequence[str], settings: CfgNode, runs: Sequence[str]) -> None:
    """Refuse an override of what a finished training has settled, such as INPUT.SIZE_TEST, where no run was
    trained so: it would change nothing.

    Raises:
        ConfigError: naming the key.
    """
    wanted, trained = flatten(settings), [flatten(Run(run).cfg) for run in runs]
    for key in keys:
        known = key not in FREE_KEYS and not key.startswith(SHARED)
        if known and all(each[key] != wanted[key] for each in trained):
            raise ConfigError(
                f"--opts {key} {wanted[key]}: {runs[0]} was trained with {trained[0][key]}, which an "
                f"evaluation does not change. It takes {', '.join(SHARED)}"
            )


def evaluate(arguments: argparse.Namespace) -> None:
    """Rank every test set; print, and write with --output."""
    settings = load_settings(arguments)
    if arguments.output and is_run(arguments.output):
        raise ConfigError(f"--output {arguments.output} is the folder of a run: name another")
    if arguments.output:
        require_folder(arguments.output, "--output")
    named = [*arguments.runs, *([arguments.camera] if arguments.camera else [])]
    check_overrides(arguments.opts[::2], settings, named)
    world = [key.removeprefix("SYNTHETIC.") for key in arguments.opts[::2] if key.startswith("SYNTHETIC.")]
    loaded = [load_run(path, settings, world) for path in named]
    runs, camera = (loaded[:-1], loaded[-1]) if arguments.camera else (loaded, None)
    measurements: dict[str, list[Measured]] = {}
    rows: dict[str, list[dict]] = {}
    for dataset in settings.DATASETS.TESTS:
        entry = make_entry(runs, camera, settings, dataset)
        print(f"\n{dataset}: {description(runs, camera, settings)}\n")
        if entry.features.is_labelled:
            rows[dataset], measurements[dataset] = measured(entry, arguments.steps)
            print(table(rows[dataset]))
            print(f"\n{measurements[dataset][-1].counts}")
        elif arguments.output is None:
            raise ConfigError(f"{dataset} has no identities to measure with: give --output for a submission")
        if arguments.output:
            several = len(settings.DATASETS.TESTS) > 1
            submit(entry, arguments.output / dataset if several else arguments.output)
    if arguments.output:
        counts = {dataset: parts[-1].counts.as_dict() for dataset, parts in measurements.items()}
        record(arguments.output / EVALUATION, runs, camera, rows, counts, settings)


def record(
    path: Path,
    runs: list[RankedRun],
    camera: RankedRun | None,
    measurements: dict[str, list[dict]],
    counts: dict[str, dict[str, int]],
    settings: CfgNode,
) -> None:
    """Write the measurements as tools/leaderboard.py reads them; beside them those of the steps, and what was
    ranked, and how.
    """
    metrics = {dataset: rows[-1] for dataset, rows in measurements.items()}
    tests = list(metrics)
    content = {
        "metrics": metrics[tests[0]] if len(tests) == 1 else metrics,
        "test_sets": counts,
        "run": describe_entry([run.cfg for run in runs], camera and camera.cfg, tests),
        "steps": measurements,
        "ranked": {"runs": [run.name for run in runs], "camera": camera and camera.name},
        "config": settings.dump(),
    }
    with replace_when_complete(str(path), "w") as file:
        json.dump(content, file, indent=1)
    print(f"\nmetrics: {path}")


def description(runs: list[RankedRun], camera: RankedRun | None, settings: CfgNode) -> str:
    """How the test set is ranked, in words."""
    test = settings.TEST
    parts = [f"{len(runs)} run(s)", "with flip" if test.FLIP.ENABLED else "without flip"]
    if test.PRECISE_BN.ENABLED:
        parts.append(f"BN statistics of {test.PRECISE_BN.DATASET}")
    if test.METRIC != "cosine":
        parts.append(f"{test.METRIC} distance")
    if test.AQE.ENABLED:
        parts.append(
            f"query expansion of {test.AQE.QE_K}, {test.AQE.QE_TIME} time(s), alpha {test.AQE.ALPHA}"
        )
    parts.append(f"camera term {test.CAMERA.WEIGHT} x {camera.name}" if camera else "no camera term")
    rerank = test.RERANK
    values = f"k1 {rerank.K1}, k2 {rerank.K2}, lambda {rerank.LAMBDA}, power {rerank.POWER}"
    parts.append(f"re-ranking {values}" if rerank.ENABLED else "no re-ranking")
    parts.append(f"first {test.TOP_K} images" if test.TOP_K else "whole lists")
    if test.GALLERY_DRAWS:
        parts.append(f"mean of {test.GALLERY_DRAWS} random galleries of one image of each identity")
    return "; ".join(parts)


def measured(entry: Entry, every_step: bool) -> tuple[list[dict], list[Measured]]:
    """The last step, or all with their gains in mAP: rows of a table, and what they are made of."""
    if not every_step:
        last = entry.steps[-1]
        found = entry.measure(last)
        return [{"step": last.name if len(entry.steps) == 1 else "all steps", **found.metrics}], [found]
    parts = [entry.measure(step) for step in entry.steps]
    values = [part.metrics["mAP"] for part in parts]
    gains = [
        value - max(values[at] for at in step.over) if step.over else None
        for step, value in zip(entry.steps, values, strict=True)
    ]
    rows = [
        {"step": step.name, **part.metrics, "gain": gain}
        for step, part, gain in zip(entry.steps, parts, gains, strict=True)
    ]
    return rows, parts


def table(rows: list[dict]) -> str:
    """Steps in percent."""
    rates = [name for name in rows[0] if name.startswith("TPR")]
    names = [name for name in (*COLUMNS, *rates, "gain") if name in rows[0]]
    body = [[row["step"], *(cell(name, row[name]) for name in names)] for row in rows]
    headers = ["", *("gain in mAP" if name == "gain" else name for name in names)]
    return tabulate(body, headers=headers, tablefmt="github", disable_numparse=True)


def cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name.startswith("TPR"):
        return f"{value:.4f}"
    return f"{value:+.2f}" if name == "gain" else f"{value:.2f}"


def submit(entry: Entry, folder: Path) -> None:
    """Write the ranking as the challenge wants it, in the order of the data set's indices."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"query": entry.features.query, "gallery": entry.features.gallery}
    files = getattr(entry.images, "index_files", None)
    if files is None:
        files = {part: write_index(folder / f"index_{part}.txt", items) for part, items in parts.items()}
    indices = [read_index(files[part]) for part in parts]
    paths = [[item[0] for item in items] for items in parts.values()]
    result, archive = write_submission(folder, entry.nearest(entry.steps[-1]), *paths, *indices)
    print(f"\nsubmission: {result}, {archive}; in the order of {files['query']} and {files['gallery']}")


def score(arguments: argparse.Namespace) -> None:
    """Print what the challenge's server would."""
    query, gallery = read_index(arguments.query_index), read_index(arguments.gallery_index)
    metrics = score_submission(arguments.submission, query, gallery).percent()
    for name in ("mAP", "Rank-1", "Rank-5", "Rank-10"):
        print(f"{name:8s}{metrics[name]:6.2f} %")

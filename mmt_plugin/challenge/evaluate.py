"""Rank test sets by trained runs, as `mmt evaluate` asks for it: print what was measured, and record it."""

import argparse
import json
from pathlib import Path

from fastreid.config import CfgNode
from tabulate import tabulate

from mmt_plugin.config import ConfigError, check_evaluation, load_config
from mmt_plugin.runs.description import describe_entry
from mmt_plugin.runs.run import Run, load_run
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.files import replace_when_complete

from .entry import Entry, make_entry
from .submission import read_index, score_submission, write_index, write_submission

COLUMNS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")


def load_settings(arguments: argparse.Namespace) -> CfgNode:
    """What holds for all runs.

    Raises:
        ConfigError: values are out of range, or there is no test set.
    """
    source = arguments.config_file or load_run(arguments.runs[0]).config_file
    settings = load_config(source, ["MODEL.DEVICE", "auto", *arguments.opts])
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


def evaluate(arguments: argparse.Namespace) -> None:
    """Rank every test set; print, and write with --output."""
    settings = load_settings(arguments)
    runs = [load_run(path, settings) for path in arguments.runs]
    camera = load_run(arguments.camera, settings) if arguments.camera else None
    measurements = {}
    for dataset in settings.DATASETS.TESTS:
        entry = make_entry(runs, camera, settings, dataset)
        print(f"\n{dataset}: {description(runs, camera, settings)}\n")
        if entry.features.is_labelled:
            measurements[dataset] = rows = measured(entry, settings.TEST.TOP_K, arguments.steps)
            print(table(rows))
        elif arguments.output is None:
            raise ConfigError(f"{dataset} has no identities to measure with: give --output for a submission")
        if arguments.output:
            several = len(settings.DATASETS.TESTS) > 1
            submit(entry, arguments.output / dataset if several else arguments.output)
    if arguments.output:
        with replace_when_complete(str(arguments.output / "config.yaml"), "w") as file:
            file.write(settings.dump())
        record(arguments.output / "evaluation.json", runs, camera, measurements)


def record(path: Path, runs: list[Run], camera: Run | None, measurements: dict[str, list[dict]]) -> None:
    """Write the measurements as tools/leaderboard.py reads them; beside them those of the steps, and what was
    ranked.
    """
    metrics = {dataset: rows[-1] for dataset, rows in measurements.items()}
    tests = list(metrics)
    content = {
        "metrics": metrics[tests[0]] if len(tests) == 1 else metrics,
        "run": describe_entry([run.cfg for run in runs], camera and camera.cfg, tests),
        "steps": measurements,
        "ranked": {"runs": [run.name for run in runs], "camera": camera and camera.name},
    }
    with replace_when_complete(str(path), "w") as file:
        json.dump(content, file, indent=1)
    print(f"\nmetrics: {path}")


def description(runs: list[Run], camera: Run | None, settings: CfgNode) -> str:
    """How the test set is ranked, in words."""
    test = settings.TEST
    parts = [f"{len(runs)} run(s)", "with flip" if test.FLIP.ENABLED else "without flip"]
    parts.append(f"camera term {test.CAMERA.WEIGHT} x {camera.name}" if camera else "no camera term")
    rerank = test.RERANK
    values = f"k1 {rerank.K1}, k2 {rerank.K2}, lambda {rerank.LAMBDA}, power {rerank.POWER}"
    parts.append(f"re-ranking {values}" if rerank.ENABLED else "no re-ranking")
    parts.append(f"first {test.TOP_K} images" if test.TOP_K else "whole lists")
    return "; ".join(parts)


def measured(entry: Entry, top_k: int, every_step: bool) -> list[dict]:
    """Metrics of the last step, or of all with their gains in mAP."""
    if not every_step:
        last = entry.steps[-1]
        return [{"step": last.name if len(entry.steps) == 1 else "all steps", **entry.measure(last, top_k)}]
    rows = []
    for step in entry.steps:
        row = {"step": step.name, **entry.measure(step, top_k)}
        before = [rows[at]["mAP"] for at in step.over]
        rows.append({**row, "gain": row["mAP"] - max(before) if before else None})
    return rows


def table(rows: list[dict]) -> str:
    """Steps in percent."""
    names = [name for name in (*COLUMNS, "gain") if name in rows[0]]
    body = [[row["step"], *(cell(name, row[name]) for name in names)] for row in rows]
    headers = ["", *("gain in mAP" if name == "gain" else name for name in names)]
    return tabulate(body, headers=headers, tablefmt="github", disable_numparse=True)


def cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
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

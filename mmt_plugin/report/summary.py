"""The head of the page: results, how the model was chosen, what labels were used for."""

from __future__ import annotations

from dataclasses import dataclass

from fastreid.config import CfgNode

from mmt_plugin.retrieval import Counts
from mmt_plugin.runs.metrics import grouped, is_of_network, spaced
from mmt_plugin.runs.run_files import RESULTS

from .blocks import Group, Section
from .collect import ReportedRun
from .svg import number
from .timeline import duration, run_seconds

CLUSTERINGS = {"dbscan": "DBSCAN", "kmeans": "k-means"}
# Of `label_free_quality`, after the last label step.
SCORE = "label_free/score"
METRICS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")


@dataclass(frozen=True)
class Tile:
    """One number at the head of the page."""

    label: str
    value: str
    note: str = ""
    kind: str = ""  # "wide": a line of its own


def title_of(run: ReportedRun) -> str:
    """The task, in one line."""
    cfg = run.cfg
    if not run.is_clustered:
        return ", ".join(cfg.DATASETS.NAMES)
    target = ", ".join(cfg.DATASETS.TARGETS)
    has_source = run.sources or cfg.MMT.WEIGHTS or cfg.MMT.JOINT.ENABLED
    return f"{', '.join(cfg.DATASETS.NAMES)} → {target}" if has_source else target


def method_of(cfg: CfgNode) -> str:
    """The method, the network and the clustering, in one line."""
    mmt, labels = cfg.MMT, cfg.PSEUDO_LABELS.METHOD
    if labels == "ground_truth":
        method = "Supervised training on annotated identities"
    elif mmt.JOINT.ENABLED:
        method = "MMT+: Mutual Mean-Teaching beside labelled source images"
    elif mmt.SOFT_CE_WEIGHT == mmt.SOFT_TRI_WEIGHT == 0:
        method = "Clustering baseline with hard pseudo labels"
    else:
        method = "Mutual Mean-Teaching" if mmt.NUM_PAIRS > 1 else "Mean-teaching"
    backbone = cfg.MODEL.BACKBONE.NAME.removeprefix("build_").removesuffix("_backbone")
    networks = f"{mmt.NUM_PAIRS} networks" if mmt.NUM_PAIRS > 1 else "one network"
    parts = [method, f"{networks} ({backbone} {cfg.MODEL.BACKBONE.DEPTH})"]
    if labels in CLUSTERINGS:
        parts.append(f"pseudo labels by {CLUSTERINGS[labels]}")
    return " · ".join(parts)


def by_test_set(metrics: dict, cfg: CfgNode) -> dict[str, dict[str, float]]:
    """Metrics by test set, also where one set's are not named by it."""
    if not metrics:
        return {}
    if isinstance(next(iter(metrics.values())), dict):
        return metrics
    return {cfg.DATASETS.TESTS[0]: metrics}


def tiles(run: ReportedRun) -> list[Tile]:
    """The run's main numbers, as many as are known."""
    found = []
    if verdict := run.results.get("verdict"):
        found.append(Tile("Verdict", verdict["word"], f"{verdict['why']} Next: {verdict['next']}", "wide"))
    found += _score_tiles(run)
    labels = run.scalars.labels
    if "clusters" in labels:
        truth = run.truth
        note = "identities are not known" if truth is None else f"true identities: {truth.max() + 1}"
        found.append(Tile("Clusters", number(labels["clusters"].values[-1]), note))
        share = labels["outliers"].values[-1] / max(len(run.labels), 1) if run.labels is not None else None
        if share is not None:
            found.append(Tile("Outliers", f"{100 * share:.1f} %", f"of {len(run.labels):,} images"))
    if SCORE in labels:
        note = "0 to 1; how steady clusters are, not how right"
        found.append(Tile("Label-free score", f"{labels[SCORE].values[-1]:.2f}", note))
    if "ARI" in labels:
        first, last = labels["ARI"].values[0], labels["ARI"].values[-1]
        found.append(Tile("ARI of the labels", f"{last:.2f}", f"first label step: {first:.2f}"))
    if "images_per_bn" in run.scalars.training:
        recipe = run.cfg.MMT.IMAGES_PER_BN
        value = run.scalars.training["images_per_bn"].values[-1]
        note = f"recipe: {recipe}" if recipe else "all of a batch"
        found.append(Tile("Images per BN", number(value), note))
    if seconds := run_seconds(run):
        found.append(Tile("Time", duration(seconds), _time_note(run)))
    return found


def _time_note(run: ReportedRun) -> str:
    if any(run.is_own(source) for source in run.sources):
        return f"on {run.cfg.MODEL.DEVICE}, pre-training included"
    return f"on {run.cfg.MODEL.DEVICE}" + (", from given source models" if run.cfg.MMT.WEIGHTS else "")


def _score_tiles(run: ReportedRun) -> list[Tile]:
    """mAP and rank-1 on the first test set: of the chosen model where known, else of the last epoch."""
    sets = by_test_set(run.results.get("metrics", {}), run.cfg)
    if not sets:
        return []
    dataset, metrics = next(iter(sets.items()))
    when = "" if run.cfg.MMT.SELECTION.RULE == "last" else "after the last epoch; "
    chosen = chosen_by_labels(run)
    if chosen and dataset == run.cfg.MMT.SELECTION.DATASET:
        metrics, when = chosen[2], "best epoch, chosen with labels; "
    found = []
    for metric in [name for name in ("mAP", "Rank-1") if name in metrics]:
        before = source_score(run, dataset, metric)
        note = f"{when}on {dataset}" if before is None else f"{when}source model alone: {before:.1f} %"
        found.append(Tile(metric, f"{metrics[metric]:.1f} %", note))
    return found


def source_score(run: ReportedRun, dataset: str, metric: str) -> float | None:
    """Mean score of the source models, before adaptation, on a test set."""
    scores = [
        by_test_set(source.results["metrics"], run.cfg).get(dataset, {}).get(metric)
        for source in run.sources
        if source.results.get("metrics")
    ]
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def results_section(run: ReportedRun) -> Section:
    """Metrics of every network, how one was chosen, and what labels were for."""
    groups = [
        Group(
            title=f"On {name}, after the last epoch" if run.is_complete else f"On {name}",
            header=("", *METRICS),
            rows=[*_network_rows(run, name, metrics), *_source_rows(run, name)],
            lead=_counted(run, name),
        )
        for name, metrics in by_test_set(run.results.get("metrics", {}), run.cfg).items()
    ]
    groups.append(
        Group(
            title="How the model was chosen, and what labels were for",
            header=("", ""),
            rows=_label_rows(run),
            numeric=False,
        )
    )
    missing = []
    if not run.is_complete:
        missing.append(f"This run is not complete: there is no {RESULTS}. What follows is its state so far.")
    elif not run.results["metrics"]:
        missing.append(
            "There is no labelled test set (DATASETS.TESTS is empty), so mAP and ranks are not known."
        )
    return Section(
        "results",
        "Results",
        "In percent. mAP: mean average precision; Rank-k: a right image among "
        "the first k; mINP: how soon all right images are found.",
        groups,
        missing,
    )


def _counted(run: ReportedRun, dataset: str) -> str:
    """What a test set's metrics are of; runs of earlier versions do not tell."""
    found = run.results.get("test_sets", {}).get(dataset)
    return f"{Counts(**found)}." if found else ""


def _network_rows(run: ReportedRun, dataset: str, metrics: dict[str, float]) -> list[list[str]]:
    """One row for each network after the last epoch, and the chosen model where that is another."""
    networks = dict.fromkeys(key.rpartition("/")[0] for key in metrics if "/" in key)
    is_last = run.cfg.MMT.SELECTION.RULE == "last"
    rows = []
    for k, name in enumerate(networks):
        title = f"{spaced(name)}, used for inference" if is_last and k == 0 else spaced(name)
        rows.append([title, *_cells({m: metrics.get(f"{name}/{m}") for m in METRICS})])
    if (chosen := chosen_by_labels(run)) and dataset == run.cfg.MMT.SELECTION.DATASET:
        name, epoch, scores = chosen
        rows.insert(0, [f"{spaced(name)} after epoch {epoch}, used for inference", *_cells(scores)])
    return rows


def chosen_by_labels(run: ReportedRun) -> tuple[str, int, dict[str, float]] | None:
    """The network and epoch of the best mAP, and its metrics, where MMT.SELECTION says so."""
    if run.cfg.MMT.SELECTION.RULE != "best":
        return None
    prefix = "" if len(run.cfg.DATASETS.TESTS) == 1 else run.cfg.MMT.SELECTION.DATASET
    training = run.scalars.training
    candidates = [
        (value, epoch, curve.name.removesuffix("/mAP"))
        for curve in grouped(training, "mAP").get(prefix, [])
        if is_of_network(curve.name)
        for epoch, value in zip(curve.epochs, curve.values, strict=True)
    ]
    if not candidates:
        return None
    # Of equal scores the earliest, and of that epoch the first network.
    _, epoch, name = min(candidates, key=lambda c: (-c[0], c[1]))
    scores = {
        metric: dict(zip(curve.epochs, curve.values, strict=True)).get(epoch)
        for metric in METRICS
        if (curve := training.get(f"{name}/{metric}"))
    }
    return name.rpartition("/")[2], round(epoch), scores


def _source_rows(run: ReportedRun, dataset: str) -> list[list[str]]:
    rows = []
    for source in run.sources:
        metrics = by_test_set(source.results.get("metrics", {}), run.cfg).get(dataset)
        if metrics:
            rows.append([f"before adaptation: {source.folder.name}", *_cells(metrics)])
    return rows


def _cells(metrics: dict[str, float | None]) -> list[str]:
    return ["-" if metrics.get(name) is None else f"{metrics[name]:.1f}" for name in METRICS]


def _label_rows(run: ReportedRun) -> list[tuple[str, str]]:
    cfg = run.cfg
    source, target = (", ".join(names) for names in (cfg.DATASETS.NAMES, cfg.DATASETS.TARGETS))
    rows = [("Model", run.results.get("selection", "not chosen yet") + ".")]
    if not run.is_clustered:
        return [*rows, ("Training", f"annotated identities of {source}.")]
    training = f"clusters of {target}, found anew every epoch; no annotated identity of {target}."
    if cfg.MMT.JOINT.ENABLED:
        training += f" Beside them, annotated identities of {source}."
    elif run.sources or cfg.MMT.WEIGHTS:
        training += f" The networks started from models trained on annotated identities of {source}."
    uses = []
    if "ARI" in run.scalars.labels:
        uses.append(f"true identities of {target} for ARI, NMI, wrong labels and the marked figures below")
    if tests := cfg.DATASETS.TESTS:
        uses.append(f"those of the test set{'s' * (len(tests) > 1)} {', '.join(tests)} for mAP and ranks")
    rows.append(("Training", training))
    rows.append(("For looking only", f"{'; '.join(uses)}." if uses else "no labels: there are none."))
    return rows

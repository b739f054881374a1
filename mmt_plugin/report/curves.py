"""Curves of training, evaluation and pseudo labels."""

from __future__ import annotations

import re

from mmt_plugin.runs.metrics import Curve, grouped, is_of_network, spaced

from .blocks import Figure, Group, Section
from .collect import ReportedRun
from .summary import source_score
from .svg import line_chart

NAMES = {
    "total_loss": "All losses together",
    "loss_ce": "Classification, hard labels",
    "loss_soft_ce": "Classification, soft labels",
    "loss_triplet": "Triplet, hard labels",
    "loss_soft_triplet": "Triplet, soft labels",
    "loss_moco": "Instance discrimination (MoCo)",
    "lr": "Learning rate",
    "label_noise/wrong": "Wrong pseudo labels",
    "label_noise/p_wrong": "Teacher's probability of a wrong label",
    "label_noise/p_right": "Teacher's probability of a right label",
    "label_noise/p_own": "Wrong label: teacher's probability of the identity's own clusters",
    "label_noise/triplets_wrong": "Wrong triplets",
    "label_noise/t_wrong": "Teacher's T of wrong triplets",
    "label_noise/t_right": "Teacher's T of right triplets",
}
METRIC = re.compile(r"(.*/)?(mAP|mINP|metric|Rank-\d+|TPR@FPR.*)")
NOT_FOR_PEOPLE = re.compile(r"time|data_time|eta_seconds|images_per_bn|\w+_seconds")
CAPTIONS = {
    "stability": "Agreement of one label step with the next: their ARI, 1 is no change.",
    "silhouette": "How well separated clusters are, from -1 to 1; by features alone.",
    "twin_agreement": "Share of nearest neighbours that the two networks have in common.",
    "cross_camera": "Share of clusters with images of several cameras.",
    "conflicts": "Share of tracklets seen together, so of two identities, that share a cluster.",
    "clustered": "Share of images in a cluster.",
    "median_size": "Images of the median cluster.",
}
# Label scalars with figures of their own.
COUNTS = ("clusters", "outliers", "largest_cluster")
AGREEMENT = ("ARI", "NMI")


def evaluation_section(run: ReportedRun) -> Section:
    """mAP and rank-1 of every network over the epochs, with the source models' level."""
    figures = []
    for metric in ("mAP", "Rank-1"):
        for prefix, curves in grouped(run.scalars.training, metric).items():
            curves = [c for c in curves if is_of_network(c.name)]
            names = [spaced(c.name.rpartition("/")[0]) for c in curves]
            dataset = prefix or next(iter(run.cfg.DATASETS.TESTS), "the test set")
            before = source_score(run, dataset, metric)
            legend = [(f"c{k}", name) for k, name in enumerate(names)]
            references = []
            if before is not None:
                references = [(before, "source models before adaptation, mean")]
                legend.append(("reference", references[0][1]))
            svg = line_chart(
                f"{metric} {dataset}", curves, names, references=references, width=500, height=230
            )
            figures.append(Figure(f"{metric} on {dataset}, %", svg, legend))
    missing = [] if figures else ["No evaluation was recorded: there is no labelled test set."]
    return Section(
        "evaluation",
        "Evaluation over the epochs",
        "Labels of the test set take part in these curves and in nothing else, unless the choice of the "
        "model above says so.",
        [Group(figures=figures, size="medium")] if figures else [],
        missing,
    )


def training_section(run: ReportedRun) -> Section:
    """Losses and learning rate, of the run and of its source models."""
    training = run.scalars.training
    losses = [name for name in training if name == "total_loss" or name.startswith("loss")]
    losses.sort(key=lambda name: list(NAMES).index(name) if name in NAMES else len(NAMES))
    figures = [_single(name, training[name]) for name in [*losses, *("lr",) * ("lr" in training)]]
    others = [name for name, curve in training.items() if _is_of_interest(name, curve) and name not in losses]
    groups = [Group(figures=figures)] if figures else []
    if others:
        groups.append(Group(title="Also recorded", figures=[_single(n, training[n]) for n in others]))
    if source_figures := _source_figures(run):
        groups.append(Group(title="Source pre-training", figures=source_figures))
    missing = [] if figures else ["No complete epoch was recorded."]
    return Section(
        "training",
        "Training",
        "Losses are sums over the networks, smoothed over an epoch. Pseudo labels change at every epoch, so "
        "steps between epochs are normal.",
        groups,
        missing,
    )


def labels_section(run: ReportedRun) -> Section:
    """Clusters, outliers, agreement with the truth, and whatever else the label steps recorded."""
    labels = run.scalars.labels
    if "clusters" not in labels:
        why = "No label step was recorded." if run.is_clustered else "Annotated identities are the labels."
        return Section("labels", "Pseudo labels", missing=[why])
    truth = run.truth
    references = [] if truth is None else [(float(truth.max() + 1), "true identities")]
    legend = [("reference", "true identities, for comparison only")] if references else []
    figures = [
        Figure(
            "Clusters",
            line_chart("clusters", [labels["clusters"]], ["clusters"], references=references),
            legend,
        ),
        Figure(
            "Images of no cluster",
            line_chart("outliers", [labels["outliers"]], ["images"], from_zero=True),
        ),
        Figure(
            "Images in the largest cluster",
            line_chart("largest_cluster", [labels["largest_cluster"]], ["images"], from_zero=True),
        ),
    ]
    missing = []
    if "ARI" in labels:
        curves = [labels[name] for name in AGREEMENT]
        figures.append(
            Figure(
                "Agreement with true identities",
                line_chart("agreement", curves, AGREEMENT, from_zero=True, top=1.0),
                [("c0", "ARI"), ("c1", "NMI")],
                "1: equal; ARI 0: chance. For comparison only: training never sees it.",
            )
        )
    else:
        missing.append("The images carry no identities, so agreement with the truth (ARI, NMI) is not known.")
    return Section(
        "labels",
        "Pseudo labels by epoch",
        "Each dot is one label step: features of all target images, clustered at the start of an epoch.",
        [Group(figures=figures), *_other_label_groups(labels)],
        missing,
    )


def _other_label_groups(labels: dict[str, Curve]) -> list[Group]:
    """Scalars of label steps that have no figure of their own, by the prefix of their names."""
    groups: dict[str, list[Figure]] = {}
    for name, curve in labels.items():
        if (
            name not in (*COUNTS, *AGREEMENT)
            and not name.startswith("seconds/")
            and not NOT_FOR_PEOPLE.fullmatch(name)
        ):
            prefix = name.rpartition("/")[0]
            groups.setdefault(prefix, []).append(_single(name, curve))
    return [Group(title=_words(prefix) or "Also recorded", figures=f) for prefix, f in groups.items()]


def _source_figures(run: ReportedRun) -> list[Figure]:
    """Total loss and mAP of the source models, one curve each."""
    figures = []
    for name, title in (("total_loss", NAMES["total_loss"]), ("lr", NAMES["lr"])):
        known = [source for source in run.sources if name in source.scalars.training]
        if known:
            curves = [source.scalars.training[name] for source in known]
            names = [source.folder.name for source in known]
            svg = line_chart(f"source {name}", curves, names)
            figures.append(Figure(title, svg, [(f"c{k}", n) for k, n in enumerate(names)]))
    return figures


def _single(name: str, curve: Curve) -> Figure:
    title = NAMES.get(name) or _words(name.rpartition("/")[2])
    caption = CAPTIONS.get(name.rpartition("/")[2], "")
    return Figure(title, line_chart(name, [curve], [title]), caption=caption)


def _is_of_interest(name: str, curve: Curve) -> bool:
    known = name == "lr" or METRIC.fullmatch(name) or NOT_FOR_PEOPLE.fullmatch(name)
    return not known and any(curve.values)


def _words(name: str) -> str:
    """twin_agreement -> Twin agreement."""
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]

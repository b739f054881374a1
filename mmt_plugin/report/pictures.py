"""The sections that look at images and their features. Shapes: S sampled images, D feature size."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from .blocks import Figure, Group, Section
from .collect import ReportedRun
from .embedding import plane
from .label_record import LabelRecord
from .sheets import cluster_sheets, ranked_sheets
from .svg import NUM_COLOURS, histogram, scatter


def clusters_section(run: ReportedRun) -> Section:
    """Contact sheets of the last label step."""
    title = "Clusters in pictures"
    if run.labels is None:
        why = "no label step was recorded" if run.is_clustered else "annotated identities are the labels"
        return Section("clusters", title, missing=[f"There are no clusters to show: {why}."])
    if not run.items:
        return Section("clusters", title, missing=[run.missing_images])
    missing = []
    if run.last is None and run.first is None:
        missing.append("Distances to cluster centres were not kept, so the tightest clusters are not known.")
    lead = "Clusters of the last label step, images from the nearest to the centre to the farthest."
    if run.truth is not None:
        lead += (
            " A red frame marks an image of another true identity than most of its cluster; identities are "
            "used for these frames and for finding mixed clusters, and for nothing else."
        )
    return Section(
        "clusters",
        title,
        lead,
        [Group(title=heading, lead=what, sheets=sheets) for heading, what, sheets in cluster_sheets(run)],
        missing,
    )


def map_section(run: ReportedRun) -> Section:
    """Sampled features in the plane, before and after, by cluster and by camera."""
    records = _records(run)
    title = "Map of the target images"
    if not records or len(records[0][1].sample) < 3:
        return Section("map", title, missing=["No features were kept for a map."])
    groups = []
    for heading, record in records:
        points = plane(record.features)
        by_cluster, cluster_legend = _by_cluster(run, record)
        places = (
            "cluster" if len(records) == 1 else f"cluster, {'before' if record is records[0][1] else 'after'}"
        )
        figures = [
            Figure(
                "by cluster",
                scatter(f"map by {places}", points, by_cluster, _titles(run, record)),
                cluster_legend,
            )
        ]
        if run.cameras is not None:
            by_camera, legend = _by_camera(run, record)
            svg = scatter(f"map by camera {len(groups)}", points, by_camera, _titles(run, record))
            figures.append(Figure("by camera", svg, legend))
        groups.append(Group(title=heading, figures=figures, size="medium"))
    missing = []
    if run.missing_images:
        missing.append(f"Cameras and file names are not known. {run.missing_images}.")
    elif run.cameras is None:
        missing.append("The images carry no camera names, or come from one camera.")
    return Section(
        "map",
        title,
        f"t-SNE of {len(records[-1][1].sample):,} of {len(run.labels):,} images: near images stay near, "
        "distances between groups mean little. Good features gather by identity, not by camera. Colours by "
        f"cluster are those of the last label step: the {NUM_COLOURS} largest clusters on the map.",
        groups,
        missing,
    )


def distances_section(run: ReportedRun) -> Section:
    """Distances of positive and negative pairs, before and after."""
    records = _records(run)
    title = "Distances of pairs"
    if not records:
        return Section("distances", title, missing=["No distances were kept."])
    kinds = {
        "identities": ("same identity", "different identities"),
        "clusters": ("same cluster", "different clusters"),
    }
    figures = []
    for heading, record in records:
        pairs = [record.positives.astype(np.float32), record.negatives.astype(np.float32)]
        if not all(map(len, pairs)):
            continue
        names = kinds[record.pairs_of]
        svg = histogram(f"distances {len(figures)}", pairs, names, "cosine distance")
        legend = [("c0", names[0]), ("c1", names[1])]
        share = 100 * _auc(*pairs)
        caption = f"A pair of the {names[0]} is nearer than one of {names[1]} in {share:.1f} % of cases."
        figures.append(Figure(heading, svg, legend, caption))
    if not figures:
        return Section("distances", title, missing=["There were no pairs of both kinds."])
    lead = (
        "Random pairs of target training images, the same ones before and after. True identities tell the "
        "pairs apart here; training never saw them."
        if records[0][1].pairs_of == "identities"
        else "Random pairs of target training images. Identities are not known, so clusters of the same "
        "label step tell the pairs apart: near by construction, which says how well clusters are separated, "
        "not whether they are right."
    )
    missing = (
        [] if len(records) > 1 else ["There was one label step only, so there is no distance afterwards."]
    )
    return Section("distances", title, lead, [Group(figures=figures, size="medium")], missing)


def ranking_section(run: ReportedRun) -> Section:
    """Ranked results of a few queries."""
    title = "Ranked results"
    ranking = run.ranking
    if ranking is None:
        why = (
            "no ranked lists were kept (several processes keep none)"
            if run.cfg.DATASETS.TESTS
            else "there is no test set (DATASETS.TESTS is empty)"
        )
        return Section("ranking", title, missing=[f"There are no ranked results: {why}."])
    if not run.test_items[0]:
        return Section(
            "ranking", title, missing=[f"The images of {ranking.dataset} are not here, or are others."]
        )
    return Section(
        "ranking",
        title,
        f"{ranking.sampled} evenly spaced queries of {ranking.dataset} were ranked by cosine distance, "
        "without re-ranking. Shown are quantiles of their average precision, from the best to the worst: "
        "none is picked. Green: the query's identity in another camera; red: another identity. Images of the "
        "query's own camera and identity are left out, as the evaluation does.",
        [Group(sheets=ranked_sheets(run))],
    )


def _records(run: ReportedRun) -> list[tuple[str, LabelRecord]]:
    """The label steps to compare, each with its heading."""
    headings = {
        "first": "Before: the networks that the run started from",
        "last": "After: the last label step",
    }
    records = [(headings["first"], run.first), (headings["last"], run.last)]
    return [
        (f"{heading} (start of epoch {record.epoch + 1})", record)
        for heading, record in records
        if record is not None
    ]


def _by_cluster(run: ReportedRun, record: LabelRecord) -> tuple[list[str], list[tuple[str, str]]]:
    """Classes of the points and their legend: the largest clusters of the last label step on the map."""
    labels = run.labels[record.sample]
    ids, counts = np.unique(labels[labels >= 0], return_counts=True)
    largest = ids[np.argsort(-counts, kind="stable")][:NUM_COLOURS]
    colour = {int(cluster): f"dot c{k}" for k, cluster in enumerate(largest)}
    classes = ["rest none" if label < 0 else colour.get(int(label), "rest") for label in labels]
    legend = [
        ("many", "the largest clusters, a colour each"),
        ("rest", "other clusters"),
        ("none", "no cluster"),
    ]
    return classes, legend


def _by_camera(run: ReportedRun, record: LabelRecord) -> tuple[list[str], list[tuple[str, str]]]:
    names = sorted(set(run.cameras), key=lambda name: (len(name), name))
    colour = {name: f"c{k % NUM_COLOURS}" for k, name in enumerate(names)}
    classes = [f"dot {colour[camera]}" for camera in run.cameras[record.sample]]
    return classes, [(colour[name], name) for name in names]


def _titles(run: ReportedRun, record: LabelRecord) -> list[str]:
    labels = run.labels[record.sample]
    clusters = ["no cluster" if label < 0 else f"cluster {label}" for label in labels]
    if not run.items:
        return clusters
    files = [run.items[i][0].rpartition("/")[2] for i in record.sample]
    return [f"{cluster}, {file}" for cluster, file in zip(clusters, files, strict=True)]


def _auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Probability that a positive pair is nearer than a negative one."""
    is_negative = np.repeat([0, 1], [len(positives), len(negatives)])
    return float(roc_auc_score(is_negative, np.concatenate([positives, negatives])))

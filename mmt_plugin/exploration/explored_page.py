"""The page of an exploration: one HTML file with table, curves and contact sheets. Shapes: N images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mmt_plugin.data.dataset import Item
from mmt_plugin.report.blocks import Command, Figure, Group, Section
from mmt_plugin.report.collect import camera_name
from mmt_plugin.report.page import fill_template
from mmt_plugin.report.sheets import cluster_sheets
from mmt_plugin.report.summary import Tile
from mmt_plugin.report.svg import line_chart, number
from mmt_plugin.runs.metrics import Curve
from mmt_plugin.system.files import replace_when_complete

from .grid import Known, Tried

# Names of measures, as the table heads them; those that are not known are left out.
COLUMNS = {
    "worth": "worth",
    "clusters": "clusters",
    "outliers": "outliers",
    "median_size": "median size",
    "largest": "largest share",
    "silhouette": "silhouette",
    "steady_eps": "steady: eps",
    "steady_copies": "steady: copies",
    "steady_networks": "steady: networks",
    "copies_kept": "copies kept",
    "follows_cameras": "follows cameras",
    "follows_poses": "follows poses",
    "split_tracklets": "split tracklets",
    "joined_exclusive": "joined exclusive",
    "ARI": "ARI",
}
ROWS = 40
LEAD = (
    "Worth orders the settings and needs no identity: silhouette x share of clustered images x agreement "
    "with the labels of the next radii and of mirrored and cropped copies, less what clusters follow of "
    "cameras or poses and what one cluster holds beyond a tenth. Follows: 0 is chance, 1 each cluster is of "
    "one camera or pose."
)


@dataclass(frozen=True, eq=False)
class Explored:
    """What a page shows: N images, the settings (best first), and what is advised."""

    title: str
    items: Sequence[Item]
    features: np.ndarray
    known: Known
    tried: Sequence[Tried]
    doubts: Sequence[str]
    command: str
    repeat: str


def table_of(tried: Sequence[Tried]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: a setting each."""
    names = [name for name in COLUMNS if any(name in each.measures for each in tried)]
    head = ["eps", "K1", "min. samples", *(COLUMNS[name] for name in names)]
    rows = []
    for each in tried:
        cells = [number(each.measures[name]) if name in each.measures else "-" for name in names]
        point = each.setting
        rows.append([f"{point.eps:g}", str(point.k1), str(point.min_samples), *cells])
    return head, rows


def write_page(explored: Explored, path: Path) -> None:
    """Write the page; whole or not at all."""
    best = explored.tried[0]
    found = best.measures
    point = best.setting
    tiles = [
        Tile(
            "Recommended", f"eps {point.eps:g}, K1 {point.k1}, min. samples {point.min_samples}", "", "wide"
        ),
        Tile("Clusters", number(found["clusters"]), f"median size {number(found['median_size'])}"),
        Tile("Outliers", f"{1 - found['clustered']:.1%}", f"of {len(explored.items):,} images"),
        Tile("Largest cluster", f"{found['largest']:.1%}", "of all images"),
    ]
    if "ARI" in found:
        top = max(each.measures["ARI"] for each in explored.tried)
        tiles.append(
            Tile("ARI", f"{found['ARI']:.2f}", f"best of the grid: {top:.2f}; nothing is chosen by it")
        )
    text = fill_template(
        kicker="Label steps explored",
        title=explored.title,
        method=f"{len(explored.tried)} settings, nothing trained",
        tiles=tiles,
        sections=[_advice(explored), _settings(explored), _sheets(explored)],
        folder=str(path.parent),
        repeat=explored.repeat,
        epochs=0,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_complete(str(path), "w", encoding="utf-8") as file:
        file.write(text)


def _advice(explored: Explored) -> Section:
    lead = "Look at the sheets below first: a cluster should be one identity, and an identity one cluster."
    commands = [Command("Train with the recommended setting", explored.command)]
    return Section("advice", "What to do next", lead, [Group(commands=commands)], explored.doubts)


def _settings(explored: Explored) -> Section:
    head, rows = table_of(explored.tried[:ROWS])
    samples = explored.tried[0].setting.min_samples
    widths = sorted({each.setting.k1 for each in explored.tried})
    figures = []
    for name, title in (
        ("worth", "worth"),
        ("clusters", "clusters"),
        ("largest", "share of the largest cluster"),
    ):
        curves = []
        for k1 in widths:
            line = [t for t in explored.tried if (t.setting.k1, t.setting.min_samples) == (k1, samples)]
            line.sort(key=lambda each: each.setting.eps)
            values = [each.measures[name] for each in line]
            curves.append(Curve(f"K1 {k1}", [each.setting.eps for each in line], values))
        curves = [curve for curve in curves if curve.epochs]
        names = [curve.name for curve in curves]
        legend = [(f"c{k}", each) for k, each in enumerate(names)]
        svg = line_chart(name, curves, names, from_zero=True, x_label="eps")
        figures.append(Figure(f"{title}, min. samples {samples}", svg, legend))
    groups = [Group(figures=figures), Group(title=f"The best {len(rows)} settings", header=head, rows=rows)]
    return Section("settings", "Settings", LEAD, groups)


def _sheets(explored: Explored) -> Section:
    labels, features = explored.tried[0].labels, explored.features
    distances = np.full(len(labels), np.nan, np.float32)
    for cluster in range(labels.max() + 1):
        members = np.flatnonzero(labels == cluster)
        centre = features[members].mean(axis=0)
        distances[members] = 1 - features[members] @ (centre / max(np.linalg.norm(centre), 1e-9))
    known = explored.known
    cameras = None if known.cameras is None else np.array([camera_name(item[2]) for item in explored.items])
    shown = SimpleNamespace(
        items=explored.items,
        labels=labels,
        truth=known.identities,
        cameras=cameras,
        first=None,
        last=SimpleNamespace(distances=distances),
    )
    groups = [Group(title=title, lead=lead, sheets=sheets) for title, lead, sheets in cluster_sheets(shown)]
    lead = "Clusters of the recommended setting, images from the nearest to the centre to the farthest."
    return Section("clusters", "Clusters in pictures", lead, groups)

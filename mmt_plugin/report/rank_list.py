"""Ranked retrieval results as one picture. Shapes: Q queries, G gallery images, D feature size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from fastreid.data.data_utils import read_image
from PIL import Image, ImageDraw
from torch import Tensor

TILE = (64, 128)
FRAME = 4
GAP = 6
HEADER = 18
BLUE, GREEN, RED = (60, 110, 200), (40, 160, 70), (210, 50, 50)


def draw_rank_list(
    query: Sequence[tuple],
    gallery: Sequence[tuple],
    query_features: Tensor,
    gallery_features: Tensor,
    path: Path,
    num_queries: int = 8,
    num_ranks: int = 10,
) -> None:
    """Draw evenly spaced queries (blue), each with its best gallery images, right (green) or wrong (red).

    Gallery images of the query's identity in the query's own camera are left out, as the evaluation does.

    Args:
        query: Q items (path, identity, camera).
        gallery: G items.
        query_features: Q x D.
        gallery_features: G x D.
        path: of the picture to write.
        num_queries: rows.
        num_ranks: gallery images a row.
    """
    rows = np.unique(np.linspace(0, len(query) - 1, min(num_queries, len(query))).round().astype(int))
    similarity = (F.normalize(query_features[rows], dim=1) @ F.normalize(gallery_features, dim=1).t()).numpy()
    step = (TILE[0] + 2 * FRAME + GAP, TILE[1] + 2 * FRAME + GAP)
    sheet = Image.new(
        "RGB", (GAP + step[0] * (num_ranks + 1) + GAP, HEADER + step[1] * len(rows) + GAP), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for rank in range(num_ranks + 1):
        label = "query" if rank == 0 else f"rank {rank}"
        draw.text((_left(rank, step) + FRAME, 3), label, fill="black")
    identities, cameras = (np.array([item[k] for item in gallery]) for k in (1, 2))
    for row, index in enumerate(rows):
        _, identity, camera = query[index]
        junk = (identities == identity) & (cameras == camera)
        order = [i for i in np.argsort(-similarity[row], kind="stable") if not junk[i]][:num_ranks]
        top = HEADER + row * step[1]
        _paste(sheet, query[index][0], (_left(0, step), top), BLUE)
        for rank, i in enumerate(order, start=1):
            _paste(
                sheet, gallery[i][0], (_left(rank, step), top), GREEN if identities[i] == identity else RED
            )
    sheet.save(path, quality=90)


def _left(rank: int, step: tuple[int, int]) -> int:
    """Left edge of a column; the query stands a little apart."""
    return GAP + rank * step[0] + (GAP if rank else 0)


def _paste(sheet: Image.Image, path: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    tile = Image.new("RGB", (TILE[0] + 2 * FRAME, TILE[1] + 2 * FRAME), colour)
    tile.paste(read_image(path).convert("RGB").resize(TILE, Image.Resampling.BICUBIC), (FRAME, FRAME))
    sheet.paste(tile, corner)

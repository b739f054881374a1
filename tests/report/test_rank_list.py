"""Frames of the ranked results."""

import numpy as np
import torch
from PIL import Image

from mmt_plugin.report.rank_list import BLUE, FRAME, GAP, GREEN, HEADER, RED, TILE, draw_rank_list


def test_frames_tell_right_from_wrong_and_junk_is_left_out(tmp_path):
    path = tmp_path / "person.jpg"
    Image.new("RGB", (20, 40), "grey").save(path)
    query = [(str(path), 1, 0), (str(path), 2, 0)]
    # (identity, camera, similarity to the first query)
    gallery = [(1, 0, 0.99), (2, 1, 0.9), (1, 1, 0.8), (0, 1, 0.7), (1, 2, 0.6)]
    items = [(str(path), identity, camera) for identity, camera, _ in gallery]
    features = torch.tensor([[s, (1 - s * s) ** 0.5] for _, _, s in gallery])
    sheet_path = tmp_path / "sheet.png"
    query_features = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    draw_rank_list(query, items, query_features, features, sheet_path, num_ranks=4)

    sheet = np.asarray(Image.open(sheet_path).convert("RGB"))
    step = TILE[0] + 2 * FRAME + GAP
    lefts = [GAP + rank * step + (GAP if rank else 0) for rank in range(5)]
    frames = [tuple(int(v) for v in sheet[HEADER + 1, left + 1]) for left in lefts]
    # The nearest image is of the query's own identity and camera: junk. Then wrong, right, nobody, right.
    assert frames == [BLUE, RED, GREEN, RED, GREEN]


def test_rows_are_spread_over_the_queries(tmp_path):
    path = tmp_path / "person.jpg"
    Image.new("RGB", (20, 40), "grey").save(path)
    query = [(str(path), i, 0) for i in range(50)]
    gallery = [(str(path), i, 1) for i in range(3)]
    sheet_path = tmp_path / "sheet.png"
    draw_rank_list(
        query, gallery, torch.randn(50, 4), torch.randn(3, 4), sheet_path, num_queries=4, num_ranks=6
    )
    rows = (Image.open(sheet_path).height - HEADER - GAP) / (TILE[1] + 2 * FRAME + GAP)
    assert rows == 4

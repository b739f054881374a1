"""Grids and results in a folder of the test's."""

from pathlib import Path

import pytest
import yaml
from ablation.grid import Grid, load_grid
from ablation.result_files import add_result
from small_grid import OVERRIDES, SYNTHETIC, make_result


@pytest.fixture
def write_grid(tmp_path):
    """A function: rows and other keys of a grid -> its file, grid.yml."""

    def write(rows: dict, **keys: object) -> Path:
        tree = {"config": str(SYNTHETIC / "plaza2metro_mmt.yml"), "overrides": OVERRIDES, "rows": rows}
        path = tmp_path / "grid.yml"
        path.write_text(yaml.safe_dump({**tree, **keys}, sort_keys=False))
        return path

    return write


@pytest.fixture
def make_grid(write_grid):
    """The same, loaded."""

    def make(rows: dict, **keys: object) -> Grid:
        return load_grid(write_grid(rows, **keys))

    return make


@pytest.fixture
def write_results(tmp_path):
    """A function: a grid, and mAP by seed for each row's name -> folder of their results."""

    def write(grid: Grid, values: dict[str, dict[int, float]]) -> Path:
        for row in grid.rows:
            for seed, value in values.get(row.name, {}).items():
                add_result(tmp_path / "results", grid, make_result(row, seed, value))
        return tmp_path / "results"

    return write

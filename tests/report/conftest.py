"""A tiny run that has a report, and what is in a page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin import data
from mmt_plugin.config import load_config
from mmt_plugin.engine import run

CONFIG_FILE = REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml"
SOURCE_OPTS = as_options(
    {
        "SOLVER.ITERS_PER_EPOCH": 2,
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.IMS_PER_BATCH": 8,
        "DATALOADER.NUM_INSTANCE": 2,
        "SOLVER.WARMUP_ITERS": 0,
        "TEST.EVAL_PERIOD": 1,
    }
)
SETTINGS = {
    **TINY,
    "REPORT.ENABLED": True,
    "MMT.SOURCE.OPTS": SOURCE_OPTS,
    "SOLVER.MAX_EPOCH": 3,
    "TEST.EVAL_PERIOD": 1,
}


@pytest.fixture(scope="module")
def finished(datasets_root, tmp_path_factory) -> Iterator[Path]:
    """Folder of a complete run: two source models, then three epochs."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "a <run> & its 'folder'"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(datasets_root))
        cfg = load_config(CONFIG_FILE, as_options({**SETTINGS, "OUTPUT_DIR": str(folder)}))
        data.configure(cfg)
        run(cfg, str(CONFIG_FILE), resume=False)
        yield folder
    data.configure(load_config(CONFIG_FILE))


class Page:
    """A written report."""

    def __init__(self, text: str):
        self.text = text

    @property
    def sections(self) -> list[str]:
        return re.findall(r'<section id="(\w+)"', self.text)

    def section(self, name: str) -> str:
        return re.search(rf'<section id="{name}".*?</section>', self.text, re.DOTALL).group()

    def missing(self, name: str) -> list[str]:
        """What a section says is missing."""
        return re.findall(r'<p class="missing">(.*?)</p>', self.section(name))

    def points(self, chart: str) -> int:
        """Dots of a chart."""
        svg = re.search(rf'<svg[^>]* data-chart="{re.escape(chart)}">.*?</svg>', self.text, re.DOTALL)
        return svg.group().count("<circle")

    @property
    def addresses(self) -> list[str]:
        """Everything that a browser could fetch."""
        return re.findall(r'(?:src|href|srcset|action|data)="([^"]*)"', self.text) + re.findall(
            r"url\(([^)]*)\)|@import\s+(\S+)", self.text
        )


@pytest.fixture
def read_page():
    """A function: folder of a run -> its page."""
    return lambda folder: Page(Path(folder, "report.html").read_text())

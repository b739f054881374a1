"""A pytest plugin that makes the table of docs/faults.md from what the tests observe.

Loaded by tools/soak.py; see the fixture `observe`.
"""

import re
from pathlib import Path

import pytest

HEADER = """# Faults

Made by `{command}`, which injects every fault and fails when one of them does what it should not.
"What happened" is what was observed; paths are shortened. {failed}

"""
MAX_LENGTH = 230


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, help="Markdown file to write")
    parser.addoption("--soak", action="store_true", help="inject faults more often, and for longer")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FaultTable(config), "fault_table_writer")


class FaultTable:
    """Collects rows from the reports of passed tests."""

    def __init__(self, config: pytest.Config):
        self.path, self.soak = config.getoption("--fault-table"), config.getoption("--soak")
        self.rows: dict[tuple[str, str, str], int] = {}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        if report.when != "call" or not report.passed:
            return
        for name, value in report.user_properties:
            if name == "fault":
                fault, times, happened, lost = value
                key = (fault, shorten(happened), lost)
                self.rows[key] = self.rows.get(key, 0) + times

    def pytest_sessionfinish(self) -> None:
        if self.path is None:
            return
        rows = [(fault, times, happened, lost) for (fault, happened, lost), times in self.rows.items()]
        command = "make soak" if self.soak else "python tools/soak.py --short"
        failed = f"**Failed: {', '.join(self.failed)}**" if self.failed else "None failed."
        table = [("fault", "times", "what happened", "lost"), ("---",) * 4, *rows]
        lines = [f"| {' | '.join(map(str, row))} |" for row in table]
        self.path.write_text(HEADER.format(command=command, failed=failed) + "\n".join(lines) + "\n")


def shorten(text: str) -> str:
    """One line without temporary folders, fit for a cell."""
    line = " ".join(text.split()).replace("|", "/")
    line = re.sub(r"/[^\s':,]*/([^/\s':,]+)", r"\1", line)
    line = re.sub(r"process \d+", "process N", line)
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 3]}..."

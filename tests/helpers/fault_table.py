"""A pytest plugin that makes the table of docs/faults.md from what the tests observe.

Loaded by tools/soak.py; see the fixture `observe`. What each test saw last is kept in a file of records, so
that faults can be injected in pieces, at different times.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

HEADER = """# Faults

Made by `make soak`, which injects every fault and fails when one of them does what it should not.
"What happened" is what was observed; paths are shortened. "Times" is how often it was seen{seen}. {failed}

"""
MAX_LENGTH = 230


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, help="Markdown file to write")
    parser.addoption("--fault-records", type=Path, help="file that keeps what was seen before")
    parser.addoption("--code", default="", help="what to call the code that is tested")
    parser.addoption("--soak", action="store_true", help="inject faults more often, and for longer")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FaultTable(config), "fault_table_writer")


@dataclass
class Seen:
    """What the last run of one test saw.

    Attributes:
        code: of which it was.
        failed: whether the test failed; it has no rows then.
        rows: fault, times, what happened, what was lost.
    """

    code: str
    failed: bool = False
    rows: list[tuple[str, int, str, str]] = field(default_factory=list)


class FaultTable:
    """Collects rows from the reports of passed tests."""

    def __init__(self, config: pytest.Config):
        self.table, self.records = config.getoption("--fault-table"), config.getoption("--fault-records")
        self.code = config.getoption("--code")
        self.seen: dict[str, Seen] = {}
        if self.records and self.records.exists():
            before = json.loads(self.records.read_text())
            self.seen = {name: Seen(**seen) for name, seen in before.items()}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            return
        if report.when == "setup":
            self.seen[report.nodeid] = Seen(self.code)
        seen = self.seen[report.nodeid]
        seen.failed |= report.failed
        if report.when == "call" and report.passed:
            rows = [value for name, value in report.user_properties if name == "fault"]
            seen.rows = [(fault, times, shorten(happened), lost) for fault, times, happened, lost in rows]

    def pytest_sessionfinish(self) -> None:
        if self.records:
            self.records.parent.mkdir(parents=True, exist_ok=True)
            seen = {name: asdict(seen) for name, seen in self.seen.items()}
            self.records.write_text(json.dumps(seen, indent=1))
        if self.table:
            self.table.write_text(self.drawn())

    def drawn(self) -> str:
        """The page."""
        times: dict[tuple[str, str, str], int] = {}
        for seen in self.seen.values():
            for fault, number, happened, lost in seen.rows:
                times[fault, happened, lost] = times.get((fault, happened, lost), 0) + number
        rows = [(fault, number, happened, lost) for (fault, happened, lost), number in times.items()]
        failed = [name for name, seen in self.seen.items() if seen.failed]
        codes = sorted({seen.code for seen in self.seen.values()} - {""})
        header = HEADER.format(
            seen=f", of the code of {', '.join(codes)}" if codes else "",
            failed=f"**Failed: {', '.join(failed)}**" if failed else "None failed.",
        )
        table = [("fault", "times", "what happened", "lost"), ("---",) * 4, *rows]
        return header + "\n".join(f"| {' | '.join(map(str, row))} |" for row in table) + "\n"


def shorten(text: str) -> str:
    """One line without temporary folders, fit for a cell."""
    line = " ".join(text.split()).replace("|", "/")
    line = re.sub(r"/[^\s':,]*/([^/\s':,]+)", r"\1", line)
    line = re.sub(r"process \d+", "process N", line)
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 3]}..."

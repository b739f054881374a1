"""The run report: one HTML file with everything in it."""

import datetime
import shlex
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmt_plugin.system.files import replace_when_complete
from mmt_plugin.version import __version__

from .collect import ReportedRun
from .configuration import configuration_section
from .curves import evaluation_section, labels_section, training_section
from .next_steps import next_steps_section
from .pictures import clusters_section, distances_section, map_section, ranking_section
from .summary import method_of, results_section, tiles, title_of
from .timeline import timeline_section

PAGE = "report.html"
SECTIONS = (
    results_section,
    next_steps_section,
    evaluation_section,
    labels_section,
    clusters_section,
    map_section,
    distances_section,
    ranking_section,
    training_section,
    timeline_section,
    configuration_section,
)


def write_report(folder: str | Path) -> Path:
    """Write a run's report into its folder, from what the folder and the data sets hold.

    Args:
        folder: OUTPUT_DIR of a run, complete or not.

    Returns:
        The page's path.

    Raises:
        RunError: the folder holds no run.
        ConfigError: its configuration is not one of this version.
        RecordError: a file that the run kept for its report is damaged.
        OSError: the page cannot be written.
    """
    run = ReportedRun(folder)
    page = render(run)
    path = run.folder / PAGE
    with replace_when_complete(str(path), "w", encoding="utf-8") as file:
        file.write(page)
    return path


def render(run: ReportedRun) -> str:
    """The page's text."""
    return fill_template(
        kicker="Run report" if run.is_complete else "Run report · run not complete",
        title=title_of(run),
        method=method_of(run.cfg),
        tiles=tiles(run),
        sections=[make(run) for make in SECTIONS],
        folder=str(run.folder),
        repeat=shlex.join(("mmt", "report", str(run.folder))),
        epochs=run.scalars.num_epochs,
    )


def fill_template(**values: object) -> str:
    """A page of tiles and sections. Every string is escaped by the template."""
    environment = Environment(
        loader=PackageLoader("mmt_plugin.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written = f"{datetime.datetime.now():%Y-%m-%d %H:%M}"
    return environment.get_template("report.html").render(version=__version__, written=written, **values)

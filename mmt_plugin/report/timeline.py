"""Where the time of a run went."""

from __future__ import annotations

from mmt_plugin.runs.metrics import Scalars
from mmt_plugin.runs.run import Run

from .blocks import Figure, Group, Section
from .collect import ReportedRun
from .svg import stacked_bar

# (what it is, scalar, class of the style sheet), in the order of an epoch.
STAGES = (
    ("features for the labels", "extraction_seconds", "c1"),
    ("clustering", "clustering_seconds", "c2"),
    ("judging the labels", "judging_seconds", "c5"),
    ("classifier rows", "classifier_seconds", "c6"),
    ("optimiser reset", "optimizer_seconds", "c7"),
    ("labels to the sampler", "sampler_seconds", "c8"),
    ("records for the report", "recording_seconds", "c9"),
    ("training", "training_seconds", "c0"),
    ("evaluation", "evaluation_seconds", "c3"),
    ("checkpoint", "checkpoint_seconds", "c10"),
)
PRETRAINING = ("source pre-training", "c4")
INNER = "seconds/"
FIRST_BATCH = "first_batch_seconds"


def timeline_section(run: ReportedRun) -> Section:
    """One bar of all stages in the order in which they ran, and their totals."""
    own = [source for source in run.sources if run.is_own(source)]
    parts = [
        (source_seconds(source), PRETRAINING[1], f"pre-training: {source.folder.name}") for source in own
    ]
    parts = [(s, css, f"{title}, {duration(s)}") for s, css, title in parts]
    parts += _epoch_parts(run.scalars)
    totals = [(PRETRAINING[0], sum(map(source_seconds, own)), PRETRAINING[1])] if own else []
    totals += [
        (title, seconds, css)
        for title, name, css in STAGES
        if (seconds := run.scalars.total(name)) is not None
    ]
    if not parts:
        return Section("timeline", "Timeline", missing=["This run recorded no times."])
    figure = Figure(
        f"{duration(sum(seconds for seconds, *_ in parts))} in all",
        stacked_bar("timeline", parts),
        [(css, f"{title} {duration(seconds)}") for title, seconds, css in totals],
    )
    whole = sum(seconds for _, seconds, _ in totals)
    rows = []
    for title, seconds, _ in totals:
        rows.append((title, duration(seconds), f"{100 * seconds / whole:.0f} %"))
        if title == "clustering":
            rows += [_of_it(name, s, whole) for name, s in _inner(run)]
        waited = run.scalars.total(FIRST_BATCH)
        if title == "training" and waited is not None:
            rows.append(_of_it("waiting for the first batch of an epoch", waited, whole))
    missing = []
    if "training_seconds" not in run.scalars.training:
        missing.append("The version that made this run did not record the time of training and evaluation.")
    if given := [source.folder.name for source in run.sources if not run.is_own(source)]:
        missing.append(f"The source models ({', '.join(given)}) were given; their training is not counted.")
    return Section(
        "timeline",
        "Timeline",
        "Stages from left to right, as they ran. A resumed run counts what led to its model, once.",
        [
            Group(figures=[figure], size="wide"),
            Group(header=("stage", "time", "share"), rows=rows),
        ],
        missing,
    )


def run_seconds(run: ReportedRun) -> float | None:
    """Seconds of all stages; None where those of training were not recorded."""
    if "training_seconds" not in run.scalars.training:
        return None
    own = sum(source_seconds(source) for source in run.sources if run.is_own(source))
    return own + sum(run.scalars.total(name) or 0 for _, name, _ in STAGES)


def source_seconds(source: Run) -> float:
    """Of its training and evaluation."""
    recorded = [source.scalars.total(name) for _, name, _ in STAGES]
    if any(seconds is not None for seconds in recorded):
        return sum(seconds or 0 for seconds in recorded)
    return 60 * source.results.get("minutes", 0.0)


def duration(seconds: float) -> str:
    """Seconds as they are read."""
    if seconds < 0.1:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _of_it(name: str, seconds: float, whole: float) -> tuple[str, str, str]:
    """A row of the table that is part of the row above."""
    return f"— of it, {name}", duration(seconds), f"{100 * seconds / whole:.1f} %"


def _epoch_parts(scalars: Scalars) -> list[tuple[float, str, str]]:
    """The stages of all epochs in order; label steps stand at their epoch's start, all others at its end."""
    entries = []
    for order, (title, name, css) in enumerate(STAGES):
        curve, starts = scalars.labels.get(name), 1
        if curve is None:
            curve, starts = scalars.training.get(name), 0
        if curve is not None:
            for position, seconds in zip(curve.epochs, curve.values, strict=True):
                epoch = round(position) + starts
                text = f"epoch {epoch}: {title}, {duration(seconds)}"
                entries.append((epoch, order, (seconds, css, text)))
    return [part for *_, part in sorted(entries)]


def _inner(run: ReportedRun) -> list[tuple[str, float]]:
    labels = run.scalars.labels
    return [
        (name.removeprefix(INNER).replace("_", " "), sum(curve.values))
        for name, curve in labels.items()
        if name.startswith(INNER)
    ]

"""What to do with a finished run, as commands that can be copied."""

from __future__ import annotations

import shlex

from .blocks import Command, Group, Section
from .collect import ReportedRun

EXAMPLE_SET = "\"('folder:/path/to/labelled/crops',)\""


def next_steps_section(run: ReportedRun) -> Section:
    """Features, export and evaluation, with the run's own folder in them."""
    title = "Next steps"
    if not run.is_complete:
        return Section(
            "next", title, missing=["The run is not complete: its own command with --resume goes on."]
        )
    folder = str(run.folder)
    snippet = (
        f"from mmt_plugin import FeatureExtractor\n\n"
        f"features = FeatureExtractor({folder!r})(files)  # N x D, of unit length"
    )
    commands = [
        Command("Features of images in Python; compare them by cosine", snippet),
        Command(
            "A file for trackers and other programs, without the plugin",
            _shell("export", folder, "--format", "onnx"),
        ),
        *_evaluation(run, folder),
    ]
    return Section("next", title, groups=[Group(commands=commands)])


def _evaluation(run: ReportedRun, folder: str) -> list[Command]:
    """What measures the run, on its own test set if it has one."""
    commands = []
    if run.cfg.DATASETS.TESTS:
        what = "Evaluation with k-reciprocal re-ranking"
        commands.append(Command(what, _shell("evaluate", folder, "--opts", "TEST.RERANK.ENABLED", "True")))
    what = "Evaluation on crops that you have labelled, in the sub-folders query and gallery"
    if not run.cfg.DATASETS.TESTS:
        what += ": a few hundred say more than any number that needs no labels"
    own = f"{_shell('evaluate', folder, '--opts', 'DATASETS.TESTS')} {EXAMPLE_SET}"
    return [*commands, Command(what, own)]


def _shell(*words: str) -> str:
    return shlex.join(("mmt", *words))

"""The command line: one module a verb, each `mmt <verb>` and `python tools/<verb>.py` at once.

A module of a verb has a docstring, which is its help, `add_arguments(parser)` and `run(arguments)`, which
returns the exit status or None. It imports what takes seconds, torch above all, inside `run`, so that help is
printed, and a mistake of the command line told, at once.
"""

# verb -> the module here.
VERBS = {
    "train": "train",
    "evaluate": "evaluate",
    "explore-labels": "explore_labels",
    "export": "export",
    "report": "report",
    "leaderboard": "leaderboard",
    "translate": "translate",
    "crop-tracks": "crop_tracks",
    "strip-labels": "strip_labels",
    "configs": "configs",
    "doctor": "doctor",
}

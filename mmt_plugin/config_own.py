"""Configuration keys of own data, folders and lists of crops, and what they demand of each other."""

import re

from fastreid.config import CfgNode

# How names of own data sets in DATASETS.* start; the rest is a path.
FOLDER, TABLE = "folder:", "csv:"
GROUPS = ("camera", "tracklet", "id")


def add_own_config(cfg: CfgNode) -> None:
    """Add the keys, with their defaults, to a fastreid config (in place)."""
    own = cfg.DATASETS.OWN = CfgNode()
    # The first sub-folder that an image of a folder: data set lies in is its camera.
    own.CAMERA_FOLDERS = False
    # What paths below a folder: data set tell: a regular expression, searched for in each, with one or more
    # of the named groups (?P<camera>...), (?P<tracklet>...), (?P<id>...). Empty: nothing.
    own.PATTERN = ""
    # The same for names in its labelled `query` and `gallery` folders. The default reads Market-1501's names.
    own.TEST_PATTERN = r"(?P<id>-?\d+)_c(?P<camera>\d+)"
    # Give all images of a tracklet the label that most of them were given.
    cfg.PSEUDO_LABELS.MUST_LINK = False


def is_own(name: str) -> bool:
    """Whether a data set's name is that of a folder or list of crops."""
    return name.startswith((FOLDER, TABLE))


def own_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    """Each rule: whether it holds, and the sentence to say where it does not."""
    own = cfg.DATASETS.OWN
    patterns = {"PATTERN": own.PATTERN, "TEST_PATTERN": own.TEST_PATTERN}
    groups = {key: _groups(pattern) for key, pattern in patterns.items()}
    lists = {key: cfg.DATASETS[key] for key in ("NAMES", "TARGETS", "TESTS")}
    return [
        *(
            (
                groups[key] is not None,
                f"DATASETS.OWN.{key} is {patterns[key]!r}, which is no regular expression",
            )
            for key in patterns
        ),
        *(
            (
                set(groups[key] or ()) <= set(GROUPS),
                f"DATASETS.OWN.{key} is {patterns[key]!r}; the groups it may name are {', '.join(GROUPS)}",
            )
            for key in patterns
        ),
        (
            not own.PATTERN or groups["PATTERN"] != (),
            f"DATASETS.OWN.PATTERN is {own.PATTERN!r}, which names no group; name one, like (?P<camera>...)",
        ),
        (
            groups["TEST_PATTERN"] is None or "id" in groups["TEST_PATTERN"],
            f"DATASETS.OWN.TEST_PATTERN is {own.TEST_PATTERN!r}; evaluation needs the group (?P<id>...)",
        ),
        (
            not own.CAMERA_FOLDERS or "camera" not in (groups["PATTERN"] or ()),
            "DATASETS.OWN.CAMERA_FOLDERS is True and DATASETS.OWN.PATTERN has a group camera: choose one",
        ),
        *(
            (
                is_own(name) and name.partition(":")[2] != "",
                f"DATASETS.{key} has {name!r}; a name with a colon is 'folder:' or 'csv:' and a path",
            )
            for key, names in lists.items()
            for name in names
            if ":" in name
        ),
    ]


def _groups(pattern: str) -> tuple[str, ...] | None:
    """Names of a regular expression's groups; None if it is no regular expression."""
    try:
        return tuple(re.compile(pattern).groupindex)
    except re.error:
        return None

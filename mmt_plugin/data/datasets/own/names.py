"""How own data sets are named in DATASETS.*, and what may be known of a crop."""

# What a name starts with; the rest is a path.
FOLDER, TABLE = "folder:", "csv:"
GROUPS = ("camera", "tracklet", "id")


def is_own(name: str) -> bool:
    """Whether a data set's name is that of a folder or list of crops."""
    return name.startswith((FOLDER, TABLE))

"""How own data sets are named in DATASETS.*, and how what is known of a crop is named and numbered.

Names are text: two are equal if their text is equal, and only then. `07` and `7`, `1_23` and `12_3`, or an é
of one character and an e with an accent, are different names.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote

# What a data set's name starts with; the rest is a path.
FOLDER, TABLE = "folder:", "csv:"
GROUPS = ("camera", "tracklet", "id", "frame")
# The identity of images that show nobody, or a part of somebody, as Market-1501 writes it.
JUNK = "-1"
_INTEGER = re.compile(r"-?[0-9]{1,18}")


def is_own(name: str) -> bool:
    """Whether a data set's name is that of a folder or list of crops."""
    return name.startswith((FOLDER, TABLE))


def qualified(dataset: str, name: str | None) -> str:
    """A name of one data set, different from those of all others."""
    text = str(name).replace("%", "%25").replace("/", "%2F")
    return f"{dataset}/{text}"


def unqualified(name: str) -> str:
    """The part of a qualified name that the user gave."""
    return unquote(name.rpartition("/")[2])


class NamedNumber(int):
    """A name's number, for programs that compare numbers; printed, it is the name."""

    name: str

    def __new__(cls, number: int, name: str) -> "NamedNumber":
        self = super().__new__(cls, number)
        self.name = name
        return self

    def __getnewargs__(self) -> tuple[int, str]:
        return int(self), self.name

    def __str__(self) -> str:
        return self.name


def number_names(names: Iterable[str]) -> dict[str, NamedNumber]:
    """A number for each name: different names have different numbers, and only JUNK is -1.

    Names that are all integers, each written in one way, stand for themselves; else they count from 0 in
    sorted order. So numbers depend on the names alone.
    """
    names = sorted(set(names))
    integers = {int(name) for name in names if _INTEGER.fullmatch(name)}
    if len(integers) == len(names) and (-1 not in integers or JUNK in names):
        return {name: NamedNumber(int(name), name) for name in names}
    people = [name for name in names if name != JUNK]
    numbers = {JUNK: -1, **{name: number for number, name in enumerate(people)}}
    return {name: NamedNumber(numbers[name], name) for name in names}

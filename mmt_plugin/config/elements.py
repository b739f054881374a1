"""What the lists among the values hold. A tuple or list is all that the host checks of them: a number among
names of data sets would end a run somewhere, long after the command line was read.
"""

from collections.abc import Iterator
from functools import reduce
from types import UnionType

from fastreid.config import CfgNode

from mmt_plugin.pseudo_labels.choices import Rule

NAMES = "names in quotes, such as ('SynthMetro',)"
PATHS = "paths in quotes, such as ('a.pth', 'b.pth')"
PIXELS = "height and width in pixels, such as [256, 128]"
# key -> (type, least and largest of a number, what is meant).
LISTS = {
    "DATASETS.NAMES": (str, None, NAMES),
    "DATASETS.TARGETS": (str, None, NAMES),
    "DATASETS.TESTS": (str, None, NAMES),
    "MMT.WEIGHTS": (str, None, PATHS),
    "MODEL.FREEZE_LAYERS": (str, None, "names of layers in quotes, such as ['backbone']"),
    "MMT.SOURCE.SEEDS": (int, (0, 2**32 - 1), "whole numbers, such as (1, 2)"),
    "SOLVER.STEPS": (int, (0, 2**32 - 1), "whole numbers of epochs, such as [40, 70]"),
    "INPUT.SIZE_TRAIN": (int, (0, 4096), PIXELS),
    "INPUT.SIZE_TEST": (int, (0, 4096), PIXELS),
    "MODEL.PIXEL_MEAN": (int | float, (0, 255), "a number of 0 to 255 a channel"),
    "MODEL.PIXEL_STD": (int | float, (1e-3, 255), "a positive number a channel"),
    "SYNTHETIC.IMAGE_SIZE": (int, (0, 1024), PIXELS),
}
NAMED_ONCE = ("DATASETS.NAMES", "DATASETS.TARGETS", "DATASETS.TESTS")


def element_rules(cfg: CfgNode) -> Iterator[Rule]:
    """Of every list: its elements, and that no data set is read twice."""
    for key, (kind, bounds, meaning) in LISTS.items():
        values = reduce(CfgNode.__getitem__, key.split("."), cfg)
        wrong = [value for value in values if not _fits(value, kind, bounds)]
        yield not wrong, f"{key} has {', '.join(map(repr, wrong))}; it takes {meaning}"
        if key in NAMED_ONCE and not wrong:
            twice = sorted({name for name in values if list(values).count(name) > 1})
            yield not twice, f"{key} names {', '.join(twice)} more than once: its images would count doubly"

    channels = len(cfg.MODEL.PIXEL_MEAN), len(cfg.MODEL.PIXEL_STD)
    yield (
        channels in ((1, 1), (3, 3)),
        f"MODEL.PIXEL_MEAN and MODEL.PIXEL_STD have {channels} numbers; images have 3 channels",
    )


def _fits(value: object, kind: type | UnionType, bounds: tuple[float, float] | None) -> bool:
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    return bool(value) if bounds is None else bounds[0] <= value <= bounds[1]

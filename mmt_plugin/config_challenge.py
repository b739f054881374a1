"""Keys of camera models and of tools/evaluate.py, and what they demand.

Source of the test-time steps: the VisDA-2020 report (arXiv 2008.10313, 4.2) and its code,
github.com/yxgeee/VisDA-ECCV20.
"""

from fastreid.config import CfgNode


def add_challenge_config(cfg: CfgNode) -> None:
    """Add the keys, with their defaults, to a fastreid config (in place)."""
    _C = cfg

    # "pk": P identities of K images a batch. "uniform": any images, for classifiers without triplets.
    _C.DATALOADER.BATCHES = "pk"

    # The keys below are read by tools/evaluate.py, as are fastreid's TEST.FLIP and TEST.RERANK; training
    # evaluates without them.
    # Images of a ranked list that count, before junk is removed; 100 for VisDA-2020. 0: all.
    _C.TEST.TOP_K = 0
    # Power of the scaled squared distances in re-ranking: 1 as published (CVPR 2017), 2 for the VisDA-2020
    # entry, which squares them once more.
    _C.TEST.RERANK.POWER = 1
    # w of the camera term: d(q, g) = ||f_q - f_g||^2 - w ||c_q - c_g||^2, where a camera model is given.
    _C.TEST.CAMERA = CfgNode({"WEIGHT": 0.1})


def challenge_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    """Each rule: whether it holds, and the sentence to say where it does not."""
    batches, test = cfg.DATALOADER.BATCHES, cfg.TEST
    uniform = batches == "uniform"
    return [
        (batches in ("pk", "uniform"), f"DATALOADER.BATCHES is {batches!r}; choose 'pk' or 'uniform'"),
        (
            not uniform or cfg.PSEUDO_LABELS.METHOD == "ground_truth",
            "DATALOADER.BATCHES 'uniform' takes every image, but clustering leaves some out: "
            "PSEUDO_LABELS.METHOD has to be 'ground_truth'",
        ),
        (
            not uniform or cfg.MMT.TRIPLET_WEIGHT == 0,
            "DATALOADER.BATCHES 'uniform' promises no two images of an identity: set MMT.TRIPLET_WEIGHT 0.0",
        ),
        *evaluation_rules(test),
    ]


def evaluation_rules(test: CfgNode) -> list[tuple[bool, str]]:
    """What holds for the keys of TEST that tools/evaluate.py reads."""
    rerank = test.RERANK
    return [
        (test.TOP_K >= 0, f"TEST.TOP_K is {test.TOP_K}; it must not be negative"),
        (rerank.POWER in (1, 2), f"TEST.RERANK.POWER is {rerank.POWER}; choose 1 or 2"),
        (
            1 <= rerank.K2 <= rerank.K1,
            f"TEST.RERANK.K2 is {rerank.K2}; it must lie in [1, TEST.RERANK.K1], which is {rerank.K1}",
        ),
        (0 <= rerank.LAMBDA <= 1, f"TEST.RERANK.LAMBDA is {rerank.LAMBDA}; it must lie in [0, 1]"),
        (
            0 <= test.CAMERA.WEIGHT < 1,
            f"TEST.CAMERA.WEIGHT is {test.CAMERA.WEIGHT}; it must lie in [0, 1)",
        ),
    ]

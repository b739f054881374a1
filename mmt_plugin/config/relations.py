"""What keys demand of each other: each rule a condition, and the sentence to say where it does not hold."""

from collections.abc import Iterator

from fastreid.config import CfgNode

from mmt_plugin.data.datasets.own.names import is_own
from mmt_plugin.data.datasets.own.options import option_rules
from mmt_plugin.data.named import named_sets
from mmt_plugin.modeling.memory import queue_size
from mmt_plugin.modeling.objective import own_terms
from mmt_plugin.pseudo_labels.choices import Rule, query_expansion_rule, radii_rule, radius_rule

from .architecture import loss_names
from .defaults import DEFAULT_QUEUE_SIZE


def source_batch_size(cfg: CfgNode) -> int:
    """Source images of a joint batch."""
    return cfg.MMT.JOINT.IMS_PER_BATCH or cfg.SOLVER.IMS_PER_BATCH


def evaluation_rules(cfg: CfgNode) -> Iterator[Rule]:
    rerank = cfg.TEST.RERANK
    yield (
        1 <= rerank.K2 <= rerank.K1,
        f"TEST.RERANK.K2 is {rerank.K2}; it must lie in [1, TEST.RERANK.K1], which is {rerank.K1}",
    )


def pairs_rules(cfg: CfgNode) -> Iterator[Rule]:
    """Students, teachers, what they start from, and which of them is chosen."""
    mmt, moco, source, selection = cfg.MMT, cfg.MMT.MOCO, cfg.MMT.SOURCE, cfg.MMT.SELECTION
    clustered = cfg.PSEUDO_LABELS.METHOD != "ground_truth"
    yield (
        mmt.NUM_PAIRS > 1 or mmt.EMA.ENABLED or (mmt.SOFT_CE_WEIGHT == 0 and mmt.SOFT_TRI_WEIGHT == 0),
        "MMT.NUM_PAIRS is 1 and MMT.EMA.ENABLED is False, so nobody can give soft labels: "
        "set MMT.SOFT_CE_WEIGHT and MMT.SOFT_TRI_WEIGHT to 0.0",
    )
    yield (
        moco.WEIGHT == 0 or mmt.EMA.ENABLED,
        "MMT.MOCO.WEIGHT is not 0, but the keys of the queue come from mean teachers: set "
        "MMT.EMA.ENABLED True, or the weight 0.0",
    )
    yield (
        moco.QUEUE_EPOCHS == 0 or moco.QUEUE_SIZE in (DEFAULT_QUEUE_SIZE, queue_size(cfg)),
        f"MMT.MOCO.QUEUE_EPOCHS is {moco.QUEUE_EPOCHS} and MMT.MOCO.QUEUE_SIZE is {moco.QUEUE_SIZE}: both "
        "say how long the queue is; to set its size, set MMT.MOCO.QUEUE_EPOCHS 0.0",
    )
    yield (
        moco.WEIGHT == 0 or queue_size(cfg) > 0,
        f"MMT.MOCO.QUEUE_EPOCHS is {moco.QUEUE_EPOCHS}, but SOLVER.ITERS_PER_EPOCH is "
        f"{cfg.SOLVER.ITERS_PER_EPOCH}, which makes no queue: set it, or MMT.MOCO.QUEUE_EPOCHS 0.0",
    )
    yield (
        not clustered or cfg.DATASETS.TARGETS,
        "DATASETS.TARGETS is empty: name the target domain to be adapted to",
    )
    yield (
        not mmt.TARGET_BN or cfg.DATASETS.TARGETS,
        "MMT.TARGET_BN needs a target domain, but DATASETS.TARGETS is empty",
    )
    yield (
        not mmt.WEIGHTS or len(mmt.WEIGHTS) == mmt.NUM_PAIRS,
        f"MMT.WEIGHTS names {len(mmt.WEIGHTS)} checkpoints for {mmt.NUM_PAIRS} pairs (MMT.NUM_PAIRS); "
        "it needs one each",
    )
    yield (
        len(mmt.WEIGHTS) < 2 or len(set(mmt.WEIGHTS)) == len(mmt.WEIGHTS) or not source.PRETRAIN,
        "MMT.WEIGHTS names the same checkpoint twice: two networks that start equal cannot teach each "
        "other anything (MMT.SOURCE.PRETRAIN False allows it: augmentation alone then tells them apart)",
    )
    yield (
        not clustered
        or mmt.WEIGHTS
        or not source.PRETRAIN
        or (source.CONFIG_FILE and len(source.SEEDS) >= mmt.NUM_PAIRS),
        "MMT.WEIGHTS is empty, so source models must be pre-trained: set MMT.SOURCE.CONFIG_FILE and give "
        "MMT.SOURCE.SEEDS one seed per pair, name checkpoints in MMT.WEIGHTS, or set MMT.SOURCE.PRETRAIN "
        "False",
    )
    yield (
        len(set(source.SEEDS)) == len(source.SEEDS),
        f"MMT.SOURCE.SEEDS is {tuple(source.SEEDS)}: equal seeds give equal networks, which cannot teach "
        "each other",
    )
    yield (
        selection.RULE not in ("stable", "guarded") or clustered,
        f"MMT.SELECTION.RULE {selection.RULE!r} compares clusterings, but PSEUDO_LABELS.METHOD "
        "'ground_truth' makes none",
    )
    yield (
        selection.RULE != "best" or selection.DATASET in cfg.DATASETS.TESTS,
        "MMT.SELECTION.RULE 'best' needs a labelled MMT.SELECTION.DATASET that DATASETS.TESTS evaluates; "
        f"it is {selection.DATASET!r}, DATASETS.TESTS is {tuple(cfg.DATASETS.TESTS)}",
    )


def objective_rules(cfg: CfgNode) -> Iterator[Rule]:
    """What is minimised, and what classifies."""
    mmt, names = cfg.MMT, loss_names(cfg.MMT.EXTRA_LOSSES)
    for entry in mmt.EXTRA_LOSSES:
        is_pair = isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[0], str)
        yield (
            is_pair and isinstance(entry[1], int | float) and 0 < entry[1] < float("inf"),
            f"MMT.EXTRA_LOSSES has {entry!r}; each entry is a name and a positive weight, such as "
            '("consistency", 0.1)',
        )
    yield len(set(names)) == len(names), f"MMT.EXTRA_LOSSES names a loss twice: {', '.join(names)}"
    taken = own_terms(mmt).keys()
    yield (
        not taken & set(names),
        f"MMT.EXTRA_LOSSES names {', '.join(names)}; register it by a name other than {', '.join(taken)}",
    )
    if mmt.CLASSIFIER == "weights":
        return
    yield (
        cfg.PSEUDO_LABELS.METHOD != "ground_truth",
        f"MMT.CLASSIFIER is {mmt.CLASSIFIER!r}, whose memory is filled by clustering, but "
        "PSEUDO_LABELS.METHOD is 'ground_truth': set MMT.CLASSIFIER 'weights'",
    )
    yield (
        cfg.MODEL.HEADS.CLS_LAYER == "Linear",
        f"MMT.CLASSIFIER is {mmt.CLASSIFIER!r}, which knows no margin: set MODEL.HEADS.CLS_LAYER 'Linear', "
        f"not {cfg.MODEL.HEADS.CLS_LAYER!r}",
    )
    yield (
        mmt.MEMORY.UPDATE == "student" or mmt.EMA.ENABLED,
        "MMT.MEMORY.UPDATE is 'teacher', but MMT.EMA.ENABLED is False: set it True, or 'student'",
    )


def batches_rules(cfg: CfgNode) -> Iterator[Rule]:
    """Images of a batch, and those that share BN statistics."""
    mmt, batch, k = cfg.MMT, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    yield (
        k > 0 and batch > 0 and batch % k == 0,
        f"SOLVER.IMS_PER_BATCH is {batch}, not a multiple of DATALOADER.NUM_INSTANCE, which is {k}",
    )
    yield (
        batch > k,
        f"SOLVER.IMS_PER_BATCH is {batch}: with {k} images an identity (DATALOADER.NUM_INSTANCE) it holds "
        "no negatives",
    )
    chunk, sizes = mmt.IMAGES_PER_BN, {"SOLVER.IMS_PER_BATCH": batch}
    if mmt.JOINT.ENABLED:
        sizes["MMT.JOINT.IMS_PER_BATCH"] = source_batch_size(cfg)
    yield chunk >= 0 and chunk != 1, f"MMT.IMAGES_PER_BN is {chunk}; choose 0 or at least 2"
    for key, size in sizes.items():
        yield (
            chunk <= 1 or size <= chunk or size % chunk == 0,
            f"{key} is {size}, which cannot be cut into BN groups of {chunk} (MMT.IMAGES_PER_BN)",
        )
    batches = cfg.DATALOADER.BATCHES
    uniform = batches == "uniform"
    yield (
        not uniform or cfg.PSEUDO_LABELS.METHOD == "ground_truth",
        "DATALOADER.BATCHES 'uniform' takes every image, but clustering leaves some out: "
        "PSEUDO_LABELS.METHOD has to be 'ground_truth'",
    )
    yield (
        batches not in ("uniform", "groups") or mmt.TRIPLET_WEIGHT == 0,
        f"DATALOADER.BATCHES {batches!r} promises no two {'of an identity' if uniform else 'identities'} "
        "in a batch: set MMT.TRIPLET_WEIGHT 0.0, or BATCHES 'pk'",
    )


def labels_rules(cfg: CfgNode) -> Iterator[Rule]:
    labels = cfg.PSEUDO_LABELS
    yield query_expansion_rule(labels.K1, labels.K2)
    yield radius_rule(labels.DBSCAN.EPS)
    yield (
        not labels.CANNOT_LINK or labels.MUST_LINK,
        "PSEUDO_LABELS.CANNOT_LINK keeps whole tracklets apart: set PSEUDO_LABELS.MUST_LINK True, too",
    )
    yield (
        not labels.CAMERA_AWARE.ENABLED or (labels.METHOD == "dbscan" and labels.SEARCH == "exact"),
        "PSEUDO_LABELS.CAMERA_AWARE.ENABLED needs PSEUDO_LABELS.METHOD 'dbscan' and PSEUDO_LABELS.SEARCH "
        f"'exact'; they are {labels.METHOD!r} and {labels.SEARCH!r}",
    )
    yield (
        not labels.RELIABILITY.ENABLED or labels.METHOD == "dbscan",
        "PSEUDO_LABELS.RELIABILITY.ENABLED compares DBSCAN radii, but PSEUDO_LABELS.METHOD is "
        f"{labels.METHOD!r}",
    )
    if labels.RELIABILITY.ENABLED:
        yield radii_rule(labels.DBSCAN.EPS, labels.RELIABILITY.EPS_GAP)


def joint_rules(cfg: CfgNode) -> Iterator[Rule]:
    """The joint label space of MMT+."""
    mmt, joint, k = cfg.MMT, cfg.MMT.JOINT, cfg.DATALOADER.NUM_INSTANCE
    both = sorted(set(cfg.DATASETS.NAMES) & set(cfg.DATASETS.TARGETS))
    yield (
        joint.IMS_PER_BATCH >= 0 and (k <= 0 or source_batch_size(cfg) % k == 0),
        f"MMT.JOINT.IMS_PER_BATCH is {joint.IMS_PER_BATCH}; it must be 0 or a multiple of "
        f"DATALOADER.NUM_INSTANCE, which is {k}",
    )
    yield (
        not mmt.DSBN.ENABLED or joint.ENABLED,
        "MMT.DSBN.ENABLED needs images of both domains in a batch: set MMT.JOINT.ENABLED True, too",
    )
    if not joint.ENABLED:
        return
    yield (
        bool(cfg.DATASETS.NAMES),
        "MMT.JOINT.ENABLED needs a labelled source, but DATASETS.NAMES is empty",
    )
    yield (
        not both,
        f"{', '.join(both)}: in DATASETS.NAMES and in DATASETS.TARGETS. A joint label space would hold the "
        "labels of the target",
    )
    yield (
        cfg.PSEUDO_LABELS.METHOD != "ground_truth",
        "MMT.JOINT.ENABLED adds source classes to clusters, but PSEUDO_LABELS.METHOD 'ground_truth' makes "
        "no clusters",
    )
    yield (
        joint.ROWS != "pretrained" or mmt.WEIGHTS or mmt.SOURCE.PRETRAIN,
        "MMT.JOINT.ROWS is 'pretrained', but there is no source model (MMT.SOURCE.PRETRAIN False, "
        "MMT.WEIGHTS empty): choose 'centroids' or 'random'",
    )
    yield (
        not mmt.TARGET_BN,
        "MMT.TARGET_BN is for source pre-training; with MMT.JOINT.ENABLED target images are trained on",
    )


def schedule_rules(cfg: CfgNode) -> Iterator[Rule]:
    """The learning rate, and layers that are frozen at first."""
    solver, layers = cfg.SOLVER, list(cfg.MODEL.FREEZE_LAYERS)
    yield (
        solver.WARMUP_EPOCHS == 0 or solver.WARMUP_ITERS == 0,
        f"SOLVER.WARMUP_EPOCHS is {solver.WARMUP_EPOCHS} and SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}: "
        "both say how long the warm-up is; set one of them 0",
    )
    yield (
        solver.WARMUP_STEP == "iteration" or solver.WARMUP_ITERS == 0,
        f"SOLVER.WARMUP_STEP is {solver.WARMUP_STEP!r}, which counts epochs, and SOLVER.WARMUP_ITERS is "
        f"{solver.WARMUP_ITERS}: set it 0 and give the length in SOLVER.WARMUP_EPOCHS",
    )
    yield (
        bool(layers) == (solver.FREEZE_ITERS > 0),
        f"MODEL.FREEZE_LAYERS is {layers} and SOLVER.FREEZE_ITERS is {solver.FREEZE_ITERS}: to freeze layers "
        "at first name them, and for how many iterations; to freeze none set [] and 0",
    )


def own_data_rules(cfg: CfgNode) -> Iterator[Rule]:
    """Folders and lists of crops."""
    sets = named_sets(cfg)
    yield from option_rules(cfg, {name for names in sets.values() for name in names})
    for key, names in sets.items():
        for name in names:
            yield (
                ":" not in name or (is_own(name) and name.partition(":")[2] != ""),
                f"{key} has {name!r}; a name with a colon is 'folder:' or 'csv:' and a path",
            )


def combineall_rules(cfg: CfgNode) -> Iterator[Rule]:
    """Query and gallery images among the training images."""
    tested = sorted(set(cfg.DATASETS.NAMES) & set(cfg.DATASETS.TESTS))
    yield (
        not cfg.DATASETS.COMBINEALL or cfg.PSEUDO_LABELS.METHOD == "ground_truth",
        "DATASETS.COMBINEALL is True, which would train on the query and gallery images of "
        f"{', '.join(cfg.DATASETS.TARGETS)}: set it False. For the source models alone: "
        "MMT.SOURCE.OPTS \"['DATASETS.COMBINEALL', True]\"",
    )
    yield (
        not cfg.DATASETS.COMBINEALL or not tested,
        "DATASETS.COMBINEALL is True, which would train on the query and gallery images of "
        f"{', '.join(tested)}, which DATASETS.TESTS evaluates: set it False, or test on other sets",
    )


def cache_rules(cfg: CfgNode) -> Iterator[Rule]:
    cache, size = cfg.DATALOADER.CACHE, list(cfg.INPUT.SIZE_TRAIN)
    yield (
        not cache or not cfg.INPUT.AUTOAUG.ENABLED,
        f"DATALOADER.CACHE is {cache!r} and INPUT.AUTOAUG.ENABLED is True, which changes images before they "
        "are resized: resized ones cannot be kept. Set one of them off",
    )
    yield (
        not cache or (len(size) == 2 and min(size) > 0),
        f"DATALOADER.CACHE is {cache!r}, but INPUT.SIZE_TRAIN {size} is not height and width: images of one "
        "size are needed",
    )

"""Every configuration key the plugin adds to fastreid's, each once, and the checks that catch a wrong one
early.

Symbols in the comments are those of the MMT paper (Ge et al., ICLR 2020, arXiv 2001.01526) and, for MMT+, of
the report (Ge et al., arXiv 2008.10313). Where a paper and its published code (github.com/yxgeee/MMT,
github.com/yxgeee/VisDA-ECCV20) differ, the default is the code's value and the comment names the paper's.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from os import PathLike

from fastreid.config import CfgNode, get_cfg

from mmt_plugin.config_challenge import add_challenge_config, challenge_rules
from mmt_plugin.config_data import add_data_config, data_rules
from mmt_plugin.config_labels import label_rules
from mmt_plugin.config_own import add_own_config, own_rules
from mmt_plugin.config_plus import plus_rules
from mmt_plugin.config_report import add_report_config, report_rules
from mmt_plugin.config_rules import method_rules, trust_rules
from mmt_plugin.config_sda import add_sda_config, sda_rules
from mmt_plugin.data.synthetic import add_synthetic_config


class ConfigError(ValueError):
    """A configuration that cannot work; the message names the keys and what to change."""


def add_mmt_config(cfg: CfgNode) -> None:
    """Add the plugin's keys, with their defaults, to a fastreid config (in place)."""
    _C = cfg

    # "auto" is CUDA where there is one, else the CPU.
    _C.MODEL.DEVICE = "auto"
    # Keep images and convolutions with their channels last in memory: faster for large images, slower for
    # small ones (docs/performance.md).
    _C.MODEL.CHANNELS_LAST = False
    # ReLU after the stem's first BN. The published MMT ResNet-50 has none, its IBN-ResNet-50 has it.
    # For build_resnet_backbone; other backbones keep their own stems.
    _C.MODEL.BACKBONE.STEM_RELU = True
    # Keep the inputs of the backbone's blocks only, and compute the rest again in the backward pass: less
    # memory for more time, the same numbers (docs/performance.md).
    _C.MODEL.BACKBONE.GRADIENT_CHECKPOINTING = False
    # Dropout between the BNNeck feature and the classifier, in training. The MMT authors suggest trying 0.5.
    _C.MODEL.HEADS.DROPOUT = 0.0

    # Seed of everything random in a run: weights, batches, augmentation.
    _C.SEED = 1
    # Target domain(s), whose identity labels are never used for training. DATASETS.NAMES is the labelled
    # source. Names are fastreid's, or "folder:<path>" and "csv:<path>" of own crops.
    _C.DATASETS.TARGETS = ()
    # Iterations of one epoch; 0 means one pass over the training images, as in fastreid.
    _C.SOLVER.ITERS_PER_EPOCH = 0
    # How many of the periodic checkpoints stay, the latest ones; 0: all.
    _C.SOLVER.CHECKPOINT_KEEP = 0
    # A loss or gradient that is NaN or infinite: "error" ends the run, "skip" undoes the step and counts it,
    # up to MAX_BAD_STEPS an epoch.
    _C.SOLVER.ON_BAD_STEP = "error"
    _C.SOLVER.MAX_BAD_STEPS = 10
    # A training image that cannot be read: "error" ends the run, "skip" goes on without it, up to
    # MAX_BAD_IMAGES, a share of the training set. Test images must all be readable.
    _C.DATALOADER.ON_BAD_IMAGE = "error"
    _C.DATALOADER.MAX_BAD_IMAGES = 0.01
    # "mmt": erase up to 40 % of the area, uniform aspect ratio (published MMT code); "host": torchvision's
    # erasing.
    _C.INPUT.REA.VARIANT = "mmt"
    # "mmt": torchvision's AutoAugment, whose ImageNet policy, strengths and grey corners are those of the
    # published MMT+ code (which rotates to one side only); "host": fastreid's, with other strengths.
    _C.INPUT.AUTOAUG.VARIANT = "mmt"

    _add_method_config(_C)
    _add_pseudo_label_config(_C)
    add_own_config(_C)
    add_data_config(_C)
    add_challenge_config(_C)
    add_sda_config(_C)
    add_synthetic_config(_C)
    add_report_config(_C)


def load_config(config_file: str | PathLike, opts: Sequence = ()) -> CfgNode:
    """fastreid's and the plugin's defaults, overridden by a file and then by KEY VALUE pairs.

    Raises:
        ConfigError: a key that does not exist, with the nearest one that does, or a value of the wrong type.
    """
    cfg = get_cfg()
    add_mmt_config(cfg)
    try:
        cfg.merge_from_file(str(config_file))
        cfg.merge_from_list(list(opts))
    except (KeyError, AssertionError, ValueError) as error:
        raise ConfigError(_explain(str(error.args[0]), cfg, config_file)) from error
    return cfg


def _explain(message: str, cfg: CfgNode, config_file: str | PathLike) -> str:
    """What yacs says of a wrong key or value, with the name of the key that was probably meant."""
    unknown = re.fullmatch(r"Non-existent (?:config )?key: (\S+)", message)
    if unknown is None:
        return f"{config_file}, or the command line: {message}"
    keys = list(_dotted_keys(cfg))
    wanted = unknown.group(1)
    # The whole name first, then its last part alone: the right key in the wrong node.
    near = difflib.get_close_matches(wanted, keys, n=1) or [
        key for key in keys if key.split(".")[-1] == wanted.split(".")[-1]
    ]
    hint = f"did you mean {near[0]}?" if near else "there is none of a similar name"
    return f"{config_file}, or the command line: there is no key {wanted}; {hint}"


def _dotted_keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, CfgNode):
            yield from _dotted_keys(value, f"{prefix}{key}.")


def _add_method_config(_C: CfgNode) -> None:
    _C.MMT = CfgNode()
    # Student/teacher pairs. 2: mutual teaching. 1: a single network, taught by its own mean teacher if at
    # all.
    _C.MMT.NUM_PAIRS = 2
    # Source-trained checkpoints, one per pair. Empty: pre-train them first, into OUTPUT_DIR.
    _C.MMT.WEIGHTS = ()
    # lambda_id^t: share of the soft classification loss, hard gets 1 - lambda. 0: hard labels only, 1: soft
    # labels only.
    _C.MMT.SOFT_CE_WEIGHT = 0.5
    # lambda_tri^t: share of the soft softmax-triplet loss, hard gets 1 - lambda.
    _C.MMT.SOFT_TRI_WEIGHT = 0.8
    # Weight of both triplet losses together, hard and soft. The published MMT+ has 0: none.
    _C.MMT.TRIPLET_WEIGHT = 1.0
    # Label smoothing of the hard classification loss (the paper's Eq. 1 has none).
    _C.MMT.CE_EPSILON = 0.1

    _C.MMT.EMA = CfgNode()
    # False: no mean teachers; each student is taught by its peer's current, detached predictions.
    _C.MMT.EMA.ENABLED = True
    # alpha of the temporal average. Its memory is about 1 / (1 - alpha) iterations: keep that well below the
    # run's length.
    _C.MMT.EMA.ALPHA = 0.999
    # True: alpha_t = min(1 - 1 / (t + 1), alpha), as the published code does; the paper has a constant alpha.
    _C.MMT.EMA.WARMUP = True
    # BN statistics of a mean teacher: its "own", of its own train-mode forwards (published codes), or the
    # temporal average of the "student"'s.
    _C.MMT.EMA.BN_STATISTICS = "own"
    # Margin classifiers penalise the labelled class in the teacher's soft labels, too (published MMT+ code).
    _C.MMT.TEACHER_MARGIN = True

    # Forget the optimiser's moments whenever the labels change, as the published code does.
    _C.MMT.RESET_OPTIMIZER = True
    # Forward a target batch through the network, for its BN statistics only, in every source pre-training
    # step (published code).
    _C.MMT.TARGET_BN = False
    # Images that share one set of BN statistics: consecutive chunks of the batch are normalised on their own,
    # as on the GPUs of a published recipe. Where a process has fewer, syncBN layers share them among
    # processes, and others warn at the start. 0: all images that the process has, whatever their number.
    _C.MMT.IMAGES_PER_BN = 0

    # Batches of labelled source images beside the target's, and one label space (MMT+): source identities are
    # classes 0..S-1 for the whole run, clusters follow them.
    _C.MMT.JOINT = CfgNode({"ENABLED": False})
    # Source images of a batch, beside SOLVER.IMS_PER_BATCH target images. 0: as many.
    _C.MMT.JOINT.IMS_PER_BATCH = 0
    # What the source classes' classifier rows start from: the "pretrained" classifier, source "centroids", or
    # "random" rows (published MMT+ code).
    _C.MMT.JOINT.ROWS = "pretrained"

    # Domain-specific BN (MMT+): source and target images have BN layers of their own. Needs JOINT.
    _C.MMT.DSBN = CfgNode({"ENABLED": False})
    # Make every BN parameter trainable, the BNNeck's frozen bias too, as the published conversion does.
    _C.MMT.DSBN.UNFREEZE = False

    _C.MMT.MOCO = CfgNode()
    # lambda_moco: weight of the instance discrimination loss (MMT+, Eq. 11); 0.1 in the report. 0: none.
    _C.MMT.MOCO.WEIGHT = 0.0
    # tau; 0.7 in the report, 0.07 in its code.
    _C.MMT.MOCO.TEMPERATURE = 0.07
    # Q, keys that each network's queue holds.
    _C.MMT.MOCO.QUEUE_SIZE = 12800
    # Whose images it is for: "target" (published code) or "both" domains (report).
    _C.MMT.MOCO.DOMAINS = "target"

    _C.MMT.SOURCE = CfgNode()
    # False: no source pre-training. Networks start from MMT.WEIGHTS or what MODEL.BACKBONE.PRETRAIN gives:
    # one-stage adaptation, and unsupervised learning without any source domain.
    _C.MMT.SOURCE.PRETRAIN = True
    # Recipe of the source pre-training, a path relative to the config file that names it. Used when
    # MMT.WEIGHTS is empty.
    _C.MMT.SOURCE.CONFIG_FILE = ""
    # One source model per pair, each from its own seed: the "different initialisation" of the two networks.
    _C.MMT.SOURCE.SEEDS = (1, 2)
    # Overrides of the source recipe, e.g. MMT.SOURCE.OPTS "['SOLVER.MAX_EPOCH', 1]".
    _C.MMT.SOURCE.OPTS = []

    _C.MMT.SELECTION = CfgNode()
    # Which teacher is used for inference. "last": the first pair's at the last epoch, no label is looked at.
    # "stable": the first pair's at the epoch of the best label_free/score, no label is looked at either.
    # "best": the best mAP of any epoch on SELECTION.DATASET, whose labels are then used (the published code:
    # the target test set).
    _C.MMT.SELECTION.RULE = "last"
    _C.MMT.SELECTION.DATASET = ""


def _add_pseudo_label_config(_C: CfgNode) -> None:
    _C.PSEUDO_LABELS = CfgNode()
    # "dbscan" on the k-reciprocal Jaccard distance, "kmeans" on features, or "ground_truth": the annotations
    # of DATASETS.NAMES (source pre-training; the upper bound of adaptation).
    _C.PSEUDO_LABELS.METHOD = "dbscan"
    # L2-normalise the teachers' mean feature before clustering. The published k-means script does not, the
    # DBSCAN script does.
    _C.PSEUDO_LABELS.NORMALIZE = True
    # k-reciprocal neighbours and query expansion of the Jaccard distance.
    _C.PSEUDO_LABELS.K1 = 20
    _C.PSEUDO_LABELS.K2 = 6
    # True: neighbour lists of K1 columns, the image itself included (VisDA-2020 code, OpenUnReID). False: K1
    # others (MMT code).
    _C.PSEUDO_LABELS.K1_INCLUDES_SELF = True
    # "softmax" of the negative squared distance (VisDA-2020 code, OpenUnReID), or "scaled" by each column's
    # maximum first (MMT code).
    _C.PSEUDO_LABELS.JACCARD_WEIGHTS = "softmax"
    # "exact" neighbours; or, for sets of several hundred thousand images, approximate ones: by faiss, "hnsw",
    # or by a principal-axis "tree". Their recall is measured on a sample and logged.
    _C.PSEUDO_LABELS.SEARCH = "exact"
    # Un-clustered images: "drop" them for the epoch, or keep each as a "singletons" cluster.
    _C.PSEUDO_LABELS.OUTLIERS = "drop"

    _C.PSEUDO_LABELS.DBSCAN = CfgNode()
    # "fixed" EPS, or "rho": the mean of the smallest RHO share of all distances at the first epoch, kept for
    # the run (MMT code).
    _C.PSEUDO_LABELS.DBSCAN.EPS_RULE = "fixed"
    _C.PSEUDO_LABELS.DBSCAN.EPS = 0.6
    _C.PSEUDO_LABELS.DBSCAN.RHO = 1.6e-3
    _C.PSEUDO_LABELS.DBSCAN.MIN_SAMPLES = 4

    # CA-Jaccard (CVPR 2024): neighbours of the same camera and of the others on lists of their own, in place
    # of K1 and K2. The widths are those of the published command line.
    _C.PSEUDO_LABELS.CAMERA_AWARE = CfgNode()
    _C.PSEUDO_LABELS.CAMERA_AWARE.ENABLED = False
    _C.PSEUDO_LABELS.CAMERA_AWARE.K1_INTRA = 5
    _C.PSEUDO_LABELS.CAMERA_AWARE.K1_INTER = 20
    _C.PSEUDO_LABELS.CAMERA_AWARE.K2_INTRA = 2
    _C.PSEUDO_LABELS.CAMERA_AWARE.K2_INTER = 4

    # Self-paced reliability (SpCL, NeurIPS 2020): images whose cluster changes when the DBSCAN radius changes
    # by EPS_GAP leave it.
    _C.PSEUDO_LABELS.RELIABILITY = CfgNode()
    _C.PSEUDO_LABELS.RELIABILITY.ENABLED = False
    _C.PSEUDO_LABELS.RELIABILITY.EPS_GAP = 0.02

    _C.PSEUDO_LABELS.KMEANS = CfgNode()
    _C.PSEUDO_LABELS.KMEANS.NUM_CLUSTERS = 500
    _C.PSEUDO_LABELS.KMEANS.NUM_ITERATIONS = 300
    _C.PSEUDO_LABELS.KMEANS.SEED = 1


def check_config(cfg: CfgNode) -> None:
    """Refuse combinations that cannot train, before any data is read.

    Raises:
        ConfigError: naming the keys and their values.
    """
    if cfg.MODEL.META_ARCHITECTURE == "StructuredDomainAdaptation":
        rules = (*sda_rules(cfg), *data_rules(cfg), *trust_rules(cfg))
    else:
        rules = (
            *method_rules(cfg),
            *plus_rules(cfg),
            *label_rules(cfg.PSEUDO_LABELS),
            *own_rules(cfg),
            *data_rules(cfg),
            *trust_rules(cfg),
            *challenge_rules(cfg),
            *report_rules(cfg),
        )
    problems = [message for holds, message in rules if not holds]
    if problems:
        raise ConfigError("\n".join(problems))

"""The keys of structured domain adaptation (SDA), translation of source images into the target's style, and
what they demand of each other.

Symbols in the comments are those of the VisDA-2020 report (arXiv 2008.10313, Section 3.1) and of SPGAN
(Deng et al., CVPR 2018, arXiv 1711.07027); defaults are the values of github.com/yxgeee/VisDA-ECCV20
(scripts/train_sda.sh) and, for SPGAN, of github.com/open-mmlab/OpenUnReID.
"""

from fastreid.config import CfgNode

METHODS = ("sda", "spgan")


def add_sda_config(cfg: CfgNode) -> None:
    """Add the node SDA, with its defaults, to a fastreid config (in place)."""
    _C = cfg
    _C.SDA = CfgNode()
    # What keeps the people apart while images change their style: "sda", relation consistency; "spgan",
    # self-similarity. Also the suffix of the translated set's folder.
    _C.SDA.METHOD = "sda"

    # F^s: a checkpoint trained on the source. Empty: pre-train it first, by MMT.SOURCE.CONFIG_FILE.
    _C.SDA.SOURCE_ENCODER = ""
    # F^t: a checkpoint adapted to the target; of domain-specific BN, the target's branch. Empty: F^s
    # (published code without --init-t).
    _C.SDA.TARGET_ENCODER = ""
    # Height and width at which the encoders see the images; []: those of INPUT.SIZE_TRAIN.
    _C.SDA.ENCODER_SIZE = []

    # Channels after the first layer, and residual blocks.
    _C.SDA.GENERATOR = CfgNode({"WIDTH": 64, "BLOCKS": 9})
    # Paint over the image with its mean and contrast taken out, which short runs need; published: on nothing.
    _C.SDA.GENERATOR.RESIDUAL = False
    # Channels after the first layer, and strided layers: 3 judge patches of 70 x 70 pixels, 2 of 34 x 34.
    _C.SDA.DISCRIMINATOR = CfgNode({"WIDTH": 64, "LAYERS": 3})
    # Earlier translations that the discriminators go on seeing, in each direction; 0: none.
    _C.SDA.POOL_SIZE = 50

    # Weights of the generators' losses; the adversarial one has weight 1.
    _C.SDA.CYCLE_WEIGHT = 10.0
    _C.SDA.IDENTITY_WEIGHT = 5.0
    # lambda_rc, of the relation-consistency loss (Eq. 6). For "sda".
    _C.SDA.RELATION_WEIGHT = 1.0
    # lambda_3 and m of SPGAN's contrastive loss, and the first epoch (from 0) whose generators feel it. For
    # "spgan".
    _C.SDA.SELF_SIMILARITY = CfgNode({"WEIGHT": 2.0, "MARGIN": 2.0, "START_EPOCH": 2})

    # Adam's (beta_1, beta_2) of all networks.
    _C.SDA.BETAS = (0.5, 0.999)
    # The last epochs, over which the learning rate falls linearly to zero.
    _C.SDA.DECAY_EPOCHS = 50
    # Epochs between two sample sheets, and people on each; period 0: only after the last epoch.
    _C.SDA.SHEET = CfgNode({"PERIOD": 5, "IMAGES": 8})


def smallest_image(cfg: CfgNode) -> int:
    """The side in pixels below which the strides of a discriminator or similarity network leave nothing."""
    return max(3 * 2**cfg.SDA.DISCRIMINATOR.LAYERS, 16 if cfg.SDA.METHOD == "spgan" else 0)


def sda_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    """Each rule: whether it holds, and the sentence to say where it does not."""
    sda, batch, k = cfg.SDA, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    minima = {
        "GENERATOR.WIDTH": (sda.GENERATOR.WIDTH, 1),
        "GENERATOR.BLOCKS": (sda.GENERATOR.BLOCKS, 1),
        "DISCRIMINATOR.WIDTH": (sda.DISCRIMINATOR.WIDTH, 1),
        "DISCRIMINATOR.LAYERS": (sda.DISCRIMINATOR.LAYERS, 1),
        "POOL_SIZE": (sda.POOL_SIZE, 0),
        "CYCLE_WEIGHT": (sda.CYCLE_WEIGHT, 0),
        "IDENTITY_WEIGHT": (sda.IDENTITY_WEIGHT, 0),
        "RELATION_WEIGHT": (sda.RELATION_WEIGHT, 0),
        "SELF_SIMILARITY.WEIGHT": (sda.SELF_SIMILARITY.WEIGHT, 0),
        "SELF_SIMILARITY.START_EPOCH": (sda.SELF_SIMILARITY.START_EPOCH, 0),
        "DECAY_EPOCHS": (sda.DECAY_EPOCHS, 0),
        "SHEET.PERIOD": (sda.SHEET.PERIOD, 0),
        "SHEET.IMAGES": (sda.SHEET.IMAGES, 1),
    }
    needs_encoders = sda.METHOD == "sda"
    return [
        (sda.METHOD in METHODS, f"SDA.METHOD is {sda.METHOD!r}; choose one of {', '.join(METHODS)}"),
        *(
            (value >= least, f"SDA.{key} is {value}; it must be at least {least}")
            for key, (value, least) in minima.items()
        ),
        (
            0 < sda.SELF_SIMILARITY.MARGIN <= 2,
            f"SDA.SELF_SIMILARITY.MARGIN is {sda.SELF_SIMILARITY.MARGIN}; distances of unit vectors call for "
            "(0, 2]",
        ),
        (
            len(sda.BETAS) == 2 and all(0 <= beta < 1 for beta in sda.BETAS),
            f"SDA.BETAS is {tuple(sda.BETAS)}; it must be two numbers in [0, 1)",
        ),
        (
            sda.DECAY_EPOCHS <= cfg.SOLVER.MAX_EPOCH,
            f"SDA.DECAY_EPOCHS is {sda.DECAY_EPOCHS}, more than SOLVER.MAX_EPOCH, which is "
            f"{cfg.SOLVER.MAX_EPOCH}",
        ),
        (
            len(sda.ENCODER_SIZE) in (0, 2) and all(side > 0 for side in sda.ENCODER_SIZE),
            f"SDA.ENCODER_SIZE is {list(sda.ENCODER_SIZE)}; it must be [height, width] or []",
        ),
        (
            len(cfg.INPUT.SIZE_TRAIN) == 2 and min(cfg.INPUT.SIZE_TRAIN) >= smallest_image(cfg),
            f"INPUT.SIZE_TRAIN is {list(cfg.INPUT.SIZE_TRAIN)}: with SDA.DISCRIMINATOR.LAYERS "
            f"{sda.DISCRIMINATOR.LAYERS} height and width must be at least {smallest_image(cfg)}",
        ),
        (bool(cfg.DATASETS.NAMES), "DATASETS.NAMES is empty: name the source set to be translated"),
        (bool(cfg.DATASETS.TARGETS), "DATASETS.TARGETS is empty: name the domain whose style is wanted"),
        (
            k > 0 and batch > k and batch % k == 0,
            f"SOLVER.IMS_PER_BATCH is {batch}; it must be a multiple of DATALOADER.NUM_INSTANCE, which is "
            f"{k}, and more",
        ),
        (
            cfg.SOLVER.ITERS_PER_EPOCH >= 0,
            f"SOLVER.ITERS_PER_EPOCH is {cfg.SOLVER.ITERS_PER_EPOCH}; it must not be negative",
        ),
        (
            not needs_encoders or bool(sda.SOURCE_ENCODER or cfg.MMT.SOURCE.CONFIG_FILE),
            "SDA.SOURCE_ENCODER is empty, so the source encoder must be pre-trained: set "
            "MMT.SOURCE.CONFIG_FILE, or name a checkpoint",
        ),
    ]

"""Every configuration key the plugin adds to fastreid's, each once, with its default, in sections.

Symbols in the comments are those of the MMT paper (Ge et al., ICLR 2020, arXiv 2001.01526); for MMT+ and SDA,
of the VisDA-2020 report (Ge et al., arXiv 2008.10313); for SPGAN, of Deng et al. (CVPR 2018, arXiv
1711.07027). Where a paper and its published code (github.com/yxgeee/MMT, github.com/yxgeee/VisDA-ECCV20,
github.com/open-mmlab/OpenUnReID for SPGAN) differ, the default is the code's value and the comment names the
paper's. What values a key may have stands in `checks`.
"""

from fastreid.config import CfgNode

DEFAULT_QUEUE_SIZE = 12800


def add_mmt_config(cfg: CfgNode) -> None:
    """Add the plugin's keys, with their defaults, to a fastreid config (in place)."""
    for add_section in (
        _host_nodes,
        _own_data,
        _method,
        _pseudo_labels,
        _sda,
        _synthetic_world,
        _report,
        _export,
    ):
        add_section(cfg)


def _host_nodes(_C: CfgNode) -> None:
    """What the plugin adds to fastreid's own nodes."""
    # "auto" is CUDA where there is one, else the CPU.
    _C.MODEL.DEVICE = "auto"
    # Keep images and convolutions with their channels last in memory: faster for large images, slower for
    # small ones (docs/performance.md).
    _C.MODEL.CHANNELS_LAST = False
    # ReLU after the stem's first BN. The published MMT ResNet-50 has none, its IBN-ResNet-50 has it.
    # For build_resnet_backbone; other backbones keep their own stems.
    _C.MODEL.BACKBONE.STEM_RELU = True
    # Max pooling of the stem: "host" as fastreid, without padding; "padded" as torchvision, IBN-Net and the
    # published networks, whose ImageNet weights expect that. A checkpoint is used as it was trained.
    # For build_resnet_backbone; the other backbones of fastreid pad anyway.
    _C.MODEL.BACKBONE.STEM_POOL = "host"
    # Keep the inputs of the backbone's blocks only, and compute the rest again in the backward pass: less
    # memory for more time, the same numbers (docs/performance.md).
    _C.MODEL.BACKBONE.GRADIENT_CHECKPOINTING = False
    # For build_timm_backbone, whose DEPTH is the name of any timm model, and build_people_vit_backbone:
    # tokens as the "map" of patches that they are, which is then pooled, or the "class" token alone.
    # DROP_PATH_RATIO is fastreid's key.
    _C.MODEL.BACKBONE.TOKENS = "map"
    # Dropout between the BNNeck feature and the classifier, in training. The MMT authors suggest trying 0.5.
    _C.MODEL.HEADS.DROPOUT = 0.0

    # Modules and files of yours that a run was made with (--import): a record, because of which nothing is
    # imported.
    _C.IMPORTS = ()
    # Seed of everything random in a run: weights, batches, augmentation.
    _C.SEED = 1
    # Target domain(s), whose identity labels are never used for training. DATASETS.NAMES is the labelled
    # source. Names are fastreid's, or "folder:<path>" and "csv:<path>" of own crops.
    _C.DATASETS.TARGETS = ()
    # Iterations of one epoch; 0 means one pass over the training images, as in fastreid.
    _C.SOLVER.ITERS_PER_EPOCH = 0
    # Length of the warm-up in epochs, whatever ITERS_PER_EPOCH is; 0: SOLVER.WARMUP_ITERS iterations.
    _C.SOLVER.WARMUP_EPOCHS = 0.0
    # When the rate rises in the warm-up: after every "iteration" (fastreid), or once an epoch, as in the
    # published codes: "before_epoch", so that the first epoch is a step above WARMUP_FACTOR (MMT), or
    # "after_epoch" (VisDA-2020, OpenUnReID). STEPS count epochs from the end of the warm-up in all cases.
    _C.SOLVER.WARMUP_STEP = "iteration"
    # How many of the periodic checkpoints stay, the latest ones; 0: all.
    _C.SOLVER.CHECKPOINT_KEEP = 0
    # Layer-wise decay, for transformers and others whose layers follow each other in blocks: the rate of a
    # block is that of the next times it; the head has the whole rate. 1: all have.
    _C.SOLVER.LAYER_DECAY = 1.0
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

    # Folder that keeps the training images decoded and resized, for this run and later ones; they take
    # 3 bytes a pixel of INPUT.SIZE_TRAIN. Empty: images are read from their files each time.
    _C.DATALOADER.CACHE = ""
    # "pk": P identities of K images a batch, identities equally often. "groups": all images equally often, in
    # groups of K of an identity (group sampling, arXiv 2107.03024). "uniform": any images. The last two are
    # for classifiers without triplets.
    _C.DATALOADER.BATCHES = "pk"
    # For "pk": after the first image of an identity take those of other cameras, where it has any. False: any
    # (Cluster-Contrast's "NoCam").
    _C.DATALOADER.OTHER_CAMERAS = True

    # Images of a ranked list that count, before junk is removed; 100 for VisDA-2020. 0: all.
    _C.TEST.TOP_K = 0
    # VehicleID's protocol, where it is 10: of each test identity one random image is the gallery, all others
    # are queries, cameras are not looked at, and metrics are means over so many draws. 0: queries and gallery
    # are those of the data set.
    _C.TEST.GALLERY_DRAWS = 0
    # Power of the scaled squared distances in re-ranking: 1 as published (CVPR 2017), 2 for the VisDA-2020
    # entry, which squares them once more.
    _C.TEST.RERANK.POWER = 1
    # w of the camera term: d(q, g) = ||f_q - f_g||^2 - w ||c_q - c_g||^2, where a camera model is given.
    _C.TEST.CAMERA = CfgNode({"WEIGHT": 0.1})


def _own_data(_C: CfgNode) -> None:
    """Own crops: data sets named folder:<path> and csv:<path>."""
    own = _C.DATASETS.OWN = CfgNode()
    # The first sub-folder that an image of a folder: data set lies in is its camera.
    own.CAMERA_FOLDERS = False
    # What paths below a folder: data set tell: a regular expression, searched for in each, with one or more
    # of the named groups (?P<camera>...), (?P<tracklet>...), (?P<id>...), (?P<frame>...).
    # Empty: nothing.
    own.PATTERN = ""
    # The same for its labelled `query` and `gallery` folders: searched for in the files' names, or, where no
    # name tells it, in the paths below the folder: r"(?P<id>[^/]+)/[^/]+$" reads query/<id>/x.jpg. The
    # default reads Market-1501's names.
    own.TEST_PATTERN = r"(?P<id>-?\d+)_c(?P<camera>\d+)"
    # Whether links to folders, in a folder: data set, may lead out of it.
    own.FOLLOW_LINKS = False
    # What holds for one folder: data set in place of the keys above: a list of entries
    # ["folder:<path>", KEY, value].
    own.SETS = []


def _method(_C: CfgNode) -> None:
    """Students, teachers and their losses."""
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
    # Whose features the gradients of triplet losses reach: anchor's and others' ("both", published MMT code),
    # or the "anchor"'s alone (OpenUnReID). The losses are equal.
    _C.MMT.TRIPLET_GRADIENT = "both"
    # Label smoothing of the hard classification loss (the paper's Eq. 1 has none).
    _C.MMT.CE_EPSILON = 0.1
    # Losses of your own beside these, registered in LOSS_REGISTRY (docs/extending.md): pairs of a name and a
    # weight, e.g. (("consistency", 0.1),). Recorded as loss_<name>.
    _C.MMT.EXTRA_LOSSES = ()

    # What classifies: trained "weights", or a memory that follows the embeddings: "memory", one row a class
    # (Cluster-Contrast, arXiv 2103.11568), or "hybrid", one entry an image (SpCL, NeurIPS 2020).
    _C.MMT.CLASSIFIER = "weights"
    _C.MMT.MEMORY = CfgNode()
    # Logits are cosines divided by it.
    _C.MMT.MEMORY.TEMPERATURE = 0.05
    # m: row <- m row + (1 - m) embedding, after each step. 0.1 in Cluster-Contrast, 0.2 in SpCL.
    _C.MMT.MEMORY.MOMENTUM = 0.1
    # For "memory": move a class's row by the batch's image that is least similar to it alone, in place of one
    # image after the other.
    _C.MMT.MEMORY.HARD = False
    # Whose embeddings it follows: the "student"'s, or the mean "teacher"'s.
    _C.MMT.MEMORY.UPDATE = "student"

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
    _C.MMT.MOCO.QUEUE_SIZE = DEFAULT_QUEUE_SIZE
    # The same in epochs of SOLVER.IMS_PER_BATCH x SOLVER.ITERS_PER_EPOCH keys: 1 in the published code. 0:
    # QUEUE_SIZE keys.
    _C.MMT.MOCO.QUEUE_EPOCHS = 0.0
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
    # "guarded": of the models that the run starts from, as they are and with BN statistics of the target, and
    # of those of all epochs, the one of the best label_free/guard; no label is looked at, and the run ends
    # with a verdict. "best": the best mAP of any epoch on SELECTION.DATASET, whose labels are then used (the
    # published code: the target test set).
    _C.MMT.SELECTION.RULE = "last"
    _C.MMT.SELECTION.DATASET = ""


def _pseudo_labels(_C: CfgNode) -> None:
    """The label step."""
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
    # Images of no cluster: "drop" them for the epoch, or keep each as a "singletons" cluster.
    _C.PSEUDO_LABELS.OUTLIERS = "drop"

    _C.PSEUDO_LABELS.DBSCAN = CfgNode()
    # "fixed" EPS; "rho": the mean of the smallest RHO share of all distances at the first epoch, kept for the
    # run (MMT code); or "auto": the radius whose clusters are best apart, chosen anew in each of the first
    # AUTO_EPOCHS epochs, then kept.
    _C.PSEUDO_LABELS.DBSCAN.EPS_RULE = "fixed"
    _C.PSEUDO_LABELS.DBSCAN.EPS = 0.6
    _C.PSEUDO_LABELS.DBSCAN.RHO = 1.6e-3
    _C.PSEUDO_LABELS.DBSCAN.AUTO_EPOCHS = 3
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

    # For METHOD "kmeans": clusters, iterations at most, and the seed of the images it starts from.
    _C.PSEUDO_LABELS.KMEANS = CfgNode()
    _C.PSEUDO_LABELS.KMEANS.NUM_CLUSTERS = 500
    _C.PSEUDO_LABELS.KMEANS.NUM_ITERATIONS = 300
    _C.PSEUDO_LABELS.KMEANS.SEED = 1
    # Starts from different centres, of which the one with the smallest inertia is kept. The published code
    # keeps the best of 10.
    _C.PSEUDO_LABELS.KMEANS.NUM_RESTARTS = 1
    # Give all images of a tracklet the label that most of them were given.
    _C.PSEUDO_LABELS.MUST_LINK = False
    # Then give tracklets that are seen in one frame of a camera different labels: they are different people.
    _C.PSEUDO_LABELS.CANNOT_LINK = False


def _sda(_C: CfgNode) -> None:
    """Image translation."""
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


def _synthetic_world(_C: CfgNode) -> None:
    """The built-in world."""
    _C.SYNTHETIC = CfgNode()
    # Another seed is another world: other people, other cameras.
    _C.SYNTHETIC.SEED = 1
    # Identities of each domain; those of the training set never appear in the test set.
    _C.SYNTHETIC.TRAIN_IDS = 200
    _C.SYNTHETIC.TEST_IDS = 200
    # Images of each identity. Two of the test images are queries, the others go to the gallery.
    _C.SYNTHETIC.TRAIN_IMAGES_PER_ID = 10
    _C.SYNTHETIC.TEST_IMAGES_PER_ID = 10
    # Cameras of each domain, 2 to 9.
    _C.SYNTHETIC.CAMERAS = 6
    # Height and width of the image files.
    _C.SYNTHETIC.IMAGE_SIZE = [128, 64]
    # Gallery images of strangers and background (pid 0) and hopeless boxes (pid -1), as shares of the rest.
    _C.SYNTHETIC.DISTRACTOR_RATIO = 0.1
    _C.SYNTHETIC.JUNK_RATIO = 0.03
    # Standard deviation of the logarithm of an identity's number of training images; 0: all have the same.
    _C.SYNTHETIC.TRAIN_IMBALANCE = 0.0
    # Training images of strangers and background, each an identity of its own, as a share of the rest.
    _C.SYNTHETIC.TRAIN_DISTRACTOR_RATIO = 0.0
    # Nuisances. Share of what is seen of a person that the pose decides, and not who it is; above 0 people
    # turn to eight sides.
    _C.SYNTHETIC.POSE_DOMINANCE = 0.0
    # Standard deviation of the logarithm of the gains of each camera's colour channels.
    _C.SYNTHETIC.CAMERA_TINT = 0.0
    # Share of everybody's look that is a uniform of the domain.
    _C.SYNTHETIC.SIMILAR_CLOTHES = 0.0
    # Ask for every test image of a person, not for two: more queries, finer metrics. Draws no other picture.
    _C.SYNTHETIC.ALL_QUERIES = False
    # Processes that render on first use; -1: one for each CPU, 0: this one only. Never changes a picture.
    _C.SYNTHETIC.NUM_WORKERS = -1


def _report(_C: CfgNode) -> None:
    """The report of a run."""
    _C.REPORT = CfgNode()
    # Write report.html into OUTPUT_DIR at the end of a run, and beforehand what it is made of into "report".
    _C.REPORT.ENABLED = True
    # Target images whose features are kept for the map of features.
    _C.REPORT.SAMPLE = 1200
    # Where identities are known: how many pseudo labels are wrong, and how far the teachers agree with them.
    _C.REPORT.LABEL_NOISE = False
    # Project of Weights & Biases that gets all scalars, beside metrics.json and TensorBoard; empty for none.
    _C.REPORT.WANDB_PROJECT = ""


def _export(_C: CfgNode) -> None:
    """What an exported program takes and gives; written by tools/export.py into the export's config.yaml."""
    # "raw": RGB pixels 0-255; "unit": 0-1; "imagenet": normalised by ImageNet's mean and standard deviation.
    _C.EXPORT = CfgNode({"PIXELS": "raw"})
    # Features have unit length.
    _C.EXPORT.NORMALIZED = False
    # Weights, pixels and features are float16.
    _C.EXPORT.HALF = False

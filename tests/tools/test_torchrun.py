"""torchrun starts the whole recipe: source pre-training, then MMT+, with BN layers synchronised over gloo."""

import json
import os
import subprocess
import sys

from tiny import REPOSITORY, TINY, as_options

SOURCE = ["SOLVER.MAX_EPOCH", 1, "SOLVER.ITERS_PER_EPOCH", 1, "SOLVER.IMS_PER_BATCH", 8]
SOURCE += ["DATALOADER.NUM_INSTANCE", 2, "SOLVER.WARMUP_ITERS", 0, "TEST.EVAL_PERIOD", 0]


def test_two_processes_of_torchrun(datasets_root, tmp_path):
    settings = {
        **TINY,
        "OUTPUT_DIR": tmp_path / "run",
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.ITERS_PER_EPOCH": 1,
        "TEST.EVAL_PERIOD": 1,
        "MODEL.BACKBONE.NORM": "syncBN",
        "MODEL.HEADS.NORM": "syncBN",
        "MMT.IMAGES_PER_BN": 8,
        "MMT.JOINT.ROWS": "pretrained",
        "MMT.MOCO.QUEUE_SIZE": 20,
        "MMT.SOURCE.OPTS": SOURCE,
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    config = REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt_plus.yml"
    command = [
        *launcher,
        REPOSITORY / "tools" / "train_net.py",
        "--config-file",
        config,
        *as_options(settings),
    ]
    environment = {
        **os.environ,
        "FASTREID_DATASETS": str(datasets_root),
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "images per BN: 8 of one domain" in done.stdout + done.stderr
    assert 0 < json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]["mAP"] <= 100
    assert (tmp_path / "run" / "source_seed2" / "model_final.pth").is_file()

"""The names of the files in a run's folder, each once."""

# Written once, when a training is accepted.
CONFIG = "config.yaml"
RESULTS = "results.json"
# Of an evaluation without a training.
EVALUATION = "evaluation.json"
LOG = "log.txt"
METRICS = "metrics.json"
REPORT = "report.html"
# Names fastreid's checkpoint to resume from.
LAST_CHECKPOINT = "last_checkpoint"
FINAL_MODEL = "model_final.pth"
BEST_MODEL = "model_best.pth"
# Of an export for fastreid: one network, nothing that only training needs.
SLIM_MODEL = "model.pth"
# Of a run that was asked to stop.
STOPPED_MODEL = "model_stopped.pth"

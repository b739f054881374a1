"""Configuration keys of the run report, and what they demand."""

from fastreid.config import CfgNode


def add_report_config(cfg: CfgNode) -> None:
    """Add the keys, with their defaults, to a fastreid config (in place)."""
    cfg.REPORT = CfgNode()
    # Write report.html into OUTPUT_DIR at the end of a run, and beforehand what it is made of into "report".
    cfg.REPORT.ENABLED = True
    # Target images whose features are kept for the map of features.
    cfg.REPORT.SAMPLE = 1200
    # Where identities are known: how many pseudo labels are wrong, and how far the teachers agree with them.
    cfg.REPORT.LABEL_NOISE = False
    # Project of Weights & Biases that gets all scalars, beside metrics.json and TensorBoard; empty for none.
    cfg.REPORT.WANDB_PROJECT = ""


def report_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    """Each rule: whether it holds, and the sentence to say where it does not."""
    sample = cfg.REPORT.SAMPLE
    return [(sample >= 1, f"REPORT.SAMPLE is {sample}; it must be at least 1")]

"""What the keys of PSEUDO_LABELS demand."""

from fastreid.config import CfgNode


def label_rules(labels: CfgNode) -> list[tuple[bool, str]]:
    """What holds for PSEUDO_LABELS, each with the sentence to say where it does not."""
    choices = {
        "OUTLIERS": (labels.OUTLIERS, ("drop", "singletons")),
        "JACCARD_WEIGHTS": (labels.JACCARD_WEIGHTS, ("softmax", "scaled")),
        "SEARCH": (labels.SEARCH, ("exact", "hnsw", "tree")),
        "DBSCAN.EPS_RULE": (labels.DBSCAN.EPS_RULE, ("fixed", "rho")),
    }
    minima = {
        "K1": (labels.K1, 1),
        "K2": (labels.K2, 1),
        "DBSCAN.MIN_SAMPLES": (labels.DBSCAN.MIN_SAMPLES, 1),
        "CAMERA_AWARE.K1_INTRA": (labels.CAMERA_AWARE.K1_INTRA, 1),
        "CAMERA_AWARE.K1_INTER": (labels.CAMERA_AWARE.K1_INTER, 1),
        "CAMERA_AWARE.K2_INTRA": (labels.CAMERA_AWARE.K2_INTRA, 1),
        "CAMERA_AWARE.K2_INTER": (labels.CAMERA_AWARE.K2_INTER, 0),
        "KMEANS.NUM_CLUSTERS": (labels.KMEANS.NUM_CLUSTERS, 2),
        "KMEANS.NUM_ITERATIONS": (labels.KMEANS.NUM_ITERATIONS, 1),
    }
    gap = labels.RELIABILITY.EPS_GAP
    return [
        *(
            (value in accepted, f"PSEUDO_LABELS.{key} is {value!r}; choose one of {', '.join(accepted)}")
            for key, (value, accepted) in choices.items()
        ),
        *(
            (value >= least, f"PSEUDO_LABELS.{key} is {value}; it must be at least {least}")
            for key, (value, least) in minima.items()
        ),
        (
            labels.K2 <= labels.K1,
            f"PSEUDO_LABELS.K2 is {labels.K2}, more than PSEUDO_LABELS.K1, which is {labels.K1}",
        ),
        (
            0 <= labels.DBSCAN.EPS < 1,
            f"PSEUDO_LABELS.DBSCAN.EPS is {labels.DBSCAN.EPS}; Jaccard distances call for [0, 1)",
        ),
        (
            0 < labels.DBSCAN.RHO <= 1,
            f"PSEUDO_LABELS.DBSCAN.RHO is {labels.DBSCAN.RHO}; it must lie in (0, 1]",
        ),
        (
            not labels.CAMERA_AWARE.ENABLED or (labels.METHOD == "dbscan" and labels.SEARCH == "exact"),
            "PSEUDO_LABELS.CAMERA_AWARE.ENABLED needs PSEUDO_LABELS.METHOD 'dbscan' and PSEUDO_LABELS.SEARCH "
            f"'exact'; they are {labels.METHOD!r} and {labels.SEARCH!r}",
        ),
        (
            not labels.RELIABILITY.ENABLED or labels.METHOD == "dbscan",
            "PSEUDO_LABELS.RELIABILITY.ENABLED compares DBSCAN radii, but PSEUDO_LABELS.METHOD is "
            f"{labels.METHOD!r}",
        ),
        (
            not labels.RELIABILITY.ENABLED or 0 < gap <= labels.DBSCAN.EPS < 1 - gap,
            f"PSEUDO_LABELS.RELIABILITY.EPS_GAP is {gap}: PSEUDO_LABELS.DBSCAN.EPS, {labels.DBSCAN.EPS}, "
            "less and plus it must lie in [0, 1)",
        ),
    ]

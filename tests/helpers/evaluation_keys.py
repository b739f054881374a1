"""Keys of TEST that change what an evaluation measures, by what they do."""

RERANK = ["TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 8, "TEST.RERANK.K2", 3]
KEYS = {
    "as it is": [],
    "flip": ["TEST.FLIP.ENABLED", True],
    "query expansion": ["TEST.AQE.ENABLED", True, "TEST.AQE.QE_TIME", 2, "TEST.AQE.ALPHA", 1.5],
    "euclidean": ["TEST.METRIC", "euclidean", "TEST.AQE.ENABLED", True],
    "re-ranking": [*RERANK, "TEST.RERANK.POWER", 2, "TEST.RERANK.LAMBDA", 0.5],
    "euclidean re-ranking": ["TEST.METRIC", "euclidean", *RERANK],
    "first images": ["TEST.TOP_K", 5],
    "verification": ["TEST.ROC.ENABLED", True],
    "BN statistics": ["TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.DATASET", "SynthMetro"],
}
# How a gallery is ranked, all at once.
ALL = [*KEYS["query expansion"], *RERANK, "TEST.TOP_K", 20, "TEST.ROC.ENABLED", True]

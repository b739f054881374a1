"""Distances and rankings of a gallery, usable without fastreid on any Q x D and G x D features."""

from .distances import ImageDistances
from .evaluation import Counts, Labels, Measured, Method, evaluate, measure
from .ranking import Ranking, RankingError, rank_gallery
from .reranking import rerank

__all__ = [
    "Counts",
    "ImageDistances",
    "Labels",
    "Measured",
    "Method",
    "Ranking",
    "RankingError",
    "evaluate",
    "measure",
    "rank_gallery",
    "rerank",
]

"""What is remembered of earlier batches: keys to be told apart from, and classes in place of classifier
weights.
"""

from .base import MEMORY_REGISTRY, ClassMemory, follow
from .cluster import ClusterMemory
from .hybrid import HybridMemory
from .queue import KeyQueue, queue_size

__all__ = [
    "MEMORY_REGISTRY",
    "ClassMemory",
    "ClusterMemory",
    "HybridMemory",
    "KeyQueue",
    "follow",
    "queue_size",
]

"""A procedural world of pedestrians, so that unsupervised re-ID can be tried without any download.

What draws (`render`, `sheet`) is imported when a picture is drawn, not by configurations that name the world.
"""

from .spec import WorldSpec, configure, current_spec, only_looking, spec_from_config
from .store import ensure_domain
from .world import DOMAINS, METRO, PLAZA
from .world_datasets import SynthMetro, SynthPlaza

__all__ = [
    "DOMAINS",
    "METRO",
    "PLAZA",
    "SynthMetro",
    "SynthPlaza",
    "WorldSpec",
    "configure",
    "current_spec",
    "ensure_domain",
    "only_looking",
    "spec_from_config",
]

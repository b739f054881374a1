"""A procedural world of pedestrians, so that unsupervised re-ID can be tried without any download."""

from .datasets import SynthMetro, SynthPlaza
from .sheet import contact_sheet
from .spec import WorldSpec, add_synthetic_config, configure, current_spec, spec_from_config
from .store import ensure_domain
from .world import DOMAINS, METRO, PLAZA

__all__ = [
    "DOMAINS",
    "METRO",
    "PLAZA",
    "SynthMetro",
    "SynthPlaza",
    "WorldSpec",
    "add_synthetic_config",
    "configure",
    "contact_sheet",
    "current_spec",
    "ensure_domain",
    "spec_from_config",
]

"""Configuration: every key with its default, what values it may have, and files that set them."""

from mmt_plugin.errors import ConfigError

from .checks import check_config, check_elements, check_evaluation
from .defaults import add_mmt_config
from .load import load_config
from .relations import source_batch_size

__all__ = [
    "ConfigError",
    "add_mmt_config",
    "check_config",
    "check_elements",
    "check_evaluation",
    "load_config",
    "source_batch_size",
]

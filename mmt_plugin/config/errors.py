"""The error of a configuration."""

from mmt_plugin.errors import UserError


class ConfigError(UserError, ValueError):
    """A configuration that cannot work; the message names the keys and what to change."""

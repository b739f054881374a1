"""What is wrong with a grid or with results, in one sentence."""

from mmt_plugin.errors import UserError


class AblationError(UserError, ValueError):
    """A grid, a run folder or a result file that cannot be used; the message names it and what to do."""

"""From a Launch to an exit status: the only part of the launcher that starts processes."""

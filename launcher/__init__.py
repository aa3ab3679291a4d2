"""The launcher: one Plan, three backends. Standard library only, and few of its modules (see
CONTRIBUTING).
"""

__version__ = "0.1.0"

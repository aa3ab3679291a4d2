"""The kernel of these tests."""

from tests.kernels import fetched

__all__ = ("fetched",)

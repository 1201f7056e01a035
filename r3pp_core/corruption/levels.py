"""The levels that damage is graded by."""

from collections.abc import Sequence


def require_levels(levels: Sequence[float]) -> None:
    """Raises ValueError for one outside 0..1."""
    if not all(0 <= level <= 1 for level in levels):
        raise ValueError("levels lie in 0..1")

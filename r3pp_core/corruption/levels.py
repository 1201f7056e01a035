"""The levels that damage is graded by."""

from collections.abc import Sequence

LEVELS = [0.0, 0.2, 0.4, 0.6, 0.8]  # what a sweep asks by default


def require_levels(levels: Sequence[float]) -> None:
    """Raises ValueError for one outside 0..1."""
    if not all(0 <= level <= 1 for level in levels):
        raise ValueError("levels lie in 0..1")

"""Tables and numbers for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any


def text_table(titles: Sequence[str], rows: Sequence[Sequence[str]], num_left: int) -> list[str]:
    """Aligned lines, the titles first: the first `num_left` columns to the left, the others to the right."""
    lines = [titles, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    aligned = (
        "  ".join(
            cell.ljust(width) if i < num_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return [line.rstrip() for line in aligned]


def signed_interval(difference: Mapping[str, Any]) -> str:
    """A difference in percentage points with its interval: +15.2 [+12.0, +18.4]."""
    mean, low, high = (100 * difference[key] for key in ("mean", "low", "high"))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"

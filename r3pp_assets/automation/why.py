"""The tag that says why automation started a run."""

from collections.abc import Mapping

import dagster as dg

WHY = "r3pp/why"
MAX_TAG_CHARS = 250


def told(reasons: Mapping[dg.AssetKey, str]) -> str:
    """For a run's tag."""
    text = "; ".join(f"{key.to_user_string()}: {reason}" for key, reason in sorted(reasons.items()))
    return text if len(text) <= MAX_TAG_CHARS else text[: MAX_TAG_CHARS - 1] + "…"

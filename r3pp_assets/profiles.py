"""A table's profile as metadata, and its drift since the materialization before."""

from pathlib import Path
from typing import Any

import dagster as dg

from r3pp_assets.metadata import inline_png

MAX_DRIFT = 0.1


def profile_metadata(table: Path) -> dict[str, Any]:
    from r3pp_core.ingest.profile import profile_plot, table_profile

    profile = table_profile(table)
    return {
        "profile": dg.MetadataValue.json(profile.as_json()),
        "distributions": inline_png(profile_plot(profile), "questions by length, answers by type"),
        "answer_in_text": profile.answer_in_text,
    }


def drift_result(instance: dg.DagsterInstance, key: dg.AssetKey) -> dg.AssetCheckResult:
    """Compares the profiles of the two newest materializations; warns where more than MAX_DRIFT of the rows moved."""
    from r3pp_core.ingest.profile import drift

    profiles: list[Any] = [
        record.asset_materialization.metadata["profile"].value
        for record in instance.fetch_materializations(key, limit=2).records
        if record.asset_materialization is not None and "profile" in record.asset_materialization.metadata
    ]
    if len(profiles) < 2:
        return dg.AssetCheckResult(
            passed=True, severity=dg.AssetCheckSeverity.WARN, description="nothing to compare with yet"
        )
    now, before = profiles
    moved = drift(before, now)
    name, most = max(moved.items(), key=lambda item: item[1])
    return dg.AssetCheckResult(
        passed=most <= MAX_DRIFT,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{name} moved most: {most:.1%} since the last materialization (limit {MAX_DRIFT:.0%})",
        metadata={**moved, "limit": MAX_DRIFT},
    )

"""Which assets a run would change: never materialized, behind their inputs, or behind their code."""

import dagster as dg

from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.datasets.registry import DATASETS


def stale_assets(defs: dg.Definitions, instance: dg.DagsterInstance, keys: set[dg.AssetKey]) -> set[dg.AssetKey]:
    """Those of `keys` that the UI would call missing or unsynced, and everything of `keys` below them."""
    # Dagster has no public call for what its UI shows as "Unsynced"; this is what the UI itself uses.
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    graph = defs.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    stale = {key for key in keys if resolver.get_status(key) != StaleStatus.FRESH}
    return with_descendants(graph, stale) & keys


def with_descendants(graph: object, keys: set[dg.AssetKey]) -> set[dg.AssetKey]:
    found = set(keys)
    waiting = list(keys)
    while waiting:
        for child in graph.get(waiting.pop()).child_keys:  # type: ignore[attr-defined]
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def changed_sources(workspace: WorkspaceResource) -> set[dg.AssetKey]:
    """Raw assets whose local source no longer is what they were made from."""
    from r3pp_core.ingest.download import DownloadConfig, is_current

    if workspace.source is None:
        return set()
    config = DownloadConfig(source=workspace.source)
    return {
        dg.AssetKey(["raw", name]) for name in DATASETS if not is_current(name, workspace.paths.raw_dir(name), config)
    }

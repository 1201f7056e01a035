"""Which assets a run would change: never materialized, behind their inputs, or behind their code."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.errors import R3Error

if TYPE_CHECKING:
    from dagster._core.definitions.data_version import StaleCause

_PASSED = AssetCheckExecutionRecordStatus.SUCCEEDED
NOT_PASSED, SOURCE_CHANGED = "a blocking check did not pass", "its source changed"


def stale_assets(graph: BaseAssetGraph, instance: dg.DagsterInstance, keys: set[dg.AssetKey]) -> set[dg.AssetKey]:
    """Those of `keys` that have a reason to be made, and everything of `keys` below them."""
    return with_descendants(graph, set(stale_reasons(graph, instance, keys))) & keys


def stale_reasons(
    graph: BaseAssetGraph, instance: dg.DagsterInstance, keys: set[dg.AssetKey]
) -> dict[dg.AssetKey, str]:
    """Those of `keys` that the UI would call missing or unsynced, whose files are gone, or whose latest blocking check
    did not pass, each with its reason."""
    # Dagster has no public call for what its UI shows as "Unsynced"; this is what the UI itself uses.
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    reasons = {}
    for key in keys:
        status = resolver.get_status(key)
        if status == StaleStatus.MISSING:
            reasons[key] = "never made"
        elif status == StaleStatus.STALE:
            reasons[key] = _told(resolver.get_stale_causes(key)[0])
        elif files_are_gone(instance, key):
            reasons[key] = "its files are gone"
    return {**dict.fromkeys(unchecked_assets(graph, instance) & keys, NOT_PASSED), **reasons}


def _told(cause: "StaleCause") -> str:
    """Dagster's words, with the input that they are about."""
    read = cause.dependency.asset_key.to_user_string() if cause.dependency else ""
    return cause.reason if read in cause.reason else f"{cause.reason} ({read})"


def files_are_gone(instance: dg.DagsterInstance, key: dg.AssetKey) -> bool:
    """Whether the path in the newest materialization's metadata is no longer there."""
    event = instance.get_latest_materialization_event(key)
    if event is None or event.asset_materialization is None:
        return False
    path = event.asset_materialization.metadata.get("path")
    return path is not None and not Path(str(path.value)).exists()


def unchecked_assets(graph: BaseAssetGraph, instance: dg.DagsterInstance) -> set[dg.AssetKey]:
    """Assets with a blocking check that failed last time, or never ran: what is below must not be built on them."""
    return {key for key, statuses in _blocking_checks(graph, instance).items() if statuses != {_PASSED}}


def failed_assets(graph: BaseAssetGraph, instance: dg.DagsterInstance) -> set[dg.AssetKey]:
    """Assets with a blocking check that ran to its end last time and said no."""
    failed = AssetCheckExecutionRecordStatus.FAILED
    return {key for key, statuses in _blocking_checks(graph, instance).items() if failed in statuses}


def _blocking_checks(
    graph: BaseAssetGraph, instance: dg.DagsterInstance
) -> dict[dg.AssetKey, set[AssetCheckExecutionRecordStatus | None]]:
    """By asset how its blocking checks ended last time; None stands for one that never ran."""
    blocking = [key for key in graph.asset_check_keys if graph.get(key).blocking]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(blocking)
    found: dict[dg.AssetKey, set[AssetCheckExecutionRecordStatus | None]] = {}
    for key in blocking:
        found.setdefault(key.asset_key, set()).add(latest[key].status if key in latest else None)
    return found


def with_descendants(graph: BaseAssetGraph, keys: set[dg.AssetKey]) -> set[dg.AssetKey]:
    found = set(keys)
    waiting = list(keys)
    while waiting:
        for child in graph.get(waiting.pop()).child_keys:
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def changed_sources(workspace: WorkspaceResource) -> set[dg.AssetKey]:
    """What no longer is what it was made from: raw assets by their local source, or what cannot be read (their run says
    why), and what comes with another version of this package."""
    drawn = workspace.settings.hub_models is None
    changed = _changed_models(workspace) if drawn else set()
    if workspace.source is not None:
        changed |= _changed_files(workspace)
    elif drawn:
        changed |= _changed_drawings(workspace)
    return changed


def _changed_models(workspace: WorkspaceResource) -> set[dg.AssetKey]:
    from r3pp_core.artefact import Target, read_manifest
    from r3pp_core.sample.packaged import NAMES, is_current

    made = [name for name in NAMES if read_manifest(Target(workspace.paths.model_dir(name))) is not None]
    return {dg.AssetKey(["models", name]) for name in made if not is_current(name, workspace.paths.model_dir(name))}


def _changed_drawings(workspace: WorkspaceResource) -> set[dg.AssetKey]:
    from r3pp_core.artefact import Target, read_manifest
    from r3pp_core.sample.artefact import is_current

    drawn = workspace.paths.source_dir
    is_other = read_manifest(Target(drawn)) is not None and not is_current(drawn)
    return {dg.AssetKey(["raw", name]) for name in DATASETS} if is_other else set()


def _changed_files(workspace: WorkspaceResource) -> set[dg.AssetKey]:
    from r3pp_core.ingest.config import DownloadConfig
    from r3pp_core.ingest.download import is_current

    config = DownloadConfig(source=workspace.source)

    def is_other(name: str) -> bool:
        try:
            return not is_current(name, workspace.paths.raw_dir(name), config)
        except (R3Error, OSError):
            return True

    return {dg.AssetKey(["raw", name]) for name in DATASETS if is_other(name)}

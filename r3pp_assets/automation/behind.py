"""What a run of the production line would change: asked of the instance, of the local source, and of the Hub."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from r3pp_assets.automation.sources import asset_of, is_taken_in, look_at_hub, moved
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_assets.staleness import (
    NOT_PASSED,
    SOURCE_CHANGED,
    changed_sources,
    failed_assets,
    stale_reasons,
    with_descendants,
)

if TYPE_CHECKING:
    from r3pp_core.ingest.revisions import Place

REPORT, CHAMPION = dg.AssetKey(["report"]), dg.AssetKey(["champion"])


@dataclass(frozen=True)
class Behind:
    """`keys` are to be made. `roots` are those of them with a reason of their own and none above. `moved` are the
    branches of the Hub among the reasons, `not_asked` says of which repositories nobody knows."""

    keys: set[dg.AssetKey]
    roots: dict[dg.AssetKey, str]
    is_gate_closed: bool
    moved: "list[Place]"
    not_asked: list[str]


def behind(context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource) -> Behind:
    repository = context.repository_def
    assert repository is not None
    graph = repository.asset_graph
    keys = set(repository.get_job("full").asset_layer.executable_asset_keys)
    reasons = stale_reasons(graph, context.instance, keys)
    reasons |= dict.fromkeys(changed_sources(workspace), SOURCE_CHANGED)
    look = look_at_hub(workspace)
    places = (
        [place for place in look.places if place.has_moved and not is_taken_in(context.instance, place)] if look else []
    )
    reasons |= {asset_of(place): moved(place) for place in places}
    is_closed = reasons.get(REPORT) == NOT_PASSED and REPORT in failed_assets(graph, context.instance)
    if is_closed:  # the same model would be turned away again
        reasons = {key: reason for key, reason in reasons.items() if key not in (REPORT, CHAMPION)}
    return Behind(
        keys=with_descendants(graph, set(reasons)) & keys,
        roots={key: reason for key, reason in reasons.items() if not graph.get(key).parent_keys & reasons.keys()},
        is_gate_closed=is_closed,
        moved=places,
        not_asked=look.not_asked if look else [],
    )

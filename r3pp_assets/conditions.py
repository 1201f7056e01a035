"""When the production line makes itself anew, once its automation is turned on; and how old what it makes may get.

An asset is made when the data version of an input changed (other bytes, not merely another materialization), when its
own code version did, or when its materializations were wiped; not while what is above it is out of date, being made or
about to be, and not on an input whose blocking check failed. What failed is not tried again by itself: a change is
handled once it was asked for. A change that comes while the asset is being made is not lost, nor is one that stood when
the automation was turned on. What was never made waits for somebody to make it the first time, which may take a day and
a GPU; what reads it follows.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG, get_input_data_version_tag

if TYPE_CHECKING:
    from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView


class IsBehind(dg.AutomationCondition):
    """Whether what stands was made from other data versions than its inputs have now.

    Told by the tags that Dagster gives a materialization; one without them (reported by hand) is not called behind.
    """

    @property
    def name(self) -> str:
        return "is_behind"

    async def evaluate(  # type: ignore[override]  # Dagster awaits it, as its own
        self, context: dg.AutomationContext
    ) -> dg.AutomationResult:
        key, view = context.key, context.asset_graph_view
        assert isinstance(key, dg.AssetKey)
        parents = list(view.asset_graph.get(key).parent_keys)
        # The view keeps what it has read for the rest of the tick.
        mine, *theirs = [await _tags(view, one) for one in (key, *parents)]
        is_behind = any(
            then != tags.get(DATA_VERSION_TAG, then)
            for parent, tags in zip(parents, theirs, strict=True)
            if (then := mine.get(get_input_data_version_tag(parent)))
        )
        return dg.AutomationResult(context, context.candidate_subset if is_behind else context.get_empty_subset())


class HasOldCode(dg.AutomationCondition):
    """Whether what stands was made by another code version than the asset has now."""

    @property
    def name(self) -> str:
        return "has_old_code"

    async def evaluate(  # type: ignore[override]
        self, context: dg.AutomationContext
    ) -> dg.AutomationResult:
        key, view = context.key, context.asset_graph_view
        assert isinstance(key, dg.AssetKey)
        now = view.asset_graph.get(key).code_version
        is_old = (await _tags(view, key)).get(CODE_VERSION_TAG, now) != now
        return dg.AutomationResult(context, context.candidate_subset if is_old else context.get_empty_subset())


class HasUnhandledChange(dg.AutomationCondition):
    """`change`, asked once an asset and tick: what is below, which Dagster asks later, is told what was found then.

    Else the whole condition would be gone through for each asset by each way that leads down from it, and a tick would
    take some seconds. For assets without partitions.
    """

    def __init__(self, change: dg.AutomationCondition) -> None:
        self.change = change
        self._found: MutableMapping[AssetGraphView, dict[dg.AssetKey, bool]] = WeakKeyDictionary()  # a view is a tick's

    @property
    def name(self) -> str:
        return "has_unhandled_change"

    @property
    def children(self) -> Sequence[dg.AutomationCondition]:
        return [self.change]

    @property
    def requires_cursor(self) -> bool:
        return False

    async def evaluate(  # type: ignore[override]
        self, context: dg.AutomationContext
    ) -> dg.AutomationResult:
        key, view = context.key, context.asset_graph_view
        assert isinstance(key, dg.AssetKey)
        found, asked = self._found.setdefault(view, {}), []
        if key not in found:
            of_change = context.for_child_condition(self.change, [0], view.get_full_subset(key=key))
            asked = [await of_change.evaluate_async()]
            found[key] = not asked[0].true_subset.is_empty
        subset = context.candidate_subset if found[key] else context.get_empty_subset()
        return dg.AutomationResult(context, subset, child_results=asked)


async def _tags(view: "AssetGraphView", key: dg.AssetKey) -> Mapping[str, str]:
    """Of the newest materialization."""
    from dagster._core.storage.event_log.base import AssetRecord  # brings sqlalchemy and alembic along

    record = await AssetRecord.gen(view, key)
    event = record.asset_entry.last_materialization if record else None
    return (event.asset_materialization.tags if event and event.asset_materialization else None) or {}


# Never requested by automation, so that nothing waits for it: the report takes it in when somebody made it.
_CONTROL = dg.AssetSelection.groups("control")

_CHANGED: dg.AutomationCondition = (
    dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    | dg.AutomationCondition.code_version_changed()
    | dg.AutomationCondition.newly_missing()
)
_OUT_OF_DATE = IsBehind() | HasOldCode()

# What stood when the automation was turned on or these conditions were changed, and what comes at the very tick at
# which a request is noted.
_NEWLY_OUT_OF_DATE = IsBehind().newly_true() | HasOldCode().newly_true()
# Made while an input changed: what it read is not what there is now.
_MADE_TOO_EARLY = dg.AutomationCondition.newly_updated() & IsBehind()

# A change is handled by asking for the asset, or by whoever made it with that change.
_UNHANDLED = HasUnhandledChange(
    ((_CHANGED & ~dg.AutomationCondition.initial_evaluation()) | _NEWLY_OUT_OF_DATE | _MADE_TOO_EARLY).since(
        (~_NEWLY_OUT_OF_DATE & ~_MADE_TOO_EARLY & dg.AutomationCondition.newly_requested())
        | (dg.AutomationCondition.newly_updated() & ~_OUT_OF_DATE)
    )
)

# Being made, asked for at this very tick, waiting for its turn, failed, or out of date for any other reason, as when
# its run was cancelled or is about to be tried again: what is below would mix old with new.
_PENDING: dg.AutomationCondition = (
    dg.AutomationCondition.in_progress()
    | dg.AutomationCondition.will_be_requested()
    | dg.AutomationCondition.execution_failed()
    | _UNHANDLED
    | _OUT_OF_DATE
)
# Two arrows are enough: what reads an input by a longer way too waits for its turn from that input's change on. So a
# new index does not have the old model evaluated on it while the new one is in training.
_PENDING_TWO_ABOVE = dg.AutomationCondition.any_deps_match(_PENDING).ignore(_CONTROL)
_PENDING_ABOVE = dg.AutomationCondition.any_deps_match(_PENDING | _PENDING_TWO_ABOVE).ignore(_CONTROL)

ON_CHANGE = (
    _UNHANDLED
    & ~dg.AutomationCondition.any_deps_missing().ignore(_CONTROL)
    & ~_PENDING_ABOVE
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("inputs or code changed")

# Nobody made it anew, nor looked at it and found it to be what there is: `monthly_look` does, at most 31 days apart. So
# a line where nothing changes stays green, and yellow says that nobody looked for 32 days.
LOOKED_AT_MONTHLY = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=32), fail_window=timedelta(days=64))

"""When the production line makes itself anew, once its automation is turned on; and how old what it makes may get.

An asset is made when the data version of an input changed (other bytes, not merely another materialization), when its
own code version did, or when its materializations were wiped; not while anything above it is being made or about to be,
and not on an input whose blocking check failed. What failed is not tried again by itself: a change is handled once it
was asked for. What was never made waits for somebody to make it the first time, which may take a day and a GPU.
"""

from datetime import timedelta

import dagster as dg

MOST_ARROWS = 5  # that can lie between what changed and an asset which reads it by a shorter way too

_CHANGED: dg.AutomationCondition = (
    dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    | dg.AutomationCondition.code_version_changed()
    | dg.AutomationCondition.newly_missing()
)


def _is_busy_above(depth: int) -> dg.AutomationCondition:
    """Whether an asset up to `depth` arrows above is being made, or is asked for at this very tick.

    Else a new index would have the old model evaluated on it while the new one is still in training.
    """
    busy: dg.AutomationCondition = dg.AutomationCondition.in_progress() | dg.AutomationCondition.will_be_requested()
    above = dg.AutomationCondition.any_deps_match(busy)
    for _ in range(depth - 1):
        above = dg.AutomationCondition.any_deps_match(busy | above)
    return above


ON_CHANGE = (
    _CHANGED.since_last_handled()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~_is_busy_above(MOST_ARROWS)
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("inputs or code changed")

# The line is retrained weekly where something changed; a month without is worth a look.
RETRAINED = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=8), fail_window=timedelta(days=32))

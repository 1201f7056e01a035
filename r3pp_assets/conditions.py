"""When the production line makes itself anew, once its automation is turned on; and how old what it makes may get.

An asset is made when the data version of an input changed (other bytes, not merely another materialization), when its
own code version did, or when its materializations were wiped; not while what is above it is being made or about to be,
and not on an input whose blocking check failed. What failed is not tried again by itself: a change is handled once it
was asked for. What was never made waits for somebody to make it the first time, which may take a day and a GPU.
"""

from datetime import timedelta

import dagster as dg

_CHANGED: dg.AutomationCondition = (
    dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    | dg.AutomationCondition.code_version_changed()
    | dg.AutomationCondition.newly_missing()
)

# Being made, asked for at this very tick, or waiting for its turn.
_PENDING: dg.AutomationCondition = (
    dg.AutomationCondition.in_progress() | dg.AutomationCondition.will_be_requested() | _CHANGED.since_last_handled()
)
# Two arrows are enough: what reads an input by a longer way too waits for its turn from that input's change on. So a
# new index does not have the old model evaluated on it while the new one is in training.
_PENDING_ABOVE = dg.AutomationCondition.any_deps_match(_PENDING | dg.AutomationCondition.any_deps_match(_PENDING))

ON_CHANGE = (
    _CHANGED.since_last_handled()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~_PENDING_ABOVE
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("inputs or code changed")

# The line is retrained weekly where something changed; a month without is worth a look.
RETRAINED = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=8), fail_window=timedelta(days=32))

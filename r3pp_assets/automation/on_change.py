"""The sensor over the conditions of the production line, whose runs say why they were started."""

import warnings

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._record import copy

from r3pp_assets.automation.jobs import PRODUCTION_LINE
from r3pp_assets.automation.why import WHY, told
from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.failures import GOES_ON
from r3pp_assets.staleness import stale_reasons


class TellingSensor(dg.AutomationConditionSensorDefinition):
    """Dagster's own, whose `run_tags` are the same for every run; the cause is another each time."""

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        """As Dagster does, and each run gets the tag: what the UI says of its assets."""
        data = super().evaluate_tick(context)
        repository = context.repository_def
        assert repository is not None
        requests = []
        for request in data.run_requests or []:
            reasons = stale_reasons(repository.asset_graph, context.instance, set(request.asset_selection or []))
            why = told(reasons) or str(ON_CHANGE.get_label())
            requests.append(request.with_replaced_attrs(tags={**request.tags, WHY: why}))
        return copy(data, run_requests=requests)


def retraining_on_change(interval_s: int) -> TellingSensor:
    with warnings.catch_warnings():
        # Beta in this Dagster, pinned in constraints.txt: the condition IsBehind is ours, which the daemon cannot know.
        warnings.filterwarnings("ignore", message=".*use_user_code_server.*")
        return TellingSensor(
            "retraining_on_change",
            target=PRODUCTION_LINE,
            default_status=dg.DefaultSensorStatus.STOPPED,
            minimum_interval_seconds=interval_s,
            use_user_code_server=True,
            run_tags=GOES_ON,
            description="Makes every asset of the production line whose inputs or code changed, up to the gate. Off "
            "until turned on.",
        )

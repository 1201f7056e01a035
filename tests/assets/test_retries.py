"""What fails the same way each time is tried once, and so is what was cancelled; a lost rank is tried again."""

import dagster as dg
import pytest

import r3pp_assets.failures
from r3pp_assets.failures import user_errors
from r3pp_assets.logging import failure_reason
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.launch.failures import NonFiniteLossError, describe, describe_lost, launch_failed


def attempts(error: R3Error) -> tuple[int, str]:
    """How often an asset that raises `error` is tried, and what its failure says."""
    tried = []

    @dg.asset
    def failing() -> None:
        tried.append(1)
        with user_errors():
            raise error

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([failing], instance=instance, raise_on_error=False)
    failure = next(event for event in result.all_events if event.event_type_value == "STEP_FAILURE")
    return len(tried), failure_reason(failure.step_failure_data)


@pytest.mark.parametrize(
    ("error", "num_attempts"),
    [
        (launch_failed("training", 1, [describe_lost(1, -9)]), 3),
        (launch_failed("training", 1, [describe(ConnectionError("the disk went away"), 0)]), 3),
        (launch_failed("training", 2, [describe(UsageError("lr is 0; give more"), 0)]), 1),
        (launch_failed("training", 1, [describe(MemoryError("out of memory"), 0)]), 1),
        (launch_failed("training", 1, [describe(NonFiniteLossError("the loss is nan; lower lr"), 0)]), 1),
        (R3Error("no such table; run merge"), 1),
    ],
    ids=["lost rank", "other error", "bad input", "out of memory", "non-finite loss", "stage's own error"],
)
def test_only_a_failure_that_a_retry_can_help_is_retried_and_all_keep_their_sentence(error, num_attempts, monkeypatch):
    monkeypatch.setattr(r3pp_assets.failures, "RETRY_DELAY_S", 0)
    tried, said = attempts(error)
    assert tried == num_attempts
    assert str(error) in said


def test_no_asset_has_a_policy_that_would_start_a_cancelled_one_again():
    from r3pp_assets.definitions import defs

    assets = defs().resolve_asset_graph().assets_defs
    policies = {
        asset.node_def.name: getattr(asset.node_def, "retry_policy", None) for asset in assets if asset.is_executable
    }
    assert len(policies) > 20
    assert not any(policies.values())

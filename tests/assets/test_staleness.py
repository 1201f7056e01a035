"""What the next demo launches: whatever is behind, gone, or was found wanting."""

import dagster as dg

from r3pp_assets.logging import failure_reason
from r3pp_assets.staleness import stale_assets


def small_graph(passes: bool, up_path) -> dg.Definitions:
    @dg.asset
    def up() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(str(up_path))})

    @dg.asset(deps=[up])
    def down() -> None: ...

    @dg.asset_check(asset=up, blocking=True)
    def sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passes)

    return dg.Definitions(
        assets=[up, down], asset_checks=[sound], jobs=[dg.define_asset_job("all")], executor=dg.in_process_executor
    )


def run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> set[str]:
    job = definitions.resolve_job_def("all")
    job.execute_in_process(instance=instance, raise_on_error=False)
    keys = set(job.asset_layer.executable_asset_keys)
    return {key.to_user_string() for key in stale_assets(definitions.resolve_asset_graph(), instance, keys)}


def test_an_asset_whose_blocking_check_failed_is_launched_again_with_all_below(tmp_path):
    """Its materialization is fresh, but nothing may be built on it without asking the check again."""
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(small_graph(passes=False, up_path=tmp_path), instance) == {"up", "down"}
        assert run(small_graph(passes=True, up_path=tmp_path), instance) == set()


def test_an_asset_whose_files_are_gone_is_launched_again(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        definitions = small_graph(passes=True, up_path=tmp_path / "made")
        (tmp_path / "made").mkdir()
        assert run(definitions, instance) == set()
        (tmp_path / "made").rmdir()
        keys = set(definitions.resolve_job_def("all").asset_layer.executable_asset_keys)
        assert {key.to_user_string() for key in stale_assets(definitions.resolve_asset_graph(), instance, keys)} == {
            "up",
            "down",
        }


def test_a_failed_step_is_told_by_the_sentence_it_failed_with():
    @dg.asset
    def wrong() -> None:
        raise dg.Failure(description="no image column: found picture", allow_retries=False)

    @dg.asset
    def broken() -> None:
        raise ValueError("an ordinary fault")

    for asset, said in ((wrong, "no image column: found picture"), (broken, "an ordinary fault")):
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([asset], instance=instance, raise_on_error=False)
        failure = next(event for event in result.all_events if event.event_type_value == "STEP_FAILURE")
        assert said in failure_reason(failure.step_failure_data)

"""Whatever may use the accelerator holds the pool of one, and nothing else waits for it."""

TRAINED = {f"{group}/{name}" for group in ("control", "experiment") for name in ("checkpoint", "model", "evaluation")}
PRODUCTION = {"checkpoint/r3", "model/r3", "evaluation/base", "evaluation/r3"}
CHECKS = {f"checkpoint/r3_{name}" for name in ("loads_exactly", "equals_live_model", "differs_from_base")}
WHERE_DEVICE_SAYS_SO = {"index/text", "index/image", "index/neighbours"}


def test_what_may_use_the_accelerator_and_nothing_else_holds_its_pool():
    from r3pp_assets.definitions import defs

    nodes = {node.name: node.definition for job in defs().get_repository_def().get_all_jobs() for node in job.nodes}
    holders = {name.replace("__", "/") for name, definition in nodes.items() if definition.pool == "gpu"}
    assert holders == TRAINED | PRODUCTION | CHECKS | WHERE_DEVICE_SAYS_SO | {"evaluate_checkpoint"}
    with_device = {
        name for name, node in nodes.items() if "device" in getattr(node.config_schema.config_type, "fields", {})
    }
    assert {name.replace("__", "/") for name in with_device} == WHERE_DEVICE_SAYS_SO

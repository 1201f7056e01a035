"""The code location: everything under defs/, with the resources of the chosen profile."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    from r3pp_assets.automation import automation
    from r3pp_assets.logging import brief_logger
    from r3pp_assets.resources.environment import resources_from_environment

    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        automation(),
        dg.Definitions(
            resources=resources_from_environment(),
            executor=dg.in_process_executor,
            loggers={"console": dg.colored_console_logger, "brief": brief_logger},
        ),
    )

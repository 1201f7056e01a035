"""The code location: everything under defs/, with the resources of the chosen profile."""

import warnings
from pathlib import Path

import dagster as dg
from dagster_shared.record import copy


@dg.definitions
def defs() -> dg.Definitions:
    from r3pp_assets.automation import automation
    from r3pp_assets.logging import brief_logger
    from r3pp_assets.resources.environment import resources_from_environment

    return with_links_to_code(
        dg.Definitions.merge(
            dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
            automation(),
            dg.Definitions(
                resources=resources_from_environment(),
                executor=dg.in_process_executor,
                loggers={"console": dg.colored_console_logger, "brief": brief_logger},
            ),
        )
    )


def with_links_to_code(definitions: dg.Definitions) -> dg.Definitions:
    """Each asset with the place of its function, which the UI offers to open in an editor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return copy(definitions, assets=dg.with_source_code_references(list(definitions.assets or [])))

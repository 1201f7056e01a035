"""The code location: everything under defs/, with the resources of the chosen profile."""

import warnings
from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    from r3pp_assets.automation import automation
    from r3pp_assets.logging import brief_logger
    from r3pp_assets.resources.environment import resources_from_environment

    tree = dg.ComponentTree.for_project(Path(__file__).parent)
    return dg.Definitions.merge(
        in_folder(tree),
        automation(),
        dg.Definitions(
            resources=resources_from_environment(),
            executor=dg.in_process_executor,
            loggers={"console": dg.colored_console_logger, "brief": brief_logger},
            component_tree=tree,
        ),
    )


def in_folder(tree: dg.ComponentTree) -> dg.Definitions:
    """As `dg.load_from_defs_folder`, which besides describes every component type that is installed, for adding some in
    the UI: nobody does here, and the description would take an eighth of the loading."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=dg.PreviewWarning)
        return tree.build_defs(tree.defs_module_path)

"""The code location: everything under defs/, with the resources of the chosen profile."""

import warnings
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_shared.record import copy


@dg.definitions
def defs() -> dg.Definitions:
    import r3pp_assets.defs
    from r3pp_assets.automation import automation
    from r3pp_assets.logging import brief_logger
    from r3pp_assets.resources.environment import resources_from_environment

    tree = dg.ComponentTree.from_module(r3pp_assets.defs, project_root=Path(__file__).parents[1])
    return with_links_to_code(
        dg.Definitions.merge(
            in_folder(tree),
            automation(),
            dg.Definitions(
                resources=resources_from_environment(),
                executor=dg.in_process_executor,
                loggers={"console": dg.colored_console_logger, "brief": brief_logger},
                component_tree=tree,
            ),
        )
    )


def in_folder(tree: dg.ComponentTree) -> dg.Definitions:
    """As `dg.load_from_defs_folder`, which besides reads pyproject.toml twice and describes all installed component
    types for adding some in the UI. Nobody does here, and it would take an eighth of the loading."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return tree.build_defs(tree.defs_module_path)


def with_links_to_code(definitions: dg.Definitions) -> dg.Definitions:
    """Each asset with the place of its function, which the UI offers to open in an editor."""
    return copy(definitions, assets=[_linked(asset) for asset in definitions.assets or []])


def _linked(asset: Any) -> dg.AssetsDefinition:
    """As `dg.with_source_code_references`, which reads and parses each file to find what the function knows."""
    code = asset.op.compute_fn.decorated_fn.__code__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        place = dg.LocalFileCodeReference(file_path=code.co_filename, line_number=code.co_firstlineno)
        link = dg.CodeReferencesMetadataValue(code_references=[place])
    linked: dg.AssetsDefinition = asset.map_asset_specs(
        lambda spec: spec.merge_attributes(metadata={"dagster/code_references": link})
    )
    return linked

"""How long a query is: as long as the model's that will ask, which the profile's recipe says."""

from typing import TypeVar

import dagster as dg

from r3pp_assets.launchpad import empty_means
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.retrieval.config import NeighboursConfig, QualityConfig

C = TypeVar("C", NeighboursConfig, QualityConfig)

MAX_QUERY_CHARS = empty_means("recipe", NeighboursConfig.model_fields["max_query_chars"])


def resolved(core: type[C], config: dg.Config, workspace: WorkspaceResource) -> C:
    """The core's config, with the recipe's `max_query_chars` where the asset's names none."""
    values = config.model_dump()
    return core(**{**values, "max_query_chars": values["max_query_chars"] or workspace.recipe_model.max_query_chars})

"""What every train row finds when nothing is damaged, looked up once for all clean training steps."""

import dagster as dg

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.defs.index.queries import MAX_QUERY_CHARS, resolved
from r3pp_assets.failures import user_errors
from r3pp_assets.inputs import INDICES, NEIGHBOURS
from r3pp_assets.launchpad import refused_at_launch
from r3pp_assets.metadata import materialization, problems_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.retrieval.config import NeighboursConfig


@refused_at_launch()
class NeighboursAssetConfig(NeighboursConfig, dg.Config):
    """How many neighbours are kept, and of which queries."""

    max_query_chars: int | None = MAX_QUERY_CHARS  # type: ignore[assignment]


@dg.asset(
    key=NEIGHBOURS,
    deps=[
        *INDICES,
        dg.AssetKey(["merged", "train"]),
        dg.AssetKey(["models", "minilm"]),
    ],
    group_name="index",
    kinds={"faiss", "numpy"},
    owners=["team:models"],
    code_version=code_versions.NEIGHBOURS,
    automation_condition=ON_CHANGE,
    pool="gpu",  # `device` may say so
)
def index_neighbours(
    context: dg.AssetExecutionContext, config: NeighboursAssetConfig, workspace: WorkspaceResource
) -> dg.MaterializeResult:
    """The neighbours of every train row by its question and text, and by its picture, never its own picture: clean
    training steps take them from here and encode nothing."""
    from r3pp_core.retrieval.neighbours import FOLDER, build_neighbours

    with user_errors() as started:
        paths = workspace.paths
        manifest = build_neighbours(
            paths.merged("train"),
            paths.indices_dir,
            paths.model_dir("minilm"),
            resolved(NeighboursConfig, config, workspace),
            context.log.info,
        )
        return materialization(context, manifest, paths.indices_dir / FOLDER, started)


@dg.asset_check(
    asset=NEIGHBOURS, blocking=True, description="Every train row has neighbours, and none is its own picture."
)
def no_own_picture(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.retrieval.neighbours import self_neighbour_problems

    paths = workspace.paths
    problems = self_neighbour_problems(paths.merged("train"), paths.indices_dir)
    return problems_result(problems, "rows without neighbours or with themselves")

"""Retrieval quality on held-out questions: an asset of its own, since it needs both indices and the val table."""

from pathlib import Path

import dagster as dg

from r3pp_assets.conditions import ON_CHANGE
from r3pp_assets.defs.index.queries import MAX_QUERY_CHARS, resolved
from r3pp_assets.failures import user_errors
from r3pp_assets.inputs import ENCODERS, INDICES
from r3pp_assets.launchpad import refused_at_launch
from r3pp_assets.metadata import inline_png, materialization, problems_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core import code_versions
from r3pp_core.retrieval.config import QualityConfig
from r3pp_core.workspace import Workspace

KEY = dg.AssetKey(["index", "quality"])


@refused_at_launch()
class QualityAssetConfig(QualityConfig, dg.Config):
    """Which questions are asked, at which damage."""

    max_query_chars: int | None = MAX_QUERY_CHARS  # type: ignore[assignment]


@dg.asset(
    key=KEY,
    deps=[
        *INDICES,
        dg.AssetKey(["merged", "val"]),
        *ENCODERS,
    ],
    group_name="index",
    kinds={"faiss", "json"},
    owners=["team:models"],
    code_version=code_versions.QUALITY,
    automation_condition=ON_CHANGE,
)
def index_quality(
    context: dg.AssetExecutionContext, config: QualityAssetConfig, workspace: WorkspaceResource
) -> dg.MaterializeResult:
    """Do val questions, clean and damaged, find train pictures that state the same fact: by text, by picture, by both?
    With eight queries and their three best hits as a picture. Facts are known of the embedded sample only; elsewhere
    the damaged query's hits are compared with the clean one's."""
    from r3pp_core.retrieval.quality import measure_quality, read_quality

    with user_errors() as started:
        paths = workspace.paths
        out_dir = quality_dir(paths)
        manifest = measure_quality(
            paths.indices_dir,
            paths.model_dir("minilm"),
            paths.model_dir("clip"),
            paths.merged("val"),
            paths.image_root,
            out_dir,
            facts_file(workspace),
            resolved(QualityConfig, config, workspace),
            context.log.info,
        )
        results = read_quality(out_dir)
        numbers = {
            f"{kind}_{metric}_level_{level}": value
            for level, kinds in results["levels"].items()
            for kind, scores in kinds.items()
            for metric, value in scores.items()
            if metric in ("hit@3", "mrr@10", "agreement@3")
        }
        return materialization(
            context,
            manifest,
            out_dir,
            started,
            {
                "scores": dg.MetadataValue.json(results),
                "curve": inline_png((out_dir / "quality.png").read_bytes(), "facts found against damage"),
                **{
                    f"grid_{kind}": inline_png((out_dir / f"grid_{kind}.png").read_bytes(), f"queries and {kind} hits")
                    for kind in ("text", "image")
                },
                **numbers,
            },
        )


def quality_dir(paths: Workspace) -> Path:
    return paths.indices_dir / "quality"


def facts_file(workspace: WorkspaceResource) -> Path | None:
    """The sample's facts beside its source; None where nobody knows them."""
    folder = Path(workspace.source) if workspace.source else workspace.paths.source_dir
    path = folder / "facts.jsonl"
    return path if path.is_file() else None


@dg.asset_check(
    asset=KEY, description="Clean questions find a picture with their fact by text, twice as often as by chance."
)
def finds_facts(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.retrieval.quality import quality_problems, read_quality

    results = read_quality(quality_dir(workspace.paths))
    return problems_result(quality_problems(results), "kinds of query that do not find facts")

"""What training may rely on: no leak, no answerless row, the schema, pictures that exist, and no silent change."""

from typing import TYPE_CHECKING

import dagster as dg

from r3pp_assets.metadata import problems_result, rejected_result
from r3pp_assets.profiles import drift_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.ingest.reasons import Reason
from r3pp_core.workspace import Workspace

if TYPE_CHECKING:
    from r3pp_core.artefact import Manifest

TRAIN = dg.AssetKey(["merged", "train"])
MAX_REJECTED_SHARE = 0.05
MIN_ANSWER_IN_TEXT = 0.2


def leak_checks(split: str) -> list[dg.AssetChecksDefinition]:
    """Attached to train, since train is what may not be used when they fail."""

    @dg.asset_check(
        asset=TRAIN,
        additional_deps=[dg.AssetKey(["merged", split])],
        name=f"no_picture_shared_with_{split}",
        blocking=True,
        description=f"No picture of train is also a picture of {split}, by content hash.",
    )
    def shared(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import shared_pictures

        paths = workspace.paths
        return problems_result(
            shared_pictures(paths.merged("train"), paths.merged(split)), f"pictures shared with {split}"
        )

    @dg.asset_check(
        asset=TRAIN,
        additional_deps=[dg.AssetKey(["merged", split])],
        name=f"no_near_picture_shared_with_{split}",
        blocking=True,
        description=f"No train row asks a question of {split} about a nearly equal picture, by perceptual hash.",
    )
    def near(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import near_shared_pictures

        paths = workspace.paths
        found = near_shared_pictures(paths.merged("train"), paths.merged(split), list(DATASETS))
        return problems_result(found, f"rows about nearly a picture of {split}")

    return [shared, near]


@dg.asset_check(asset=TRAIN, blocking=True, description="Every train row has at least one reference answer.")
def no_answerless_row(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    from r3pp_core.ingest.checks import answerless_rows

    return problems_result(answerless_rows(workspace.paths.merged("train")), "train rows without an answer")


@dg.asset_check(
    asset=TRAIN, description="No train picture merely looks like one of val or test, and every one has been compared."
)
def no_picture_alike_in_evaluation(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    counts = manifest_of(workspace.paths, "train").counts
    problems = [
        f"{counts[name]} {what}"
        for name, what in (
            ("pictures_alike_in_evaluation", "train pictures look like one of val or test; their questions differ"),
            ("rows_without_phash", "train rows have no perceptual hash; run OCR, and they are compared"),
        )
        if counts[name]
    ]
    return problems_result(problems, "pictures to look at", dg.AssetCheckSeverity.WARN)


def merged_checks(split: str) -> list[dg.AssetChecksDefinition]:
    key = dg.AssetKey(["merged", split])

    @dg.asset_check(asset=key, name="schema", blocking=True, description="Every row has the unified schema.")
    def schema(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import unified_schema_problems

        table = workspace.paths.merged(split)
        return problems_result(unified_schema_problems([table]), "rows that break the unified schema")

    @dg.asset_check(asset=key, name="row_counts", blocking=True, description="Rows in are rows out and left out.")
    def row_counts(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import row_count_problems

        paths = workspace.paths
        return problems_result(
            row_count_problems(manifest_of(paths, split), [paths.merged(split)]), "counts that do not add up"
        )

    @dg.asset_check(asset=key, name="pictures_decode", blocking=True, description="Every picture exists and decodes.")
    def pictures_decode(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import picture_problems

        paths = workspace.paths
        return problems_result(
            picture_problems([paths.merged(split)], paths.image_root, "image_path"), "pictures that cannot be opened"
        )

    @dg.asset_check(
        asset=key, name="left_out_share", description="At most 5 % were left out, hidden test answers not counted."
    )
    def left_out_share(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        where = str(workspace.paths.unified_dir / f"{split}.rejected.jsonl")
        manifest = manifest_of(workspace.paths, split)
        return rejected_result(manifest, MAX_REJECTED_SHARE, where, ignored=[Reason.ANSWER_MISSING])

    @dg.asset_check(
        asset=key,
        name="answer_coverage",
        description="Of the answers in words and numbers at least a fifth stand in their picture's text.",
    )
    def answer_coverage(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.profile import table_profile

        share = table_profile(workspace.paths.merged(split)).answer_in_text
        return dg.AssetCheckResult(
            passed=share >= MIN_ANSWER_IN_TEXT,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"answer_in_text": share, "limit": MIN_ANSWER_IN_TEXT},
            description=f"{share:.1%} of the answers stand in their picture's text (at least {MIN_ANSWER_IN_TEXT:.0%})",
        )

    @dg.asset_check(
        asset=key,
        name="distributions_stable",
        description="Question lengths, answer types and data sets are as at the last materialization, within 10 %.",
    )
    def distributions_stable(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return drift_result(context.instance, key)

    return [schema, row_counts, pictures_decode, left_out_share, answer_coverage, distributions_stable]


def manifest_of(paths: Workspace, split: str) -> "Manifest":
    from r3pp_core.artefact import require_manifest
    from r3pp_core.ingest.merge import merged_target

    return require_manifest(merged_target(paths.unified_dir, split), "r3pp merge")


all_checks = [
    *(check for split in ("val", "test") for check in leak_checks(split)),
    no_answerless_row,
    no_picture_alike_in_evaluation,
    *(check for split in ("train", "val", "test") for check in merged_checks(split)),
]

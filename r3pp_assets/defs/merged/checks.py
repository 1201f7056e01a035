"""What training may rely on: no leak, no answerless row, the schema, and pictures that exist."""

import dagster as dg

from r3pp_assets.metadata import problems_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.ingest.checks import answerless_rows, picture_problems, shared_pictures, unified_schema_problems

TRAIN = dg.AssetKey(["merged", "train"])


def no_shared_pictures(split: str) -> dg.AssetChecksDefinition:
    """Attached to train, since train is what may not be used when it fails."""

    @dg.asset_check(
        asset=TRAIN,
        additional_deps=[dg.AssetKey(["merged", split])],
        name=f"no_picture_shared_with_{split}",
        blocking=True,
        description=f"No picture of train is also a picture of {split}, by content hash.",
    )
    def check(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        paths = workspace.paths
        return problems_result(
            shared_pictures(paths.merged("train"), paths.merged(split)), f"pictures shared with {split}"
        )

    return check


@dg.asset_check(asset=TRAIN, blocking=True, description="Every train row has at least one reference answer.")
def no_answerless_row(workspace: WorkspaceResource) -> dg.AssetCheckResult:
    return problems_result(answerless_rows(workspace.paths.merged("train")), "train rows without an answer")


def merged_check(split: str) -> list[dg.AssetChecksDefinition]:
    key = dg.AssetKey(["merged", split])

    @dg.asset_check(asset=key, name="schema", blocking=True, description="Every row has the unified schema.")
    def schema(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        table = workspace.paths.merged(split)
        return problems_result(unified_schema_problems([table]), "rows that break the unified schema")

    @dg.asset_check(asset=key, name="pictures_decode", blocking=True, description="Every picture exists and decodes.")
    def pictures_decode(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        paths = workspace.paths
        return problems_result(
            picture_problems([paths.merged(split)], paths.image_root, "image_path"), "pictures that cannot be opened"
        )

    return [schema, pictures_decode]


all_checks = [
    no_shared_pictures("val"),
    no_shared_pictures("test"),
    no_answerless_row,
    *(check for split in ("train", "val", "test") for check in merged_check(split)),
]

"""OCR opened nearly every picture, found text in most, and met none that training would have to leave out."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from r3pp_assets.metadata import problems_result, rejected_result
from r3pp_assets.resources.workspace import WorkspaceResource
from r3pp_core.datasets.registry import DATASETS

if TYPE_CHECKING:
    from r3pp_core.artefact import Manifest

MAX_REJECTED_SHARE = 0.01
MAX_SHARE_WITHOUT_TEXT = 0.2


def ocr_checks(dataset: str) -> list[dg.AssetChecksDefinition]:
    key = dg.AssetKey(["ocr", dataset])

    @dg.asset_check(asset=key, name="row_counts", blocking=True, description="As many lines as the manifest says.")
    def row_counts(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import row_count_problems
        from r3pp_core.ingest.ocr import ocr_path

        folder = workspace.paths.raw_dir(dataset)
        manifest = manifest_of(folder, dataset)
        return problems_result(row_count_problems(manifest, [ocr_path(folder)]), "counts that do not add up")

    @dg.asset_check(asset=key, name="rejected_share", description="At most 1 % of the pictures could not be opened.")
    def rejected_share(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.ocr import REJECTED

        folder = workspace.paths.raw_dir(dataset)
        manifest = manifest_of(folder, dataset)
        return rejected_result(manifest, MAX_REJECTED_SHARE, str(folder / REJECTED))

    @dg.asset_check(asset=key, name="text_found", description="At most a fifth of the pictures are without text.")
    def text_found(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        manifest = manifest_of(workspace.paths.raw_dir(dataset), dataset)
        share = manifest.counts["pictures_without_text"] / max(1, manifest.counts["rows"])
        return dg.AssetCheckResult(
            passed=share <= MAX_SHARE_WITHOUT_TEXT,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"share_without_text": share, "limit": MAX_SHARE_WITHOUT_TEXT},
            description=f"{share:.1%} of the pictures are without text (limit {MAX_SHARE_WITHOUT_TEXT:.0%})",
        )

    @dg.asset_check(
        asset=key, name="picture_sizes", description="No picture is too large, or too narrow for the image processor."
    )
    def picture_sizes(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.ingest.checks import picture_size_problems
        from r3pp_core.ingest.ocr import ocr_path

        problems = picture_size_problems(ocr_path(workspace.paths.raw_dir(dataset)))
        return problems_result(problems, "pictures beyond the limits", dg.AssetCheckSeverity.WARN)

    return [row_counts, rejected_share, text_found, picture_sizes]


def manifest_of(folder: Path, dataset: str) -> "Manifest":
    from r3pp_core.artefact import require_manifest
    from r3pp_core.ingest.ocr import ocr_target

    return require_manifest(ocr_target(folder), f"r3pp ocr --dataset {dataset}")


all_checks = [check for dataset in DATASETS for check in ocr_checks(dataset)]

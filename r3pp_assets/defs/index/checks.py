"""What evidence may rely on: each picture once, under its own vector, sound and found, nothing of evaluation."""

import dagster as dg

from r3pp_assets.defs.index.assets import ENCODER_OF
from r3pp_assets.inputs import ASKED_OF
from r3pp_assets.metadata import problems_result
from r3pp_assets.resources.workspace import WorkspaceResource

MIN_RECALL = 0.9
NUM_ENCODED_AGAIN = 16


def index_checks(kind: str) -> list[dg.AssetChecksDefinition]:
    key = dg.AssetKey(["index", kind])

    @dg.asset_check(
        asset=key, name="one_entry_per_picture", blocking=True, description="As many entries as unique train pictures."
    )
    def one_entry_per_picture(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.retrieval import checks
        from r3pp_core.retrieval.search import Index

        index = Index.load(workspace.paths.indices_dir / kind)
        problems = checks.count_problems(index.image_sha256s, workspace.paths.merged("train"))
        return problems_result(problems, "pictures missing, repeated or unknown")

    @dg.asset_check(asset=key, name="unit_vectors", blocking=True, description="Vectors are finite and of length one.")
    def unit_vectors(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        import numpy as np

        from r3pp_core.retrieval import checks

        vectors = np.load(workspace.paths.indices_dir / kind / "vectors.npy", mmap_mode="r")
        return problems_result(checks.vector_problems(vectors), "vectors that are not unit vectors")

    @dg.asset_check(
        asset=key,
        additional_deps=ASKED_OF,
        name="no_evaluation_picture",
        blocking=True,
        description="No picture of val or test is in the index.",
    )
    def no_evaluation_picture(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.retrieval import checks
        from r3pp_core.retrieval.search import Index

        paths = workspace.paths
        index = Index.load(paths.indices_dir / kind)
        problems = checks.leak_problems(index.image_sha256s, [paths.merged("val"), paths.merged("test")])
        return problems_result(problems, "evaluation pictures in the index")

    @dg.asset_check(
        asset=key, name="ids_aligned", blocking=True, description="A sample encoded again has its stored vectors."
    )
    def ids_aligned(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.retrieval import checks
        from r3pp_core.retrieval.encoders import load_image_encoder, load_text_encoder
        from r3pp_core.retrieval.search import Index

        paths = workspace.paths
        load = load_image_encoder if kind == "image" else load_text_encoder
        index, encoder = Index.load(paths.indices_dir / kind), load(paths.model_dir(ENCODER_OF[kind]))
        problems = checks.reencoding_problems(index, paths.image_root, encoder, NUM_ENCODED_AGAIN)
        return problems_result(problems, "entries with another picture's vector")

    @dg.asset_check(
        asset=key,
        name="recall_above_bound",
        blocking=True,
        description=f"Recall@10 against exact search is at least {MIN_RECALL}.",
    )
    def recall_above_bound(workspace: WorkspaceResource) -> dg.AssetCheckResult:
        from r3pp_core.retrieval import checks
        from r3pp_core.retrieval.search import Index

        index = Index.load(workspace.paths.indices_dir / kind)
        return problems_result(checks.recall_problems(index, MIN_RECALL), "neighbours that are not found")

    return [one_entry_per_picture, unit_vectors, no_evaluation_picture, ids_aligned, recall_above_bound]


all_checks = [check for kind in ENCODER_OF for check in index_checks(kind)]

"""InfographicVQA: questions about infographics (Mathew et al. 2022, arXiv 2104.12756).

Train and validation come from different mirrors of the same pictures; the test answers are hidden.
"""

from r3pp_core.datasets.spec import DatasetSpec, HubSource

# No commit of this mirror could be verified, so it is the one source that follows the branch.
TRAIN_REPO, TRAIN_REVISION = "vidore/infovqa_train", "main"
EVALUATION_REPO, EVALUATION_REVISION = "lmms-lab/DocVQA", "539088ef8a8ada01ac8e2e6d4e372586748a265e"

SPEC = DatasetSpec(
    name="infovqa",
    title="InfoVQA (infographics)",
    sources={
        "train": HubSource(TRAIN_REPO, TRAIN_REVISION, "data", "train"),
        "val": HubSource(EVALUATION_REPO, EVALUATION_REVISION, "InfographicVQA", "validation"),
        "test": HubSource(EVALUATION_REPO, EVALUATION_REVISION, "InfographicVQA", "test"),
    },
    question=("question", "query"),
    answers=("answers", "answer"),
    metric="anls",
    prompt="Answer the question using a single word or phrase.",
    meta={"question_id": ("questionId",), "answer_type": ("answer_type",)},
)

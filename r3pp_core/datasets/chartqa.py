"""ChartQA: questions about charts (Masry et al. 2022, arXiv 2203.10244)."""

from r3pp_core.datasets.spec import DatasetSpec, HubSource

REPO = "HuggingFaceM4/ChartQA"
REVISION = "b605b6e08b57faf4359aeb2fe6a3ca595f99b6c5"

SPEC = DatasetSpec(
    name="chartqa",
    title="ChartQA (charts)",
    sources={
        "train": HubSource(REPO, REVISION, "data", "train"),
        "val": HubSource(REPO, REVISION, "data", "val"),
        "test": HubSource(REPO, REVISION, "data", "test"),
    },
    question=("query", "question"),
    answers=("label", "answers", "answer"),
    metric="relaxed_accuracy",
    prompt="Answer the question using a single word or phrase.",
    meta={"human_or_machine": ("human_or_machine",)},
)

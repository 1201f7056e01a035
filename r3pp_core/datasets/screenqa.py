"""ScreenQA-Short: questions about RICO phone screens (Hsiao et al. 2022, arXiv 2209.08199)."""

from r3pp_core.datasets.spec import DatasetSpec, HubSource

REPO = "rootsautomation/RICO-ScreenQA-Short"
REVISION = "d432b8e9e191447b4d04d99e2740838d7319dac5"

SPEC = DatasetSpec(
    name="screenqa",
    title="ScreenQA (phone screens)",
    sources={
        "train": HubSource(REPO, REVISION, "data", "train"),
        "val": HubSource(REPO, REVISION, "data", "validation"),
        "test": HubSource(REPO, REVISION, "data", "test"),
    },
    question=("question",),
    answers=("ground_truth", "answers"),
    metric="squad_f1",
    prompt="Answer with a single word or phrase from the screen, or <no answer>.",
    meta={"screen_id": ("screen_id",), "file_name": ("file_name",)},
)

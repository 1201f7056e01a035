"""The profiles: the same code with other sources, names and sizes."""

from dataclasses import dataclass

from r3pp_core.errors import UsageError
from r3pp_core.model.config import PARTS


@dataclass(frozen=True)
class HubModel:
    """A model repository on the Hub at a revision."""

    repo: str
    revision: str
    num_bytes: int


# The commit that added safetensors: on the main branch (3d74acf9) the weights are pickled alone.
CLIP = HubModel("openai/clip-vit-base-patch32", "c237dc49a33fc61debc9276459120b7eac67e7ef", 605_000_000)
MINILM = HubModel("sentence-transformers/all-MiniLM-L6-v2", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf", 91_000_000)
QWEN3_VL_8B = HubModel("Qwen/Qwen3-VL-8B-Instruct", "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b", 17_500_000_000)


@dataclass(frozen=True)
class Profile:
    """`hub_models` is None where the models that come with the package stand in for the real ones.

    `ablated_parts`: without which parts, each by itself, evaluations also ask the trained model. `heading` says above
    every score what it does not prove.
    """

    name: str
    hub_models: dict[str, HubModel] | None
    recipe: str
    rows_per_dataset: int
    ablation_levels: list[float]
    ablated_parts: tuple[str, ...]
    max_new_tokens: int
    heading: str | None


SAMPLE_HEADING = (
    "embedded sample: drawn so that other pictures hold the evidence; "
    "on the real sets the gain is not proven until you run it"
)
SOURCE_HEADING = (
    "your own pictures, but a small backbone that knows only drawn ones: this shows that all runs, not what R3 can do"
)
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("sample", None, "sample", 300, [0.8], ("words",), 8, SAMPLE_HEADING),
        Profile(
            "smoke",
            None,
            "smoke",
            12,
            [0.8],
            ("words",),
            8,
            "smoke test: a few steps and rows, so that the scores say nothing",
        ),
        Profile(
            "full",
            {"clip": CLIP, "minilm": MINILM, "backbone": QWEN3_VL_8B},
            "qwen3vl_8b_lora",
            500,
            [0.0, 0.8],
            PARTS,
            32,
            None,
        ),
    )
}
DRAWN = [profile.name for profile in PROFILES.values() if profile.hub_models is None]


def profile_named(name: str) -> Profile:
    if name not in PROFILES:
        raise UsageError(f"unknown profile {name!r} (R3PP_PROFILE): choose one of {', '.join(PROFILES)}")
    return PROFILES[name]

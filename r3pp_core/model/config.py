"""What the model is made of, what its prompt holds, how its losses weigh, and the arms of an evaluation."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from r3pp_core.datasets.registry import DATASETS

FROZEN = ConfigDict(frozen=True, extra="forbid")


class PromptConfig(BaseModel):
    """How much text from data enters a prompt, and what the model is told."""

    model_config = FROZEN

    max_ocr_chars: int = Field(default=2000, ge=0, description="characters of the picture's own OCR text")
    max_context_chars: int = Field(default=1000, ge=0, description="characters of retrieved text, over all hits")
    system: str | None = Field(default=None, description="the system turn; empty: the project's own")
    instructions: dict[str, str] = Field(
        default={}, description="by data set, the instruction in the place of its own, as a JSON object"
    )

    @field_validator("instructions")
    @classmethod
    def _are_of_known_datasets(cls, instructions: dict[str, str]) -> dict[str, str]:
        if unknown := instructions.keys() - DATASETS.keys():
            raise ValueError(f"unknown data set {min(unknown)!r}: choose from {', '.join(DATASETS)}")
        return instructions


class R3Config(BaseModel):
    """Sizes and switches of the modules, and how the backbone is adapted.

    `text_dim` and `image_dim` are those of the encoders; the backbone's hidden size is read from the backbone.
    """

    model_config = FROZEN

    text_dim: int = Field(default=384, ge=1, description="length of a text embedding")
    image_dim: int = Field(default=512, ge=1, description="length of an image embedding")
    bottleneck: int = Field(default=512, ge=1, description="width b of every module")
    k: int = Field(default=3, ge=1, description="hits per index")
    max_query_chars: int = Field(default=1000, ge=1, description="text queries (question, picture text) are cut here")
    min_score: float | None = Field(default=None, description="hits that score lower are dropped; empty: none")
    num_text_tokens: int = Field(default=8, ge=1, description="soft tokens of PrefixEnhancer")
    num_image_tokens: int = Field(default=4, ge=1, description="soft tokens of VisualMemory")
    num_latent_tokens: int = Field(default=4, ge=1, description="soft tokens of LatentImputation")
    use_words: bool = Field(default=True, description="text evidence as words in the prompt")
    words_below: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="words only where the picture's own text is trusted (c_text) less than this; empty: always",
    )
    tokens_from: float = Field(
        default=0.0, ge=0, le=1, description="a group of soft tokens is masked where its weight is below this"
    )
    use_prefix: bool = Field(default=True, description="text evidence as soft tokens")
    use_visual_memory: bool = Field(default=True, description="image evidence as soft tokens")
    use_latents: bool = Field(default=True, description="learned tokens where the picture is not to be trusted")
    use_aligner: bool = Field(default=True, description="one space for text and image evidence")
    use_gate: bool = Field(default=True, description="learned trust in evidence; off: evidence at full weight")
    use_confidence: bool = Field(default=True, description="predicted c_vis and c_text; off: neither is known")
    use_router: bool = Field(default=False, description="learned strength of all soft tokens together")
    adapter: Literal["none", "lora", "full"] = Field(default="lora", description="how the backbone itself is trained")
    lora_r: int = Field(default=16, ge=1)
    lora_alpha: int = Field(default=32, ge=1)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)
    lora_targets: list[str] = Field(default=["v_proj", "o_proj"], description="in the language model's attention")
    max_pixels: int = Field(default=1_048_576, ge=32 * 32, description="pictures are shrunk to this, in shape")
    prompt: PromptConfig = PromptConfig()

    @property
    def num_soft_tokens(self) -> int:
        """K: the placeholders in every prompt."""
        return (
            self.use_prefix * self.num_text_tokens
            + self.use_visual_memory * self.num_image_tokens
            + self.use_latents * self.num_latent_tokens
        )

    @classmethod
    def bare(cls, **fields: object) -> "R3Config":
        """The backbone alone: no module, no adapter. The base arm of an evaluation."""
        return cls(adapter="none", **ALL_OFF, **fields)

    @property
    def uses_evidence(self) -> bool:
        return self.use_words or self.use_prefix or self.use_visual_memory

    @property
    def is_control(self) -> bool:
        """Neither evidence nor soft tokens, as the control of a proof that they help."""
        return not self.uses_evidence and not self.use_latents


# What an arm can switch off in a trained model. The aligner speaks to the gate alone, and the router is off by default.
PARTS = ("words", "prefix", "visual_memory", "latents", "gate", "confidence")
ALL_OFF = {f"use_{name}": False for name in (*PARTS, "aligner")}


class LossWeights(BaseModel):
    """Weights beside the answer's cross-entropy (METHOD 6)."""

    model_config = FROZEN

    kl: float = Field(default=0.5, ge=0, description="KL from the teacher, who sees the clean row; 0: no teacher")
    conf: float = Field(default=0.1, ge=0, description="gate and confidence head against the simulator's truth")
    entropy: float = Field(default=0.01, ge=0, description="minus the gate's entropy")
    align: float = Field(default=0.05, ge=0, description="InfoNCE between text and image evidence")
    router: float = Field(default=0.1, ge=0, description="router against the simulator's truth, where it is on")


@dataclass(frozen=True)
class Arm:
    """Which inputs the model gets. Taking out text or image evidence takes out its words and its soft tokens.

    `control`: other evidence in the place of what was retrieved (see r3pp_core.evaluation.controls). `off`: parts of
    the trained model that are switched off, by the names of the config's `use_` switches.
    """

    ocr_text: bool = True
    text_evidence: bool = True
    image_evidence: bool = True
    soft_tokens: bool = True
    control: Literal["shuffled", "oracle"] | None = None
    off: frozenset[str] = frozenset()


ARMS: dict[str, Arm] = {
    "base": Arm(ocr_text=False, text_evidence=False, image_evidence=False, soft_tokens=False),
    "base_ocr": Arm(text_evidence=False, image_evidence=False, soft_tokens=False),
    "control": Arm(text_evidence=False, image_evidence=False, soft_tokens=False),
    "r3": Arm(),
    "r3-no_text_evidence": Arm(text_evidence=False),
    "r3-no_image_evidence": Arm(image_evidence=False),
    "r3-no_soft_tokens": Arm(soft_tokens=False),
    "r3-no_evidence": Arm(text_evidence=False, image_evidence=False),
    **{f"r3-no_{part}": Arm(off=frozenset([part])) for part in PARTS},
    "r3-shuffled_evidence": Arm(control="shuffled"),
    "r3-oracle_evidence": Arm(control="oracle"),
}
BASE_ARMS, CONTROL_ARMS = ("base", "base_ocr"), ("control",)
R3_ARMS = tuple(arm for arm in ARMS if arm not in (*BASE_ARMS, *CONTROL_ARMS))

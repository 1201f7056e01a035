"""What the model is made of, what its prompt holds, how its losses weigh, and the arms of an evaluation."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FROZEN = ConfigDict(frozen=True, extra="forbid")


class PromptConfig(BaseModel):
    """How much text from data enters a prompt."""

    model_config = FROZEN

    max_ocr_chars: int = Field(2000, ge=0, description="characters of the picture's own OCR text")
    max_context_chars: int = Field(1000, ge=0, description="characters of retrieved text, over all hits")


class R3Config(BaseModel):
    """Sizes and switches of the modules, and how the backbone is adapted.

    `text_dim` and `image_dim` are those of the encoders; the backbone's hidden size is read from the backbone.
    """

    model_config = FROZEN

    text_dim: int = Field(384, ge=1, description="length of a text embedding")
    image_dim: int = Field(512, ge=1, description="length of an image embedding")
    bottleneck: int = Field(512, ge=1, description="width b of every module")
    k: int = Field(3, ge=1, description="hits per index")
    num_text_tokens: int = Field(8, ge=1, description="soft tokens of PrefixEnhancer")
    num_image_tokens: int = Field(4, ge=1, description="soft tokens of VisualMemory")
    num_latent_tokens: int = Field(4, ge=1, description="soft tokens of LatentImputation")
    use_prefix: bool = Field(True, description="text evidence as soft tokens")
    use_visual_memory: bool = Field(True, description="image evidence as soft tokens")
    use_latents: bool = Field(True, description="learned tokens where the picture is not to be trusted")
    use_aligner: bool = Field(True, description="one space for text and image evidence")
    use_gate: bool = Field(True, description="learned trust in evidence; off: evidence at full weight")
    use_confidence: bool = Field(True, description="predicted c_vis and c_text; off: neither is known")
    adapter: Literal["none", "lora", "full"] = Field("lora", description="how the backbone itself is trained")
    lora_r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    lora_targets: list[str] = Field(["v_proj", "o_proj"], description="attention projections of the language model")
    max_pixels: int = Field(1_048_576, ge=32 * 32, description="pictures are shrunk to this, keeping their shape")
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
        switches = ("prefix", "visual_memory", "latents", "aligner", "gate", "confidence")
        return cls(adapter="none", **{f"use_{name}": False for name in switches}, **fields)  # type: ignore[arg-type]


class LossWeights(BaseModel):
    """Weights beside the answer's cross-entropy (METHOD 6)."""

    model_config = FROZEN

    conf: float = Field(0.1, ge=0, description="gate and confidence head against the simulator's truth")
    entropy: float = Field(0.01, ge=0, description="minus the gate's entropy")
    align: float = Field(0.05, ge=0, description="InfoNCE between text and image evidence")


@dataclass(frozen=True)
class Arm:
    """Which inputs the model gets. Taking out text or image evidence takes out its words and its soft tokens."""

    ocr_text: bool = True
    text_evidence: bool = True
    image_evidence: bool = True
    soft_tokens: bool = True


ARMS: dict[str, Arm] = {
    "base": Arm(ocr_text=False, text_evidence=False, image_evidence=False, soft_tokens=False),
    "base_ocr": Arm(text_evidence=False, image_evidence=False, soft_tokens=False),
    "r3": Arm(),
    "r3_no_text_evidence": Arm(text_evidence=False),
    "r3_no_image_evidence": Arm(image_evidence=False),
    "r3_no_soft_tokens": Arm(soft_tokens=False),
}

"""What is evaluated: which arms at which damage levels, on how many rows."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from r3pp_core.corruption.levels import LEVELS, require_levels


class SweepConfig(BaseModel):
    """What holds of every sweep, whatever is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    levels: list[float] = Field(LEVELS, min_length=1, description="damage levels in 0..1")
    damage: Literal["image", "text", "both", "question"] = Field(
        "both", description="what is damaged: the picture with its text, the text alone, both, or the question alone"
    )
    batch_size: int = Field(32, ge=1, description="rows generated together")
    shard_rows: int = Field(64, ge=1, description="rows that a rank answers at a time, kept when it is interrupted")
    seed: int = Field(0, ge=0, description="seed of row choice, damage and intervals")
    unanswered: bool = Field(
        False, description="rows without a reference too: predictions and a submission file, no score"
    )
    text_overlap: bool = Field(False, description="BLEU and ROUGE-L besides (needs the extra overlap)")

    @field_validator("levels", "ablation_levels", check_fields=False)
    @classmethod
    def _in_range(cls, levels: list[float] | None) -> list[float] | None:
        require_levels(levels or ())
        return levels


class EvaluateConfig(SweepConfig):
    """A robustness sweep. An arm is a way to ask the model (see r3pp_core.model.config.ARMS)."""

    arms: list[str] = Field(["r3"], min_length=1, description="evaluated at every level")
    ablations: list[str] = Field([], description="arms evaluated at ablation_levels only")
    ablation_levels: list[float] = Field([0.0, 0.8], description="levels of the ablations, in 0..1")
    rows_per_dataset: int | None = Field(
        500, ge=1, description="rows a data set, stratified by picture; none: all rows"
    )
    max_new_tokens: int = Field(32, ge=1, description="longest answer")

    def arms_at(self, level: float) -> list[str]:
        """Each arm once, however often it is named."""
        arms = [
            *(self.arms if level in self.levels else []),
            *(self.ablations if level in self.ablation_levels else []),
        ]
        return list(dict.fromkeys(arms))

    @property
    def all_levels(self) -> list[float]:
        return sorted({*self.levels, *(self.ablation_levels if self.ablations else [])})

    @property
    def pairs(self) -> frozenset[tuple[str, float]]:
        """Each arm with each level that it is asked at."""
        return frozenset((arm, level) for level in self.all_levels for arm in self.arms_at(level))

"""The level of corruption as a function of the training step, and of a row within it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from r3pp_core.errors import UsageError


class CurriculumConfig(BaseModel):
    """How the level grows. Before `warmup_steps` it is 0 for linear and cyclic: the model first sees clean rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["linear", "cyclic", "constant"] = Field(
        default="linear", description="shape of the level over the steps"
    )
    max_level: float = Field(default=0.8, ge=0, le=1, description="the highest level, 0 to 1")
    warmup_steps: int = Field(default=1000, ge=0, description="steps at level 0 (linear and cyclic)")
    total_steps: int = Field(default=10000, ge=1, description="the step at which linear reaches max_level")
    num_cycles: int = Field(default=4, ge=1, description="rises and falls between warm-up and total_steps (cyclic)")
    spread_rows: bool = Field(
        default=False, description="each row at a level of its own, drawn evenly from 0 to the step's"
    )
    clean_share: float = Field(default=0.0, ge=0, le=1, description="share of the rows that stay undamaged")


def level_at(step: int, config: CurriculumConfig) -> float:
    """The level in [0, max_level] at `step`, counted from 0. With p = (step - warmup) / (total - warmup):

    linear: 0 up to the warm-up, max_level x p, max_level from total_steps on; never falls.
    cyclic: 0 up to the warm-up, then triangles 0, max_level, 0 of equal length, num_cycles until total_steps and
        on in the same rhythm.
    constant: max_level at every step.

    Raises UsageError for a negative step, and where the warm-up leaves no step before total_steps.
    """
    if step < 0:
        raise UsageError(f"step {step} is negative; steps are counted from 0")
    if config.kind == "constant":
        return config.max_level
    if config.warmup_steps >= config.total_steps:
        raise UsageError(
            f"warmup_steps {config.warmup_steps} must be below total_steps {config.total_steps}; "
            "shorten the warm-up or choose the constant curriculum"
        )
    progress = max(0.0, (step - config.warmup_steps) / (config.total_steps - config.warmup_steps))
    if config.kind == "linear":
        return config.max_level * min(1.0, progress)
    phase = progress * config.num_cycles % 1.0
    return config.max_level * (1 - abs(2 * phase - 1))


def row_level(step: int, config: CurriculumConfig, seed: int, row_id: str, visit: int) -> float:
    """The level of one row at `step`: that of the step, or with `spread_rows` and `clean_share` one drawn up to it.

    The draws depend on (seed, row_id, visit) alone, so that a row keeps its place among the levels on every resume.
    """
    from r3pp_core.corruption.draws import generator

    level = level_at(step, config)
    clean, share = generator(seed, row_id, visit, "level").random(2)
    if clean < config.clean_share:
        return 0.0
    return level * float(share) if config.spread_rows else level

"""How large the embedded sample is, and from which seed it is drawn."""

from pydantic import BaseModel, ConfigDict, Field


class SampleConfig(BaseModel):
    """Counts are pictures over all three splits; at least 6 a kind, so that each split gets one.

    The promised numbers of questions (docs/sample.md) hold at the default counts; fewer pictures ask fewer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0)
    num_screens: int = Field(default=108, ge=6)
    num_charts: int = Field(default=88, ge=6)
    num_infographics: int = Field(default=66, ge=6)

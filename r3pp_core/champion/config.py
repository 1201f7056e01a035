"""What the gate asks for."""

from pydantic import BaseModel, ConfigDict, Field


class GateConfig(BaseModel):
    """What a candidate has to show. Scores are 0..1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_rows: int = Field(100, ge=1, description="rows that every score must stand on")
    min_pictures: int = Field(30, ge=1, description="pictures that these rows must be about: intervals draw pictures")
    clean_margin: float = Field(
        0.02, ge=0, description="the clean score may be below the base by less than this (lower bound, each data set)"
    )
    min_robustness_gain: float = Field(
        0.0, description="by more than this the area under the curve is above the base (lower bound, mean of data sets)"
    )
    champion_margin: float = Field(
        0.02, ge=0, description="clean score and area may be below the champion by less than this (each data set)"
    )

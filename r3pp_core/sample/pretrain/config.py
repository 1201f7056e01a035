"""How the small backbone is pre-trained."""

from typing import Literal

from pydantic import BaseModel, Field

from r3pp_core.model.config import FROZEN


class PretrainConfig(BaseModel):
    """Defaults are the recipe that the packaged weights were made with (docs/experiments.md)."""

    model_config = FROZEN

    seed: int = Field(default=1, ge=0, description="of first weights, of pages and of their order")
    num_groups: int = Field(default=600, ge=5, description="drawn groups of twelve pages; the last four are held out")
    list_steps: int = Field(default=1000, ge=0, description="steps of lists in prompts, before any page")
    lookup_steps: int = Field(default=4000, ge=0, description="the first of `steps`: names and values of text alone")
    steps: int = Field(default=22_000, ge=0, description="steps over pages")
    pages: int = Field(default=4, ge=1, description="pages a step; each is asked up to 24 questions at once")
    modes: tuple[Literal["text", "look", "both", "evidence"], ...] = Field(
        default=("text", "evidence", "both", "look"), description="what is shown after those, step after step in turn"
    )
    lr: float = Field(default=6e-4, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.05, ge=0, description="on matrices only")
    hold: float = Field(default=0.55, gt=0, le=1, description="share of the steps before the learning rate falls")
    save_every: int = Field(default=500, ge=1, description="steps between checkpoints")
    eval_every: int = Field(default=2000, ge=1, description="steps between looks at held-out pages")
    num_threads: int = Field(default=2, ge=1, description="threads of the model; another process prepares pages")

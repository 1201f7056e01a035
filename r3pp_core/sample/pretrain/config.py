"""How the small backbone and the small CLIP are pre-trained. Defaults are the newest recipes; the cards of the
packaged weights say which one made them (docs/experiments.md)."""

from typing import Literal

from pydantic import BaseModel, Field

from r3pp_core.model.config import FROZEN

NUM_GROUPS = 600  # drawn groups of twelve pages
NUM_HELD_OUT = 4  # of them, the last ones


class PretrainConfig(BaseModel):
    """The backbone."""

    model_config = FROZEN

    seed: int = Field(default=1, ge=0, description="of first weights, of pages and of their order")
    num_groups: int = Field(default=NUM_GROUPS, ge=NUM_HELD_OUT + 1, description="drawn groups of twelve pages")
    list_steps: int = Field(
        default=900, ge=0, description="steps of lists, a third of pictures of words, before any page"
    )
    lookup_steps: int = Field(
        default=2100, ge=0, description="the first of `steps`: names and values of text, and a sixth pictures of words"
    )
    steps: int = Field(default=8100, ge=0, description="steps over pages")
    naming_steps: int = Field(default=800, ge=0, description="steps of naming things in pictures, after the lookups")
    naming_pages: int = Field(default=32, ge=1, description="pages a step of naming")
    naming_lr: float = Field(default=1.5e-3, gt=0, description="peak learning rate of naming")
    naming_weight: float = Field(default=20.0, ge=0, description="of naming beside the questions about pages")
    pages: int = Field(default=4, ge=1, description="pages a step; each is asked up to 24 questions at once")
    look_pages: int = Field(default=8, ge=1, description="pages a step of `look` and `words`, whose context is short")
    modes: tuple[Literal["text", "look", "both", "evidence"], ...] = Field(
        default=("text", "evidence", "look", "both"),
        description="what is shown after the naming, step after step in turn",
    )
    lr: float = Field(default=6e-4, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.05, ge=0, description="on matrices only; in naming on all")
    hold: float = Field(default=0.55, gt=0, le=1, description="share of the steps before the learning rate falls")
    save_every: int = Field(default=500, ge=1, description="steps between checkpoints")
    eval_every: int = Field(default=1500, ge=1, description="steps between looks at held-out pages")
    num_threads: int = Field(default=2, ge=1, description="threads of the model; another process prepares pages")


class ClipConfig(BaseModel):
    """The CLIP."""

    model_config = FROZEN

    seed: int = Field(default=1, ge=0, description="of first weights, order and damage")
    num_groups: int = Field(default=NUM_GROUPS, ge=NUM_HELD_OUT + 1, description="drawn groups of twelve pages")
    steps: int = Field(default=1000, ge=1)
    pages: int = Field(default=96, ge=2, description="pages that are told apart in a step")
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate; a warm-up, then a cosine")
    num_threads: int = Field(default=2, ge=1)

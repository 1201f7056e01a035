"""Everything that decides a training run. Paths are strings, so that Dagster's launchpad shows the same fields."""

import importlib.util
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from r3pp_core.corruption.config import CorruptionConfig
from r3pp_core.corruption.curriculum import CurriculumConfig
from r3pp_core.errors import UsageError
from r3pp_core.model.config import FROZEN, LossWeights, R3Config

# What may differ between a checkpoint and the run that resumes from it.
FREE_ON_RESUME = frozenset(
    {"output_dir", "run", "image_root", "train_jsonl", "val_jsonl", "index_dir", "text_encoder_dir"}
    | {"image_encoder_dir", "model_name", "max_steps", "eval_every", "eval_rows", "save_every", "keep"}
    | {"num_workers", "lookahead", "resume", "init_from", "backend", "batch_size", "grad_accum", "num_threads"}
    | {"if_unfit"}
)


class TrainConfig(BaseModel):
    """One run. `lr` is for the R3 modules and, unless `lora_lr` says otherwise, for LoRA; `full_lr` for the
    backbone's own weights when those are trained."""

    model_config = FROZEN

    model_name: str = Field(default="Qwen/Qwen3-VL-8B-Instruct", description="backbone: a folder or a name on the Hub")
    revision: str | None = Field(default=None, description="revision of the backbone on the Hub")
    train_jsonl: str = Field(default="data/unified/train.jsonl", description="unified rows to train on")
    val_jsonl: str = Field(default="data/unified/val.jsonl", description="unified rows for the validation loss")
    image_root: str = Field(default="data/raw", description="the folder that image_path is relative to")
    index_dir: str | None = Field(default=None, description="folder of the text and image index; empty: no retrieval")
    text_encoder_dir: str | None = Field(default=None, description="text encoder (needed with index_dir)")
    image_encoder_dir: str | None = Field(default=None, description="image encoder (needed with index_dir)")
    evidence: Literal["both", "text", "image", "none"] = Field(
        default="both", description="which index's hits the model gets, as words and soft tokens"
    )
    init_from: str | None = Field(
        default=None, description="start from the trained weights of this checkpoint or run; empty: the backbone's own"
    )
    output_dir: str = Field(default="checkpoints", description="where step_<n> folders appear")
    run: str | None = Field(default=None, description="name of the run: a sub-folder of output_dir")
    backend: Literal["single", "fsdp", "deepspeed"] = Field(default="single", description="how processes share work")
    deepspeed_config: str | None = Field(
        default=None, description="DeepSpeed's own JSON (empty: the packaged configs/deepspeed_zero3.json)"
    )
    bf16: bool = Field(default=False, description="bfloat16 (served as float16 below compute capability 8.0)")
    fp16: bool = Field(default=False, description="backbone in float16, with a loss scaler")
    use_lora: bool = Field(default=False, description="train LoRA adapters; otherwise all weights of the backbone")
    batch_size: int = Field(default=1, ge=1, description="rows in a micro-batch")
    grad_accum: int = Field(default=8, ge=1, description="micro-batches in a step")
    lr: float = Field(
        default=1e-4, gt=0, le=1, description="peak learning rate of the R3 modules, and of LoRA where lora_lr is empty"
    )
    lora_lr: float | None = Field(default=None, gt=0, le=1, description="peak learning rate of LoRA; empty: lr")
    full_lr: float = Field(default=1e-5, gt=0, le=1, description="peak learning rate of the backbone's own weights")
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int = Field(default=100, ge=0, description="steps of linear warm-up, then cosine to max_steps")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    max_steps: int = Field(default=10_000, ge=1, description="optimizer steps")
    max_pixels: int = Field(default=1_048_576, ge=32 * 32, description="pictures are shrunk to this, in shape")
    max_length: int = Field(default=8192, ge=64, description="the longest prompt with its answer, in tokens")
    gradient_checkpointing: bool = Field(default=False, description="recompute activations: less memory, more time")
    mixing_alpha: float = Field(default=0.5, ge=0, le=1, description="data sets are drawn in proportion to count^alpha")
    eval_every: int = Field(default=500, ge=1, description="steps between validation losses")
    eval_rows: int = Field(default=64, ge=0, description="rows of a validation loss; 0: none")
    save_every: int = Field(default=500, ge=1, description="steps between checkpoints")
    keep: int = Field(default=3, ge=1, description="checkpoints that are kept, newest first")
    resume: Literal["auto", "match", "never"] = Field(
        default="auto",
        description="go on from the newest checkpoint; match: start anew if another config or data made it; never",
    )
    if_unfit: Literal["refuse", "warn"] = Field(
        default="refuse", description="what to do where the plan says that card or disk will not do"
    )
    seed: int = Field(default=0, ge=0, description="seed of everything that is drawn")
    num_workers: int = Field(default=4, ge=1, description="threads that open and damage pictures ahead of the step")
    num_threads: int | None = Field(default=None, ge=1, description="threads of torch on a CPU; empty: its choice")
    lookahead: int = Field(default=2, ge=1, description="steps that are prepared ahead")
    corruption: CorruptionConfig = CorruptionConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    r3: R3Config = Field(default=R3Config(), description="adapter, max_pixels and embedding sizes follow from the run")
    losses: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.bf16 and self.fp16:
            raise ValueError("choose one of bf16 and fp16")
        if self.evidence in ("text", "image") and not self.index_dir:
            raise ValueError(f"evidence {self.evidence!r} needs index_dir")
        if self.index_dir and not (self.text_encoder_dir and self.image_encoder_dir):
            raise ValueError("index_dir needs text_encoder_dir and image_encoder_dir")
        return self

    @property
    def run_dir(self) -> Path:
        return Path(self.output_dir) / self.run if self.run else Path(self.output_dir)

    def resolved_r3(self, text_dim: int | None, image_dim: int | None) -> R3Config:
        """The model's config as this run makes it: adapter and max_pixels from here, sizes from the encoders."""
        update: dict[str, Any] = {"adapter": "lora" if self.use_lora else "full", "max_pixels": self.max_pixels}
        if text_dim and image_dim:
            update |= {"text_dim": text_dim, "image_dim": image_dim}
        return self.r3.model_copy(update=update)


def require_supported(config: TrainConfig, world_size: int) -> None:
    """Raise UsageError for what the backend cannot honour, before anything is loaded."""
    if config.backend == "single" and world_size > 1:
        raise UsageError(
            f"backend 'single' is one process, but {world_size} were started; start it without torchrun, or share the "
            "work with --backend fsdp or deepspeed"
        )
    if config.backend == "deepspeed":
        from r3pp_core.training.backends.deepspeed_config import resolved

        if importlib.util.find_spec("deepspeed") is None:
            raise UsageError("backend 'deepspeed' needs the package of that name: pip install deepspeed")
        resolved(config, world_size)
    elif config.deepspeed_config:
        raise UsageError(f"--deepspeed_config is for --backend deepspeed, not {config.backend!r}; take one back")

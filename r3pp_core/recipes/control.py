"""The control of a recipe: what R3 has to be better than to have shown that evidence helps."""

import json
from collections.abc import Callable
from pathlib import Path

from r3pp_core.errors import R3Error
from r3pp_core.flags import changed_fields
from r3pp_core.model.config import ALL_OFF
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.training.config import FREE_ON_RESUME, TrainConfig

RUN = "control"
MAY_DIFFER = {"run", "evidence", "r3.text_dim", "r3.image_dim", *(f"r3.{name}" for name in ALL_OFF)} | (
    FREE_ON_RESUME - {"max_steps", "batch_size", "grad_accum", "init_from", "model_name"}
)


def control_name(recipe: str) -> str:
    """Under which a recipe's control is registered."""
    return f"{recipe}_control"


def control_of(recipe: Callable[[RunPaths], TrainConfig]) -> Callable[[RunPaths], TrainConfig]:
    """The same adapter, steps, rows, order and damage as `recipe`; but nothing is retrieved and no module is added."""

    def control(paths: RunPaths) -> TrainConfig:
        config = recipe(paths)
        nowhere = dict.fromkeys(("index_dir", "text_encoder_dir", "image_encoder_dir"))
        return config.model_copy(
            update={"run": RUN, "evidence": "none", "r3": config.r3.model_copy(update=ALL_OFF), **nowhere}
        )

    control.__doc__ = f"{recipe.__name__} without evidence and soft tokens: what R3's gain is measured against."
    return control


def trained_otherwise(model_dir: Path, control_dir: Path) -> str | None:
    """In what two exported models differ besides evidence and modules, so that one is not the other's control.

    None where they were trained alike. Both are what `r3pp export` wrote.
    """
    from r3pp_core.model.storage import read_description
    from r3pp_core.training.export import TRAINING_CONFIG

    try:
        made = [read_description(folder)["made_from"] for folder in (model_dir, control_dir)]
        configs = [json.loads((folder / TRAINING_CONFIG).read_text("utf-8")) for folder in (model_dir, control_dir)]
    except (R3Error, OSError, ValueError, KeyError) as error:
        return f"it cannot be told how both were trained ({error})"
    names = [name for name in ("train_jsonl", "backbone", "code") if made[0].get(name) != made[1].get(name)]
    names += [name for name in changed_fields(*configs) if name not in MAY_DIFFER]
    return f"it was trained with another {', '.join(names)}; materialize the group control again" if names else None

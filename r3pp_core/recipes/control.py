"""The control of a recipe: what R3 has to be better than to have shown that evidence helps."""

from collections.abc import Callable

from r3pp_core.model.config import ALL_OFF
from r3pp_core.recipes.paths import RunPaths
from r3pp_core.training.config import TrainConfig

RUN = "control"


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

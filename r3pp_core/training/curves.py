"""The loss over the steps as a small picture, from a run's metrics.jsonl."""

import io
from pathlib import Path

from r3pp_core.jsonl import read_jsonl


def loss_curve(metrics: Path) -> bytes | None:
    """A PNG of training and validation loss by step, or None before the first step. Later lines of a step count."""
    if not metrics.is_file():
        return None
    train: dict[int, float] = {}
    validation: dict[int, float] = {}
    for row in read_jsonl(metrics):
        if row.get("kind") == "step":
            train[row["step"]] = row["loss"]
        elif row.get("kind") == "validation":
            validation[row["step"]] = row["val_loss"]
    if not train:
        return None
    return _draw(train, validation)


def _draw(train: dict[int, float], validation: dict[int, float]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(*zip(*sorted(train.items()), strict=True), label="training", linewidth=1)
    if validation:
        axes.plot(*zip(*sorted(validation.items()), strict=True), "o-", label="validation", markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()

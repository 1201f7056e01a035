"""python -m r3pp_core.sample.pretrain --out_dir build/pretrain: make the sample's small backbone and CLIP again."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from r3pp_core.errors import R3Error
from r3pp_core.sample.pretrain.config import NUM_GROUPS, ClipConfig, PretrainConfig


class Model(StrEnum):
    """What to make."""

    BACKBONE = "backbone"
    CLIP = "clip"


def main(
    out_dir: Annotated[Path, typer.Option("--out_dir", help="where pages, states, logs and models go")],
    model: Annotated[list[Model], typer.Option(help="which to make; both by default")] = [*Model],  # noqa: B006
    seed: Annotated[int, typer.Option(help="of first weights, pages and their order")] = 1,
    steps: Annotated[int, typer.Option(help="steps of the backbone over pages")] = PretrainConfig().steps,
    clip_steps: Annotated[int, typer.Option("--clip_steps", help="steps of CLIP")] = ClipConfig().steps,
    num_groups: Annotated[int, typer.Option("--num_groups", help="groups of twelve pages to draw")] = NUM_GROUPS,
    num_threads: Annotated[int, typer.Option("--num_threads", help="of the model; pages are prepared beside it")] = (
        PretrainConfig().num_threads
    ),
    earlier: Annotated[Path | None, typer.Option(help="backbone/ of an earlier sitting, to go on from")] = None,
    max_steps: Annotated[int | None, typer.Option("--max_steps", help="end this sitting after that step")] = None,
    pack: Annotated[bool, typer.Option("--pack", help="put the results where the package carries them")] = False,
) -> None:
    """Pre-train the sample's small Qwen3-VL and CLIP; goes on where an earlier call stopped."""
    from r3pp_core.sample.packaged import pack as put_into_package
    from r3pp_core.sample.pretrain.card import backbone_card, clip_card
    from r3pp_core.sample.pretrain.clip import train_clip
    from r3pp_core.sample.pretrain.train import num_parameters, pretrain

    if pack and max_steps is not None and max_steps < steps:
        raise typer.BadParameter(f"--pack wants all {steps} steps, not --max_steps {max_steps}")
    out_dir.mkdir(parents=True, exist_ok=True)
    config = PretrainConfig(seed=seed, steps=steps, num_groups=num_groups, num_threads=num_threads)
    clip_config = ClipConfig(seed=seed, steps=clip_steps, num_groups=num_groups, num_threads=num_threads)
    if Model.BACKBONE in model:
        typer.echo(pretrain(out_dir, config, typer.echo, earlier=earlier, max_steps=max_steps))
        if pack:
            card = backbone_card(out_dir, config, num_parameters(out_dir / "backbone"))
            typer.echo(f"packed into {put_into_package(out_dir / 'backbone', 'backbone', card)}")
    if Model.CLIP in model:
        typer.echo(train_clip(out_dir, clip_config, typer.echo))
        if pack:
            card = clip_card(out_dir, clip_config, num_parameters(out_dir / "clip"))
            typer.echo(f"packed into {put_into_package(out_dir / 'clip', 'clip', card)}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except R3Error as error:
        sys.exit(f"error: {error}")

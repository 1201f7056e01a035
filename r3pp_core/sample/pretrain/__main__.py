"""python -m r3pp_core.sample.pretrain --out_dir build/pretrain: make the sample's small backbone again."""

from pathlib import Path
from typing import Annotated

import typer

from r3pp_core.sample.pretrain.config import PretrainConfig


def main(
    out_dir: Annotated[Path, typer.Option("--out_dir", help="where pages, state, log and backbone go")],
    seed: Annotated[int, typer.Option(help="of first weights, pages and their order")] = 1,
    steps: Annotated[int, typer.Option(help="steps over pages")] = PretrainConfig().steps,
    num_groups: Annotated[int, typer.Option("--num_groups", help="groups of twelve pages to draw")] = (
        PretrainConfig().num_groups
    ),
    num_threads: Annotated[int, typer.Option("--num_threads", help="of the model; pages are prepared beside it")] = (
        PretrainConfig().num_threads
    ),
    earlier: Annotated[Path | None, typer.Option(help="backbone/ of an earlier sitting, to go on from")] = None,
    max_steps: Annotated[int | None, typer.Option("--max_steps", help="end this sitting after that step")] = None,
    pack: Annotated[bool, typer.Option("--pack", help="put the result where the package carries it")] = False,
) -> None:
    """Pre-train the small Qwen3-VL of the sample; goes on where an earlier call stopped."""
    from r3pp_core.sample.packaged import pack as put_into_package
    from r3pp_core.sample.pretrain.card import backbone_card
    from r3pp_core.sample.pretrain.train import num_parameters, pretrain

    out_dir.mkdir(parents=True, exist_ok=True)
    config = PretrainConfig(seed=seed, steps=steps, num_groups=num_groups, num_threads=num_threads)
    typer.echo(pretrain(out_dir, config, typer.echo, earlier=earlier, max_steps=max_steps))
    if pack:
        backbone = out_dir / "backbone"
        card = backbone_card(out_dir, config, num_parameters(backbone))
        typer.echo(f"packed into {put_into_package(backbone, 'backbone', card)}")


if __name__ == "__main__":
    typer.run(main)

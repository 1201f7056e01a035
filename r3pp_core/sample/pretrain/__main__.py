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
) -> None:
    """Pre-train the small Qwen3-VL of the sample; goes on where an earlier call stopped."""
    from r3pp_core.sample.pretrain.train import pretrain

    out_dir.mkdir(parents=True, exist_ok=True)
    config = PretrainConfig(seed=seed, steps=steps, num_groups=num_groups)
    scores = pretrain(out_dir, config, typer.echo)
    typer.echo(scores)


if __name__ == "__main__":
    typer.run(main)

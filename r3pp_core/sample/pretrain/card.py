"""The model card of the packaged backbone, from the log of the run that made it."""

import json
from pathlib import Path
from typing import Any

from r3pp_core.sample.pretrain.config import PretrainConfig
from r3pp_core.sample.pretrain.train import LOG

COMMAND = "python -m r3pp_core.sample.pretrain --out_dir build/pretrain --pack"


def backbone_card(out_dir: Path, config: PretrainConfig, num_parameters: int) -> str:
    """Markdown: what it is, what it learned from, how it came along and what it can do on worlds it never saw."""
    lines = [json.loads(line) for line in (out_dir / LOG).read_text(encoding="utf-8").splitlines()]
    evaluated = [line for line in lines if "held_out" in line]
    last = evaluated[-1]
    curve = [
        f"| {line['step']} | {' | '.join(_percent(_mean(line['held_out'].get(mode, {}))) for mode in config.modes)} |"
        for line in evaluated
    ]
    kinds = sorted({kind for found in last["held_out"].values() for kind in found})
    table = [
        f"| {mode} | {' | '.join(_percent(last['held_out'].get(mode, {}).get(kind)) for kind in kinds)} |"
        for mode in config.modes
    ]
    recipe = "\n".join(f"- `{name}`: {value}" for name, value in config.model_dump().items() if name != "num_threads")
    return "\n".join(
        [
            "---",
            "license: apache-2.0",
            "pipeline_tag: image-text-to-text",
            "tags: [r3pp, qwen3_vl, synthetic]",
            "---",
            "",
            "# The sample's small backbone",
            "",
            f"A Qwen3-VL of {num_parameters / 1e6:.2f} M parameters that reads drawn phone screens, charts and "
            "infographics of at most 256 x 256 pixels, and text that was read from them. It stands in for "
            "Qwen3-VL-8B-Instruct where there is no GPU and no network, and is of no use outside the embedded sample.",
            "",
            "## Data",
            "",
            "Invented worlds, drawn by `r3pp_core/sample` from other seeds than the sample's. No thing of the sample "
            "and none of its facts occurs in them (`tests/core/sample/pretrain` proves it); first words of names, "
            "nouns, attributes and layouts are shared. Text is made anew at each step; pictures are those of "
            f"{config.num_groups} groups of twelve pages.",
            "",
            "## Recipe",
            "",
            f"`{COMMAND}`: first weights that look back and match, a lesson of lists, then "
            f"pages shown as {', '.join(config.modes)} in turn, up to 24 questions a page. {last['step']} steps in "
            f"{last.get('seconds', 0) / 60:.0f} minutes. What was tried is in docs/experiments.md.",
            "",
            recipe,
            "",
            "## On pages of worlds it never saw",
            "",
            "Percent of answers whose every token is the likeliest one, mean of the kinds of questions:",
            "",
            f"| step | {' | '.join(config.modes)} |",
            "|---|" + "---|" * len(config.modes),
            *curve,
            "",
            "and by kind at the end:",
            "",
            f"| shown | {' | '.join(kind.replace('_', ' ') for kind in kinds)} |",
            "|---|" + "---|" * len(kinds),
            *table,
            "",
        ]
    )


def _mean(found: dict[str, Any]) -> float | None:
    return sum(found.values()) / len(found) if found else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"

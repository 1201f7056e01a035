"""The cards of the packaged models, from the logs of the runs that made them."""

import json
from pathlib import Path
from typing import Any

from r3pp_core.sample.pretrain.clip import CLIP_LOG, SIDE
from r3pp_core.sample.pretrain.config import ClipConfig, PretrainConfig
from r3pp_core.sample.pretrain.train import LOG

COMMAND = "python -m r3pp_core.sample.pretrain --out_dir build/pretrain --pack"


def backbone_card(out_dir: Path, config: PretrainConfig, num_parameters: int) -> str:
    """Markdown: what it is, what it learned from, how it came along and what it can do on worlds it never saw."""
    lines = _lines(out_dir / LOG)
    modes = list(dict.fromkeys(config.modes))
    evaluated = list({line["step"]: line for line in lines if "held_out" in line}.values())
    last = evaluated[-1]
    curve = [
        f"| {line['step']} | {' | '.join(_percent(_mean(line['held_out'].get(mode, {}))) for mode in modes)} |"
        for line in evaluated
    ]
    kinds = sorted({kind for found in last["held_out"].values() for kind in found})
    table = [
        f"| {mode} | {' | '.join(_percent(last['held_out'].get(mode, {}).get(kind)) for kind in kinds)} |"
        for mode in modes
    ]
    return "\n".join(
        [
            *_head("image-text-to-text", "qwen3_vl"),
            "# The sample's small backbone",
            "",
            f"A Qwen3-VL of {num_parameters / 1e6:.2f} M parameters that reads drawn phone screens, charts and "
            "infographics of at most 65,536 pixels (256 x 256, or a screen of 192 x 320), and text that was read from "
            "them. It stands in for "
            "Qwen3-VL-8B-Instruct where there is no GPU and no network, and is of no use outside the embedded sample.",
            "",
            *_data(config.num_groups, "Text without a picture is made anew at each step; pictures are"),
            "## Recipe",
            "",
            f"`{COMMAND}`: first weights that look back and match, lessons of lists, of pictures of "
            "words and of names and values, a lesson of naming for the vision tower, then pages shown as "
            f"{', '.join(config.modes)} in turn, up to 24 questions a page. {last['step']} steps in "
            f"{last.get('seconds', 0) / 60:.0f} minutes. What was tried is in docs/experiments.md.",
            "",
            *_recipe(config),
            "",
            "## On pages of worlds it never saw",
            "",
            "Percent of answers whose every token is the likeliest one, mean of the kinds of questions:",
            "",
            f"| step | {' | '.join(modes)} |",
            "|---|" + "---|" * len(modes),
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


def clip_card(out_dir: Path, config: ClipConfig, num_parameters: int) -> str:
    """Markdown, as `backbone_card`."""
    lines = _lines(out_dir / CLIP_LOG)
    scores, seconds = lines[-1]["held_out"], lines[-1]["seconds"]
    curve = list({line["step"]: line for line in lines if "loss" in line}.values())
    shown = curve[:: max(1, len(curve) // 10)]
    return "\n".join(
        [
            *_head("zero-shot-image-classification", "clip"),
            "# The sample's small CLIP",
            "",
            f"A CLIP of {num_parameters / 1e6:.2f} M parameters that sees pages at {SIDE} x {SIDE} pixels. It stands "
            "in for CLIP ViT-B/32 where there is no network, and is of no use outside the embedded sample.",
            "",
            *_data(config.num_groups, "Texts and pictures are"),
            "## Recipe",
            "",
            f"`{COMMAND}`: drawn pages, blurred, noisy, dark or partly covered, against a stretch of what is printed "
            f"on them, {config.pages} at a time, in {seconds / 60:.0f} minutes. Loss: "
            + ", ".join(f"{line['loss']:.2f} at step {line['step']}" for line in shown)
            + ".",
            "",
            *_recipe(config),
            "",
            "## On pages of worlds it never saw",
            "",
            f"Among {scores['pages']} pages at once the nearest picture is the right one for "
            f"{_percent(scores['text_to_picture'])} % of their texts and for {_percent(scores['damaged_to_clean'])} % "
            "of the pictures themselves when damaged.",
            "",
        ]
    )


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def _head(task: str, architecture: str) -> list[str]:
    tags = f"tags: [r3pp, {architecture}, synthetic]"
    return ["---", "license: apache-2.0", f"pipeline_tag: {task}", tags, "---", ""]


def _data(num_groups: int, what_is_drawn: str) -> list[str]:
    return [
        "## Data",
        "",
        "Invented worlds, drawn by `r3pp_core/sample` from other seeds than the sample's. No thing of the sample "
        "and none of its facts occurs in them (`tests/core/sample/pretrain` proves it); first words of names, "
        f"nouns, attributes, layouts and colors are shared. {what_is_drawn} those of {num_groups} groups of twelve "
        "pages.",
        "",
    ]


def _recipe(config: PretrainConfig | ClipConfig) -> list[str]:
    return [f"- `{name}`: {value}" for name, value in config.model_dump().items() if name != "num_threads"]


def _mean(found: dict[str, Any]) -> float | None:
    return sum(found.values()) / len(found) if found else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"

"""The champion's card: why this model is the champion, against the one before, and how to go back."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r3pp_core.artefact import content_hash_of, hash_json
from r3pp_core.champion.history import Entry
from r3pp_core.errors import R3Error
from r3pp_core.evaluation.pairing import compare
from r3pp_core.evaluation.reporting import read_results
from r3pp_core.evaluation.text_table import signed_interval
from r3pp_core.jsonl import read_jsonl
from r3pp_core.model.storage import read_description
from r3pp_core.recipes.resolve import changed_fields
from r3pp_core.training.export import TRAINING_CONFIG

# Where a run lay says nothing of what it learned.
PLACES = {"output_dir", "run", "image_root", "train_jsonl", "val_jsonl", "index_dir", "text_encoder_dir"} | {
    "image_encoder_dir",
    "resume",
}
NUM_SHOWN = 12


def write_train_rows(model_dir: Path, train_jsonl: Path | None, path: Path) -> bool:
    """Write id and hash of every row that the model learned from; False where `train_jsonl` is not that table."""
    learned_from = read_description(model_dir)["made_from"].get("train_jsonl")
    if train_jsonl is None or not train_jsonl.is_file() or content_hash_of(train_jsonl) != learned_from:
        return False
    with path.open("w", encoding="utf-8") as file:
        for row in read_jsonl(train_jsonl):
            file.write(f"{row['id']}\t{hash_json(row)[:16]}\n")
    return True


def why_this_one(folder: Path, before: Entry | None, judged_by: Path | None = None) -> dict[str, Any]:
    """What the model in `folder` (model, evaluation, train_rows.tsv) has over the champion before it.

    `judged_by` is the evaluation of that champion that the gate compared with, where its own was of other questions.
    A part is None where one of the two does not tell.
    """
    scores = {
        dataset: {
            level: {"metric": metric, **{name: cell["metrics"][metric][name] for name in ("mean", "low", "high")}}
            for level, cell in arms["r3"].items()
        }
        for results in [read_results(folder / "evaluation")]
        for dataset, arms in results["results"].items()
        for metric in [results["primary"][dataset]]
    }
    mine = Entry(0, folder, {})
    if before is None:
        return {"scores": scores, "rows": None, "config": None, "made_from": None, "differences": None}
    return {
        "scores": scores,
        "rows": rows_changed(before.train_rows, mine.train_rows),
        "config": config_changed(before.model_dir, mine.model_dir),
        "made_from": changed_fields(*(read_description(one.model_dir)["made_from"] for one in (before, mine))),
        "differences": _differences(judged_by or before.evaluation_dir, mine.evaluation_dir),
    }


def rows_changed(before: Path, now: Path) -> dict[str, dict[str, int]] | None:
    """By data set (the first part of a row's id) how many training rows were added, removed and changed."""
    if not (before.is_file() and now.is_file()):
        return None
    old, new = (dict(line.rstrip("\n").split("\t") for line in path.open(encoding="utf-8")) for path in (before, now))
    found: dict[str, Counter[str]] = {}
    for row_id in old.keys() | new.keys():
        counts = found.setdefault(row_id.split("/")[0], Counter(added=0, removed=0, changed=0, same=0))
        if row_id not in old or row_id not in new:
            counts["added" if row_id in new else "removed"] += 1
        else:
            counts["same" if old[row_id] == new[row_id] else "changed"] += 1
    return {dataset: dict(found[dataset]) for dataset in sorted(found)}


def config_changed(before: Path, now: Path) -> dict[str, dict[str, Any]] | None:
    """Fields of the training config that differ between two exported models, but for the places they name."""
    paths = [folder / TRAINING_CONFIG for folder in (before, now)]
    if not all(path.is_file() for path in paths):
        return None
    changed = changed_fields(*(json.loads(path.read_text(encoding="utf-8")) for path in paths))
    return {name: values for name, values in changed.items() if name not in PLACES}


def _differences(before: Path, mine: Path) -> dict[str, Any] | None:
    try:
        compared = compare(before, mine, "r3", "r3")
    except R3Error:  # other questions, as after a way back
        return None
    return {dataset: arms["r3"] for dataset, arms in compared["differences"].items()}


def card_markdown(card: Mapping[str, Any]) -> str:
    """README.md of an entry of the history."""
    why = card["why"]
    lines = [
        "---",
        "pipeline_tag: image-text-to-text",
        "tags: [r3pp, vqa, champion]",
        "---",
        "",
        f"# Champion {card['number']}",
        "",
        f"{card['change'].capitalize()} on {card['time']}" + (f": {card['reason']}" if card["reason"] else "") + ".",
        f"Model `{card['model_hash']}`, from `{card['model']}`.",
        "",
        "## Why this one",
        "",
        *_why(card, why),
        "",
        "## Scores",
        "",
        "| data set | metric | " + " | ".join(f"level {level}" for level in _levels(why["scores"])) + " |",
        "|---|---|" + "---|" * len(_levels(why["scores"])),
    ]
    for dataset, levels in why["scores"].items():
        metric = next(iter(levels.values()))["metric"]
        cells = [_cell(levels.get(level)) for level in _levels(why["scores"])]
        lines.append(f"| {dataset} | {metric} | " + " | ".join(cells) + " |")
    lines += ["", "Percent, with 95 % intervals (resampling pictures).", ""]
    if made_from := card.get("made_from"):
        lines += ["## Made from", "", *(f"- {name.replace('_', ' ')}: `{made_from[name]}`" for name in made_from), ""]
    lines += ["## How to go back", ""]
    if card["before"]:
        lines += [
            "Run the job `rollback`, or by hand `r3pp rollback --champion_dir DIR` (`--to N` for an older one; "
            "`r3pp champion` lists them)."
        ]
    else:
        lines += ["This is the first champion; there is none to go back to."]
    return "\n".join(lines) + "\n"


def _why(card: Mapping[str, Any], why: Mapping[str, Any]) -> list[str]:
    lines = []
    for criterion in card["gate"]["criteria"]:
        state = "passed" if criterion["passed"] else "not met"
        notes = "; ".join(criterion["notes"][:NUM_SHOWN])
        lines.append(f"- {criterion['name'].replace('_', ' ')}: {state}" + (f" ({notes})" if notes else ""))
    if not card["before"]:
        return lines
    lines += ["", f"Against champion {card['before']}, the one before:", ""]
    if why["differences"] is None:
        lines.append("- scores: asked other questions than the one before")
    for dataset, levels in (why["differences"] or {}).items():
        told = "; ".join(f"level {level} {signed_interval(entry)}" for level, entry in levels.items())
        num_rows = min(entry["n"] for entry in levels.values())
        lines.append(f"- {dataset}: {told} points, on {num_rows} questions that both were asked")
    if why["rows"] is None:
        lines.append("- training rows: not known of one of the two")
    for dataset, counts in (why["rows"] or {}).items():
        told = ", ".join(f"{counts[name]} {name}" for name in ("added", "removed", "changed", "same"))
        lines.append(f"- training rows of {dataset}: {told}")
    lines += _changes("config", why["config"]) + _changes("made from", why["made_from"])
    return lines


def _changes(what: str, changed: Mapping[str, Mapping[str, Any]] | None) -> list[str]:
    if changed is None:
        return [f"- {what}: not known of one of the two"]
    if not changed:
        return [f"- {what}: the same"]
    return [f"- {what} `{name}`: {_short(v['before'])} → {_short(v['now'])}" for name, v in changed.items()]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text if len(text) <= 40 else text[:16] + '…' + text[-4:]}`"


def _levels(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted({level for levels in scores.values() for level in levels}, key=float)


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "-"
    return f"{100 * entry['mean']:.1f} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"

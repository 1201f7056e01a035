"""Does evidence win back what damage costs? The sample's proof with several seeds, and their spread.

    make demo                                            # makes workspace/sample, whose data and indices are used
    python benchmarks/proof.py [--seeds 0 1 2] [--split val] [--root DIR] [--out DIR]

For each seed R3 and its control (the same adapter, steps, rows and damage; nothing retrieved, no module) are trained
and evaluated on the same rows, clean and at level 0.8; with the first seed R3 is asked in every ablation besides, at
0.8. Called again with another split, it asks the same models. Asked of the mean and of at least two data sets: the
control loses at least 30 % of its clean score; R3 wins back at least 40 % of the loss, with an interval above zero;
clean, R3 is not below the control (lower bound above -0.02). Shuffled evidence and none have to take the gain away.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ingest import say

from r3pp_core.evaluation.comparison import R3
from r3pp_core.evaluation.grouping import level_key
from r3pp_core.evaluation.recovery import CONTROL, recovery_rows, recovery_text
from r3pp_core.evaluation.reporting import read_results
from r3pp_core.evaluation.text_table import signed_interval
from r3pp_core.model.config import ARMS
from r3pp_core.recipes.control import control_name
from r3pp_core.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[1]
LEVEL = 0.8
SHOWN = (R3, CONTROL, *(arm for arm in ARMS if arm not in (R3, CONTROL)))


def run(*arguments: object) -> float:
    """`r3pp` with these arguments; its seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "r3pp_core.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stderr[-3000:]}")
    return time.monotonic() - began


def prove(paths: Workspace, recipe: str, split: str, seed: int, out: Path, *, is_first: bool) -> dict[str, Any]:
    """The report's results of one seed."""
    ablations = ["--ablation_levels", LEVEL] if is_first else ["--ablations", "none"]
    models = {}
    for name in (recipe, control_name(recipe)):
        checkpoints, models[name] = out / name / "checkpoints", out / name / "model"
        seconds = run(
            *("train", "--resume", "match", "--recipe", name, "--workspace", paths.root, "--seed", seed),
            *("--output_dir", checkpoints, "--run", name),
        )
        say(f"seed {seed}: {name} trained in {seconds:.0f} s with start-up")
        run("export", "--checkpoint_dir", checkpoints / name, "--out_dir", models[name])
    seconds = run(
        *("evaluate", "--checkpoint_dir", models[recipe], "--control_dir", models[control_name(recipe)]),
        *("--val_jsonl", paths.merged(split), "--image_root", paths.image_root, "--index_dir", paths.indices_dir),
        *("--model_name", paths.model_dir("backbone"), "--text_encoder", paths.model_dir("minilm")),
        *("--image_encoder", paths.model_dir("clip"), "--out_dir", out / split, "--rows_per_dataset", 300),
        *("--max_new_tokens", 8, "--levels", 0.0, LEVEL, *ablations),
    )
    say(f"seed {seed}: evaluated in {seconds:.0f} s")
    return read_results(out / split / "report")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=PROJECT / "workspace" / "sample")
    parser.add_argument("--recipe", default="sample")
    parser.add_argument("--split", default="val")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("build/proof"))
    args = parser.parse_args()
    found = []
    for number, seed in enumerate(args.seeds):
        out = args.out.resolve() / str(seed)
        results = prove(Workspace(args.root.resolve()), args.recipe, args.split, seed, out, is_first=number == 0)
        say(recovery_text(results))
        say(ablation_lines(results))
        say(confidence_lines(results))
        found.append(results)
    say(f"\nover seeds {args.seeds}: mean (standard deviation)")
    for number, (name, _) in enumerate(recovery_rows(found[0]["recovery"])):
        entries = [recovery_rows(results["recovery"])[number][1] for results in found]
        parts = []
        for part in ("clean", "lost_share", "won_back", "recovered", "clean_difference"):
            values = [100 * entry[part]["mean"] for entry in entries if entry[part] is not None]
            spread = f" ({statistics.stdev(values):.1f})" if len(values) > 1 else ""
            parts.append(f"{part} {statistics.mean(values):.1f}{spread}" if values else f"{part} -")
        say(f"  {name}: {', '.join(parts)}")


def ablation_lines(results: dict[str, Any]) -> str:
    """The mean over data sets of each arm at the highest level, and what R3 has above it on each."""
    lines, level = [], level_key(LEVEL)
    for arm in (arm for arm in SHOWN if all(arm in arms for arms in results["results"].values())):
        scores = [
            arms[arm][level]["metrics"][results["primary"][dataset]]["mean"]
            for dataset, arms in results["results"].items()
        ]
        above = [
            f"{dataset} {signed_interval(of_arms[key][level])}"
            for dataset, of_arms in results["differences"].items()
            if (key := f"{R3} - {arm}") in of_arms
        ]
        said = f"; R3 has {', '.join(above)} points more" if above else ""
        lines.append(f"  {arm} at {LEVEL}: {100 * statistics.mean(scores):.1f}{said}")
    return "\n".join(lines)


def confidence_lines(results: dict[str, Any]) -> str:
    """What R3 states and what is true, on average at each level, and how the two go together inside it."""
    return "\n".join(
        f"  {kind} at {level}: stated {found['stated']:.2f}, true {found['true']:.2f}, correlation "
        + ("-" if found["correlation"] is None else f"{found['correlation']:.2f}")
        for kind, by in results["confidence"].items()
        for level, found in by["levels"].items()
    )


if __name__ == "__main__":
    main()

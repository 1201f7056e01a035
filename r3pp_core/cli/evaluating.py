"""evaluate: a sweep by hand, base against a checkpoint, with the report; compare: two evaluations, row by row."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from r3pp_core.cli.launching import add_launch_flags, launch_if_many
from r3pp_core.cli.terminal import say, say_manifest
from r3pp_core.errors import UsageError
from r3pp_core.evaluation.config import EvaluateConfig
from r3pp_core.flags import add_config_flags, config_from, validated

EVIDENCE_ARMS = {
    "none": "r3-no_evidence",
    "shuffled": "r3-shuffled_evidence",
    "oracle": "r3-oracle_evidence",
}
ALL, NONE = ["all"], ["none"]


class ByHandConfig(EvaluateConfig):
    """The sweep of `r3pp evaluate`, which asks every ablation without being told to."""

    ablations: list[str] = Field(
        ALL, description="arms evaluated at ablation_levels only: all that the model offers, none, or their names"
    )

    def resolved(self, offered: Sequence[str]) -> EvaluateConfig:
        """With the ablations by name; all are asked at levels that are swept anyway, unless others are named."""
        values = self.model_dump()
        if self.ablations == ALL:
            values["ablations"] = [arm for arm in offered if arm not in self.arms]
            if "ablation_levels" not in self.model_fields_set:
                values["ablation_levels"] = [level for level in self.ablation_levels if level in self.levels]
        elif self.ablations == NONE:
            values["ablations"] = []
        return validated(EvaluateConfig, values)


def add_commands(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="scores of a checkpoint, clean and damaged, against the base")
    command.add_argument("--checkpoint_dir", type=Path, required=True, help="a step_<n> or an exported folder")
    command.add_argument("--val_jsonl", type=Path, required=True, help="for example data/unified/val.jsonl")
    command.add_argument("--image_root", type=Path, required=True, help="image_path is relative to it")
    command.add_argument("--index_dir", type=Path, required=True, help="for example indices")
    command.add_argument("--model_name", type=Path, help="the backbone's folder (default: as the checkpoint names it)")
    command.add_argument("--text_encoder", type=Path, default=Path("models/minilm"), help="folder of MiniLM")
    command.add_argument("--image_encoder", type=Path, default=Path("models/clip"), help="folder of CLIP")
    command.add_argument("--out_dir", type=Path, required=True, help="for example results/mine")
    command.add_argument("--heading", help="a line above the scores")
    command.add_argument("--force", action="store_true", help="again, even if nothing changed")
    command.add_argument(
        "--evidence",
        nargs="+",
        choices=EVIDENCE_ARMS,
        default=[],
        help="controls that are asked besides at every level: none; shuffled: of pictures drawn by chance; oracle: "
        "that says a reference answer",
    )
    command.add_argument(
        "--control_dir",
        type=Path,
        help="a checkpoint of the recipe's control (trained alike, without evidence), asked besides",
    )
    add_config_flags(command, ByHandConfig)
    add_launch_flags(command)
    command.set_defaults(handler=run_evaluate)
    command = commands.add_parser("compare", help="two evaluations: paired differences, and the rows that changed")
    command.add_argument("a", type=Path, help="the earlier, for example results/champion/r3")
    command.add_argument("b", type=Path, help="the later, for example results/mine/r3")
    command.add_argument("--arm_a", help="which answers of A (default: each arm that both have)")
    command.add_argument("--arm_b", help="which answers of B")
    command.add_argument("--num_examples", type=int, default=10, help="changed rows that are shown (default 10)")
    command.add_argument("--json", type=Path, help="write everything, all changed rows besides, into this file")
    command.set_defaults(handler=run_compare)


def run_evaluate(args: Namespace) -> None:
    from r3pp_core.evaluation.recovery import recovery_text
    from r3pp_core.evaluation.reporting import make_report, read_results
    from r3pp_core.evaluation.rows import choose_rows
    from r3pp_core.evaluation.scoring import score_table
    from r3pp_core.evaluation.subjects import base_subject, r3_subject
    from r3pp_core.evaluation.sweep import evaluate
    from r3pp_core.model.config import BASE_ARMS, CONTROL_ARMS

    by_hand = config_from(args, ByHandConfig)
    controls = [EVIDENCE_ARMS[name] for name in args.evidence]
    by_hand = by_hand.model_copy(update={"arms": list(dict.fromkeys([*by_hand.arms, *controls]))})
    where = (args.model_name, args.index_dir, args.text_encoder, args.image_encoder)
    subject = r3_subject(args.checkpoint_dir, *where)
    control = r3_subject(args.control_dir, *where) if args.control_dir else None
    if control and not control.config.is_control:
        raise UsageError(f"--control_dir {args.control_dir} was trained with evidence or soft tokens; it is no control")
    tables = (args.val_jsonl, args.image_root)
    launch = launch_if_many(args)
    assert subject.places is not None
    base = base_subject(args.model_name or subject.places.backbone, subject.config)
    config = by_hand.resolved(subject.arms)
    base_config = config.model_copy(update={"arms": list(BASE_ARMS), "ablations": []})
    control_config = base_config.model_copy(update={"arms": list(CONTROL_ARMS)})
    chosen = choose_rows(args.val_jsonl, config.rows_per_dataset, config.seed, unanswered=config.unanswered)
    num_rows = len(chosen.rows)
    num_answers = {
        one.name: len(its_config.pairs) * num_rows
        for one, its_config in ((subject, config), (base, base_config), (control, control_config))
        if one is not None
    }
    each = ", ".join(f"{number} by {name}" for name, number in num_answers.items())
    say(f"evaluate: {num_rows} rows, {sum(num_answers.values())} answers ({each})")
    say_manifest(evaluate(subject, *tables, args.out_dir / "r3", config, say, force=args.force, launch=launch))
    del subject  # two large models need not fit into memory together
    say_manifest(evaluate(base, *tables, args.out_dir / "base", base_config, say, force=args.force, launch=launch))
    del base
    folders, out_dir = [args.out_dir / "base", args.out_dir / "r3"], args.out_dir / "report"
    if control:
        folders.append(args.out_dir / "control")
        say_manifest(evaluate(control, *tables, folders[-1], control_config, say, force=args.force, launch=launch))
    say_manifest(make_report(folders, args.image_root, out_dir, args.heading, say))
    results = read_results(out_dir)
    say("\n" + score_table(results, args.heading) + recovery_text(results))
    say(f"report: {out_dir / 'report.html'}")


def run_compare(args: Namespace) -> None:
    from r3pp_core.evaluation.pairing import compare, comparison_text

    compared = compare(args.a, args.b, args.arm_a, args.arm_b)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(compared, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say("\n" + comparison_text(compared, args.num_examples))

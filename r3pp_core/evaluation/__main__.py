"""`python -m r3pp_core.evaluation --job job.json`: one rank of those that answer an evaluation together."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from r3pp_core.errors import UsageError
from r3pp_core.evaluation.job import EvaluationJob, launch_dir
from r3pp_core.evaluation.plan import plan_evaluation
from r3pp_core.evaluation.shards import answer_shards
from r3pp_core.flags import OneSentenceParser, read_json_object, validated
from r3pp_core.launch.child import run_child
from r3pp_core.launch.messages import MessageWriter
from r3pp_core.launch.run_dir import stop_point


def main(arguments: Sequence[str]) -> int:
    parser = OneSentenceParser(prog="python -m r3pp_core.evaluation", description="Answer an evaluation's shards.")
    parser.add_argument("--job", type=Path, required=True, help="as `r3pp evaluate --num_processes N` wrote it")
    try:
        path = parser.parse_args(list(arguments)).job
        job = validated(EvaluationJob, read_json_object(path, "--job"))
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    rank, num_ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    run_dir = launch_dir(job.out_dir)
    send = MessageWriter(run_dir).send

    def work() -> None:
        _use_own_gpu()
        subject = job.subject.subject()
        plan = plan_evaluation(subject, job.table, job.image_root, job.out_dir, job.config, dtype=job.dtype)
        plan = replace(plan, answered=frozenset(job.answered))
        num_answered = answer_shards(
            plan, subject, lambda text: send("progress", text=text), rank, num_ranks, stop_point(run_dir)
        )
        send("done", num_answered=num_answered)

    return run_child(run_dir, work)


def _use_own_gpu() -> None:
    import torch

    if num_gpus := torch.cuda.device_count():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % num_gpus)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m r3pp_core.ingest.ocr_rank`: what a launcher starts to read pictures with many ranks."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from r3pp_core.errors import UsageError
from r3pp_core.flags import OneSentenceParser, add_config_flags, config_from
from r3pp_core.ingest.config import OcrConfig
from r3pp_core.ingest.ocr_shard import cache_dir, read_shard
from r3pp_core.ingest.workers import num_processes
from r3pp_core.launch.child import run_child
from r3pp_core.launch.interface import Job
from r3pp_core.launch.messages import MessageWriter
from r3pp_core.launch.run_dir import stop_point


def ocr_job(dataset: str, raw_dir: Path, config: OcrConfig) -> Job:
    """The job whose ranks fill the cache; each is one rank of `r3pp ocr --num_processes N`."""
    arguments = ["--dataset", dataset, "--raw_dir", str(raw_dir.resolve()), "--min_conf", str(config.min_conf)]
    if config.num_workers:
        arguments += ["--num_workers", str(config.num_workers)]
    return Job("r3pp_core.ingest.ocr_rank", arguments, cache_dir(raw_dir) / "launch", name=f"ocr/{dataset}")


def main(arguments: Sequence[str]) -> int:
    parser = OneSentenceParser(prog="python -m r3pp_core.ingest.ocr_rank", description="Read one shard of pictures.")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--raw_dir", type=Path, required=True)
    add_config_flags(parser, OcrConfig)
    try:
        args = parser.parse_args(list(arguments))
        config = config_from(args, OcrConfig)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if config.num_workers is None:  # the ranks of a machine share its cores
        cores, ranks_here = num_processes(None), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        config = config.model_copy(update={"num_workers": max(1, cores // ranks_here)})
    rank, num_ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    run_dir = cache_dir(args.raw_dir) / "launch"
    send = MessageWriter(run_dir).send

    def work() -> None:
        num_read = read_shard(
            args.raw_dir,
            args.dataset,
            config,
            lambda text: send("progress", text=text),
            rank,
            num_ranks,
            stop_point(run_dir),
        )
        send("done", num_read=num_read)

    return run_child(run_dir, work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m r3pp_core.retrieval`: one rank of those that build an index together.

By hand, also over machines that share the folders: `torchrun --nproc_per_node=N -m r3pp_core.retrieval --kind text
--jsonl ... --image_root ... --out_dir ... --encoder ...`; rank 0 merges when all have encoded. Under `r3pp index`
that is the launcher's part (`--shards_only`).
"""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from r3pp_core.artefact import fresh_manifest
from r3pp_core.errors import UsageError
from r3pp_core.flags import OneSentenceParser, add_config_flags, config_from
from r3pp_core.launch.child import run_child
from r3pp_core.launch.messages import MessageWriter
from r3pp_core.launch.run_dir import stop_point
from r3pp_core.retrieval.build import build_from_shards
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.faiss_index import use_all_cores
from r3pp_core.retrieval.job import launch_dir
from r3pp_core.retrieval.peers import Peers
from r3pp_core.retrieval.plan import IndexPlan, plan_index
from r3pp_core.retrieval.shards import encode_shards


def main(arguments: Sequence[str]) -> int:
    try:
        args = _parser().parse_args(list(arguments))
        config = config_from(args, IndexConfig)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    rank, num_ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    run_dir = launch_dir(args.out_dir, args.kind)
    send = MessageWriter(run_dir).send

    def launched() -> None:
        plan = _plan(args, config)
        num_encoded = encode_shards(
            plan, lambda text: send("progress", text=text), rank, num_ranks, stop_point(run_dir)
        )
        send("done", num_encoded=num_encoded)

    def by_hand() -> None:
        _build_together(_plan(args, config), Peers(rank, num_ranks), args.force)

    return run_child(run_dir, launched if args.shards_only else by_hand)


def _parser() -> OneSentenceParser:
    parser = OneSentenceParser(prog="python -m r3pp_core.retrieval", description="Build an index with many ranks.")
    parser.add_argument("--kind", required=True, choices=["text", "image"])
    parser.add_argument("--jsonl", type=Path, required=True, help="for example data/unified/train.jsonl")
    parser.add_argument("--image_root", type=Path, required=True, help="image_path is relative to it")
    parser.add_argument("--out_dir", type=Path, required=True, help="for example indices")
    parser.add_argument("--encoder", type=Path, required=True, help="folder of MiniLM or CLIP")
    parser.add_argument("--force", action="store_true", help="again, even if nothing changed")
    parser.add_argument("--shards_only", action="store_true", help="encode, and leave the merging to the launcher")
    add_config_flags(parser, IndexConfig)
    return parser


def _plan(args: Namespace, config: IndexConfig) -> IndexPlan:
    if config.device == "cuda":
        import torch

        if num_gpus := torch.cuda.device_count():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % num_gpus)
    return plan_index(args.kind, args.jsonl, args.image_root, args.out_dir, args.encoder, config)


def _build_together(plan: IndexPlan, peers: Peers, force: bool) -> None:
    """All ranks encode, unless the index stands already; rank 0 holds the artefact and merges."""

    def encode() -> None:
        encode_shards(plan, _say, peers.rank, peers.num_ranks)
        peers.wait_for_all("encoded")
        use_all_cores()

    if peers.rank == 0:
        peers.tell("needed", force or fresh_manifest(plan.target, plan.request) is None)
        build_from_shards(plan, encode, _say, force)
        _say(f"{plan.request.stage}: {plan.target.folder}")
    elif peers.hear("needed"):
        encode_shards(plan, lambda text: None, peers.rank, peers.num_ranks)
        peers.tell_done("encoded")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

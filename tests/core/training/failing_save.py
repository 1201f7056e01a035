"""A rank of a run whose disk is full at one point of its first save: `torchrun ... failing_save.py CONFIG`."""

import os
import sys

from torch import distributed  # noqa: TID253 - a script that torchrun starts

from r3pp_core.errors import R3Error
from r3pp_core.model import storage, tensor_files
from r3pp_core.training import checkpoints
from r3pp_core.training.flags import parse
from r3pp_core.training.loop import train

FULL = OSError(28, "No space left on device")
rank = int(os.environ["RANK"])


def refuse(*arguments, **options):
    raise FULL


def fail(where: str) -> None:
    if where == "first_description" and rank == 0:
        storage.model_card = refuse
    if where == "second_tensors":
        tensor_files.MAX_FILE_BYTES = 400_000  # several files, so that the second rank writes some
        if rank == 1:
            import safetensors.torch

            safetensors.torch.save_file = refuse
    if where == "first_state" and rank == 0:
        checkpoints._write_state = lambda *arguments: tensor_files_writing()


def tensor_files_writing() -> None:
    with tensor_files.writing(tensor_files.Path("/state")):
        raise FULL


fail(os.environ["FAILING_SAVE"])
try:
    train(parse(["--config", sys.argv[1]]).config, world_size=2)
except R3Error as error:
    sys.stdout.write(f"rank {rank}: {error}\n")
    sys.stdout.flush()
    distributed.barrier()

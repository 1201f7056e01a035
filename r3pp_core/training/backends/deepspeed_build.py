"""DeepSpeed compiles what its ranks need on a CPU when it is first used, under torch's lock: a file that a killed
process leaves behind, and that everyone waits for from then on."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def build_cpu_communication() -> None:
    """Compile (a minute or two, once a machine), or find it compiled. One process at a time, the others wait."""
    from deepspeed.comm.torch import build_shm_op
    from torch.utils.cpp_extension import _get_build_directory

    folder = Path(_get_build_directory("deepspeed_shm_comm", verbose=False))
    with _alone(folder):
        (folder / "lock").unlink(missing_ok=True)  # of a builder that was killed: a living one would hold ours
        build_shm_op()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A lock that the kernel frees with its process."""
    with (folder / "r3pp.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

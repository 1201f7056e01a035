"""Why a job failed, and what to do about it: told from structured messages, never from its output."""

import signal
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from r3pp_core.errors import R3Error

FailureKind = Literal[
    "bad_input",
    "out_of_memory",
    "non_finite_loss",
    "lost_rank",
    "no_gpu",
    "port_taken",
    "disk_full",
    "time_limit",
    "no_slurm",
    "error",
]

MAX_REASON_CHARS = 4000
OUT_OF_MEMORY_TYPES = {"OutOfMemoryError", "MemoryError", "RowOutOfMemoryError"}
# In lower case, as the libraries write them; the first that occurs names the kind.
PHRASES: dict[FailureKind, tuple[str, ...]] = {
    "disk_full": ("no space left on device", "disk quota exceeded"),
    "out_of_memory": ("out of memory", "can't allocate memory", "cannot allocate memory"),
    "port_taken": ("eaddrinuse", "address already in use"),
    "no_gpu": (
        "no cuda gpus are available",
        "found no nvidia driver",
        "driver version is insufficient",
        "no kernel image is available",
        "invalid device ordinal",
    ),
    # What the other ranks' connections say of one that is gone.
    "lost_rank": ("connection reset by peer", "connection closed by peer"),
}
RETRY_HELPS: frozenset[FailureKind] = frozenset({"lost_rank", "port_taken", "time_limit", "no_slurm", "error"})

REMEDIES: dict[FailureKind, str] = {
    "bad_input": "correct the value that the message names",
    "out_of_memory": "lower --batch_size or --max_pixels, use --use_lora, or shard over more GPUs with --backend fsdp",
    "non_finite_loss": "look at the last losses in progress.jsonl, lower the learning rate, or use --bf16 for --fp16",
    "lost_rank": "look at `dmesg` (the system's out-of-memory killer sends SIGKILL), then run again to resume",
    "no_gpu": "run `r3pp doctor`, which looks at the driver, the cards and torch's build for them",
    "port_taken": "run again: another port is taken",
    "disk_full": "free some space, lower --keep, or choose another --output_dir, then run again to resume",
    "time_limit": "run again to resume from the checkpoint that was saved before it",
    "no_slurm": "run again once `sinfo` answers",
    "error": "the traceback is in the output above",
}


class LaunchFailed(R3Error):  # noqa: N818 - the outcome of a launch, beside JobResult
    """A job that started and failed. Where the job itself raised an R3Error, the text is that sentence unchanged."""

    def __init__(self, sentence: str, kind: FailureKind, exit_code: int, cause: Mapping[str, Any] | None) -> None:
        super().__init__(sentence)
        self.kind: FailureKind = kind
        self.exit_code = exit_code
        self.cause = cause

    @property
    def remedy(self) -> str:
        return REMEDIES[self.kind]

    @property
    def retry_helps(self) -> bool:
        """Whether the same job may succeed when started again: the rest fails in the same way each time."""
        return self.kind in RETRY_HELPS


class NonFiniteLossError(R3Error):
    """The loss is NaN or infinite; `message` is a whole sentence with the step and the remedy."""


class RowOutOfMemoryError(R3Error):
    """One row alone does not fit into a device's memory; `message` is a whole sentence with the row and the remedy."""


def describe(error: BaseException, rank: int) -> dict[str, Any]:
    """The fields of a "failed" message for an exception that a rank raised."""
    reason = str(error)
    if len(reason) > MAX_REASON_CHARS:
        reason = f"{reason[:MAX_REASON_CHARS]} ... ({len(reason) - MAX_REASON_CHARS} characters more)"
    return {
        "error_type": type(error).__name__,
        "message": reason,
        "user_error": isinstance(error, R3Error),
        "exit_code": error.exit_code if isinstance(error, R3Error) else 1,
        "rank": rank,
    }


def describe_lost(rank: int, exit_code: int) -> dict[str, Any]:
    """The fields of a "failed" message for a rank that ended without a word; `exit_code` is negative for a signal."""
    name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else f"signal {-exit_code}"
    how = f"was killed by {name}" if exit_code < 0 else f"exited with code {exit_code}"
    return {
        "error_type": "LostRank",
        "message": f"rank {rank} {how}",
        "user_error": False,
        "exit_code": 1,
        "rank": rank,
        "signal": name if exit_code < 0 else None,
    }


def kind_of(failure: Mapping[str, Any]) -> FailureKind:
    if failure["error_type"] == "NonFiniteLossError":
        return "non_finite_loss"
    if failure.get("signal"):
        return "lost_rank"
    if failure["error_type"] in OUT_OF_MEMORY_TYPES:
        return "out_of_memory"
    text = failure["message"].lower()
    told = next((kind for kind, phrases in PHRASES.items() if any(phrase in text for phrase in phrases)), None)
    if failure["user_error"]:
        return "disk_full" if told == "disk_full" else "bad_input"
    return told or "error"


def root_cause(failures: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The failure that brought the others about: the first, except that a killed rank makes its peers raise.

    A peer's exception about a broken connection can be written before torchrun sees that the rank is gone. SIGABRT
    does not count as such a cause: it is how torch itself ends a rank whose peer has gone.
    """
    if not failures:
        return None
    killed = next((f for f in failures if f.get("signal") not in (None, "SIGABRT", "SIGTERM")), None)
    raised = failures[0].get("signal") is None and kind_of(failures[0]) in ("error", "lost_rank")
    return killed if killed and raised else failures[0]


def launch_failed(
    name: str, exit_code: int, failures: Sequence[Mapping[str, Any]], plan: Mapping[str, Any] | None = None
) -> LaunchFailed:
    """The error for a job that ended with `exit_code` (a signal's number, negative or as a shell adds it to 128: the
    starter itself was killed).

    `plan`: the job's "plan" message, which says what to do where memory ran out.
    """
    cause = root_cause(failures)
    number = -exit_code if exit_code < 0 else exit_code - 128
    if cause is None and number in set(signal.Signals):
        lost = f"{name} failed: its starter was killed by {signal.Signals(number).name}"
        return LaunchFailed(f"{lost}; {REMEDIES['lost_rank']}", "lost_rank", 1, None)
    if cause is None:
        silent = f"{name} ended with code {exit_code} before any rank said why; {REMEDIES['error']}"
        return LaunchFailed(silent, "error", 1, None)
    kind = kind_of(cause)
    if cause["user_error"]:
        return LaunchFailed(cause["message"], kind, cause["exit_code"], cause)
    what = (
        cause["message"] if "signal" in cause else f"{cause['error_type']} on rank {cause['rank']}: {cause['message']}"
    )
    remedy = memory_remedy(plan) if kind == "out_of_memory" and plan else REMEDIES[kind]
    return LaunchFailed(f"{name} failed: {what}; {remedy}", kind, cause["exit_code"], cause)


def memory_remedy(plan: Mapping[str, Any]) -> str:
    """What needs less by the plan, and the plan itself."""
    smaller = "; ".join(plan.get("smaller") or ())
    return f"{f'less is needed with: {smaller}' if smaller else REMEDIES['out_of_memory']}\n{plan['table']}"

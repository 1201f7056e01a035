"""Failures are told apart from their records alone."""

from typing import Any

import pytest

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.launch.failures import NonFiniteLossError, describe, describe_lost, launch_failed, root_cause
from r3pp_core.launch.messages import MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (describe(UsageError("no such file; give another"), 0), "bad_input"),
        (describe(NonFiniteLossError("the loss is nan at step 3; lower lr"), 0), "non_finite_loss"),
        (describe(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 0), "out_of_memory"),
        (describe(RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1), "out_of_memory"),
        (describe(OSError(28, "No space left on device"), 0), "disk_full"),
        (describe(R3Error("cannot write x: [Errno 28] No space left on device; free some"), 0), "disk_full"),
        (describe(R3Error("the word 'out of memory' in a row's text"), 0), "bad_input"),
        (describe(RuntimeError("The server socket has failed to listen: EADDRINUSE"), 0), "port_taken"),
        (describe(RuntimeError("No CUDA GPUs are available"), 0), "no_gpu"),
        (describe(RuntimeError("CUDA error: no kernel image is available for execution on the device"), 0), "no_gpu"),
        (describe(KeyError("answer"), 0), "error"),
        (describe_lost(1, -9), "lost_rank"),
        (describe(RuntimeError("[pair.cc:537] Read error [127.0.0.1]:388: Connection reset by peer"), 0), "lost_rank"),
        (describe_lost(1, 3), "error"),
    ],
)
def test_each_failure_has_its_kind(record: dict[str, Any], kind: str) -> None:
    assert launch_failed("trial", 1, [record]).kind == kind


def test_the_first_failure_is_the_cause_unless_a_rank_was_killed() -> None:
    memory, peer, killed = describe(MemoryError(), 1), describe(RuntimeError("closed"), 0), describe_lost(1, -9)
    assert root_cause([memory, peer, describe_lost(1, 1)]) is memory
    assert root_cause([peer, killed]) is killed
    reset = describe(RuntimeError("Connection reset by peer"), 0)
    assert root_cause([reset, killed]) is killed
    assert root_cause([memory, killed]) is memory
    assert root_cause([peer, describe_lost(1, -6)]) is peer
    assert root_cause([]) is None


def test_a_job_that_died_without_a_word_still_fails_with_a_sentence() -> None:
    assert "before any rank said why" in str(launch_failed("trial", 2, []))


def test_an_endless_reason_is_cut_so_that_its_message_can_be_sent() -> None:
    reason = describe(ValueError("é" * 1_000_000), 0)["message"]
    assert len(reason.encode()) < MAX_MESSAGE_BYTES
    assert reason.endswith("(996000 characters more)")

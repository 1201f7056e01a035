"""The message file and the run folder, without a process of their own."""

import multiprocessing
import time
from pathlib import Path

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.launch.messages import (
    LAUNCH_ID_VARIABLE,
    MAX_MESSAGE_BYTES,
    MessageReader,
    MessageWriter,
    append_message,
    messages_path,
)
from r3pp_core.launch.run_dir import hold_run_dir


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv(LAUNCH_ID_VARIABLE, "mine")
    return "mine"


def test_a_torn_last_line_waits_for_its_end(tmp_path: Path, launch: str) -> None:
    reader = MessageReader(tmp_path, launch)
    MessageWriter(tmp_path).send("step", step=1)
    whole = messages_path(tmp_path).read_bytes()
    messages_path(tmp_path).write_bytes(whole + whole[:-9])
    assert [message["step"] for message in reader.read()] == [1]
    assert reader.read() == []
    messages_path(tmp_path).write_bytes(whole + whole)
    assert [message["step"] for message in reader.read()] == [1]


def test_a_line_cut_by_a_crash_spoils_no_other_and_is_counted(tmp_path: Path, launch: str) -> None:
    messages_path(tmp_path).write_bytes(b'{"launch":"mine","kind":"st')
    MessageWriter(tmp_path).send("step", step=2)
    reader = MessageReader(tmp_path, launch)
    assert [message["step"] for message in reader.read()] == [2]
    assert reader.num_unreadable == 1


def test_only_this_launch_is_read(tmp_path: Path, launch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCH_ID_VARIABLE, "another")
    MessageWriter(tmp_path).send("step", step=1)
    monkeypatch.setenv(LAUNCH_ID_VARIABLE, launch)
    MessageWriter(tmp_path).send("step", step=2)
    assert [message["step"] for message in MessageReader(tmp_path, launch).read()] == [2]


def test_other_ranks_write_nothing(tmp_path: Path, launch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    MessageWriter(tmp_path).send("step", step=1)
    assert not messages_path(tmp_path).exists()


def test_on_several_nodes_all_but_rank_0_write_into_a_file_of_their_node(
    tmp_path: Path, launch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appending is atomic on one machine only."""
    monkeypatch.setenv("SLURM_NNODES", "2")
    reader = MessageReader(tmp_path, launch)
    for number, (rank, node) in enumerate([("0", "1"), ("3", "1"), ("1", "0"), ("0", "1")]):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("SLURM_NODEID", node)
        append_message(tmp_path, "failed", {"number": number})
        time.sleep(0.001)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "progress.jsonl",
        "progress.node0.jsonl",
        "progress.node1.jsonl",
    ]
    assert [message["number"] for message in reader.read()] == [0, 1, 2, 3]
    append_message(tmp_path, "failed", {"number": 4})
    assert [message["number"] for message in reader.read()] == [4]
    later = MessageReader(tmp_path, launch)
    later.skip_existing()
    assert later.read() == []


def test_a_message_of_32_kb_is_refused_and_not_written(tmp_path: Path, launch: str) -> None:
    with pytest.raises(R3Error, match="send its path"):
        MessageWriter(tmp_path).send("plot", picture="x" * MAX_MESSAGE_BYTES)
    assert not messages_path(tmp_path).exists()


def test_numbers_that_are_not_finite_stay_json(tmp_path: Path, launch: str) -> None:
    MessageWriter(tmp_path).send("step", grad_norm=float("inf"))
    assert MessageReader(tmp_path, launch).read()[0]["grad_norm"] is None


def test_a_forked_worker_does_not_keep_the_folder(tmp_path: Path) -> None:
    """A data loader worker outlives its trainer by seconds; the next trainer must not wait for it."""
    with hold_run_dir(tmp_path):
        context = multiprocessing.get_context("fork")
        started = context.Event()

        def work() -> None:
            started.set()
            time.sleep(600)

        worker = context.Process(target=work, daemon=True)
        worker.start()
        started.wait()
    try:
        with hold_run_dir(tmp_path):
            assert worker.is_alive()
    finally:
        worker.kill()
        worker.join()

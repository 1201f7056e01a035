"""The launcher on real torchrun processes: what arrives, what stops, and that nothing stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import r3pp_core
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.launch import local
from r3pp_core.launch.failures import LaunchFailed
from r3pp_core.launch.interface import Job, LaunchConfig, Message
from r3pp_core.launch.local import LocalLauncher
from r3pp_core.launch.run_dir import hold_run_dir, request_stop, stop_requested
from r3pp_core.progress import silent

ROOT = Path(r3pp_core.__file__).parents[1]
PYTHONPATH = f"{ROOT}{os.pathsep}{Path(__file__).parent}"


def job(run_dir: Path, behaviour: str) -> Job:
    return Job(module="launched", args=[str(run_dir), behaviour], run_dir=run_dir, name="trial")


@pytest.fixture(params=["torchrun", "deepspeed"], autouse=True)
def starter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test is run with both."""
    monkeypatch.setenv("STARTER", request.param)
    return str(request.param)


def launcher(num_processes: int, stop_grace_s: float | None = 60, **variables: str) -> LocalLauncher:
    config = {"num_processes": num_processes, "stop_grace_s": stop_grace_s, "poll_s": 0.05}
    env = {"PYTHONPATH": PYTHONPATH, **variables}
    return LocalLauncher(LaunchConfig(**config, env=env, starter=os.environ["STARTER"]))


def interrupt(message: Message) -> None:
    raise KeyboardInterrupt


def rank_pids(run_dir: Path) -> list[int]:
    return [int(path.read_text()) for path in sorted(run_dir.glob("rank_*.pid"))]


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if is_living(pid)]


def is_living(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pids: list[int]) -> list[int]:
    """Those that are still there after far more time than a kill takes."""
    deadline = time.monotonic() + 20
    while living(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return living(pids)


def test_messages_arrive_in_order_while_the_job_runs(tmp_path: Path) -> None:
    """The job's second message waits for the answer to its first: it would never come if messages came at the end."""
    seen: list[Message] = []

    def answer(message: Message) -> None:
        seen.append(message)
        (tmp_path / "answered").touch()

    request_stop(tmp_path, "left over from an earlier run")
    result = launcher(2).run(job(tmp_path, "steps"), answer, silent)
    assert [(m["kind"], m["step"], m["launch"]) for m in seen] == [("step", s, result.launch_id) for s in (1, 2)]
    assert (seen[0]["WORLD_SIZE"], seen[0]["PYTHONUNBUFFERED"]) == ("2", "1")
    assert seen[0]["OMP_NUM_THREADS"] == os.environ.get(
        "OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // 2))
    )
    assert (result.exit_code, result.num_messages, result.stopped) == (0, 2, False)
    assert result.last_message == seen[1]
    assert not stop_requested(tmp_path)


def test_an_error_of_the_user_reaches_the_caller_as_the_same_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both ranks raise it; the caller sees it once, with its exit code, and no traceback is printed anywhere."""
    seen: list[Message] = []
    with pytest.raises(LaunchFailed) as caught:
        launcher(2).run(job(tmp_path, "bad_input"), seen.append, silent)
    assert str(caught.value) == "max_pixels is 7, which is under one patch; give at least 784"
    assert (caught.value.kind, caught.value.exit_code, caught.value.retry_helps) == ("bad_input", 2, False)
    assert [message["kind"] for message in seen] == ["failed"]
    assert "Traceback" not in capfd.readouterr().err


def test_out_of_memory_on_another_rank_is_told_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match=r"rank 1: Unable to allocate 140 GiB; lower --batch_size") as caught:
        launcher(2).run(job(tmp_path, "memory_on_rank_1"), lambda message: None, silent)
    assert (caught.value.kind, caught.value.retry_helps) == ("out_of_memory", False)
    assert not living(rank_pids(tmp_path))


def test_a_killed_rank_is_the_cause_and_not_what_its_peer_raised(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match="rank 1 was killed by SIGKILL") as caught:
        launcher(2).run(job(tmp_path, "killed_rank_1"), lambda message: None, silent)
    assert (caught.value.kind, caught.value.retry_helps) == ("lost_rank", True)


def test_killing_the_starter_takes_its_ranks_along(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match="its starter was killed by SIGKILL"):
        launcher(2).run(job(tmp_path, "killed_agent"), lambda message: None, silent)
    assert len(rank_pids(tmp_path)) == 2
    assert not living(rank_pids(tmp_path))


def test_a_stop_request_ends_the_job_cleanly(tmp_path: Path) -> None:
    """Whoever writes the request: exit code 0, and the result says that the job was stopped."""
    result = launcher(1).run(job(tmp_path, "until_stopped"), lambda message: request_stop(tmp_path, "enough"), silent)
    assert (result.exit_code, result.stopped) == (0, True)


def test_an_interrupt_asks_for_a_clean_end_and_is_raised_again(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        launcher(2).run(job(tmp_path, "until_stopped"), interrupt, told.append)
    assert told[-1] == "trial: stopped cleanly"
    assert not living(rank_pids(tmp_path))


def test_ranks_that_ignore_everything_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their starter is patient with them, so that it is the launcher that has to do it."""
    monkeypatch.setattr(local, "TERM_GRACE_S", 0.5)
    patient = launcher(2, stop_grace_s=0.2, TORCH_ELASTIC_SHUTDOWN_TIMEOUT="600")
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        patient.run(job(tmp_path, "stubborn"), interrupt, told.append)
    assert told[-1] == "trial: killed 3 processes that did not end by themselves"
    assert len(rank_pids(tmp_path)) == 2
    assert not living(rank_pids(tmp_path))


START = """
import sys
from pathlib import Path
import test_local as t
run_dir = Path(sys.argv[1])
launcher = t.launcher(2, TORCH_ELASTIC_SHUTDOWN_TIMEOUT="1")
launcher.run(t.job(run_dir, sys.argv[2]), lambda message: (run_dir / "seen").touch(), t.silent)
"""


def start_launcher(run_dir: Path, behaviour: str, *before: str) -> "subprocess.Popen[bytes]":
    """A launcher in a process of its own, once both ranks run. `before`: a command that starts the rest."""
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    process = subprocess.Popen([*before, sys.executable, "-c", START, str(run_dir), behaviour], env=environment)
    while not ((run_dir / "seen").exists() and len(rank_pids(run_dir)) == 2):
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("behaviour", ["until_stopped", "stubborn"])
def test_kill_9_of_the_launcher_leaves_no_process(tmp_path: Path, behaviour: str) -> None:
    process = start_launcher(tmp_path, behaviour)
    tree = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.kill()
    process.wait()
    assert set(rank_pids(tmp_path)) < set(tree)
    assert not wait_until_gone(tree)


@pytest.mark.parametrize("before", [(), ("env", "--ignore-signal=TERM")], ids=["", "ignored in its parent"])
def test_sigterm_to_the_launcher_is_a_clean_stop(tmp_path: Path, before: tuple[str, ...]) -> None:
    process = start_launcher(tmp_path, "until_stopped", *before)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert b'"kind":"stopped"' in (tmp_path / "progress.jsonl").read_bytes()
    assert not living(rank_pids(tmp_path))


def test_a_second_trainer_is_refused_by_the_launcher_and_by_the_trainer_itself(tmp_path: Path) -> None:
    """Neither starts anything, both name the process, and the first one's stop request stays."""
    refusal = f"{tmp_path} is in use by another trainer (pid {os.getpid()} since "
    with hold_run_dir(tmp_path):
        request_stop(tmp_path, "meant for the first")
        with pytest.raises(R3Error) as caught:
            launcher(1).run(job(tmp_path, "steps"), lambda message: None, silent)
        assert str(caught.value).startswith(refusal)
        by_hand = subprocess.run(
            [sys.executable, "-m", "launched", str(tmp_path), "steps"],
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            capture_output=True,
            text=True,
        )
        assert by_hand.returncode == 1
        assert by_hand.stderr.startswith(refusal)
        assert by_hand.stderr.count("\n") == 1
        assert stop_requested(tmp_path)
    assert not rank_pids(tmp_path)


def test_the_command_is_a_list_that_keeps_odd_arguments_whole(tmp_path: Path) -> None:
    odd = Job(module="launched", args=["a b; rm -rf $HOME"], run_dir=tmp_path)
    assert launcher(1).command(odd)[-3:] == ["--module", "launched", "a b; rm -rf $HOME"]


def test_the_plan_of_a_job_says_how_long_a_clean_end_may_take(tmp_path: Path) -> None:
    """The rank would need a minute; its plan allows for less than a second."""
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        launcher(1, stop_grace_s=None).run(job(tmp_path, "planned"), interrupt_at_step, told.append)
    assert "waiting up to 0.5 s" in "\n".join(told)


def interrupt_at_step(message: Message) -> None:
    if message["kind"] == "step":
        raise KeyboardInterrupt


def test_out_of_memory_comes_with_the_plan_and_with_what_needs_less(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match="less is needed with: --use_lora; --max_pixels 9") as caught:
        launcher(1).run(job(tmp_path, "memory_after_plan"), lambda message: None, silent)
    assert str(caught.value).endswith("\nthe plan's table")


def test_a_subset_of_the_gpus_is_all_that_the_ranks_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    config = launcher(2).config.model_copy(update={"gpus": (0, 2)})
    seen: list[Message] = []
    LocalLauncher(config).run(job(tmp_path, "devices"), seen.append, silent)
    assert seen[0]["devices"] == "3,7"


@pytest.mark.parametrize(
    ("gpus", "said"), [((0, 3), "GPU 3 is not here: this machine shows 3 GPUs"), ((1,), "names 1")]
)
def test_gpus_that_are_not_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: tuple[int, ...], said: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    config = launcher(2).config.model_copy(update={"gpus": gpus})
    with pytest.raises(UsageError, match=said):
        LocalLauncher(config).run(job(tmp_path, "steps"), lambda message: None, silent)
    assert not rank_pids(tmp_path)

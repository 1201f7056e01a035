"""The Slurm launcher against commands that answer as told; the system tests run a real Slurm."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

import r3pp_core
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.launch import slurm as slurm_launcher
from r3pp_core.launch.failures import LaunchFailed
from r3pp_core.launch.interface import Job, LaunchConfig, Message
from r3pp_core.launch.registry import launcher_for
from r3pp_core.launch.run_dir import request_stop, stop_file
from r3pp_core.launch.slurm_job import TIME_LIMIT, Record, job_script, sbatch_options
from r3pp_core.progress import silent

ROOT = Path(r3pp_core.__file__).parents[1]
COMMANDS = {
    # The script begins at once, its srun is the command itself, and Slurm knows the job until its script has ended.
    "sbatch": """echo "sbatch $*" >> "$FAKE/asked"
for word in "$@"; do case "$word" in --output=*) out="${word#--output=}";; esac; done
(SLURM_JOB_ID=7 bash "${@: -1}" > "${out/\\%j/7}" 2>&1 || printf "FAILED\\nNone\\n" > "$FAKE/state") > /dev/null 2>&1 &
echo '7;cluster'""",
    "srun": 'shift; exec "$@"',
    "scontrol": """echo "scontrol $*" >> "$FAKE/asked"
if [ -e "$FAKE/silent" ]; then rm "$FAKE/silent"; echo "Unable to contact slurm controller" >&2; exit 1; fi
if [ ! -e "$FAKE/state" ]; then echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; fi
echo "JobId=7 JobName=x JobState=$(head -1 "$FAKE/state") Reason=$(tail -1 "$FAKE/state") NodeList=n[1-2]" """,
    "squeue": 'echo "squeue $*" >> "$FAKE/asked"; cat "$FAKE/queue" 2>/dev/null',
    "scancel": 'echo "scancel $*" >> "$FAKE/asked"; rm -f "$FAKE/state"',
}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fake"
    folder.mkdir()
    for name, body in COMMANDS.items():
        write_command(folder, name, body)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(folder))
    for name, seconds in {"SETTLE_S": 0.5, "SETTLE_POLL_S": 0.05, "CANCEL_POLL_S": 0.05}.items():
        monkeypatch.setattr(slurm_launcher, name, seconds)
    return folder


def write_command(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def job(tmp_path: Path, *arguments: str) -> Job:
    run_dir = tmp_path / "run it's here"
    return Job("launched", [str(run_dir), *arguments], run_dir, "trial")


def config(**slurm: object) -> LaunchConfig:
    env = {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}", "TITLE": "it's odd; $HOME"}
    return LaunchConfig(launcher="slurm", num_processes=1, poll_s=0.05, env=env, slurm={"poll_s": 0.1, **slurm})


def asked(fake: Path) -> list[str]:
    return (fake / "asked").read_text().splitlines() if (fake / "asked").is_file() else []


def said_by(fake: Path, states: list[str]) -> None:
    (fake / "state").write_text("\n".join(states) + "\n")


def submitted(tmp_path: Path, fake: Path, said: list[str], **slurm: object) -> None:
    """Launch a job that is taken and never begins."""
    write_command(fake, "sbatch", 'echo "sbatch $*" >> "$FAKE/asked"; echo 7')
    launcher_for(config(**slurm)).run(job(tmp_path, "steps"), lambda message: None, said.append)


def test_options_are_those_that_were_given_and_the_script_keeps_odd_words_whole(tmp_path: Path) -> None:
    slurm = {"nodes": 4, "gres": "gpu:8", "account": "lab", "time": "12:00:00", "setup": ["echo loaded"]}
    launch = config(**slurm, options=["--exclusive"])
    odd, record = job(tmp_path, "two words", "a;b", '{"c": "$d"}'), Record("abc", None, [])
    options = sbatch_options(launch, odd, record)
    wanted = {"--nodes=4", "--gres=gpu:8", "--account=lab", "--time=12:00:00", "--exclusive", "--requeue"}
    wanted.add(f"--chdir={Path.cwd()}")
    assert wanted < set(options)
    assert f"--output={odd.run_dir}/slurm-%j.out" in options
    assert not any("partition" in option or "None" in option for option in options)
    odd.run_dir.mkdir()
    shown = run_script(launch, odd, SLURM_CPUS_PER_TASK="12")
    assert shown.stderr == ""
    assert shown.stdout.startswith("loaded\n")
    words = shown.stdout.split("|")
    assert words[-5:-1] == [str(odd.run_dir), "two words", "a;b", '{"c": "$d"}']
    assert words[words.index("--nnodes") + 1] == "4"
    assert "--cpus-per-task=12" in words


def run_script(launch: LaunchConfig, started: Job, before: str = "", **environment: str) -> subprocess.CompletedProcess:
    """The job's script with an srun that shows its words."""
    script = "srun() { printf '%s|' \"$@\"; }\n" + before + job_script(launch, started, Record("abc", None, []))
    environment = {**os.environ, "SLURM_JOB_ID": "7", **environment}
    return subprocess.run(["bash"], input=script, text=True, capture_output=True, env=environment)


def test_a_job_that_is_queued_again_after_its_time_limit_is_not_stopped_by_it_again(tmp_path: Path) -> None:
    started = job(tmp_path)
    started.run_dir.mkdir()
    request_stop(started.run_dir, TIME_LIMIT)
    run_script(config(), started)
    assert not stop_file(started.run_dir).exists()
    request_stop(started.run_dir, "the user wants it")
    run_script(config(), started)
    assert stop_file(started.run_dir).exists()


def test_the_time_limit_is_heard_while_the_script_still_sets_up(tmp_path: Path) -> None:
    started = job(tmp_path)
    started.run_dir.mkdir()
    done = run_script(config(setup=["kill -USR1 $$"]), started)
    assert (done.returncode, stop_file(started.run_dir).exists()) == (0, True)
    assert (started.run_dir / "slurm-7.exit").read_text() == "0\n"


def test_a_job_runs_to_its_end_and_its_messages_and_output_are_shown(
    tmp_path: Path, fake: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said_by(fake, ["RUNNING", "None"])
    seen: list[int] = []
    said: list[str] = []
    started = job(tmp_path, "steps")

    def answer(message: Message) -> None:
        seen.append(message["step"])
        (started.run_dir / "answered").touch()

    result = launcher_for(config(setup=["echo 'ready, set'"])).run(started, answer, said.append)
    assert (result.exit_code, result.stopped) == (0, False)
    assert seen == [1, 2]
    assert "ready, set" in capfd.readouterr().out
    assert said == ["trial: submitted Slurm job 7", "trial: Slurm job 7 is running on n[1-2]"]


@pytest.mark.parametrize(
    ("behaviour", "words"), [("killed_rank_1", "rank 1 was killed by SIGKILL"), ("killed_agent", "killed by SIGKILL")]
)
def test_what_was_killed_is_told_as_on_this_machine(tmp_path: Path, fake: Path, behaviour: str, words: str) -> None:
    said_by(fake, ["RUNNING", "None"])
    started = job(tmp_path, behaviour)
    with pytest.raises(LaunchFailed, match=words) as caught:
        launcher_for(config().model_copy(update={"num_processes": 2})).run(started, lambda message: None, silent)
    assert caught.value.kind == "lost_rank"


def test_a_waiting_job_says_why_once_and_slurm_is_asked_seldom(tmp_path: Path, fake: Path) -> None:
    said_by(fake, ["PENDING", "Priority"])
    ends = '[ "$(grep -c scontrol "$FAKE/asked")" -lt 4 ] || printf "TIMEOUT\\nNone\\n" > "$FAKE/state"'
    write_command(fake, "scontrol", f"{COMMANDS['scontrol']}\n{ends}")
    said: list[str] = []
    start = time.monotonic()
    with pytest.raises(LaunchFailed):
        submitted(tmp_path, fake, said, poll_s=0.3)
    assert time.monotonic() - start > 4 * 0.3
    assert said[1:] == ["trial: Slurm job 7 is pending (Priority)", "trial: Slurm job 7 is timeout"]


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("TIMEOUT", "time_limit", "time limit ended job 7; run again to resume"),
        ("OUT_OF_MEMORY", "out_of_memory", "Slurm ended the job out of memory"),
        ("NODE_FAIL", "lost_rank", "ended as node_fail"),
    ],
)
def test_how_slurm_ended_a_job_is_told(tmp_path: Path, fake: Path, state: str, kind: str, words: str) -> None:
    said_by(fake, [state, "None"])
    with pytest.raises(LaunchFailed, match=words) as caught:
        submitted(tmp_path, fake, [])
    assert caught.value.kind == kind


def test_a_job_that_somebody_cancelled_is_no_failure_to_retry(tmp_path: Path, fake: Path) -> None:
    said_by(fake, ["CANCELLED", "None"])
    with pytest.raises(R3Error, match="Slurm job 7 was cancelled; run again to resume") as caught:
        submitted(tmp_path, fake, [])
    assert not isinstance(caught.value, LaunchFailed)


def test_a_controller_that_does_not_answer_is_asked_again(tmp_path: Path, fake: Path) -> None:
    said_by(fake, ["COMPLETED", "None"])
    (fake / "silent").touch()
    said: list[str] = []
    submitted(tmp_path, fake, said)
    assert said[1:] == [
        "trial: Slurm job 7 is unknown (Unable to contact slurm controller)",
        "trial: Slurm job 7 is completed",
    ]


def test_a_submission_that_was_not_heard_of_to_its_end_is_found_by_its_name(tmp_path: Path, fake: Path) -> None:
    said_by(fake, ["RUNNING", "None"])
    (fake / "queue").write_text("7\n")
    started = job(tmp_path, "steps")
    started.run_dir.mkdir()
    (started.run_dir / "slurm.json").write_text(json.dumps(Record("abc", None, ["launched", *started.args])._asdict()))
    ends = f'[ "$(grep -c scontrol "$FAKE/asked")" -lt 2 ] || echo 0 > "{started.run_dir}/slurm-7.exit"'
    write_command(fake, "scontrol", f"{COMMANDS['scontrol']}\n{ends}")
    said: list[str] = []
    launcher_for(config()).run(started, lambda message: None, said.append)
    assert said[0] == "trial: found Slurm job 7 again, which was started before"
    assert "squeue --noheader --name=r3pp-abc --format=%A" in asked(fake)
    assert not any(line.startswith("sbatch") for line in asked(fake))


@pytest.mark.parametrize("left", ["ended", "forgotten", "torn record"])
def test_a_job_that_has_ended_is_not_taken_for_a_running_one(tmp_path: Path, fake: Path, left: str) -> None:
    said_by(fake, ["COMPLETED", "None"])
    run_dir = job(tmp_path).run_dir
    run_dir.mkdir()
    record = json.dumps(Record("abc", "6", ["launched", str(run_dir), "steps"])._asdict())
    (run_dir / "slurm.json").write_text(record[:9] if left == "torn record" else record)
    if left == "ended":
        (run_dir / "slurm-6.exit").write_text("137\n")
        earlier = "echo JobState=COMPLETING; exit"
    else:
        earlier = 'echo "Invalid job id" >&2; exit 1'
    write_command(fake, "scontrol", f'case "$*" in *6) {earlier};; esac\n{COMMANDS["scontrol"]}')
    said: list[str] = []
    submitted(tmp_path, fake, said)
    assert said[0] == "trial: submitted Slurm job 7"


def test_a_job_of_another_config_that_still_runs_is_not_taken_for_this_one(tmp_path: Path, fake: Path) -> None:
    said_by(fake, ["RUNNING", "None"])
    started = job(tmp_path, "steps")
    started.run_dir.mkdir()
    record = Record("abc", "7", ["launched", str(started.run_dir), "other"])
    (started.run_dir / "slurm.json").write_text(json.dumps(record._asdict()))
    with pytest.raises(R3Error, match="Slurm job 7, which was started with another config, is still in"):
        launcher_for(config()).run(started, lambda message: None, silent)
    assert not any(line.startswith("sbatch") for line in asked(fake))


def test_an_interrupt_asks_for_a_clean_end_and_cancels_what_is_left(tmp_path: Path, fake: Path) -> None:
    said_by(fake, ["RUNNING", "None"])

    def interrupt(message: Message) -> None:
        raise KeyboardInterrupt

    said: list[str] = []
    started = job(tmp_path, "until_stopped")
    with pytest.raises(KeyboardInterrupt):
        launcher_for(config()).run(started, interrupt, said.append)
    assert said[-1] == "trial: stopped cleanly"
    assert "KeyboardInterrupt" in stop_file(started.run_dir).read_text()
    assert "scancel --full 7" in asked(fake)


def test_an_interrupt_while_slurm_does_not_answer_cancels_until_the_job_is_known_to_be_gone(
    tmp_path: Path, fake: Path
) -> None:
    said_by(fake, ["RUNNING", "None"])
    write_command(fake, "scontrol", f'if [ -e "$FAKE/mute" ]; then exit 1; fi\n{COMMANDS["scontrol"]}')
    ends = '[ "$(grep -c scancel "$FAKE/asked")" -lt 3 ] || rm "$FAKE/mute" "$FAKE/state"'
    write_command(fake, "scancel", f'echo "scancel $*" >> "$FAKE/asked"; {ends}')

    def interrupt(message: Message) -> None:
        (fake / "mute").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launcher_for(config()).run(job(tmp_path, "until_stopped"), interrupt, silent)
    assert sum(line.startswith("scancel") for line in asked(fake)) == 3


def test_an_interrupt_within_the_submission_cancels_by_name_what_may_have_been_taken(
    tmp_path: Path, fake: Path
) -> None:
    write_command(fake, "sbatch", 'kill -INT "$PPID"; sleep 2; echo 7')
    started = job(tmp_path, "steps")
    with pytest.raises(KeyboardInterrupt):
        launcher_for(config()).run(started, lambda message: None, silent)
    name = Record(**json.loads((started.run_dir / "slurm.json").read_text())).name
    assert asked(fake) == [f"scancel --name={name}"]


@pytest.mark.parametrize("was_taken", [True, False])
def test_a_submission_whose_answer_was_lost_is_looked_for_by_name(tmp_path: Path, fake: Path, was_taken: bool) -> None:
    said_by(fake, ["COMPLETED", "None"])
    (fake / "queue").write_text("7\n" if was_taken else "")
    write_command(fake, "sbatch", 'echo "sbatch: error: Socket timed out" >&2; exit 1')
    said: list[str] = []
    if was_taken:
        launcher_for(config()).run(job(tmp_path, "steps"), lambda message: None, said.append)
        assert said[0] == "trial: submitted Slurm job 7"
    else:
        with pytest.raises(R3Error, match="sbatch refused the job: sbatch: error: Socket timed out"):
            launcher_for(config()).run(job(tmp_path, "steps"), lambda message: None, said.append)
        assert asked(fake)[-1].startswith("scancel --name=r3pp-")


@pytest.mark.parametrize("job_id", ["7", None])
def test_no_second_job_begins_where_slurm_does_not_say_whether_the_first_runs(
    tmp_path: Path, fake: Path, job_id: str | None
) -> None:
    started = job(tmp_path, "steps")
    started.run_dir.mkdir()
    (started.run_dir / "slurm.json").write_text(
        json.dumps(Record("abc", job_id, ["launched", *started.args])._asdict())
    )
    for name in ("scontrol", "squeue"):
        write_command(fake, name, 'echo "Unable to contact slurm controller" >&2; exit 1')
    with pytest.raises(LaunchFailed, match=r"does not say whether .* \(Unable to contact slurm controller\)") as caught:
        launcher_for(config()).run(started, lambda message: None, silent)
    assert (caught.value.kind, caught.value.retry_helps) == ("no_slurm", True)
    assert asked(fake) == []


def test_a_job_whose_ranks_were_ended_and_that_is_queued_again_is_waited_for(tmp_path: Path, fake: Path) -> None:
    said_by(fake, ["COMPLETING", "None"])
    started = job(tmp_path, "steps")
    code = started.run_dir / "slurm-7.exit"
    write_command(fake, "sbatch", f'echo 143 > "{code}"; echo 7')
    again = f"""case $(grep -c scontrol "$FAKE/asked") in
2) printf "PENDING\\nBeginTime\\n" > "$FAKE/state";;
5) rm "{code}"; printf "RUNNING\\nNone\\n" > "$FAKE/state";;
7) echo 0 > "{code}";;
esac"""
    write_command(fake, "scontrol", f"{COMMANDS['scontrol']}\n{again}")
    said: list[str] = []
    result = launcher_for(config()).run(started, lambda message: None, said.append)
    assert result.exit_code == 0
    assert said[1:] == [
        f"trial: Slurm job 7 is {state}" for state in ("completing", "pending (BeginTime)", "running on n[1-2]")
    ]


def test_an_exit_code_that_another_host_wrote_may_be_seen_late(tmp_path: Path, fake: Path) -> None:
    said_by(fake, ["FAILED", "None"])
    started = job(tmp_path, "steps")
    late = f'(sleep 0.3; echo 137 > "{started.run_dir}/slurm-7.exit") > /dev/null 2>&1 &'
    write_command(fake, "sbatch", f"{late}\necho 7")
    with pytest.raises(LaunchFailed, match="starter was killed by SIGKILL"):
        launcher_for(config()).run(started, lambda message: None, silent)


def test_without_slurm_the_sentence_says_how_another_host_submits(tmp_path: Path) -> None:
    with pytest.raises(R3Error, match=r"is not here; .* slurm.submit_prefix, for example \[\"ssh\", \"login1\"\]"):
        launcher_for(config(submit_prefix=["no_such_command"])).run(job(tmp_path), lambda message: None, silent)


def test_another_folder_behind_the_prefix_is_refused_before_anything_is_submitted(tmp_path: Path, fake: Path) -> None:
    write_command(fake, "elsewhere", "cat /dev/null")
    with pytest.raises(R3Error, match="is not the same folder behind `elsewhere`"):
        submitted(tmp_path, fake, [], submit_prefix=["elsewhere"])
    assert asked(fake) == []


def test_words_that_go_through_ssh_are_quoted_for_its_shell(tmp_path: Path, fake: Path) -> None:
    said_by(fake, ["COMPLETED", "None"])
    write_command(fake, "ssh", 'shift; exec sh -c "$*"')
    said: list[str] = []
    submitted(tmp_path, fake, said, submit_prefix=["ssh", "login1"])
    assert said[0] == "trial: submitted Slurm job 7"
    (submission,) = [line for line in asked(fake) if line.startswith("sbatch")]
    assert f"--output={tmp_path}/run it's here/slurm-%j.out" in submission
    assert submission.endswith(f"{tmp_path}/run it's here/slurm.sh")


@pytest.mark.parametrize("fields", [{"starter": "deepspeed"}, {"gpus": (0,)}])
def test_what_only_this_machine_can_do_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="Slurm"):
        launcher_for(LaunchConfig(**{"launcher": "slurm", **fields}))  # type: ignore[arg-type]

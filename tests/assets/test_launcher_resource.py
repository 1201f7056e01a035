"""How an asset's processes are started is the resource's business, from a file or from the launchpad."""

import json

import pytest
from pydantic import ValidationError

from r3pp_assets.resources.environment import launcher_from_environment
from r3pp_assets.resources.launchers import LauncherResource
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.launch.interface import LaunchConfig


def test_without_a_file_one_process_runs_here(monkeypatch):
    monkeypatch.delenv("R3PP_LAUNCH", raising=False)
    config = launcher_from_environment().launch_config()
    assert (config.launcher, config.starter, config.num_processes, config.stop_grace_s) == (
        "local",
        "torchrun",
        1,
        None,
    )


def test_a_file_chooses_the_cluster_for_every_asset(tmp_path, monkeypatch):
    slurm = {"nodes": 4, "partition": "gpu", "gres": "gpu:8", "setup": ["module load cuda"], "time": "12:00:00"}
    path = tmp_path / "launch.json"
    path.write_text(json.dumps({"launcher": "slurm", "num_processes": 8, "slurm": slurm}))
    monkeypatch.setenv("R3PP_LAUNCH", str(path))
    config = launcher_from_environment().launch_config(one_a_gpu=True)
    assert config.num_ranks == 32
    assert config.slurm.model_dump(include=set(slurm)) == slurm


@pytest.mark.parametrize(("gpus", "visible", "expected"), [(None, "0,1,2,3", 4), ([1, 3], "0,1,2,3", 2), (None, "", 1)])
def test_a_sharded_backend_gets_a_process_for_each_gpu_unless_told(monkeypatch, gpus, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert LauncherResource(gpus=gpus).launch_config(one_a_gpu=True).num_processes == expected
    assert LauncherResource(gpus=gpus).launch_config().num_processes == 1
    assert LauncherResource(gpus=gpus, num_processes=1).launch_config(one_a_gpu=True).num_processes == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"launcher": "k8s"}, "launcher"), ({"slurm": {"node": 2}}, "node"), ({"num_processes": 0}, "num_processes")],
)
def test_values_that_do_not_fit_are_refused_by_their_field(fields, words):
    with pytest.raises((UsageError, ValidationError), match=words):
        LauncherResource(**fields).launch_config()


@pytest.mark.parametrize(("text", "words"), [(None, "R3PP_LAUNCH"), ("[1]", "R3PP_LAUNCH"), ("{", "R3PP_LAUNCH")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch, text, words):
    path = tmp_path / "launch.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("R3PP_LAUNCH", str(path))
    with pytest.raises(R3Error, match=words):
        launcher_from_environment()


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"slurm": {"node": 2}}, "slurm.node: Extra"), ({"nodes": 2}, "nodes: Extra"), ({"poll_s": 0}, "poll_s: Input")],
)
def test_a_file_with_what_does_not_fit_is_one_sentence_with_its_name(tmp_path, monkeypatch, fields, words):
    path = tmp_path / "launch.json"
    path.write_text(json.dumps(fields))
    monkeypatch.setenv("R3PP_LAUNCH", str(path))
    with pytest.raises(UsageError, match=rf"R3PP_LAUNCH .*launch.json: {words}"):
        launcher_from_environment()


def test_every_field_of_the_launch_config_can_be_given():
    fields = {"poll_s": 2.0, "env": {"NCCL_DEBUG": "WARN"}, "stop_grace_s": 30.0, "starter": "deepspeed"}
    assert LauncherResource(**fields).launch_config().model_dump(include=set(fields)) == fields
    assert set(LaunchConfig.model_fields) == set(LauncherResource.model_fields)


@pytest.mark.parametrize(
    ("fields", "use_launcher", "num_ranks"),
    [
        ({}, None, None),
        ({}, True, 1),
        ({}, False, None),
        ({"num_processes": 4}, None, 4),
        ({"num_processes": 4}, False, None),
        ({"launcher": "slurm"}, None, 1),
    ],
)
def test_a_stage_that_can_do_without_ranks_gets_them_where_the_resource_has_several(fields, use_launcher, num_ranks):
    config = LauncherResource(**fields).for_shards(use_launcher)
    assert (config.num_ranks if config else None) == num_ranks

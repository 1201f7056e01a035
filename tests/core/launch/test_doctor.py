"""What the doctor says of machines: eight V100, one H100 with a wrong torch, a laptop, a full disk."""

import dataclasses
from pathlib import Path

import pytest

from r3pp_core.launch.doctor import Gpu, Machine, diagnose, look

GIB = 2**30
V100 = Gpu("Tesla V100-SXM2-32GB", 32 * GIB, (7, 0))
H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, (9, 0))
HEALTHY = Machine(
    torch_version="2.13.0+cu126",
    torch_cuda="12.6",
    architectures=["sm_50", "sm_70", "sm_80", "sm_90"],
    driver_gpus=8,
    gpus=[V100] * 8,
    nccl=(2, 27, 5),
    nvcc="/usr/local/cuda/bin/nvcc",
    has_deepspeed=True,
    compilers=["c++", "ninja"],
    faiss=["faiss-gpu-cu12"],
    has_hub_token=True,
    is_offline=False,
    folder=Path("workspace"),
    disk_free=2000 * 10**9,
    shm_bytes=64 * GIB,
)


def found(**changes: object) -> dict[str, list[str]]:
    """Findings of the healthy machine with something changed, by state, in full."""
    findings = diagnose(dataclasses.replace(HEALTHY, **changes))  # type: ignore[arg-type]
    return {state: [str(f) for f in findings if f.state == state] for state in ("ok", "note", "blocker")}


def test_eight_v100_are_served_and_their_lack_of_bf16_is_told() -> None:
    said = found()
    assert said["blocker"] == []
    assert len(said["note"]) == 8
    assert "no native bf16; --bf16 is served as fp16 with a loss scaler" in said["note"][0]
    assert "ok      NCCL 2.27.5" in said["ok"]


def test_cards_with_bf16_leave_nothing_to_note() -> None:
    said = found(gpus=[H100] * 8)
    assert (said["note"], said["blocker"]) == ([], [])
    assert "GPU 7: NVIDIA H100 80GB HBM3, 80 GiB, sm_90, native bf16" in said["ok"][8]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["sm_80", "sm_90"]}, "GPU 0: Tesla V100-SXM2-32GB, 32 GiB, sm_70 is not served"),
        ({"architectures": ["sm_75", "compute_75"]}, "sm_70 is not served"),
        ({"gpus": [], "torch_cuda": None, "torch_version": "2.13.0+cpu"}, "the driver shows 8 GPUs, torch none"),
        ({"gpus": []}, "update the driver, or install a torch for an older CUDA"),
        ({"nccl": None}, "no NCCL"),
        ({"faiss": []}, "no faiss; pip install"),
        ({"faiss": ["faiss-cpu", "faiss-gpu-cu12"]}, "faiss-cpu and faiss-gpu-cu12 are both installed"),
        ({"disk_free": 10**8}, "0.1 GB are free for workspace; free some"),
        ({"shm_bytes": 64 * 2**20}, "/dev/shm has 67 MB; NCCL and worker processes use it: docker run --shm-size=8g"),
    ],
)
def test_what_would_stop_a_run_is_a_blocker_with_its_remedy(changes: dict[str, object], words: str) -> None:
    said = found(**changes)
    assert said["blocker"]
    assert any(words in line for line in said["blocker"])
    assert all("; " in line for line in said["blocker"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpus": [H100, V100], "driver_gpus": 2}, "the GPUs differ; choose equal ones with --use_gpus"),
        ({"gpus": [], "driver_gpus": None}, "no GPU; to train the 8B"),
        ({"has_deepspeed": False}, "pip install deepspeed, or use --backend fsdp"),
        ({"nvcc": None}, "no nvcc"),
        ({"gpus": [], "driver_gpus": None, "compilers": ["ninja"]}, "apt-get install g++ ninja-build"),
        ({"has_hub_token": False}, "set HF_TOKEN"),
        ({"is_offline": True}, "HF_HUB_OFFLINE"),
        ({"disk_free": 20 * 10**9}, "`r3pp plan` says"),
        ({"gpus": [V100], "shm_bytes": 64 * 2**20}, "/dev/shm has 67 MB"),
    ],
)
def test_what_a_run_can_do_without_is_a_note(changes: dict[str, object], words: str) -> None:
    said = found(**changes)
    assert said["blocker"] == []
    assert any(words in line for line in said["note"])


def test_newer_cards_run_older_ptx_and_older_minor_versions() -> None:
    ada = Gpu("NVIDIA L4", 24 * GIB, (8, 9))
    assert found(gpus=[ada], architectures=["sm_80"])["blocker"] == []
    assert found(gpus=[ada], architectures=["sm_70", "compute_70"])["blocker"] == []
    assert found(gpus=[ada], architectures=["sm_90a"])["blocker"] != []


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    machine = look(tmp_path / "not" / "there")
    assert machine.torch_version.startswith("2.")
    assert machine.faiss
    assert machine.disk_free > 0
    assert diagnose(machine)

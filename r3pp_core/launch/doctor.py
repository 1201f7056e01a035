"""What a machine lacks for training: each finding with its remedy, told before anything is started."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GB = 10**9
LEAST_DISK, LITTLE_DISK = 1 * GB, 50 * GB
LITTLE_SHM = 1 * GB
BF16_CAPABILITY = (8, 0)
State = Literal["ok", "note", "blocker"]


@dataclass(frozen=True)
class Finding:
    """`remedy` is empty where nothing is to be done."""

    state: State
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8}{self.text}{f'; {self.remedy}' if self.remedy else ''}"


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Machine:
    """What `look` saw. `driver_gpus`: as the driver counts them; None without one."""

    torch_version: str
    torch_cuda: str | None
    architectures: list[str]
    driver_gpus: int | None
    gpus: list[Gpu]
    nccl: tuple[int, ...] | None
    nvcc: str | None
    has_deepspeed: bool
    compilers: list[str]
    faiss: list[str]
    has_hub_token: bool
    is_offline: bool
    folder: Path
    disk_free: int
    shm_bytes: int | None


def look(folder: Path) -> Machine:
    """`folder`: where checkpoints and data are to go. Loads torch."""
    import torch

    gpus = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            gpus.append(Gpu(about.name, about.total_memory, (about.major, about.minor)))
    has_nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return Machine(
        torch_version=torch.__version__,
        torch_cuda=torch.version.cuda,
        architectures=torch.cuda.get_arch_list() if torch.version.cuda else [],
        driver_gpus=_driver_gpus(),
        gpus=gpus,
        nccl=tuple(torch.cuda.nccl.version()) if has_nccl and gpus else None,
        nvcc=_nvcc(),
        has_deepspeed=importlib.util.find_spec("deepspeed") is not None,
        compilers=[name for name in ("c++", "ninja") if shutil.which(name) or importlib.util.find_spec(name)],
        faiss=_faiss(),
        has_hub_token=bool(os.environ.get("HF_TOKEN")) or _hub_token_file().is_file(),
        is_offline=os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"),
        folder=folder,
        disk_free=shutil.disk_usage(place).free,
        shm_bytes=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,
    )


def _driver_gpus() -> int | None:
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return sum(line.startswith("GPU ") for line in found.stdout.splitlines())


def _nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")


def _faiss() -> list[str]:
    names = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    return sorted(name for name in names if name.startswith("faiss-"))


def _hub_token_file() -> Path:
    home = os.environ.get("HF_HOME", str(Path("~/.cache/huggingface").expanduser()))
    return Path(os.environ.get("HF_TOKEN_PATH", f"{home}/token"))


def diagnose(machine: Machine) -> list[Finding]:
    """Blockers are what training on this machine would fail at."""
    return [*_of_cards(machine), *_of_packages(machine), *_of_places(machine)]


def _of_cards(machine: Machine) -> list[Finding]:
    built = f"torch {machine.torch_version}, built for {f'CUDA {machine.torch_cuda}' if machine.torch_cuda else 'CPUs'}"
    if machine.driver_gpus is None and not machine.gpus:
        remedy = "to train the 8B, run this where there is a card (nvidia-smi is not here)"
        return [Finding("note", f"{built}; no GPU", remedy)]
    if not machine.gpus:
        remedy = (
            "update the driver, or install a torch for an older CUDA"
            if machine.torch_cuda
            else "install a torch with CUDA: make demo TORCH_INDEX=https://download.pytorch.org/whl/cu126"
        )
        return [Finding("blocker", f"{built}; the driver shows {machine.driver_gpus} GPUs, torch none", remedy)]
    found = [Finding("ok", f"{built}; {len(machine.gpus)} GPUs")]
    for number, gpu in enumerate(machine.gpus):
        version = "".join(map(str, gpu.capability))
        name = f"GPU {number}: {gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB, sm_{version}"
        if not _is_served(gpu.capability, machine.architectures):
            served = ", ".join(machine.architectures)
            remedy = f"this torch has code for {served}; see docs/8x-v100.md for one that has"
            found.append(Finding("blocker", f"{name} is not served", remedy))
        elif gpu.capability < BF16_CAPABILITY:
            found.append(Finding("note", f"{name}: no native bf16", "--bf16 is served as fp16 with a loss scaler"))
        else:
            found.append(Finding("ok", f"{name}, native bf16"))
    if len({gpu.name for gpu in machine.gpus}) > 1:
        found.append(Finding("note", "the GPUs differ", "choose equal ones with --use_gpus: the slowest sets the pace"))
    if len(machine.gpus) > 1:
        nccl = ".".join(map(str, machine.nccl)) if machine.nccl else None
        lacks = Finding("blocker", "torch has no NCCL, which several GPUs need", "install torch's own wheel")
        found.append(Finding("ok", f"NCCL {nccl}") if nccl else lacks)
    return found


def _is_served(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Binary code of the same major version up to this minor one, or PTX of any older version."""
    for name in architectures:
        kind, _, digits = name.partition("_")
        number = digits.rstrip("af")
        if not number.isdigit():
            continue
        major, minor = divmod(int(number), 10)
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return False


def _of_packages(machine: Machine) -> list[Finding]:
    found = []
    if not machine.has_deepspeed:
        found.append(Finding("note", "no DeepSpeed", "pip install deepspeed, or use --backend fsdp"))
    elif machine.gpus:
        lacks = Finding("note", "no nvcc: DeepSpeed cannot compile its own operators", "needed for offloading only")
        found.append(Finding("ok", f"DeepSpeed, nvcc at {machine.nvcc}") if machine.nvcc else lacks)
    elif len(machine.compilers) < 2:
        found.append(
            Finding("note", "no compiler: DeepSpeed's ranks on CPUs need one", "apt-get install g++ ninja-build")
        )
    if len(machine.faiss) == 1:
        found.append(Finding("ok", machine.faiss[0]))
    elif machine.faiss:
        remedy = "they overwrite each other: pip uninstall all of them, then install one"
        found.append(Finding("blocker", f"{' and '.join(machine.faiss)} are both installed", remedy))
    else:
        found.append(Finding("blocker", "no faiss", "pip install 'r3pp[cpu]' or 'r3pp[gpu]'"))
    if machine.is_offline:
        found.append(Finding("note", "HF_HUB_OFFLINE is set", "the Hub's cache alone is used"))
    elif not machine.has_hub_token:
        found.append(Finding("note", "no Hub token", "set HF_TOKEN where downloads are refused or slow"))
    else:
        found.append(Finding("ok", "Hub token"))
    return found


def _of_places(machine: Machine) -> list[Finding]:
    free = f"{machine.disk_free / GB:.1f} GB are free for {machine.folder}"
    found = [Finding("ok", free)]
    if machine.disk_free < LEAST_DISK:
        found = [Finding("blocker", free, "free some, or name another --workspace")]
    elif machine.disk_free < LITTLE_DISK:
        found = [Finding("note", free, "`r3pp plan` says what a run's checkpoints take")]
    if machine.shm_bytes is not None and machine.shm_bytes < LITTLE_SHM:
        text = f"/dev/shm has {machine.shm_bytes / 1e6:.0f} MB"
        state: State = "blocker" if len(machine.gpus) > 1 else "note"
        found.append(Finding(state, text, "NCCL and worker processes use it: docker run --shm-size=8g"))
    return found

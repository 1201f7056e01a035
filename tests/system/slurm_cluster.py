"""A real Slurm of two nodes on this one host, as `slurm-wlm` and `munge` of Debian install it. Root only."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

NODES = ("n1", "n2")
START_S = 60
SETTINGS = """
ClusterName=trial
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmctldPort={port}
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
MinJobAge=300
OverTimeLimit=0
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdSpoolDir={root}/spool.%n
StateSaveLocation={root}/state
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
{nodes}
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """`conf` is what SLURM_CONF names for whoever talks to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conf = root / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen] = {}
        for name in ("slurmctld", "slurmd", "munged"):
            assert shutil.which(name), f"{name} is not installed; run tests/system/install.sh"

    def start(self) -> None:
        host = socket.gethostname().split(".")[0]
        ports = _free_ports(3)
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 State=UNKNOWN"
            for name, port in zip(NODES, ports[1:], strict=True)
        )
        for name in ("state", *(f"spool.{node}" for node in NODES)):
            (self.root / name).mkdir()
        self.conf.write_text(SETTINGS.format(host=host, root=self.root, port=ports[0], nodes=nodes))
        os.environ["SLURM_CONF"] = str(self.conf)
        self._start_munge()
        self._start("slurmctld", ["slurmctld", "-D", "-f", str(self.conf)])
        for node in NODES:
            self.start_node(node)
        self.wait_for(lambda: self._states() == ["idle"] * len(NODES), f"idle nodes, found {self._states()}")

    def start_node(self, node: str) -> None:
        self._start(node, ["slurmd", "-D", "-N", node, "-f", str(self.conf)])

    def kill_node(self, node: str) -> None:
        """The node's daemon with everything that it started, in one moment, as when the machine is lost."""
        daemon = psutil.Process(self.daemons[node].pid)
        lost = [daemon, *(process for process in psutil.process_iter() if _runs_on(process, node))]
        for process in lost:
            process.suspend()  # nobody is left to tell of the others
        for process in lost:
            process.kill()
        self.daemons[node].wait()

    def stop(self) -> None:
        for name in (*NODES, "slurmctld"):
            process = self.daemons.get(name)
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.daemons.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        os.environ.pop("SLURM_CONF", None)

    def jobs(self) -> list[str]:
        """Ids of those that wait or run."""
        return subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True, check=True).stdout.split()

    def wait_for(self, is_so, what: str) -> None:
        deadline = time.monotonic() + START_S
        while not is_so():
            assert time.monotonic() < deadline, f"no {what}; see {self.root}"
            time.sleep(0.5)

    def _states(self) -> list[str]:
        found = subprocess.run(["sinfo", "-h", "-N", "-o", "%t"], capture_output=True, text=True)
        return found.stdout.split()

    def _start(self, name: str, command: list[str]) -> None:
        log = (self.root / f"{name}.out").open("ab")
        self.daemons[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _start_munge(self) -> None:
        if subprocess.run("munge -n | unmunge", shell=True, capture_output=True).returncode == 0:
            return
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _runs_on(process: psutil.Process, node: str) -> bool:
    try:
        is_step = process.name() == "slurmstepd" and node in " ".join(process.cmdline())
        return is_step or process.environ().get("SLURMD_NODENAME") == node
    except psutil.Error:
        return False

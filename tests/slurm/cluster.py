"""A throw-away Slurm of one node for tests: its own configuration, key, ports and daemons, everything in one folder.

What a real cluster does and this one does not: several nodes, memory limits that kill (memory is booked, not enforced:
there are no cgroups), preemption, accounting.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CLIENTS = ("sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
DAEMONS = ("munged", "slurmctld", "slurmd")
PACKAGES = "munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins"
# Daemons lie outside an ordinary user's path.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")
_CONFIGURATION = """\
ClusterName=throwaway
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={worker}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
MinJobAge=36000
KillWait=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/worker
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
DefMemPerCPU=500
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
"""


class ClusterError(Exception):
    """The cluster does not do what it should; its logs are in its folder."""


@dataclass(frozen=True)
class Job:
    """What Slurm recorded of one job or array task.

    Attributes:
        number: Slurm's id; of an array task the id of its own.
        array: Id of the array the job is a task of, empty if of none.
        rule: The rule it ran.
        state: Slurm's state.
        partition: Where it ran.
        memory: Megabytes booked.
        minutes: Time limit.
        gpus: GPUs booked.
    """

    number: int
    array: str
    rule: str
    state: str
    partition: str
    memory: int
    minutes: int
    gpus: int


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in (*DAEMONS, *CLIENTS) if not shutil.which(name, path=SEARCH)]


class Cluster:
    """One node that claims to have so many processors, megabytes and GPUs.

    Args:
        folder: Where everything lies; new or of a stopped cluster.
        partitions: Names; the first is the default.
        cpus: Processors claimed.
        memory: Megabytes claimed.
        gpus: GPUs claimed; no device is needed.
    """

    def __init__(
        self, folder: Path, partitions: Iterable[str] = ("main",), cpus: int = 2, memory: int = 131_072, gpus: int = 2
    ) -> None:
        self.folder = folder.resolve()
        self._partitions = tuple(partitions)
        self._size = {"cpus": cpus, "memory": memory, "gpus": gpus}

    @property
    def programs(self) -> Path:
        """Folder of the client programs, to be put on PATH."""
        return self.folder / "bin"

    def start(self) -> None:
        """Bring the cluster up, and pass one job through it.

        Raises:
            ClusterError: A daemon does not start, or the job does not pass.
        """
        for name in ("bin", "controller", "worker", "gpus"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._configure()
        self._munge()
        self._daemon("slurmctld")
        self._until(lambda: self.call("scontrol", "ping").returncode == 0, "slurmctld does not answer")
        self._daemon("slurmd", "-N", _node())
        self._until(lambda: "idle" in self.call("sinfo", "-h", "-o", "%T").stdout, "the node does not come up")
        done = self.call("srun", "-n1", "--mem=50", "--gpus=1", "true", wait=60)
        if done.returncode:
            raise ClusterError(f"the first job fails: {done.stderr}")

    def _configure(self) -> None:
        # Links to a character device pass for GPUs, and Slurm then sets CUDA_VISIBLE_DEVICES as for real ones.
        files = [self.folder / "gpus" / f"fake{number}" for number in range(self._size["gpus"])]
        for file in files:
            if not file.is_symlink():
                file.symlink_to("/dev/null")
        lines = [f"NodeName={_node()} Name=gpu File={file}\n" for file in files]
        (self.folder / "gres.conf").write_text("".join(lines))
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\nConstrainRAMSpace=no\nConstrainDevices=no\n")
        controller, worker = _free_ports(2)
        text = _CONFIGURATION.format(
            node=_node(), user=getpass.getuser(), folder=self.folder, controller=controller, worker=worker, **self._size
        )
        for name in self._partitions:
            default = "YES" if name == self._partitions[0] else "NO"
            text += f"PartitionName={name} Nodes={_node()} Default={default} MaxTime=INFINITE State=UP\n"
        configuration = self.folder / "slurm.conf"
        configuration.write_text(text)
        # Snakemake's job steps drop SLURM_CONF before they call srun, so the way to the cluster is PATH.
        for name in CLIENTS:
            wrapper = self.programs / name
            program = shutil.which(name, path=SEARCH)
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {program} "$@"\n')
            wrapper.chmod(0o755)

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(secrets.token_bytes(1024))
        files = {"key-file": key} | {f"{name}-file": self.folder / f"munged.{name}" for name in ("pid", "log", "seed")}
        # Forced, because the folder of a test may lie below one that others can write to.
        self._daemon(
            "munged",
            "--force",
            f"--socket={self.folder / 'munge.sock'}",
            *(f"--{option}={file}" for option, file in files.items()),
        )

    def _daemon(self, name: str, *arguments: str) -> None:
        environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        program = str(shutil.which(name, path=SEARCH))
        done = subprocess.run(
            [program, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ClusterError(f"{name} does not start: {done.stderr}")

    def _until(self, holds: Callable[[], bool], otherwise: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise ClusterError(f"{otherwise}; see {self.folder}/*.log")
            time.sleep(0.2)

    def call(self, *command: str, wait: float = 20) -> subprocess.CompletedProcess[str]:
        """One client program, run against this cluster."""
        program, *arguments = command
        try:
            return subprocess.run(
                [str(self.programs / program), *arguments], capture_output=True, text=True, timeout=wait, check=False
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no answer within {wait} s")

    def jobs(self) -> list[Job]:
        """All jobs of Snakemake so far, in the order of their ids; a waiting array is one job."""
        shown = self.call("scontrol", "-o", "show", "job").stdout.splitlines()
        records = [dict(pair.partition("=")[::2] for pair in line.split()) for line in shown]
        return sorted(
            (_job(record) for record in records if record.get("Comment", "").startswith("rule_")),
            key=lambda job: job.number,
        )

    def cancel(self) -> None:
        """End all jobs, and wait until none is left."""
        self.call("scancel", "--me")
        self._until(lambda: not self.call("squeue", "-h").stdout.strip(), "jobs do not end")

    def stop(self) -> None:
        """End all jobs and daemons."""
        try:
            self.cancel()
        finally:
            for name in reversed(DAEMONS):
                self._end(name)

    def _end(self, name: str) -> None:
        try:
            number = int((self.folder / f"{name}.pid").read_text())
            if Path(f"/proc/{number}/comm").read_text().strip() != name:
                return
            os.kill(number, signal.SIGTERM)
        except (OSError, ValueError):
            return
        self._until(lambda: not Path(f"/proc/{number}").exists(), f"{name} does not end")


def _node() -> str:
    return socket.gethostname().partition(".")[0]


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def _job(record: Mapping[str, str]) -> Job:
    rule = record["Comment"].removeprefix("rule_").partition("_wildcards_")[0]
    return Job(
        number=int(record["JobId"]),
        array=record.get("ArrayJobId", ""),
        rule=rule,
        state=record["JobState"],
        partition=record["Partition"],
        memory=_megabytes(record["MinMemoryNode"]),
        minutes=_minutes(record["TimeLimit"]),
        gpus=int(record.get("TresPerJob", "gres:gpu:0").rpartition(":")[2]),
    )


def _megabytes(text: str) -> int:
    factors = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
    return round(float(text[:-1]) * factors[text[-1]])


def _minutes(text: str) -> int:
    """Of `days-hours:minutes:seconds`."""
    days, _, clock = text.rpartition("-")
    hours, minutes, _ = clock.split(":")
    return int(days or 0) * 1440 + int(hours) * 60 + int(minutes)

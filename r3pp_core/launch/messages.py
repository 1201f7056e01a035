"""Structured messages from a job to its launcher: one JSON object a line, in a file of the run's folder.

A line is `{"launch": id or null, "time": unix seconds, "kind": ..., ...}`. Each line is one write of an O_APPEND
descriptor, so that lines of several processes never mix on a local file system, and a killed writer leaves at most
one torn line. Between machines that share a folder they could: there all but rank 0 write into a file of their node.
Numbers that are not finite become null.
"""

import os
import time
from pathlib import Path
from typing import Any

import orjson

from r3pp_core.errors import R3Error

LAUNCH_ID_VARIABLE = "R3PP_LAUNCH_ID"
NODE_VARIABLES = ("SLURM_NNODES", "SLURM_NODEID")
MAX_MESSAGE_BYTES = 32 * 1024


def messages_path(run_dir: Path) -> Path:
    return run_dir / "progress.jsonl"


def _own_path(run_dir: Path) -> Path:
    num_nodes, node = (os.environ.get(name, "") for name in NODE_VARIABLES)
    if num_nodes in ("", "1") or not node or os.environ.get("RANK") == "0":
        return messages_path(run_dir)
    return run_dir / f"progress.node{node}.jsonl"


def append_message(run_dir: Path, kind: str, fields: dict[str, Any]) -> None:
    """Append one line, from any rank. Raises R3Error when it has 32 KB or more, or the disk does not take it."""
    message = {"launch": os.environ.get(LAUNCH_ID_VARIABLE), "time": time.time(), "kind": kind, **fields}
    line = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
    if len(line) >= MAX_MESSAGE_BYTES:
        raise R3Error(
            f"message {kind!r} has {len(line)} bytes, the limit is {MAX_MESSAGE_BYTES}; "
            "write what is large to a file and send its path"
        )
    path = _own_path(run_dir)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # the last writer was cut off within its line: leave that line alone
        if os.write(descriptor, line) != len(line):
            raise R3Error(f"{path} took only part of a message; the disk is full: free some space")
    finally:
        os.close(descriptor)


class MessageWriter:
    """A job's side. Every rank may hold one; only rank 0 writes, so that nothing is reported once per rank."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._speaks = int(os.environ.get("RANK", "0")) == 0

    def send(self, kind: str, **fields: Any) -> None:
        """Report an event. The fields are numbers, strings, lists and dicts; names as in docs/launcher.md."""
        if self._speaks:
            append_message(self._run_dir, kind, fields)


class MessageReader:
    """The launcher's side: the messages of one launch, each once, in the order in which they were written."""

    def __init__(self, run_dir: Path, launch_id: str) -> None:
        self._run_dir = run_dir
        self._launch_id = launch_id
        self._offsets: dict[Path, int] = {}
        self.num_unreadable = 0

    def _paths(self) -> list[Path]:
        main = messages_path(self._run_dir)
        return [*([main] if main.exists() else []), *sorted(self._run_dir.glob("progress.node*.jsonl"))]

    def skip_existing(self) -> None:
        """Begin at the end of what earlier launches wrote."""
        self._offsets = {path: path.stat().st_size for path in self._paths()}

    def read(self) -> list[dict[str, Any]]:
        """What came since the last call. A last line without its end waits for the next call.

        Of several files, in the order of their times, as far as the nodes' clocks agree.
        """
        paths = self._paths()
        messages = [message for path in paths for message in self._read(path)]
        return messages if len(paths) < 2 else sorted(messages, key=lambda message: message["time"])

    def _read(self, path: Path) -> list[dict[str, Any]]:
        with path.open("rb") as file:
            file.seek(self._offsets.get(path, 0))
            whole = file.read()
        whole = whole[: whole.rfind(b"\n") + 1]
        self._offsets[path] = self._offsets.get(path, 0) + len(whole)
        messages = (self._parse(line) for line in whole.splitlines() if line.strip())
        return [message for message in messages if message and message.get("launch") == self._launch_id]

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            message = None
        if isinstance(message, dict):
            return message
        self.num_unreadable += 1
        return None

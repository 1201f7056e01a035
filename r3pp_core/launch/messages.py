"""Structured messages from a job to its launcher: one JSON object a line, in a file of the run's folder.

A line is `{"launch": id or null, "time": unix seconds, "kind": ..., ...}`. Each line is one write of an O_APPEND
descriptor, so that lines of several processes never mix on a local file system, and a killed writer leaves at most
one torn line. Numbers that are not finite become null.
"""

import os
import time
from pathlib import Path
from typing import Any

import orjson

from r3pp_core.errors import R3Error

LAUNCH_ID_VARIABLE = "R3PP_LAUNCH_ID"
MAX_MESSAGE_BYTES = 32 * 1024


def messages_path(run_dir: Path) -> Path:
    return run_dir / "progress.jsonl"


def append_message(run_dir: Path, kind: str, fields: dict[str, Any]) -> None:
    """Append one line, from any rank. Raises R3Error when it has 32 KB or more, or the disk does not take it."""
    message = {"launch": os.environ.get(LAUNCH_ID_VARIABLE), "time": time.time(), "kind": kind, **fields}
    line = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
    if len(line) >= MAX_MESSAGE_BYTES:
        raise R3Error(
            f"message {kind!r} has {len(line)} bytes, the limit is {MAX_MESSAGE_BYTES}; "
            "write what is large to a file and send its path"
        )
    path = messages_path(run_dir)
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
        self._path = messages_path(run_dir)
        self._launch_id = launch_id
        self._offset = 0
        self.num_unreadable = 0

    def skip_existing(self) -> None:
        """Begin at the end of what earlier launches wrote."""
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def read(self) -> list[dict[str, Any]]:
        """What came since the last call. A last line without its end waits for the next call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole = file.read()
        whole = whole[: whole.rfind(b"\n") + 1]
        self._offset += len(whole)
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

"""What launchers share while a job runs: its messages passed on, its failures kept back, SIGTERM as an interrupt."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from r3pp_core.launch.failures import launch_failed, root_cause
from r3pp_core.launch.interface import JobResult, LaunchConfig, Message, OnMessage
from r3pp_core.launch.messages import MessageReader
from r3pp_core.progress import Progress

STOP_GRACE_S = 60.0  # for a job that has no plan


class Relay:
    """Passes messages on as they come, and keeps failures back until it is known which one was the cause."""

    def __init__(self, reader: MessageReader, on_message: OnMessage) -> None:
        self._reader = reader
        self._on_message = on_message
        self._delivering = False
        self.failures: list[Message] = []
        self.num_messages = 0
        self.last_message: Message | None = None
        self.plan: Message | None = None
        self.stopped = False

    def skip_existing(self) -> None:
        """What earlier launches of this run's folder wrote."""
        self._reader.skip_existing()

    def poll(self) -> None:
        fresh = self._reader.read()
        self.num_messages += len(fresh)
        self.failures += [message for message in fresh if message["kind"] == "failed"]
        events = [message for message in fresh if message["kind"] != "failed"]
        self.last_message = events[-1] if events else self.last_message
        self.stopped = self.stopped or any(message["kind"] == "stopped" for message in events)
        self.plan = next((message for message in events if message["kind"] == "plan"), self.plan)
        for message in events:
            self._deliver(message)

    def finish(self, name: str, progress: Progress) -> None:
        """Read what is left, and deliver the failure that caused the others."""
        self.poll()
        if cause := root_cause(self.failures):
            self._deliver(dict(cause))
        if self._reader.num_unreadable:
            progress(f"{name}: {self._reader.num_unreadable} torn messages were passed over")

    def _deliver(self, message: Message) -> None:
        """A callback that was interrupted or raised is not called again: what it raised is already on its way up."""
        if not self._delivering:
            self._delivering = True
            self._on_message(message)
            self._delivering = False

    def stop_grace_s(self, config: LaunchConfig) -> float:
        """For a clean end: as configured, else as the job planned."""
        if config.stop_grace_s is not None:
            return config.stop_grace_s
        return float((self.plan or {}).get("stop_grace_s", STOP_GRACE_S))

    def result(self, name: str, launch_id: str, exit_code: int, wall_s: float) -> JobResult:
        """Raises LaunchFailed unless the job ended with 0."""
        if exit_code != 0:
            raise launch_failed(name, exit_code, self.failures, self.plan)
        return JobResult(launch_id, exit_code, wall_s, self.num_messages, self.last_message, self.stopped)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into SystemExit(143) while a job runs, unless someone (Dagster) has a handler of their own.

    A SIGTERM that a script hands down as "ignored" is turned as well: a job must be stoppable.
    """
    before = signal.getsignal(signal.SIGTERM)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before not in (signal.SIG_DFL, signal.SIG_IGN):
        yield
        return

    def leave(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""Starting training and other many-process work so that it can be watched, stopped and never orphaned."""

from r3pp_core.launch.child import run_child
from r3pp_core.launch.failures import LaunchFailed, NonFiniteLossError
from r3pp_core.launch.interface import Job, JobResult, LaunchConfig, Launcher
from r3pp_core.launch.local import LocalLauncher
from r3pp_core.launch.messages import MessageReader, MessageWriter
from r3pp_core.launch.orphans import die_with_parent
from r3pp_core.launch.registry import launcher_for
from r3pp_core.launch.run_dir import hold_run_dir, request_stop, stop_point, stop_requested

__all__ = [
    "Job",
    "JobResult",
    "LaunchConfig",
    "LaunchFailed",
    "Launcher",
    "LocalLauncher",
    "MessageReader",
    "MessageWriter",
    "NonFiniteLossError",
    "die_with_parent",
    "hold_run_dir",
    "launcher_for",
    "request_stop",
    "run_child",
    "stop_point",
    "stop_requested",
]

"""No process outlives the one that answers for it (Linux: prctl, see prctl(2), PR_SET_PDEATHSIG)."""

import ctypes
import os
import signal

import psutil

PARENT_VARIABLE = "R3PP_PARENT_PID"
PR_SET_PDEATHSIG = 1


def die_with_parent(death_signal: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send `death_signal` to this process when the thread that started it ends.

    A parent that died before this call would never be noticed, so the parent is looked at once more afterwards: it
    must not have changed, and where PARENT_VARIABLE names a process, that one must still be an ancestor. A signal that
    was handed down as "ignored" (by a script, by a job that runs in the background) is taken back to its default.
    """
    if death_signal != signal.SIGKILL and signal.getsignal(death_signal) is signal.SIG_IGN:
        signal.signal(death_signal, signal.SIG_DFL)
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    expected = os.environ.get(PARENT_VARIABLE)
    ancestors = {process.pid for process in psutil.Process().parents()} if expected else set()
    if os.getppid() != parent or (expected and int(expected) not in ancestors):
        os.kill(os.getpid(), death_signal)

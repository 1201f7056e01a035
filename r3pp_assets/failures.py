"""Errors that a user can mend reach the UI as their one sentence. A retry policy applies only where a retry helps."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from r3pp_core.errors import R3Error
from r3pp_core.launch.failures import LaunchFailed


@contextmanager
def user_errors() -> Iterator[float]:
    """Gives the moment of its start (time.monotonic), from which an asset says how long it took."""
    try:
        yield time.monotonic()
    except R3Error as error:
        retry_helps = isinstance(error, LaunchFailed) and error.retry_helps
        raise dg.Failure(description=str(error), allow_retries=retry_helps) from error

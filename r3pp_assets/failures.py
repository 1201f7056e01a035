"""Errors that a user can mend reach the UI as their one sentence; only where trying again helps is it tried again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG

from r3pp_core.errors import R3Error
from r3pp_core.launch.failures import LaunchFailed

MAX_RETRIES = 2
# Of runs that are to go on by themselves when their process is lost, with the machine for example; others are not.
GOES_ON = {MAX_RETRIES_TAG: str(MAX_RETRIES)}
RETRY_DELAY_S = 15


@contextmanager
def user_errors() -> Iterator[float]:
    """Gives the moment of its start (time.monotonic), from which an asset says how long it took.

    A retry is asked for here, and no asset has a `RetryPolicy`: Dagster would apply it to a cancelled run as well.
    """
    try:
        yield time.monotonic()
    except R3Error as error:
        failure = dg.Failure(description=str(error), allow_retries=False)
        if isinstance(error, LaunchFailed) and error.retry_helps:
            raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=RETRY_DELAY_S) from failure
        raise failure from error

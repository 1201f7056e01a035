"""Errors that a user can mend reach the UI as their one sentence, and are not retried."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from r3pp_core.errors import R3Error


@contextmanager
def user_errors() -> Iterator[None]:
    try:
        yield
    except R3Error as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error

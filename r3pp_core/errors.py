"""The two errors that reach a user as one sentence instead of a traceback."""


class R3Error(Exception):
    """Something the user can mend: the message names the value and the remedy. Exit code 1."""

    exit_code = 1


class UsageError(R3Error):
    """The request itself is wrong: an unknown data set, a flag out of range. Exit code 2."""

    exit_code = 2

"""A terminal log for people: time since the start, the step, and its own messages; no debug events."""

import logging
import sys
import time
from typing import Any

import dagster as dg

START = time.monotonic()


class BriefFormatter(logging.Formatter):
    """`[ 12.3 s] raw/screenqa: message`; a failed step shows the sentence that it failed with."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {}) or {}
        step = (meta.get("step_key") or meta.get("resource_name") or "").replace("__", "/")
        text = str(meta.get("orig_message") or record.getMessage()).strip()
        event = meta.get("dagster_event")
        if event is not None and event.event_type_value == "STEP_FAILURE":
            text = f"failed: {failure_reason(event.step_failure_data)}"
        named = text if not step or text.startswith(step) else f"{step}: {text}"
        return f"[{time.monotonic() - START:6.1f} s] {named}"


def failure_reason(data: Any) -> str:
    """The sentence that a user's mistake was answered with, else the innermost exception."""
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "for an unknown reason"


class NoDebugEvents(logging.Filter):
    """Messages of our own stages, and failed steps; Dagster's event chatter stays in the UI."""

    def filter(self, record: logging.LogRecord) -> bool:
        meta = getattr(record, "dagster_meta", {}) or {}
        event = meta.get("dagster_event")
        if event is None:
            return record.levelno >= logging.INFO and "Not executing." not in record.getMessage()
        return event.event_type_value == "STEP_FAILURE"


@dg.logger
def brief_logger(context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("r3pp", level=logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(BriefFormatter())
    handler.addFilter(NoDebugEvents())
    logger.addHandler(handler)
    return logger

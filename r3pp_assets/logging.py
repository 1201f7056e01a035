"""A terminal log for people: time since the start, the step, and its own messages; no debug events."""

import logging
import sys
import time

import dagster as dg

START = time.monotonic()


class BriefFormatter(logging.Formatter):
    """`[ 12.3 s] raw/screenqa: message`; failures keep their first line."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {}) or {}
        step = (meta.get("step_key") or meta.get("resource_name") or "").replace("__", "/")
        text = str(meta.get("orig_message") or record.getMessage()).strip()
        named = text if not step or text.startswith(step) else f"{step}: {text}"
        return f"[{time.monotonic() - START:6.1f} s] {named}"


class NoDebugEvents(logging.Filter):
    """Messages of our own stages, and errors; Dagster's event chatter stays in the UI."""

    def filter(self, record: logging.LogRecord) -> bool:
        meta = getattr(record, "dagster_meta", {}) or {}
        if meta.get("dagster_event") is None:
            return record.levelno >= logging.INFO
        return record.levelno >= logging.ERROR


@dg.logger
def brief_logger(context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("r3pp", level=logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(BriefFormatter())
    handler.addFilter(NoDebugEvents())
    logger.addHandler(handler)
    return logger

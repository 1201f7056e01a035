"""The unified row: one schema for the three data sets, between ingest and everything after it."""

from collections.abc import Mapping
from typing import Any

UNIFIED_FIELDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "dataset": (str,),
    "split": (str,),
    "image_path": (str,),
    "image_sha256": (str,),
    "question": (str,),
    "answer": (str,),
    "answers": (list,),
    "ocr_text": (str,),
    "ocr_conf": (float, int, type(None)),
    "pseudo_text": (str,),
    "meta": (dict,),
}

RAW_FIELDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "dataset": (str,),
    "split": (str,),
    "question": (str, type(None)),
    "answers": (list,),
    "meta": (dict,),
    "image": (str,),
    "image_sha256": (str,),
}


def schema_problem(row: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]]) -> str | None:
    """The first way in which a row departs from the schema, or None."""
    if missing := [name for name in fields if name not in row]:
        return f"lacks {', '.join(missing)}"
    if extra := [name for name in row if name not in fields]:
        return f"has unknown {', '.join(extra)}"
    for name, types in fields.items():
        if not isinstance(row[name], types) or isinstance(row[name], bool):
            return f"{name} is {type(row[name]).__name__}"
    if not all(isinstance(answer, str) and answer for answer in row["answers"]):
        return "answers holds something that is not a non-empty string"
    return None


def unified_problem(row: Mapping[str, Any]) -> str | None:
    """As `schema_problem` for unified rows, with the rules between fields (METHOD: the unified row)."""
    if problem := schema_problem(row, UNIFIED_FIELDS):
        return problem
    if row["answer"] != (row["answers"][0] if row["answers"] else ""):
        return "answer is not the first of answers"
    if row["ocr_conf"] is not None and not 0 <= row["ocr_conf"] <= 1:
        return f"ocr_conf is {row['ocr_conf']}, outside 0..1"
    if not row["question"].strip():
        return "question is empty"
    return None

"""Why a row or a picture was left out: the only words that stand as `reason` in rejected.jsonl files and manifests."""

from enum import StrEnum


class Reason(StrEnum):
    """What each stage may say; docs/ingest.md has a line for each."""

    # download, OCR
    PICTURE_MISSING = "picture_missing"
    PICTURE_UNDECODABLE = "picture_undecodable"
    PICTURE_TOO_LARGE = "picture_too_large"
    TEXT_UNDECODABLE = "text_undecodable"
    OCR_FAILED = "ocr_failed"
    # unify
    NOT_JSON = "not_json"
    SCHEMA = "schema"
    QUESTION_EMPTY = "question_empty"
    ANSWER_MISSING = "answer_missing"
    # merge
    DUPLICATE = "duplicate"
    PICTURE_IN_EVALUATION = "picture_in_evaluation"
    PICTURE_IN_VAL = "picture_in_val"
    NEAR_PICTURE_IN_EVALUATION = "near_picture_in_evaluation"
    NEAR_PICTURE_IN_VAL = "near_picture_in_val"

"""From a source of Parquet files to train.jsonl, val.jsonl and test.jsonl: download, OCR, unify, merge."""

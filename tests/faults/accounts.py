"""The books of a stage: no row may be missing in them."""

from pathlib import Path

from r3pp_core.artefact import Manifest, Target, is_whole, require_manifest
from r3pp_core.jsonl import read_jsonl


def balanced(target: Target, rows_in: int) -> Manifest:
    """The manifest, after looking that it, the tables and the rejections account for all rows that went in."""
    manifest = require_manifest(target, "the stage")
    assert is_whole(target, manifest)
    files = [target.folder / name for name in manifest.files if name.endswith(".jsonl")]
    rejected = [line for path in files if path.name.endswith("rejected.jsonl") for line in read_jsonl(path)]
    num_rows = sum(1 for path in files if not path.name.endswith("rejected.jsonl") for _ in read_jsonl(path))
    assert all(line["id"] and line["reason"] and line["detail"] for line in rejected)
    assert manifest.counts["rows_in"] == rows_in == num_rows + len(rejected)
    assert manifest.counts["rows"] == num_rows
    assert sum(manifest.left_out.values()) == len(rejected)
    return manifest


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file, also hidden ones, but for locks, which name a process."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".lock-")
    }

"""A stage whose sources changed has a newer version, or somebody said that it gives the same bytes still."""

import ast
import hashlib
import json
import sys
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

import r3pp_core
from r3pp_core import code_versions

CORE = Path(r3pp_core.__file__).parent
SNAPSHOT = Path(__file__).with_name("code_versions.json")

# What decides the bytes that a stage writes; not how they are fetched, shown or launched.
PICTURES = ["pictures.py", "ingest/ocr_store.py"]
RETRIEVED = [
    f"retrieval/{name}.py" for name in ("batches", "encoders", "faiss_index", "metadata", "neighbours", "search")
]
SEEN = ["corruption/*.py", "model/*.py", "datasets/*.py", "recipes/*.py", *RETRIEVED, *PICTURES]
SCORED = [
    f"evaluation/{name}.py"
    for name in (
        "calibration",
        "comparison",
        "grouping",
        "metric_set",
        "metrics",
        "overlap",
        "recovery",
        "scoring",
        "signature",
        "statistics",
    )
]
SOURCES = {
    "DOWNLOAD": [f"ingest/{name}.py" for name in ("adopt", "download", "picture_files", "split_export")]
    + ["ingest/source*.py", "sample/*.py", "datasets/*.py", "pictures.py"],
    "OCR": ["ingest/ocr*.py", "ingest/perceptual.py", "pictures.py"],
    "UNIFY": ["ingest/unify*.py", "ingest/schema.py", "datasets/*.py", *PICTURES],
    "MERGE": ["ingest/merge*.py", "ingest/perceptual.py", "ingest/schema.py"],
    "MODELS": ["ingest/models.py", "retrieval/minilm.py", "sample/packaged.py", "profiles.py"],
    "INDEX": [*RETRIEVED, "pictures.py", "retrieval/pictures_ahead.py"]
    + [f"retrieval/{name}.py" for name in ("build", "config", "index_type", "plan", "recall", "shards")],
    "NEIGHBOURS": [*RETRIEVED, "retrieval/config.py", "recipes/*.py"],
    "QUALITY": [
        "retrieval/quality*.py",
        "retrieval/config.py",
        "corruption/*.py",
        "recipes/*.py",
        *RETRIEVED,
        *PICTURES,
    ],
    "TRAINING": ["training/*.py", "training/backends/*.py", *SEEN],
    "EXPORT": ["training/export.py", "model/storage.py", "model/tensor_files.py"],
    "EVALUATION": [f"evaluation/{name}.py" for name in ("config", "controls", "plan", "rows", "shards", "subjects")]
    + ["evaluation/submission.py", "evaluation/sweep.py", *SCORED, *SEEN],
    "REPORT": [f"evaluation/{name}.py" for name in ("cases", "plots", "report", "reporting", "text_table")] + SCORED,
    "CHAMPION": ["champion/*.py", "provenance.py"],
}
# How things are launched, fetched, checked and told: no artefact has other bytes for it.
NO_BYTES = [
    *("__init__.py", "artefact.py", "code_versions.py", "errors.py", "flags.py", "hub.py", "in_order.py", "jsonl.py"),
    *("progress.py", "quiet.py", "workspace.py", "*/__init__.py", "*/__main__.py", "*/*/__init__.py", "cli/*.py"),
    *("launch/**/*.py", "sample/pretrain/*.py", "training/capacity/*.py", "ingest/checks.py", "retrieval/checks.py"),
    *("ingest/config.py", "ingest/profile.py", "ingest/reasons.py", "ingest/revisions.py", "ingest/workers.py"),
    *("ingest/hashed_file.py", "ingest/line_chunks.py", "retrieval/job.py", "retrieval/peers.py"),
    *("evaluation/ask.py", "evaluation/environment.py", "evaluation/job.py", "evaluation/pairing.py"),
]


@cache
def hash_of(path: Path) -> str:
    """Of a module without its comments, docstrings and layout."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]


def sources_of(stage: str) -> list[Path]:
    return sorted({path for pattern in SOURCES[stage] for path in CORE.glob(pattern)})


def present(stage: str) -> dict[str, str]:
    """A stage's version, and the hash of each of its sources."""
    hashes = {path.relative_to(CORE).as_posix(): hash_of(path) for path in sources_of(stage)}
    return {"version": getattr(code_versions, stage), **hashes}


def test_every_stage_names_its_sources():
    stages = {name for name in vars(code_versions) if name.isupper()}
    assert stages == SOURCES.keys()
    assert [(stage, one) for stage in SOURCES for one in SOURCES[stage] if not list(CORE.glob(one))] == []


def test_every_module_decides_the_bytes_of_some_stage_or_of_none():
    """A new one has to be put into either list."""
    placed = {path for one in chain(NO_BYTES, *SOURCES.values()) for path in CORE.glob(one)}
    assert sorted(path.relative_to(CORE).as_posix() for path in {*CORE.rglob("*.py")} - placed) == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="another Python writes the same tree otherwise")
@pytest.mark.parametrize("stage", SOURCES)
def test_a_stage_whose_sources_changed_was_looked_at(stage):
    """Else what an older stage made counts as made by this one, in the UI and for automation."""
    now, accepted = present(stage), json.loads(SNAPSHOT.read_text())[stage]
    changed = sorted(name for name in now.keys() | accepted.keys() if now.get(name) != accepted.get(name))
    assert changed == [], (
        f"raise code_versions.{stage} if the same inputs give other bytes by now; "
        f"then, in either case, run `python {Path(__file__).name}` in tests/core"
    )


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps({stage: present(stage) for stage in SOURCES}, indent=1) + "\n")

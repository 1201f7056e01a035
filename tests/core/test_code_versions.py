"""A stage whose sources changed has a newer version, or somebody said that it gives the same bytes still."""

import ast
import hashlib
import json
import sys
from pathlib import Path

import pytest

import r3pp_core
from r3pp_core import code_versions

CORE = Path(r3pp_core.__file__).parent
SNAPSHOT = Path(__file__).with_name("code_versions.json")

# What decides the bytes that a stage writes; not how they are fetched, shown or launched.
PICTURES = ["pictures.py"]
SEEN = ["corruption/*.py", "model/*.py", "datasets/*.py", "retrieval/search.py", "retrieval/encoders.py", *PICTURES]
SOURCES = {
    "DOWNLOAD": ["ingest/download.py", "ingest/adopt.py", "ingest/split_export.py", "ingest/source*.py"],
    "OCR": ["ingest/ocr*.py", *PICTURES],
    "UNIFY": ["ingest/unify*.py", "ingest/schema.py", "ingest/picture_files.py", "datasets/*.py", *PICTURES],
    "MERGE": ["ingest/merge*.py", "ingest/perceptual.py"],
    "MODELS": ["ingest/models.py", "retrieval/minilm.py", "sample/packaged.py"],
    "INDEX": [f"retrieval/{name}.py" for name in ("batches", "build", "encoders", "faiss_index", "index_type")]
    + [f"retrieval/{name}.py" for name in ("metadata", "plan", "recall", "shards")]
    + PICTURES,
    "NEIGHBOURS": ["retrieval/neighbours.py", "retrieval/search.py", "retrieval/encoders.py"],
    "QUALITY": ["retrieval/quality*.py", "retrieval/search.py", "retrieval/encoders.py", "corruption/*.py"],
    "TRAINING": ["training/*.py", "recipes/*.py", *SEEN],
    "EXPORT": ["training/export.py", "model/storage.py", "model/tensor_files.py"],
    "EVALUATION": [f"evaluation/{name}.py" for name in ("config", "controls", "plan", "rows", "shards", "subjects")]
    + ["evaluation/sweep.py", *SEEN],
    "REPORT": [f"evaluation/{name}.py" for name in ("calibration", "cases", "comparison", "grouping", "metrics")]
    + [f"evaluation/{name}.py" for name in ("overlap", "recovery", "report", "reporting", "scoring", "statistics")]
    + ["evaluation/plots.py"],
    "CHAMPION": ["champion/*.py"],
}


def meaning_of(path: Path) -> str:
    """A module without its comments, docstrings and layout."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def sources_of(stage: str) -> list[Path]:
    return sorted({path for pattern in SOURCES[stage] for path in CORE.glob(pattern)})


def present() -> dict[str, dict[str, str]]:
    """Of each stage its version, and the hash of each source."""
    return {
        stage: {
            "version": getattr(code_versions, stage),
            **{
                path.relative_to(CORE).as_posix(): hashlib.sha256(meaning_of(path).encode()).hexdigest()[:12]
                for path in sources_of(stage)
            },
        }
        for stage in SOURCES
    }


def test_every_stage_names_its_sources():
    stages = {name for name in vars(code_versions) if name.isupper()}
    assert stages == SOURCES.keys()
    assert [(stage, one) for stage in SOURCES for one in SOURCES[stage] if not list(CORE.glob(one))] == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="another Python writes the same tree otherwise")
@pytest.mark.parametrize("stage", SOURCES)
def test_a_stage_whose_sources_changed_was_looked_at(stage):
    """Else what an older stage made counts as made by this one, in the UI and for automation."""
    now, accepted = present()[stage], json.loads(SNAPSHOT.read_text())[stage]
    changed = sorted(name for name in now.keys() | accepted.keys() if now.get(name) != accepted.get(name))
    assert changed == [], (
        f"raise code_versions.{stage} if the same inputs give other bytes by now; "
        f"then, in either case, run `python {Path(__file__).name}` in tests/core"
    )


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(present(), indent=1) + "\n")

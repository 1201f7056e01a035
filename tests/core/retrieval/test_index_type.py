"""`auto` is exact while that is cheap, and what it chooses fits the budget."""

import numpy as np
import pytest

from r3pp_core.errors import R3Error, UsageError
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.faiss_index import make_faiss_index, require_known, write_faiss_index
from r3pp_core.retrieval.index_type import HNSW_BYTES, IndexType, resolve_index_type
from r3pp_core.retrieval.search import Index

GB = 10**9


@pytest.mark.parametrize(
    ("num", "dim", "max_bytes", "expected"),
    [
        (0, 384, 1, IndexType("Flat", None)),
        (1_000_000, 512, 2.1 * GB, IndexType("Flat", None)),
        (1_000_001, 384, 2 * GB, IndexType("HNSW32", "efSearch=128")),
        (1_000_001, 512, 2.1 * GB, IndexType("IVF1024,PQ128", "nprobe=128")),
        (1_000_000, 512, 2 * GB, IndexType("IVF1024,PQ128", "nprobe=128")),
        (1_000_000, 384, 0.1 * GB, IndexType("IVF1024,PQ64", "nprobe=128")),
        (10_000_000, 384, 2.1 * GB, IndexType("IVF4096,PQ96", "nprobe=512")),
    ],
)
def test_the_rule(num: int, dim: int, max_bytes: float, expected: IndexType) -> None:
    assert resolve_index_type("auto", None, num, dim, int(max_bytes)) == expected


def test_a_type_or_parameters_that_were_given_are_kept() -> None:
    assert resolve_index_type("HNSW8", None, 10**7, 384, 1) == ("HNSW8", None)
    assert resolve_index_type("auto", "nprobe=3", 10**7, 384, 2 * GB).search_parameters == "nprobe=3"


@pytest.mark.parametrize(("num", "max_bytes"), [(10**6, 10**7), (100, 1000)])
def test_a_budget_that_nothing_fits_is_an_error_with_the_least_that_does(num: int, max_bytes: int) -> None:
    with pytest.raises(R3Error, match=rf"{num} vectors of dimension 384 .*max_index_bytes {max_bytes}; give at least"):
        resolve_index_type("auto", None, num, 384, max_bytes)


@pytest.mark.parametrize(("max_bytes", "factory"), [(340_000, "IVF128,PQ8"), (338_000, "IVF128,PQ4")])
def test_a_chosen_index_takes_no_more_than_the_budget(max_bytes: int, factory: str, random_unit, tmp_path) -> None:
    """Just above and just below what the longer codes need."""
    vectors = random_unit(12_000, 32, 0)
    chosen = resolve_index_type("auto", None, len(vectors), 32, max_bytes)
    assert chosen.factory == factory
    write_faiss_index(make_faiss_index(vectors, np.arange(len(vectors)), *chosen), tmp_path / "i")
    assert 0.8 * max_bytes < (tmp_path / "i").stat().st_size <= max_bytes


def test_a_graph_takes_what_the_rule_counts(random_unit, tmp_path) -> None:
    write_faiss_index(make_faiss_index(random_unit(3000, 48, 0), np.arange(3000), "HNSW32", None), tmp_path / "i")
    counted = 3000 * (48 * 4 + HNSW_BYTES)
    assert 0.95 * counted < (tmp_path / "i").stat().st_size <= counted


def test_the_manifest_records_what_auto_chose(corpus, clip_dir, tmp_path) -> None:
    config = IndexConfig(index_type="auto")
    manifest = build_index("image", corpus.jsonl, corpus.image_root, tmp_path, clip_dir, config)
    assert manifest.config["index_type"] == "auto"
    assert manifest.details["index_type"] == "Flat"
    assert Index.load(tmp_path / "image").search(np.ones((1, 16), np.float32), 3).mask.all()


@pytest.mark.parametrize(
    ("index_type", "search_parameters", "words"),
    [
        ("Tree", None, r"index_type: .*\(got 'Tree'\)"),
        ("Tree", "nprobe=3", r"index_type: .*\(got 'Tree'\)"),
        ("IVF16,PQ48", "efSearch=3", r"search_parameters: .*\(got 'efSearch=3'\)"),
    ],
)
def test_what_faiss_refuses_of_any_corpus_is_refused_without_one(index_type, search_parameters, words) -> None:
    with pytest.raises(UsageError, match=words):
        require_known(index_type, search_parameters)


@pytest.mark.parametrize("index_type", ["auto", "Flat", "IVF4096,PQ96", "IVF16,PQ32x6", "HNSW32"])
def test_a_type_for_either_encoder_is_known(index_type) -> None:
    require_known(index_type, "efSearch=64" if index_type == "HNSW32" else None)

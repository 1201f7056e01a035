"""An index has one entry per unique picture, says what it left out, and equal inputs give equal bytes."""

import json
import shutil
import time

import numpy as np
import pytest

from r3pp_core.artefact import content_hash_of
from r3pp_core.errors import R3Error
from r3pp_core.jsonl import read_jsonl, write_jsonl
from r3pp_core.pictures import open_picture
from r3pp_core.retrieval import faiss_index, pictures_ahead, shards
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.checks import count_problems
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.faiss_index import make_faiss_index, write_faiss_index
from r3pp_core.retrieval.metadata import read_pictures
from r3pp_core.retrieval.plan import plan_index
from r3pp_core.retrieval.recall import recall_at_k
from r3pp_core.retrieval.search import Index


class StubEncoder:
    """Vectors that the test chooses, d = 4."""

    name, hash, dim = "stub", "0" * 64, 4

    def __init__(self, encode) -> None:
        self._encode = encode

    def encode(self, items, batch_size=32):
        return np.asarray(self._encode(items), np.float32)

    def prepare(self, image):
        return np.zeros(1, np.float32)


def test_an_entry_per_unique_picture_in_first_seen_order_with_all_its_rows(image_index_dir, corpus) -> None:
    index = Index.load(image_index_dir)
    assert index.image_sha256s == corpus.sha256s
    assert index.entry(2).row_ids == ("chartqa/train/2", "chartqa/train/2-b", "chartqa/train/2-c")
    assert index.entry(3).row_ids == ("chartqa/train/3",)
    assert index.all_vectors.shape == (len(corpus.sha256s), 16)


def test_the_first_row_of_a_picture_gives_the_entry_its_fields(corpus, tmp_path) -> None:
    row = next(read_jsonl(corpus.jsonl))
    write_jsonl(tmp_path / "t.jsonl", [row, {**row, "id": "later", "pseudo_text": "other", "dataset": "infovqa"}])
    (entry,) = read_pictures(tmp_path / "t.jsonl")
    assert (entry.pseudo_text, entry.dataset) == (row["pseudo_text"], "chartqa")
    assert entry.row_ids == (row["id"], "later")


def test_entry_i_holds_the_vector_of_picture_i(image_index_dir, corpus, clip) -> None:
    index = Index.load(image_index_dir)
    images = [open_picture(corpus.image_root / index.entry(i).image_path) for i in range(len(index))]
    np.testing.assert_allclose(index.all_vectors, clip.encode(images), atol=1e-6)


def test_the_manifest_names_encoder_corpus_metric_and_recall(image_index_dir, corpus, clip) -> None:
    details = json.loads((image_index_dir / "manifest.json").read_text())["details"]
    assert details == {
        "kind": "image",
        "encoder": clip.name,
        "encoder_hash": clip.hash,
        "corpus_hash": content_hash_of(corpus.jsonl),
        "metric": "inner_product",
        "index_type": "Flat",
        "search_parameters": None,
        "dim": 16,
        "count": len(corpus.sha256s),
        "recall_at_10": 1.0,
    }


def test_a_stranger_can_open_the_plain_files(text_index_dir) -> None:
    import faiss
    import pyarrow.parquet as pq

    vectors = np.load(text_index_dir / "vectors.npy", mmap_mode="r")
    table = pq.read_table(text_index_dir / "metadata.parquet")
    _, found = faiss.read_index(str(text_index_dir / "index.faiss")).search(np.array(vectors[5:6]), 1)
    assert vectors.dtype == np.float32 and table["row"].to_pylist() == list(range(len(vectors)))
    assert found[0, 0] == 5


def test_a_matching_index_is_not_built_again_and_force_gives_the_same_bytes(corpus, clip_dir, tmp_path) -> None:
    messages: list[str] = []
    arguments = ("image", corpus.jsonl, corpus.image_root, tmp_path, clip_dir, IndexConfig())
    built = build_index(*arguments)
    assert build_index(*arguments, progress=messages.append) == built
    assert any("nothing to do" in message for message in messages)
    assert build_index(*arguments, force=True).content_hash == built.content_hash
    assert build_index(*arguments[:5], IndexConfig(seed=1)).fingerprint != built.fingerprint


def test_unopenable_pictures_are_left_out_and_named_and_never_become_black_pictures(
    own_corpus, clip_dir, tmp_path
) -> None:
    images = own_corpus.image_root / "chartqa" / "images"
    whole = (images / "train_4.png").read_bytes()
    (images / "train_1.png").unlink()
    (images / "train_4.png").write_bytes(whole[:60])
    arguments = ("image", own_corpus.jsonl, own_corpus.image_root, tmp_path / "indices", clip_dir)
    manifest = build_index(*arguments)
    assert manifest.left_out == {"picture_missing": 1, "picture_undecodable": 1}
    assert (manifest.counts["pictures"], manifest.counts["entries"]) == (12, 10)
    rejected = list(read_jsonl(tmp_path / "indices" / "image" / "rejected.jsonl"))
    assert [row["image_path"] for row in rejected] == [f"chartqa/images/train_{n}.png" for n in (1, 4)]
    assert rejected[1]["row_ids"] == ["chartqa/train/4", "chartqa/train/4-b", "chartqa/train/4-c"]
    index = Index.load(tmp_path / "indices" / "image")
    assert index.image_sha256s == [sha for n, sha in enumerate(own_corpus.sha256s) if n not in (1, 4)]


def test_a_picture_that_comes_back_is_taken_in_without_force(own_corpus, clip_dir, tmp_path) -> None:
    picture = own_corpus.image_root / "chartqa" / "images" / "train_1.png"
    content = picture.read_bytes()
    picture.unlink()
    arguments = ("image", own_corpus.jsonl, own_corpus.image_root, tmp_path / "indices", clip_dir)
    assert build_index(*arguments).counts["entries"] == 11
    picture.write_bytes(content)
    assert build_index(*arguments).counts["entries"] == 12


def test_a_picture_that_is_repaired_is_taken_in_without_force(own_corpus, clip_dir, tmp_path) -> None:
    picture = own_corpus.image_root / "chartqa" / "images" / "train_1.png"
    content = picture.read_bytes()
    arguments = ("image", own_corpus.jsonl, own_corpus.image_root, tmp_path / "indices", clip_dir)
    whole = build_index(*arguments)
    picture.write_bytes(content[:60])
    assert build_index(*arguments, force=True).left_out == {"picture_undecodable": 1}
    said: list[str] = []
    build_index(*arguments, progress=said.append)
    assert any("nothing to do" in line for line in said)
    picture.write_bytes(content)
    assert build_index(*arguments).content_hash == whole.content_hash


def test_a_picture_that_was_replaced_after_unify_is_left_out_and_named(own_corpus, clip_dir, tmp_path) -> None:
    images = own_corpus.image_root / "chartqa" / "images"
    shutil.copy(images / "train_2.png", images / "train_1.png")
    manifest = build_index("image", own_corpus.jsonl, own_corpus.image_root, tmp_path / "indices", clip_dir)
    assert manifest.left_out == {"picture_changed": 1}
    (rejected,) = read_jsonl(tmp_path / "indices" / "image" / "rejected.jsonl")
    assert rejected["image_path"] == "chartqa/images/train_1.png"


def test_a_path_out_of_the_image_root_is_left_out(own_corpus, clip_dir, tmp_path) -> None:
    rows = list(read_jsonl(own_corpus.jsonl))
    outside = own_corpus.image_root.parent / "outside.png"
    shutil.copy(own_corpus.image_root / rows[0]["image_path"], outside)
    write_jsonl(own_corpus.jsonl, [{**rows[0], "image_path": "../outside.png"}, *rows[1:12]])
    manifest = build_index("image", own_corpus.jsonl, own_corpus.image_root, tmp_path / "i", clip_dir)
    assert manifest.left_out == {"picture_missing": 1}


def test_a_row_without_a_field_is_an_error_that_names_it(tmp_path, clip_dir) -> None:
    write_jsonl(tmp_path / "t.jsonl", [{"id": "a", "dataset": "chartqa", "image_path": "a.png", "pseudo_text": ""}])
    with pytest.raises(R3Error, match=r"t\.jsonl: row 1 \(a\).*'image_sha256'"):
        build_index("image", tmp_path / "t.jsonl", tmp_path, tmp_path / "i", clip_dir)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_vector_that_is_not_finite_or_not_unit_stops_the_build(
    bad: float, corpus, clip_dir, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(items):
        return [[bad if "shop 5" in text else 1, 0, 0, 0] for text in items]

    monkeypatch.setattr(shards, "load_text_encoder", lambda *_: StubEncoder(encode))
    with pytest.raises(R3Error, match=r"train_5\.png"):
        build_index("text", corpus.jsonl, corpus.image_root, tmp_path, clip_dir)
    assert not (tmp_path / "text" / "manifest.json").exists()


def test_a_real_encoder_with_a_nan_in_its_weights_stops_the_build(corpus, clip_dir, tmp_path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(clip_dir, tmp_path / "clip")
    weights = load_file(clip_dir / "model.safetensors")
    weights["visual_projection.weight"][0, 0] = np.nan
    save_file(weights, tmp_path / "clip" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(R3Error, match=r"encoder clip gave a vector of length nan for chartqa/images/train_0\.png"):
        build_index("image", corpus.jsonl, corpus.image_root, tmp_path, tmp_path / "clip")
    assert not (tmp_path / "image" / "manifest.json").exists()


def test_a_picture_deleted_after_unify_is_named_while_building_and_by_the_check(own_corpus, clip_dir, tmp_path) -> None:
    """It is left out, which a check of the asset then refuses; nothing stands in for it."""
    said: list[str] = []
    (own_corpus.image_root / "chartqa" / "images" / "train_6.png").unlink()
    build_index("image", own_corpus.jsonl, own_corpus.image_root, tmp_path / "i", clip_dir, progress=said.append)
    assert any("left out 1 pictures, first chartqa/images/train_6.png (picture_missing)" in line for line in said)
    (problem,) = count_problems(Index.load(tmp_path / "i" / "image").image_sha256s, own_corpus.jsonl)
    assert "chartqa/images/train_6.png" in problem


@pytest.mark.parametrize("index_type", ["Flat", "IVF4,Flat", "auto"])
def test_a_corpus_whose_pictures_say_nothing_gives_a_text_index_without_hits(
    index_type: str, own_corpus, minilm_dir, minilm, tmp_path
) -> None:
    write_jsonl(own_corpus.jsonl, [{**row, "pseudo_text": " "} for row in list(read_jsonl(own_corpus.jsonl))])
    config = IndexConfig(index_type=index_type)
    manifest = build_index("text", own_corpus.jsonl, own_corpus.image_root, tmp_path / "i", minilm_dir, config)
    assert (manifest.counts["entries"], manifest.counts["without_text"]) == (12, 12)
    hits = Index.load(tmp_path / "i" / "text", minilm).search(minilm.encode(["sales of shop 5", ""]), k=3)
    assert not hits.mask.any() and (hits.ids == -1).all() and (hits.weights == 0).all()


def test_an_entry_without_text_is_kept_encoded_as_the_empty_text_and_never_a_hit(
    text_index_dir, corpus, minilm
) -> None:
    index = Index.load(text_index_dir, encoder=minilm)
    assert len(index) == len(corpus.sha256s)
    assert np.flatnonzero(~index.searchable).tolist() == list(corpus.no_text)
    empty = minilm.encode([""])
    np.testing.assert_allclose(index.vectors(np.array(corpus.no_text)), empty.repeat(2, axis=0), atol=1e-5)
    hits = index.search(empty, k=12)
    assert not set(hits.ids[0]) & set(corpus.no_text)
    assert hits.mask.sum() == len(corpus.sha256s) - len(corpus.no_text)
    image_details = json.loads((text_index_dir / "manifest.json").read_text())
    assert image_details["counts"]["without_text"] == len(corpus.no_text)


def test_a_picture_without_text_is_still_a_hit_of_the_image_index(image_index_dir, corpus) -> None:
    assert Index.load(image_index_dir).searchable.all()


@pytest.mark.parametrize("kind", ["text", "image"])
@pytest.mark.parametrize("index_type", ["Flat", "IVF4,Flat", "auto"])
def test_an_empty_corpus_gives_an_empty_index_without_hits(
    index_type: str, kind, clip_dir, minilm_dir, tmp_path
) -> None:
    (tmp_path / "train.jsonl").touch()
    encoder_dir, dim = (clip_dir, 16) if kind == "image" else (minilm_dir, 384)
    config = IndexConfig(index_type=index_type)
    manifest = build_index(kind, tmp_path / "train.jsonl", tmp_path, tmp_path / "i", encoder_dir, config)
    assert manifest.details["count"] == 0
    hits = Index.load(tmp_path / "i" / kind).search(np.ones((2, dim), np.float32), k=3)
    assert (hits.ids == -1).all() and not hits.mask.any() and (hits.weights == 0).all()


def test_the_decoder_runs_ahead_of_the_encoder_but_only_by_a_bounded_number(
    corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(pictures_ahead, "open_picture", lambda path: opened.append(path.name))
    monkeypatch.setattr(pictures_ahead.os, "cpu_count", lambda: 1)
    entries = read_pictures(corpus.jsonl)
    stream = pictures_ahead.prepared_pictures(entries, corpus.image_root, StubEncoder(list), batch_size=2)
    for _ in range(3):
        next(stream)
    deadline = time.monotonic() + 10
    while len(opened) <= 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert opened[:3] == [f"train_{number}.png" for number in range(3)]
    assert 3 < len(opened) <= 3 + 2 * 2
    stream.close()


def test_an_index_trained_with_gpus_is_whole_and_says_so(random_unit, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU here: what FAISS would clone onto one stays on the CPU, so this tests the way there and back."""
    import faiss

    cloned: list[object] = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(
        faiss, "index_cpu_to_all_gpus", lambda index: cloned.append(index) or faiss.clone_index(index), raising=False
    )
    vectors, said = random_unit(600, 16, 3), []
    on_gpus = make_faiss_index(vectors, np.arange(600), "OPQ4,IVF8,PQ4x4", "nprobe=8", said.append)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    on_cpu = make_faiss_index(vectors, np.arange(600), "OPQ4,IVF8,PQ4x4", "nprobe=8")
    assert len(cloned) == 2 and said == ["FAISS finds the 8 cells of the index on 2 GPUs"]
    np.testing.assert_array_equal(faiss.serialize_index(on_gpus), faiss.serialize_index(on_cpu))


def test_an_index_trained_with_gpus_counts_as_another(corpus, clip_dir, tmp_path, monkeypatch) -> None:
    import faiss

    def fingerprint(index_type: str) -> str:
        config = IndexConfig(index_type=index_type)
        return plan_index("image", corpus.jsonl, corpus.image_root, tmp_path, clip_dir, config).request.fingerprint

    of_cpu = {name: fingerprint(name) for name in ("Flat", "IVF4,Flat", "auto")}
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    assert [fingerprint(name) == of_cpu[name] for name in of_cpu] == [True, False, False]


@pytest.mark.parametrize("index_type", ["IVF8,Flat", "HNSW8", "IVF4,PQ4x4", "OPQ4,IVF4,PQ4x4"])
def test_any_factory_string_is_trained_and_gives_the_same_bytes_twice(index_type: str, random_unit, tmp_path) -> None:
    vectors = random_unit(400, 16, 3)
    for name in ("a", "b"):
        write_faiss_index(make_faiss_index(vectors, np.arange(400), index_type, None), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_graph_filled_by_many_threads_has_the_same_bytes_twice(random_unit, tmp_path) -> None:
    import faiss

    vectors, num_threads = random_unit(5000, 16, 3), faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(4)
    try:
        for name in ("a", "b"):
            write_faiss_index(make_faiss_index(vectors, np.arange(5000), "HNSW16", None), tmp_path / name)
        assert faiss.omp_get_max_threads() == 4
    finally:
        faiss.omp_set_num_threads(num_threads)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("index_type", "parameters"), [("Nonsense", None), ("IVF4096,Flat", None), ("PQ7", None), ("IVF4,Flat", "speed=9")]
)
def test_what_faiss_refuses_is_an_error_that_names_the_index_type(index_type: str, parameters, random_unit) -> None:
    with pytest.raises(R3Error, match=f"{index_type}.*'Flat'"):
        make_faiss_index(random_unit(50, 16, 0), np.arange(50), index_type, parameters)


def test_recall_is_the_share_of_exact_neighbours_found(index_of, random_unit) -> None:
    """Recomputed here with plain numpy, self excluded, for an index that misses some."""
    vectors = random_unit(600, 16, 1)
    index = index_of(vectors, "IVF24,Flat", "nprobe=1")
    measured = recall_at_k(index, k=10, num_queries=600, seed=0)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    exact = np.argsort(-scores, axis=1)[:, :10]
    hits = index.search(vectors, 10, exclude=[[f"sha-{i}"] for i in range(600)])
    expected = np.mean([len(set(found) & set(wanted)) / 10 for found, wanted in zip(hits.ids, exact, strict=True)])
    assert 0.05 < expected < 0.95
    assert measured == pytest.approx(expected, abs=1e-9)


def test_search_parameters_are_stored_and_raise_the_recall(index_of, random_unit) -> None:
    vectors = random_unit(600, 16, 1)
    few = recall_at_k(index_of(vectors, "IVF24,Flat", "nprobe=1"), 10, 200, 0)
    all_cells = recall_at_k(index_of(vectors, "IVF24,Flat", "nprobe=24"), 10, 200, 0)
    assert few < 0.95 and all_cells == 1.0


def test_an_approximate_index_stores_its_measured_recall(corpus, clip_dir, tmp_path) -> None:
    config = IndexConfig(index_type="IVF4,Flat", search_parameters="nprobe=1")
    manifest = build_index("image", corpus.jsonl, corpus.image_root, tmp_path, clip_dir, config)
    recall = manifest.details["recall_at_10"]
    assert recall == recall_at_k(Index.load(tmp_path / "image"), 10, config.num_recall_queries, config.seed) < 1


def test_neighbours_are_found_exactly_across_blocks_and_only_among_the_rows_asked_for(
    random_unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss_index, "BLOCK_ROWS", 7)
    vectors, queries, ids = random_unit(50, 8, 0), random_unit(4, 8, 1), np.arange(1, 50, 2)
    scores, rows = faiss_index.exact_search(queries, vectors, ids, 9)
    expected = queries @ vectors[ids].T
    np.testing.assert_array_equal(rows, ids[np.argsort(-expected, axis=1)[:, :9]])
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :9], atol=1e-6)


def test_a_large_index_is_trained_on_a_sample_and_filled_in_blocks(random_unit, monkeypatch) -> None:
    monkeypatch.setattr(faiss_index, "BLOCK_ROWS", 300)
    monkeypatch.setattr(faiss_index, "MIN_TRAINING_ROWS", 600)
    vectors, ids = random_unit(2000, 16, 0), np.arange(0, 2000, 2)
    assert len(faiss_index._training_rows(ids, 4)) == 600
    assert set(faiss_index._training_rows(ids, 4)) <= set(ids)
    _, found = make_faiss_index(vectors, ids, "IVF4,Flat", "nprobe=4").search(vectors[ids], 1)
    np.testing.assert_array_equal(found[:, 0], ids)


def test_recall_counts_ties_and_tiny_corpora_as_whole(index_of, random_unit) -> None:
    assert recall_at_k(index_of(random_unit(1, 8, 0)), 10, 5, 0) == 1.0
    assert recall_at_k(index_of(np.repeat(random_unit(2, 8, 0), 40, axis=0)), 10, 80, 0) == 1.0


def test_unknown_config_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="nprobe"):
        IndexConfig(nprobe=3)  # type: ignore[call-arg]

"""Search is exact, never finds the query's own picture, and "no hit" is never somebody's vector."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from r3pp_core.errors import R3Error
from r3pp_core.retrieval.build import build_index
from r3pp_core.retrieval.config import IndexConfig
from r3pp_core.retrieval.search import Index, query_text, softmax_weights


def brute_force(vectors: np.ndarray, query: np.ndarray, k: int, banned: set[int] = frozenset()) -> list[int]:
    scores = (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    return sorted(set(range(len(vectors))) - set(banned), key=lambda i: (-scores[i], i))[:k]


def test_hits_are_those_of_brute_force_with_and_without_exclusion(index_of, random_unit) -> None:
    vectors, queries = random_unit(3000, 24, 0), random_unit(64, 24, 1)
    index = index_of(vectors)
    plain = index.search(queries, 5)
    exclude = [[f"sha-{plain.ids[i, 0]}", f"sha-{plain.ids[i, 2]}", "elsewhere"][: i % 4] for i in range(64)]
    excluded = index.search(queries, 5, exclude)
    for i, query in enumerate(queries):
        assert plain.ids[i].tolist() == brute_force(vectors, query, 5)
        banned = {int(name[4:]) for name in exclude[i] if name != "elsewhere"}
        assert excluded.ids[i].tolist() == brute_force(vectors, query, 5, banned)
        np.testing.assert_allclose(plain.scores[i], vectors[plain.ids[i]] @ query, atol=1e-6)


def test_a_query_never_finds_its_own_picture(image_index_dir, corpus) -> None:
    index = Index.load(image_index_dir)
    queries = np.array(index.all_vectors)
    own = np.arange(len(index))[:, None]
    assert (index.search(queries, 3).ids[:, :1] == own).all()
    hits = index.search(queries, 3, exclude=[[sha256] for sha256 in corpus.sha256s])
    assert not (hits.ids == own).any() and hits.mask.all()


@pytest.mark.parametrize("index_type", ["Flat", "IVF16,Flat", "IVF16,PQ8x6", "HNSW16"])
def test_a_query_gets_the_same_hits_alone_and_in_a_batch(index_type: str, index_of, random_unit) -> None:
    """Among 40-fold repeated vectors, where FAISS alone names other ids and scores in a batch than singly."""
    vectors = np.repeat(random_unit(60, 32, 2), 40, axis=0)
    index, queries = index_of(vectors, index_type), random_unit(200, 32, 3)
    exclude = [[f"sha-{j}" for j in range(i % 3)] for i in range(200)]
    together = index.search(queries, 6, exclude)
    for i in range(200):
        alone = index.search(queries[i : i + 1], 6, exclude[i : i + 1])
        np.testing.assert_array_equal(alone.ids[0], together.ids[i])
        np.testing.assert_allclose(alone.scores[0], together.scores[i], rtol=0, atol=1e-6)


def test_ties_fall_to_the_lower_id_even_past_the_first_candidates(index_of, random_unit) -> None:
    vectors = np.repeat(random_unit(3, 16, 4), 500, axis=0)[::-1].copy()
    query = vectors[750:751]
    hits = index_of(vectors).search(query, 4, exclude=[["sha-501"]])
    assert hits.ids[0].tolist() == [500, 502, 503, 504]


class HighestIdFirst:
    """A FAISS index that names, among equal scores, the highest ids: FAISS promises no order of ties."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors, self.ntotal = vectors, len(vectors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ self.vectors.T
        ids = np.lexsort((-np.arange(self.ntotal) + 0 * scores, -scores.round(5)), axis=-1)[:, :k]
        return np.take_along_axis(scores, ids, axis=-1), ids


def test_ties_do_not_depend_on_which_of_them_faiss_names(index_of, random_unit) -> None:
    vectors = np.repeat(random_unit(5, 16, 4), 200, axis=0)
    index = index_of(vectors)
    other = Index(vectors, HighestIdFirst(vectors), index._metadata, index.details)
    queries = random_unit(20, 16, 12)
    np.testing.assert_array_equal(other.search(queries, 3).ids, index.search(queries, 3).ids)


@pytest.mark.parametrize("index_type", ["Flat", "IVF4,Flat"])
def test_many_exclusions_do_not_cost_hits(index_type: str, index_of, random_unit) -> None:
    vectors, query = random_unit(300, 16, 0), random_unit(1, 16, 1)
    banned = brute_force(vectors, query[0], 120)
    index = index_of(vectors, index_type, "nprobe=4" if index_type != "Flat" else None)
    hits = index.search(query, 3, exclude=[[f"sha-{i}" for i in banned]])
    assert hits.ids[0].tolist() == brute_force(vectors, query[0], 3, set(banned))


def test_an_approximate_index_is_ranked_by_exact_scores(index_of, random_unit) -> None:
    vectors = random_unit(500, 16, 5)
    hits = index_of(vectors, "IVF4,PQ4x4", "nprobe=4").search(vectors[:20], 3)
    np.testing.assert_allclose(hits.scores, (vectors[hits.ids] * vectors[:20, None]).sum(-1), atol=1e-6)
    assert (np.diff(hits.scores, axis=1) <= 0).all()


def test_k_beyond_the_corpus_is_padded_with_no_hit_of_zero_weight(index_of, random_unit) -> None:
    vectors = random_unit(4, 8, 6)
    hits = index_of(vectors).search(vectors[:2], 6, exclude=[["sha-0"], []])
    assert hits.ids[0].tolist()[3:] == [-1, -1, -1] and hits.ids[1].tolist()[4:] == [-1, -1]
    assert hits.mask.tolist() == [[True] * 3 + [False] * 3, [True] * 4 + [False] * 2]
    assert (hits.scores[~hits.mask] == 0).all() and (hits.weights[~hits.mask] == 0).all()
    np.testing.assert_allclose(hits.weights.sum(axis=1), 1, atol=1e-6)


def test_everything_excluded_gives_a_row_of_zero_weight_and_no_nan(index_of, random_unit) -> None:
    vectors = random_unit(3, 8, 7)
    hits = index_of(vectors).search(vectors[:1], 2, exclude=[["sha-0", "sha-1", "sha-2"]])
    assert hits.ids.tolist() == [[-1, -1]] and hits.weights.tolist() == [[0, 0]]


def test_minus_one_never_wraps_to_the_last_entry(index_of, random_unit) -> None:
    vectors = random_unit(5, 8, 8)
    index = index_of(vectors)
    found = index.vectors(np.array([[4, -1], [-1, 0]]))
    np.testing.assert_array_equal(found[0, 0], vectors[4])
    np.testing.assert_array_equal(found[1, 1], vectors[0])
    assert (found[0, 1] == 0).all() and (found[1, 0] == 0).all()
    with pytest.raises(R3Error, match="no entry -1"):
        index.entry(-1)
    for wrong in (-2, 5):
        with pytest.raises(R3Error, match=str(wrong)):
            index.vectors(np.array([wrong]))


def test_weights_are_the_softmax_of_the_scores_over_the_hits() -> None:
    scores = np.array([[0.9, 0.5, 0.0], [0.0, 0.0, 0.0]], np.float32)
    mask = np.array([[True, True, False], [False, False, False]])
    expected = np.exp([0.9, 0.5]) / np.exp([0.9, 0.5]).sum()
    np.testing.assert_allclose(softmax_weights(scores, mask), [[*expected, 0], [0, 0, 0]], atol=1e-6)
    sharp = softmax_weights(scores, mask, temperature=0.01)
    assert sharp[0, 0] > 0.999 and np.isfinite(softmax_weights(scores * -1e4, mask, 0.01)).all()


def test_hits_below_min_score_are_dropped(index_of, random_unit) -> None:
    vectors = random_unit(50, 4, 9)
    index = index_of(vectors)
    every = index.search(vectors[:3], 10)
    bound = float(every.scores[0, 4])
    some = index.search(vectors[:3], 10, min_score=bound)
    np.testing.assert_array_equal(some.mask, every.scores >= bound)
    assert (some.ids[~some.mask] == -1).all() and 0 < (~some.mask).sum() < 30
    np.testing.assert_allclose(some.weights.sum(axis=1), 1, atol=1e-6)


def test_a_negative_score_is_a_hit(index_of) -> None:
    hits = index_of(np.array([[1, 0], [-1, 0]], np.float32)).search(np.array([[1, 0]], np.float32), 3)
    assert hits.ids.tolist() == [[0, 1, -1]] and hits.scores.tolist() == [[1, -1, 0]]


def test_threads_get_the_hits_of_a_single_thread(index_of, random_unit) -> None:
    index, queries = index_of(random_unit(2000, 16, 10)), random_unit(160, 16, 11)
    expected = index.search(queries, 3).ids
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: index.search(queries[i : i + 1], 3).ids[0], range(160)))
    np.testing.assert_array_equal(np.stack(found), expected)


@pytest.mark.parametrize("index_type", ["Flat", "IVF2,Flat", "HNSW4"])
def test_threads_share_a_loaded_index(index_type: str, corpus, clip_dir, tmp_path) -> None:
    """Memory-mapped, all threads at once, each with queries and exclusions of its own."""
    build_index("image", corpus.jsonl, corpus.image_root, tmp_path, clip_dir, IndexConfig(index_type=index_type))
    index = Index.load(tmp_path / "image")
    queries = np.array(index.all_vectors)
    exclude = [[corpus.sha256s[i]] for i in range(12)]
    expected = index.search(queries, 3, exclude)
    start = Barrier(8)

    def ask(number: int) -> list[bool]:
        start.wait()
        found = []
        for turn in range(60):
            i = (turn + number) % 12
            hits = index.search(queries[i : i + 1], 3, exclude[i : i + 1])
            np.testing.assert_array_equal(hits.ids[0], expected.ids[i])
            np.testing.assert_allclose(hits.scores[0], expected.scores[i], rtol=0, atol=1e-6)
            found.append(index.entry(i).image_sha256 == corpus.sha256s[i])
        return found

    with ThreadPoolExecutor(8) as pool:
        assert all(all(found) for found in pool.map(ask, range(8)))


def test_no_queries_give_no_rows(index_of, random_unit) -> None:
    assert index_of(random_unit(5, 8, 0)).search(np.zeros((0, 8), np.float32), 3, exclude=[]).ids.shape == (0, 3)


def test_wrong_queries_are_errors_that_say_what_is_needed(index_of, random_unit) -> None:
    index, queries = index_of(random_unit(5, 8, 0)), random_unit(2, 8, 1)
    with pytest.raises(R3Error, match=r"\[n, 8\]"):
        index.search(queries[:, :4], 3)
    with pytest.raises(R3Error, match="not finite"):
        index.search(queries * np.nan, 3)
    with pytest.raises(R3Error, match="k is 0"):
        index.search(queries, 0)
    with pytest.raises(R3Error, match="1 exclusions for 2 queries"):
        index.search(queries, 3, exclude=[["sha-0"]])
    with pytest.raises(R3Error, match="bare string"):
        index.search(queries, 3, exclude=["sha-0", "sha-1"])


def test_another_encoder_or_corpus_is_an_error_that_says_what_to_rebuild(image_index_dir, clip, minilm) -> None:
    built = Index.load(image_index_dir, encoder=clip).details["corpus_hash"]
    assert len(Index.load(image_index_dir, clip, built)) == 12
    rebuild = rf"the index in {image_index_dir} was made .*r3pp index .*--out_dir {image_index_dir.parent} --force"
    with pytest.raises(R3Error, match=rebuild.replace("made", "made by encoder")):
        Index.load(image_index_dir, encoder=minilm)
    with pytest.raises(R3Error, match=rebuild.replace("made", "made from corpus")):
        Index.load(image_index_dir, corpus_hash="0" * 64)


@pytest.mark.parametrize("name", ["vectors.npy", "index.faiss", "metadata.parquet"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "one bit"])
def test_a_damaged_file_is_named_with_the_command_to_rebuild(name: str, fault: str, image_index_dir, tmp_path) -> None:
    folder = tmp_path / "image"
    shutil.copytree(image_index_dir, folder)
    content = (folder / name).read_bytes()
    damaged = {
        "missing": b"",
        "truncated": content[:-9],
        "one bit": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    }
    (folder / name).unlink()
    if fault != "missing":
        (folder / name).write_bytes(damaged[fault])
    with pytest.raises(R3Error, match=rf"{name} .*r3pp index .*--out_dir {tmp_path} --force"):
        Index.load(folder)


@pytest.mark.parametrize("name", ["vectors.npy", "index.faiss", "metadata.parquet"])
def test_files_swapped_between_two_indices_are_noticed(name, corpus, clip_dir, image_index_dir, tmp_path) -> None:
    rows = corpus.jsonl.read_text().splitlines(keepends=True)
    (tmp_path / "other.jsonl").write_text("".join(reversed(rows)))
    build_index("image", tmp_path / "other.jsonl", corpus.image_root, tmp_path, clip_dir)
    swapped = tmp_path / "image" / name
    if name != "metadata.parquet":
        assert swapped.stat().st_size == (image_index_dir / name).stat().st_size
    shutil.copy2(image_index_dir / name, swapped)
    with pytest.raises(R3Error, match=rf"{swapped} (is not the file that was built here|has \d+ bytes instead of)"):
        Index.load(tmp_path / "image")


def test_a_folder_without_an_index_says_how_to_build_one(tmp_path: Path, minilm_dir: Path) -> None:
    with pytest.raises(R3Error, match="r3pp index"):
        Index.load(tmp_path / "text")
    with pytest.raises(R3Error, match="not an index"):
        Index.load(minilm_dir)


def test_loaded_vectors_are_memory_mapped_and_read_only(image_index_dir) -> None:
    vectors = Index.load(image_index_dir).all_vectors
    assert isinstance(vectors, np.memmap) and not vectors.flags.writeable


def test_a_question_about_a_shop_finds_its_text(text_index_dir, minilm) -> None:
    index = Index.load(text_index_dir, encoder=minilm)
    hits = index.search(minilm.encode([query_text("what were the sales?", "shop 5, 2005")]), k=3)
    assert index.entry(int(hits.ids[0, 0])).pseudo_text == "sales of shop 5 in 2005"

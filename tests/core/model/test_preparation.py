"""Rows become damaged pictures with evidence: the same every time, within bounds, never from their own picture."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from r3pp_core.corruption.config import CorruptionConfig
from r3pp_core.errors import R3Error
from r3pp_core.model.config import R3Config
from r3pp_core.model.evidence import Retriever
from r3pp_core.model.preparation import PreparedRow, Preparer, refuse_nothing_usable
from r3pp_core.sample.backbones import build_small_clip

NUM_ROWS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """image_root, train.jsonl and its rows: four pictures, each with a text of its own."""
    root = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(NUM_ROWS):
        path = root / "images" / "chartqa" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (300, 150), "white")
        ImageDraw.Draw(picture).rectangle((10, 10, 40 + 60 * number, 100), fill=(60 * number, 100, 30))
        picture.save(path)
        rows.append(
            {
                "id": f"chartqa/train/{number}",
                "dataset": "chartqa",
                "image_path": f"chartqa/{number}.png",
                "image_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "question": f"What is sold in market {number}?",
                "answer": "apples",
                "ocr_conf": 0.8,
                "pseudo_text": f"Market {number} sells {number * 11} apples and {number * 7} pears",
            }
        )
    (root / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / "images", root / "train.jsonl", rows


@pytest.fixture(scope="module")
def models(data, tmp_path_factory):
    """Encoders and indices, without neighbours."""
    from r3pp_core.retrieval.build import build_index
    from r3pp_core.retrieval.minilm import copy_packaged_minilm

    image_root, jsonl, _ = data
    models = tmp_path_factory.mktemp("encoders")
    copy_packaged_minilm(models / "minilm")
    build_small_clip(models / "clip")
    build_index("text", jsonl, image_root, models / "indices", models / "minilm")
    build_index("image", jsonl, image_root, models / "indices", models / "clip")
    return models


@pytest.fixture(scope="module")
def retriever(models):
    return Retriever.load(models / "indices", models / "minilm", models / "clip", k=3)


@pytest.fixture
def preparer(data, shared_backbone, retriever):
    config = R3Config(text_dim=384, image_dim=64, max_pixels=8192)
    return Preparer(data[0], config, CorruptionConfig(), shared_backbone.image_processor, retriever)


def test_no_row_finds_its_own_picture_even_undamaged(preparer, data):
    prepared = preparer.prepare(data[2], level=0.0)
    assert len(prepared.rows) == NUM_ROWS
    for row in prepared.rows:
        own = row.damaged.row["image_sha256"]
        for hits in (row.evidence.text, row.evidence.image):
            assert len(hits.entries) == NUM_ROWS - 1
            assert own not in [entry.image_sha256 for entry in hits.entries]


def test_a_foreign_query_does_find_that_picture(preparer, data):
    stranger = {**data[2][2], "image_sha256": "0" * 64}
    (row,) = preparer.prepare([stranger], level=0.0).rows
    assert row.evidence.image.entries[0].image_sha256 == data[2][2]["image_sha256"]
    assert row.evidence.text.entries[0].image_sha256 == data[2][2]["image_sha256"]


def test_fewer_hits_than_k_carry_no_weight(data, shared_backbone, retriever):
    wide = Retriever(retriever.text_encoder, retriever.image_encoder, retriever.text_index, retriever.image_index, k=5)
    config = R3Config(text_dim=384, image_dim=64, k=5, max_pixels=8192)
    preparer = Preparer(data[0], config, CorruptionConfig(), shared_backbone.image_processor, wide)
    (row,) = preparer.prepare(data[2][:1], level=0.0).rows
    hits = row.evidence.text
    assert hits.mask.tolist() == [True, True, True, False, False]
    assert hits.weights[3:].tolist() == [0, 0]
    assert not hits.vectors[3:].any()


def test_the_query_and_the_patches_are_those_of_the_damaged_row(preparer, data):
    (clean,) = preparer.prepare(data[2][:1], level=0.0).rows
    (damaged,) = preparer.prepare(data[2][:1], level=0.8).rows
    assert clean.damaged.query.endswith(data[2][0]["pseudo_text"])
    assert damaged.damaged.query != clean.damaged.query
    assert damaged.damaged.operators
    assert not np.array_equal(damaged.evidence.image_query, clean.evidence.image_query)


def test_damage_depends_on_the_visit_and_on_nothing_else(preparer, data):
    first, again, later = (preparer.damage(data[2][1], 0.6, visit) for visit in (0, 0, 1))
    assert np.array_equal(first.pixel_values, again.pixel_values)
    assert first.pseudo_text == again.pseudo_text
    assert first.operators != later.operators


def test_pictures_keep_their_shape_within_max_pixels(preparer, data):
    row = preparer.damage(data[2][0], 0.0)
    _, grid_rows, grid_columns = row.grid_thw
    assert grid_rows * grid_columns * 16 * 16 <= 8192
    assert grid_columns / grid_rows == pytest.approx(300 / 150, rel=0.35)
    assert len(row.pixel_values) == grid_rows * grid_columns


def test_a_picture_that_cannot_be_used_is_rejected_with_its_reason(preparer, data, tmp_path):
    missing = {**data[2][0], "id": "lost", "image_path": "chartqa/no.png"}
    outside = {**data[2][0], "id": "out", "image_path": "../train.jsonl"}
    prepared = preparer.prepare([missing, data[2][1], outside], level=0.3)
    assert [row.row_id for row in prepared.rows] == ["chartqa/train/1"]
    assert isinstance(prepared.rows[0], PreparedRow)
    assert [(row.row_id, row.reason) for row in prepared.rejected] == [
        ("lost", "picture_missing"),
        ("out", "picture_missing"),
    ]
    with pytest.raises(R3Error, match=r"none of 1 rows.*no\.png"):
        refuse_nothing_usable(preparer.prepare([missing], level=0.0).rejected)


@pytest.fixture(scope="module")
def remembering(data, models, tmp_path_factory):
    """The same retriever with neighbours that were looked up once."""
    from r3pp_core.retrieval.neighbours import build_neighbours

    copy = shutil.copytree(models, tmp_path_factory.mktemp("remembering") / "models")
    build_neighbours(data[1], copy / "indices", copy / "minilm")
    return Retriever.load(copy / "indices", copy / "minilm", copy / "clip", k=3)


def with_retriever(preparer, retriever):
    return Preparer(preparer.image_root, preparer.config, preparer.corruption, preparer.image_processor, retriever)


def test_a_clean_row_gets_from_its_neighbours_what_a_search_gives(preparer, data, remembering):
    searched = preparer.prepare(data[2], level=0.0).rows
    kept = with_retriever(preparer, remembering).prepare(data[2], level=0.0).rows
    for one, other in zip(searched, kept, strict=True):
        for kind in ("text", "image"):
            a, b = getattr(one.evidence, kind), getattr(other.evidence, kind)
            assert a.ids.tolist() == b.ids.tolist()
            assert a.entries == b.entries
            for values in ("scores", "weights", "vectors"):
                assert np.allclose(getattr(a, values), getattr(b, values), atol=1e-5)
        assert np.allclose(one.evidence.image_query, other.evidence.image_query, atol=1e-5)


def test_why_neighbours_do_not_serve_is_said_with_what_makes_them(retriever, remembering):
    assert remembering.neighbours_problem(1000) is None
    assert "`r3pp index --max_query_chars 160` makes them" in remembering.neighbours_problem(160)
    assert "`r3pp index` makes them" in retriever.neighbours_problem(1000)


@pytest.fixture
def encoded(remembering, monkeypatch) -> list[int]:
    """How many texts were encoded, look-up by look-up."""
    found, encode = [], remembering.text_encoder.encode
    monkeypatch.setattr(remembering.text_encoder, "encode", lambda texts: found.append(len(texts)) or encode(texts))
    return found


def test_clean_rows_encode_nothing_and_damaged_ones_are_encoded(preparer, data, remembering, encoded):
    ready = with_retriever(preparer, remembering)
    assert len(ready.prepare(data[2], level=0.0).rows) == NUM_ROWS
    assert encoded == []
    assert len(ready.prepare(data[2], level=0.5).rows) == NUM_ROWS
    assert encoded == [NUM_ROWS]


def test_among_damaged_rows_a_clean_one_is_not_encoded_and_each_gets_its_own(preparer, data, remembering, encoded):
    ready, levels = with_retriever(preparer, remembering), (0.5, 0.0, 0.0, 0.5)
    alone = [ready.prepare([row], level).rows[0] for row, level in zip(data[2], levels, strict=True)]
    encoded.clear()
    together = ready.retrieve([ready.damage(row, level) for row, level in zip(data[2], levels, strict=True)]).rows
    assert encoded == [2]
    for one, other in zip(alone, together, strict=True):
        assert one.evidence.text.ids.tolist() == other.evidence.text.ids.tolist()
        assert np.allclose(one.evidence.image_query, other.evidence.image_query, atol=1e-5)


@pytest.mark.parametrize("change", [{"id": "chartqa/val/7"}, {"image_sha256": "0" * 64}], ids=["row", "picture"])
def test_a_row_or_picture_that_is_not_known_is_looked_up(preparer, data, remembering, change):
    """Validation rows are in no index."""
    stranger = {**data[2][0], **change}
    assert remembering.look_up_clean([stranger["id"]], [stranger["image_sha256"]], 1000) is None
    assert with_retriever(preparer, remembering).prepare([stranger], level=0.0).rows[0].evidence.text.mask.any()


def test_another_cut_of_queries_or_more_hits_than_were_kept_are_looked_up(data, remembering):
    row = data[2][0]
    assert remembering.look_up_clean([row["id"]], [row["image_sha256"]], 1000) is not None
    assert remembering.look_up_clean([row["id"]], [row["image_sha256"]], 999) is None


def test_encoders_of_other_sizes_than_the_models_are_refused(data, shared_backbone, retriever):
    with pytest.raises(R3Error, match="384 and 64 numbers, the model was trained with 384 and 512"):
        Preparer(data[0], R3Config(), CorruptionConfig(), shared_backbone.image_processor, retriever)

"""The door: plans, determinism, levels, truth."""

import random
import subprocess
import sys
from collections import Counter

import numpy as np
import orjson
import pytest
from PIL import Image
from pydantic import ValidationError

from r3pp_core.corruption.config import IMAGE_NAMES, TEXT_NAMES, CorruptionConfig
from r3pp_core.corruption.image import IMAGE_OPERATORS
from r3pp_core.corruption.simulator import corrupt, corrupt_text, operators_for
from r3pp_core.corruption.text import TEXT_OPERATORS
from r3pp_core.errors import UsageError

LEVELS = (0.05, 0.2, 0.4, 0.6, 0.8, 1.0)


def run(page, level, config=CorruptionConfig(), row="chartqa/train/17", visit=0, **options):
    return corrupt(page.image, page.lines, page.text, 0.95, level, config, row, visit, **options)


def fingerprint(result):
    return (result.image.tobytes(), result.pseudo_text, result.ocr_conf, result.operators, result.c_vis, result.c_text)


def test_level_0_returns_the_very_input(page):
    result = run(page, 0)
    assert result.image is page.image
    assert (result.pseudo_text, result.ocr_conf, result.operators) == (page.text, 0.95, [])
    assert (result.level, result.c_vis, result.c_text) == (0, 1, 1)


def test_the_config_names_every_operator_in_the_order_of_application():
    assert (*IMAGE_OPERATORS,) == IMAGE_NAMES
    assert (*TEXT_OPERATORS,) == TEXT_NAMES


@pytest.mark.parametrize("name", IMAGE_OPERATORS)
def test_every_image_operator_changes_the_picture_at_the_smallest_level(name, page):
    config = CorruptionConfig(damage="image", image_operators=[name])
    for row in range(5):
        result = run(page, 0.001, config, f"row {row}")
        assert result.image.size != page.image.size or result.image.tobytes() != page.image.tobytes()
        assert result.c_vis < 1


@pytest.mark.parametrize("name", TEXT_OPERATORS)
def test_every_text_operator_changes_the_text_at_the_smallest_level_and_leaves_the_picture(name, page):
    result = run(page, 0.001, CorruptionConfig(damage="text", text_operators=[name]))
    assert result.pseudo_text != page.text
    assert result.image is page.image
    assert result.c_vis == 1 > result.c_text


def test_less_is_left_at_every_higher_level_for_all_rows(page):
    for row in range(25):
        results = [run(page, level, row=f"row {row}") for level in LEVELS]
        for name in ("c_vis", "c_text"):
            left = [getattr(result, name) for result in results]
            assert left == sorted(left, reverse=True)
        assert results[-1].c_vis < results[0].c_vis
        assert all(0 <= result.ocr_conf <= 0.95 for result in results if result.ocr_conf is not None)


def test_a_row_meets_the_same_operators_at_every_level(page):
    names = [[record["name"] for record in run(page, level).operators] for level in LEVELS]
    assert all(found == names[0] for found in names)


def test_the_same_key_gives_the_same_bytes_whatever_the_global_random_state(page):
    first = fingerprint(run(page, 0.5))
    np.random.seed(1)
    random.seed(2)
    run(page, 0.9, row="another")
    assert fingerprint(run(page, 0.5)) == first


@pytest.mark.parametrize("change", [{"row": "chartqa/train/18"}, {"visit": 1}, {"config": CorruptionConfig(seed=1)}])
def test_another_row_visit_or_seed_gives_other_damage(change, page):
    assert fingerprint(run(page, 0.5, **change)) != fingerprint(run(page, 0.5))


def test_another_process_draws_the_same_damage():
    script = """
import orjson
from r3pp_core.corruption.config import CorruptionConfig
from r3pp_core.corruption.simulator import corrupt
found = [corrupt(None, (), "one two three four five six", 0.9, 0.6, CorruptionConfig(), f"r{i}", i) for i in range(8)]
print(orjson.dumps([[r.pseudo_text, r.operators] for r in found]).decode())
"""
    here = [
        corrupt(None, (), "one two three four five six", 0.9, 0.6, CorruptionConfig(), f"r{i}", i) for i in range(8)
    ]
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert orjson.loads(there) == orjson.loads(orjson.dumps([[r.pseudo_text, r.operators] for r in here]))


def test_the_text_is_damaged_alike_with_and_without_its_picture(page):
    for row in range(20):
        seen = run(page, 0.6, row=f"row {row}")
        unseen = corrupt(
            None, page.lines, page.text, 0.95, 0.6, CorruptionConfig(), f"row {row}", image_size=page.image.size
        )
        assert unseen.image is None
        assert (seen.pseudo_text, seen.operators, seen.c_vis, seen.c_text, seen.ocr_conf) == (
            unseen.pseudo_text,
            unseen.operators,
            unseen.c_vis,
            unseen.c_text,
            unseen.ocr_conf,
        )


def test_a_guessed_size_is_announced(page):
    config = CorruptionConfig(damage="image")
    guessed = corrupt(None, page.lines, page.text, 0.95, 0.6, config, "row").operators[-1]
    assert guessed["guessed_size"] == [int(max(line.box[2] for line in page.lines)), 370]
    assert "guessed_size" not in run(page, 0.6, config).operators[-1]


def test_plans_use_every_operator_about_equally_and_one_to_max_operators():
    config = CorruptionConfig(max_operators=3)
    plans = [operators_for(f"row {i}", 0, config) for i in range(3000)]
    for kind, known in (("image", IMAGE_OPERATORS), ("text", TEXT_OPERATORS)):
        chosen = [getattr(plan, kind) for plan in plans]
        assert Counter(len(names) for names in chosen).keys() == {1, 2, 3}
        counts = Counter(name for names in chosen for name in names)
        assert counts.keys() == known.keys()
        assert max(counts.values()) < 1.2 * min(counts.values())
        assert all(len(set(names)) == len(names) for names in chosen)


@pytest.mark.parametrize(
    ("damage", "kinds"), [("image", {"image", "coupling"}), ("text", {"text"}), ("both", {"image", "coupling", "text"})]
)
def test_the_mode_of_damage_decides_which_kinds_of_operator_act(damage, kinds, page):
    assert {record["kind"] for record in run(page, 0.5, CorruptionConfig(damage=damage)).operators} == kinds


def test_text_operators_act_on_top_of_the_coupled_text(page):
    for row in range(20):
        alone = run(page, 0.5, CorruptionConfig(damage="image"), f"row {row}")
        on_top = run(page, 0.5, CorruptionConfig(damage="both"), f"row {row}")
        assert on_top.c_text <= alone.c_text
        assert on_top.image.tobytes() == alone.image.tobytes()


def test_records_are_plain_json_with_a_name_and_a_strength(page):
    for row in range(20):
        records = run(page, 0.5, row=f"row {row}").operators
        assert orjson.loads(orjson.dumps(records)) == records
        assert all(record["name"] and 0 <= record["strength"] <= 1 for record in records)


def test_confidence_falls_with_misread_letters_and_is_none_without_text(page):
    noisy = CorruptionConfig(damage="text", text_operators=["char_noise"])
    confs = [run(page, level, noisy).ocr_conf for level in (0, 0.3, 0.9)]
    assert confs[0] > confs[1] > confs[2] > 0
    assert corrupt(None, (), "", 0.9, 0.5, noisy, "row").ocr_conf is None
    assert corrupt(None, (), "some text", None, 0.5, noisy, "row").ocr_conf is None


def test_a_question_is_damaged_by_text_operators_whatever_the_mode():
    question = "What is the total revenue in 2019?"
    damaged, records = corrupt_text(question, 0.3, CorruptionConfig(damage="image"), "row")
    assert damaged != question
    assert {record["kind"] for record in records} == {"text"}
    assert corrupt_text(question, 0, CorruptionConfig(), "row") == (question, [])


@pytest.mark.parametrize("level", [-0.1, 1.01, float("nan")])
def test_a_level_outside_0_to_1_is_refused(level, page):
    with pytest.raises(UsageError, match="outside 0 to 1"):
        run(page, level)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_a_picture_that_is_not_rgb_is_refused_with_the_remedy(mode):
    with pytest.raises(UsageError, match=f"mode {mode}.*open_picture"):
        corrupt(Image.new(mode, (8, 8)), (), "", None, 0.5, CorruptionConfig(), "row")


@pytest.mark.parametrize(
    "fields",
    [
        {"image_operators": ["blurr"]},
        {"text_operators": ["typo"]},
        {"damage": "image", "image_operators": []},
        {"text_operators": []},
    ],
)
def test_unknown_or_missing_operators_are_a_usage_error(fields):
    with pytest.raises(UsageError):
        CorruptionConfig(**fields)


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError):
        CorruptionConfig.model_validate({"levels": 3})


def test_a_tiny_picture_goes_through_every_plan():
    for size in ((1, 1), (5, 3)):
        for row in range(30):
            result = corrupt(Image.new("RGB", size), (), "a b", 0.5, 0.7, CorruptionConfig(), f"row {row}")
            assert result.image is not None
            assert 0 < result.c_vis < 1


def test_the_noise_on_a_row_is_the_same_pattern_at_every_level():
    grey = Image.new("RGB", (60, 60), (128, 128, 128))
    config = CorruptionConfig(damage="image", image_operators=["gaussian_noise"])
    weak, strong = (corrupt(grey, (), "", None, level, config, "row").image for level in (0.01, 0.3))
    assert np.corrcoef(np.asarray(weak).ravel(), np.asarray(strong).ravel())[0, 1] > 0.95

"""The text loses what the picture loses."""

import numpy as np
import pytest

from r3pp_core.corruption.config import CorruptionConfig
from r3pp_core.corruption.coupling import LEGIBILITY, couple, error_rates
from r3pp_core.corruption.draws import generator
from r3pp_core.corruption.image import measure
from r3pp_core.corruption.simulator import OcrLine, corrupt
from r3pp_core.corruption.words import DamagedText

SIZE = (200, 100)
LINES = [OcrLine("left right", (0, 0, 100, 20), 0.9), OcrLine("below", (0, 40, 50, 60), 0.9)]
CLEAN = "left right\nbelow"


def coupled(records, lines=LINES, clean=CLEAN, key="row"):
    text = DamagedText(clean)
    record = couple(text, lines, SIZE, records, generator(0, key, 0, "coupling"))
    return text, record


def occlusion(*box):
    return {"name": "occlusion", "strength": 0.3, "box": list(box)}


def test_a_word_under_an_occlusion_is_gone_and_its_neighbours_stay():
    text, record = coupled([occlusion(48, 0, 200, 30)])
    assert text.render() == "left\nbelow"
    assert record["strength"] == pytest.approx(1 / 3)
    assert not record["approximate"]


def test_a_word_half_under_an_occlusion_keeps_only_the_letters_that_show():
    assert coupled([occlusion(0, 35, 20, 100)])[0].render() == "left right\nlow"


def test_words_outside_a_crop_are_gone():
    assert coupled([{"name": "crop", "strength": 0.5, "kept": [0, 0, 200, 30]}])[0].render() == "left right"


def test_a_line_that_runs_upwards_is_cut_along_its_height():
    upright = [OcrLine("abcd", (0, 0, 10, 80), 0.9)]
    assert coupled([occlusion(0, 0, 10, 40)], upright, "abcd")[0].render() == "cd"


def test_a_word_that_occurs_twice_is_lost_where_it_is_covered():
    lines = [OcrLine(word, (0, y, 40, y + 20), 0.9) for word, y in (("same", 0), ("other", 30), ("same", 60))]
    assert coupled([occlusion(0, 55, 200, 100)], lines, "same\nother\nsame")[0].render() == "same\nother"


def test_an_answer_hidden_in_the_picture_never_stays_in_the_text():
    """Words on a grid, none a part of another: one wholly covered or cut away is never rendered."""
    names = ["zebra", "quilt", "wharf", "jumbo", "vicky", "dough", "spent", "lymph", "froze"]
    grid = [OcrLine(n, (x := 70 * (i % 3), y := 40 * (i // 3), x + 50, y + 20), 0.9) for i, n in enumerate(names)]
    config = CorruptionConfig(damage="image", image_operators=["occlusion", "crop"])
    num_hidden = 0
    for row in range(60):
        result = corrupt(None, grid, "\n".join(names), 0.9, 0.8, config, f"row {row}", image_size=(200, 120))
        hidden = {line.text for line in grid for record in result.operators[:-1] if hides(record, line.box)}
        num_hidden += len(hidden)
        assert not hidden & set(result.pseudo_text.split())
    assert num_hidden > 60


def hides(record, box):
    x0, y0, x1, y1 = record.get("box") or record["kept"]
    if record["name"] == "occlusion":
        return x0 <= box[0] and y0 <= box[1] and box[2] <= x1 and box[3] <= y1
    return x1 <= box[0] or box[2] <= x0 or y1 <= box[1] or box[3] <= y0


@pytest.mark.parametrize("name", LEGIBILITY)
def test_words_are_lost_with_the_strength_of_what_makes_text_hard_to_read(name, page):
    config = CorruptionConfig(damage="image", image_operators=[name], max_operators=1)
    shares = []
    for level in (0.05, 0.5, 1.0):
        results = [
            corrupt(None, page.lines, page.text, 0.9, level, config, f"row {i}", image_size=page.image.size)
            for i in range(20)
        ]
        shares.append(sum(r.c_text for r in results) / 20)
    assert shares[0] >= shares[1] >= shares[2]
    assert shares[2] < shares[0]


def test_small_text_suffers_more_than_large_text_from_the_same_blur():
    record = measure("gaussian_blur", (224, 224), 0.3, generator(0, "r", 0, "x"))
    clean = "\n".join(f"word{i} number{i} three{i}" for i in range(40))
    shares = []
    for height in (6, 60):
        lines = [OcrLine(t, (0, 0, 200, height), 0.9) for t in clean.splitlines()]
        shares.append(coupled([record], lines, clean)[0].intact_share())
    assert shares[0] < shares[1] - 0.3


def test_without_boxes_a_proportional_share_of_words_goes_and_the_record_says_so():
    clean = " ".join(f"w{i}" for i in range(2000))
    text, record = coupled([{"name": "crop", "strength": 0.3, "kept": [0, 0, 200, 70]}], [], clean)
    assert record["approximate"]
    assert record["num_words_without_box"] == 2000
    assert text.intact_share() == pytest.approx(0.7, abs=0.04)


def test_words_beyond_the_known_lines_are_the_only_approximate_ones():
    _, record = coupled([occlusion(0, 0, 1, 1)], LINES, CLEAN + "\nunseen words")
    assert record["num_words_without_box"] == 2


def test_a_strange_word_in_the_text_does_not_cost_the_others_their_boxes():
    text, record = coupled([occlusion(48, 0, 200, 30)], LINES, "below left right\nbelow")
    assert record["num_words_without_box"] == 1
    assert "right" not in text.render()
    assert text.render().endswith("left\nbelow")


def test_coupled_text_agrees_with_the_mean_legibility_it_is_given():
    """Over many draws, the share of lost lines is the rate that error_rates states."""
    record = measure("gaussian_blur", (224, 224), 0.0, generator(0, "r", 0, "x"))
    height = 10.0
    expected = error_rates(np.full(1, height), [record])[0][0]
    clean = "\n".join("word" for _ in range(3000))
    lines = [OcrLine("word", (0, 0, 40, height), 0.9)] * 3000
    text = DamagedText(clean)
    couple(text, lines, SIZE, [record], generator(0, "row", 0, "coupling"))
    assert 0.05 < expected < 0.95
    assert text.gone.mean() == pytest.approx(expected, abs=0.04)

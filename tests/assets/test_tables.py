"""What results look like in the UI."""

import re

import pytest

from r3pp_assets.defs.evaluate.tables import plots_markdown
from r3pp_assets.metadata import MAX_INLINE_PNG_BYTES
from r3pp_core.corruption.image import IMAGE_OPERATORS
from r3pp_core.datasets.registry import DATASETS
from r3pp_core.evaluation.scoring import score_samples
from r3pp_core.evaluation.sweep import PRIMARY
from r3pp_core.model.config import ARMS

LEVELS = (0, 0.2, 0.4, 0.6, 0.8)


def results_of(arms):
    return score_samples(
        [
            {
                "id": f"{dataset}/val/{number}",
                "dataset": dataset,
                "image_sha256": str(number),
                "answers": ["12"],
                "prediction": "12" if (number + len(arm)) % 10 > 10 * level else "no",
                "arm": arm,
                "level": level,
                "operators": [{"name": name, "strength": level} for name in IMAGE_OPERATORS] if level else [],
                "confidence": {"c_vis": 1 - level, "c_text": number / 10} if arm == "r3" else None,
                "truth": {"c_vis": 1 - level, "c_text": 1 - level},
            }
            for dataset in DATASETS
            for arm in arms
            for level in LEVELS
            for number in range(10)
        ],
        PRIMARY,
    )


def test_a_whole_sweep_is_shown_in_pictures_small_enough_for_the_event_log():
    shown = plots_markdown(results_of(list(ARMS)))
    names = {f"{kind}_{name}" for kind in ("robustness", "ablations", "operators") for name in DATASETS}
    assert set(shown) == names | {"reliability"}
    for markdown in shown.values():
        (encoded,) = re.findall(r"^!\[.+\]\(data:image/png;base64,([^)]+)\)$", markdown.value)
        assert len(encoded) * 3 / 4 < MAX_INLINE_PNG_BYTES
    assert shown["ablations_chartqa"].value.startswith("![chartqa at level 0.8: R3, R3 without a part")


@pytest.mark.parametrize("arms", [["base"], ["r3"]])
def test_what_was_not_evaluated_has_no_picture(arms):
    assert not [name for name in plots_markdown(results_of(arms)) if name.startswith("ablations")]

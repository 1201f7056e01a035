"""Predictions for questions whose answers are hidden, as the challenge's server takes them.

Format: a JSON list of {"questionId", "answer"}, that of the Robust Reading Competition (rrc.cvc.uab.es) for DocVQA and
InfographicVQA. A row without a question id of its source is named by its own id.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_submissions(samples: Iterable[Mapping[str, Any]], folder: Path) -> list[str]:
    """Write `submission_<data set>_<arm>.json` for undamaged rows without a reference; returns the names."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for sample in samples:
        if not sample["answers"] and sample["level"] == 0:
            place = f"submission_{sample['dataset']}_{sample['arm']}.json"
            found[place].append({"questionId": _question_id(sample), "answer": sample["prediction"]})
    for place, lines in found.items():
        (folder / place).write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return sorted(found)


def _question_id(sample: Mapping[str, Any]) -> int | str:
    given = (sample.get("meta") or {}).get("question_id")
    named = str(sample["id"] if given in (None, "") else given)
    return int(named) if named.isascii() and named.isdigit() else named

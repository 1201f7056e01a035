"""The signature of a score: what one must know to compute it again, on one line beside the number.

The idea is sacrebleu's (Post 2018, arXiv 1804.08771).
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from r3pp_core.artefact import hash_json
from r3pp_core.evaluation.metric_set import MetricSet

_LONGEST_PLAIN_VALUE: Final = 40  # characters; longer values, such as prompts, appear as a hash


def short_signature(
    metric: str, dataset: str, arm: str, level: str, signature: Mapping[str, Any], metrics: MetricSet
) -> str:
    """The signature of one score on one line, `anls|v:1.0|norm:...|arm:r3|level:0.8|data_hash:...`, then sorted.

    A mapping with the data set, the arm, or the arm's family ("r3" of "r3-no_gate") among its keys gives that
    entry.
    """
    parts = [metric, f"v:{metrics.versions[metric]}", f"norm:{metrics.normalisation[metric]}"]
    parts += [f"arm:{arm}", f"level:{level}"]
    for key in sorted(signature.keys() - metrics.signature.keys()):
        value = signature[key]
        if isinstance(value, Mapping):
            owners = (arm, dataset, re.split("[-_]", arm)[0])
            value = next((value[owner] for owner in owners if owner in value), value)
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))
        parts.append(f"{key}:{_short(text)}")
    return "|".join(parts)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_PLAIN_VALUE and "|" not in text else hash_json(text)[:12]

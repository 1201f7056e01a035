"""Whether the model knows how damaged its input is: the confidence that it states against the simulator's truth.

`c_vis` is how much of the picture is left, `c_text` how much of its text (word recall); both in 0..1.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from r3pp_core.evaluation.comparison import R3
from r3pp_core.evaluation.grouping import level_key, level_of

KINDS: Final = ("c_vis", "c_text")
NUM_BINS: Final = 10
MIN_FOR_CORRELATION: Final = 3


class Calibration:
    """Collects what samples of arm r3 state while they pass through `watch`; one that states a null is passed over."""

    def __init__(self) -> None:
        self._stated: dict[tuple[str, float], list[tuple[float, ...]]] = defaultdict(list)

    def watch(self, samples: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for sample in samples:
            stated, truth = sample.get("confidence"), sample.get("truth")
            if sample.get("arm") == R3 and stated and truth:
                pairs = tuple(side[kind] for kind in KINDS for side in (stated, truth))
                if None not in pairs:
                    self._stated[sample["dataset"], level_of(sample)].append(pairs)
            yield sample

    def results(self) -> dict[str, Any]:
        """Kind -> "levels" (level -> figures over all data sets), "datasets" (data set -> figures) and "bins".

        Figures: n, the means stated and true, the mean absolute error, and the correlation over rows (None where one
        of the two does not vary). Bins: what is true where the model states that much. Empty without a confidence.
        """
        if not self._stated:
            return {}
        found: dict[str, Any] = {}
        for place, kind in enumerate(KINDS):
            columns = slice(2 * place, 2 * place + 2)
            pairs = {key: np.array(rows)[:, columns] for key, rows in sorted(self._stated.items())}
            found[kind] = {
                "levels": {
                    level_key(level): _figures([rows for key, rows in pairs.items() if key[1] == level])
                    for level in sorted({key[1] for key in pairs})
                },
                "datasets": {
                    dataset: _figures([rows for key, rows in pairs.items() if key[0] == dataset])
                    for dataset in sorted({key[0] for key in pairs})
                },
                "bins": _bins(np.concatenate(list(pairs.values()))),
            }
        return found


def _figures(parts: Sequence[np.ndarray]) -> dict[str, Any]:
    stated, truth = np.concatenate(parts).T
    varies = len(stated) >= MIN_FOR_CORRELATION and stated.std() > 0 and truth.std() > 0
    return {
        "n": len(stated),
        "stated": float(stated.mean()),
        "true": float(truth.mean()),
        "mean_absolute_error": float(np.abs(stated - truth).mean()),
        "correlation": float(np.corrcoef(stated, truth)[0, 1]) if varies else None,
    }


def _bins(pairs: np.ndarray) -> list[dict[str, Any]]:
    stated, truth = pairs.T
    numbers = np.minimum((stated * NUM_BINS).astype(int), NUM_BINS - 1)
    return [
        {
            "n": int((numbers == number).sum()),
            "stated": float(stated[numbers == number].mean()),
            "true": float(truth[numbers == number].mean()),
        }
        for number in np.unique(numbers).tolist()
    ]

"""The answer metrics, as pure functions of one prediction and its references.

Every function takes the final prediction and all references and returns a score in [0, 1]; nothing here cuts
or chooses a prediction. Standard library only, so that a score can be checked anywhere.
Means, intervals and comparisons are made from these per-example values in `statistics` and `scoring`.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from r3pp_core.errors import R3Error

Metric = Callable[[str, Sequence[str]], float]

METRICS_VERSION: Final = "1.0"
"""Raised whenever any score of any metric could change; part of every signature."""

NO_ANSWER: Final = "<no answer>"
"""ScreenQA's marker for a question that the screen does not answer."""

RELAXED_TOLERANCE: Final = 0.05  # ChartQA, arXiv 2203.10244, section 5.1
ANLS_THRESHOLD: Final = 0.5  # DocVQA, arXiv 2007.00398, and the RRC challenge page

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")
_DROP_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def relaxed_accuracy(prediction: str, references: Sequence[str]) -> float:
    """ChartQA's relaxed accuracy, the maximum over references: 0 or 1.

    Numbers may be off by 5 % of the target; everything else, and a target of 0, needs equal text in any case.
    Arithmetic in doubles, as in the reference implementation (pix2struct, `metrics.py`): 105 passes for 100,
    and 1.05 for 1 fails by a rounding error. A number is what `float()` reads, if finite: "1,000" and "nan"
    are text.

    Raises:
        R3Error: `references` is empty.
    """
    require_references(references)
    return float(any(_relaxed_match(prediction.strip(), reference.strip()) for reference in references))


def anls(prediction: str, references: Sequence[str]) -> float:
    """Average normalised Levenshtein similarity of one example, the best over references.

    1 - NL where NL = edit distance / longer length is below 0.5, else 0. Characters are Unicode code
    points of the lower-cased text with its white space collapsed. Two empty texts are equal: 1.

    Raises:
        R3Error: `references` is empty.
    """
    require_references(references)
    guess = normalize_space(prediction)
    return max(_anls_one(guess, normalize_space(reference)) for reference in references)


def squad_em(prediction: str, references: Sequence[str]) -> float:
    """Exact match after SQuAD normalisation with ScreenQA's `<no answer>` rule: 0 or 1.

    Follows `sqa_s_metrics` of google-research-datasets/screen_qa.

    Raises:
        R3Error: `references` is empty.
    """
    require_references(references)
    if prediction == NO_ANSWER:
        return float(NO_ANSWER in references)
    return float(normalize_squad(prediction) in {normalize_squad(text) for text in _answered(references)})


def squad_f1(prediction: str, references: Sequence[str]) -> float:
    """Token F1 after SQuAD normalisation with ScreenQA's `<no answer>` rule, the maximum over references.

    Follows `sqa_s_metrics`, where two texts without a token left (say "the" and "a") share nothing: 0.

    Raises:
        R3Error: `references` is empty.
    """
    require_references(references)
    if prediction == NO_ANSWER:
        return float(NO_ANSWER in references)
    guess = normalize_squad(prediction).split()
    return max((_overlap_f1(guess, normalize_squad(text).split()) for text in _answered(references)), default=0.0)


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """Equal text in any case, white space collapsed, for any reference: 0 or 1.

    Punctuation counts, unlike in `squad_em`: 12.5 is not 125 and -3 is not 3.

    Raises:
        R3Error: `references` is empty.
    """
    require_references(references)
    return float(normalize_space(prediction) in {normalize_space(text) for text in references})


def token_f1(prediction: str, references: Sequence[str]) -> float:
    """F1 over the white-space tokens of the lower-cased texts, the maximum over references.

    Two texts without a token are equal: 1 (the rule of SQuAD 2.0's evaluation).

    Raises:
        R3Error: `references` is empty.
    """
    require_references(references)
    guess = normalize_space(prediction).split()
    return max(_token_f1_one(guess, normalize_space(text).split()) for text in references)


METRICS: Final[dict[str, Metric]] = {
    "relaxed_accuracy": relaxed_accuracy,
    "anls": anls,
    "squad_em": squad_em,
    "squad_f1": squad_f1,
    "exact_match": exact_match,
    "token_f1": token_f1,
}

NORMALISATION: Final[dict[str, str]] = {
    "relaxed_accuracy": "strip+lower",
    "anls": "lower+strip+spaces",
    "squad_em": "lower+punctuation+articles+spaces",
    "squad_f1": "lower+punctuation+articles+spaces",
    "exact_match": "lower+strip+spaces",
    "token_f1": "lower+strip+spaces",
}
"""What each metric does to both texts before it compares them; part of every signature."""


def normalize_space(text: str) -> str:
    """Lower-case, stripped, every run of white space one space."""
    return " ".join(text.lower().split())


def normalize_squad(text: str) -> str:
    """Lower-case without ASCII punctuation and the words a, an, the; every run of white space one space.

    In the order of SQuAD's evaluation script: punctuation goes first, so "a.m." becomes "am" and stays.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DROP_PUNCTUATION)).split())


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance in code points: insertions, deletions and substitutions cost 1."""
    if len(a) < len(b):
        a, b = b, a
    row = list(range(len(b) + 1))
    for i, char_a in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, char_b in enumerate(b, start=1):
            cost = diagonal if char_a == char_b else 1 + min(diagonal, row[j], row[j - 1])
            diagonal, row[j] = row[j], cost
    return row[-1]


def require_references(references: Sequence[str]) -> None:
    if isinstance(references, str):
        raise R3Error(f"the references are one string, {references[:60]!r}; pass a list of strings")
    if not references:
        raise R3Error("a row without a reference answer cannot be scored; count it and leave it out")


def _relaxed_match(prediction: str, target: str) -> bool:
    p, t = _number(prediction), _number(target)
    if p is not None and t:
        return abs(p - t) / abs(t) <= RELAXED_TOLERANCE
    return prediction.lower() == target.lower()


def _number(text: str) -> float | None:
    """The finite number that `text` is, "x%" being x / 100; None where it is not one."""
    is_percent = text.endswith("%")
    try:
        value = float(text[:-1]) / 100.0 if is_percent else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _anls_one(guess: str, target: str) -> float:
    if guess == target:
        return 1.0
    longer = max(len(guess), len(target))
    if abs(len(guess) - len(target)) >= ANLS_THRESHOLD * longer:  # the distance is at least this
        return 0.0
    normalized_distance = edit_distance(guess, target) / longer
    return 1.0 - normalized_distance if normalized_distance < ANLS_THRESHOLD else 0.0


def _answered(references: Sequence[str]) -> list[str]:
    return [reference for reference in references if reference != NO_ANSWER]


def _overlap_f1(guess: list[str], target: list[str]) -> float:
    num_same = (Counter(guess) & Counter(target)).total()
    if num_same == 0:
        return 0.0
    precision, recall = num_same / len(guess), num_same / len(target)
    return 2 * precision * recall / (precision + recall)


def _token_f1_one(guess: list[str], target: list[str]) -> float:
    return 1.0 if guess == target else _overlap_f1(guess, target)

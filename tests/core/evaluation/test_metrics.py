"""Each metric by hand at its edges, and against a second implementation written from the definitions."""

import ast
import functools
import random
import re
import string
from pathlib import Path

import pytest

from r3pp_core.errors import R3Error
from r3pp_core.evaluation import metrics
from r3pp_core.evaluation.metrics import METRICS

BY_HAND = [
    # relaxed accuracy
    ("relaxed_accuracy", "100", ["100"], 1),
    ("relaxed_accuracy", "105", ["100"], 1),  # exactly 5 %
    ("relaxed_accuracy", "105.1", ["100"], 0),
    ("relaxed_accuracy", "95", ["100"], 1),
    ("relaxed_accuracy", "94.9", ["100"], 0),
    ("relaxed_accuracy", "-5", ["-5.2"], 1),
    ("relaxed_accuracy", "5", ["-5"], 0),
    ("relaxed_accuracy", "12%", ["0.12"], 1),
    ("relaxed_accuracy", "12", ["12%"], 0),  # 12 against 0.12
    ("relaxed_accuracy", " 12 % ", ["12%"], 1),
    ("relaxed_accuracy", "0.0", ["0"], 0),  # a zero target asks for equal text
    ("relaxed_accuracy", "0", ["0"], 1),
    ("relaxed_accuracy", "0.001", ["0"], 0),
    ("relaxed_accuracy", "0", ["0.001"], 0),
    ("relaxed_accuracy", "1,000", ["1000"], 0),  # a comma makes it text
    ("relaxed_accuracy", "1,000", ["1,000"], 1),
    ("relaxed_accuracy", "$5", ["5"], 0),
    ("relaxed_accuracy", "1e3", ["1000"], 1),
    ("relaxed_accuracy", "nan", ["NaN"], 1),  # not a number, but equal text
    ("relaxed_accuracy", "inf", ["1"], 0),
    ("relaxed_accuracy", "  Blue ", ["blue"], 1),
    ("relaxed_accuracy", "dark  blue", ["dark blue"], 0),  # inner spaces are not collapsed
    ("relaxed_accuracy", "7", ["9", "7.1", "1"], 1),
    ("relaxed_accuracy", "", [""], 1),
    ("relaxed_accuracy", "", ["7"], 0),
    ("relaxed_accuracy", "%", ["%"], 1),
    ("relaxed_accuracy", "ÉTÉ", ["été"], 1),
    ("relaxed_accuracy", "7, 9, 1", ["7", "9", "1"], 0),  # listing candidates earns nothing
    # ANLS
    ("anls", "hello", ["hello"], 1),
    ("anls", "Hello   World ", ["hello world"], 1),
    ("anls", "kitten", ["sitting"], 1 - 3 / 7),
    ("anls", "abcd", ["abxy"], 0),  # NL is exactly 0.5
    ("anls", "abcde", ["abcxy"], 0.6),
    ("anls", "ab", ["a"], 0),  # NL is exactly 0.5
    ("anls", "abc", ["ab"], 2 / 3),
    ("anls", "", [""], 1),
    ("anls", "", ["a"], 0),
    ("anls", "a", [""], 0),
    ("anls", "cat", ["dog", "cut", "car"], 2 / 3),
    ("anls", "naïve", ["naive"], 0.8),  # one code point of five
    ("anls", "東京都", ["東京"], 2 / 3),
    ("anls", "-3", ["3"], 0),
    ("anls", "1,204", ["1204"], 0.8),
    ("anls", "73%", ["73"], 2 / 3),
    # SQuAD with ScreenQA's rule
    ("squad_em", "The Cat!", ["cat"], 1),
    ("squad_em", "cat dog", ["cat"], 0),
    ("squad_em", "dog", ["cat", "dog"], 1),
    ("squad_em", "", [""], 1),
    ("squad_em", "the", ["a"], 1),  # nothing is left of either
    ("squad_em", "9:41 a.m.", ["941 am"], 1),
    ("squad_em", "-3", ["3"], 1),  # punctuation is nothing
    ("squad_em", "73%", ["73"], 1),
    ("squad_em", "ÉTÉ", ["été"], 1),
    ("squad_em", "<no answer>", ["<no answer>"], 1),
    ("squad_em", "<no answer>", ["cat", "<no answer>"], 1),
    ("squad_em", "<no answer>", ["no answer"], 0),
    ("squad_em", "no answer", ["<no answer>"], 0),  # the marker is no reference for words
    ("squad_em", "cat", ["<no answer>", "cat"], 1),
    ("squad_em", "cat", ["<no answer>"], 0),
    ("squad_f1", "cat sat", ["cat"], 2 / 3),
    ("squad_f1", "cat cat", ["cat"], 2 / 3),  # a repeated word counts once
    ("squad_f1", "the cat sat", ["a cat ran"], 0.5),
    ("squad_f1", "cat", ["dog", "cat"], 1),
    ("squad_f1", "the", ["a"], 0),
    ("squad_f1", "", ["cat"], 0),
    ("squad_f1", "-3 %", ["3"], 1),
    ("squad_f1", "<no answer>", ["cat"], 0),
    ("squad_f1", "<no answer>", ["cat", "<no answer>"], 1),
    ("squad_f1", "no answer", ["<no answer>"], 0),
    ("squad_f1", "Café Zürich", ["café"], 2 / 3),
    # exact match and token F1
    ("exact_match", " Blue  Sky", ["blue sky"], 1),
    ("exact_match", "12.5", ["125"], 0),  # punctuation counts
    ("exact_match", "-3", ["3"], 0),
    ("exact_match", "73%", ["73"], 0),
    ("exact_match", "ÉTÉ", ["été"], 1),
    ("exact_match", "naïve", ["naive"], 0),
    ("exact_match", "", [""], 1),
    ("exact_match", "b", ["a", "B"], 1),
    ("token_f1", "blue sky", ["sky"], 2 / 3),
    ("token_f1", "", [""], 1),
    ("token_f1", "", ["sky"], 0),
    ("token_f1", "the sky", ["the sea"], 0.5),
    ("token_f1", "sky.", ["sky"], 0),
    ("token_f1", "-3 %", ["3 %"], 0.5),
    ("token_f1", "東京 タワー", ["東京"], 2 / 3),
]


@pytest.mark.parametrize(("metric", "prediction", "references", "expected"), BY_HAND)
def test_each_edge_has_the_value_computed_by_hand(metric, prediction, references, expected):
    assert METRICS[metric](prediction, references) == pytest.approx(expected, abs=1e-12)


# A second implementation, slow and straight from the definitions, sharing no code with the first.


def slow_relaxed_accuracy(prediction, references):
    number = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")

    def value(text):
        scale = 1
        if text[-1:] == "%":
            text, scale = text[:-1], 100
        return float(text) / scale if number.fullmatch(text) else None

    def correct(p, t):
        if value(p) is not None and value(t) is not None and value(t) != 0:
            return abs(value(p) - value(t)) / abs(value(t)) <= 0.05
        return p.lower() == t.lower()

    return max([1.0 if correct(prediction.strip(), t.strip()) else 0.0 for t in references])


def slow_anls(prediction, references):
    def clean(text):
        return re.sub(r"\s+", " ", text.lower().strip())

    def similarity(a, b):
        @functools.cache
        def distance(i, j):
            if i == 0 or j == 0:
                return i + j
            return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

        nl = distance(len(a), len(b)) / max(len(a), len(b)) if a or b else 0
        return 1 - nl if nl < 0.5 else 0

    return max([similarity(clean(prediction), clean(t)) for t in references])


def slow_squad_words(text):
    kept = [c for c in text.lower() if c not in string.punctuation]
    return [word for word in "".join(kept).split() if word not in ("a", "an", "the")]


def slow_f1(words, target):
    left, same = list(target), 0
    for word in words:
        if word in left:
            left.remove(word)
            same += 1
    return 2 * same / (len(words) + len(target)) if same else 0


def slow_squad(prediction, references, score):
    if prediction == "<no answer>":
        return 1 if "<no answer>" in references else 0
    scores = [score(slow_squad_words(prediction), slow_squad_words(t)) for t in references if t != "<no answer>"]
    return max(scores, default=0)


SLOW = {
    "relaxed_accuracy": slow_relaxed_accuracy,
    "anls": slow_anls,
    "squad_em": lambda p, r: slow_squad(p, r, lambda a, b: float(a == b)),
    "squad_f1": lambda p, r: slow_squad(p, r, slow_f1),
    "exact_match": lambda p, r: max(float(p.lower().split() == t.lower().split()) for t in r),
    "token_f1": lambda p, r: max(
        1 if p.lower().split() == t.lower().split() else slow_f1(p.lower().split(), t.lower().split()) for t in r
    ),
}

VOCABULARY = [
    *["the", "a", "An", "cat", "Cats", "Wi-Fi", "9:41", "a.m.", "naïve", "東京", "Zürich", "½", "it's"],
    *["0", "0.0", "-0", "0%", "7", "7.2", "-7", "7%", "0.07", "12.5%"],
    *["1,204", "1e2", "100", "105", "95", "$5", "(blue)", "blue", "and", "theatre"],
    *["<no answer>", "no answer", "BLUE\t", "dark  blue", "", " "],
]


def generated_pairs(count):
    """Predictions with one to three references, half of them references with small damage."""
    rng = random.Random(7)
    for _ in range(count):
        references = [
            rng.choice(["", " "]).join(rng.choices(VOCABULARY, k=rng.randint(1, 3))) for _ in range(rng.randint(1, 3))
        ]
        prediction = " ".join(rng.choices(VOCABULARY, k=rng.randint(1, 3)))
        if rng.random() < 0.5:
            letters = list(rng.choice(references))
            for _ in range(rng.randint(0, 3)):
                letters.insert(rng.randint(0, len(letters)), rng.choice("ab1.% -"))
                if rng.random() < 0.5:
                    del letters[rng.randrange(len(letters))]
            prediction = "".join(letters)
        yield prediction, references


@pytest.mark.parametrize("metric", METRICS)
def test_a_second_implementation_gives_the_same_scores_on_3000_pairs(metric):
    seen = set()
    for prediction, references in generated_pairs(3000):
        fast, slow = METRICS[metric](prediction, references), SLOW[metric](prediction, references)
        assert fast == pytest.approx(slow, abs=1e-12), (prediction, references)
        seen.add(fast)
    assert {0.0, 1.0} <= seen, "the pairs must reach both ends of the metric"


def test_anls_is_that_of_the_public_package_on_3000_pairs():
    import anls

    for prediction, references in generated_pairs(3000):
        theirs = anls.anls_score(prediction, references)
        assert METRICS["anls"](prediction, references) == pytest.approx(theirs, abs=1e-12), (prediction, references)


@pytest.mark.parametrize("metric", METRICS)
def test_a_prediction_equal_to_a_reference_scores_one(metric):
    for text in ("42%", "dark blue", "-1,204.5", "東京", "<no answer>"):
        assert METRICS[metric](text, ["something else", text]) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_without_references_is_refused(metric):
    with pytest.raises(R3Error, match="without a reference"):
        METRICS[metric]("42", [])


@pytest.mark.parametrize("metric", METRICS)
def test_one_string_in_place_of_the_list_of_references_is_refused(metric):
    with pytest.raises(R3Error, match="list of strings"):
        METRICS[metric]("4", "42")


def test_every_metric_says_how_it_normalises():
    assert set(metrics.NORMALISATION) == set(METRICS)


def test_metrics_import_nothing_but_the_standard_library_and_the_errors():
    tree = ast.parse(Path(metrics.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert modules <= {"math", "re", "string", "collections", "collections.abc", "typing", "r3pp_core.errors"}

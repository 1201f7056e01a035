"""Text overlap of one answer with its references: BLEU by sacrebleu and ROUGE-L by rouge-score, as they come.

Both are made for sentences; an answer of one word gets 0 or 1. They say little of a short answer and lead no data set.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from r3pp_core.errors import R3Error
from r3pp_core.evaluation.metrics import Metric, require_references

OVERLAP_NORMALISATION: Final = {
    "bleu": "tok:13a+case:mixed+smooth:exp+effective_order",
    "rouge_l": "lower+ascii_alphanumeric",
}


def overlap_metrics() -> dict[str, Metric]:
    """Both by name, each in 0..1 and the maximum over references. Raises R3Error when the extra is not installed."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics import BLEU
    except ModuleNotFoundError as error:
        raise R3Error(
            f"text_overlap needs the package of {error.name}; run `pip install 'r3pp[overlap]'` or leave it out"
        ) from error
    scorer = BLEU(effective_order=True, tokenize="13a", smooth_method="exp", lowercase=False)
    rouge = RougeScorer(["rougeL"], use_stemmer=False)

    def bleu(prediction: str, references: Sequence[str]) -> float:
        """Sentence BLEU (Post 2018, arXiv 1804.08771), of the n-gram orders that the prediction has."""
        require_references(references)
        best = max(scorer.sentence_score(prediction, [reference]).score for reference in references)
        return min(1.0, best / 100)  # equal texts give 100.00000000000004

    def rouge_l(prediction: str, references: Sequence[str]) -> float:
        """F1 of the longest common subsequence of tokens (Lin 2004, section 3.1)."""
        require_references(references)
        return max(float(rouge.score(reference, prediction)["rougeL"].fmeasure) for reference in references)

    return {"bleu": bleu, "rouge_l": rouge_l}


def overlap_versions() -> dict[str, str]:
    return {"bleu": f"sacrebleu-{version('sacrebleu')}", "rouge_l": f"rouge-score-{version('rouge-score')}"}

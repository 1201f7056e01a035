"""Which metrics are computed: those that always are, and on request the text overlap beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from r3pp_core.evaluation.metrics import METRICS, METRICS_VERSION, NORMALISATION, Metric


@dataclass(frozen=True)
class MetricSet:
    """Metrics by name: what computes each, its version, and what it does to both texts before it compares them.

    Those of METRICS come first and in their order.
    """

    functions: Mapping[str, Metric]
    versions: Mapping[str, str]
    normalisation: Mapping[str, str]

    @property
    def libraries(self) -> dict[str, str]:
        """The versions of those that a library computes."""
        return {name: version for name, version in self.versions.items() if name not in METRICS}

    @property
    def version(self) -> str:
        """Changes whenever any score could."""
        return "+".join([METRICS_VERSION, *self.libraries.values()])

    @property
    def signature(self) -> dict[str, Any]:
        """The part of every signature that this package fills in; one passed in by a caller is replaced."""
        own = {"metrics_version": METRICS_VERSION, "normalisation": dict(self.normalisation)}
        return own | ({"libraries": self.libraries} if self.libraries else {})


ALWAYS: Final = MetricSet(METRICS, dict.fromkeys(METRICS, METRICS_VERSION), NORMALISATION)


def chosen_metrics(text_overlap: bool) -> MetricSet:
    """ALWAYS, or BLEU and ROUGE-L besides. Raises R3Error when these are asked for and their extra is not installed."""
    if not text_overlap:
        return ALWAYS
    from r3pp_core.evaluation.overlap import OVERLAP_NORMALISATION, overlap_metrics, overlap_versions

    return MetricSet(
        {**ALWAYS.functions, **overlap_metrics()},
        {**ALWAYS.versions, **overlap_versions()},
        {**ALWAYS.normalisation, **OVERLAP_NORMALISATION},
    )

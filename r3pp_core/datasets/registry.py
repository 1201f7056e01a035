"""The data sets that the project knows. A fourth is one new file and one line here."""

from r3pp_core.datasets import chartqa, infovqa, screenqa
from r3pp_core.datasets.spec import DatasetSpec
from r3pp_core.errors import UsageError

DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        screenqa.SPEC,
        chartqa.SPEC,
        infovqa.SPEC,
    )
}


def dataset_spec(name: str) -> DatasetSpec:
    if name not in DATASETS:
        raise UsageError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[name]

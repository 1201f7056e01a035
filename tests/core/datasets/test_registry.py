"""What is declared of the data sets fits together."""

import re

import pytest

from r3pp_core.datasets.registry import DATASETS, dataset_spec
from r3pp_core.datasets.spec import SPLITS
from r3pp_core.errors import R3Error, UsageError
from r3pp_core.evaluation.metrics import METRICS


def test_the_three_data_sets_are_known_by_their_names():
    assert list(DATASETS) == ["screenqa", "chartqa", "infovqa"]
    assert all(dataset_spec(name).name == name for name in DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_each_split_has_a_source_and_the_metric_exists(name):
    spec = dataset_spec(name)
    assert tuple(spec.sources) == SPLITS
    assert spec.metric in METRICS
    assert spec.prompt


@pytest.mark.parametrize("name", DATASETS)
def test_sources_are_pinned_to_a_commit(name):
    revisions = {(source.repo, source.revision) for source in dataset_spec(name).sources.values()}
    followed = {repo for repo, revision in revisions if not re.fullmatch("[0-9a-f]{40}", revision)}
    assert followed <= {"vidore/infovqa_train"}


def test_an_unknown_data_set_is_a_usage_error_that_lists_the_known():
    with pytest.raises(UsageError, match="unknown data set 'mnist': choose one of screenqa, chartqa, infovqa"):
        dataset_spec("mnist")


def test_column_candidates_are_tried_in_order_and_a_miss_names_what_was_found():
    spec = dataset_spec("chartqa")
    assert spec.column("question", spec.question, ["question", "query"]) == "query"
    assert spec.column("question", spec.question, ["image", "question"]) == "question"
    with pytest.raises(R3Error, match="chartqa: no question column: looked for query, question, found image, frage"):
        spec.column("question", spec.question, ["image", "frage"])

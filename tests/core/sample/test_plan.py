"""The plan of the default sample keeps the promises that the proof of retrieval rests on."""

from collections import Counter

import pytest

from r3pp_core.sample.config import SampleConfig
from r3pp_core.sample.placement import MAX_SHARED
from r3pp_core.sample.plan import SPLITS, SamplePlan, build_plan
from r3pp_core.sample.questions import Question, ask_about
from r3pp_core.sample.world import build_world


@pytest.fixture(scope="module")
def plan() -> SamplePlan:
    return build_plan(SampleConfig())


@pytest.fixture(scope="module")
def asked(plan):
    return list(ask_about(plan))


def test_there_are_at_least_100_screens_80_charts_and_60_infographics(plan):
    counts = Counter(picture.kind for picture in plan.pictures)
    assert counts["screen"] >= 100
    assert counts["chart"] >= 80
    assert counts["infographic"] >= 60


def test_train_is_the_largest_split_of_every_kind(plan):
    counts = Counter((picture.kind, picture.split) for picture in plan.pictures)
    for kind in ("screen", "chart", "infographic"):
        assert counts[kind, "train"] > counts[kind, "val"] > counts[kind, "test"] > 0


def test_every_kind_has_300_answerable_val_questions_and_train_has_1500(asked):
    counts: Counter[tuple[str, str]] = Counter()
    for picture, questions in asked:
        counts[picture.kind, picture.split] += sum(question.answerable for question in questions)
    assert min(counts[kind, "val"] for kind in ("screen", "chart", "infographic")) >= 300
    assert sum(count for (_, split), count in counts.items() if split == "train") >= 1500


def test_facts_asked_for_in_val_and_test_occur_in_no_train_question(asked):
    by_split: dict[str, set[str]] = {split: set() for split in SPLITS}
    for picture, questions in asked:
        by_split[picture.split].update(fact_id for question in questions for fact_id in question.fact_ids)
    assert by_split["val"]
    assert not by_split["train"] & (by_split["val"] | by_split["test"])


def test_every_fact_asked_for_in_val_and_test_stands_in_a_train_picture(plan, asked):
    shown = {fact.fact_id for p in plan.pictures if p.split == "train" for fact in p.facts}
    wanted = {f for p, questions in asked if p.split != "train" for q in questions for f in q.fact_ids}
    assert wanted <= shown


def test_any_two_pictures_share_at_most_two_facts(plan):
    facts = [{fact.fact_id for fact in picture.facts} for picture in plan.pictures]
    for i, one in enumerate(facts):
        assert all(len(one & other) <= MAX_SHARED for other in facts[:i])


def test_no_picture_shows_a_fact_twice_and_none_is_empty(plan):
    for picture in plan.pictures:
        ids = [fact.fact_id for fact in picture.facts]
        assert len(ids) == len(set(ids)) >= 4


def test_most_facts_stand_in_pictures_of_different_kinds(plan):
    kinds: dict[str, set[str]] = {}
    for picture in plan.pictures:
        for fact in picture.facts:
            kinds.setdefault(fact.fact_id, set()).add(picture.kind)
    assert sum(len(own) > 1 for own in kinds.values()) > 0.6 * len(kinds)


def test_an_answer_that_is_a_name_or_a_value_stands_on_its_picture(asked):
    """Only questions that repeat one fact are looked at: their answers are shown, or Yes or No."""
    for picture, questions in asked:
        shown = {text for fact in picture.facts for text in (fact.plain, fact.shown, fact.entity.name)}
        for question in questions:
            if len(question.fact_ids) == 1 and not question.reasoning:
                assert question.answers[0] in shown | {"Yes", "No"}, question


def test_yes_and_no_are_both_common(asked):
    counts = Counter(q.answers[0] for _, questions in asked for q in questions if q.answers[0] in ("Yes", "No"))
    assert min(counts.values()) > 0.3 * sum(counts.values())
    assert len(counts) == 2


def test_only_screens_have_questions_without_an_answer(asked):
    without: set[str] = {p.kind for p, questions in asked for q in questions if not q.answerable}
    assert without == {"screen"}


def test_no_question_is_asked_twice_of_a_picture(asked):
    for _, questions in asked:
        assert len({question.text for question in questions}) == len(questions)


def test_answers_are_never_empty_and_never_repeat(asked):
    def good(question: Question) -> bool:
        return bool(question.answers) and all(question.answers) and len(set(question.answers)) == len(question.answers)

    assert all(good(question) for _, questions in asked for question in questions)


def test_the_plan_depends_on_nothing_but_the_config(plan):
    assert build_plan(SampleConfig()) == plan
    assert build_plan(SampleConfig(seed=8)) != plan


def test_another_world_can_be_kept_clear_of_this_one(plan):
    names = frozenset(entity.name for entity in plan.world.entities)
    other = build_world(8, 400, reserved_names=names)
    assert not names & {entity.name for entity in other.entities}


def test_names_are_two_ascii_words_and_unique(plan):
    names = [entity.name for entity in plan.world.entities]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and len(name.split()) == 2 for name in names)

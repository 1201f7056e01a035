"""Steps are prepared ahead: the training thread neither damages nor retrieves, and what a step holds is fixed."""

import threading
import time

import numpy as np
import pytest

from r3pp_core.training.ahead import Share, StepsAhead
from r3pp_core.training.order import MixedOrder


class Rows:
    def row(self, number):
        return {"id": f"chartqa/train/{number}", "number": number}


class SlowAndUneven:
    """Damages take longer for some rows than for others; who worked in which thread is written down."""

    def __init__(self):
        self.threads: dict[str, set[str]] = {"damage": set(), "retrieve": set()}
        self.batches: list[int] = []

    def damage(self, row, level, visit):
        self.threads["damage"].add(threading.current_thread().name)
        time.sleep(0.001 * (row["number"] % 4))
        return row["id"], level, visit

    def retrieve(self, damaged):
        self.threads["retrieve"].add(threading.current_thread().name)
        self.batches.append(len(damaged))
        return list(damaged)

    def step(self, prepared):
        return prepared


def steps_ahead(preparer, first_step=0, num_workers=3):
    order = MixedOrder(np.zeros(10, int), ["chartqa"], 0.5, seed=0)
    share = Share(first_step, 4 * first_step, 4)
    return StepsAhead(
        preparer,
        preparer,
        Rows(),
        order,
        lambda step, row_id, visit: step / 10 + len(row_id) / 1000 + visit,
        share,
        num_workers=num_workers,
        lookahead=2,
    )


def taken(ahead, num_steps):
    try:
        return [ahead.take() for _ in range(num_steps)]
    finally:
        ahead.close()


def test_the_training_thread_neither_damages_nor_retrieves():
    preparer = SlowAndUneven()
    taken(steps_ahead(preparer), 3)
    assert {name.split("_")[0] for name in preparer.threads["damage"]} == {"damage"}
    assert {name.split("_")[0] for name in preparer.threads["retrieve"]} == {"retrieve"}


def test_all_queries_of_a_ranks_step_are_retrieved_together():
    preparer = SlowAndUneven()
    taken(steps_ahead(preparer), 2)
    assert set(preparer.batches) == {4}


def test_what_a_step_holds_depends_on_its_number_alone():
    """On no timing, number of workers or starting point: a resumed run sees what the undisturbed one saw."""
    whole = taken(steps_ahead(SlowAndUneven()), 5)
    assert taken(steps_ahead(SlowAndUneven(), num_workers=1), 5) == whole
    assert taken(steps_ahead(SlowAndUneven(), first_step=3), 2) == whole[3:]
    assert all(level == 0.3 + len(row_id) / 1000 + visit for row_id, level, visit in whole[3])


def test_what_a_worker_raised_reaches_the_step_that_needed_it():
    class Broken(SlowAndUneven):
        def damage(self, row, level, visit):
            if level >= 0.2:
                raise ValueError("torn picture")
            return super().damage(row, level, visit)

    ahead = steps_ahead(Broken())
    assert ahead.take()
    assert ahead.take()
    with pytest.raises(ValueError, match="torn picture"):
        taken(ahead, 1)


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_the_ranks_share_a_step_without_gap_or_overlap(num_ranks):
    shares = [Share(3, 100, 8 // num_ranks, rank, num_ranks) for rank in range(num_ranks)]
    for step in (3, 4, 7):
        drawn = [position for share in shares for position in share.positions(step)]
        assert drawn == list(range(100 + 8 * (step - 3), 100 + 8 * (step - 2)))

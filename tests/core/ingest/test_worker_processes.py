"""Worker processes give results in the order of the items, and take only as many as they can use."""

import os

import pytest
from hub_files import die

from r3pp_core.errors import R3Error
from r3pp_core.ingest import workers
from r3pp_core.ingest.workers import AHEAD, Workers, num_processes, processes_for


def test_results_come_in_the_order_of_the_items_from_other_processes():
    with Workers(2) as pool:
        assert list(pool.mapped(str, range(20))) == [str(n) for n in range(20)]
        assert os.getpid() not in set(pool.mapped(process_of, range(4)))


def process_of(item):
    return os.getpid()


def test_without_processes_the_work_is_done_here():
    with Workers(0) as pool:
        assert list(pool.mapped(process_of, range(2))) == [os.getpid()] * 2


def test_items_are_taken_only_a_few_ahead():
    taken = []

    def items():
        for item in range(50):
            taken.append(item)
            yield item

    with Workers(1) as pool:
        results = pool.mapped(str, items())
        for number in range(5):
            assert next(results) == str(number)
            assert len(taken) <= number + 1 + AHEAD


def test_what_the_work_raises_is_raised_here_and_ends_the_pool():
    with pytest.raises(ValueError, match="invalid literal"), Workers(1) as pool:
        list(pool.mapped(int, ["1", "two", "3"]))


def test_a_process_that_is_killed_is_one_sentence():
    with pytest.raises(R3Error, match=r"a worker process was killed.*fewer --num_workers"), Workers(1) as pool:
        list(pool.mapped(die, range(20)))


def test_small_tables_are_not_worth_a_process(tmp_path, monkeypatch):
    (tmp_path / "table").write_bytes(b"x" * 100)
    assert processes_for([tmp_path / "table"], 3) == 0
    monkeypatch.setattr(workers, "WORTH_PROCESSES_BYTES", 150)
    assert processes_for([tmp_path / "table"], 3) == 0
    assert processes_for([tmp_path / "table"] * 2, 3) == 3
    assert processes_for([tmp_path / "table"] * 2, None) == num_processes(None) >= 1

import time

import pytest

from hf_monitor.run.lineage import merge


def begin(attempt, step=0, resumed=None):
    row = {"kind": "event", "event": "train_begin", "attempt": attempt, "step": step}
    return row if resumed is None else {**row, "resumed_attempt": resumed}


def train(attempt, *steps, **more):
    return [{"kind": "train", "attempt": attempt, "step": step, "time": float(step), **more} for step in steps]


def seen(rows):
    return [(row["attempt"], row["step"]) for row in rows]


def test_a_chain_of_resumes_is_followed_back():
    rows = [begin(1), *train(1, 1, 2, 3), begin(2, 2, 1), *train(2, 3, 4, 5), begin(3, 4, 2), *train(3, 5, 6)]
    metrics, lost, steps = merge(rows)
    assert seen(metrics) == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]
    assert [(row["attempt"], row["step"], to) for row, to in lost] == [(1, 3, 2), (2, 5, 3)]
    assert steps == [(1, 3, 3, 2), (2, 5, 5, 3)]


def test_steps_that_were_not_logged_are_lost_too():
    """logging_steps=5, save_steps=10, errors at 13 and 17: two resumes from checkpoint 10."""
    error = {"kind": "event", "event": "error"}
    rows = [begin(1), *train(1, 5, 10), {**error, "attempt": 1, "step": 13}]
    rows += [begin(2, 10, 1), *train(2, 15), {**error, "attempt": 2, "step": 17}, begin(3, 10, 1), *train(3, 15, 20)]
    _, lost, steps = merge(rows)
    assert steps == [(1, 11, 13, 2), (2, 11, 17, 3)]
    assert [(row["attempt"], row["step"], to) for row, to in lost] == [(2, 15, 3)]


def test_attempts_that_write_alternately_do_not_mix():
    rows = [begin(1), *train(1, 1), begin(2), *train(2, 1), *train(1, 2), *train(2, 2), *train(1, 3)]
    assert seen(merge(rows)[0]) == [(2, 1), (2, 2)]


def test_without_our_state_the_attempt_before_is_gone_on_from():
    rows = [begin(1), *train(1, 1, 2, 3), begin(2, 2), *train(2, 3)]
    metrics, lost, _ = merge(rows)
    assert seen(metrics) == [(1, 1), (1, 2), (2, 3)]
    assert [(row["step"], to) for row, to in lost] == [(3, 2)]


def test_an_attempt_that_begins_again_keeps_only_its_last_beginning_and_what_it_had_evaluated():
    evaluated = {"kind": "eval", "attempt": 1, "step": 0, "time": 0.5, "standalone": True}
    rows = [evaluated, begin(1), *train(1, 1, 2)]
    assert seen(merge(rows)[0]) == [(1, 0), (1, 1), (1, 2)]


def test_a_resume_keeps_the_evaluation_before_the_first_step_and_no_separate_one():
    """eval_on_start=True, and an evaluate() of its own before train()."""
    evaluated = {"kind": "eval", "attempt": 1, "step": 0}
    rows = [{**evaluated, "standalone": True, "time": 0.5}, begin(1), {**evaluated, "time": 1.0}, *train(1, 1, 2)]
    rows += [begin(2, 1, 1), *train(2, 2)]
    assert seen(merge(rows)[0]) == [(1, 0), (1, 1), (2, 2)]
    assert not merge(rows)[0][0].get("standalone")
    assert seen(merge([*rows, begin(3), *train(3, 1)])[0]) == [(3, 1)]  # begins anew: nothing of those before


def test_the_raw_rows_are_not_changed():
    rows = [begin(1), *train(1, 1), *train(1, 1, other=2.0)]
    before = [dict(row) for row in rows]
    ((joined,), _, _) = merge(rows)
    assert joined["other"] == 2.0
    assert rows == before


@pytest.mark.no_cover
def test_a_training_that_was_resumed_hundreds_of_times_is_read_in_a_moment():
    rows = [begin(1), *train(1, *range(1, 501))]
    for attempt in range(2, 401):
        rows += [begin(attempt, 1, 1), *train(attempt, *range(2, 501))]
    began = time.perf_counter()
    metrics, lost, _ = merge(rows)
    assert time.perf_counter() - began < 10  # 0.6; it was 48
    assert seen(metrics) == [(1, 1), *((400, step) for step in range(2, 501))]
    assert len(lost) == 399 * 499


def test_two_alerts_of_a_step_stay_two():
    begin = {"kind": "event", "event": "train_begin", "attempt": 1, "step": 0}
    alerts = [{"kind": "alert", "attempt": 1, "step": 5, "rule": rule} for rule in ("nan", "data_bound")]
    assert [row["rule"] for row in merge([begin, *alerts])[0]] == ["nan", "data_bound"]

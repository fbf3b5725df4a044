"""disk_short, checkpoint_broken and time_short over events and training logs."""

import math
import random

import pytest

from hf_monitor.diagnosis.findings import diagnose
from hf_monitor.diagnosis.rules.room import checkpoints_to_come
from hf_monitor.diagnosis.watcher import Watcher

ROOM = ("disk_short", "checkpoint_broken", "time_short")
T0 = 1_000_000.0


def begin(step=0, max_steps=1000, time=T0):
    return {"kind": "event", "event": "train_begin", "step": step, "max_steps": max_steps, "time": time}


def checkpoint(step=100, **more):
    row = {"size_mib": 1000.0, "disk_free_mib": 50_000.0, "saves_left": 9, "kept": None, "there": 1, "problem": None}
    return {"kind": "event", "event": "checkpoint", "step": step, "checkpoint": f"out/checkpoint-{step}", **row, **more}


def deadline(at, source="SLURM_JOB_END_TIME"):
    return {"kind": "event", "event": "deadline", "step": 0, "at": at, "source": source}


def logs(n, *, every=10, step_seconds=1.0, start_s=30.0, step=0, time=T0):
    """Give training logs; seconds a step may be a function of the log's number."""
    rows, time = [], time + start_s
    for k in range(n):
        time += every * (step_seconds(k) if callable(step_seconds) else step_seconds)
        rows.append({"kind": "train", "step": step + every * (k + 1), "time": time, "loss": 1.0})
    return rows


def seen(rows, arguments=None, **thresholds):
    watcher = Watcher({"arguments": arguments or {}}, thresholds=thresholds)
    for row in rows:
        watcher.see(row)
    return watcher


def found_by(rows, arguments=None, **thresholds):
    findings = seen(rows, arguments, **thresholds).findings
    return {one.rule: one for one in findings if one.rule in ROOM}


def verdict_of(rule, rows):
    return next(one for one in seen(rows).verdicts() if one.rule == rule)


# The disk


@pytest.mark.parametrize(
    ("saves_left", "kept", "there", "expected"),
    [
        (9, None, 1, 9),  # nothing is ever deleted
        (9, 3, 1, 3),  # two more, and one for a moment
        (9, 3, 3, 1),  # for a moment
        (1, 3, 1, 1),
        (0, 3, 1, 0),
        (0, None, 5, 0),
        (9, 1, 1, 1),
        (9, 2, 7, 1),  # those of an earlier training are deleted, too
        (None, None, 1, 1),  # save_strategy="best": one more at least
        (None, 2, None, 1),
    ],
)
def test_as_many_checkpoints_come_as_are_there_at_one_time(saves_left, kept, there, expected):
    assert checkpoints_to_come(saves_left, kept, there) == expected


def test_a_disk_with_less_room_than_the_saves_need_is_found_at_the_first():
    rows = [begin(), checkpoint(disk_free_mib=8500.0)]
    finding = found_by(rows, {"save_total_limit": None, "save_only_model": False})["disk_short"]
    assert finding.severity == "warning"
    assert finding.sentence == ("9 more checkpoints of 1000 MiB are still to come; 8.3 GiB of the disk are free.")
    assert "save_total_limit=2" in finding.suggestions[0]
    assert "save_only_model=True" in finding.suggestions[-1]


def test_saves_that_replace_each_other_need_less():
    rows = [begin(), checkpoint(disk_free_mib=2500.0, kept=2)]
    assert "disk_short" not in found_by(rows)
    assert verdict_of("disk_short", rows).verdict == "clear"
    finding = found_by([begin(), checkpoint(disk_free_mib=1500.0, kept=2)])["disk_short"]
    assert "2 more checkpoints of 1000 MiB are still to come at the same time (of 9 saves, with 2 kept)" in str(finding)
    assert not any("save_total_limit" in advice for advice in finding.suggestions)


def test_the_last_save_needs_no_more_room_and_a_full_disk_is_found_before_the_next():
    assert "disk_short" not in found_by([begin(), checkpoint(disk_free_mib=0.0, saves_left=0)])
    assert "disk_short" in found_by([begin(), checkpoint(disk_free_mib=10.0, saves_left=None)])


def test_a_checkpoint_that_cannot_be_loaded_is_an_error_and_names_it():
    rows = [begin(), checkpoint(100), checkpoint(200, problem="model.safetensors ends too early")]
    finding = found_by(rows)["checkpoint_broken"]
    assert finding.severity == "error"
    assert finding.sentence == (
        "The checkpoint out/checkpoint-200 cannot be loaded back: model.safetensors ends too early."
    )
    assert (finding.steps, finding.n_samples) == ((200, 200), 2)
    assert verdict_of("checkpoint_broken", rows[:2]).sentence == "The checkpoint could be loaded back when saved."
    assert verdict_of("checkpoint_broken", rows[:1]).verdict == "inconclusive"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -5.0, "much", [1], True])
def test_events_without_numbers_are_passed_by(value):
    row = checkpoint() | {"size_mib": value, "disk_free_mib": value, "saves_left": value, "step": value, "kept": value}
    assert not found_by([begin(), row, checkpoint(disk_free_mib=value), deadline(value), *logs(50)])
    assert not found_by([begin(), checkpoint(disk_free_mib=100_000.0, saves_left=value, kept=value, there=value)])


# Time


def test_a_job_that_ends_too_early_is_said_once_a_part_is_done():
    rows = [begin(), deadline(T0 + 600), *logs(60)]
    arguments = {"save_strategy": "steps", "save_steps": 5000, "num_train_epochs": 4, "max_steps": -1}
    finding = found_by(rows, arguments)["time_short"]
    assert finding.severity == "warning"
    assert finding.steps == (10, 150)  # 30 s of start-up, then a second a step
    assert finding.evidence["steps_done_by_then"] == pytest.approx(570, abs=2)
    assert "at about step 570 of 1000" in finding.sentence
    assert "SLURM_JOB_END_TIME" in finding.sentence
    assert "smaller save_steps (it is 5000)" in finding.suggestions[0]
    assert "num_train_epochs=2 (it is 4)" in finding.suggestions[-1]


def test_a_job_with_time_enough_is_clear_and_one_without_deadline_says_what_is_missing():
    rows = [begin(), deadline(T0 + 1200), *logs(60)]
    assert not found_by(rows)
    assert verdict_of("time_short", rows).verdict == "clear"
    unknown = verdict_of("time_short", [begin(), *logs(60)])
    assert unknown.verdict == "inconclusive"
    assert "time_limit_s" in unknown.reason


def test_evaluations_and_saves_between_logs_count():
    assert not found_by([begin(), deadline(T0 + 1300), *logs(90)])
    evaluated = logs(90, step_seconds=lambda k: 7.0 if k % 10 == 9 else 1.0)  # a minute after every hundred steps
    finding = found_by([begin(), deadline(T0 + 1300), *evaluated])["time_short"]
    assert finding.evidence["steps_done_by_then"] == pytest.approx(800, abs=50)
    assert finding.steps[1] <= 500


def test_a_pace_that_is_too_uneven_to_tell_is_waited_for():
    noise = random.Random(3)
    uneven = [begin(), deadline(T0 + 1080), *logs(40, step_seconds=lambda k: noise.choice([0.2, 0.2, 0.2, 3.4]))]
    assert not found_by(uneven)
    assert "time_short" in found_by([begin(), deadline(T0 + 900), *logs(40)])


def test_a_long_job_is_judged_by_the_time_that_passed_not_only_by_steps():
    rows = [begin(max_steps=100_000), deadline(T0 + 3600), *logs(30)]
    assert found_by(rows)["time_short"].steps[1] <= 160


def test_a_slow_beginning_is_no_pace_of_the_rest():
    slow = logs(100, step_seconds=lambda k: 2.0 if k < 10 else 1.0)
    assert not found_by([begin(), deadline(T0 + 1300), *slow])
    assert found_by([begin(), deadline(T0 + 900), *slow])["time_short"].steps[1] <= 700


def test_a_resume_in_another_job_forgets_the_old_deadline():
    rows = [
        begin(),
        deadline(T0 + 1200),
        *logs(30),
        begin(step=300, time=T0 + 5000),
        *logs(60, step=300, time=T0 + 5e3),
    ]
    assert not found_by(rows)
    again = [*rows[:33], deadline(T0 + 5300), *rows[33:]]
    assert "time_short" in found_by(again)


def test_a_deadline_that_has_passed_did_not_end_the_job():
    assert not found_by([begin(), deadline(T0 + 60), *logs(60)])


def test_a_clock_that_was_set_back_and_unknown_max_steps_are_passed_by():
    rows = [begin(), deadline(T0 + 1200), *logs(30), *logs(30, step=300, time=T0 - 1000)]
    assert not found_by(rows)
    assert not found_by([begin(max_steps=0), deadline(T0 + 600), *logs(60)])


# During the training and after it


def test_the_finished_run_is_judged_as_it_was_row_by_row(folder):
    folder.begin(device="cpu").windows([0.9, *[0.4] * 30])
    folder.facts["devices"] = {"device": "cpu", "world_size": 1}
    folder.metrics[0]["max_steps"] = 1000
    rows = [deadline(T0 + 500), *logs(60), checkpoint(100), checkpoint(200, disk_free_mib=900.0)]
    rows.append(checkpoint(300, problem="torn"))
    folder.metrics += [{"time": T0 + 900.0, **row, "attempt": 1} for row in rows]
    live, at = seen([]), []
    for n, row in enumerate(folder.metrics):
        at += [(n, one.rule) for one in live.see(row) if one.rule in ("data_bound", *ROOM)]
    run = folder.run()
    after = {one.rule: one for one in diagnose(run) if one.verdict == "found"}
    assert [rule for _, rule in at] == ["data_bound", "time_short", "disk_short", "checkpoint_broken"]
    assert at[0][0] < 20
    for one in (finding for finding in live.findings if finding.rule in ("data_bound", *ROOM)):
        assert after[one.rule].sentence == one.sentence
        assert after[one.rule].evidence == one.evidence

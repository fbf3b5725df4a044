"""data_bound, memory_edge, memory_headroom and slower_steps over rows ``timing``."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.diagnosis import hardware_findings
from hf_monitor.diagnosis.rules.data_wait import DataBound
from hf_monitor.diagnosis.rules.memory import MemoryEdge, MemoryHeadroom
from hf_monitor.diagnosis.rules.slow_steps import SlowerSteps
from hf_monitor.diagnosis.watcher import Watcher

MACHINE = ("data_bound", "memory_edge", "memory_headroom", "slower_steps")
CPU = {"devices": {"device": "cpu", "world_size": 1, "threads": 2}, "cpu_count": 8}
GPU = {
    "devices": {"device": "cuda:0", "world_size": 1, "gpus": [{"name": "a card", "compute_capability": "8.9"}]},
    "cpu_count": 8,
    "arguments": {
        "dataloader_num_workers": 0,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 4,
        "gradient_checkpointing": False,
        "bf16": False,
        "fp16": False,
    },
}


def begin(step=0, max_steps=1000, **more):
    return {"kind": "event", "event": "train_begin", "step": step, "max_steps": max_steps, **more}


def timing(step, *, steps=10, step_seconds=0.1, share=0.02, **more):
    seconds = steps * step_seconds / (1 - share)
    return {
        "kind": "timing",
        "step": step,
        "steps": steps,
        "seconds": seconds,
        "step_seconds": step_seconds,
        "data_wait_seconds": share * seconds / steps,
        "data_wait_share": share,
        "other_seconds": 0.0,
        **more,
    }


def windows(n, *, first=0, steps=10, **values):
    """Give `n` windows; a value may be a function of the window's number."""
    return [
        timing(first + steps * (k + 1), steps=steps, **{key: v(k) if callable(v) else v for key, v in values.items()})
        for k in range(n)
    ]


def found_by(rows, facts=CPU, **thresholds):
    """Give what is found, by name, when all rules have seen the rows; and all verdicts."""
    watcher = Watcher(facts, thresholds=thresholds)
    for row in rows:
        watcher.see(row)
    verdicts = {one.rule: one for one in watcher.verdicts() if one.rule in MACHINE}
    return {one.rule: one for one in watcher.findings if one.rule in MACHINE}, verdicts


# data_bound


@pytest.mark.parametrize("steps", [1, 5, 10])
def test_a_slow_loader_is_found_within_a_short_training(steps):
    noise = random.Random(steps)
    rows = [begin(), *windows(150 // steps, steps=steps, share=lambda k: min(0.9, max(0.0, noise.gauss(0.4, 0.08))))]
    found, _ = found_by(rows)
    finding = found["data_bound"]
    assert (finding.severity, finding.verdict) == ("warning", "found")
    assert finding.value == pytest.approx(0.4, abs=0.06)
    assert finding.steps[1] <= 100
    assert finding.evidence["data_wait_interval"][0] > 0.2
    assert finding.suggestions


def test_a_loader_that_waits_little_is_clear():
    found, verdicts = found_by([begin(), *windows(30, share=0.05)])
    assert "data_bound" not in found
    assert verdicts["data_bound"].verdict == "clear"
    assert verdicts["data_bound"].value == pytest.approx(0.05)


def test_some_stalls_and_the_first_window_make_no_training_data_bound():
    stalls = {0: 0.95, 7: 0.9, 18: 0.97}
    found, _ = found_by([begin(), *windows(40, share=lambda k: stalls.get(k, 0.03))])
    assert "data_bound" not in found


@pytest.mark.no_cover
def test_noise_around_the_threshold_is_seldom_above_it_however_often_it_is_asked():
    alarms = 0
    for seed in range(200):
        noise = random.Random(seed)
        rows = windows(150, steps=2, share=lambda k, noise=noise: min(0.9, max(0.0, noise.gauss(0.15, 0.1))))
        alarms += "data_bound" in found_by([begin(), *rows])[0]
    assert alarms <= 6, alarms


def test_too_few_windows_say_nothing():
    found, verdicts = found_by([begin(), *windows(6, share=0.6)])
    assert not found
    assert verdicts["data_bound"].verdict == "inconclusive"
    assert "8 windows with 40 steps are needed" in verdicts["data_bound"].reason


def test_a_gpu_that_is_busy_all_the_same_is_not_data_bound():
    busy = {"gpu_samples": 5, "gpu_utilization_percent": 97.0}
    found, verdicts = found_by([begin(), *windows(40, share=0.4, **busy)], GPU)
    assert "data_bound" not in found
    assert verdicts["data_bound"].verdict == "clear"
    assert "GPU 0 busy 97 % of it all the same" in verdicts["data_bound"].sentence


def test_an_idle_gpu_is_waited_for_until_there_are_samples_enough():
    idle = {"gpu_samples": 5, "gpu_utilization_percent": 50.0}
    found, _ = found_by([begin(), *windows(40, share=0.4, **idle)], GPU)
    assert found["data_bound"].steps == (20, 90)  # the first window is left out; eight more have 40 samples
    assert "GPU 0 busy 50 % of it" in found["data_bound"].sentence
    assert "dataloader_num_workers=4" in found["data_bound"].suggestions[0]
    found, verdicts = found_by([begin(), *windows(9, share=0.4, gpu_samples=1, gpu_utilization_percent=50.0)], GPU)
    assert not found
    assert verdicts["data_bound"].reason == "8 samples of the GPU; 40 are needed."


def test_a_gpu_that_does_not_say_how_busy_it_is_is_not_waited_for():
    found, _ = found_by([begin(), *windows(12, share=0.4, gpu_samples=1)], GPU)
    assert "data_bound" in found


def test_of_several_ranks_one_alone_is_never_clear():
    facts = {"devices": {"device": "cuda:0", "world_size": 2}}
    _, verdicts = found_by([begin(), *windows(40, share=0.01)], facts)
    assert verdicts["data_bound"].verdict == "inconclusive"
    assert "of 2 ranks only rank 0 was heard" in verdicts["data_bound"].reason


def test_a_resumed_training_is_measured_anew():
    slow = windows(7, share=0.6)
    found, _ = found_by([begin(), *slow, begin(step=70), *windows(20, first=70, share=0.01)])
    assert "data_bound" not in found


def test_during_the_training_and_after_it_the_same_is_said(folder):
    folder.begin().windows([0.9, *[0.4] * 20])
    folder.facts |= {"devices": {"device": "cpu", "world_size": 1, "threads": 4}, "cpu_count": 8}
    folder.metrics[0]["max_steps"] = 210
    run = folder.run()
    after = next(one for one in hardware_findings(run) if one.rule == "data_bound")
    live = found_by(run.rows, run.facts)[0]["data_bound"]
    assert live.sentence.replace("8 windows of 80", "20 windows of 200") == after.sentence
    assert live.suggestions == after.suggestions
    assert live.severity == after.severity == "warning"


# memory


def on_card(used, **more):
    return {"gpu_samples": 10, "gpu_utilization_percent": 95.0, "gpu_memory_used_mib": used} | {
        "gpu_memory_total_mib": 24000.0,
        **more,
    }


def test_memory_near_its_end_is_said_at_once():
    rows = windows(10, **on_card(lambda k: 23500.0 if k == 3 else 20000.0))
    found, _ = found_by([begin(), *rows], GPU)
    finding = found["memory_edge"]
    assert (finding.severity, finding.steps) == ("warning", (10, 40))
    assert finding.sentence == "At its peak 22.9 GiB of 23.4 GiB were used (98 %; 40 samples)."
    assert any("gradient_checkpointing=True" in advice for advice in finding.suggestions)
    assert any("per_device_train_batch_size=4" in advice for advice in finding.suggestions)


def test_memory_that_the_allocator_only_keeps_is_no_edge():
    kept = {"torch_allocated_peak_mib": 15000.0, "torch_reserved_peak_mib": 23000.0, "gpu_memory_beside_mib": 500.0}
    found, verdicts = found_by([begin(), *windows(10, **on_card(23500.0, **kept))], GPU)
    assert "memory_edge" not in found
    assert "allocator kept 7.8 GiB" in verdicts["memory_edge"].sentence


def test_a_peak_between_two_samples_counts_as_torch_saw_it():
    peaks = {"torch_allocated_peak_mib": 23000.0, "torch_reserved_peak_mib": 23200.0, "gpu_memory_beside_mib": 500.0}
    found, _ = found_by([begin(), *windows(10, **on_card(18000.0, **peaks))], GPU)
    assert found["memory_edge"].value == pytest.approx(23700 / 24000)


def test_idle_memory_is_said_once_and_not_before_a_quarter_of_the_training():
    found, _ = found_by([begin(max_steps=400), *windows(40, **on_card(6000.0))], GPU)
    finding = found["memory_headroom"]
    assert (finding.severity, finding.steps) == ("info", (10, 100))
    assert any("per_device_train_batch_size=" in advice for advice in finding.suggestions)
    found, verdicts = found_by([begin(max_steps=4000), *windows(40, **on_card(6000.0))], GPU)
    assert "memory_headroom" not in found
    assert "too little of the training is over" in verdicts["memory_headroom"].reason


def test_a_card_of_unknown_size_and_the_cpu_say_why_nothing_is_said():
    rows = windows(10, gpu_samples=10, gpu_memory_used_mib=5000.0)
    found, verdicts = found_by([begin(), *rows], GPU)
    assert not found
    assert verdicts["memory_edge"].reason == "the hardware does not say how much memory the card has."
    _, verdicts = found_by([begin(), *windows(10)], CPU)
    assert "the training ran on the CPU" in verdicts["memory_headroom"].reason


# slower_steps


def pace(k):
    """Give seconds a step, of windows of ten: 1 for twenty minutes, then 2."""
    return 1.0 if k < 120 else 2.0


def test_steps_that_take_twice_as_long_for_minutes_are_found():
    found, _ = found_by([begin(max_steps=10000), *windows(300, step_seconds=pace)])
    finding = found["slower_steps"]
    assert finding.value == pytest.approx(2.0)
    assert finding.sentence == "A step takes 2 s now; at the start of this training it took 1 s."
    assert finding.evidence["start_until_step"] < 1000
    slow_s = 2.0 * (finding.steps[1] - 1200)
    assert 540 <= slow_s <= 700  # ten minutes, and not before


def test_a_slow_spell_and_steps_that_are_slow_now_and_then_are_nothing():
    spell = windows(600, step_seconds=lambda k: 5.0 if 200 <= k < 210 else 1.0)  # 500 s
    assert "slower_steps" not in found_by([begin(), *spell])[0]
    noise = random.Random(0)
    noisy = windows(3000, step_seconds=lambda k: math.exp(noise.gauss(0, 0.6)))
    assert "slower_steps" not in found_by([begin(), *noisy])[0]


def test_a_machine_whose_speed_goes_up_and_down_is_asked_for_more():
    def drifting(factor):
        return [1.0 if k // 60 % 2 else 1.8 for k in range(360)] + [1.8 * factor] * 200

    for factor, expected in ((1.2, False), (3.0, True)):
        seconds = drifting(factor)
        found, verdicts = found_by([begin(), *windows(560, step_seconds=seconds.__getitem__)])
        assert ("slower_steps" in found) == expected
        assert expected or verdicts["slower_steps"].threshold > 1.8


def test_longer_texts_are_not_slower_steps_and_slower_tokens_are():
    even = [row | {"tokens_per_second": 1000.0} for row in windows(300, step_seconds=pace)]
    assert "slower_steps" not in found_by([begin(), *even])[0]
    slow = [row | {"tokens_per_second": 1000.0 / row["step_seconds"]} for row in windows(300, step_seconds=pace)]
    assert "slower_steps" in found_by([begin(), *slow])[0]


def test_waiting_evaluating_and_saving_are_no_steps():
    rows = windows(400, share=lambda k: 0.02 if k < 120 else 0.8)
    rows = [row | {"other_seconds": 100.0} if k > 120 else row for k, row in enumerate(rows)]
    assert "slower_steps" not in found_by([begin(), *rows])[0]


def test_a_clock_that_fell_is_named():
    clock = {"gpu_sm_clock_mhz": lambda k: 2500.0 if k < 120 else 1250.0, "gpu_samples": 1}
    finding = found_by([begin(), *windows(300, step_seconds=pace, **clock)], GPU)[0]["slower_steps"]
    assert "clock is at 50 % of what it was (1250 MHz)" in finding.sentence
    assert "thermal_throttling" in finding.suggestions[0]


def test_a_short_training_says_what_is_missing():
    _, verdicts = found_by([begin(), *windows(30)])
    assert verdicts["slower_steps"].verdict == "inconclusive"
    assert "20 are needed" in verdicts["slower_steps"].reason


# whatever rows hold


@pytest.mark.parametrize("rule", [DataBound, MemoryEdge, MemoryHeadroom, SlowerSteps])
def test_broken_rows_change_nothing(rule):
    good = [begin(), *windows(30, share=0.4, gpu_samples=5, gpu_utilization_percent=40.0, gpu_memory_used_mib=1e4)]
    broken = [
        timing(5) | dict.fromkeys(("steps", "seconds", "step_seconds", "gpu_memory_used_mib"), value)
        for value in (None, math.nan, math.inf, -1.0, "many", [], True)
    ]
    mixed = [row for one in good for row in (one, *broken, {"kind": "event"}, {"kind": "train", "loss": 1.0})]
    for rows in (good, mixed):
        watcher = Watcher(GPU)
        for row in rows:
            watcher.see(row)
        said = {one.rule: one for one in watcher.verdicts()}[rule.name]
        if rows is good:
            expected = said
    assert said == expected


_VALUES = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=3), st.lists(st.none()))
_NAMES = [*timing(1, gpu_samples=1, tokens_per_second=1.0), "event", "gpu_memory_used_mib", "gpu_memory_total_mib"]


@pytest.mark.no_cover
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(_NAMES), _VALUES, min_size=1), max_size=20), st.sampled_from([CPU, GPU])
)
def test_no_row_is_an_error(rows, facts):
    watcher = Watcher(facts)
    for row in rows:
        watcher.see({**row, "kind": "timing"})
    for row in windows(10, share=0.3):
        watcher.see(row)
    assert all(str(one) for one in watcher.verdicts())

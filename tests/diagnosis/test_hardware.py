import json
import math
import subprocess
import sys

import pytest

from hf_monitor.diagnosis import Finding, hardware_findings
from hf_monitor.run import RunWriter, load_run

GPU_RULES = ["thermal_throttling", "power_throttling", "memory_headroom", "memory_edge", "other_process"]
ALL_RULES = ["data_bound", "compute_bound", *GPU_RULES, "host_memory_edge", "disk_nearly_full"]


def findings(folder, gpu=None):
    return {found.rule: found for found in hardware_findings(folder.run()) if gpu is None or found.gpu in (gpu, None)}


def verdicts(folder):
    return {rule: found.verdict for rule, found in findings(folder).items()}


def suggested(found):
    return " | ".join(found.suggestions)


def busy(folder, **values):
    """A training that has nothing wrong with it."""
    return folder.begin().windows([0.02] * 10).gpu(**values).host()


# What is always so


def test_every_rule_gives_one_finding_with_its_threshold_and_count(folder):
    found = hardware_findings(busy(folder).run())
    assert [finding.rule for finding in found] == ALL_RULES
    for finding in found:
        assert finding.threshold is not None, finding
        assert finding.value is not None, finding
        assert finding.n_samples >= 9, finding
        assert finding.sentence.endswith("."), finding
        assert (finding.verdict == "inconclusive") == bool(finding.reason), finding
        assert json.loads(json.dumps(finding.to_dict()))["rule"] == finding.rule
        assert finding.verdict == "found" or not finding.suggestions
        assert 1 <= len(str(finding).splitlines()) <= 2


def test_a_training_with_nothing_wrong_has_nothing_found(folder):
    assert set(verdicts(busy(folder)).values()) == {"clear"}


def test_an_empty_run_is_inconclusive_about_everything_and_says_why(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin_attempt()
    writer.event("train_begin", 0)
    found = hardware_findings(load_run(tmp_path))
    assert [finding.rule for finding in found] == ALL_RULES
    assert {finding.verdict for finding in found} == {"inconclusive"}
    assert all(finding.reason for finding in found)
    assert "GpuMonitorCallback" in found[2].reason


def test_a_finding_reads_as_a_sentence_with_what_to_try():
    found = Finding(
        rule="memory_edge",
        verdict="found",
        severity="warning",
        sentence="Full.",
        suggestions=("less", "more"),
        gpu=1,
    )
    assert str(found) == "[warning] memory_edge (GPU 1): Full.\n    Try: less; more"
    unknown = Finding(rule="data_bound", verdict="inconclusive", sentence="Not known.", reason="no windows.")
    assert str(unknown) == "[inconclusive] data_bound: Not known. Inconclusive: no windows."


def test_findings_need_neither_torch_nor_transformers_nor_numpy(folder):
    busy(folder).run()
    code = (
        "import sys; from hf_monitor.diagnosis import hardware_findings; from hf_monitor.run import load_run; "
        f"hardware_findings(load_run({str(folder.path)!r})); "
        "sys.exit(','.join({'torch', 'transformers', 'numpy', 'pynvml'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# Data-bound and compute-bound


def test_a_slow_data_loader_with_an_idle_gpu_is_data_bound(folder):
    folder.begin().windows([0.9, 0.38, 0.42, 0.40, 0.39, 0.41, 0.40]).gpu(utilization_percent=55.0).host()
    found = findings(folder)["data_bound"]
    assert (found.verdict, found.severity) == ("found", "warning")
    assert found.value == pytest.approx(0.40)  # without the first window
    assert (found.n_samples, found.steps, found.threshold) == (6, (20, 70), 0.10)
    assert "waited for its next batch 40 %" in found.sentence
    assert "GPU 0 was" not in found.sentence
    assert "GPU 0 busy 55 %" in found.sentence
    assert findings(folder)["compute_bound"].verdict == "clear"


def test_a_gpu_that_is_busy_while_the_host_waits_is_not_data_bound(folder):
    folder.begin().windows([0.4] * 8).gpu(utilization_percent=lambda k: 97 + k % 3).host()
    found = findings(folder)
    assert found["data_bound"].verdict == "clear"
    assert "all the same" in found["data_bound"].sentence
    assert found["compute_bound"].verdict == "found"


def test_a_wait_of_between_ten_and_twenty_percent_is_told_without_a_warning(folder):
    folder.begin().windows([0.15] * 8).gpu(utilization_percent=80.0).host()
    found = findings(folder)["data_bound"]
    assert (found.verdict, found.severity) == ("found", "info")


@pytest.mark.parametrize(("share", "severity"), [(0.19, "info"), (0.21, "warning")])
def test_a_wait_is_a_warning_from_twenty_percent_on(folder, share, severity):
    folder.begin().windows([share] * 8).gpu(utilization_percent=60.0).host()
    found = findings(folder)["data_bound"]
    assert (found.verdict, found.severity) == ("found", severity)


def test_a_wait_that_explains_little_of_the_idle_gpu_says_so(folder):
    folder.begin().windows([0.15] * 8).gpu(utilization_percent=30.0).host()
    assert "something else leaves it idle too" in findings(folder)["data_bound"].sentence


def test_a_wait_near_the_threshold_is_inconclusive(folder):
    folder.begin().windows([0.02, 0.08, 0.13, 0.07, 0.12, 0.09, 0.11]).gpu(utilization_percent=80.0).host()
    found = findings(folder)["data_bound"]
    assert found.verdict == "inconclusive"
    assert "too near 10 %" in found.reason
    assert not found.suggestions


def test_windows_weigh_by_their_time(folder):
    folder.begin().windows([0.5] * 2).windows([0.0] * 6, seconds=100.0, time=1_000_030.0, step=20).gpu().host()
    assert findings(folder)["data_bound"].value == pytest.approx(5 / 610)


def test_a_gpu_that_is_always_busy_is_compute_bound(folder):
    busy(folder, utilization_percent=lambda k: 98.0 + k % 2)
    found = findings(folder)["compute_bound"]
    assert (found.verdict, found.severity, found.unit, found.threshold) == ("found", "info", "%", 90.0)
    assert found.n_samples == 90  # without the first window's ten seconds
    assert "bf16=True" in suggested(found)


def test_an_idle_gpu_that_waits_for_no_data_is_said_to_have_small_steps(folder):
    busy(folder, utilization_percent=40.0)
    found = findings(folder)["compute_bound"]
    assert found.verdict == "clear"
    assert "steps are small" in found.sentence


def test_a_gpu_near_ninety_percent_is_inconclusive(folder):
    busy(folder, utilization_percent=lambda k: 70.0 if k % 10 < 3 else 98.0)
    found = findings(folder)["compute_bound"]
    assert found.verdict == "inconclusive"
    assert "too near 90 %" in found.reason


@pytest.mark.parametrize(
    ("shares", "steps", "why"),
    [
        ([], 10, "0 logged windows"),
        ([0.5] * 3, 10, "2 logged windows"),
        ([0.5] * 6, 2, "5 logged windows with 10 steps"),
    ],
)
def test_too_few_windows_are_inconclusive(folder, shares, steps, why):
    folder.begin().windows(shares, steps=steps).gpu(30).host(30)
    found = findings(folder)["data_bound"]
    assert found.verdict == "inconclusive"
    assert why in found.reason
    assert ("logging_steps" in found.reason) == (len(shares) < 4)  # smaller ones help where windows are missing


def test_without_windows_the_phases_of_the_samples_tell(folder):
    folder.begin().gpu(100, utilization_percent=50.0).host(100, phase=lambda k: "data" if k % 2 else "train")
    found = findings(folder)["data_bound"]
    assert (found.verdict, found.value, found.n_samples) == ("found", 0.5, 100)
    assert "100 samples" in found.sentence


@pytest.mark.parametrize(
    ("shares", "steps", "verdict"),
    [
        ([0.9, 0.30, 0.32], 500, "found"),  # the first of three is left out
        ([0.30], 500, "found"),
        ([0.9, 0.02, 0.01], 500, "clear"),
        ([0.9, 0.15, 0.15], 500, "inconclusive"),  # two that are alike are no interval
        ([0.9, 0.07, 0.07], 500, "inconclusive"),
        ([0.30, 0.32], 40, "inconclusive"),
    ],
)
def test_few_windows_of_many_steps_tell_what_is_far_and_never_the_samples(folder, shares, steps, verdict):
    folder.begin().windows(shares, steps=steps, seconds=30.0).gpu(90, utilization_percent=50.0)
    folder.host(90, phase="train" if verdict == "found" else "data")  # says the contrary
    found = findings(folder)["data_bound"]
    assert found.verdict == verdict
    if verdict == "inconclusive":
        assert "logging_steps" in found.reason
        assert "inf" not in str(found)
    if steps == 500:
        left = shares[len(shares) == 3 :]
        assert found.value == pytest.approx(sum(left) / len(left))
        assert found.n_samples == len(left)
        assert found.evidence["data_wait_interval"] is None


def test_how_busy_a_gpu_was_comes_from_samples_of_training_only(folder):
    folder.begin().windows([0.4] * 8)
    for phase, busy_percent in (
        ("train", 40.0),
        ("data", 60.0),
        ("evaluate", 100.0),
        ("save", 100.0),
        ("other", 100.0),
    ):
        folder.gpu(100, phase=phase, utilization_percent=busy_percent)
    found = findings(folder)
    assert found["compute_bound"].value == pytest.approx(50.0)
    assert (found["data_bound"].verdict, found["data_bound"].evidence["utilization_percent"]) == ("found", 50.0)


def test_few_samples_in_little_time_do_not_tell_how_busy_a_gpu_was(folder):
    folder.begin().windows([0.02] * 10).gpu(39).host()
    assert "29 samples" in findings(folder)["compute_bound"].reason
    folder.system.clear()
    folder.gpu(400, every=0.05, time=1_000_010.5)
    assert "span 20 s" in findings(folder)["compute_bound"].reason


def test_evaluation_and_saving_do_not_count(folder):
    folder.begin().windows([0.02] * 10).gpu(100, utilization_percent=95.0).host()
    folder.gpu(500, phase="evaluate", utilization_percent=5.0, throttle=["sw_thermal"], memory_used_mib=24560.0)
    folder.gpu(500, phase="save", utilization_percent=0.0)
    found = findings(folder)
    assert found["compute_bound"].value == 95.0
    assert found["thermal_throttling"].verdict == "clear"
    assert found["memory_edge"].verdict == "clear"


def test_the_first_window_is_left_out_where_there_are_three(folder):
    folder.begin().windows([1.0, 0.0, 0.0, 0.0]).gpu(40, utilization_percent=lambda k: 0.0 if k < 10 else 100.0)
    found = findings(folder.gpu(60, time=1_000_040.0, utilization_percent=100.0))
    assert found["data_bound"].value == 0.0
    assert found["compute_bound"].value == 100.0


def test_utilisation_that_the_hardware_does_not_give_leaves_the_wait_alone_to_tell(folder):
    folder.begin().windows([0.4] * 8).gpu(utilization_percent=None).host()
    folder.system.append(
        {"attempt": 1, "kind": "event", "event": "unavailable", "gpu": 0, "metric": "utilization_percent"}
        | {"reason": "NVML: Not Supported"}
    )
    found = findings(folder)
    assert found["data_bound"].verdict == "found"
    assert found["compute_bound"].verdict == "inconclusive"
    assert found["compute_bound"].reason == "the hardware does not say how busy it is (NVML: Not Supported)."


# On the CPU


def on_cpu(folder, share, **host):
    folder.facts["devices"]["device"] = "cpu"
    return folder.begin(device="cpu", gpus=()).windows([share] * 8).host(**host)


def test_on_the_cpu_the_wait_alone_tells(folder):
    found = findings(on_cpu(folder, 0.5, process_cpu_percent=390.0))
    assert found["data_bound"].verdict == "found"
    assert found["compute_bound"].verdict == "clear"  # busy, but with making batches


def test_on_the_cpu_busy_cores_and_little_waiting_are_compute_bound(folder):
    found = findings(on_cpu(folder, 0.01, process_cpu_percent=390.0))
    assert found["data_bound"].verdict == "clear"
    assert (found["compute_bound"].verdict, found["compute_bound"].value) == ("found", pytest.approx(0.975))
    assert "4 cores" in found["compute_bound"].sentence
    assert "bf16" not in suggested(found["compute_bound"])


def test_on_the_cpu_idle_cores_are_not_compute_bound(folder):
    assert findings(on_cpu(folder, 0.01, process_cpu_percent=100.0))["compute_bound"].verdict == "clear"


def test_on_the_cpu_the_gpu_rules_say_why_they_are_silent(folder):
    folder.gpu(100, utilization_percent=100.0)  # a card is there, but left alone
    found = findings(on_cpu(folder, 0.01))
    assert {found[rule].verdict for rule in GPU_RULES} == {"inconclusive"}
    assert {found[rule].reason for rule in GPU_RULES} == {"the training ran on the CPU."}


# Clocks


@pytest.mark.parametrize(
    "words", [["sw_thermal"], ["hw_thermal", "hw_slowdown"], ["hw_slowdown"], ["idle", "sw_thermal"]]
)
def test_heat_is_found(folder, words):
    busy(folder, throttle=lambda k: words if k % 2 else [], temperature_c=91.0)
    found = findings(folder)["thermal_throttling"]
    assert (found.verdict, found.severity, found.value, found.n_samples) == ("found", "warning", 0.5, 90)
    assert "91 °C (the card slows down at 95 °C)" in found.sentence
    assert "-pl 382" in suggested(found)
    assert found.evidence["temperature_max_c"] == 91.0


@pytest.mark.parametrize("words", [["sw_power_cap"], ["idle"], ["hw_slowdown", "hw_power_brake"], ["app_clocks"]])
def test_other_reasons_are_no_heat(folder, words):
    assert findings(busy(folder, throttle=words))["thermal_throttling"].verdict == "clear"


def test_heat_near_the_threshold_is_inconclusive(folder):
    found = findings(busy(folder, throttle=lambda k: ["sw_thermal"] if k % 9 == 0 else []))["thermal_throttling"]
    assert found.verdict == "inconclusive"
    assert "too near 10 %" in found.reason


def test_a_power_cap_is_normal_unless_the_clock_is_far_down(folder):
    found = findings(busy(folder, throttle=["sw_power_cap"], sm_clock_mhz=2500.0))["power_throttling"]
    assert (found.verdict, found.severity, found.suggestions) == ("found", "info", ())
    for row in folder.system:
        row["sm_clock_mhz"] = 1500.0
    found = findings(folder)["power_throttling"]
    assert (found.verdict, found.severity) == ("found", "warning")
    assert "1500 MHz on average (48 % of the highest, 3105 MHz)" in found.sentence
    assert "it is 450 W" in suggested(found)


def test_a_power_brake_is_a_warning(folder):
    found = findings(busy(folder, throttle=["hw_slowdown", "hw_power_brake"]))["power_throttling"]
    assert (found.verdict, found.severity) == ("found", "warning")
    assert "power supply" in suggested(found)


def test_clocks_that_the_hardware_does_not_explain_are_inconclusive(folder):
    found = findings(busy(folder, throttle=None))
    for rule in ("thermal_throttling", "power_throttling"):
        assert found[rule].verdict == "inconclusive"
        assert "the hardware does not say" in found[rule].reason


# Memory


def test_memory_far_below_the_edge_gives_a_batch_that_fits_and_keeps_the_effective_one(folder):
    quarter = 24564.0 / 4
    busy(folder, memory_used_mib=quarter, torch_reserved_mib=quarter - 400, torch_reserved_peak_mib=quarter - 400)
    found = findings(folder)["memory_headroom"]
    assert (found.verdict, found.severity, found.value) == ("found", "info", pytest.approx(0.25))
    # 0.95 / 0.25 = 3.8 times 8 is 30; the largest size up to it that divides 32 is 16.
    assert found.suggestions == (
        "per_device_train_batch_size=16, gradient_accumulation_steps=2 (the effective batch stays 32 a device)",
    )


@pytest.mark.parametrize(
    ("share", "headroom", "edge"),
    [
        (0.30, "found", "clear"),
        (0.69, "found", "clear"),
        (0.71, "inconclusive", "clear"),
        (0.80, "clear", "clear"),
        (0.94, "clear", "inconclusive"),
        (0.96, "clear", "found"),
    ],
)
def test_memory_by_its_peak(folder, share, headroom, edge):
    peak = share * 24564.0
    busy(
        folder,
        memory_used_mib=lambda k: peak if k == 50 else peak / 2,
        torch_reserved_mib=None,
        torch_reserved_peak_mib=None,
        torch_allocated_peak_mib=None,
    )
    found = findings(folder)
    assert (found["memory_headroom"].verdict, found["memory_edge"].verdict) == (headroom, edge)
    assert found["memory_edge"].n_samples == 100  # the warm-up's memory is memory, too


def test_a_peak_between_samples_is_known_from_torch(folder):
    busy(folder, memory_used_mib=10400.0, torch_reserved_mib=10000.0, torch_reserved_peak_mib=23500.0)
    found = findings(folder)["memory_edge"]
    assert found.value == pytest.approx(23900.0 / 24564.0)
    assert found.verdict == "found"


def test_memory_at_the_edge_says_what_needs_less(folder):
    busy(
        folder,
        memory_used_mib=24300.0,
        torch_reserved_mib=23900.0,
        torch_reserved_peak_mib=23900.0,
        torch_allocated_peak_mib=23800.0,
    )
    found = findings(folder)["memory_edge"]
    assert (found.verdict, found.severity) == ("found", "warning")
    assert "activation_checkpointing=True" in suggested(found)
    assert "per_device_train_batch_size=4, gradient_accumulation_steps=8" in suggested(found)
    assert "expandable_segments" not in suggested(found)


def test_memory_that_only_the_allocator_keeps_is_no_warning(folder):
    busy(
        folder,
        memory_used_mib=24300.0,
        torch_reserved_mib=23900.0,
        torch_reserved_peak_mib=23900.0,
        torch_allocated_peak_mib=15000.0,
    )
    found = findings(folder)["memory_edge"]
    assert (found.verdict, found.severity) == ("found", "info")
    assert "expandable_segments:True" in suggested(found)
    assert "kept 8.7 GiB that no tensor was in" in found.sentence


def test_a_single_sample_at_the_edge_is_enough_but_not_to_be_clear(folder):
    folder.begin().gpu(1, memory_used_mib=24500.0, torch_allocated_peak_mib=None)
    assert findings(folder)["memory_edge"].verdict == "found"
    folder.system.pop()
    found = findings(folder.gpu(1, memory_used_mib=10000.0, torch_reserved_peak_mib=None))
    assert {found[rule].verdict for rule in ("memory_edge", "memory_headroom")} == {"inconclusive"}
    assert "10 are needed" in found["memory_edge"].reason


def test_memory_that_the_hardware_does_not_give_is_inconclusive(folder):
    found = findings(busy(folder, memory_used_mib=None))
    assert found["memory_edge"].reason == "the hardware does not say how much memory is used."
    folder.system[0]["gpus"] = []
    found = findings(folder)
    assert found["memory_headroom"].reason == "the hardware does not say how much memory the card has."


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_each_card_is_judged_by_its_own_total_and_limits(folder, order):
    cards = {
        0: {"gpu": 0, "memory_total_mib": 24564.0, "temperature_slowdown_c": 95.0, "power_limit_w": 400.0},
        1: {"gpu": 1, "memory_total_mib": 12288.0, "temperature_slowdown_c": 88.0, "power_limit_w": 200.0},
    }
    folder.begin(gpus=[cards[gpu] for gpu in order]).windows([0.02] * 10).host()
    folder.system[0]["used_gpus"] = [0, 1]
    nothing = {"torch_reserved_mib": None, "torch_reserved_peak_mib": None, "torch_allocated_peak_mib": None}
    for gpu in (0, 1):
        folder.gpu(100, gpu=gpu, memory_used_mib=6144.0, throttle=["sw_thermal"], **nothing)
    for gpu, share, degrees, watts in ((0, 6144 / 24564, 95, 340), (1, 0.5, 88, 170)):
        found = {one.rule: one for one in hardware_findings(folder.run()) if one.gpu == gpu}
        assert found["memory_headroom"].value == pytest.approx(share)
        assert f"slows down at {degrees} °C" in found["thermal_throttling"].sentence
        assert f"-i {gpu} -pl {watts} " in suggested(found["thermal_throttling"])
        assert found["other_process"].threshold == pytest.approx(0.05 * cards[gpu]["memory_total_mib"])


def test_total_memory_may_come_from_the_facts(folder):
    busy(folder)
    folder.system[0]["gpus"] = []
    folder.facts["devices"]["gpus"] = [{"name": "NVIDIA A100", "memory_total_mib": 40960}]
    assert findings(folder)["memory_headroom"].value == pytest.approx(18000.0 / 40960)


def test_another_process_is_found_by_its_memory(folder):
    busy(folder, other_processes=lambda k: 2 if k >= 50 else 0, other_memory_mib=lambda k: 4096.0 if k >= 50 else 0.0)
    found = findings(folder)["other_process"]
    assert (found.verdict, found.severity, found.value, found.unit) == ("found", "warning", 4096.0, "MiB")
    assert (
        "2 other processes had memory on the card, in 50 of 100 samples: 4.0 GiB at most (17 % of it)" in found.sentence
    )
    assert found.threshold == pytest.approx(0.05 * 24564)


def test_a_desktop_is_no_other_process_worth_a_word(folder):
    assert findings(busy(folder, other_processes=1, other_memory_mib=200.0))["other_process"].verdict == "clear"


def test_another_process_of_unknown_size_is_told_without_a_warning(folder):
    found = findings(busy(folder, other_processes=1))["other_process"]
    assert (found.verdict, found.severity, found.value) == ("found", "info", None)
    assert "does not say" in found.sentence


def test_processes_that_the_hardware_does_not_give_are_inconclusive(folder):
    assert findings(busy(folder, other_processes=None))["other_process"].verdict == "inconclusive"


# Host


def test_host_memory_near_its_end_is_found(folder):
    folder.begin().windows([0.02] * 8).gpu().host(ram_used_mib=lambda k: 31500.0 if k == 60 else 9000.0)
    found = findings(folder.arguments(dataloader_num_workers=4))["host_memory_edge"]
    assert (found.verdict, found.severity) == ("found", "warning")
    assert "fewer dataloader_num_workers (they are 4" in suggested(found)


def test_a_disk_without_room_for_two_checkpoints_is_found(folder):
    folder.begin().windows([0.02] * 8).gpu().host(disk_free_mib=2000.0)
    found = findings(folder)["disk_nearly_full"]
    needed = 1024 + 2 * 60_000_000 * 12 / 2**20
    assert (found.verdict, found.severity, found.threshold) == ("found", "warning", pytest.approx(needed))
    assert "save_total_limit=2" in suggested(found)
    assert "save_total_limit" not in suggested(findings(folder.arguments(save_total_limit=3))["disk_nearly_full"])
    assert findings(folder.arguments(save_strategy="no"))["disk_nearly_full"].verdict == "clear"


# Suggestions fit the run's own arguments


def slow(folder, **begin):
    return folder.begin(**begin).windows([0.4] * 8).gpu(utilization_percent=50.0).host()


def test_workers_are_suggested_where_there_are_none_and_cores_are_free(folder):
    found = findings(slow(folder))["data_bound"]
    assert "dataloader_num_workers=4 (it is 0" in suggested(found)
    assert "pin_memory" not in suggested(found)


@pytest.mark.parametrize(
    ("workers", "cores", "world", "load", "expected"),
    [
        (0, 8, 1, 30.0, "dataloader_num_workers=4"),
        (0, 3, 1, 30.0, "dataloader_num_workers=2"),
        (2, 8, 1, 30.0, "dataloader_num_workers=4"),
        (0, 8, 4, 30.0, "dataloader_num_workers=1"),
        (2, 3, 1, 30.0, None),
        (0, 1, 1, 30.0, None),
        (4, 64, 1, 30.0, None),
        (0, 8, 8, 30.0, None),
        (0, 8, 1, 97.0, None),  # no core is left for them
    ],
)
def test_workers_fit_the_machine(folder, workers, cores, world, load, expected):
    folder.facts["devices"]["world_size"] = world
    folder.begin(cpu_count=cores).windows([0.4] * 8).gpu(utilization_percent=50.0).host(cpu_percent=load)
    text = suggested(findings(folder.arguments(dataloader_num_workers=workers))["data_bound"])
    assert (expected in text) if expected else ("dataloader_num_workers" not in text)


def test_pinned_memory_is_suggested_where_it_is_off_on_cuda(folder):
    assert "dataloader_pin_memory=True" in suggested(
        findings(slow(folder).arguments(dataloader_pin_memory=False))["data_bound"]
    )
    folder.metrics.clear()
    folder.system.clear()
    found = findings(on_cpu(folder, 0.5))["data_bound"]
    assert found.verdict == "found"
    assert "pin_memory" not in suggested(found)


def test_a_tokenized_data_set_is_not_to_be_tokenized(folder):
    folder.facts["data"] = {"train": {"class": "Dataset", "columns": ["input_ids", "labels"]}}
    text = suggested(findings(slow(folder))["data_bound"])
    assert "dataset.map" not in text
    assert "look at" not in text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"class": "Dataset", "columns": ["text", "label"]}, "dataset.map(..., batched=True)"),
        ({"class": "Dataset", "columns": ["id", "Article", "highlights"]}, "dataset.map(..., batched=True)"),
        ({"class": "Dataset", "columns": ["image", "label"]}, "what the transform and the collator do"),
        ({"class": "ImageFolder", "n_samples": 10}, "what ImageFolder.__getitem__ and the collator do"),
        ({}, "what __getitem__ and the collator do"),
        ({"columns": [None, 3], "class": ["x"]}, "what __getitem__ and the collator do"),
    ],
)
def test_tokenizing_is_to_be_done_before_only_where_there_are_texts(folder, data, expected):
    folder.facts["data"] = {"train": data}
    text = suggested(findings(slow(folder))["data_bound"])
    assert expected in text
    assert ("dataset.map" in text) == ("dataset.map" in expected)


@pytest.mark.parametrize(
    ("changes", "card", "expected"),
    [
        ({}, {"bf16": True}, True),
        ({}, {"bf16": False}, False),
        ({}, {"bf16": None}, False),
        ({}, {"bf16": None, "compute_capability": [8, 6]}, True),
        ({}, {"bf16": None, "compute_capability": [7, 5]}, False),
        ({"bf16": True}, {"bf16": True}, False),
        ({"fp16": True}, {"bf16": True}, False),
    ],
)
def test_bf16_is_suggested_only_where_the_card_can_and_it_is_off(folder, changes, card, expected):
    busy(folder.arguments(**changes), utilization_percent=99.0)
    folder.system[0]["gpus"] = [folder.system[0]["gpus"][0] | card]
    assert ("bf16=True" in suggested(findings(folder)["compute_bound"])) is expected


def test_weights_that_are_bf16_already_want_no_bf16(folder):
    folder.facts["precision"] = "bf16"
    assert "bf16=True" not in suggested(findings(busy(folder, utilization_percent=99.0))["compute_bound"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"activation_checkpointing": False}, "activation_checkpointing=True"),
        ({"activation_checkpointing": True}, None),
        ({"activation_checkpointing": None}, None),
    ],
)
def test_checkpointing_is_suggested_only_where_it_is_off(folder, changes, expected):
    busy(folder.arguments(**changes), memory_used_mib=24500.0)
    text = suggested(findings(folder)["memory_edge"])
    assert (expected in text) if expected else ("checkpointing" not in text)


def test_an_older_transformers_has_the_older_names(folder):
    del folder.facts["arguments"]["activation_checkpointing"]
    del folder.facts["arguments"]["train_sampling_strategy"]
    folder.arguments(group_by_length=False)
    text = suggested(findings(busy(folder, memory_used_mib=24500.0))["memory_edge"])
    assert "; gradient_checkpointing=True" in f"; {text}".replace(" | ", "; ")
    assert "group_by_length=True" in text


def test_length_grouping_is_suggested_only_where_samples_come_at_random(folder):
    busy(folder, utilization_percent=99.0)
    assert "group_by_length" in suggested(findings(folder)["compute_bound"])
    found = findings(folder.arguments(train_sampling_strategy="batch_rebalance"))["compute_bound"]
    assert found.verdict == "found"
    assert "group_by_length" not in suggested(found)


def test_checkpointing_that_saves_memory_nobody_needs_is_to_be_taken_off(folder):
    busy(folder.arguments(activation_checkpointing=True), memory_used_mib=6000.0, torch_reserved_peak_mib=None)
    assert "activation_checkpointing=False" in suggested(findings(folder)["memory_headroom"])


@pytest.mark.parametrize(
    ("batch", "accumulation", "share", "expected"),
    [
        (8, 4, 0.30, "per_device_train_batch_size=16, gradient_accumulation_steps=2"),
        (8, 4, 0.20, "per_device_train_batch_size=32, gradient_accumulation_steps=1"),
        (8, 3, 0.60, "per_device_train_batch_size=12, gradient_accumulation_steps=2"),
        (8, 3, 0.65, None),  # nothing between 8 and 11 divides 24
        (8, 1, 0.50, "per_device_train_batch_size=15 (it is 8; this changes the effective batch"),
        (8, 1, 0.001, "per_device_train_batch_size=64 (it is 8; this changes the effective batch"),
        (None, 1, 0.50, None),
    ],
)
def test_a_larger_batch_fits_and_keeps_the_effective_one_where_it_can(folder, batch, accumulation, share, expected):
    folder.arguments(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
    busy(folder, memory_used_mib=share * 24564.0, torch_reserved_mib=None, torch_reserved_peak_mib=None)
    found = findings(folder)["memory_headroom"]
    assert found.verdict == "found"
    assert (expected in suggested(found)) if expected else not found.suggestions


@pytest.mark.parametrize(
    ("batch", "expected"), [(8, "per_device_train_batch_size=4"), (3, "per_device_train_batch_size=1"), (1, None)]
)
def test_a_smaller_batch_keeps_the_effective_one(folder, batch, expected):
    folder.arguments(per_device_train_batch_size=batch, gradient_accumulation_steps=1)
    text = suggested(findings(busy(folder, memory_used_mib=24500.0))["memory_edge"])
    assert (expected in text) if expected else ("batch" not in text)


# Attempts


def test_a_resumed_run_is_judged_by_its_latest_attempt(folder):
    folder.begin(1).windows([0.6] * 8).gpu(100, utilization_percent=30.0, throttle=["sw_thermal"])
    folder.begin(2, step=80, time=2_000_000.0).windows([0.02] * 8, attempt=2, time=2_000_000.0, step=80)
    folder.gpu(90, attempt=2, time=2_000_000.0, utilization_percent=99.0)
    found = findings(folder)
    assert (found["data_bound"].verdict, found["data_bound"].steps) == ("clear", (100, 160))
    assert found["compute_bound"].verdict == "found"
    assert (found["thermal_throttling"].verdict, found["thermal_throttling"].n_samples) == ("clear", 80)


def test_an_evaluation_of_its_own_afterwards_changes_nothing_and_its_arguments_do_not_count(folder):
    folder.begin(1).windows([0.6] * 8).gpu(100, utilization_percent=30.0).host()
    # What the first attempt had otherwise stays with it, as RunJson writes it.
    folder.facts["attempts"] = [
        {"attempt": 1, "facts": {"arguments": {**folder.facts["arguments"], "dataloader_num_workers": 2}}},
        {"attempt": 2},
    ]
    folder.metrics.append({"time": 3e6, "attempt": 2, "step": 0, "kind": "eval", "eval_loss": 1.0, "standalone": True})
    folder.gpu(100, attempt=2, time=3e6, phase="evaluate", utilization_percent=99.0)
    found = findings(folder)["data_bound"]
    assert found.verdict == "found"
    assert "dataloader_num_workers=4 (it is 2" in suggested(found)


def test_a_training_that_began_again_within_an_attempt_is_judged_by_the_last_one(folder):
    folder.begin().windows([0.6] * 8).gpu(100, utilization_percent=10.0, memory_used_mib=24560.0)
    folder.begin(time=1_000_200.0).windows([0.01] * 8, time=1_000_200.0).gpu(
        100, time=1_000_200.0, utilization_percent=95.0
    )  # auto_find_batch_size
    found = findings(folder)
    assert (found["data_bound"].value, found["compute_bound"].value) == (pytest.approx(0.01), 95.0)
    assert found["memory_edge"].verdict == "clear"  # what did not fit was before


# Several GPUs


def two_gpus(folder, device="cuda:1", torch_of_other=None):
    other = {"gpu": 1, "name": "NVIDIA GeForce RTX 3060", "memory_total_mib": 12288.0}
    folder.begin(gpus=({"gpu": 0, "memory_total_mib": 24564.0}, other), device=device)
    folder.windows([0.02] * 10).host()
    torch_keys = ("torch_allocated_mib", "torch_reserved_mib", "torch_allocated_peak_mib", "torch_reserved_peak_mib")
    folder.gpu(100, gpu=0, utilization_percent=0.0, memory_used_mib=600.0, **dict.fromkeys(torch_keys, torch_of_other))
    return folder.gpu(100, gpu=1, utilization_percent=99.0, memory_used_mib=12000.0, torch_reserved_mib=11500.0)


def test_a_card_that_the_training_left_alone_is_not_its_matter(folder):
    found = hardware_findings(two_gpus(folder).run())
    assert [finding.rule for finding in found] == ALL_RULES
    by_rule = {finding.rule: finding for finding in found}
    assert {by_rule[rule].gpu for rule in [*GPU_RULES, "compute_bound", "data_bound"]} == {1}
    assert by_rule["compute_bound"].verdict == "found"
    assert by_rule["memory_edge"].verdict == "found"


def test_each_card_of_a_training_on_several_has_its_own_findings(folder):
    two_gpus(folder)
    folder.facts["devices"]["world_size"] = 2
    found = [(finding.rule, finding.gpu) for finding in hardware_findings(folder.run()) if finding.rule in GPU_RULES]
    assert found == [(rule, gpu) for gpu in (0, 1) for rule in GPU_RULES]
    folder.facts["devices"]["world_size"] = 1
    headroom = [f.gpu for f in hardware_findings(folder.run()) if f.rule == "memory_headroom"]
    assert headroom == [1]


def test_a_card_with_tensors_of_this_process_counts(folder):
    found = hardware_findings(two_gpus(folder, torch_of_other=500.0).run())
    assert [finding.gpu for finding in found if finding.rule == "memory_headroom"] == [0, 1]


def test_values_that_are_no_values_are_skipped(folder):
    odd = [None, "99", math.nan, math.inf, -5.0, True, 10**400, [1], {"a": 1}, 250.0]
    busy(folder, utilization_percent=lambda k: odd[k % 10] if k % 2 else 99.0)
    found = findings(folder)["compute_bound"]
    assert (found.value, found.n_samples) == (99.0, 45)


def test_throttle_words_that_are_no_words_are_skipped(folder):
    found = findings(busy(folder, throttle=[["sw_thermal"], {"a": 1}, None, 7, "sw_power_cap"]))
    assert (found["thermal_throttling"].verdict, found["power_throttling"].verdict) == ("clear", "found")


# Several machines, several cards


def test_samples_of_another_machine_are_not_taken_for_those_of_the_card_of_the_same_number(folder):
    busy(folder).gpu(throttle=["hw_thermal"], memory_used_mib=24500.0, rank=8).host(ram_used_mib=32000.0, rank=8)
    folder.system.append(folder.system[0] | {"rank": 8, "device": "cpu", "gpus": []})
    assert set(verdicts(folder).values()) == {"clear"}


def test_a_card_that_the_launch_leaves_alone_is_not_its_matter(folder):
    busy(folder).gpu(gpu=1).gpu(gpu=2, memory_used_mib=10.0, utilization_percent=0.0, torch_allocated_mib=None)
    folder.facts["devices"]["world_size"] = 2
    folder.system[0] |= {"used_gpus": [0, 1], "gpus": [folder.system[0]["gpus"][0] | {"gpu": k} for k in range(3)]}
    found = [finding for finding in hardware_findings(folder.run()) if finding.rule == "memory_headroom"]
    assert [(finding.gpu, finding.verdict) for finding in found] == [(0, "clear"), (1, "clear")]


def test_a_path_will_do_and_the_line_of_what_was_found_has_its_threshold(folder):
    folder.begin().windows([0.4] * 7).gpu(utilization_percent=55.0).host()
    folder.run()
    found = hardware_findings(str(folder.path))
    assert found == hardware_findings(folder.path)
    (line,) = [str(finding) for finding in found if finding.rule == "data_bound"]
    assert " Measured: 40 %, threshold: 10 %.\n    Try: " in line
    assert all("threshold: " not in str(finding) for finding in found if finding.verdict != "found")

"""What a device says, what it does not say, and why: real wrappers of pynvml over a driver made of Python."""

import ctypes
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fake_nvml as fake
import pynvml
import pytest
from fake_nvml import METRIC_OF, NOT_SUPPORTED, FakeGpu, Scenario, one_4090, three_unlike
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_contract import assert_contract

from hf_monitor.gpu.readings import METRICS, open_devices

CODES = {name: getattr(pynvml, name) for name in dir(pynvml) if name.startswith("NVML_ERROR_")} | {"newer": 31}
LASTING = {
    "NVML_ERROR_NOT_SUPPORTED",
    "NVML_ERROR_FUNCTION_NOT_FOUND",
    "NVML_ERROR_NO_PERMISSION",
    "NVML_ERROR_INVALID_ARGUMENT",
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH",
    "NVML_ERROR_DEPRECATED",
}
DEVICE = {"NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_RESET_REQUIRED", "NVML_ERROR_GPU_NOT_FOUND"}
FUNCTIONS_OF = {metric: [name for name, of in METRIC_OF.items() if of == metric] for metric in METRICS}


@pytest.fixture
def one(fake_nvml):
    """One 4090, opened: its reader, what it says, the driver."""
    scenario = one_4090()
    driver = fake_nvml(scenario)
    with open_devices(scenario.visible()) as opened:
        (reader,) = opened.readers
        yield reader, scenario.gpus[0], driver
    assert driver.references == 0


def asked(driver, metric):
    return sum(driver.calls[name, FakeGpu().uuid] for name in FUNCTIONS_OF[metric])


@pytest.mark.parametrize("name", fake.SCENARIOS)
def test_every_scenario_keeps_the_contract(fake_nvml, name):
    scenario = fake.SCENARIOS[name]()
    driver = fake_nvml(scenario)
    with open_devices(scenario.visible()) as opened:
        assert opened.readers
        for reader in opened.readers:
            assert_contract(reader)
            assert reader.read().keys() == set(METRICS)
    assert driver.references == 0
    assert pynvml._nvmlLib_refcount == 0


def test_a_card_that_says_everything(one):
    reader, gpu, _ = one
    assert reader.read() == {
        "memory_used_mib": 1000.0,
        "utilization_percent": 97,
        "power_w": 350.25,
        "temperature_c": 61,
        "sm_clock_mhz": 2520,
        "throttle": ["sw_power_cap"],
        "energy_j": 123456.789,
    }
    assert reader.facts() == {
        "gpu": 0,
        "name": "NVIDIA GeForce RTX 4090",
        "uuid": gpu.uuid,
        "pci_address": "0000:0a:00.0",
        "matched_by": "uuid",
        "mig": None,
        "memory_total_mib": 24564.0,
        "memory_source": "nvml_v2",
        "power_limit_w": 450.0,
        "sm_clock_max_mhz": 3120,
        "temperature_slowdown_c": 88,
    }
    assert reader.news() == []
    assert reader.reasons == {}


def test_zero_is_a_value_and_nothing_to_throttle_an_empty_list(one):
    reader, gpu, _ = one
    gpu.utilization = gpu.power_mw = gpu.throttle = 0
    sample = reader.read()
    assert (sample["utilization_percent"], sample["power_w"], sample["throttle"]) == (0, 0.0, [])
    assert reader.news() == []


def test_the_words_of_throttling_are_nvmls_bits(one):
    reader, gpu, _ = one
    words = {
        "GpuIdle": "idle",
        "ApplicationsClocksSetting": "app_clocks",
        "SwPowerCap": "sw_power_cap",
        "HwSlowdown": "hw_slowdown",
        "SyncBoost": "sync_boost",
        "SwThermalSlowdown": "sw_thermal",
        "HwThermalSlowdown": "hw_thermal",
        "HwPowerBrakeSlowdown": "hw_power_brake",
        "DisplayClockSetting": "display_clocks",
    }
    for theirs, ours in words.items():
        gpu.throttle = getattr(pynvml, f"nvmlClocksEventReason{theirs}")
        assert reader.read()["throttle"] == [ours]
    gpu.throttle = 0x8 | 0x40 | 0x10000
    first = reader.read()["throttle"]
    assert first == ["hw_slowdown", "hw_thermal", "other"]
    first.clear()
    assert reader.read()["throttle"] == ["hw_slowdown", "hw_thermal", "other"]


@pytest.mark.parametrize(
    ("missing", "source", "used"),
    [
        (set(), "nvml_v2", 1000.0),
        ({"nvmlDeviceGetMemoryInfo_v2"}, "nvml_v1", 1364.0),
        ({"nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMemoryInfo"}, "torch", 900.0),
    ],
)
def test_memory_comes_from_the_best_source_there_is(fake_nvml, missing, source, used):
    scenario = Scenario([FakeGpu()], missing=missing)
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    assert_contract(reader)
    assert reader.read()["memory_used_mib"] == used
    facts = reader.facts()
    assert facts["memory_source"] == source
    assert facts["memory_total_mib"] == (24210 if source == "torch" else 24564)
    assert reader.news() == []


BOTH = "memory_used_mib"
V1, V2 = "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"


@pytest.mark.parametrize(
    ("errors", "source", "used"),
    [
        ({V2: pynvml.NVML_ERROR_UNKNOWN}, "nvml_v1", 1364.0),
        ({V2: pynvml.NVML_ERROR_TIMEOUT}, "nvml_v1", 1364.0),
        ({V2: OSError("access violation")}, "nvml_v1", 1364.0),
        ({BOTH: pynvml.NVML_ERROR_UNKNOWN}, "torch", 900.0),
        ({V2: NOT_SUPPORTED, V1: pynvml.NVML_ERROR_TIMEOUT}, "torch", 900.0),
        ({V2: pynvml.NVML_ERROR_TIMEOUT, V1: NOT_SUPPORTED}, "torch", 900.0),
        ({BOTH: 999}, "torch", 900.0),
    ],
)
def test_memory_has_a_next_source_after_any_failure_until_one_has_answered(fake_nvml, errors, source, used):
    scenario = Scenario([FakeGpu(errors=dict(errors))])
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    assert reader.facts()["memory_source"] == source
    scenario.gpus[0].errors.clear()
    assert [reader.read()["memory_used_mib"] for _ in range(3)] == [used] * 3  # and stays, as that is another figure
    assert reader.facts()["memory_source"] == source
    assert reader.news() == []


@pytest.mark.parametrize("total", [0, 2**43])
def test_memory_of_a_total_that_cannot_be_comes_from_torch(fake_nvml, total):
    scenario = Scenario([FakeGpu(total_mib=total)])
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    assert reader.read()["memory_used_mib"] == 900.0
    assert (reader.facts()["memory_source"], reader.facts()["memory_total_mib"]) == ("torch", 24210)


@pytest.mark.parametrize("passing", [V1, V2])
def test_memory_that_one_source_may_still_give_is_asked_for_again(fake_nvml, passing):
    scenario = Scenario([FakeGpu(torch_used_mib=None)])
    gpu = scenario.gpus[0]
    gpu.errors = {V1: NOT_SUPPORTED, V2: NOT_SUPPORTED, passing: pynvml.NVML_ERROR_TIMEOUT}
    driver = fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    for _ in range(30):
        assert reader.read()["memory_used_mib"] is None
    (news,) = reader.news()
    assert (news["code"], news["lasting"]) == ("NVML_ERROR_TIMEOUT", False)
    assert [driver.calls[name, gpu.uuid] for name in (V1, V2)] == ([3, 1] if passing == V1 else [1, 3])
    gpu.errors.clear()
    samples = [reader.read()["memory_used_mib"] for _ in range(60)]
    assert samples[-1] == (1364.0 if passing == V1 else 1000.0)


def test_memory_that_nobody_gives_has_a_reason(fake_nvml):
    scenario = Scenario([FakeGpu(torch_used_mib=None, errors={"memory_used_mib": NOT_SUPPORTED})])
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    assert reader.read()["memory_used_mib"] is None
    assert reader.facts()["memory_source"] is None
    (news,) = reader.news()
    assert (news["metric"], news["code"]) == ("memory_used_mib", "NVML_ERROR_NOT_SUPPORTED")


def test_the_source_of_memory_does_not_change_within_a_run(one):
    reader, gpu, _ = one
    gpu.errors["nvmlDeviceGetMemoryInfo_v2"] = NOT_SUPPORTED
    assert reader.read()["memory_used_mib"] is None  # v1 would answer, and say 364 MiB more
    assert reader.facts()["memory_source"] == "nvml_v2"
    (news,) = reader.news()
    assert (news["metric"], news["lasting"]) == ("memory_used_mib", True)


NEW_AND_OLD = {
    "throttle": ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"),
    "temperature_c": ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"),
}


@pytest.mark.parametrize("metric", NEW_AND_OLD)
@pytest.mark.parametrize("who", ["driver", "nvidia-ml-py"])
def test_the_older_function_is_asked_where_the_new_one_is_missing(fake_nvml, monkeypatch, metric, who):
    new, old = NEW_AND_OLD[metric]
    scenario = one_4090()
    if who == "driver":
        scenario.missing.add(new)
    else:
        monkeypatch.delattr(pynvml, new, raising=False)
    driver = fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    expected = {"throttle": ["sw_power_cap"], "temperature_c": 61}[metric]
    assert [reader.read()[metric] for _ in range(3)] == [expected] * 3
    assert reader.news() == []
    assert driver.calls[old, FakeGpu().uuid] == 4
    assert driver.calls[new, FakeGpu().uuid] == 0


def test_the_older_function_is_not_asked_where_the_new_one_answers(one):
    reader, gpu, driver = one
    reader.read()
    for new, old in NEW_AND_OLD.values():
        if hasattr(pynvml, new):
            assert (driver.calls[new, gpu.uuid], driver.calls[old, gpu.uuid]) == (2, 0)


@pytest.mark.parametrize("metric", NEW_AND_OLD)
def test_where_both_functions_fail_the_reason_is_the_one_that_says_more(fake_nvml, metric):
    new, old = NEW_AND_OLD[metric]
    for failing, missing in ((old, new), (new, old)):
        if not hasattr(pynvml, failing):  # the oldest nvidia-ml-py that we take has no nvmlDeviceGetTemperatureV
            continue
        scenario = Scenario([FakeGpu(errors={failing: NOT_SUPPORTED})], missing={missing})
        fake_nvml(scenario)
        (reader,) = open_devices(scenario.visible()).readers
        assert reader.read()[metric] is None
        assert [one["code"] for one in reader.news()] == ["NVML_ERROR_NOT_SUPPORTED"]


def test_a_later_failure_has_its_own_reason(fake_nvml):
    new, old = NEW_AND_OLD["throttle"]
    scenario = Scenario([FakeGpu(errors={new: NOT_SUPPORTED})])
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    assert reader.read()["throttle"] == ["sw_power_cap"]
    scenario.gpus[0].errors[old] = pynvml.NVML_ERROR_NO_PERMISSION
    assert reader.read()["throttle"] is None
    assert [one["code"] for one in reader.news()] == ["NVML_ERROR_NO_PERMISSION"]


@pytest.mark.parametrize("missing", [set(), {"nvmlDeviceGetEnforcedPowerLimit"}])
def test_the_power_limit_is_the_one_that_holds(fake_nvml, missing):
    scenario = Scenario([FakeGpu()], missing=missing)
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    assert reader.facts()["power_limit_w"] == (480.0 if missing else 450.0)


@pytest.mark.no_cover
@pytest.mark.parametrize("from_the_start", [True, False], ids=["from the start", "later"])
def test_every_error_of_every_metric_costs_that_metric_only(fake_nvml, from_the_start):
    assert len(CODES) >= 30
    for code, number in CODES.items():
        for metric in METRICS:
            scenario = Scenario([FakeGpu(torch_used_mib=None)])
            gpu, others = scenario.gpus[0], set(METRICS) - {metric}
            errors = {metric: number, "other_processes": number}
            gpu.errors = dict(errors) if from_the_start else {}
            with fake.installed(scenario) as driver, open_devices(scenario.visible()) as opened:
                (reader,) = opened.readers
                gpu.errors = dict(errors)
                before = asked(driver, metric)
                for _ in range(30):
                    sample = reader.read()
                    assert sample[metric] is None, (code, metric)
                    missing = {name for name in others if sample[name] is None}
                    assert missing == (others if code in DEVICE else set()), (code, metric)
                processes = reader.read_processes()
                assert processes == {"other_processes": None, "other_memory_mib": None}
                news = reader.news()
                first = [one for one in news if one["metric"] != "other_processes"]
                assert len(first) == 1, (code, metric, news)
                expected = "NVML_ERROR_31" if code == "newer" else code
                assert (first[0]["code"], first[0]["gpu"]) == (expected, 0)
                assert first[0]["metric"] == ("device" if code in DEVICE else metric)
                assert first[0]["reason"]
                assert len(news) == (1 if code in DEVICE else 2)
                if code in LASTING:
                    assert first[0]["lasting"]
                    assert asked(driver, metric) - before <= (0 if from_the_start else 1), (code, metric)
                    gpu.errors = {}
                    assert all(reader.read()[metric] is None for _ in range(70))
                else:
                    assert asked(driver, metric) - before <= 5, (code, metric)
                    gpu.errors = {}
                    assert any(reader.read()[metric] is not None for _ in range(60)), (code, metric)
                    assert reader.reasons.keys() <= {"other_processes"}
                assert reader.news() == []


def test_what_is_lasting_is_asked_once_in_a_lifetime(fake_nvml):
    """Once by each function that could give it."""
    for metric in set(METRICS) - {"memory_used_mib"}:
        scenario = Scenario([FakeGpu(errors={metric: NOT_SUPPORTED})])
        driver = fake_nvml(scenario)
        (reader,) = open_devices(scenario.visible()).readers
        for _ in range(200):
            reader.read()
        names = [name for name in FUNCTIONS_OF[metric] if hasattr(pynvml, name)]
        assert [driver.calls[name, scenario.gpus[0].uuid] for name in names] == [1] * len(names)


def test_what_passes_is_asked_three_times_then_every_sixtieth(one):
    reader, gpu, driver = one
    gpu.errors["power_w"] = pynvml.NVML_ERROR_TIMEOUT
    before = asked(driver, "power_w")
    calls = []
    for _ in range(130):
        reader.read()
        calls.append(asked(driver, "power_w") - before)
    assert calls[2] == 3
    assert calls[61] == 3
    assert calls[62] == 4
    assert calls[-1] == 5
    assert len(reader.news()) == 1


def test_one_failure_in_passing_is_forgotten(one):
    reader, gpu, _ = one
    for _ in range(5):
        gpu.errors["power_w"] = pynvml.NVML_ERROR_TIMEOUT
        assert reader.read()["power_w"] is None
        assert "in time" in reader.reasons["power_w"]
        gpu.errors.clear()
        assert reader.read()["power_w"] == 350.25
        assert reader.reasons == {}
    assert [(one["code"], one["lasting"]) for one in reader.news()] == [("NVML_ERROR_TIMEOUT", False)]


def test_a_lost_gpu_is_told_once_and_looked_for_once_a_minute(one):
    reader, gpu, driver = one
    gpu.errors["device"] = fake.GPU_IS_LOST
    before = sum(driver.calls.values())
    for _ in range(130):
        assert set(reader.read().values()) == {None}
        assert reader.read_processes()["other_processes"] is None
    assert sum(driver.calls.values()) - before == 3  # in the reads 1, 61 and 121
    (news,) = reader.news()
    assert (news["metric"], news["code"], news["lasting"]) == ("device", "NVML_ERROR_GPU_IS_LOST", False)
    gpu.errors.clear()
    samples = [reader.read() for _ in range(60)]
    assert samples[-1]["power_w"] == 350.25
    assert reader.reasons == {}


def test_a_gpu_that_is_lost_in_the_middle_of_a_sample_leaves_no_half_sample(one):
    reader, gpu, _ = one
    gpu.errors["temperature_c"] = pynvml.NVML_ERROR_RESET_REQUIRED
    assert set(reader.read().values()) == {None}


def test_one_lost_card_does_not_disturb_the_others(fake_nvml):
    scenario = three_unlike()
    fake_nvml(scenario)
    with open_devices(scenario.visible()) as opened:
        scenario.gpus[1].errors["device"] = fake.GPU_IS_LOST
        assert [reader.read()["power_w"] for reader in opened.readers] == [None, 301.0, 101.0]


def test_nvml_that_another_part_of_the_process_shut_down_is_opened_again(fake_nvml):
    scenario = three_unlike()
    driver = fake_nvml(scenario)
    with open_devices(scenario.visible()) as opened:
        pynvml.nvmlShutdown()
        assert [reader.read()["power_w"] for reader in opened.readers] == [201.0, 301.0, 101.0]
        assert [reader.news() for reader in opened.readers] == [[], [], []]
        assert driver.inits == 2
        pynvml.nvmlShutdown()  # again, and too soon to go along with it
        assert opened.readers[0].read()["power_w"] is None
        assert {one["code"] for one in opened.readers[0].news()} == {"NVML_ERROR_UNINITIALIZED"}
        assert any(opened.readers[0].read()["power_w"] is not None for _ in range(120))
    assert driver.references == 0


def test_an_instance_whose_card_is_not_found_again_goes_on_with_reasons(fake_nvml):
    scenario = fake.mig()
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    reader.news()
    pynvml.nvmlShutdown()
    scenario.gpus[0].mig[0].errors["nvmlDeviceGetDeviceHandleFromMigDeviceHandle"] = 999
    assert reader.read()["power_w"] is None
    assert reader.reasons["power_w"]


def test_processes_are_read_after_nvml_was_opened_again(fake_nvml):
    scenario = three_unlike()
    fake_nvml(scenario)
    first, second, _ = open_devices(scenario.visible()).readers
    pynvml.nvmlShutdown()
    first.read()
    assert second.read_processes() == {"other_processes": 0, "other_memory_mib": 0.0}


def test_others_that_use_nvml_are_not_disturbed_by_our_end(fake_nvml):
    scenario = one_4090()
    driver = fake_nvml(scenario)
    pynvml.nvmlInit()
    opened = open_devices(scenario.visible())
    assert driver.references == 2
    opened.close()
    opened.close()
    assert driver.references == 1
    assert pynvml.nvmlSystemGetDriverVersion() == "570.86.10"
    pynvml.nvmlShutdown()


@pytest.mark.parametrize(
    ("metric", "attribute", "value"),
    [
        ("memory_used_mib", "used_mib", 30_000),
        ("memory_used_mib", "total_mib", 0),
        ("memory_used_mib", "total_mib", 2**43),
        ("utilization_percent", "utilization", 4_000_000_000),
        ("power_w", "power_mw", 0xFFFFFFFF),
        ("temperature_c", "temperature", 1000),
        ("temperature_c", "temperature", -100),
        ("sm_clock_mhz", "sm_clock", 0xFFFFFFFF),
        ("throttle", "throttle", 2**64 - 1),
        ("energy_j", "energy_mj", 2**64 - 1),
    ],
)
def test_a_value_that_cannot_be_is_none_with_a_reason(one, metric, attribute, value):
    reader, gpu, _ = one
    right = getattr(gpu, attribute)
    setattr(gpu, attribute, value)
    sample = reader.read()
    assert {name for name in METRICS if sample[name] is None} == {metric}
    (news,) = reader.news()
    assert (news["metric"], news["code"], news["lasting"]) == (metric, "IMPLAUSIBLE", False)
    assert "cannot be" in news["reason"]
    setattr(gpu, attribute, right)
    assert None not in reader.read().values()


@pytest.mark.parametrize(
    "error", [OSError("exception: access violation"), AttributeError("x"), TypeError("x"), ValueError()]
)
def test_errors_of_python_itself_stay_inside(one, error):
    reader, gpu, _ = one
    for metric in (*METRICS, "other_processes"):
        gpu.errors = {metric: error}
        sample = reader.read() | reader.read_processes()
        assert {name for name, value in sample.items() if value is None} - {"other_memory_mib"} == {metric}
    news = reader.news()
    assert {one["code"] for one in news} == {type(error).__name__}
    assert {one["metric"] for one in news} == {*METRICS, "other_processes"}


WEATHER = st.dictionaries(
    st.sampled_from([*METRICS, "other_processes", "device"]),
    st.one_of(st.sampled_from(sorted(CODES.values())), st.builds(OSError), st.builds(TypeError)),
    max_size=3,
)


@pytest.mark.no_cover
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WEATHER, st.integers(1, 70), st.sampled_from(["", "shutdown", "mad"])), max_size=8))
def test_whatever_weather_the_driver_makes_readings_go_on_and_come_back(weather):
    with fake.installed(one_4090()) as driver:
        gpu = driver.scenario.gpus[0]
        with open_devices(driver.scenario.visible()) as opened:
            (reader,) = opened.readers
            told = []
            for errors, reads, event in weather:
                gpu.errors = errors
                gpu.power_mw = gpu.sm_clock = gpu.throttle = 2**32 - 1 if event == "mad" else 5
                if event == "shutdown" and driver.references:
                    pynvml.nvmlShutdown()
                for _ in range(reads):
                    assert tuple(reader.read()) == METRICS
                    assert set(reader.read_processes()) == {"other_processes", "other_memory_mib"}
                told += reader.news()
            gpu.errors, gpu.power_mw, gpu.sm_clock, gpu.throttle = {}, 5, 5, 5
            for _ in range(185):  # a rest, NVML opened again, another rest
                reader.read()
            lasting = {one["metric"] for one in told if one["lasting"]}
            assert {name for name, value in reader.read().items() if value is None} <= lasting
            keys = [(one["metric"], one["code"]) for one in told]
            assert len(keys) == len(set(keys))


def test_torch_that_fails_stays_inside(fake_nvml):
    scenario = fake.jetson()
    fake_nvml(scenario)
    scenario.gpus[0].torch_used_mib = 7000
    (reader,) = open_devices(scenario.visible()).readers
    reader.news()
    for nonsense in (float("nan"), 10**9, -(10**9), "much"):
        scenario.gpus[0].torch_used_mib = nonsense
        assert reader.read()["memory_used_mib"] is None
    assert {one["metric"] for one in reader.news()} == {"memory_used_mib"}


@pytest.mark.parametrize(
    ("error", "words"),
    [(18, "reboot"), (9, "not loaded"), (12, "libnvidia-ml"), (999, "unknown"), (28, "not found")],
)
def test_without_nvml_there_is_one_problem_and_torchs_memory(fake_nvml, error, words):
    scenario = Scenario([FakeGpu()], init_error=error)
    driver = fake_nvml(scenario)
    with open_devices(scenario.visible()) as opened:
        assert words in opened.problem
        assert opened.driver_version is None
        (reader,) = opened.readers
        assert reader.read()["memory_used_mib"] == 900.0
        assert [(one["metric"], one["lasting"]) for one in reader.news()] == [("device", True)]
    assert driver.references == 0


def test_without_the_package_there_is_a_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with open_devices([FakeGpu().torch_device()]) as opened:
        assert "nvidia-ml-py" in opened.problem
        assert opened.readers[0].read()["memory_used_mib"] == 900.0


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has an NVIDIA driver")
def test_on_a_machine_without_a_driver_there_is_a_problem():
    with open_devices([]) as opened:
        assert "NVML_ERROR_LIBRARY_NOT_FOUND" in opened.problem
        assert opened.readers == []


def test_facts_come_late_where_the_device_answers_late(fake_nvml):
    scenario = fake.lost_gpu()
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    assert reader.facts()["memory_source"] is None
    scenario.gpus[0].errors.clear()
    for _ in range(61):
        reader.read()
    assert reader.facts()["memory_source"] == "nvml_v2"
    assert reader.facts()["power_limit_w"] == 450.0


class TestProcesses:
    def test_this_process_and_its_ranks_are_not_others(self, one):
        reader, gpu, _ = one
        gpu.processes = [(os.getpid(), 900), (os.getppid(), 300), (1, 100)]
        assert reader.read_processes() == {"other_processes": 2, "other_memory_mib": 400.0}
        assert reader.read_processes([os.getppid()]) == {"other_processes": 1, "other_memory_mib": 100.0}
        assert reader.read_processes([os.getppid(), 1]) == {"other_processes": 0, "other_memory_mib": 0.0}

    def test_the_number_is_known_where_the_memory_is_not(self, one):
        reader, gpu, _ = one
        gpu.processes = [(os.getpid(), None), (1, None)]
        assert reader.read_processes() == {"other_processes": 1, "other_memory_mib": None}

    def test_ids_of_another_table_say_nothing(self, one):
        """In a container the driver may list the host's ids; one of them is this process."""
        reader, gpu, _ = one
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            gone.wait()
        gpu.processes = [(gone.pid, 900)]
        assert reader.read_processes() == {"other_processes": None, "other_memory_mib": None}
        assert "container" in reader.reasons["other_processes"]
        assert reader.read_processes()["other_processes"] is None
        assert [one["code"] for one in reader.news()] == ["FOREIGN_PIDS"]
        gpu.processes.append((os.getpid(), 900))
        assert reader.read_processes()["other_processes"] == 1
        assert reader.reasons == {}

    def test_a_list_without_this_process_is_not_complete_where_it_uses_the_device(self, fake_nvml):
        scenario = one_4090()
        fake_nvml(scenario)
        used, unused = (replace(scenario.visible()[0], in_use=lambda answer=answer: answer) for answer in (True, False))
        for device, expected in ((used, None), (unused, 0)):
            (reader,) = open_devices([device]).readers
            assert reader.read_processes()["other_processes"] == expected

    def three(self, fake_nvml, lists, in_use=1):
        """Three cards with their lists of processes, of which this process uses one."""
        scenario = three_unlike()
        driver = fake_nvml(scenario)
        devices = scenario.visible(cuda_device_order="PCI_BUS_ID")
        for gpu, processes in zip(scenario.gpus, lists, strict=True):
            gpu.processes = processes
        devices = [replace(device, in_use=lambda k=k: k == in_use) for k, device in enumerate(devices)]
        return driver, scenario.gpus, open_devices(devices).readers

    def test_what_one_card_shows_of_the_ids_holds_for_all(self, fake_nvml):
        """In a container every list may be empty; only that of the card in use is known to be wrong."""
        _, _, readers = self.three(fake_nvml, [[], [], []])
        assert [reader.read_processes()["other_processes"] for reader in readers] == [None] * 3
        assert {reader.reasons["other_processes"][:31] for reader in readers} == {"the driver lists processes by i"}
        assert [[one["code"] for one in reader.news()] for reader in readers] == [["FOREIGN_PIDS"]] * 3

    def test_an_id_that_nobody_has_makes_the_empty_lists_of_other_cards_mean_nothing(self, fake_nvml):
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            gone.wait()
        _, _, readers = self.three(fake_nvml, [[(gone.pid, 1)], [], []], in_use=None)
        assert [reader.read_processes()["other_processes"] for reader in readers] == [None] * 3
        _, _, readers = self.three(fake_nvml, [[(gone.pid, 1)], [(os.getpid(), 1)], []], in_use=None)
        assert [reader.read_processes()["other_processes"] for reader in readers] == [None, 0, 0]  # it had ended

    def test_lists_that_name_this_process_are_of_its_own_table(self, fake_nvml):
        _, gpus, readers = self.three(fake_nvml, [[], [(os.getpid(), 900)], [(1, 7)]])
        assert [reader.read_processes()["other_processes"] for reader in readers] == [0, 0, 1]
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            gone.wait()
        gpus[2].processes = [(gone.pid, 1)]  # it has ended between the driver's answer and our look
        found = [reader.read_processes()["other_processes"] for _ in range(2) for reader in readers]
        assert found == [0, 0, None] * 2
        gpus[2].processes = []
        assert [reader.read_processes()["other_processes"] for reader in readers] == [0, 0, 0]

    def test_a_card_in_use_that_does_not_answer_shows_nothing_of_the_others(self, fake_nvml):
        driver, gpus, readers = self.three(fake_nvml, [[], [], []])
        gpus[1].errors["other_processes"] = pynvml.NVML_ERROR_NO_PERMISSION
        calls = []
        for _ in range(2):
            assert [reader.read_processes()["other_processes"] for reader in readers] == [0, None, 0]
            calls.append(sum(driver.calls[name, gpus[1].uuid] for name, of in METRIC_OF.items() if "other" in of))
        assert calls[0] == calls[1]  # what it will never say it is not asked for, for the others' sake neither

    def test_an_older_driver_is_asked_the_older_question(self, fake_nvml):
        scenario = one_4090()
        scenario.missing.add("nvmlDeviceGetComputeRunningProcesses_v3")
        scenario.gpus[0].processes = [(os.getpid(), 1), (1, 7)]
        fake_nvml(scenario)
        (reader,) = open_devices(scenario.visible()).readers
        assert reader.read_processes() == {"other_processes": 1, "other_memory_mib": 7.0}

    def test_a_mig_instance_is_asked_for_its_own(self, fake_nvml):
        scenario = fake.mig()
        scenario.gpus[0].processes = [(os.getpid(), 1), (1, 7)]
        scenario.gpus[0].mig[0].processes = [(os.getpid(), 1)]
        fake_nvml(scenario)
        (reader,) = open_devices(scenario.visible()).readers
        assert reader.read_processes() == {"other_processes": 0, "other_memory_mib": 0.0}
        scenario.gpus[0].mig[1].errors["other_processes"] = NOT_SUPPORTED
        (second,) = open_devices(scenario.visible("MIG-abcdef02")).readers
        assert second.read_processes()["other_processes"] is None  # never those of the card


def test_the_fake_leaves_pynvml_as_it_found_it():
    before = (pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache), pynvml._nvmlLib_refcount)
    with fake.installed(one_4090()) as driver:
        assert pynvml.nvmlLib is driver
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(FakeGpu().uuid)
        assert ctypes.c_void_p.from_buffer(handle).value
    assert (pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache), pynvml._nvmlLib_refcount) == before

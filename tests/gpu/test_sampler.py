"""SystemSampler over a fake driver: what it writes, what it survives, what it costs."""

import errno
import json
import logging
import os
import shutil
import threading
import time

import fake_nvml as fake
import pytest

from hf_monitor import RunWriter, load_run
from hf_monitor.gpu import sampler as sampler_module
from hf_monitor.gpu.sampler import SystemSampler
from hf_monitor.gpu.window import Window
from hf_monitor.run.ranks import RankSamples

TORCH = {
    "torch_allocated_mib": 1.0,
    "torch_reserved_mib": 2.0,
    "torch_allocated_peak_mib": 1.0,
    "torch_reserved_peak_mib": 2.0,
}


@pytest.fixture
def start(tmp_path):
    """Start samplers that sample when told to; stop them at the end."""
    started = []

    def make(devices=(), *, interval_s=1000.0, writer=None, wait=True, **more):
        writer = writer or RunWriter(tmp_path / "run")
        sampler = SystemSampler(
            writer,
            interval_s=interval_s,
            devices=devices,
            torch_memory=lambda index: tuple(make.torch.values()),
            **more,
        )
        started.append(sampler.start())
        if wait:
            until(lambda: sampler.samples)
        return sampler

    make.torch = TORCH  # what torch's allocator says
    yield make
    for sampler in started:
        sampler.stop()


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.002)


def warnings(caplog):
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_card_is_written_as_it_says(fake_nvml, start, tmp_path):
    scenario = fake.one_4090()
    fake_nvml(scenario)
    sampler = start(scenario.visible())
    sampler.step, sampler.phase = 7, "train"
    sampler.sample()
    sampler.stop()
    run = load_run(tmp_path / "run")
    row = next(row for row in run.system.of("gpu") if row["step"] == 7)
    expected = {
        "attempt": 1,
        "phase": "train",
        "gpu": 0,
        "memory_used_mib": 1000.0,
        "utilization_percent": 97,
        "power_w": 350.25,
        "temperature_c": 61,
        "sm_clock_mhz": 2520,
        "throttle": ["sw_power_cap"],
        **TORCH,
    }
    assert {name: row[name] for name in expected} == expected
    # A counter that costs more than all the rest: every ten seconds, and in the last sample.
    first, *between, last = [row["energy_j"] for row in run.system.of("gpu")]
    assert (first, last) == (pytest.approx(123456.789, abs=1),) * 2
    assert between == [None]
    begin = run.system.of("event")[0]
    assert begin["driver_version"] == "570.86.10"
    (card,) = begin["gpus"]
    assert (card["name"], card["matched_by"], card["memory_source"]) == ("NVIDIA GeForce RTX 4090", "uuid", "nvml_v2")
    assert (card["memory_total_mib"], card["tier"]) == (24564, "High-End")


def test_cards_in_another_order_than_torchs_are_not_mixed_up(fake_nvml, start, tmp_path):
    scenario = fake.three_unlike()
    fake_nvml(scenario)
    start(scenario.visible("2,0"), own=[1]).stop()
    rows = load_run(tmp_path / "run").system.of("gpu")
    by_gpu = {row["gpu"]: row for row in rows}
    # CUDA counts the fast ones first: its 2 is the 2070, its 0 the first 4090.
    assert {gpu: row["power_w"] for gpu, row in by_gpu.items()} == {0: 101.0, 1: 201.0}
    assert "torch_reserved_mib" not in by_gpu[0]  # another process's
    assert by_gpu[1]["torch_reserved_mib"] == 2.0


def test_what_the_hardware_does_not_say_is_none_with_its_reason_once(fake_nvml, start, tmp_path, caplog):
    scenario = fake.jetson()
    fake_nvml(scenario)
    sampler = start(scenario.visible())
    for _ in range(5):
        sampler.sample()
    sampler.stop()
    run = load_run(tmp_path / "run")
    assert {row["power_w"] for row in run.system.of("gpu")} == {None}
    assert {row["memory_used_mib"] for row in run.system.of("gpu")} == {7000.0}  # torch's
    news = [row for row in run.system.of("event") if row["event"] == "unavailable"]
    assert sorted(row["metric"] for row in news) == ["energy_j", "power_w", "throttle"]
    assert {row["code"] for row in news} == {"NVML_ERROR_NOT_SUPPORTED"}
    assert warnings(caplog) == []  # known hardware: nobody needs to be told


def test_a_lost_gpu_is_one_line_and_comes_back(fake_nvml, start, tmp_path, caplog):
    scenario = fake.one_4090()
    fake_nvml(scenario)
    sampler = start(scenario.visible())
    scenario.gpus[0].errors["device"] = fake.GPU_IS_LOST
    for _ in range(10):
        sampler.sample()
    scenario.gpus[0].errors.clear()
    for _ in range(70):
        sampler.sample()
    sampler.stop()
    (line,) = warnings(caplog)
    assert "GPU 0 (NVIDIA GeForce RTX 4090) gives no readings any more" in line
    powers = [row["power_w"] for row in load_run(tmp_path / "run").system.of("gpu")]
    assert powers[5] is None
    assert powers[-1] == 350.25


def test_without_nvml_torch_and_host_are_sampled(fake_nvml, start, tmp_path, caplog):
    scenario = fake.mismatch()
    fake_nvml(scenario)
    start(scenario.visible()).stop()
    run = load_run(tmp_path / "run")
    (line,) = warnings(caplog)
    assert "reboot" in line
    assert "reboot" in run.system.of("event")[0]["nvml_problem"]
    assert run.system.of("gpu")[0]["memory_used_mib"] == 900.0
    assert run.system.of("host")[0]["ram_used_mib"] > 0


def test_a_machine_without_gpu_has_its_host(start, tmp_path):
    start().stop()
    run = load_run(tmp_path / "run")
    assert run.system.of("gpu") == []
    assert len(run.system.of("host")) == 2  # the first, and the last
    assert run.broken_lines["system.jsonl"] == 0


def test_another_process_on_the_card_is_counted_now_and_then(fake_nvml, start, tmp_path):
    scenario = fake.one_4090()
    scenario.gpus[0].processes = [(1, 5000), (os.getpid(), 700)]
    fake_nvml(scenario)
    sampler = start(scenario.visible())
    for _ in range(5):
        sampler.sample()
    sampler.stop()
    rows = load_run(tmp_path / "run").system.of("gpu")
    assert [row.get("other_processes") for row in rows] == [1, *[None] * 6]  # once in 10 s, and there were 7 samples
    assert rows[0]["other_memory_mib"] == 5000.0


def test_it_ends_in_time_though_the_driver_hangs(fake_nvml, start, monkeypatch, caplog):
    scenario = fake.one_4090()
    hangs, released, true = threading.Event(), threading.Event(), fake.FakeDriver.FUNCTIONS["nvmlDeviceGetPowerUsage"]

    def hang(self, gpu, reference):
        if hangs.is_set():
            released.wait(60)
        return true(self, gpu, reference)

    monkeypatch.setitem(fake.FakeDriver.FUNCTIONS, "nvmlDeviceGetPowerUsage", hang)
    fake_nvml(scenario)
    sampler = start(scenario.visible(), interval_s=0.001)
    thread = sampler._thread
    hangs.set()
    time.sleep(0.05)
    began = time.monotonic()
    assert sampler.stop() is False
    assert time.monotonic() - began < 2.0  # the bound; a wait of ours, no speed of the machine
    assert len([line for line in warnings(caplog) if "hangs in the driver" in line]) == 1
    # The next training begins, and its sampler hangs, too.
    again = start(scenario.visible(), writer=sampler._sink, wait=False)
    released.set()
    thread.join(10)
    assert not thread.is_alive()
    assert again.stop()


def test_it_samples_less_often_where_it_costs_too_much(start, tmp_path, monkeypatch):
    monkeypatch.setattr(sampler_module, "MOST_OF_A_CORE", 1e-9)
    sampler = start(interval_s=0.001)
    until(lambda: sampler.interval_s > 1)
    sampler.stop()
    event = next(row for row in load_run(tmp_path / "run").system.of("event") if row["event"] == "sampler_interval")
    assert event["interval_s"] == sampler_module.LONGEST_INTERVAL_S
    assert event["cost_ms"] > 0


def test_what_opening_costs_is_no_reason_to_sample_less(fake_nvml, start, monkeypatch):
    scenario = fake.one_4090()
    fake_nvml(scenario)
    true = sampler_module.open_devices

    def costly(devices):
        began = time.thread_time()
        while time.thread_time() - began < 0.3:
            pass
        return true(devices)

    monkeypatch.setattr(sampler_module, "open_devices", costly)
    sampler = start(scenario.visible(), interval_s=1.0)
    assert sampler.interval_s == 1.0
    assert sampler._cost_s < 0.01


def test_the_interval_follows_the_cost_both_ways(start):
    sampler = start()
    sampler._base_s = sampler.interval_s = 1.0
    sampler._cost_s = 0.0
    for _ in range(30):
        sampler._pay(0.05)
    assert sampler.interval_s == pytest.approx(10.0, rel=0.25)
    for _ in range(80):
        sampler._pay(0.0001)
    assert sampler.interval_s == 1.0


def test_a_training_that_is_silent_for_long_is_looked_at_once_a_minute(start, tmp_path, monkeypatch):
    monkeypatch.setattr(sampler_module, "QUIET_S", -1.0)
    start(interval_s=0.001)
    time.sleep(0.1)
    assert len(load_run(tmp_path / "run").system.of("host")) == 1


def test_an_error_of_ours_is_said_once_and_sampling_goes_on(fake_nvml, start, tmp_path, monkeypatch, caplog):
    sampler = start(interval_s=0.001)
    monkeypatch.setattr(sampler._host, "read", lambda: 1 / 0)
    until(lambda: warnings(caplog))
    monkeypatch.undo()
    before = len(load_run(tmp_path / "run").system)
    until(lambda: len(load_run(tmp_path / "run").system) > before)
    sampler.stop()
    assert len(warnings(caplog)) == 1


def test_a_folder_that_is_deleted_is_one_warning_and_made_again(start, tmp_path, caplog):
    writer = RunWriter(tmp_path / "run")
    sampler = start(interval_s=0.005, writer=writer)
    shutil.rmtree(tmp_path / "run")
    until(lambda: writer.row("train", 1, {"loss": 1.0}) or (tmp_path / "run/system.jsonl").is_file())
    sampler.stop()
    assert len(warnings(caplog)) == 1
    assert load_run(tmp_path / "run").system.of("host")


def test_every_line_is_strict_json(fake_nvml, start, tmp_path):
    scenario = fake.mig()
    fake_nvml(scenario)
    start(scenario.visible()).stop()

    def refuse(name):
        raise AssertionError(name)

    for line in (tmp_path / "run/system.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_what_a_window_saw_is_drained(fake_nvml, start):
    scenario = fake.one_4090()
    fake_nvml(scenario)
    sampler = start(scenario.visible())
    sampler.drain()
    gpu = scenario.gpus[0]
    for gpu.utilization, gpu.used_mib, sampler.phase in (
        (50, 3000, "train"),
        (100, 2000, "data"),
        (5, 20000, "evaluate"),  # not a part of the training's time, which the window is about
        (5, 20000, "other"),
    ):
        sampler.sample()
    assert sampler.drain() == {
        "gpu_samples": 2,
        "gpu_utilization_percent": 75.0,
        "gpu_sm_clock_mhz": float(gpu.sm_clock),
        "gpu_memory_used_mib": 3000.0,
        "gpu_memory_total_mib": gpu.total_mib,
        "gpu_memory_beside_mib": max(0.0, 2000.0 - TORCH["torch_reserved_mib"]),
        "torch_allocated_peak_mib": TORCH["torch_allocated_peak_mib"],
        "torch_reserved_peak_mib": TORCH["torch_reserved_peak_mib"],
    }
    assert sampler.drain() == {}


def test_a_window_is_of_the_cards_in_use_and_of_memory_tells_the_fullest():
    window = Window()
    window.add({"utilization_percent": 90, "memory_used_mib": 7000.0, "torch_reserved_peak_mib": 6500.0}, 8000.0)
    window.add({"utilization_percent": None, "memory_used_mib": 9000.0, "torch_reserved_peak_mib": 8000.0}, 24000.0)
    assert window.values() == {
        "gpu_samples": 2,
        "gpu_utilization_percent": 90.0,
        "gpu_memory_used_mib": 7000.0,
        "gpu_memory_total_mib": 8000.0,
        "torch_reserved_peak_mib": 6500.0,
    }


@pytest.mark.parametrize(("used", "holds_mib", "expected"), [([0], 0.0, 1), ([0], 5.0, 3), (None, 0.0, 3)])
def test_cards_that_the_training_leaves_alone_are_not_in_its_windows(fake_nvml, tmp_path, used, holds_mib, expected):
    scenario = fake.three_unlike()
    fake_nvml(scenario)
    torch = (holds_mib, 10.0, holds_mib, 10.0)
    sampler = SystemSampler(
        RunWriter(tmp_path / "run"), interval_s=1000.0, devices=scenario.visible(), torch_memory=lambda index: torch
    )
    sampler.start(used_gpus=used)
    try:
        until(lambda: sampler.samples)
        sampler.drain()
        sampler.phase = "train"
        sampler.sample()
        assert sampler.drain()["gpu_samples"] == expected
    finally:
        sampler.stop()


def test_peaks_of_an_earlier_training_are_not_this_ones(fake_nvml, start, tmp_path):
    scenario = fake.one_4090()
    fake_nvml(scenario)
    earlier = TORCH | {"torch_allocated_peak_mib": 900.0, "torch_reserved_peak_mib": 1000.0}
    start.torch = earlier
    sampler = start(scenario.visible())
    start.torch = earlier | {"torch_reserved_mib": 50.0}
    sampler.sample()
    start.torch = earlier
    sampler.sample()
    start.torch = earlier | {"torch_reserved_peak_mib": 1100.0}
    sampler.sample()
    rows = load_run(tmp_path / "run").system.of("gpu")
    assert [row["torch_reserved_peak_mib"] for row in rows] == [2.0, 50.0, 50.0, 1100.0]
    assert {row["torch_allocated_peak_mib"] for row in rows} == {1.0}


def test_by_default_the_cards_that_hold_something_of_this_process_are_its_own(fake_nvml, start, tmp_path):
    scenario = fake.three_unlike()
    fake_nvml(scenario)
    held = {0: TORCH, 1: dict.fromkeys(TORCH, 0.0), 2: TORCH}
    sampler = SystemSampler(
        RunWriter(tmp_path / "run"),
        interval_s=1e4,
        devices=scenario.visible(),
        torch_memory=lambda index: tuple(held[index].values()),
    ).start()
    assert sampler.stop()
    rows = load_run(tmp_path / "run").system.of("gpu")
    assert {row["gpu"] for row in rows if "torch_reserved_mib" in row} == {0, 2}


def test_a_training_that_is_not_heard_any_more_is_not_said_to_train(start, tmp_path, monkeypatch):
    monkeypatch.setattr(sampler_module, "SILENT_S", 0.05)
    monkeypatch.setattr(sampler_module, "SILENT_TIMES", 0.0)
    sampler = start()
    sampler.turn("train")
    sampler.turn("data")
    time.sleep(0.1)
    sampler.sample()
    sampler.turn("train")
    sampler.sample()
    sampler.turn("evaluate")  # an evaluation may take as long as it likes
    time.sleep(0.1)
    sampler.sample()
    phases = [row["phase"] for row in load_run(tmp_path / "run").system.of("host")]
    assert phases[1:] == ["silent", "train", "evaluate"]


def test_a_step_that_always_takes_long_is_not_silence(start, tmp_path, monkeypatch):
    monkeypatch.setattr(sampler_module, "SILENT_S", 0.01)
    sampler = start()
    sampler.turn("train")
    time.sleep(0.05)
    sampler.turn("train")
    time.sleep(0.05)
    sampler.sample()
    assert load_run(tmp_path / "run").system.of("host")[-1]["phase"] == "train"


def test_a_loop_of_ones_own_is_heard_by_its_steps(start, monkeypatch):
    monkeypatch.setattr(sampler_module, "QUIET_S", 0.5)
    sampler = start(interval_s=0.005)
    for sampler.step in range(1, 120):
        time.sleep(0.01)
    before = sampler.samples
    until(lambda: sampler.samples > before, seconds=5)  # not once a minute


def test_the_next_sampler_of_a_folder_takes_the_place_of_one_that_was_left_running(start, tmp_path):
    writer = RunWriter(tmp_path / "run")
    first = start(writer=writer)
    second = start(writer=writer)
    assert not first._thread
    assert second._thread.is_alive()
    assert second.stop()


def test_what_a_full_disk_kept_back_is_written_when_there_is_space(tmp_path, monkeypatch, caplog):
    sink = RankSamples(tmp_path / "run", 1)
    sampler = SystemSampler(sink, interval_s=0.005, devices=(), host=False).start()
    until(lambda: sampler.samples)
    write, full = os.write, True

    def refuse(fd, data):
        if full and b"process_rss_mib" in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(os, "write", refuse)
    until(lambda: warnings(caplog))
    full = False
    before = sampler.samples
    until(lambda: sampler.samples > before + 3)
    assert sampler.stop()
    lines = (tmp_path / "run/system.rank1.jsonl").read_bytes().splitlines()
    assert len(lines) >= 1 + sampler.samples  # those that failed are there, too
    assert len(warnings(caplog)) == 1


def test_an_event_that_cannot_be_written_does_not_end_the_thread(tmp_path, monkeypatch, caplog):
    sink = RankSamples(tmp_path / "run", 1)
    monkeypatch.setattr(sampler_module, "MOST_OF_A_CORE", 1e-9)
    monkeypatch.setattr(sampler_module, "LONGEST_INTERVAL_S", 0.01)

    def refuse(name, rows):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    sampler = SystemSampler(sink, interval_s=0.001, devices=(), host=False)
    true = sink.rows
    sampler.start()
    until(lambda: sampler.samples)
    monkeypatch.setattr(sink, "rows", refuse)
    sampler._cost_s, sampler.interval_s = 0.0, 0.001
    until(lambda: warnings(caplog))
    monkeypatch.setattr(sink, "rows", true)
    before = sampler.samples
    until(lambda: sampler.samples > before)
    assert sampler.stop()


def test_the_last_reference_may_go_away_in_the_samplers_own_thread(start):
    sampler = start(interval_s=0.001)
    done = []

    def stop_here():
        if not done:
            done.append(sampler.stop())
        return {}

    sampler._host.read_process = stop_here
    until(lambda: done)
    assert done == [True]


def test_other_ranks_sample_themselves_and_are_read_with_the_attempt(fake_nvml, start, tmp_path):
    scenario = fake.three_unlike()
    fake_nvml(scenario)
    writer = RunWriter(tmp_path / "run")
    writer.event("train_begin", 0)
    start(scenario.visible(), writer=writer, own=[0])
    rank = start(scenario.visible(), writer=RankSamples(tmp_path / "run", 1), own=[1], host=False)
    rank.step = 3
    rank.stop()
    run = load_run(tmp_path / "run")
    rows = run.system.of("process")
    assert {(row["rank"], row["gpu"], row["attempt"]) for row in rows} == {(1, 1, 1)}
    assert rows[-1]["step"] == 3
    assert rows[-1]["torch_reserved_peak_mib"] == 2.0
    assert rows[-1]["process_rss_mib"] > 0
    assert {row["gpu"] for row in run.system.of("gpu")} == {0, 1, 2}
    assert not (tmp_path / "run/rank1.jsonl").exists()


def test_it_works_in_a_loop_without_a_trainer(tmp_path):
    with SystemSampler(RunWriter(tmp_path / "run"), interval_s=0.001) as sampler:
        for sampler.step in range(3):
            taken = sampler.samples
            until(lambda taken=taken: sampler.samples > taken + 1)
    rows = load_run(tmp_path / "run").system.of("host")
    assert {row["step"] for row in rows} == {0, 1, 2}

"""The benchmark's own parts: its device, its truth, its judge, its counting. How we do in it is not tested here."""

import contextlib
import importlib.util
import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_batch_finders.py"
MIB = 2**20


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_batch_finders", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_batch_finders"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["bench_batch_finders"]
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def case(bench):
    return bench.Case("tiny", "t5", 200, 16, 1, 8, 4, "sgd", False, 2, 1.0)


def test_the_device_counts_what_is_alive(bench):
    weight = torch.zeros(MIB, dtype=torch.uint8)
    with bench.Device() as device:
        device.hold([weight])
        more = torch.zeros(2 * MIB, dtype=torch.uint8)
        more.add_(1)
        view = more[:5]
        assert device.used_bytes() == 3 * MIB
        del more
        assert device.used_bytes() == 3 * MIB  # the view holds it
        del view
        assert device.used_bytes() == MIB


def test_what_does_not_fit_was_never_there(bench):
    with bench.Device(3 * MIB) as device:
        first = torch.zeros(2 * MIB, dtype=torch.uint8)
        with pytest.raises(torch.OutOfMemoryError) as caught:
            first + 1
        assert device.used_bytes() == 2 * MIB  # though the traceback is still held
        assert len(torch.zeros(MIB, dtype=torch.uint8)) == MIB
    assert caught.value.args[0]
    assert device.ooms == 1


def test_accelerate_takes_the_devices_error_for_what_it_is(bench):
    from accelerate.utils.memory import should_reduce_batch_size

    with bench.Device(10), pytest.raises(torch.OutOfMemoryError) as caught:
        torch.zeros(100)
    assert should_reduce_batch_size(caught.value)
    assert "CUDA" in str(caught.value)  # Lightning's is_cuda_out_of_memory asks for it


def test_copies_to_the_host_and_fake_tensors_take_nothing(bench):
    from torch._subclasses.fake_tensor import FakeTensorMode

    there = torch.zeros(1000)
    with bench.Device(4000) as device:
        device.hold([there])
        kept = there.to("cpu", copy=True)
        with FakeTensorMode():
            fake = torch.zeros(MIB) + 1
        assert device.used_bytes() == 4000
        with pytest.raises(torch.OutOfMemoryError):
            there.double()  # a copy, too, but one of the device's
    assert kept.shape == there.shape
    assert fake.shape == (MIB,)


@pytest.mark.no_cover
@pytest.mark.parametrize("settings", [("t5", "adamw_torch", False, 2), ("bart", "adafactor", True, 1)])
def test_truth_and_judge_agree_though_they_share_no_meter(bench, case, settings):
    """The device's steps fit just where the profiler, over two whole updates, says that they should."""
    family, optimizer, checkpointing, accumulate = settings
    case = replace(case, family=family, optimizer=optimizer, checkpointing=checkpointing, accumulate=accumulate)
    peak = bench.profiled_peak(case, 9)
    assert bench.fits(case, 9, 1.01 * peak)
    assert not bench.fits(case, 9, 0.98 * peak)


@pytest.mark.no_cover
def test_gradients_that_accumulate_are_seen(bench, case):
    case = replace(case, vocabulary=5000, target=64, optimizer="sgd", accumulate=1)
    weights = sum(parameter.numel() * 4 for parameter in bench.make_model(case).parameters())
    one, two = (bench.profiled_peak(replace(case, accumulate=number), 8) for number in (1, 2))
    assert one > 10 * weights  # the peak is where activations are, not in the optimizer
    assert two - one == pytest.approx(weights, rel=0.1)


@pytest.mark.parametrize("truth", [0, 1, 2, 7, 50, 51, 333])
def test_bisection_finds_the_largest(bench, truth):
    asked = []

    def fit(size):
        asked.append(size)
        return size <= truth

    assert bench.largest(fit) == truth
    assert bench.largest(fit, 0, truth + 1) == truth
    assert bench.largest(fit, truth // 2, 400) == truth
    assert min(asked) > 0


@pytest.mark.no_cover
def test_accelerate_is_counted_by_a_hook(bench, case):
    case = replace(case, cap_mib=7)
    found = bench.find(case, bench.accelerate)
    assert found.answer < 256
    expected, size = [], 256
    while size > found.answer:
        expected.append(size)
        size = int(0.9 * size)
    assert size == found.answer
    assert found.sizes[-4:] == [size] * 4  # two updates of two batches: the second has the optimizer's state beside it
    tried = [one for number, one in enumerate(found.sizes) if not number or one != found.sizes[number - 1]]
    assert tried == [*expected, size]
    assert found.ooms == len(expected)
    assert bench.fits(case, found.answer, case.cap)


def test_lightnings_own_finder_runs_on_the_device(bench, case):
    pytest.importorskip("lightning", reason="lightning is not installed: pip install 'hf-monitor[bench]'")
    case = replace(case, cap_mib=1)
    most = bench.largest(lambda size: bench.fits(case, size, case.cap))
    power, binary = (bench.find(case, bench.FINDERS[f"Lightning {mode}"][1]) for mode in ("power", "binsearch"))
    assert (power.failure, binary.failure) == ("", "")
    assert most / 2 < power.answer <= most
    assert power.answer & (power.answer - 1) == 0
    assert power.answer <= binary.answer
    assert power.ooms == 1
    assert sum(power.sizes) > 3 * 2 * power.answer  # three updates of two batches


def test_fake_batches_are_no_work(bench, case):
    from torch._subclasses.fake_tensor import FakeTensorMode

    training = bench.Training(case)
    with bench.sizes_seen(training.model) as seen:
        training.batch(3)
        with FakeTensorMode() as mode, contextlib.suppress(Exception):
            training.model(input_ids=mode.from_tensor(torch.ones(5, 4, dtype=torch.long)))
    training.batch(4)
    assert seen == [3]


def test_a_finder_that_fails_is_a_result(bench, case):
    def broken(case, training):
        training.batch(1)
        raise RuntimeError("no way\nat all")

    found = bench.find(replace(case, cap_mib=100), broken)
    assert (found.answer, found.failure, found.sizes) == (0, "RuntimeError: no way", [1])


def verdict(bench, case, *, truth=40, answer=None, sizes=None, ooms=0, peaks=None, estimate=1000, fits=True):
    answer = truth if answer is None else answer
    trial = SimpleNamespace(batch_size=answer, fits=fits, peak_bytes=1000)
    details = SimpleNamespace(trials=(trial,), out_of_memory_errors=ooms)
    found = bench.Found(answer, [answer] if sizes is None else sizes, 0, 1.0, details)
    case = replace(case, cap_mib=1000 / 0.95 / MIB + 1e-6)
    return bench.Verdict(case, truth + 3, truth, {"ours": found}, peaks or (1000, 1010), estimate)


GOALS = ["exact", "profiler", "samples", "no OOM", "never more", "confirmed", "fake"]


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"truth": 50, "answer": 49}, ["exact"]),
        ({"truth": 100, "answer": 98}, []),
        ({"truth": 100, "answer": 97}, ["exact"]),
        ({"truth": 100, "answer": 103}, ["exact"]),
        ({"peaks": (1001, 1010)}, ["profiler"]),
        ({"peaks": (980, 990), "estimate": 980}, ["profiler"]),
        ({"truth": 100, "peaks": (980, 990), "estimate": 980}, []),
        ({"sizes": [40, 40, 41]}, ["samples"]),
        ({"sizes": [41]}, ["confirmed"]),
        ({"fits": False}, ["confirmed"]),
        ({"ooms": 1}, ["no OOM"]),
        ({"ooms": 2}, ["no OOM", "never more"]),
        ({"estimate": 1031}, ["fake"]),
        ({"estimate": 969}, ["fake"]),
    ],
)
def test_each_goal_is_missed_by_its_fault_alone(bench, case, changes, missed):
    found = bench.goals([verdict(bench, case, **changes)])
    assert len(found) == len(GOALS)
    assert [goal for goal in GOALS for name, cases in found.items() if name.startswith(goal) and cases] == missed


def test_one_oom_in_ten_cases_is_allowed(bench, case):
    good, bad = verdict(bench, case), verdict(bench, case, ooms=1)
    assert not any(bench.goals([good] * 9 + [bad]).values())
    assert any(bench.goals([good] * 8 + [bad]).values())


def test_the_tables_and_the_exit_code(bench, case, monkeypatch, capsys):
    failed = bench.Found(0, [2], 1, 0.5, None, "RuntimeError: no way")
    good = verdict(bench, case)
    good.found["accelerate from 256"] = failed
    monkeypatch.setattr(bench, "examine", lambda case, finders: good)
    assert bench.main(["--only", "t5-54", "--finders", "ours,accelerate from 256"]) == 0
    printed = capsys.readouterr().out
    assert "torch " + torch.__version__ in printed
    assert "failed: RuntimeError: no way | 0.00 | 2 | - | 1 | 0.5 (0.5) |" in printed
    assert printed.count("reached in 1 cases") == len(GOALS)
    good.found["ours"] = failed
    good.peaks = None
    assert bench.main(["--only", "t5-54", "--finders", "ours"]) == 1
    assert "NOT reached" in capsys.readouterr().out


def test_ctrl_c_shows_what_was_measured_until_then(bench, case, monkeypatch, capsys):
    results = iter([verdict(bench, case)])

    def examine(case, finders):
        if (found := next(results, None)) is None:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(bench, "examine", examine)
    assert bench.main(["--quick", "--finders", "ours"]) == 1
    printed = capsys.readouterr().out
    assert "2 cases are left out" in printed
    assert printed.count("reached in 1 cases") == len(GOALS)


def test_every_case_that_the_issue_asks_for_is_there(bench):
    cases = bench.CASES
    assert len(cases) >= 14
    assert len({case.name for case in cases}) == len(cases)
    assert {case.family for case in cases} == {"t5", "bart", "mbart"}
    assert {"sgd", "adafactor"} < {case.optimizer for case in cases}
    assert {case.checkpointing for case in cases} == {True, False}
    assert min(case.source for case in cases) == 32
    assert max(case.source for case in cases) == 512
    assert sum(case.cap >= 2**30 for case in cases) >= 3
    assert set(bench.QUICK) <= {case.name for case in cases}


@pytest.mark.parametrize("option", ["--only", "--finders"])
def test_an_unknown_name_is_refused(bench, option, capsys):
    with pytest.raises(SystemExit) as exit_:
        bench.main([option, "nosuch"])
    assert exit_.value.code == 2
    assert "unknown nosuch" in capsys.readouterr().err

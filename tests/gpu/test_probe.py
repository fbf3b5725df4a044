"""The process in which the libraries are asked: it ends in time, says what it knows, and disturbs nobody."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from fake_machine import FAKES, Machine

from hf_monitor.gpu import run_probe as running
from hf_monitor.gpu.run_probe import run_probe


@pytest.fixture
def machine(tmp_path, monkeypatch, tmp_path_factory):
    return Machine(tmp_path, monkeypatch, tmp_path_factory)


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # its new parent has not collected it yet
    except psutil.NoSuchProcess:
        return True


def test_every_stage_answers_on_a_machine_in_order(machine):
    machine.prepare()
    answer = run_probe(30.0)
    assert (answer.ended, answer.stage, answer.reason) == ("ok", None, "")
    assert list(answer.stages) == ["nvml", "torch", "libcuda", "cuda", "device:0", "kernel:0"]
    assert answer.stages["kernel:0"]["right"] is True
    assert answer.stages["nvml"]["devices"][0]["pci"] == "00000000:01:00.0"
    assert answer.stages["libcuda"]["library"].endswith("libraries/lib/libcuda.so.575.57.08")


def test_what_libraries_print_reaches_neither_the_answer_nor_our_own_output(machine, capfd):
    machine.prepare()
    answer = run_probe(30.0)
    assert "a package that prints while it is imported" in answer.output
    assert "a library that prints" in answer.output
    assert capfd.readouterr() == ("", "")


def test_a_hang_is_ended_in_time_with_its_children_and_what_was_known_stays_known(machine):
    told = machine.folder / "child"
    machine.prepare(torch={"import": "hang", "tell": str(told)})
    answer = run_probe(2.0)
    assert (answer.ended, answer.stage) == ("timeout", "torch")
    assert answer.reason == "no answer within 2 s"
    assert answer.stages["nvml"]["driver"] == "570.86.10"
    child = int(told.read_text())
    until = time.monotonic() + 5
    while not is_gone(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert is_gone(child)


def test_a_process_that_cannot_be_killed_is_left_alone(machine, monkeypatch):
    machine.prepare(torch={"devices": [{"kernel": "hang"}]})
    spared, kill = [], os.killpg

    def spare(group, number):
        spared.append((group, number))
        monkeypatch.setattr(running, "_PATIENCE_S", 0.1)  # not before: it would end by itself while it is looked at

    monkeypatch.setattr(os, "killpg", spare)
    answer = run_probe(1.5)
    assert (answer.ended, answer.stage) == ("timeout", "kernel:0")
    assert "cannot be killed" in answer.reason
    (reaper,) = (one for one in threading.enumerate() if one.name == "hf_monitor-probe-reaper")
    kill(*spared[0])
    reaper.join(10)
    assert not reaper.is_alive()


def test_an_interrupt_leaves_no_process_behind(machine, monkeypatch):
    machine.prepare(torch={"devices": [{"kernel": "hang"}]})
    started, wait = [], subprocess.Popen.wait

    def interrupted(process, timeout=None):
        if not started:
            started.append(process)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_probe(30.0)
    assert started[0].returncode == -9


def test_a_working_folder_that_is_gone_is_no_obstacle(machine, monkeypatch):
    gone = machine.folder / "gone"
    gone.mkdir()
    machine.prepare()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run_probe(30.0).ended == "ok"  # nothing on the path is relative to it
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert run_probe(30.0).ended == "ok"  # as in a notebook; there is nothing in it that could be found


def test_no_room_on_any_disk_is_needed(machine, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full")
    machine.prepare()
    assert run_probe(30.0).stages["kernel:0"]["right"] is True


def test_what_a_noisy_library_prints_is_not_kept(machine):
    machine.prepare(torch={"say": "x" * 100_000, "times": 200})
    answer = run_probe(30.0)
    assert answer.ended == "ok"
    assert "x" * 100 in answer.output
    assert len(answer.output) <= 2 * 4000


def test_a_variable_that_no_process_can_be_started_with_is_left_out(machine, monkeypatch):
    machine.prepare()
    monkeypatch.setenv("HUGE", "x" * 200_000)
    assert run_probe(30.0).stages["kernel:0"]["right"] is True


@pytest.mark.parametrize("ill", ["FAKE_CRASH", "FAKE_HANG"])
def test_nvml_that_crashes_or_hangs_keeps_nothing_else_from_being_asked(machine, monkeypatch, ill):
    machine.prepare()
    monkeypatch.setenv(ill, "nvmlInit")
    monkeypatch.setattr(running, "_HEAD_START_S", 0.5)
    answer = run_probe(600.0)  # and does not take all of it
    assert (answer.ended, answer.stages["kernel:0"]["right"]) == ("ok", True)
    nvml = answer.stages["nvml"]
    if ill == "FAKE_CRASH":
        assert nvml == {"ended": "crashed", "reason": "ended by SIGSEGV"}
    else:
        assert (nvml["ended"], nvml["reason"].startswith("no answer within ")) == ("timeout", True)


def test_a_card_is_done_before_the_next_one_is_touched(machine):
    machine.prepare(torch={"devices": [{}, {"memory": "hang"}, {}]})
    answer = run_probe(2.5)
    assert (answer.ended, answer.stage) == ("timeout", "device:1")
    assert answer.stages["kernel:0"]["right"] is True
    assert answer.stages["device:1"] == {"ended": "timeout", "reason": "no answer within 2.5 s"}
    assert "device:2" not in answer.stages


def test_after_a_crash_on_one_card_the_others_are_still_tried(machine):
    machine.prepare(torch={"devices": [{"kernel": "crash"}, {}, {"memory": "crash"}, {}]})
    answer = run_probe(60.0)
    assert (answer.ended, answer.stage) == ("crashed", "kernel:0")
    crashed = {"ended": "crashed", "reason": "ended by SIGSEGV"}
    assert (answer.stages["kernel:0"], answer.stages["device:2"]) == (crashed, crashed)
    assert [answer.stages[f"kernel:{index}"]["right"] for index in (1, 3)] == [True, True]


CHECK = "import sys; from hf_monitor.gpu.run_probe import run_probe; run_probe(float(sys.argv[1]))"


def started(machine, monkeypatch, code, *arguments):
    """Start a check whose torch hangs; give its process and the id of the probe."""
    told = machine.folder / "probe"
    machine.prepare(torch={"devices": [{"kernel": "hang"}], "probe": str(told)})
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(one for one in sys.path if one))
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    until = time.monotonic() + 30
    while not (told.exists() and told.read_text().endswith("\n")) and time.monotonic() < until:
        time.sleep(0.02)
    return process, int(told.read_text())


def ends(pid, seconds):
    until = time.monotonic() + seconds
    while not is_gone(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return is_gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux'")
def test_a_check_that_is_killed_takes_its_probe_with_it(machine, monkeypatch):
    process, probe = started(machine, monkeypatch, CHECK, "60")
    process.terminate()
    process.wait()
    assert ends(probe, 5)


def test_a_probe_that_nobody_ends_ends_itself_even_where_c_code_keeps_the_gil(machine, monkeypatch):
    """As on a system without PR_SET_PDEATHSIG."""
    code = "import sys; from hf_monitor.gpu import probe; probe._PR_SET_PDEATHSIG = 0; probe.main('torch', '2')"
    monkeypatch.setenv("FAKE_HANG_IN_C", "1")
    process, probe = started(machine, monkeypatch, code)
    assert process.pid == probe
    assert process.wait(20) == 1


def test_it_works_from_threads_at_once(machine):
    machine.prepare()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(run_probe, [30.0, 30.0]))
    assert [answer.ended for answer in answers] == ["ok", "ok"]
    assert all(answer.stages["kernel:0"]["right"] for answer in answers)


def test_it_gets_the_environment_as_it_is_now(machine, monkeypatch):
    machine.prepare(torch={"available": False, "warning": "x"})
    os.environ["FAKE_CARDS"] = "3"
    try:
        assert run_probe(30.0).stages["libcuda"]["count"] == 3
    finally:
        del os.environ["FAKE_CARDS"]


def test_the_users_folder_hides_no_module_of_the_probe(machine, monkeypatch):
    folder = machine.folder / "project"
    folder.mkdir()
    for name in ("ctypes", "traceback", "warnings", "json", "contextlib", "site", "encodings"):
        (folder / f"{name}.py").write_text("raise RuntimeError('the wrong module')")
    machine.prepare()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as in a notebook
    assert run_probe(30.0).stages["kernel:0"]["right"] is True


def test_a_relative_entry_of_the_path_is_found_as_this_process_finds_it(machine, monkeypatch):
    machine.prepare()
    monkeypatch.chdir(FAKES.parent)
    monkeypatch.setattr(sys, "path", ["fakes", *(one for one in sys.path if one != str(FAKES))])
    assert run_probe(30.0).stages["torch"]["file"] == str(FAKES / "torch" / "__init__.py")


def test_warnings_that_the_user_makes_errors_are_still_only_collected(machine, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    machine.prepare(torch={"available": False, "warning": "CUDA unknown error - this may be due to"})
    answer = run_probe(30.0)
    assert answer.stages["cuda"]["warnings"][0].startswith("CUDA initialization: CUDA unknown error")
    assert answer.stages["cuda"]["error"]["type"] == "RuntimeError"


def test_a_weaker_check_that_the_environment_asks_for_is_not_taken(machine, monkeypatch):
    """PYTORCH_NVML_BASED_CUDA_CHECK makes is_available() true where cuInit fails."""
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    package = machine.folder / "told" / "torch"
    package.mkdir(parents=True)
    text = (FAKES / "torch" / "__init__.py").read_text()
    asked = 'if os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK"): return True\n        if "warning" in SAYS:'
    (package / "__init__.py").write_text(text.replace('if "warning" in SAYS:', asked, 1))
    machine.prepare(torch={"available": False, "warning": "x"})
    monkeypatch.setattr(sys, "path", [str(package.parent), *sys.path])
    answer = run_probe(30.0)
    assert Path(answer.stages["torch"]["file"]).parent == package
    assert answer.stages["cuda"]["available"] is False


def test_a_folder_that_only_is_called_torch_is_named(machine, monkeypatch):
    (machine.folder / "project" / "torch").mkdir(parents=True)
    machine.prepare(torch="missing")
    monkeypatch.setattr(sys, "path", [str(machine.folder / "project"), *sys.path])
    answer = run_probe(30.0)
    assert answer.stages["torch"]["hidden_by"] == str(machine.folder / "project" / "torch")


def test_this_process_loads_neither_torch_nor_nvml(machine):
    machine.prepare()
    code = (
        "import sys; from hf_monitor import gpu; report = gpu.check_gpu_compatibility(); "
        "print('torch' in sys.modules, 'pynvml' in sys.modules, [one.name for one in report.checks][0])"
    )
    path = os.pathsep.join(one for one in sys.path if one)
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "FAKE_TORCH": '{"available": false}'},
    )
    assert run.stdout == "False False probe\n", run.stderr

"""hf-monitor: exit codes, JSON, help, and what happens when the user or the reader goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import hf_monitor.gpu
from hf_monitor import RunWriter, __version__, diagnose
from hf_monitor.cli import main
from hf_monitor.errors import InputError
from hf_monitor.gpu.report import Check, GpuDevice, GpuReport, Problem
from hf_monitor.gpu.tiers import tier_of

NAME = "NVIDIA GeForce RTX 4090"
USABLE = GpuReport(
    True,
    (
        GpuDevice(
            0, NAME, "GPU-0", None, 24564.0, 23000.0, (8, 9), True, True, True, "bf16", None, tier_of(NAME, 24564.0)
        ),
    ),
)
UNUSABLE = GpuReport(
    False,
    problems=(Problem("torch_cpu_only", "This torch has no CUDA.", "pip install torch"),),
    checks=(Check("torch", "failed", "2.13.0+cpu"),),
)


@pytest.fixture
def check(monkeypatch):
    """Put a report, or a function, in the place of the check; give the list of its calls."""

    def put(answer):
        calls = []

        def check_gpu_compatibility(**arguments):
            calls.append(arguments)
            return answer() if callable(answer) else answer

        monkeypatch.setitem(vars(hf_monitor.gpu), "check_gpu_compatibility", check_gpu_compatibility)
        return calls

    return put


def run(code, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize(("report", "code"), [(USABLE, 0), (UNUSABLE, 1)])
def test_the_exit_code_says_whether_the_gpu_is_usable(report, code, check, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    check(report)
    assert main(["gpu"]) == code
    output = capsys.readouterr()
    assert output.out == f"{report}\n"
    assert output.err == ""


@pytest.mark.parametrize(("report", "code"), [(USABLE, 0), (UNUSABLE, 1)])
def test_json_is_all_that_is_printed(report, code, check, capsys):
    def noisy():
        print("torch says hello")
        return report

    check(noisy)
    assert main(["gpu", "--json"]) == code
    output = capsys.readouterr()
    assert json.loads(output.out) == report.to_dict()
    assert output.err == "torch says hello\n"


def test_the_time_limit_is_handed_on(check):
    calls = check(USABLE)
    main(["gpu"])
    main(["gpu", "--timeout", "2.5"])
    assert calls == [{"timeout_s": 60.0}, {"timeout_s": 2.5}]


@pytest.mark.parametrize(
    "arguments",
    [["gpu", "--timeout", text] for text in ("0", "-1", "nan", "inf", "1e300", "soon")]
    + [["gpu", "--yaml"], ["gpu", "now"], ["gpus"], ["--timeout", "3"]],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_says_what_is_wrong(arguments, check, capsys):
    calls = check(USABLE)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert "error: " in output.err
    assert arguments[-1] in output.err
    assert output.out == ""
    assert calls == []


def test_an_error_of_ours_is_a_line_and_no_traceback(check, capsys):
    def fail():
        raise InputError("no such thing")

    check(fail)
    assert main(["gpu"]) == 2
    assert capsys.readouterr() == ("", "hf-monitor: error: no such thing\n")


def test_alone_it_shows_its_help(capsys):
    assert main([]) == 0
    output = capsys.readouterr().out
    assert output.startswith("usage: hf-monitor ")
    assert "is the GPU usable and why not" in output


def test_the_help_of_gpu_names_its_options_and_exit_codes(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["gpu", "--help"])
    assert caught.value.code == 0
    output = " ".join(capsys.readouterr().out.split())
    for words in ("--json", "--timeout SECONDS", "(default: 60)", "0 usable, 1 not usable, 2 wrong usage", "NO_COLOR"):
        assert words in output


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []], ids=["help", "version", "alone"])
def test_help_and_version_import_nothing_heavy(arguments):
    code = (
        "import sys\nfrom hf_monitor.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'rich', 'pynvml') if name in sys.modules])"
    )
    done = run(code)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_python_dash_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "hf_monitor", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"hf-monitor {__version__}\n"


def test_ctrl_c_is_130_and_no_traceback(check, capsys):
    def interrupted():
        raise KeyboardInterrupt

    check(interrupted)
    assert main(["gpu"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipe whose reader can be gone beforehand")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["gpu"], 1), (["gpu", "--json"], 1), ([], 0), (["--help"], 0)],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("causes", [1, 20_000])  # more than any buffer holds: it fails while printing, not at the end
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_goes_away_is_no_error(arguments, code, causes, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    program = (
        "import sys\nimport hf_monitor.gpu\nfrom hf_monitor.cli import main\n"
        "from hf_monitor.gpu.report import GpuReport, Problem\n"
        f"report = GpuReport(False, problems=(Problem('code', 'cause', 'command'),) * {causes})\n"
        "vars(hf_monitor.gpu)['check_gpu_compatibility'] = lambda **_: report\n"
        f"sys.exit(main({arguments!r}))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux'")  # noqa: PTH110 - a device
@pytest.mark.parametrize("arguments", [["gpu"], ["gpu", "--json"]], ids=lambda value: " ".join(value))
@pytest.mark.parametrize("causes", [0, 20_000])
def test_a_disk_that_is_full_is_said_and_not_taken_for_an_answer(arguments, causes):
    program = (
        "import sys\nimport hf_monitor.gpu\nfrom hf_monitor.cli import main\n"
        "from hf_monitor.gpu.report import GpuReport, Problem\n"
        f"report = GpuReport(True, notes=(Problem('code', 'cause', 'command'),) * {causes})\n"
        "vars(hf_monitor.gpu)['check_gpu_compatibility'] = lambda **_: report\n"
        f"sys.exit(main({arguments!r}))"
    )
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 2
    assert done.stderr.startswith("hf-monitor: error: the report cannot be written: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def nan_run(tmp_path):
    """The run folder of a training whose loss became NaN."""
    writer = RunWriter(tmp_path / "monitor")
    writer.begin_attempt({"max_steps": 3})
    writer.event("train_begin", 0, max_steps=3)
    for step, loss in enumerate((5.0, 4.0, float("nan")), 1):
        writer.row("train", step, {"loss": loss, "grad_norm": 1.0, "learning_rate": 0.01})
    writer.event("train_end", 3)
    writer.close()
    return writer.run_dir


def test_diagnose_shows_what_was_found_and_says_so_by_its_exit_code(nan_run, capsys):
    assert main(["diagnose", str(nan_run)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("[error] nan\n    ")
    assert "\n    Try: " in said
    assert "[clear]" not in said
    assert "1 found; " in said.splitlines()[-1]
    assert main(["diagnose", str(nan_run), "--mute", "nan", "--all"]) == 0
    said = capsys.readouterr().out
    assert "[inconclusive] divergence" in said
    assert "[error]" not in said


def test_diagnose_leaves_out_what_the_training_did(nan_run, capsys):
    writer = RunWriter(nan_run)
    writer.open()
    writer.begin_attempt({"alerts": {"mute": ["nan"]}})
    writer.event("train_begin", 0, max_steps=9)
    for step, loss in ((1, 2.0), (2, float("nan"))):
        writer.row("train", step, {"loss": loss})
    assert main(["diagnose", str(nan_run)]) == 0
    assert main(["diagnose", str(nan_run), "--mute", "plateau"]) == 1


def test_the_json_of_diagnose_is_all_findings(nan_run, capsys):
    assert main(["diagnose", str(nan_run), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [finding.to_dict() for finding in diagnose(nan_run)]


def test_wrong_usage_of_diagnose_is_2(nan_run, capsys):
    assert main(["diagnose", str(nan_run / "nowhere")]) == 2
    assert main(["diagnose", str(nan_run), "--mute", "plato"]) == 2
    assert "there is no rule 'plato' to mute. Did you mean 'plateau'?" in capsys.readouterr().err
    for wrong in (None, 3):
        with pytest.raises(InputError, match="a run is given by its folder, got"):
            diagnose(wrong)


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hf_monitor.cli", "check", "nowhere"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, "there is no run folder" in done.stderr) == (2, True)

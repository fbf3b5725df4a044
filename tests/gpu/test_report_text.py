"""What a GpuReport says: as text, in colour, as JSON, in a notebook."""

from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.gpu.report import Check, GpuDevice, GpuReport, Problem
from hf_monitor.gpu.report_text import as_text, one_line, print_report
from hf_monitor.gpu.tiers import tier_of

COMMAND = (
    "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126 "
    "--extra-index-url https://pypi.org/simple"
)
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def device(index=0, name="NVIDIA GeForce RTX 2070", total=8192.0, free=7000.0, **changes):
    values = {
        "uuid": f"GPU-{index}",
        "pci_address": f"0000:0{index}:00.0",
        "compute_capability": (7, 5),
        "bf16": False,
        "fp16": True,
        "flash_attention": False,
        "precision": "fp16",
        "mig": None,
        "tier": tier_of(name, total),
    }
    return GpuDevice(index=index, name=name, memory_total_mib=total, memory_free_mib=free, **{**values, **changes})


def usable(*devices, **changes):
    values = {
        "torch_version": "2.13.0+cu130",
        "torch_cuda": "13.0",
        "driver_version": "580.65.06",
        "driver_cuda": "13.1",
        "checks": (Check("torch", "ok", "2.13.0+cu130"),),
    }
    return GpuReport(True, devices or (device(),), **{**values, **changes})


def unusable(**changes):
    values = {
        "problems": (
            Problem(
                "driver_too_old", "The driver can do CUDA up to 12.2, this torch wants 13.0. " * 3, COMMAND, "12020"
            ),
            Problem("cuda_visible_devices", "CUDA_VISIBLE_DEVICES names device 7.", "unset CUDA_VISIBLE_DEVICES"),
        ),
        "checks": (
            Check("torch", "ok", "2.13.0+cu130"),
            Check("driver", "failed", "535.104.05"),
            Check("kernel", "skipped", "the driver comes first"),
        ),
        "torch_version": "2.13.0+cu130",
    }
    return GpuReport(False, **{**values, **changes})


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_a_usable_gpu_is_described_whole():
    assert str(usable()) == (
        "GPU usable: 1 device\n"
        "  torch               2.13.0+cu130, built for CUDA 13.0\n"
        "  driver              580.65.06, up to CUDA 13.1\n"
        "\n"
        "cuda:0  NVIDIA GeForce RTX 2070  (0000:00:00.0)\n"
        "  memory              8.0 GiB (8192 MiB), 6.8 GiB free\n"
        "  compute capability  7.5\n"
        "  computes in         bf16 no, fp16 yes, flash attention no\n"
        "  MIG                 no, a whole card\n"
        "  tier                Budget, by its name: RTX 2070\n"
        "  batch               32 to 64 per device\n"
        "  accumulation        3 to 4 (batch x accumulation: 96 to 256)\n"
        "  precision           fp16\n"
        "  begin with\n"
        "    per_device_train_batch_size=32, gradient_accumulation_steps=4, fp16=True"
    )


def test_what_the_hardware_does_not_say_is_not_a_number():
    text = str(usable(device(total=None, free=None, compute_capability=None, pci_address=None), driver_version=None))
    assert "memory              total not reported, free not reported\n" in text
    assert "compute capability  not reported\n" in text
    assert "driver              not known" in text


def test_a_mig_instance_is_named_as_one():
    name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    text = str(usable(device(name=name, total=4864.0, mig="1g.5gb")))
    assert "  MIG                 instance 1g.5gb\n" in text
    assert "Low-End, by the memory of this MIG instance" in text


def test_fp32_needs_no_argument():
    assert str(usable(device(precision="fp32"))).endswith("gradient_accumulation_steps=4")


def test_a_machine_without_a_gpu_is_given_no_command_that_mends_nothing_there():
    report = GpuReport(
        False,
        problems=(
            Problem("no_gpu", "This machine has no NVIDIA GPU.", "lspci"),
            Problem("torch_cpu_only", "The torch is built for the CPU only.", "pip install a-lot"),
        ),
        checks=(
            Check("gpu", "failed", "This machine has no NVIDIA GPU."),
            Check("driver", "skipped", "an earlier check decides"),
            Check("torch", "failed", "The torch is built for the CPU only."),
            Check("kernel", "skipped", "an earlier check decides"),
        ),
        facts={"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1"},
    )
    text = str(report)
    assert "pip install" not in text
    assert "With a GPU: torch_cpu_only. The torch is built for the CPU only." in text
    assert text.count("has no NVIDIA GPU") == 1  # not again among the checks
    assert text.endswith("  skipped  driver, kernel")
    assert '  CUDA_VISIBLE_DEVICES  ""\n  HIP_VISIBLE_DEVICES -1\n' in text


def test_eight_equal_cards_are_described_once():
    text = str(usable(*(device(index, free=1000.0 * index) for index in range(8))))
    assert text.count("compute capability") == 1
    assert text.count("all else            as cuda:0") == 7
    assert (
        "cuda:7  NVIDIA GeForce RTX 2070  (0000:07:00.0)\n  memory              8.0 GiB (8192 MiB), 6.8 GiB free"
        in text
    )


def test_cards_that_differ_are_each_described():
    text = str(usable(device(0), device(1, "NVIDIA GeForce RTX 4090", 24564.0)))
    assert text.count("compute capability") == 2


def test_an_unusable_gpu_begins_with_its_root_cause_and_the_command_then_the_rest_then_the_checks():
    text = str(unusable())
    assert text.startswith("GPU NOT USABLE: driver_too_old\n  The driver can do CUDA up to 12.2,")
    parts = [
        "seen: 12020",
        f"\n    {COMMAND}\n",
        "After that: cuda_visible_devices\n",
        "\n    unset CUDA_VISIBLE_DEVICES\n",
        "Checks, in order\n",
        "  ok       torch            2.13.0+cu130\n",
        "  failed   driver           535.104.05\n",
        "  skipped  kernel",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_a_report_without_a_cause_says_so():
    assert str(GpuReport(False)).startswith("GPU NOT USABLE\n  The cause was not found.")


def test_notes_and_facts_are_shown():
    note = Problem("device_order", "The numbers differ.", "export CUDA_DEVICE_ORDER=PCI_BUS_ID")
    text = str(usable(notes=(note,), facts={"container": "docker"}))
    assert "Note: device_order\n  The numbers differ.\n\n    export CUDA_DEVICE_ORDER=PCI_BUS_ID\n" in text
    assert text.endswith("  container           docker")


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_a_command_is_one_line_at_any_width(width):
    assert f"\n    {COMMAND}\n" in as_text(unusable(), width)


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_a_command_is_one_line_in_a_terminal(columns, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    print_report(unusable(), terminal)
    assert f"    {COMMAND}" in ESCAPES.sub("", terminal.getvalue()).splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("report", [usable(), unusable()], ids=["usable", "unusable"])
def test_all_other_lines_keep_within_the_width(report, width):
    for line in as_text(report, width).splitlines():
        assert len(line) <= width or line.startswith("    "), line


@pytest.mark.parametrize("report", [usable(), unusable()], ids=["usable", "unusable"])
def test_a_terminal_gets_colour_and_the_same_words(report, terminal):
    print_report(report, terminal)
    coloured = terminal.getvalue()
    assert "\x1b[" in coloured
    assert [line.rstrip() for line in ESCAPES.sub("", coloured).splitlines()] == as_text(report, 80).splitlines()


def test_colours_tell_good_from_bad(terminal):
    print_report(unusable(), terminal)
    lines = terminal.getvalue().splitlines()
    assert lines[0] == "\x1b[1;31mGPU NOT USABLE: driver_too_old\x1b[0m"
    assert "\x1b[32m  ok       torch            \x1b[0m2.13.0+cu130" in lines
    assert f"    \x1b[1;36m{COMMAND}\x1b[0m" in lines


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_it_is_not_wanted(variable, value, terminal, monkeypatch):
    monkeypatch.setenv(variable, value)
    print_report(unusable(), terminal)
    assert terminal.getvalue() == as_text(unusable(), 80) + "\n"


def test_no_colour_in_a_file_even_where_colour_is_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    file = io.StringIO()
    print_report(unusable(), file)
    assert file.getvalue() == as_text(unusable(), 80) + "\n"


@pytest.mark.parametrize("report", [usable(device(name="그래픽 카드")), unusable(facts={"note": "한글"})])
def test_a_stream_that_cannot_hold_a_letter_gets_a_question_mark(report, monkeypatch):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    print_report(report, file)
    file.flush()
    assert "?" in raw.getvalue().decode("ascii")


def test_a_process_without_standard_output_is_no_error(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    print_report(usable())


def test_texts_of_others_are_shown_as_text_on_one_line_and_shortened(terminal):
    hostile = "[red]old[/red] :smile: \x1b[31m\x1b]0;title\x07\r\nsecond\tline " + "x" * 10_000 + " the end"
    report = unusable(
        problems=(Problem("driver_too_old", hostile, COMMAND, hostile),),
        checks=(Check(hostile, "failed", hostile),),
        facts={hostile: hostile},
        torch_version=hostile,
    )
    print_report(report, terminal)
    shown = ESCAPES.sub("", terminal.getvalue())
    for text in (str(report), shown):
        flat = " ".join(text.split())
        assert "[red]old[/red] :smile: [31m ]0;title second line xxx" in flat
        assert re.search("xxx ... x+ the end", flat)
        assert not set(text) & set("\x1b\x07\r\t")
        assert len(text) < 4000


@pytest.mark.no_cover
@settings(deadline=None, max_examples=150)
@given(st.text(), st.text(), st.integers(1, 200))
def test_any_text_makes_a_report(one, other, width):
    report = unusable(
        problems=(Problem(one, other, one, other), Problem(other, one, other)),
        checks=(Check(one, "failed", other),),
        facts={one: other},
    )
    text = as_text(report, width)
    assert text.replace("\n", "").isprintable()
    json.dumps(report.to_dict(), allow_nan=False).encode("ascii")
    assert len(repr(report)) < 200


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n  b\tc", "a b c"),
        ("", ""),
        ("a" * 30, "a" * 9 + " ... " + "a" * 6),
        ("a" * 20, "a" * 20),
    ],
)
def test_a_long_text_keeps_its_beginning_and_end(text, shown):
    assert one_line(text, 20) == shown
    assert len(one_line(text, 20)) <= 20


def test_json_has_stable_keys_and_only_what_json_can_hold():
    report = usable(facts={"container": "docker"}, notes=(Problem("n", "c", "d", "e"),))
    record = report.to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record == {
        "usable": True,
        "torch_version": "2.13.0+cu130",
        "torch_cuda": "13.0",
        "driver_version": "580.65.06",
        "driver_cuda": "13.1",
        "devices": [
            {
                "index": 0,
                "name": "NVIDIA GeForce RTX 2070",
                "uuid": "GPU-0",
                "pci_address": "0000:00:00.0",
                "memory_total_mib": 8192.0,
                "memory_free_mib": 7000.0,
                "compute_capability": "7.5",
                "bf16": False,
                "fp16": True,
                "flash_attention": False,
                "precision": "fp16",
                "mig": None,
                "tier": {
                    "name": "Budget",
                    "rule": "by its name: RTX 2070",
                    "batch_sizes": [32, 64],
                    "accumulation": [3, 4],
                },
            }
        ],
        "problems": [],
        "notes": [{"code": "n", "cause": "c", "command": "d", "evidence": "e"}],
        "checks": [{"name": "torch", "status": "ok", "detail": "2.13.0+cu130"}],
        "facts": {"container": "docker"},
    }


def test_json_keeps_long_texts_whole_and_replaces_what_utf_8_cannot_hold():
    record = unusable(problems=(Problem("code", "x" * 10_000, COMMAND, "\udcff"),)).to_dict()
    assert record["problems"][0]["cause"] == "x" * 10_000
    assert record["problems"][0]["evidence"] == "?"


def test_the_repr_is_one_short_line():
    assert repr(usable()) == "<GpuReport usable: cuda:0 NVIDIA GeForce RTX 2070>"
    assert repr(unusable()) == "<GpuReport not usable: driver_too_old, cuda_visible_devices>"
    assert repr(GpuReport(False)) == "<GpuReport not usable>"
    assert repr(usable(*(device(index) for index in range(16)))).endswith(", cuda:3 NVIDIA GeForce RTX 2070, ...>")


def test_a_notebook_shows_the_text():
    from IPython.lib.pretty import pretty

    assert pretty(unusable()) == str(unusable())
    assert pretty([unusable()]).startswith("[GPU NOT USABLE")

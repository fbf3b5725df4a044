"""The list itself: states, exit code, words and JSON."""

import io
import json

import pytest

from hf_monitor.preflight import Check, Checklist
from hf_monitor.preflight.checklist import as_text, failed, ok, print_checklist, skipped, warning

COMMAND = "pip install --some-long-option=with-hyphens another-package yet-another-package"
LIST = Checklist(
    "Before the training",
    (
        ok("GPU", "there is one.", device="x"),
        warning("disk", "a long sentence " * 20, COMMAND, share=float("nan"), numbers=(1, 2)),
        skipped("tokenizer", "none given."),
    ),
)


def test_only_what_failed_changes_the_exit_code():
    assert (LIST.ok, LIST.exit_code) == (True, 0)
    worse = LIST.with_checks([failed("GPU", "gone."), failed("model", "missing.")])
    assert (worse.ok, worse.exit_code) == (False, 1)
    assert [(check.name, check.state) for check in worse] == [
        ("model", "failed"), ("GPU", "failed"), ("disk", "warning"), ("tokenizer", "skipped"),
    ]  # fmt: skip
    assert worse["GPU"].sentence == "gone."
    with pytest.raises(KeyError, match="there are: GPU, disk"):
        LIST["nothing"]


def test_a_state_of_ones_own_is_refused():
    with pytest.raises(ValueError, match="must be one of ok, warning"):
        Check("x", "fine", "a word")


def test_json_is_strict_and_holds_everything():
    found = json.loads(json.dumps(LIST.to_dict(), allow_nan=False))
    assert found["counts"] == {"ok": 1, "warning": 1, "failed": 0, "skipped": 1}
    assert found["checks"][1]["evidence"] == {"share": "nan", "numbers": [1, 2]}
    assert [check["name"] for check in found["checks"]] == ["GPU", "disk", "tokenizer"]


def test_the_text_keeps_to_its_width_and_breaks_no_word_of_a_command():
    lines = as_text(LIST, width=60).splitlines()
    assert lines[0] == "Before the training: 1 ok, 1 warning, 1 skipped"
    assert max(map(len, lines)) <= 60
    assert all(any(word in line for line in lines) for word in COMMAND.split())
    assert str(LIST).splitlines()[1].split() == ["ok", "GPU", "there", "is", "one."]


def test_what_is_not_well_is_named_again_at_the_end_and_what_was_skipped_takes_few_lines():
    checks = (
        failed("disk", "full."),
        ok("length of inputs", "12 at most.", "--max_source_length 16"),
        skipped("tokenizer", "no data given."),
        skipped("lengths", "no data given."),
        warning("W&B", "switched off.", "unset WANDB_MODE"),
        skipped("charts", "there are none.", "Draw them."),
    )
    lines = as_text(Checklist("Before the training", checks)).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "failed", "ok", "possible:", "warning", "->", "skipped", "possible:", "skipped", "Failed:", "Warnings:",
    ]  # fmt: skip
    assert lines[-3] == "  skipped  tokenizer, lengths: no data given."
    assert lines[-2:] == ["Failed: disk", "Warnings: W&B"]


def test_what_could_not_be_loaded_is_not_said_to_be_missing():
    skips = [skipped("memory", "no model given."), skipped("tokenizer", "no tokenizer given.")]
    found = Checklist("x", tuple(skips)).with_checks([failed("model", "a torn file.")])
    assert found["memory"].sentence == "the model could not be loaded, see above."
    assert found["tokenizer"].sentence == "the tokenizer could not be loaded, see above."
    assert Checklist("x", tuple(skips)).with_checks([ok("model", "fine.")])["memory"].sentence == "no model given."


def test_only_a_terminal_gets_colour(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    plain, coloured = io.StringIO(), Terminal()
    print_checklist(LIST, plain)
    print_checklist(LIST, coloured)
    assert "\x1b" not in plain.getvalue()
    assert "\x1b[" in coloured.getvalue()
    assert "there is one." in coloured.getvalue()

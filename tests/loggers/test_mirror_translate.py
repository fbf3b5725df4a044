"""What a row becomes in W&B's words."""

import math

import orjson
import pytest

from hf_monitor.loggers.mirror.translate import fit, flat_value, log_name, plain_value, single_values, translate


@pytest.mark.parametrize("kind", ["train", "eval", "predict", "train_summary", "log"])
def test_names_are_those_of_transformers(kind):
    names = ["loss", "eval_loss", "test_rouge1", "eval_ko_rougeL", "predict_loss", "evaluation", "my/loss"]
    rewritten = ["train/loss", "eval/loss", "test/rouge1", "eval/ko_rougeL", "train/predict_loss", "train/evaluation"]
    assert [log_name(kind, name) for name in names] == [*rewritten, "train/my/loss"]  # as rewrite_logs of 5.23 does


def test_names_of_other_kinds_stand_under_their_kind():
    assert log_name("timing", "seconds") == "timing/seconds"
    assert log_name("text_scores", "eval_x") == "text_scores/eval_x"
    assert log_name("event", "event") == "event/event"


def test_without_rewriting_names_of_a_log_stay():
    assert log_name("log", "eval_loss", rewrite=False) == "eval_loss"
    assert log_name("eval", "eval_loss", rewrite=False) == "eval/loss"


@pytest.mark.parametrize("name", ["_step", "_timestamp", "_runtime", "_wandb", "kind", "attempt", "time", ""])
def test_names_that_are_taken_get_their_kind_before_them(name):
    assert log_name("log", name, rewrite=False) == f"log/{name}"


def test_a_global_step_that_was_logged_does_not_move_the_axis():
    row = {"time": 1.0, "attempt": 1, "step": 7, "kind": "train", "global_step": 3}
    assert translate(row)["train/global_step"] == 7
    assert translate(row)["train/train/global_step"] == 3


def test_a_row_without_a_step_sets_no_axis():
    assert "train/global_step" not in translate({"time": 1.0, "attempt": 1, "kind": "event", "event": "x"})


def test_a_row_keeps_its_own_time_for_the_axis_of_time():
    assert translate({"time": 5.5, "attempt": 1, "kind": "event", "step": 1})["_timestamp"] == 5.5
    assert "_timestamp" not in translate({"time": math.nan, "attempt": 1, "kind": "event", "step": 1})


def test_what_wandb_would_alter_becomes_a_text():
    assert flat_value({"a": {}, "b": [{}, 2**64 + 1]}) == {"a": "{}", "b": [{}, str(2**64 + 1)]}
    assert flat_value(2**64) == 2**64  # the same as a float
    assert flat_value(-(2**63)) == -(2**63)
    assert flat_value(10**400) == str(10**400)
    assert plain_value({"a": [math.nan], "b": math.inf}) == {"a": ["NaN"], "b": math.inf}


def test_a_row_that_is_too_long_for_the_server_is_cut_and_says_so():
    long = "한" * 3_000_000
    cut = fit({"a": long, "b": 1, "c": "x" * 2_000_000})
    assert cut["b"] == 1
    assert cut["c"] == "x" * 2_000_000
    assert cut["a"].startswith("한한")
    assert cut["a"].endswith("... (9,000,002 bytes: too long for W&B, metrics.jsonl has it whole)")
    assert fit({"a": "x" * 5_000_000}) == {"a": "x" * 5_000_000}
    assert fit({"a": list(range(2_000_000))})["a"].startswith("... (")


@pytest.mark.parametrize(
    "values",
    [
        {f"t{i}": "x" * 900_000 for i in range(14)},  # each is short enough
        {f"t{i}": "x" * 90_000 for i in range(200)},
        {"lines": "\n" * 7_000_000},
        {"control": "\1" * 3_000_000},
    ],
    ids=["many", "very many", "newlines", "control"],
)
def test_it_is_the_row_in_json_that_is_short_enough(values):
    cut = fit({"a": 1, **values})
    assert cut.keys() == {"a", *values}
    assert cut["a"] == 1
    assert len(orjson.dumps(cut)) < 9_000_000 < len(orjson.dumps(values))
    assert all(any(text.startswith(one[:500]) for one in values.values()) for name, text in cut.items() if name != "a")


def test_single_values_of_the_training_are_those_of_transformers():
    row = {"kind": "train_summary", "train_loss": math.nan, "total_flos": 1.0, "train_runtime": 2.0, "epoch": 1.0}
    assert single_values(row) == {"train_loss": "NaN", "total_flos": 1.0, "train_runtime": 2.0}

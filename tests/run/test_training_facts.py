"""What a training was, where others evaluated into its folder afterwards; and which end of a metric is good."""

import re

import pytest

from hf_monitor import RunWriter, load_run
from hf_monitor.run.better import greater_is_better, is_direction_known, lower_is_better, name_says_lower


def arguments(rate, **more):
    return {"arguments": {"learning_rate": rate, **more}}


def trained(folder, facts):
    writer = RunWriter(folder)
    writer.begin_attempt(facts)
    writer.event("train_begin", 0)
    writer.event("train_end", 4)
    return writer


def evaluated(folder, facts):
    """Another process that evaluates, fails at it once, and learns of its scores later."""
    writer = RunWriter(folder)
    writer.begin_attempt(facts)
    writer.row("eval", 0, {"eval_loss": 1.0, "standalone": True})
    writer.event("error", 0, during="evaluate", type="ValueError")
    return writer


def test_a_later_evaluation_leaves_the_trainings_facts(tmp_path):
    trained(tmp_path, arguments(5e-5) | {"seed": 1, "same": "x"})
    trained(tmp_path, arguments(6e-5) | {"seed": 2, "same": "x"})
    assert load_run(tmp_path).training_facts["seed"] == 2
    evaluated(tmp_path, arguments(1.0) | {"seed": 3, "same": "x"})
    evaluated(tmp_path, arguments(1.0) | {"seed": 4, "same": "x"})
    run = load_run(tmp_path)
    assert run.facts["arguments"]["learning_rate"] == 1.0
    assert run.config["learning_rate"] == 6e-5
    assert (run.training_facts["seed"], run.training_facts["same"]) == (2, "x")
    assert run.training_facts["attempts"] == run.attempts


def test_where_nothing_trained_the_facts_are_the_latest(tmp_path):
    for rate in (1.0, 2.0):
        writer = RunWriter(tmp_path)
        writer.begin_attempt(arguments(rate))
        writer.row("eval", 0, {"eval_loss": 1.0, "standalone": True})
    assert load_run(tmp_path).config["learning_rate"] == 2.0


def test_a_training_that_failed_before_it_began_is_one(tmp_path):
    trained(tmp_path, arguments(5e-5))
    writer = RunWriter(tmp_path)
    writer.begin_attempt(arguments(7e-5))
    writer.event("error", 0, type="ValueError")
    assert load_run(tmp_path).config["learning_rate"] == 7e-5


@pytest.mark.parametrize(
    ("metric", "config", "greater"),
    [
        ("eval_loss", {}, False),
        ("eval_ko_wer", {}, False),
        ("eval_ppl", {}, False),
        ("eval_rougeL", {}, True),
        ("eval_mine", {}, True),
        ("eval_mine", {"metric_for_best_model": "mine", "greater_is_better": False}, False),
        ("eval_mine", {"metric_for_best_model": "eval_mine", "greater_is_better": False}, False),
        ("eval_other", {"metric_for_best_model": "mine", "greater_is_better": False}, True),
        ("eval_wer", {"metric_for_best_model": "wer", "greater_is_better": True}, False),  # what transformers sets
        ("eval_cer_gain", {"metric_for_best_model": "cer_gain", "greater_is_better": True}, True),
        ("eval_neg_mean_squared_error", {}, True),
        ("eval_ter_rougeL", {}, True),  # of a set
        ("eval_wer", {"metric_for_best_model": ["wer"], "greater_is_better": "no"}, False),
    ],
)
def test_which_end_is_good(metric, config, greater):
    assert greater_is_better(metric, config) is greater


def test_a_name_leaves_no_doubt_only_by_its_end():
    assert [name for name in ("eval_word_error_rate", "wer", "cer_gain", "bleu", "_") if name_says_lower(name)] == [
        "eval_word_error_rate",
        "wer",
    ]
    assert lower_is_better("cer_gain")
    assert not lower_is_better("")


def test_of_some_names_nobody_knows_which_way_is_better():
    known = (
        "eval_wer",
        "loss",
        "cer",
        "val_err",
        "eval_kl",
        "손실",
        "검증 정확도",
        "eval_rougeL",
        "acc",
        "f1",
        "neg_x",
    )
    assert all(is_direction_known(name, {}) for name in known)
    assert not any(is_direction_known(name, {}) for name in ("lr", "time", "weights", "temperature", "mine", ""))
    assert is_direction_known("eval_mine", {"metric_for_best_model": "mine", "greater_is_better": False})
    assert lower_is_better("검증_손실")


def test_the_best_word_error_rate_is_the_lowest(tmp_path):
    writer = trained(tmp_path, arguments(5e-5, metric_for_best_model="wer", greater_is_better=True))
    for step, value in ((1, 0.4), (2, 0.9), (3, 0.5)):
        writer.row("eval", step, {"eval_wer": value})
    run = load_run(tmp_path)
    assert run.best("eval_wer") == (0.4, 1, 1)
    assert run.best("eval_wer", greater_is_better=True).value == 0.9
    assert re.search(r">eval_wer</td><td[^>]*>0.5</td><td[^>]*>0.4</td><td[^>]*>1</td>", run._repr_html_())


def test_the_arguments_say_which_end_of_their_own_metric_is_good(tmp_path):
    writer = trained(tmp_path, arguments(5e-5, metric_for_best_model="mine", greater_is_better=False))
    for step, value in ((1, 4.0), (2, 3.0)):
        writer.row("eval", step, {"eval_mine": value})
    assert load_run(tmp_path).best("eval_mine") == (3.0, 2, 1)

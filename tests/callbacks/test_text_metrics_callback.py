"""TextMetricsCallback and how it finds what it records: references, the best score, the TextMetrics in a function."""

import functools
import logging
import math

import pytest
from transformers import Seq2SeqTrainer, TrainerCallback

from hf_monitor import TextMetrics, TextMetricsCallback, attach, default_callbacks, load_run

pytestmark = pytest.mark.usefixtures("no_pictures")


class Perfect(Seq2SeqTrainer):
    """A model that says exactly what the labels say."""

    def prediction_step(self, model, inputs, *args, **kwargs):
        loss, _, labels = super().prediction_step(model, inputs, *args, **kwargs)
        return loss, labels, labels


def said(caplog, level=logging.WARNING):
    return [r.getMessage() for r in caplog.records if r.name.startswith("hf_monitor") and r.levelno >= level]


def test_references_given_for_one_set_are_not_used_for_another(make_trainer, make_dataset, tokenizer, caplog):
    metrics = TextMetrics(tokenizer, references=[["one"], ["two"], ["three"]])
    trainer = make_trainer(cls=Perfect, compute_metrics=metrics, evaluation=make_dataset(3))
    attach(trainer)
    assert trainer.evaluate()["eval_rougeL"] < 10
    assert trainer.predict(make_dataset(3)).metrics["test_rougeL"] == pytest.approx(100.0)
    assert len(said(caplog)) == 1
    assert "'test' is scored against its labels" in said(caplog)[0]


def test_the_column_of_references_is_named_and_can_be_switched_off(make_trainer, make_dataset, tokenizer, caplog):
    data = make_dataset(2, references=[["Smith et al."], ["Kim 2019", "Lee 2020"]])
    with caplog.at_level(logging.INFO, "hf_monitor"):
        trainer = make_trainer(cls=Perfect, compute_metrics=TextMetrics(tokenizer), evaluation=data)
        monitor = attach(trainer)
        trainer.evaluate()
        trainer.evaluate()
        assert monitor.run().facts["text_metrics"]["eval"]["references_from"] == "column 'references'"
        (line,) = said(caplog, logging.INFO)  # once
        assert "'eval' is scored against its column 'references'" in line
        assert said(caplog) == []  # not a warning
        caplog.clear()
        off = TextMetrics(tokenizer, references_column=None)
        trainer = make_trainer(cls=Perfect, compute_metrics=off, evaluation=data)
        attach(trainer)
        assert trainer.evaluate()["eval_rougeL"] == pytest.approx(100.0)
        assert off.signature["references_from"] == "decoded labels"
        assert said(caplog, logging.INFO) == []
        renamed = TextMetrics(tokenizer, references_column="golds")
        trainer = make_trainer(
            cls=Perfect, compute_metrics=renamed, evaluation=data.rename_column("references", "golds")
        )
        attach(trainer)
        trainer.evaluate()
    assert renamed.signature["references_from"] == "column 'golds'"


@pytest.mark.parametrize("entry", [[{"title": "Smith"}], 7, [[1, 2]], [["nested"]], None], ids=str)
def test_a_column_of_that_name_without_texts_is_left_alone(make_trainer, make_dataset, tokenizer, entry, caplog):
    trainer = make_trainer(
        cls=Perfect, compute_metrics=TextMetrics(tokenizer), evaluation=make_dataset(2, references=[entry, entry])
    )
    attach(trainer)
    with caplog.at_level(logging.INFO, "hf_monitor"):
        assert trainer.evaluate()["eval_rougeL"] == pytest.approx(100.0)
    (line,) = said(caplog, logging.INFO)
    assert "does not hold a text or a list of texts" in line


def best_of(make_trainer, tokenizer, values, **settings):
    """Train with a metric that takes these values, one an evaluation."""
    coming = iter(values)
    metrics = TextMetrics(tokenizer, extra={"ter": lambda predictions, references: next(coming)})
    trainer = make_trainer(compute_metrics=metrics, max_steps=len(values), eval_steps=1, **settings)
    monitor = attach(trainer)
    trainer.train()
    best = monitor.find(TextMetricsCallback).best
    assert monitor.run().rows.of("text_scores")[-1]["best"] == best
    return best, trainer


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("greater", "values", "value", "step"),
    [
        (True, [5.0, 9.0, 1.0], 9.0, 2),
        (False, [5.0, 1.0, 3.0], 1.0, 2),
        (True, [float("nan"), 2.0, 3.0], 3.0, 3),
        (False, [float("-inf"), 2.0, 3.0], 2.0, 2),
        (True, [4.0, 4.0, float("inf")], 4.0, 1),
    ],
)
@pytest.mark.parametrize("metric", ["ter", "eval_ter"])
def test_the_best_evaluation_is_the_trainers(make_trainer, tokenizer, metric, greater, values, value, step):
    best, trainer = best_of(make_trainer, tokenizer, values, metric_for_best_model=metric, greater_is_better=greater)
    assert best == {"name": "eval", "metric": "ter", "value": value, "step": step}
    if all(map(math.isfinite, values)):  # the Trainer itself takes infinities
        assert trainer.state.best_metric == value


def test_the_best_evaluation_of_the_set_that_the_trainer_watches(make_trainer, make_dataset, tokenizer):
    sets = {"ko": make_dataset(2), "en": make_dataset(3)}
    values = [9.0, 1.0, 5.0, 3.0, 1.0, 2.0, 7.0, 2.0]  # ko, en, ko, en ...
    coming = iter(values)
    metrics = TextMetrics(tokenizer, extra={"ter": lambda predictions, references: next(coming)})
    trainer = make_trainer(compute_metrics=metrics, eval_steps=1, evaluation=sets, metric_for_best_model="eval_en_ter")
    monitor = attach(trainer)
    trainer.train()
    assert monitor.find(TextMetricsCallback).best == {"name": "eval_en", "metric": "ter", "value": 3.0, "step": 2}
    assert trainer.state.best_metric == 3.0


@pytest.mark.no_cover
def test_a_loss_is_best_where_it_is_lowest(make_trainer, tokenizer):
    best, trainer = best_of(make_trainer, tokenizer, [1.0] * 3, metric_for_best_model="loss")
    assert best["metric"] == "loss"
    assert best["value"] == trainer.state.best_metric


class PerfectAtStep2(Seq2SeqTrainer):
    """What the labels say at step 2, their first token at other steps; the set of three is always perfect."""

    def prediction_step(self, model, inputs, *args, **kwargs):
        loss, _, labels = super().prediction_step(model, inputs, *args, **kwargs)
        perfect = self.state.global_step == 2 or len(labels) == 3
        return loss, labels if perfect else labels[:, :1], labels


@pytest.mark.no_cover
def test_without_a_metric_the_best_score_of_the_first_set(make_trainer, make_dataset, tokenizer):
    trainer = make_trainer(
        cls=PerfectAtStep2,
        compute_metrics=TextMetrics(tokenizer),
        evaluation={"ko": make_dataset(2), "en": make_dataset(3)},
        eval_steps=1,
    )
    monitor = attach(trainer)
    trainer.train()
    best = {"name": "eval_ko", "metric": "score", "value": pytest.approx(100.0), "step": 2}
    assert monitor.find(TextMetricsCallback).best == best
    first = next(row for row in monitor.run().rows.of("text_scores") if row["step"] == 1)
    assert first["best"]["value"] < 50


class TakesKeysOut(TrainerCallback):
    """As transformers' NotebookProgressCallback does, which sits before ours in a notebook."""

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        for key in ("epoch", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"):
            metrics.pop(key, None)


def test_an_evaluation_is_one_whatever_was_taken_out_of_it(make_trainer, tokenizer, tmp_path):
    metrics = TextMetrics(tokenizer)
    callbacks = [TakesKeysOut(), TextMetricsCallback(tmp_path / "run", metrics)]
    trainer = make_trainer(compute_metrics=metrics, callbacks=callbacks)
    trainer.train()
    run = load_run(tmp_path / "run")
    assert [(row["kind"], row["step"]) for row in run.rows if row["kind"] != "event"] == [
        ("eval", 2),
        ("text_scores", 2),
        ("eval", 4),
        ("text_scores", 4),
    ]


GLOBAL: TextMetrics | None = None


def of_a_global(prediction):
    return {**GLOBAL(prediction), "mine": 1.0}


def calls_another(prediction):
    return of_a_global(prediction)


def calls(prediction, metrics):
    return metrics(prediction)


class Holder:
    def __init__(self, metrics):
        self.metrics = metrics
        self.other = 3

    def compute(self, prediction):
        return self.metrics(prediction)

    def __call__(self, prediction):
        return self.metrics(prediction)


WRAPPERS = {
    "itself": lambda metrics: metrics,
    "lambda": lambda metrics: lambda prediction: metrics(prediction),
    "partial": lambda metrics: functools.partial(metrics, compute_result=None),
    "partial_argument": lambda metrics: functools.partial(calls, metrics=metrics),
    "partial_of_lambda": lambda metrics: functools.partial(lambda prediction: metrics(prediction)),
    "global": lambda metrics: of_a_global,
    "function_of_function": lambda metrics: calls_another,
    "wraps": lambda metrics: functools.wraps(of_a_global)(lambda prediction: metrics(prediction)),
    "method": lambda metrics: Holder(metrics).compute,
    "callable_object": lambda metrics: Holder(metrics),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_text_metrics_are_found_in_what_calls_them(make_trainer, tokenizer, wrap, monkeypatch, caplog):
    metrics = TextMetrics(tokenizer)
    monkeypatch.setitem(globals(), "GLOBAL", metrics)
    trainer = make_trainer(compute_metrics=wrap(metrics))
    monitor = attach(trainer)
    assert monitor.find(TextMetricsCallback).text_metrics is metrics
    trainer.evaluate()
    assert len(monitor.run().predictions) == 5
    assert said(caplog) == []


class Proxy:
    @property
    def __class__(self):
        raise RuntimeError("working outside of its context")


def test_a_function_that_cannot_be_looked_into_is_left_alone(make_trainer):
    proxy = Proxy()

    def compute(prediction):
        return later(prediction)

    for function in (compute, lambda prediction: proxy, len, "rouge".join, None):
        trainer = make_trainer(compute_metrics=function)
        assert attach(trainer).find(TextMetricsCallback).text_metrics is None
    later = compute  # only now has the variable a value


@pytest.mark.parametrize("by", ["attach", "callbacks"])
def test_scores_of_unknown_text_metrics_are_reported_once_with_what_to_do(
    make_trainer, tokenizer, tmp_path, caplog, by
):
    first, second = TextMetrics(tokenizer), TextMetrics(tokenizer)
    both = [first, second]
    trainer = make_trainer(
        compute_metrics=lambda prediction: (first if len(both) == 2 else second)(prediction),
        callbacks=default_callbacks(tmp_path / "run") if by == "callbacks" else None,
    )
    if by == "attach":
        attach(trainer)
    trainer.train()  # evaluates twice
    (message,) = said(caplog)
    assert "not in predictions.jsonl" in message
    assert "several processes score twice" in message
    assert "attach(trainer, text_metrics=...) or default_callbacks(run_dir, text_metrics=...)" in message


def test_other_peoples_rouge_is_no_reason_to_complain(make_trainer, caplog):
    example = {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0, "rougeLsum": 1.0, "gen_len": 9.0}
    trainer = make_trainer(compute_metrics=lambda prediction: example)
    attach(trainer)
    trainer.evaluate()
    assert said(caplog) == []


def test_a_mixed_set_is_recorded_by_language(make_trainer, make_dataset, tokenizer):
    trainer = make_trainer(cls=Perfect, compute_metrics=TextMetrics(tokenizer), evaluation=make_dataset(4))
    monitor = attach(trainer)
    trainer.evaluate()
    trainer.predict(make_dataset(1))
    mixed, single = monitor.run().rows.of("text_scores")
    perfect = dict.fromkeys(["rouge1", "rouge2", "rougeL", "rougeLsum", "score"], pytest.approx(100.0))
    assert mixed["by_language"] == {"en": perfect, "ko": perfect}
    assert "by_language" not in single

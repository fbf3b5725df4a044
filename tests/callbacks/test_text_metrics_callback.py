"""TextMetricsCallback and how it finds what it records: references, the best score, the TextMetrics in a function."""

import logging

import pytest
from transformers import Seq2SeqTrainer

from hf_monitor import TextMetrics, attach


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

"""Predictions come in many forms and are read into one; what cannot be right is an error that names the sample."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from hf_monitor.charts import prediction_scores
from hf_monitor.charts.comparing import compare, read_models
from hf_monitor.charts.prediction_metrics import known_tops, lower_is_better
from hf_monitor.charts.prediction_scores import add_scores, match
from hf_monitor.charts.predictions import read_predictions
from hf_monitor.errors import InputError, NothingToDraw


@dataclass(frozen=True)
class Generated:  # what predict_texts yields
    text: str
    confidence: float | None
    n_tokens: int
    ended: bool
    input: str | None


def test_rows_and_frames_and_dataclasses_say_the_same():
    rows = [
        {"prediction": "a b", "confidence": 0.5, "n_tokens": 2, "ended": True, "input": "x"},
        {"prediction": "c", "confidence": None, "n_tokens": 1, "ended": False, "input": "y"},
    ]
    generated = (
        Generated(row["prediction"], row["confidence"], row["n_tokens"], row["ended"], row["input"]) for row in rows
    )
    for source in (rows, pd.DataFrame(rows), generated):
        read = read_predictions(source)
        assert (read.predictions, read.classes) == (["a b", "c"], False)
        assert (read.confidences, read.n_tokens, read.ended) == ([0.5, None], [2, 1], [True, False])
        assert (read.inputs, read.indices, read.scores) == (["x", "y"], None, {})


def test_rows_of_a_run_have_indices_references_and_scores():
    rows = [
        {"index": 3, "prediction": "a", "references": ["r", ""], "rougeL": 10, "score": 5.0, "step": 7, "time": 1.0},
        {"index": 8, "prediction": "b", "reference": "s", "rougeL": float("inf"), "language": "en"},
    ]
    read = read_predictions(rows)
    assert (read.indices, read.references) == ([3, 8], [["r"], ["s"]])
    assert read.scores == {"score": [5.0, None], "rougeL": [10.0, None]}  # the mean score first, and no step or time
    assert read.notes == ["rougeL: 1 value(s) that are not finite, or beyond 1e+150, are left out"]


def test_scores_and_labels_may_be_of_any_size():
    rows = [{"prediction": "a", "f1": value} for value in (1e308, -1e308, 10**400, 0.5)]
    read = read_predictions(rows)
    assert read.scores == {"f1": [None, None, None, 0.5]}
    assert "f1: 3 value(s)" in read.notes[0]
    assert read_predictions([10**400], labels=[10**400]).scores == {"correct": [1.0]}


def test_references_are_found_under_the_names_of_usual_data_sets():
    for key in ("references", "reference", "ref", "summary", "target", "highlights", "labels"):
        read = read_predictions([{"generated_text": "a", key: "r"}, {"generated_text": "b", key: ["s", "t"]}])
        assert (read.references, read.classes) == ([["r"], ["s", "t"]], False)
    ids = read_predictions([{"prediction": "a", "labels": [17, 4], "target": 3}])
    assert (ids.references, ids.scores) == ([[]], {})


def test_names_of_classes_that_are_compared_as_texts_are_said():
    names = ["good", "bad", "good"]
    assert "labels=[...]" in read_predictions(names, references=["good", "good", "bad"]).notes[0]
    assert read_predictions(names, labels=["good", "good", "bad"]).notes == []
    assert read_predictions(["a b", "c", "c"], references=["a b", "c", "d"]).notes == []


def test_class_labels_come_bare_in_rows_and_from_pipelines():
    bare = read_predictions(np.array([1, 0, 1]), labels=[1, 1, None])
    assert (bare.predictions, bare.labels, bare.scores) == ([1, 0, 1], [1, 1, None], {"correct": [1.0, 0.0, None]})
    rows = read_predictions([{"prediction": "good", "label": "bad", "probability": 0.8}])
    assert (rows.classes, rows.confidences, rows.scores) == (True, [0.8], {"correct": [0.0]})
    pipeline = read_predictions([{"label": "good", "score": 0.9, "text": "fine"}], labels=None)
    assert (pipeline.predictions, pipeline.inputs, pipeline.confidences) == (["good"], ["fine"], [0.9])
    assert read_predictions([{"summary_text": "short"}]).predictions == ["short"]


def test_the_text_of_a_row_is_the_input_where_another_key_holds_the_prediction():
    for key in ("summary_text", "generated_text", "translation_text", "prediction"):
        read = read_predictions([{"text": "the long source", key: "short"}])
        assert (read.predictions, read.inputs) == (["short"], ["the long source"])
    assert read_predictions([{"text": "a", "input": "b", "prediction": "c"}]).inputs == ["b"]
    assert read_predictions([{"text": "a"}]).predictions == ["a"]


@pytest.mark.parametrize("text", [{}, {"text": "a great film"}])
def test_a_pipelines_labels_are_classes_and_true_labels_do_not_replace_them(text):
    rows = [{"label": "POSITIVE", "score": 0.9, **text}, {"label": "NEGATIVE", "score": 0.8, **text}]
    read = read_predictions(rows)
    assert (read.classes, read.predictions, read.labels) == (True, ["POSITIVE", "NEGATIVE"], [None, None])
    assert (read.confidences, read.scores) == ([0.9, 0.8], {})
    read = read_predictions(rows, labels=["POSITIVE", "POSITIVE"])
    assert (read.predictions, read.labels) == (["POSITIVE", "NEGATIVE"], ["POSITIVE", "POSITIVE"])
    assert (read.inputs, read.scores) == ([text.get("text")] * 2, {"correct": [1.0, 0.0]})


def test_of_the_numbers_of_a_row_the_scores_are_found_and_the_choice_is_said():
    read = read_predictions([{"sample_id": 3, "length": 5, "mine": 2.0, "rouge1": 9, "rougeL": 3.0, "prediction": "p"}])
    assert list(read.scores) == ["rougeL", "rouge1", "mine"]
    assert read.notes == ["taken for no scores by their names (metrics=[...] asks for them): sample_id, length"]
    assert read_predictions([{"length": 5, "prediction": "p"}], metrics=["length"]).scores == {"length": [5.0]}
    own = read_predictions(
        [{"mine": 1, "year_of": "n/a", "prediction": "p"}, {"mine": 2, "year_of": 1, "prediction": "q"}]
    )
    assert list(own.scores) == ["mine"]
    assert own.notes == [
        "not only numbers, so no scores: year_of",
        "samples are sorted and compared by 'mine'; metrics=[...] names another score",
    ]


def test_how_far_a_score_goes_is_known_of_ours_and_of_rouge_above_1():
    assert known_tops({"rougeL": [0.0, None], "score": [0.0], "mine": [50.0]}, ours=True) == {
        "rougeL": 100,
        "score": 100,
    }
    assert known_tops({"rougeL": [0.9], "score": [5.0], "f1": [1.0]}, ours=False) == {}
    assert (
        known_tops({"score": [40.0], "rouge1": [50.0], "rouge2": [30.0], "rougeL": [40.0]}, ours=False)["score"] == 100
    )
    assert known_tops({"bleu": [3.0, 0.0], "chrf": [-1.0], "rouge1": [101.0]}, ours=False) == {"bleu": 100}


def test_missing_predictions_are_left_out_and_said():
    frame = pd.DataFrame({"prediction": ["a", None, "c"], "input": ["x", "y", None], "reference": ["r", "s", None]})
    read = read_predictions(frame.map(lambda value: float("nan") if value is None else value))
    assert (read.inputs, read.scores) == (["x", None], {})
    assert (read.predictions, read.positions, read.references) == (["a", "c"], [0, 2], [["r"], []])
    assert read.notes == ["1 of 3 samples have no prediction and are left out"]
    for nothing in ([], [None, float("nan")]):
        with pytest.raises(NothingToDraw):
            read_predictions(nothing)


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ({"prediction": "a"}, {}, "type dict"),
        (7, {}, "type int"),
        ([["a"]], {}, r"predictions\[0\] is of type list"),
        (["a", 1], {}, r"predictions\[1\] is of type int"),
        ([0.37], {}, "sample 0 is 0.37 "),
        ([{"text_id": 1}], {}, "row 0 .* no 'prediction', only 'text_id'"),
        ([{"prediction": "a", "confidence": 87}], {}, "confidence of sample 0 is 87:.*no percentage"),
        ([{"prediction": "a", "confidence": "high"}], {}, "confidence of sample 0 is 'high'"),
        ([{"prediction": "a", "index": float("nan")}], {}, "index of sample 0 is nan"),
        ([{"prediction": "a", "index": -1}], {}, "index of sample 0 is -1:"),
        ([{"prediction": "a", "ended": "no"}], {}, "ended of sample 0"),
        ([{"prediction": "a", "n_tokens": 1.5}], {}, "n_tokens of sample 0"),
        ([{"prediction": "a", "input": 3}], {}, "input of sample 0 is of type int"),
        ([{"prediction": "a", "references": [3]}], {}, "reference of sample 0 is of type int"),
        ([{"prediction": "a", "references": {"r"}}], {}, "references of sample 0 are of type set"),
        (
            [{"prediction": "a", "f1": 1.0}, {"prediction": "b", "f1": "good"}],
            {"metrics": ["f1"]},
            "sample 1 is 'good'",
        ),
        (["a"], {"greater_is_better": "yes"}, "greater_is_better='yes'"),
        (["a", "b"], {"references": ["r"]}, "2 predictions and 1 references"),
        (["a"], {"references": "r"}, "references must have one entry a sample"),
        (["a"], {"labels": [1]}, "label of sample 0 is of type int"),
        ([1, 0], {"references": [1, 1]}, r"true classes as labels=\[...\]"),
        (["a"], {"references": [1]}, r"true classes are given as labels=\[...\]"),
        (["a"], {"metrics": "rougeL"}, r"\['rougeL'\]"),
        (["a"], {"evaluation": "test"}, "evaluation='test'"),
    ],
)
def test_what_cannot_be_right_is_said(source, options, said):
    with pytest.raises(InputError, match=said):
        read_predictions(source, **options)


def test_texts_with_references_are_scored_and_rows_with_scores_are_not():
    read = read_predictions(["a b c", "x", "y"], references=["a b c", "z", None])
    add_scores(read)
    assert list(read.scores) == ["score", "rougeL", "rouge1", "rouge2", "rougeLsum"]
    assert read.scores["rougeL"] == [100.0, 0.0, None]
    assert read.notes == ["1 of 3 samples have no reference and no score"]
    scored = read_predictions([{"prediction": "a", "reference": "a", "mine": 3}])
    add_scores(scored)
    assert scored.scores == {"mine": [3.0]}
    add_scores(scored, ["rouge1", "mine"])
    assert scored.scores == {"rouge1": [100.0], "mine": [3.0]}
    with pytest.raises(InputError, match="'typo' is in no row of the predictions; there are 'mine'"):
        add_scores(read_predictions([{"prediction": "a", "mine": 3}]), ["typo"])


def test_of_many_texts_a_seeded_sample_is_scored(monkeypatch):
    monkeypatch.setattr(prediction_scores, "MAX_SCORED", 3)
    chosen = []
    for _ in range(2):
        read = read_predictions(["a"] * 10, references=["a"] * 10)
        add_scores(read)
        chosen.append([place for place, value in enumerate(read.scores["score"]) if value is not None])
    assert len(chosen[0]) == 3
    assert chosen[0] == chosen[1]
    assert read.notes == ["3 of 10 samples are scored (seeded sample); give rows with scores for all"]


def test_samples_are_matched_by_index_then_input_then_order():
    a = read_predictions([{"prediction": "p", "index": i, "input": t} for i, t in ((0, "v"), (1, "y"), (1, "z"))])
    b = read_predictions([{"prediction": "q", "index": i, "input": t} for i, t in ((1, "y"), (5, "x"), (1, "z"))])
    found = match(a, b)
    assert (found.by, found.pairs) == ("index", [(1, 0), (2, 2)])
    assert (found.only_first, found.only_other, found.other_inputs) == (1, 1, 0)
    b.indices = None
    assert (match(a, b).by, match(a, b).pairs) == ("input", [(1, 0), (2, 2)])
    assert match(a, read_predictions(["1", "2", "3"])).pairs == [(0, 0), (1, 1), (2, 2)]
    with pytest.raises(InputError, match=r"has 2 predictions.*has 3"):
        match(a, read_predictions(["1", "2"]))


def test_of_one_index_with_other_inputs_the_inputs_are_believed():
    a = read_predictions([{"prediction": "p", "index": i, "input": t} for i, t in enumerate("vwxyz")])
    b = read_predictions([{"prediction": "q", "index": i, "input": t} for i, t in enumerate("vxwq")])
    found = match(a, b)
    assert (found.by, found.pairs) == ("index", [(0, 0), (1, 2), (2, 1)])
    assert (found.only_first, found.only_other, found.other_inputs) == (2, 1, 3)
    by_place = read_predictions([{"prediction": "q", "input": t} for t in ("v", None, "q", "y", "x")])
    assert match(a, by_place).pairs == [(0, 0), (1, 1), (2, 4), (3, 3)]


def test_another_model_is_scored_by_the_first_ones_references():
    first = read_predictions(
        [{"prediction": "a", "reference": "a", "index": 0}, {"prediction": "b", "reference": "c", "index": 1}]
    )
    add_scores(first)
    (other,) = read_models({"B": [{"prediction": "c", "index": 1}, {"prediction": "z", "index": 2}]}, first)
    assert other.scores["score"][0] > 0  # of one word: rouge1 and rougeL are 100, rouge2 is 0
    found = compare(first, other, "rougeL")
    assert (found.pairs, found.wins, found.ties, found.losses) == ([(0.0, 100.0)], 1, 0, 0)
    assert found.notes[0].startswith("B: matched by index; 1 samples only of the first model and 1 only of B")
    with pytest.raises(InputError, match="model 'C': it predicts class labels, the first one texts"):
        read_models({"C": [1, 2]}, first)
    assert read_models({"D": []}, first) == []
    assert first.notes[-1] == "D: there are no predictions: the list is empty"


def test_of_losses_and_error_rates_the_small_ones_are_good():
    lower = ("eval_loss", "WER", "word_error_rate", "error_rate", "cer_score", "mse", "eval/rmse", "perplexity")
    assert [name for name in (*lower, "rougeL", "flower", "bert_score") if lower_is_better(name)] == list(lower)
    first = read_predictions([{"prediction": "a", "wer": 0.5}])
    (other,) = read_models({"B": [{"prediction": "a", "wer": 0.2}]}, first)
    assert compare(first, other, "wer").wins == 1
    first.greater_is_better = True
    assert compare(first, other, "wer").losses == 1

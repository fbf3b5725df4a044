"""Odd input, counts, intervals, signature and metrics of one's own."""

import json

import pytest

from hf_monitor.errors import InputError
from hf_monitor.metrics import score_texts

PREDICTIONS = ["the cat sat on the mat", "dogs run far away", "it rained all day", "no"]
REFERENCES = [["a cat sat on a mat", "the cat sat"], ["dogs ran away quickly"], ["it rained all day"], ["yes it is"]]


def test_the_result_is_a_mapping():
    scores = score_texts(PREDICTIONS, REFERENCES)
    assert list(scores) == ["rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "score"]
    assert len(scores) == 6
    assert all(isinstance(value, float) and 0 <= value <= 100 for value in scores.values())
    assert scores.counts == {"samples": 4}
    for key in ("rouge1", "rouge2", "rougeL", "rougeLsum", "score"):
        assert scores[key] == pytest.approx(sum(row[key] for row in scores.per_sample) / 4)


def test_unequal_lengths_and_empty_sets_are_refused():
    with pytest.raises(InputError, match="2 predictions but references for 1"):
        score_texts(["a", "b"], ["a"])
    with pytest.raises(InputError, match="empty"):
        score_texts([], [])
    with pytest.raises(InputError, match="predictions must be a sequence"):
        score_texts("a", ["a"])
    with pytest.raises(InputError, match="references must be a sequence"):
        score_texts(["a"], "a")
    with pytest.raises(InputError, match=r"predictions\[1\] is of type int"):
        score_texts(["a", 3], ["a", "b"])
    with pytest.raises(InputError, match=r"references\[0\] holds a int"):
        score_texts(["a"], [[3]])
    with pytest.raises(InputError, match=r"references\[0\] is of type dict"):
        score_texts(["a"], [{"summary": "a"}])


def test_empty_and_missing_texts_score_0_and_are_counted():
    scores = score_texts(
        ["", None, "  ", "a b", "a b", "a b \ufffd"], ["a b", "a b", "a b", None, [], ["a b", "", None, float("nan")]]
    )
    assert [row["rouge1"] for row in scores.per_sample] == pytest.approx([0, 0, 0, 0, 0, 100])
    assert scores.counts == {
        "samples": 6,
        "predictions_empty": 2,
        "predictions_none": 1,
        "samples_without_reference": 2,
        "references_empty": 1,
        "predictions_with_cut_characters": 1,
    }
    assert scores["rouge1"] == pytest.approx(100 / 6)
    assert dict(score_texts([None], [None])) == dict.fromkeys(scores, 0.0)


def test_a_missing_reference_does_not_lower_the_mean():
    full = score_texts(["a b"], [["a b", "a c"]], multi_reference="mean")
    holes = score_texts(["a b"], [["a b", None, "a c", ""]], multi_reference="mean")
    assert full["rouge1"] == holes["rouge1"] == pytest.approx(75.0)


def test_intervals_are_opt_in_and_seeded():
    plain = score_texts(PREDICTIONS, REFERENCES)
    assert plain.intervals == {}
    assert "intervals" not in plain.signature["rouge"]
    first = score_texts(PREDICTIONS, REFERENCES, confidence=0.9, seed=1)
    again = score_texts(PREDICTIONS, REFERENCES, confidence=0.9, seed=1)
    other = score_texts(PREDICTIONS, REFERENCES, confidence=0.9, seed=2, resamples=50)
    assert dict(first) == dict(plain)
    assert first.intervals == again.intervals != other.intervals
    assert set(first.intervals) == {"rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "score"}
    for key, (low, high) in first.intervals.items():
        assert 0 <= low <= first[key] <= high <= 100
        assert low < high
    assert "seed 1" in first.signature["rouge"]["intervals"]
    wider = score_texts(PREDICTIONS, REFERENCES, confidence=0.99, seed=1).intervals["rouge1"]
    assert wider[0] <= first.intervals["rouge1"][0] < first.intervals["rouge1"][1] <= wider[1]
    with pytest.raises(InputError, match="confidence"):
        score_texts(PREDICTIONS, REFERENCES, confidence=95)


def test_intervals_of_equal_samples_have_no_width():
    scores = score_texts(["a b c d e"] * 5, ["a b c d f"] * 5, confidence=0.95, resamples=20)
    for key, (low, high) in scores.intervals.items():
        assert low == pytest.approx(scores[key])
        assert high == pytest.approx(scores[key])


def test_the_signature_is_json_and_one_line():
    signature = score_texts(PREDICTIONS, REFERENCES).signature
    assert json.loads(json.dumps(signature)) == signature
    line = str(signature)
    assert "\n" not in line
    for part in ("rouge_score 0.1.2", "porter", "var, max", "mean over samples", "tok:13a", "judged"):
        assert part in line
    assert "given" in score_texts(["a"], ["a"], language="en").signature["rouge"]["language"]


def test_extra_metrics():
    def lengths(predictions, references):
        return {"mean": sum(map(len, predictions)) / len(predictions), "references": len(references[0])}

    named = score_texts(["ab"], ["abc"], extra={"length": lengths, "one": lambda p, r: 1})
    assert named["length_mean"] == 2.0
    assert named["length_references"] == 1.0
    assert named["one"] == 1.0
    assert score_texts(["ab"], ["abc"], extra=lengths)["mean"] == 2.0
    with pytest.raises(InputError, match="already taken"):
        score_texts(["a"], ["a"], extra={"rouge1": lambda p, r: 0.0})
    with pytest.raises(InputError, match="not a number"):
        score_texts(["a"], ["a"], extra={"x": lambda p, r: "high"})
    with pytest.raises(InputError, match="must return a dict"):
        score_texts(["a"], ["a"], extra=lambda p, r: 1.0)
    with pytest.raises(InputError, match="extra must be"):
        score_texts(["a"], ["a"], extra={"x": 3})
    with pytest.raises(ZeroDivisionError):
        score_texts(["a"], ["a"], extra={"x": lambda p, r: 1 / 0})

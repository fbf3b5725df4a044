"""data_overlap: the event of a training's beginning -> a finding."""

import pytest

from hf_monitor.diagnosis.watcher import Watcher
from hf_monitor.seq2seq.overlap import text_overlap


def event(shared, pairs=0, n=500, name="eval", **more):
    values = {"n_evaluation": n, "n_shared_inputs": shared, "n_shared_pairs": pairs, "n_train": 2000, **more}
    return {"kind": "event", "event": "data_overlap", "step": 0, "name": name, **values}


def watch(*events, **thresholds):
    watcher = Watcher(thresholds=thresholds)
    for row in events:
        watcher.see(row)
    return next(finding for finding in watcher.verdicts() if finding.rule == "data_overlap")


def test_a_hundredth_of_the_evaluation_set_is_found():
    found = watch(event(50, 40, n_duplicates_train=3, examples=[[7, 1]]))
    assert (found.verdict, found.severity, found.value, found.n_samples) == ("found", "warning", 0.1, 500)
    assert (
        "Of 500 samples of the evaluation set 'eval' 50 have an input that stands in the training set" in found.sentence
    )
    assert "40 of them with the same target" in found.sentence
    assert found.evidence["examples"] == [[7, 1]]
    assert len(found.suggestions) == 2
    assert watch(event(5)).verdict == "found"
    assert watch(event(4)).verdict == "clear"
    assert watch(event(4), overlap_share=0.005).verdict == "found"


def test_shares_are_of_what_can_be_judged():
    found = watch(event(2, 2, n_left_out=300, n=500))
    assert (found.verdict, found.value, found.n_samples) == ("found", 0.01, 200)
    assert "Of 200 samples of the evaluation set 'eval' (300 more cannot be judged) 2 have" in found.sentence
    most = watch(event(0, n_left_out=251))
    assert (most.verdict, "most samples cannot be compared" in most.reason) == ("inconclusive", True)
    assert watch(event(0, n_left_out=250)).verdict == "clear"
    assert watch(event(0, n_left_out=500)).verdict == "inconclusive"


def test_one_sample_may_be_chance():
    assert watch(event(1, 1, n=20)).verdict == "clear"
    assert watch(event(2, 2, n=20)).verdict == "found"


def test_all_of_it_has_an_advice_of_its_own():
    assert "all in it" in watch(event(500, 500)).suggestions[0]


def test_an_evaluation_on_the_training_set_that_says_so_is_meant():
    silent = watch(event(500, 500, name="eval_train"), event(0, name="eval_test"))
    assert (silent.verdict, silent.evidence["name"]) == ("clear", "eval_test")
    assert "by its name" in watch(event(500, name="train_eval")).sentence
    assert watch(event(500, name="eval_train"), event(9, name="eval_ko")).evidence["name"] == "eval_ko"
    assert watch(event(500, name="eval_trained")).verdict == "found"


def test_of_a_part_the_share_is_projected_and_nothing_is_no_proof():
    part = {"n_train_read": 200, "n_evaluation_read": 500, "sampled": True}
    found = watch(event(3, 3, **part))
    assert (found.verdict, found.value) == ("found", pytest.approx(0.06))
    assert "judged by a part of the data" in found.sentence
    assert watch(event(0, **part)).verdict == "inconclusive"


def test_without_a_comparison_nothing_is_said():
    nothing = watch({"kind": "event", "event": "train_begin", "step": 0})
    assert (nothing.verdict, bool(nothing.reason)) == ("inconclusive", True)


@pytest.mark.parametrize("junk", [None, "x", [1], -1, 0, float("nan"), True, {}])
def test_rows_may_hold_anything(junk):
    for key in (
        "n_evaluation",
        "n_shared_inputs",
        "n_shared_pairs",
        "n_train",
        "name",
        "n_train_read",
        "examples",
        "n_left_out",
    ):
        assert watch({**event(50, 50), key: junk}).rule == "data_overlap"


def test_what_is_counted_is_what_is_judged():
    from hf_monitor.callbacks._overlap import overlap_events

    rows = [{"dialogue": f"a dialogue that is number {n}", "summary": str(n)} for n in range(40)]
    (values,) = overlap_events(rows[:30], rows[25:])
    found = watch({"kind": "event", "step": 0, **values})
    assert (found.verdict, found.value) == ("found", pytest.approx(5 / 15))
    assert found.evidence["examples"] == [list(pair) for pair in text_overlap(rows[:30], rows[25:]).examples]

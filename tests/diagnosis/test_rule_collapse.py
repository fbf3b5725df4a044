"""generation_collapse: when it speaks, what of, and what keeps it silent."""

import pytest

from hf_monitor.diagnosis.watcher import Watcher

SOUND = {"empty": 0.0, "repeated": 0.02, "same": 0.05, "shared": 0.1, "at_limit": 0.05, "words": 9.0}
REFERENCES = {"empty": 0.0, "repeated": 0.0, "same": 0.03, "shared": 0.0, "at_limit": 0.0, "words": 10.0}


def scores(step, score=20.0, name="eval", references=None, n=40, **texts):
    texts = {"n": n, "n_inputs": n, "n_distinct": 5, **SOUND, "examples": {"same": "one text"}, **texts}
    texts["references"] = {**REFERENCES, **(references or {})}
    return {"kind": "text_scores", "step": step, "name": name, "score": score, "texts": texts}


def watch(rows, max_steps=100, **thresholds):
    watcher = Watcher(thresholds=thresholds)
    watcher.see({"kind": "event", "event": "train_begin", "step": 0, "max_steps": max_steps})
    for row in rows:
        watcher.see(row)
    return next(finding for finding in watcher.verdicts() if finding.rule == "generation_collapse")


def evaluations(count, **texts):
    """Evaluations at even distances, with a score that does not rise."""
    return [scores(100 * (i + 1) // count, score=20.0 - 0.1 * i, **texts) for i in range(count)]


@pytest.mark.parametrize(
    ("kind", "texts", "says", "advice"),
    [
        ("empty", {"empty": 0.8}, "80 % are empty", "min_length"),
        ("repeated", {"repeated": 0.6}, "60 % repeat themselves", "no_repeat_ngram_size"),
        ("same", {"same": 0.55}, "55 % are one and the same", "learning rate"),
        ("shared", {"same": 0.4, "shared": 1.0}, "100 % stand for several different inputs", "label"),
        ("at_limit", {"at_limit": 0.9}, "90 % run into the length limit", "train on"),
    ],
)
def test_texts_that_stay_so_into_the_later_half_are_found(kind, texts, says, advice):
    found = watch(evaluations(10, **texts))
    assert (found.verdict, found.severity, found.evidence["kinds"]) == ("found", "warning", [kind])
    assert found.steps == (10, 50)
    assert found.value == texts.get(kind)
    assert found.n_samples == 40
    assert says in found.sentence
    assert "'eval' at step 50" in found.sentence
    assert advice in found.suggestions[0]


def test_the_beginning_of_a_training_is_no_collapse():
    early = evaluations(10, same=1.0, shared=1.0)[:4]
    assert watch(early).verdict == "inconclusive"
    assert watch([*early, *(scores(step, score=step) for step in (50, 60, 70))]).verdict == "clear"


def test_texts_whose_score_is_the_best_so_far_are_no_collapse_not_even_at_the_end():
    rising = [scores(step, score=step, shared=0.95) for step in range(10, 110, 10)]
    assert watch(rising).verdict == "inconclusive"
    assert watch([*rising[:-1], scores(100, score=50, shared=0.95)]).steps == (10, 100)


def test_a_try_of_few_steps_is_no_collapse():
    rows = [scores(step, score=20.0 - step / 10, shared=0.95) for step in (10, 20, 30, 40)]
    few = watch(rows, max_steps=40)
    assert (few.verdict, "too early to tell" in few.reason) == ("inconclusive", True)
    assert watch(rows, max_steps=40, collapse_steps=40).verdict == "found"
    assert watch([scores(10, score=40.0), scores(20, score=3.0, empty=1.0)], max_steps=40).verdict == "found"  # a fall


def test_a_fall_is_believed_at_once_but_while_the_loss_falls_only_the_second_time():
    def fallen(*losses):
        rows = [scores(10, score=40.0), scores(20, score=3.0, empty=1.0), scores(30, score=3.0, empty=1.0)]
        return [row for loss, one in zip(losses, rows, strict=False)
                for row in ({"kind": "eval", "step": one["step"], "eval_loss": loss}, one)]  # fmt: skip

    assert watch(fallen(3.0, 3.1)).steps == (20, 20)
    assert watch(fallen(3.0, 2.0)).verdict == "inconclusive"
    assert watch(fallen(3.0, 2.0, 1.5)).steps == (20, 30)


def test_one_bad_evaluation_is_not_enough():
    rows = [scores(step, empty=float(step == 70)) for step in range(10, 110, 10)]
    assert watch(rows).verdict == "clear"


def test_a_fall_from_sound_texts_is_found_at_once():
    rows = [scores(10, score=40.0), scores(20, score=3.0, empty=1.0)]
    found = watch(rows)
    assert (found.verdict, found.steps) == ("found", (20, 20))
    assert "At step 10 they were sound, with a score of 40.0; now it is 3.0." in found.sentence
    assert watch([scores(10, score=8.0), scores(20, score=1.0, empty=1.0)]).verdict == "inconclusive"  # garbage before
    assert watch([scores(10, score=40.0), scores(20, score=25.0, same=0.6)]).verdict == "inconclusive"
    assert watch([scores(10, score=40.0), scores(20, score=3.0)]).verdict == "clear"  # another rule's matter


def test_what_the_references_are_like_is_no_collapse():
    assert watch(evaluations(10, same=0.9, shared=1.0, references={"same": 0.8, "shared": 1.0})).verdict == "clear"
    assert watch(evaluations(10, empty=0.9, references={"empty": 0.7})).verdict == "clear"


def test_few_texts_that_follow_their_inputs_are_no_collapse():
    few = {"same": 0.6, "shared": 0.9}
    assert watch(evaluations(10, **few, fit={"own": 0.42, "others": 0.36, "z": 2.4})).verdict == "clear"
    assert watch(evaluations(10, **few, fit={"own": 0.42, "others": 0.36, "z": 0.9})).verdict == "found"
    trace = {"own": 0.37, "others": 0.36, "z": 2.4}
    assert watch(evaluations(10, **few, fit=trace)).evidence["fit"] == trace
    follows = {"own": 0.42, "others": 0.36, "z": 2.4}
    assert watch(evaluations(10, repeated=0.9, fit=follows)).verdict == "found"


def test_the_limit_says_why_texts_do_not_end():
    def advice(**references):
        return watch(evaluations(4, at_limit=1.0, references=references)).suggestions[0]

    assert "labels have no end token" in advice(at_limit=1.0)
    assert "generation_max_length" in advice(words=30.0)
    empty = watch(evaluations(4, at_limit=1.0, empty=1.0, references={"words": 30.0})).suggestions
    assert (len(empty), "generation_max_length" in empty[0]) == (1, False)  # of padding up to the limit


def test_sets_are_watched_apart_and_few_texts_say_nothing():
    rows = [row for one in evaluations(10) for row in (one, {**one, "name": "eval_ko"})]
    for row in rows[1::2]:
        row["texts"] = {**row["texts"], "empty": 1.0}
    assert watch(rows).evidence["name"] == "eval_ko"
    assert watch(evaluations(10, empty=1.0, n=9)).verdict == "inconclusive"
    assert "predict_with_generate" in watch([{"kind": "text_scores", "step": 1, "name": "eval", "score": 1.0}]).reason


def test_where_the_length_is_not_known_it_takes_more_evaluations():
    rows = evaluations(10, empty=1.0)
    assert watch(rows[:5], max_steps=None).verdict == "inconclusive"
    assert watch(rows, max_steps=None, collapse_steps=50).steps == (10, 60)
    assert watch(rows, max_steps=None).steps == (10, 100)  # not before the steps of a whole training


def test_thresholds_can_be_others():
    rows = evaluations(10, empty=0.4)
    assert watch(rows).verdict == "clear"
    assert watch(rows, collapse_share=0.3).verdict == "found"


@pytest.mark.parametrize(
    "junk", [None, [], "x", {"n_inputs": "many"}, {"n_inputs": 40, "references": 3, "examples": 1}]
)
def test_rows_may_hold_anything(junk):
    rows = [{**scores(step, empty=1.0), "texts": junk} for step in (50, 60)]
    assert watch(rows).verdict in ("inconclusive", "clear")
    odd = evaluations(4, empty=1.0)
    for row in odd:
        row["texts"]["examples"] = row["texts"]["references"] = row["texts"]["fit"] = junk
        row["score"] = junk
    assert watch(odd).verdict == "found"

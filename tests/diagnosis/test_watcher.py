"""The watcher: which rows a rule sees, how often it speaks, and what a resumed training is made of."""

from dataclasses import replace

import pytest

from hf_monitor.diagnosis import Finding
from hf_monitor.diagnosis.rules.base import Rule
from hf_monitor.diagnosis.watcher import Watcher, lineage
from hf_monitor.errors import InputError


class Above(Rule):
    """Speaks at the first loss above 5."""

    name, kinds = "above", frozenset({"train", "event"})

    def __init__(self, about):
        super().__init__(about)
        self.seen = []

    def see(self, row):
        self.seen.append(row.get("step"))
        if row.get("loss", 0) > 5:
            return Finding(rule=self.name, verdict="found", severity="warning", sentence=f"loss {row['loss']}")
        return None

    def verdict(self):
        return self.nothing("", missing="" if self.seen else "no rows")


class Failing(Rule):
    name, kinds = "failing", frozenset({"train"})

    def see(self, row):
        raise ZeroDivisionError

    def verdict(self):
        return self.nothing("")


def train(step, loss, attempt=1, **more):
    return {"time": float(step), "attempt": attempt, "step": step, "kind": "train", "loss": loss, **more}


def begin(step, attempt, **more):
    row = {"time": 0.0, "attempt": attempt, "step": step, "kind": "event", "event": "train_begin"}
    return {**row, "max_steps": 9, **more}


def test_a_rule_speaks_once_and_is_not_asked_again():
    watcher = Watcher(rules=[Above])
    found = [len(watcher.see(train(step, loss))) for step, loss in enumerate([1.0, 6.0, 7.0], start=1)]
    assert found == [0, 1, 0]
    assert [finding.sentence for finding in watcher.findings] == ["loss 6.0"]
    assert [finding.verdict for finding in watcher.verdicts()] == ["found"]


def test_a_rule_that_saw_nothing_says_that_it_could_not_look():
    (verdict,) = Watcher(rules=[Above]).verdicts()
    assert (verdict.verdict, verdict.reason) == ("inconclusive", "no rows")


def test_evaluations_outside_of_the_training_and_odd_rows_are_passed_by():
    watcher = Watcher(rules=[Above])
    odd = [{"kind": ["train"], "loss": 9.0}, {"loss": 9.0}, {}, train(1, 9.0, standalone=True)]
    assert [watcher.see(row) for row in odd] == [[], [], [], []]


def test_the_beginning_tells_how_long_the_training_is_and_where_it_goes_on():
    watcher = Watcher(rules=[Above])
    watcher.see(begin(4, 2))
    assert (watcher.about.max_steps, watcher.about.first_step) == (9, 4)
    watcher.see(begin("x", 2, max_steps=None))
    assert (watcher.about.max_steps, watcher.about.first_step) == (9, 4)


def test_muted_rules_are_left_out_and_unknown_ones_refused():
    watcher = Watcher(rules=[Above], mute="above")
    assert (watcher.see(train(1, 9.0)), watcher.verdicts()) == ([], [])
    with pytest.raises(InputError, match=r"no rule 'belwo' to mute\. There are: above\."):
        Watcher(rules=[Above], mute={"belwo"})


def test_a_rule_that_fails_is_left_out_and_the_others_go_on():
    failed = []
    watcher = Watcher(rules=[Failing, Above], on_error=lambda rule, error: failed.append((rule.name, type(error))))
    assert [len(watcher.see(train(step, 6.0))) for step in (1, 2)] == [1, 0]
    assert failed == [("failing", ZeroDivisionError)]
    assert [finding.rule for finding in watcher.verdicts()] == ["above"]
    with pytest.raises(ZeroDivisionError):
        Watcher(rules=[Failing]).see(train(1, 1.0))


class OfTheMachine(Above):
    name, of_attempt = "machine", True


def test_what_is_about_the_machine_is_judged_anew_when_a_training_resumes():
    watcher = Watcher(rules=[OfTheMachine, Above])
    rows = [begin(0, 1), train(1, 6.0), begin(1, 2, resumed_attempt=1)]
    assert [[finding.rule for finding in watcher.see(row)] for row in rows] == [[], ["machine", "above"], []]
    assert [(finding.rule, finding.verdict) for finding in watcher.verdicts()] == [
        ("above", "found"),
        ("machine", "clear"),
    ]
    assert [finding.rule for finding in watcher.see(train(2, 7.0, 2))] == ["machine"]


class Graver(Above):
    """A warning above 5, an error above 8."""

    name, kinds, may_worsen = "graver", frozenset({"train"}), True

    def see(self, row):
        found = super().see(row)
        return replace(found, rule=self.name, severity="error") if found and row["loss"] > 8 else found


def test_a_rule_looks_again_where_an_event_says_so_and_what_it_found_stays_until_then():
    watcher = Watcher(rules=[Graver])
    rows = [train(1, 9.0), train(2, 9.1), {"kind": "event", "event": "watch_again", "rules": ["graver", 3]}]
    assert [len(watcher.see(row)) for row in rows] == [1, 0, 0]
    assert [finding.sentence for finding in watcher.verdicts()] == ["loss 9.0"]
    assert [len(watcher.see(row)) for row in (train(3, 6.0), train(4, 9.2), train(5, 9.3))] == [0, 1, 0]
    assert [finding.sentence for finding in watcher.findings] == ["loss 9.0", "loss 9.2"]
    assert [finding.sentence for finding in watcher.verdicts()] == ["loss 9.2"]
    watcher.see({"kind": "event", "event": "watch_again", "rules": "graver"})  # not ours
    assert watcher.see(train(6, 9.4)) == []


class Effect(Above):
    name, kinds, follows_from = "effect", frozenset({"train", "eval"}), frozenset({"above"})


def test_a_rule_keeps_silent_once_another_has_named_the_cause():
    evaluation = {"kind": "eval", "step": 2, "loss": 9.0}
    watcher = Watcher(rules=[Effect])
    assert [finding.rule for finding in watcher.see(evaluation)] == ["effect"]
    watcher = Watcher(rules=[Effect, Above])
    assert [finding.rule for finding in watcher.see(train(1, 6.0))] == ["above"]  # of the same row, too
    assert watcher.see(evaluation) == []
    assert [(finding.rule, finding.verdict) for finding in watcher.verdicts()] == [
        ("above", "found"),
        ("effect", "inconclusive"),
    ]
    assert watcher.verdicts()[1].reason == "it would follow from above."


class Worsening(Above):
    name, may_worsen = "worsening", True

    def see(self, row):
        loss = row["loss"]
        severity = "error" if loss > 9 else "warning" if loss > 7 else "info"
        return Finding(rule=self.name, verdict="found", severity=severity, sentence=f"loss {loss}")


def test_a_rule_may_speak_again_of_what_has_become_worse_and_never_after_an_error():
    watcher = Watcher(rules=[Worsening])
    losses = [1.0, 2.0, 8.0, 2.0, 8.5, 9.5, 9.9]
    found = [[one.severity for one in watcher.see(train(step, loss))] for step, loss in enumerate(losses, start=1)]
    assert found == [["info"], [], ["warning"], [], [], ["error"], []]
    assert [one.sentence for one in watcher.verdicts()] == ["loss 9.5"]


def steps(rows):
    return [(row["attempt"], row["step"], row["kind"]) for row in rows]


def test_a_resumed_training_goes_on_from_what_its_checkpoint_had():
    first = [begin(0, 1), *(train(step, 1.0, 1) for step in range(1, 6))]
    second = [begin(3, 2, resumed_attempt=1), train(4, 1.0, 2), train(5, 1.0, 2)]
    third = [begin(2, 3, resumed_attempt=1), train(3, 1.0, 3)]
    expected = [(1, 0, "event"), *((1, step, "train") for step in (1, 2, 3))]
    assert steps(lineage(first + second)) == [*expected, (2, 3, "event"), (2, 4, "train"), (2, 5, "train")]
    assert steps(lineage(first + second + third)) == [*expected[:3], (3, 2, "event"), (3, 3, "train")]


def test_a_training_that_begins_anew_leaves_nothing_of_the_one_before():
    rows = [begin(0, 1), train(1, 9.0, 1), begin(0, 2), train(1, 1.0, 2)]
    assert steps(lineage(rows)) == [(2, 0, "event"), (2, 1, "train")]


def test_an_attempt_that_only_evaluates_takes_nothing_away():
    rows = [begin(0, 1), train(1, 1.0, 1), {"attempt": 2, "step": 0, "kind": "eval", "eval_loss": 3.0}]
    assert steps(lineage(rows)) == [(1, 0, "event"), (1, 1, "train")]
    assert lineage([]) == []

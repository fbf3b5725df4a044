"""What drives a loss up: divergence, a rate that is too high, harder data or a spike; and whose rate it is."""

import math
import random

import pytest

from hf_monitor.diagnosis.rules import RULES
from hf_monitor.diagnosis.rules.best_evaluation import BestEvaluation
from hf_monitor.diagnosis.watcher import Watcher

NAMES = ("divergence", "learning_rate_high", "gradient_clipped", "plateau", "overfitting", "learning_rate_ineffective")
ARGUMENTS = {"learning_rate": 5e-5, "optim": "adamw_torch", "max_grad_norm": 1.0, "warmup_steps": 10}
BY_STEPS = {"eval_strategy": "steps", "eval_steps": 500}


def rows_of(loss, *, n=1000, every=1, noise=0.1, seed=0, rate=None, norm=None, evaluate=None, eval_every=0):
    """Make rows; `loss`, `rate`, `norm` and `evaluate` take the step."""
    rng = random.Random(seed)
    rows = [{"kind": "event", "event": "train_begin", "step": 0, "max_steps": n}]
    for step in range(every, n + 1, every):
        row = {"kind": "train", "step": step, "loss": loss(step) + rng.gauss(0.0, noise)}
        rows.append(
            row
            | {"grad_norm": math.exp(rng.gauss(0.0, 0.3)) * (norm(step) if norm else 1.0)}
            | {"learning_rate": rate(step) if rate else 5e-5 * (1 - step / (n + 1))}
        )
        if eval_every and step % eval_every == 0:
            rows.append({"kind": "eval", "step": step, "eval_loss": evaluate(step), "eval_runtime": 0.1})
    return rows


def watch(rows, names=("divergence",), facts=None, **arguments):
    known = {"arguments": ARGUMENTS | arguments} | (facts or {})
    watcher = Watcher(known, rules=[rule for rule in RULES if rule.name in names])
    for row in rows:
        watcher.see(row)
    return watcher


def said(watcher):
    return [(finding.rule, finding.severity) for finding in watcher.findings]


def learns(step):
    return 1.6 + 0.5 * math.exp(-step / 500)


def harder(step):
    return 0.8 if step < 400 else 2.4


def breaks(step):
    return 2.1 - 0.001 * step if step < 400 else 6.5


# --- divergence: harder data, and what evaluations say ---


def test_without_an_evaluation_a_rise_is_a_warning_that_names_the_other_cause():
    watcher = watch(rows_of(harder))
    assert said(watcher) == [("divergence", "warning")]
    assert "data that are harder" in watcher.findings[0].sentence
    assert "shuffled data" in watcher.findings[0].suggestions[0]
    assert watcher.findings[0].evidence["confirmed"] is False


@pytest.mark.no_cover
@pytest.mark.parametrize("worse", [0.97, 1.0, 1.05, 1.3])
def test_an_evaluation_that_lost_no_real_part_of_what_was_learnt_denies_it(worse):
    watcher = watch(rows_of(harder, evaluate=lambda step: 2.0 * (worse if step > 400 else 1.0), eval_every=250))
    assert said(watcher) == []


def test_an_evaluation_that_lost_it_too_confirms_it():
    watcher = watch(rows_of(breaks, evaluate=lambda step: breaks(step) + 0.1, eval_every=100))
    assert said(watcher) == [("divergence", "error")]
    assert watcher.findings[0].steps[1] == 500  # that of step 400 came too early to tell; at 500 it has lasted


@pytest.mark.no_cover
def test_the_first_evaluation_tells_nothing_and_the_second_denies_or_is_waited_for():
    better = rows_of(harder, n=1600, evaluate=lambda step: 3.0 - step / 1000, eval_every=500)
    assert said(watch(better, **BY_STEPS)) == []
    assert said(watch(better[:700], **BY_STEPS)) == []
    assert said(watch(better[:700])) == [("divergence", "warning")]  # nobody knows that there will be one
    alike = rows_of(breaks, n=2600, evaluate=lambda step: 6.6, eval_every=500)
    found = watch(alike, **BY_STEPS).findings
    assert [(one.severity, one.steps[1]) for one in found] == [("warning", 1476), ("error", 1500)]


@pytest.mark.parametrize(
    "arguments", [{"eval_strategy": "epoch", "num_train_epochs": 4}, {"eval_strategy": "steps", "eval_steps": 0.25}]
)
def test_an_evaluation_that_never_comes_is_not_waited_for_for_ever(arguments):
    (found,) = watch(rows_of(breaks, n=2000), **arguments).findings
    assert found.severity == "warning"
    assert 1000 < found.steps[1] - 400 < 1100  # two evaluations would have come


def test_without_a_plan_an_evaluation_is_waited_for_four_times_as_long_as_a_rise_has_to_last():
    rows = rows_of(breaks, evaluate=learns, eval_every=10)
    (found,) = watch([row for row in rows if row["kind"] != "eval" or row["step"] < 400]).findings
    assert found.severity == "warning"
    assert 520 <= found.steps[1] <= 530


def test_each_evaluation_set_is_asked():
    def both(easy):
        rows = rows_of(breaks, evaluate=breaks, eval_every=100)
        other = [
            {"kind": "eval", "step": row["step"], "eval_ko_loss": easy(row["step"]), "eval_ko_runtime": 0.1}
            for row in rows
            if row["kind"] == "eval"
        ]
        return sorted([*rows, *other], key=lambda row: row["step"])

    assert said(watch(both(learns))) == []
    assert said(watch(both(breaks))) == [("divergence", "error")]


def test_a_warning_becomes_an_error_once_it_is_confirmed_and_nothing_is_said_twice():
    rows = rows_of(breaks, n=600)
    late = [{"kind": "eval", "step": step, "eval_loss": 6.6} for step in (600, 601, 602, 603)]
    watcher = watch(rows)
    assert said(watcher) == [("divergence", "warning")]
    for row in late:
        watcher.see(row)
    assert said(watcher) == [("divergence", "warning"), ("divergence", "error")]
    assert [one.severity for one in watcher.verdicts()] == ["error"]


# --- divergence: spikes, and what ends as NaN ---


@pytest.mark.no_cover
@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize(("height", "steps"), [(3.0, 20), (3.0, 60), (1.5, 100), (3.0, 100)])
def test_a_spike_that_recovers_is_no_divergence_however_slowly(height, steps, every):
    def spike(step):
        return learns(step) + (height * math.exp(-(step - 1000) / steps) if step >= 1000 else 0.0)

    for seed in range(3):
        assert said(watch(rows_of(spike, n=1500, every=every, seed=seed))) == []


def test_a_level_that_falls_a_little_and_rests_has_diverged():
    def overshoots(step):
        return learns(step) + (3.0 + 3.0 * math.exp(-(step - 500) / 20) if step >= 500 else 0.0)

    (found,) = watch(rows_of(overshoots)).findings
    assert 560 < found.steps[1] < 650  # the time that it has to last is begun anew


def test_a_loss_that_leaps_about_far_above_has_diverged_though_it_is_below_its_highest():
    (found,) = watch(rows_of(lambda step: learns(step) if step < 200 else (90.0 if step < 215 else 50.0))).findings
    assert found.steps[1] < 240


@pytest.mark.parametrize(
    "end", [{"loss": math.nan}, {"loss": math.inf}, {"loss": 0.0, "grad_norm": math.nan}, {"nonfinite_steps": 1}]
)
def test_what_rises_and_then_is_not_finite_has_diverged_at_once(end):
    rows = rows_of(lambda step: 2.0 + math.exp(step - 40) if step > 40 else 2.0, n=50)
    last = rows[-1] | {"step": 51} | end
    watcher = watch([*rows, last], **BY_STEPS)
    assert said(watcher) == [("divergence", "error")]
    assert watcher.findings[0].steps[1] == 51
    assert said(watch([*rows[:30], last])) == []  # without a rise it is nan's


# --- the learning rate ---

WANDERS = ("divergence", "learning_rate_high")


def waves(step):
    return 2.0 + math.exp(-step / 200) + 0.4 * math.sin(step / 40)


def test_waves_without_an_evaluation_are_for_the_record_unless_there_is_a_second_sign():
    watcher = watch(rows_of(waves), WANDERS)
    assert said(watcher) == [("learning_rate_high", "info")]
    assert "may be too high, or some data are harder" in watcher.findings[0].sentence
    longer = watch(rows_of(waves, norm=lambda step: 3.0 if math.sin(step / 40) > 0 else 1.0), WANDERS)
    assert said(longer)[-1] == ("learning_rate_high", "warning")
    assert said(watch(rows_of(waves, evaluate=lambda step: 2.2 - step / 1e4, eval_every=100), WANDERS)) == []


def test_what_diverged_is_not_said_to_have_too_high_a_rate_as_well():
    assert said(watch(rows_of(breaks), WANDERS)) == [("divergence", "warning")]


def test_a_restart_of_the_schedule_may_lift_the_losses():
    def rate(step):
        return 5e-5 * (1 + math.cos(math.pi * (step % 500) / 500)) / 2

    def restarts(step):
        return 1.6 + 0.4 * math.exp(-step / 300) + 0.5 * (1 - step % 500 / 500) * (step >= 500)

    rows = rows_of(restarts, n=1500, rate=rate, evaluate=restarts, eval_every=50)
    assert said(watch(rows, WANDERS)) == []
    assert said(watch(rows_of(restarts, n=1500, evaluate=restarts, eval_every=50), WANDERS)) != []


def test_an_overfitting_or_a_loss_that_still_falls_is_not_counted_against_the_rate():
    def worse(training):
        known = BestEvaluation(worse=0.03)
        for step, loss in enumerate(training):
            known.learn(loss)
            known.see({"eval_loss": 2.0 if step == 0 else 2.2})
        return known.n_worse

    assert worse([2.0, 2.0, 2.0]) == 2
    assert worse([2.0, 1.8, 1.6]) == 0  # it falls
    assert worse([1.0, 1.0, 1.0]) == 0  # it is below 0.7 of the evaluation's: known by heart


# --- whose optimizer and rate ---


def fast(rate):
    return rows_of(learns, n=200, rate=lambda step: rate)


WHOLE = {"model": {"class": "T5ForConditionalGeneration", "n_parameters": 10**6, "n_trainable": 10**6}}


def test_a_rate_is_judged_by_the_optimizer_that_there_is():
    rule = ("learning_rate_high",)
    assert said(watch(fast(0.5), rule, WHOLE, learning_rate=0.5)) == [("learning_rate_high", "warning")]
    own = {"optimizer": {"class": "SGD", "learning_rates": [0.5]}}
    assert said(watch(fast(0.5), rule, WHOLE | own, learning_rate=0.5)) == []
    assert said(watch(fast(0.5), rule, WHOLE)) == []  # above the arguments' rate: the user's own, of whatever kind
    adam = {"optimizer": {"class": "AdamW", "learning_rates": [0.5]}}
    (found,) = watch(fast(0.5), rule, WHOLE | adam).findings
    assert found.suggestions[0] == "a learning rate of 0.001 (its peak was 0.5)"


def test_what_is_suggested_goes_from_the_rate_that_was_seen():
    (found,) = watch(rows_of(breaks, rate=lambda step: 1e-3)).findings
    assert found.suggestions[1] == "a learning rate 10 times lower (its peak was 0.001)"
    sgd = {"optimizer": {"class": "SGD", "learning_rates": [1e-5]}}
    (found,) = watch(rows_of(breaks, rate=lambda step: 1e-5), facts=sgd).findings
    assert found.suggestions[1] == "a learning rate 10 times lower (its peak was 1e-05)"


def test_clipping_is_judged_by_the_optimizer_that_there_is():
    rows = rows_of(learns, n=200, norm=lambda step: 40.0)
    sgd = {"optimizer": {"class": "SGD", "learning_rates": [5e-5]}}
    assert said(watch(rows, ("gradient_clipped",))) == [("gradient_clipped", "info")]
    assert said(watch(rows, ("gradient_clipped",), sgd)) == [("gradient_clipped", "warning")]
    adam = {"optimizer": {"class": "AdamW", "learning_rates": [5e-5]}}
    assert said(watch(rows, ("gradient_clipped",), adam, optim="sgd")) == [("gradient_clipped", "info")]


# --- next to nothing ---


@pytest.mark.parametrize(
    ("model", "n"),
    [
        ({"class": "X"}, 1),
        ({"class": "X", "trained": ["encoder.norm.weight"]}, 1),
        ({"class": "X", "trained": ["classifier.weight", "classifier.bias"]}, 0),
        ({"class": "BertForSequenceClassification"}, 0),
    ],
)
def test_a_head_alone_may_learn_slowly(model, n):
    facts = {"model": {"n_trainable": 1538, "n_parameters": 109_483_778} | model}
    rows = rows_of(lambda step: 0.69 - 0.00004 * step, noise=0.02)
    assert len(watch(rows, ("learning_rate_ineffective",), facts).findings) == n


def test_of_a_loss_about_zero_no_share_is_taken_where_there_is_a_gradient():
    rule = ("learning_rate_ineffective",)
    assert said(watch(rows_of(lambda step: 0.0, noise=0.0), rule)) == []
    frozen = rows_of(lambda step: 0.0, noise=0.0, norm=lambda step: 0.0)
    assert said(watch(frozen, rule)) == [("learning_rate_ineffective", "warning")]


# --- scatter ---


def test_a_rest_that_its_scatter_may_hide_a_fall_in_is_no_plateau():
    def rests(step):
        return 1.5 + 4.5 * math.exp(-step / 20)

    assert said(watch(rows_of(rests, n=400, rate=lambda step: 5e-5, noise=0.02), ("plateau",))) == [("plateau", "info")]
    assert said(watch(rows_of(rests, n=400, rate=lambda step: 5e-5, noise=1.0), ("plateau",))) == []


@pytest.mark.no_cover
def test_evaluations_that_only_scatter_are_hardly_ever_called_overfitting():
    found = 0
    for seed in range(40):
        rng = random.Random(seed)
        rows = rows_of(
            lambda step: 1.2 + 0.8 * math.exp(-step / 400),
            every=20,
            seed=seed,
            evaluate=lambda step, rng=rng: 1.7 + 0.3 * math.exp(-step / 100) + rng.gauss(0.0, 0.034),
            eval_every=20,
        )
        found += len(watch(rows, ("overfitting",)).findings)
    assert found <= 2


@pytest.mark.parametrize(("slope", "expected"), [(-0.9, "was never lower for long"), (0.0001, "its lowest was 1")])
def test_a_level_that_is_the_lowest_is_not_compared_with_a_higher_lowest(slope, expected):
    watcher = watch(rows_of(lambda step: 1.0 + slope * step / 1000, noise=0.0))
    (clear,) = watcher.verdicts()
    assert clear.verdict == "clear"
    assert expected in clear.sentence
    assert ("its lowest was" in clear.sentence) == (slope > 0)

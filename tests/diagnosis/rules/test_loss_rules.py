"""The rules about loss, gradient, learning rate and scores: each on rows as a training writes them."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.diagnosis.rules import RULES
from hf_monitor.diagnosis.rules.evaluations import Evaluations, RunningMean
from hf_monitor.diagnosis.watcher import Watcher

NAMES = (
    "nan",
    "divergence",
    "learning_rate_high",
    "learning_rate_ineffective",
    "gradient_clipped",
    "plateau",
    "overfitting",
    "rouge_falls",
)
OURS = [rule for rule in RULES if rule.name in NAMES]
KEYS = st.sampled_from(
    (
        *("step", "loss", "grad_norm", "learning_rate", "eval_loss", "eval_ko_loss", "eval_rougeL"),
        *(
            "max_steps",
            "nonfinite_steps",
            "loss_scale",
            "n_trainable",
            "n_parameters",
            "class",
            "fp16",
            "optim",
            "max_grad_norm",
        ),
        *("save_total_limit", "weight_decay", "warmup_steps"),
    )
)
KINDS = st.sampled_from(
    [
        {"kind": "train"},
        {"kind": "eval"},
        *({"kind": "event", "event": e} for e in ("train_begin", "save", "nonfinite")),
    ]
)
VALUES = st.one_of(
    st.sampled_from(["adamw_torch", "Peft", "", None, True, {}, []]),
    st.integers(-5, 50),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 1e308, -1e308, 1e-320, math.nan, math.inf]),
)
ARGUMENTS = {
    "learning_rate": 5e-5,
    "optim": "adamw_torch",
    "max_grad_norm": 1.0,
    "fp16": False,
    "weight_decay": 0.0,
    "load_best_model_at_end": False,
    "save_total_limit": None,
    "warmup_steps": 0,
}


def begin(max_steps):
    return {"kind": "event", "event": "train_begin", "step": 0, "max_steps": max_steps}


def train(step, loss, *, norm=1.0, rate=5e-5, **more):
    return {"kind": "train", "step": step, "loss": loss, "grad_norm": norm, "learning_rate": rate, **more}


def save(step):
    return {"kind": "event", "event": "save", "step": step, "checkpoint": f"out/checkpoint-{step}"}


def training(
    level,
    *,
    n=200,
    every=1,
    noise=0.05,
    seed=0,
    rate=5e-5,
    warm=0.1,
    evaluations=8,
    eval_loss=None,
    saves=False,
    **more,
):
    """Make the rows of a training: `level`, `eval_loss` and `score` take the share of the training that is done."""
    rng = random.Random(seed)
    rows = [begin(n * every)]
    norm, score = more.get("norm", lambda done: 1.0), more.get("score")
    next_one = 1
    for k in range(1, n + 1):
        done, step = k / n, k * every
        now = rate * min(1.0, done / warm) if warm else rate
        rows.append(train(step, level(done) + rng.gauss(0.0, noise), norm=norm(done), rate=now))
        if evaluations and done >= next_one / evaluations - 1e-9:
            next_one += 1
            row = {"kind": "eval", "step": step, "eval_loss": (eval_loss or level)(done) * (1 + rng.gauss(0.0, 0.002))}
            rows += [row | ({"eval_rougeL": score(done)} if score else {})] + ([save(step)] if saves else [])
    return rows


def watch(rows, *, model=None, **arguments):
    watcher = Watcher({"arguments": ARGUMENTS | arguments, "model": model or {}}, rules=OURS)
    for row in rows:
        watcher.see(row)
    return watcher


def only(watcher):
    assert len(watcher.findings) == 1, [str(finding) for finding in watcher.findings]
    return watcher.findings[0]


def alarm(watcher):
    (found,) = [finding for finding in watcher.findings if finding.severity != "info"]
    return found


def falls(done, start=6.0, end=1.5, speed=6.0):
    return end + (start - end) * math.exp(-speed * done)


# --- healthy ---


@pytest.mark.parametrize(
    "rows",
    [
        training(falls),
        training(lambda done: falls(done, 2.1, 1.6), noise=0.3, n=600),  # fine-tuning, every step logged
        training(lambda done: falls(done, 2.1, 1.6), noise=0.3, n=600, evaluations=0),
        training(lambda done: falls(done, 10.4, 2.5) + 4.0 * (0.5 < done < 0.52), n=1000, every=100),  # a spike
        training(lambda done: falls(done, 10.0, 2.5, 20) + max(0.0, 0.8 - 16 * abs(done - 0.08)), n=300),  # a bump
        training(lambda done: falls(done, 0.69, 0.0005, 20), noise=0.0, evaluations=3, n=40),
        training(lambda done: 0.02 * done, noise=0.03, evaluations=0),  # as of GRPO: about 0, and rises
        training(lambda done: falls(done, 1.8, 1.76), noise=0.02, n=300),  # goes on from a good checkpoint
        training(
            lambda done: 0.8 if done < 0.5 else 2.4, eval_loss=lambda done: falls(done, 2.0, 1.0, 2)
        ),  # harder data
    ],
    ids=[
        "seq2seq",
        "noisy",
        "noisy, no evaluation",
        "spike",
        "bump",
        "to zero",
        "about zero",
        "goes on",
        "harder data",
    ],
)
def test_a_healthy_training_raises_no_alarm(rows):
    assert [str(finding) for finding in watch(rows).findings if finding.severity != "info"] == []


def test_a_healthy_training_is_clear_of_everything_and_a_short_one_of_nothing():
    verdicts = {one.rule: one.verdict for one in watch(training(falls, score=lambda done: 40 * done)).verdicts()}
    assert verdicts == dict.fromkeys(NAMES, "clear")
    short = watch([begin(100), train(1, 6.0)]).verdicts()
    assert {one.rule: one.verdict for one in short} == dict.fromkeys(NAMES, "inconclusive") | {"nan": "clear"}
    assert all(one.reason for one in short if one.verdict == "inconclusive")


# --- nan ---


@pytest.mark.parametrize(
    ("bad", "which"),
    [
        (train(3, math.nan), "loss"),
        (train(3, math.inf), "loss"),
        (train(3, 1.0, nonfinite_steps=2), "loss"),
        (train(3, 0.0, norm=math.nan), "loss"),  # the Trainer's filter
        (train(3, 1.0, norm=math.inf), "grad_norm"),
        (save(3) | {"nonfinite_steps": 1}, "loss"),
        ({"kind": "train_summary", "step": 3, "train_loss": math.nan}, "loss"),  # little is logged
        ({"kind": "train_summary", "step": 3, "train_loss": 0.1, "nonfinite_steps": 1}, "loss"),
        ({"kind": "event", "event": "nonfinite", "step": 3, "loss": math.nan}, "loss"),
    ],
)
def test_what_is_not_finite_is_found_at_once(bad, which):
    finding = only(watch([begin(9), train(1, 2.5), train(2, 2.4), save(2), bad]))
    assert (finding.rule, finding.severity, finding.steps, finding.evidence["which"]) == ("nan", "error", (2, 3), which)
    assert "2.4 at step 2" in finding.sentence
    rate = "learning_rate=5e-06 (now 5e-05)"
    anew = f"begin anew from the weights of checkpoint-2 (from_pretrained, no resume) with {rate}"
    assert finding.suggestions[0] == anew


def test_an_evaluation_alone_that_is_not_finite_is_a_warning_and_what_comes_after_is_still_looked_at():
    bad = {"kind": "eval", "step": 3, "eval_ko_loss": math.nan, "eval_ko_runtime": 0.1}
    watcher = watch([begin(9), train(1, 2.5), bad, bad | {"step": 4}, train(5, 2.4)])
    assert (only(watcher).severity, only(watcher).evidence["which"]) == ("warning", "eval_ko_loss")
    watcher.see(train(6, math.nan))
    assert [finding.severity for finding in watcher.findings] == ["warning", "error"]
    assert [one.severity for one in watcher.verdicts() if one.rule == "nan"] == ["error"]
    assert only(watch([begin(9), bad])).severity == "error"  # no training loss tells otherwise


def test_a_metric_whose_name_ends_with_loss_is_no_validation_loss():
    rows = [{"kind": "eval", "step": k, "eval_loss": 2.0, "eval_runtime": 0.1, "eval_kl_loss": k} for k in range(1, 9)]
    rows[-1]["eval_aux_loss"] = math.nan
    assert watch([begin(9), *(row for k in range(8) for row in (train(k + 1, 2.0 - 0.1 * k), rows[k]))]).findings == []


@pytest.mark.parametrize(("every", "n", "found"), [(1, 17, False), (1, 18, True), (10, 2, False), (10, 3, True)])
def test_fp16_leaves_out_steps_until_its_factor_is_used_up(every, n, found):
    rows = [begin(900), train(every, 2.5), *(train(every * (k + 2), 2.5, norm=math.nan) for k in range(n))]
    watcher = watch([*rows, train(every * (n + 3), 2.4)], fp16=True)
    assert [finding.rule for finding in watcher.findings] == ["nan"] * found
    lost = watch([begin(9), train(1, 2.5), train(2, math.nan, norm=math.nan)], fp16=True)
    assert "bf16=True" in only(lost).suggestions[0]
    rows = [begin(9), train(1, math.nan, norm=math.nan)]
    for capability, advice in (("7.5", "fp16=False"), ("8.0", "bf16=True")):
        devices = {"device": "cuda:0", "gpus": [{"compute_capability": capability}]}
        watcher = Watcher({"arguments": ARGUMENTS | {"fp16": True}, "devices": devices}, rules=OURS)
        assert [advice in finding.suggestions[0] for row in rows for finding in watcher.see(row)] == [True]


# --- divergence ---


@pytest.mark.parametrize(
    ("level", "noise"),
    [
        (lambda done: falls(done, 2.1, 1.6) if done < 0.5 else 6.5, 0.3),
        (lambda done: 2.1 + (4.0 * (done - 0.05) / 0.1 if 0.05 < done < 0.15 else 4.0 * (done >= 0.15)), 0.3),
        (lambda done: falls(done, 10.4, 3.0) if done < 0.4 else 7.0, 0.1),
        (lambda done: falls(done, 0.69, 0.05) if done < 0.4 else 0.69, 0.03),  # two classes: back to a guess
    ],
    ids=["fine-tuning", "in the warm-up", "pretraining", "classes"],
)
def test_a_loss_that_stays_far_above_its_lowest_has_diverged(level, noise):
    watcher = watch(training(level, n=400, noise=noise, saves=True))
    finding = next(one for one in watcher.findings if one.rule == "divergence")
    assert finding.severity == "error"
    assert finding.value > finding.threshold > finding.evidence["lowest"]
    assert finding.suggestions[-1] == "learning_rate=5e-06 (now 5e-05)" or "warmup_steps" in finding.suggestions[-1]
    if finding.evidence["lowest_step"] >= 50:  # that of the first checkpoint
        assert "(from_pretrained, no resume) with learning_rate=5e-06" in finding.suggestions[0]


def test_where_little_is_logged_the_evaluations_tell_of_a_divergence_but_not_of_overfitting():
    down = [{"kind": "eval", "step": k, "eval_loss": 2.0 - 0.2 * k} for k in range(1, 4)]
    up = [{"kind": "eval", "step": k, "eval_loss": 3.0 + k} for k in range(4, 9)]
    assert only(watch([begin(9), *down, *up])).rule == "divergence"
    rows = [begin(9), train(3, 1.0), *down, train(5, 0.3), *up]
    assert "divergence" not in {finding.rule for finding in watch(rows).findings}


# --- learning rate ---


def test_a_loss_that_was_lowest_in_the_warm_up_tells_which_rate_is_right():
    def level(done):
        return falls(done, 2.1, 1.2, 60) if done < 0.06 else 1.6

    finding = alarm(watch(training(level, n=500, evaluations=5, warm=0.2)))
    assert (finding.rule, finding.severity) == ("learning_rate_high", "warning")
    assert "during the warm-up" in finding.sentence
    assert float(finding.suggestions[0].split()[0].removeprefix("learning_rate=")) < 2.5e-5


def test_a_rate_that_no_model_is_trained_with_needs_no_sign_but_prompts_and_other_optimizers_may_have_it():
    rows = training(falls, rate=0.5)
    whole = {"class": "T5ForConditionalGeneration", "n_parameters": 127_440, "n_trainable": 127_440}
    finding = alarm(watch(rows, model=whole, learning_rate=0.5))
    assert (finding.rule, finding.value, finding.threshold) == ("learning_rate_high", 0.5, 0.1)
    assert finding.suggestions[0] == "learning_rate=0.001 (now 0.5)"
    assert watch(rows, model=whole | {"n_trainable": 40_000}, learning_rate=0.5).findings == []
    assert watch(rows, model=whole, learning_rate=0.5, optim="adafactor").findings == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rate": 0.0}, "The learning rate was 0 in all logs."),
        ({"norm": lambda done: 0.0}, "The norm of the gradient was 0 in all logs."),
        ({}, "The learning rate was not 0 (5e-05 at most), nor was the gradient (norm 1 at most)."),
    ],
)
def test_a_training_that_changes_nothing_is_told_and_why(more, said):
    finding = only(watch(training(lambda done: 6.9, eval_loss=lambda done: 6.9, evaluations=0, n=300, **more)))
    assert (finding.rule, finding.severity) == ("learning_rate_ineffective", "warning")
    assert finding.sentence.endswith(said)


def test_one_layer_norm_alone_is_next_to_nothing_but_an_adapter_is_not():
    rows = training(lambda done: 6.33 - 0.2 * done, noise=0.02)
    few = {"class": "T5ForConditionalGeneration", "n_parameters": 127_440, "n_trainable": 48}
    assert "Only 48 of 127440 parameters" in only(watch(rows, model=few)).sentence
    assert watch(rows, model=few | {"class": "PeftModelForSeq2SeqLM"}).findings == []
    assert watch(rows).findings == []


def test_clipping_is_told_by_a_large_factor_and_weighs_where_the_step_is_the_gradient():
    rows = training(falls, norm=lambda done: 40.0)
    assert (only(watch(rows)).rule, only(watch(rows)).severity) == ("gradient_clipped", "info")
    assert only(watch(rows, optim="sgd")).severity == "warning"
    assert watch(training(falls, norm=lambda done: 3.0)).findings == []
    (clear,) = [one for one in watch(rows, max_grad_norm=0).verdicts() if one.rule == "gradient_clipped"]
    assert (clear.verdict, clear.sentence) == ("clear", "The gradient is not clipped: max_grad_norm is 0.")


def test_a_long_rest_is_a_hint_while_the_rate_is_high():
    finding = only(watch(training(lambda done: falls(done, 6.0, 1.5, 40), noise=0.02)))
    assert (finding.rule, finding.severity) == ("plateau", "info")
    assert 0.1 < finding.steps[0] / 200 < 0.3


# --- overfitting, scores ---


def test_overfitting_names_the_step_to_go_back_to_and_whether_there_is_a_checkpoint():
    def rises(done):
        return 1.5 + 2.0 * max(0.0, 0.4 - done) + 0.8 * max(0.0, done - 0.4)

    rows = training(lambda done: falls(done, 4.0, 0.3, 4), eval_loss=rises, evaluations=10, saves=True)
    finding = only(watch(rows))
    assert (finding.rule, finding.steps[0], finding.suggestions[0]) == ("overfitting", 80, "go back to checkpoint-80")
    assert "checkpoint-80 has been saved" in finding.sentence
    assert "is deleted since" in only(watch(rows, save_total_limit=2)).sentence
    itself = only(watch(rows, load_best_model_at_end=True))
    assert "goes back to its best checkpoint at the end by itself: 60 steps" in itself.sentence


def test_learning_by_heart_is_told_where_the_validation_loss_only_rests():
    finding = only(
        watch(training(lambda done: falls(done, 4.0, 0.05, 8), eval_loss=lambda done: falls(done, 5, 2, 12)))
    )
    assert finding.rule == "overfitting"
    assert "learnt by heart" in finding.sentence


def test_a_score_that_falls_while_the_loss_falls_is_found_late_and_scatter_is_not():
    def score(done):
        return 40.0 * min(1.0, done / 0.3) - 40.0 * max(0.0, done - 0.3)

    finding = only(watch(training(falls, evaluations=10, score=score)))
    assert (finding.rule, finding.evidence["metric"], finding.steps[0]) == ("rouge_falls", "rougeL", 60)
    assert 'metric_for_best_model="eval_rougeL"' in finding.suggestions[0]
    rng = random.Random(3)
    scattered = training(falls, evaluations=20, score=lambda done: 35.0 * min(1.0, 3 * done) + rng.gauss(0.0, 2.0))
    assert watch(scattered).findings == []


def test_what_a_model_knew_before_the_first_step_can_be_the_best_there_is():
    rows = training(lambda done: falls(done, 2.0, 0.4, 3), eval_loss=lambda done: 1.6 + done, saves=True)
    rows.insert(1, {"kind": "eval", "step": 0, "eval_loss": 1.55})
    finding = only(watch(rows))
    assert (finding.rule, finding.steps[0], finding.evidence["is_first"]) == ("overfitting", 0, True)


def test_a_thousand_evaluations_are_thinned_and_the_lowest_is_kept():
    known = Evaluations()
    training_loss = RunningMean()
    for k in range(1000):
        training_loss.add(float(k))
        known.add(k, abs(k - 301.0), training_loss, keep=known.values.index(min(known.values)) if k else 0)
    assert len(known.steps) <= 200
    assert known.n == 1000
    assert (known.steps[known.values.index(0.0)], known.steps[-1]) == (301, 999)
    last = known.steps[-2]
    assert known.training_before(len(known.steps) - 1) == (last + 1 + 999) / 2


# --- what all have in common ---


def test_a_training_that_goes_on_from_another_folder_is_not_said_to_change_nothing():
    rows = training(lambda done: 2.0, evaluations=0, n=300, noise=0.002)
    later = [row | {"step": row["step"] + 1000} for row in rows]
    assert alarm(watch(rows)).rule == "learning_rate_ineffective"
    assert watch([rows[0] | {"step": 1000, "max_steps": 1300}, *later[1:]]).findings == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(KINDS, st.dictionaries(KEYS, VALUES, max_size=8)), max_size=30), st.dictionaries(KEYS, VALUES)
)
def test_whatever_rows_hold_is_no_error(pairs, facts):
    rows = [{**kind, "step": k, "loss": 2.0, "learning_rate": 1e-5, **row} for k, (kind, row) in enumerate(pairs)]
    watcher = Watcher({"arguments": facts, "model": facts}, rules=OURS)
    for row in [*rows, *training(falls, n=20), *rows]:
        watcher.see(row)
    assert len(watcher.verdicts()) == len(NAMES)
    assert all(isinstance(str(finding), str) for finding in watcher.verdicts())


def test_other_rows_in_between_change_nothing():
    rows = training(lambda done: falls(done, 2.1, 1.6) if done < 0.5 else 6.5, noise=0.3)
    other = [{"kind": "timing", "step": 1, "seconds": 1.0}, {"kind": "log", "loss": math.nan}, {"kind": "predict"}, {}]
    mixed = [one for row in rows for one in (row, *other)]
    assert watch(rows).verdicts() == watch(mixed).verdicts()
    assert watch(rows).findings

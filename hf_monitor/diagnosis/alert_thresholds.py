"""Every number that a rule over rows decides by, with its reason; ``docs/alerts.md`` shows them as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hf_monitor.errors import InputError, did_you_mean

__all__ = ["AlertThresholds", "thresholds_of"]


def _limit(default: float, why: str) -> Any:
    """Make a field that knows its reason: a source, or what was measured."""
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertThresholds:
    """Thresholds of the rules, each named ``<rule>_<what>``; ``describe()`` gives their reasons.

    Raises
    ------
    InputError
        If a value is not a finite number of at least 0.
    """

    # nan, divergence, learning rate, gradient, plateau, overfitting, scores (rules7)
    nan_fp16_logs: float = _limit(
        3,
        "fp16: logs in a row with a norm that is not finite beside a finite loss. A row has the norm of its last "
        "step only.",
    )
    nan_fp16_steps: float = _limit(
        17,
        "fp16: steps that these span. torch.amp.GradScaler begins at 2**16 and halves at each such step (it does "
        "not take it): after 16 the factor is 1. Measured on an H200: 11 in a row from 2**30, then none.",
    )
    divergence_lost: float = _limit(
        0.5,
        "share of what was learnt (start minus lowest level) that is lost again; has no unit, so it fits a loss "
        "near 0 and one with label smoothing.",
    )
    divergence_rise: float = _limit(
        0.5,
        "rise above the lowest level, as a share of it: a collapsed language model is at 6 to 7 nats, one and a "
        "half times what any useful one has.",
    )
    divergence_noise: float = _limit(
        3,
        "rise in standard deviations of single logs; the level is a median of five, so that this is more than 5 of "
        "its own.",
    )
    divergence_least: float = _limit(
        0.5,
        "rise in nats (a factor of 1.6 in perplexity): below it, losses near 0 would diverge by harmless leaps.",
    )
    divergence_logs: float = _limit(
        5,
        "logs above: two spikes do not move a median of five, and five logs more than a spike lasts.",
    )
    divergence_steps: float = _limit(30, "steps that it lasts at least: spikes recover within some tens of steps.")
    divergence_evaluations: float = _limit(
        2,
        "evaluations in a row far above the lowest, where the training loss is too rarely logged to judge by.",
    )
    divergence_unlogged: float = _limit(
        3,
        "times the first validation loss, where no training loss came since its lowest: overfitting seldom goes so "
        "far.",
    )
    divergence_share: float = _limit(
        0.05,
        "share of the steps so far that it lasts: the longer a training has run, the longer a spike may take that it "
        "recovers from. Our own choice.",
    )
    learning_rate_high_noise: float = _limit(
        4,
        "height above the lowest level in standard deviations of single logs (7 of the level's own, a median of five). "
        "Simulated: with 3, 2 % of flat and noisy trainings without evaluations raise it, with 4 none of 200.",
    )
    learning_rate_high_rise: float = _limit(0.1, "height as a share of the lowest level.")
    learning_rate_high_lost: float = _limit(0.05, "height as a share of what was learnt.")
    learning_rate_high_least: float = _limit(0.1, "height in nats: losses near 0 leap without harm.")
    learning_rate_high_extreme: float = _limit(
        0.1,
        "peak rate under Adam, whose step is about the rate in each weight (Kingma & Ba 2015, 2.1): 0.1 replaces "
        "weights of the usual size (0.02 to 0.1) at once; known recipes are 10 to 10,000 times lower. By the loss "
        "alone 3 of 31 development runs with rates x100 (0.3 to 1.1) are found: most rest at a high level.",
    )
    learning_rate_high_worse: float = _limit(
        0.03,
        "rise of a validation loss above its lowest, as a share, that confirms what the training loss tells (by itself "
        "it tells nothing: at losses near 0 healthy development runs had up to 0.14).",
    )
    learning_rate_high_far: float = _limit(
        0.1,
        "the same, where evaluations alone have to tell: scatter of 2 % from one to the next stays below.",
    )
    learning_rate_high_times: float = _limit(3, "evaluations so far above: one or two may be chance.")
    learning_rate_high_logs: float = _limit(
        10,
        "logs above that height: their medians hold five logs each, so fewer are not more than two or three stretches.",
    )
    learning_rate_high_share: float = _limit(
        0.15,
        "share of the logs since the peak of the rate above that height: 100 healthy development runs had none.",
    )
    learning_rate_high_steps: float = _limit(50, "steps since the peak of the rate: the first ones settle.")
    learning_rate_high_part: float = _limit(
        0.1,
        "share of the training since the peak of the rate: a bump at the end of the warm-up is usual.",
    )
    learning_rate_ineffective_logs: float = _limit(10, "logs that a straight line and its error need.")
    learning_rate_ineffective_steps: float = _limit(40, "steps since the peak of the rate.")
    learning_rate_ineffective_share: float = _limit(
        0.25,
        "share of the training since the peak of the rate; not where rate or gradient are 0.",
    )
    learning_rate_ineffective_change: float = _limit(
        0.005,
        "change of the training loss, as a share, that is next to nothing: its 95 % bound has to be below. A "
        "training that goes on from a good checkpoint changes by 1 % or more.",
    )
    learning_rate_ineffective_few: float = _limit(
        0.1,
        "the same where fewer than 1 in 1000 and fewer than 10,000 parameters are trained (no adapter): one layer "
        "norm alone brought 3 %.",
    )
    learning_rate_ineffective_evaluations: float = _limit(
        0.001,
        "change of a validation loss over three evaluations or more, as a share: always the same samples, so that "
        "any training moves it by more.",
    )
    gradient_clipped_logs: float = _limit(20, "logs with a norm.")
    gradient_clipped_steps: float = _limit(50, "steps that they span: the first ones are long in most trainings.")
    gradient_clipped_share: float = _limit(0.95, "share of the last 100 logs that were cut: nearly all.")
    gradient_clipped_factor: float = _limit(
        10,
        "norm over max_grad_norm (geometric mean): 100 healthy development runs (T5 and BART) had 0.4 to 1.6; a steady "
        "factor is harmless under Adam.",
    )
    plateau_fall: float = _limit(
        0.01,
        "fall of the level, as a share of what was learnt or of the level, that ends a rest.",
    )
    plateau_logs: float = _limit(10, "logs of the rest.")
    plateau_steps: float = _limit(40, "steps of the rest.")
    plateau_share: float = _limit(
        0.4,
        "share of the training that the rest lasts: more than one epoch of three, within which the loss is often flat.",
    )
    plateau_rate: float = _limit(
        0.3,
        "learning rate, as a share of its peak: at the end of a decay a rest is what is wanted.",
    )
    plateau_left: float = _limit(0.1, "share of the training still to come: else it is the end.")
    plateau_rest: float = _limit(
        0.05,
        "fall along the rest, as a share of what was learnt, that its 95 % bound has to be below: else the scatter "
        "may hide it.",
    )
    plateau_noise: float = _limit(3, "fall before the rest in standard deviations of single logs: else nothing fell.")
    plateau_learnt: float = _limit(
        0.02,
        "fall before the rest, as a share of the start: without one it is learning_rate_ineffective's.",
    )
    overfitting_evaluations: float = _limit(
        3,
        "evaluations after the lowest (or within a rest). One more than for a curve that is over "
        "(overfitting_onset): it is asked at each evaluation.",
    )
    overfitting_rise: float = _limit(
        0.02,
        "rise of the validation loss, as a share of its lowest: twice Prechelt's GL_1 (1998), for the same reason.",
    )
    overfitting_rise_by_heart: float = _limit(
        0.01,
        "the same where the training loss is below overfitting_gap of it: GL_1.",
    )
    overfitting_gap: float = _limit(
        0.5,
        "training loss over validation loss: below half, most of the rest of the fall is of samples known by heart.",
    )
    overfitting_gap_least: float = _limit(0.25, "gap between the two in nats, for losses near 0.")
    overfitting_fall: float = _limit(0.3, "fall of the training loss, as a share, while the validation loss rests.")
    overfitting_rest: float = _limit(0.05, "fall of the validation loss, as a share, that is still a rest.")
    overfitting_least: float = _limit(0.02, "rise in nats (2 % in perplexity), for losses near 0.")
    overfitting_noise: float = _limit(
        3,
        "standard deviations of the evaluations' own scatter above what the lowest of so many is below by chance "
        "(overfitting_onset: 1).",
    )
    overfitting_trend: float = _limit(
        0.6,
        "Kendall's tau of the evaluations after the lowest (overfitting_onset: 0.3).",
    )
    overfitting_trend_from_first: float = _limit(
        0.9,
        "the same where the first evaluation was the lowest (overfitting_onset: 0.8).",
    )
    rouge_falls_evaluations: float = _limit(3, "evaluations after the best score.")
    rouge_falls_share: float = _limit(0.1, "fall of the score as a share of the best.")
    rouge_falls_least: float = _limit(0.02, "fall as a share of the scale (0 to 1, or 0 to 100).")
    rouge_falls_done: float = _limit(
        0.5,
        "share of the training that is done: healthy development runs fell from 26 to 15 points and rose again in "
        "the first half.",
    )
    rouge_falls_noise: float = _limit(
        3,
        "standard deviations of the scores' own scatter above what the best of so many is above by chance. "
        "Simulated: scores that scatter by 3 of 35 points fall so in 1.5 % (20 evaluations).",
    )
    rouge_falls_trend: float = _limit(0.5, "Kendall's tau, downwards, from the best score on.")

    # texts: collapse, overlap (texts7)

    collapse_texts: float = _limit(10, "Texts of an evaluation: half of ten is known to 0.26 only (Wilson, 95 %).")
    collapse_share: float = _limit(
        0.5,
        "Share of the texts that are empty, that repeat themselves, or that are one and the same, beyond the share "
        "among the references: most of them.",
    )
    collapse_shared: float = _limit(
        0.8,
        "Share of the texts that stand for three different inputs or more, beyond that among the references: a model "
        "that changes between a few texts has none that is most frequent.",
    )
    collapse_fit_z: float = _limit(
        1.64,
        "Texts that are the same for several inputs are no collapse where they fit their own references better than "
        "those of others by more than chance: 1.64 standard errors (one-sided, 95 %). Of development runs whose texts "
        "were so alike, those with shuffled labels or 100 times the learning rate had 0.7 at most, sound ones 2.4 and "
        "more.",
    )
    collapse_fit_gain: float = _limit(
        0.1, "By so much better, too: among many samples a trace of the input is more than chance, and no use."
    )
    collapse_at_limit: float = _limit(
        0.8, "Share of the texts that the length limit ended. Short limits cut some texts of a sound model, too."
    )
    collapse_in_a_row: float = _limit(
        2, "Evaluations in a row of which most texts are so: one may be a bad moment that the next one ends."
    )
    collapse_steps: float = _limit(
        100,
        "Steps of a whole training, of which fewer are a try: of 80 healthy development runs (small models from random "
        "weights) 78 wrote such texts for the last time within their first 100 steps.",
    )
    collapse_late: float = _limit(
        0.5,
        "Share of the training after which such texts are no beginning. Each seq2seq model that starts from random "
        "weights gives everybody the same text at first.",
    )
    collapse_later: float = _limit(
        0.75,
        "The same while the validation loss still falls: a model that learns slowly finds out about its input late "
        "(2 of 80 healthy development runs did after half of the training).",
    )
    collapse_fall: float = _limit(
        0.05,
        "Fall of the validation loss since the evaluation before, as a share of all that it has fallen: so it still "
        "falls. Eight evaluations on a straight line have 12 % each.",
    )
    collapse_evaluations: float = _limit(
        6, "Evaluations after which the same holds where the length of the training is not known."
    )
    collapse_drop: float = _limit(
        10,
        "Points (0 to 100) and half of its value: what the score has lost since an evaluation with sound texts where a "
        "collapse is found at once.",
    )

    overlap_share: float = _limit(
        0.01,
        "Share of an evaluation set that stands in the training set. Learnt by heart, 1 % lifts a mean score of 40 by "
        "up to 0.6 points, which is what differences between models are about. Lee et al. (2022), Deduplicating "
        "training data makes language models better (ACL), found over 4 % in standard sets; of the dialogues of "
        "DialogSum's test split 1.2 % stand in its development split (measured).",
    )
    overlap_samples: float = _limit(
        2, "Evaluation samples in the training set: one may be chance, and is over 1 % of any set below 100 samples."
    )

    # time and machine

    data_bound_share: float = _limit(
        0.20, "share of the time spent waiting for batches: TensorFlow's highly input-bound (DATA_WAIT_HIGH_SHARE)"
    )
    data_bound_windows: float = _limit(
        8,
        "logged windows after the first, as it is asked again and again. Simulated, windows that wait 15 % with 10 % "
        "of scatter, asked 150 times: 1 of 500 trainings is called so (from 3 windows on: 4); of 25 %, all by the 14th",
    )
    data_bound_steps: float = _limit(40, "steps in these windows: one slow batch is then no fifth of the time")

    memory_edge_share: float = _limit(
        0.95, "peak of the memory used, of the total (MEMORY_EDGE_SHARE): the rest is for a longer batch"
    )
    memory_headroom_share: float = _limit(
        0.70, "peak below which at least a third more fits (MEMORY_HEADROOM_SHARE, SageMaker Debugger's BatchSize rule)"
    )
    memory_headroom_samples: float = _limit(60, "samples of the GPU: a minute of training at 1 Hz")
    memory_headroom_windows: float = _limit(5, "logged windows: long batches come by chance, window by window")
    memory_headroom_progress: float = _limit(
        0.25, "share of the steps: the longest batch of all may still come, and what is saved is more, the earlier"
    )

    slower_steps_factor: float = _limit(
        1.5, "of the start's time a step: clocks that sink as a card warms up cost 10 to 20 %; our own choice"
    )
    slower_steps_seconds: float = _limit(
        60.0,
        "of a spell: ten are the start, ten are now. Simulated: of 60 times two hours at an even pace with 25 % of "
        "scatter (autocorrelation 0.9 from log to log) none was called slower, with spells of 20 s nine",
    )
    slower_steps_steps: float = _limit(5, "of a spell: one slow step is then no more than a fifth of it")
    slower_steps_scatter: float = _limit(
        3.0,
        "standard deviations of the spells before, which the factor must be above. Simulated as above, but 40 % "
        "and drifts of minutes (autocorrelation 0.99): 8 of 60 instead of 20; twice as slow is found in 40 of 40",
    )

    disk_short_margin: float = _limit(
        1.02, "of the size of the checkpoints to come: the Trainer's state in them grows with each log"
    )

    time_short_seconds: float = _limit(120.0, "from the begin: the first minutes have warm-up and no evaluation")
    time_short_progress: float = _limit(
        0.15,
        "of the steps. Simulated, a first tenth that is twice as slow, with 15 % of time to spare: none of 20 is said "
        "to be short; asked from a twentieth on all were",
    )
    time_short_passed: float = _limit(0.4, "of the time that there is, where so many steps take longer")
    time_short_far: float = _limit(2, "times the time left, that the rest needs, where it is said earlier")
    time_short_early: float = _limit(0.05, "of the steps or the time, that these need")
    time_short_logs: float = _limit(4, "logs after the first, for an interval of the pace that is of any use")
    time_short_margin: float = _limit(
        1.02, "of the time left, that the lower end of the time needed must be above: an alarm for minutes is none"
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InputError(f"the threshold {one.name!r} must be a finite number of at least 0, got {value!r}.")

    def describe(self) -> dict[str, tuple[float, str]]:
        """Give name -> (value, reason)."""
        return {one.name: (getattr(self, one.name), one.metadata["why"]) for one in fields(self)}

    def changed(self) -> dict[str, float]:
        """Give those that are not the defaults."""
        return {one.name: found for one in fields(self) if (found := getattr(self, one.name)) != one.default}


def thresholds_of(given: AlertThresholds | Mapping[str, float] | None) -> AlertThresholds:
    """Make thresholds of what a user gives: nothing, some by name, or all.

    Raises
    ------
    InputError
        If a name is not one of them, or a value no finite number of at least 0.
    """
    if given is None or isinstance(given, AlertThresholds):
        return given or AlertThresholds()
    if not isinstance(given, Mapping):
        raise InputError(
            f"thresholds must be a dict of names and numbers, or AlertThresholds, got {type(given).__name__}."
        )
    known = [one.name for one in fields(AlertThresholds)]
    if unknown := [name for name in given if name not in known]:
        name = str(unknown[0])
        near = did_you_mean(name, known) or _of_rule(name, known)
        raise InputError(
            f"there is no threshold {name!r}.{near} AlertThresholds().describe() gives all {len(known)}, as does "
            "docs/alerts.md."
        )
    return AlertThresholds(**given)


def _of_rule(name: str, known: Iterable[str]) -> str:
    """Name the thresholds of the rule that a name begins with; empty where there is none."""
    same = [one for one in known if one.split("_")[0] == name.split("_")[0]]
    return f" Of this rule there are: {', '.join(same)}." if same else ""

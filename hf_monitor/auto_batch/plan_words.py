"""A plan in words, and what is said when the memory did not suffice after all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_monitor.auto_batch.accumulation import divisors

if TYPE_CHECKING:
    from hf_monitor.auto_batch.plan_result import TrainingPlan

__all__ = ["explain", "in_evaluation", "memory_words", "out_of_memory_words"]

_EVALUATES = frozenset({"evaluation_loop", "prediction_loop", "prediction_step"})


def memory_words(count: float) -> str:
    """Say an amount of memory, given in bytes: in GiB from 1 GiB on."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def explain(plan: TrainingPlan) -> str:
    """Say in words what was settled and why; see :meth:`TrainingPlan.explain`."""
    probe, size, steps = plan.probe, plan.per_device_train_batch_size, plan.gradient_accumulation_steps
    ranks = f" x {plan.num_processes} processes" if plan.num_processes > 1 else ""
    lengths = probe.lengths
    lines = {
        "batch": f"{size} x {steps} accumulation step{'' if steps == 1 else 's'}{ranks} = {plan.effective_batch_size} "
        "samples an update",
        "training": f"{plan.precision}, {plan.optimizer}, gradient checkpointing "
        f"{'on' if plan.gradient_checkpointing else 'off'}, up to {lengths.source} tokens in and {lengths.target} out "
        f"({lengths.why})",
        "memory": _memory(plan),
        "limit": _limit(plan),
        "tier": f"{plan.tier.tier.name}, {plan.tier.rule}",
        "evaluation": _evaluation(plan),
        "measured": f"{probe.samples} samples in {len(probe.trials)} step{'' if len(probe.trials) == 1 else 's'} on "
        f"{probe.device_name} ({probe.device}), out of memory {probe.out_of_memory_errors} times; {probe.meter}",
    }
    trial = plan.trial
    if trial is not None and trial.samples_per_second:
        lines["speed"] = f"{trial.samples_per_second:.1f} samples/s of one device in the measured step"
    notes = [f"{'note':<11}{note}" for note in (*plan.notes, *probe.notes)]
    return "\n".join([*(f"{name:<11}{text}" for name, text in lines.items()), *notes])


def _memory(plan: TrainingPlan) -> str:
    probe, trial = plan.probe, plan.trial
    size = plan.per_device_train_batch_size
    if trial is not None and trial.peak_bytes is not None:
        peak, predicted = trial.peak_bytes, trial.predicted_bytes
        if predicted is None and size == probe.batch_size:
            predicted = probe.predicted_bytes
        whose, least = "measured", ""
    else:
        peak, predicted = probe.peak_bytes, probe.predicted_bytes
        whose, least = f"measured with {probe.batch_size}, {size} taking less", "at least "
    before = "not predicted" if predicted is None else f"predicted {memory_words(predicted)}"
    margin = probe.budget.bytes - peak
    return (
        f"peak {memory_words(peak)} {whose} ({before}) of {memory_words(probe.budget.bytes)} ({probe.budget.why}); "
        f"margin {least}{memory_words(margin)}, {margin / probe.budget.bytes:.0%}"
    )


def _limit(plan: TrainingPlan) -> str:
    probe, size = plan.probe, plan.per_device_train_batch_size
    allowed = f"{probe.safe_factor:g} x the budget = {memory_words(probe.limit_bytes)}"
    if size == plan.per_device_train_batch_size * plan.gradient_accumulation_steps:
        return f"the effective batch: {size} samples are all of one device's share ({allowed} are allowed)"
    if probe.limited_by == "memory":
        wrong = f", at most {probe.at_most_wrong_by} too few" if probe.at_most_wrong_by else ""
        fit = f"{probe.batch_size} fit{wrong}"
        chosen = "" if size == probe.batch_size else f"; {size} of them divide the effective batch as is preferred"
        return f"the memory: within {allowed}, {fit}{chosen}"
    return f"not the memory ({allowed} are allowed), but what was preferred: no more than {probe.batch_size} were tried"


def _evaluation(plan: TrainingPlan) -> str:
    size, inner = plan.per_device_eval_batch_size, plan.probe.evaluation
    if plan.generation is None:
        return f"batches of {size}, without generation: less than the training takes"
    beams = plan.generation.get("num_beams") or 1
    how = f"batches of {size}, generating up to {plan.generation.get('max_length')} tokens with {beams} beam(s)"
    return how if inner is None else f"{how}: peak {memory_words(inner.peak_bytes)} measured"


def in_evaluation(error: BaseException) -> bool:
    """Say whether an error came up while a Trainer evaluated or predicted, not in a training step."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in _EVALUATES:
            return True
        trace = trace.tb_next
    return False


def out_of_memory_words(
    error: BaseException,
    arguments: Any,
    plan: TrainingPlan | None = None,
    *,
    step: int | None = None,
    peak: str | None = None,
) -> str:
    """Say what did not fit, and what to run instead, as options to copy.

    Parameters
    ----------
    error : BaseException
        One that ``is_out_of_memory`` knows.
    arguments : TrainingArguments
        What was trained with.
    plan : TrainingPlan, optional
        Where there was one.
    step : int, optional
        Updates of the weights that were made.
    peak : str, optional
        In words, with its unit: what was held at most.

    Returns
    -------
    str
        Some lines: what happened, the options of the next smaller plan, the first line of the error.
    """
    size, steps, ranks = (
        arguments.per_device_train_batch_size,
        arguments.gradient_accumulation_steps,
        arguments.world_size,
    )
    evaluates = in_evaluation(error)
    tried = arguments.per_device_eval_batch_size if evaluates else size
    when = "" if step is None else f" after {step} update{'' if step == 1 else 's'}"
    what = "an evaluation batch" if evaluates else "a training batch"
    lines = [f"out of memory{when}: {what} of {tried} did not fit. Peak: {peak or 'not known'}."]
    if plan is not None:
        held = plan.trial.peak_bytes if plan.trial is not None else plan.probe.peak_bytes
        lines.append(
            f"The plan had measured {memory_words(held or 0)} of {memory_words(plan.probe.budget.bytes)}; since then "
            "something else may have taken memory, or samples are longer than those it was made with."
        )
    if tried == 1:
        lines += ["No batch is smaller. Less memory: --gradient_checkpointing, --bf16, a shorter --max_source_length."]
    elif evaluates:
        lines += ["Run it again with smaller batches there, which changes no score:"]
        lines += [f"  --per_device_eval_batch_size {tried // 2}"]
    else:
        share = size * steps
        below = max(d for d in divisors(share) if d < size)
        options = f"--per_device_train_batch_size {below} --gradient_accumulation_steps {share // below}"
        if plan is not None:  # without --auto_batch nobody else would say these
            options += f" --{plan.precision}" * (plan.precision != "fp32")
            options += " --gradient_checkpointing" * plan.gradient_checkpointing
        instead = "" if plan is None else " (instead of --auto_batch)"
        lines += [f"Run it again with the next smaller plan, {share * ranks} samples an update as before{instead}:"]
        lines += [f"  {options}"]
    if plan is None and not evaluates:
        lines += ["or let the batch be measured before the training:"]
        lines += [f"  --auto_batch --effective_batch_size {size * steps * ranks}"]
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return "\n".join([*lines, f"The error was: {type(error).__name__}: {first[:300]}"])

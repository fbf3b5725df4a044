"""A plan in words, and what is said when the memory did not suffice after all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_monitor.auto_batch.accumulation import divisors

if TYPE_CHECKING:
    from hf_monitor.auto_batch.plan_result import TrainingPlan

__all__ = ["explain", "in_evaluation", "memory_words", "out_of_memory_words"]

_NONE_LOWER = (
    "No smaller batch takes less for the same update: over several steps, gradients live through the next forward pass."
)
_MEASURE = "or let the batch be measured before the training:"
_EVALUATES = frozenset({"evaluation_loop", "prediction_loop", "prediction_step"})


def memory_words(count: float) -> str:
    """Say an amount of memory, given in bytes: in GiB from 1 GiB on."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def explain(plan: TrainingPlan) -> str:
    """Say in words what was settled and why; see :meth:`TrainingPlan.explain`."""
    probe, size, steps = plan.probe, plan.per_device_train_batch_size, plan.gradient_accumulation_steps
    ranks = f" x {plan.num_processes} processes" if plan.num_processes > 1 else ""
    lengths, trial = probe.lengths, plan.trial
    failed = f", {probe.out_of_memory_errors} times out of memory" if probe.out_of_memory_errors else ""
    speed = f"; {trial.samples_per_second:.1f} samples/s" if trial is not None and trial.samples_per_second else ""
    lines = {
        "batch": f"{size} x {steps} accumulation step{'' if steps == 1 else 's'}{ranks} = {plan.effective_batch_size} "
        "samples an update (an epoch's last has what is left)",
        "training": f"{plan.precision}, {plan.optimizer}, gradient checkpointing "
        f"{'on' if plan.gradient_checkpointing else 'off'}, up to {lengths.source} tokens in and {lengths.target} out "
        f"({lengths.why})",
        "memory": _memory(plan),
        "limit": _limit(plan),
        "tier": f"{plan.tier.tier.name}, {plan.tier.rule}",
        "evaluation": _evaluation(plan),
        "measured": f"{probe.samples} samples in {len(probe.trials)} step{'' if len(probe.trials) == 1 else 's'} on "
        f"{probe.device_name} ({probe.device}){failed}; {probe.meter}{speed}",
    }
    notes = [f"{'note':<11}{note}" for note in (*plan.notes, *probe.notes)]
    return "\n".join([*(f"{name:<11}{text}" for name, text in lines.items()), *notes])


def _memory(plan: TrainingPlan) -> str:
    probe, trial = plan.probe, plan.trial
    size, budget = plan.per_device_train_batch_size, plan.probe.budget
    peak, predicted, least = probe.peak_bytes, probe.predicted_bytes, "at least "
    of = f"of {memory_words(budget.bytes)} ({budget.why})"
    if plan.otherwise_measured and plan.estimated_bytes is None:
        return (
            f"not measured: {size} with gradients that accumulate; {memory_words(peak)} {of} were measured with "
            f"{probe.batch_size} and none"
        )
    if plan.otherwise_measured and plan.estimated_bytes is not None:
        peak = plan.estimated_bytes
        said = f"{memory_words(peak)} estimated at most, with gradients that accumulate"
    else:
        if trial is not None and trial.peak_bytes is not None:
            peak, predicted, least = trial.peak_bytes, trial.predicted_bytes, ""
            if predicted is None and size == probe.batch_size:
                predicted = probe.predicted_bytes
            whose = "measured"
        else:
            whose = f"measured with {probe.batch_size}, {size} taking less"
        before = "" if predicted is None else f" (predicted {memory_words(predicted)})"
        said = f"{memory_words(peak)} {whose}{before}"
    margin = budget.bytes - peak
    return f"peak {said} {of}; margin {least}{memory_words(margin)}, {margin / budget.bytes:.0%}"


def _limit(plan: TrainingPlan) -> str:
    probe, size = plan.probe, plan.per_device_train_batch_size
    allowed = f"{probe.safe_factor:g} x the budget = {memory_words(probe.limit_bytes)}"
    if plan.gradient_accumulation_steps == 1:
        return f"the effective batch: {size} samples are all of one device's share ({allowed} are allowed)"
    if probe.limited_by == "memory":
        wrong = f", at most {probe.at_most_wrong_by} too few" if probe.at_most_wrong_by else ""
        chosen = "" if size == probe.batch_size else f"; {size} of them divide the effective batch as is preferred"
        return f"the memory: within {allowed}, {probe.batch_size} fit{wrong}{chosen}"
    return f"not the memory ({allowed} are allowed): no more than {probe.batch_size} were wanted, nor tried"


def _evaluation(plan: TrainingPlan) -> str:
    size, inner = plan.per_device_eval_batch_size, plan.probe.evaluation
    its = plan.evaluation_lengths
    of = "with the training samples' lengths" if its is None else f"{its.source} tokens in, {its.target} out"
    if plan.generation is None:
        return f"batches of {size}, no generation, {of}; not measured: takes less than the training"
    beams = plan.generation.get("num_beams") or 1
    peak = "" if inner is None else f": peak {memory_words(inner.peak_bytes)} measured"
    up_to = f"up to {plan.generation.get('max_length')} tokens with {beams} beam{'' if beams == 1 else 's'}"
    return f"batches of {size}, generating {up_to}, {of}{peak}"


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
    bf16: bool = True,
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
    bf16 : bool
        Whether the device computes bf16.

    Returns
    -------
    str
        Some lines: what happened, the options of the next smaller plan, what else takes less, the error's first line.
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
    if plan is not None and not evaluates:
        held = plan.trial.peak_bytes if plan.trial is not None else plan.probe.peak_bytes
        lines.append(
            f"The plan had measured {memory_words(held or 0)} of {memory_words(plan.probe.budget.bytes)}; since then "
            "something else may have taken memory, or samples are longer than those it was made with."
        )
    if evaluates:
        lines += _smaller_evaluation(arguments, plan, tried)
    else:
        lines += _smaller_training(arguments, plan, size, steps, ranks)
        lines += [f"Less memory: {', '.join(_less(arguments, bf16))}."]
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return "\n".join([*lines, f"The error was: {type(error).__name__}: {first[:300]}"])


def _smaller_training(arguments: Any, plan: TrainingPlan | None, size: int, steps: int, ranks: int) -> list[str]:
    if size == 1:
        return ["No batch is smaller."]
    share = size * steps
    below, doubt = max(d for d in divisors(share) if d < size), ""
    if steps == 1:  # then it is not sure that a smaller one takes less
        same = plan is not None and plan.per_device_train_batch_size == size and plan.gradient_accumulation_steps == 1
        smaller = plan.smaller() if same and plan is not None else None
        if same and smaller is None:
            return [_NONE_LOWER]
        if smaller is not None and smaller.estimated_bytes is not None:
            below = smaller.per_device_train_batch_size
        else:
            doubt = " (gradients then live through the next forward pass: with few samples that can take more)"
    options = f"--per_device_train_batch_size {below} --gradient_accumulation_steps {share // below}"
    if plan is not None:  # without --auto_batch nobody else would say these
        options += f" --{plan.precision}" * (plan.precision != "fp32")
        options += " --gradient_checkpointing" * plan.gradient_checkpointing
    instead = "" if plan is None else " (without --auto_batch and --effective_batch_size)"
    return [
        f"Run it again with the next smaller plan, {share * ranks} samples an update as before{instead}{doubt}:",
        f"  {options}",
        *([_MEASURE, f"  --auto_batch --effective_batch_size {share * ranks}"] if plan is None else []),
    ]


def _less(arguments: Any, bf16: bool) -> list[str]:
    """Name what takes less memory in training and is not on yet."""
    on = {name: getattr(arguments, name, False) for name in ("bf16", "fp16", "gradient_checkpointing")}
    found = ["--bf16"] if bf16 and not (on["bf16"] or on["fp16"]) else []
    if not on["gradient_checkpointing"]:
        found.append("--gradient_checkpointing")
    optimizer = getattr(arguments, "optim", "")
    if "adafactor" not in str(getattr(optimizer, "value", optimizer)):
        found.append("--optim adafactor")
    return [*found, "a shorter --max_source_length"]


def _smaller_evaluation(arguments: Any, plan: TrainingPlan | None, tried: int) -> list[str]:
    """Name what takes less memory in an evaluation."""
    lines = []
    if tried > 1:
        lines += ["Run it again with smaller batches there, which changes no score:"]
        lines += [f"  --per_device_eval_batch_size {tried // 2}"]
    else:
        lines += ["No batch is smaller."]
    less = []
    if not getattr(arguments, "eval_accumulation_steps", None):
        less.append("--eval_accumulation_steps 8 (predictions wait in the RAM, not on the device)")
    if getattr(arguments, "predict_with_generate", False):
        planned = (plan.generation if plan is not None else None) or {}
        beams = getattr(arguments, "generation_num_beams", None) or planned.get("num_beams") or 1
        less += [f"fewer --num_beams than {beams}"] * (beams > 1) + ["a shorter --generation_max_length"]
    return [*lines, *([f"Less memory there: {', '.join(less)}."] if less else [])]

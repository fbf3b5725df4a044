"""What went wrong in a run, and what to change first: a sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.rows import number
from hf_monitor.report import words
from hf_monitor.report.learned import Learned
from hf_monitor.report.learning import Tone
from hf_monitor.report.material import Material

__all__ = ["RULES", "is_out_of_memory", "what_to_change", "what_went_wrong"]

RULES = {
    "nan": "the loss is not a number",
    "divergence": "the training diverged",
    "checkpoint_broken": "a checkpoint cannot be loaded",
    "learning_rate_ineffective": "next to nothing changes",
    "learning_rate_high": "the learning rate is too high",
    "data_overlap": "samples of the evaluation stand in the training set",
    "overfitting": "it overfits",
    "generation_collapse": "the generated texts are not sound",
    "rouge_falls": "the text score falls",
    "plateau": "progress has stopped",
    "gradient_clipped": "the gradient is clipped nearly always",
    "memory_edge": "the GPU's memory is nearly full",
    "host_memory_edge": "the machine's memory is nearly full",
    "disk_short": "the disk will not hold the checkpoints",
    "disk_nearly_full": "the disk is nearly full",
    "time_short": "the time limit comes before the end",
    "data_bound": "it waits for data",
    "compute_bound": "it is bound by computing",
    "thermal_throttling": "the GPU is too hot",
    "power_throttling": "the GPU is held back by its power limit",
    "other_process": "another process uses the GPU",
    "slower_steps": "steps became slower",
    "memory_headroom": "much of the GPU's memory lies idle",
}
"""What each rule has found, in a few words; causes stand before what follows from them."""
_ORDER = {rule: index for index, rule in enumerate(RULES)}

_SIGNALS = {
    "SIGTERM": "as a batch system, a launcher or kill sends it",
    "SIGHUP": "as a closed terminal or a lost connection sends it",
    "SIGXCPU": "the limit of processor time",
    "SIGSEGV": "a fault in C code: an extension or a driver",
    "SIGABRT": "C code gave up",
    "SIGBUS": "a fault in C code; often /dev/shm or a disk is full",
    "SIGFPE": "a fault in C code",
    "SIGILL": "C code for another processor",
}
_WITH_ERROR_STATUS = ("crashed", "killed")


def what_went_wrong(material: Material) -> tuple[str, Tone]:
    """Say how it ended, and what the rules found."""
    ending, tone = _ending(material)
    found = _grave(material)
    if not found:
        judged = any(one.verdict == "clear" for one in material.findings)
        return f"{ending}{'; no rule found a fault' if judged else ''}.", tone
    counts = []
    for severity in ("error", "warning"):
        own = [one for one in found if one.severity == severity]
        if own:
            told = [_in_short(one) for one in own[:4]] + (["..."] if len(own) > 4 else [])
            counts.append(f"{len(own)} {severity}{'s' if len(own) > 1 else ''} ({'; '.join(told)})")
    worst: Tone = "bad" if any(one.severity == "error" for one in found) else "warn"
    return f"{ending}; the rules found {' and '.join(counts)}.", "bad" if "bad" in (tone, worst) else worst


def _grave(material: Material) -> list[Finding]:
    """Give what is an error or a warning, the gravest first; of equals the causes before what follows from them."""
    found = [one for one in material.findings if one.verdict == "found" and one.severity != "info"]
    return sorted(found, key=lambda one: (one.severity != "error", _ORDER.get(one.rule, len(_ORDER))))


def _in_short(finding: Finding) -> str:
    place = ""
    if finding.steps is not None and finding.steps[0] > 0:
        # What was still finite stands first there.
        is_after = finding.rule == "nan" and finding.steps[0] < finding.steps[1]
        place = f", {'after' if is_after else 'from'} step {finding.steps[0]:,}"
    return f"{RULES.get(finding.rule, finding.rule.replace('_', ' '))}{place}"


def _ending(material: Material) -> tuple[str, Tone]:
    ending, planned = material.ending, material.max_steps
    if not material.run.rows:
        return "No row was recorded, so that nothing is known of what happened", "quiet"
    if not material.has_training:
        return "There only were evaluations, and no error ended them", "quiet"
    step = number(ending.step)
    last = int(step) if step is not None else material.last_step
    attempt = f" in attempt {material.trained_attempt}" if len(material.run.attempts) > 1 else ""
    at = f"at step {last:,}{f' of {planned:,}' if planned else ''}{attempt}"
    rank = f" in process {ending.rank}" if ending.rank else ""
    kind = words.quoted(ending.type) if ending.type else ""
    said = words.quoted(message_line(str(ending.message))) if ending.message else ""
    how = f"{kind}: {said}" if kind and said else kind or said or "an error that left no message"
    meant = f" ({_SIGNALS[str(ending.type)]})" if ending.type in _SIGNALS else ""
    match ending.status:
        case "finished":
            return _finished(material, last, planned)
        case "crashed":
            return f"It crashed {at}{rank} with {how}{meant}", "bad"
        case "interrupted":
            by = "somebody pressed Ctrl-C" if ending.type == "KeyboardInterrupt" else f"it ended itself by {how}"
            return f"It was interrupted {at}{rank}: {by}", "warn"
        case "terminated":
            return f"It was ended {at}{rank} by the signal {how}{meant}", "warn"
        case "killed":
            return (
                f"Its process{rank} was gone without a word after its last row, {at}: usually SIGKILL, from the "
                "kernel when memory is full or from a batch system, or the machine went down",
                "bad",
            )
        case "running":
            return f"It was still running as of its last row, {at}{_last_row(material)}", "quiet"
    return (
        f"How it ended is not known, since its process cannot be seen from here: its last row is {at}"
        f"{_last_row(material)}",
        "quiet",
    )


def _last_row(material: Material) -> str:
    moment = words.moment(material.times[1]) if material.times else ""
    return f" ({moment})" if moment else ""


def _finished(material: Material, step: int, planned: int | None) -> tuple[str, Tone]:
    alert = _stopping_alert(material)
    if alert is not None:
        rule = str(alert.get("rule"))
        why = RULES.get(rule, words.quoted(rule))
        return f"It was stopped at step {step:,}{f' of {planned:,}' if planned else ''} by an alert: {why}", "bad"
    if planned and step < planned:
        return (
            f"It ended in order at step {step:,} of {planned:,}, as a callback such as EarlyStopping asks for",
            "good",
        )
    return f"It ended in order after {step:,}{f' of {planned:,}' if planned else ''} steps", "good"


def _stopping_alert(material: Material) -> Mapping[str, Any] | None:
    """Give the alert that stopped the latest training."""
    alert: Mapping[str, Any] | None = None
    for row in material.run.rows:
        kind = row.get("kind")
        if kind == "event" and row.get("event") == "train_begin":
            alert = None
        elif kind == "alert" and row.get("stops_training") is True:
            alert = alert or row
    return alert


def message_line(message: str) -> str:
    """Give the line of an error's message that says most; of one that quotes a traceback, the last."""
    lines = [line for line in message.strip().splitlines() if line.strip()] or [""]
    return lines[-1] if lines[0].startswith("Caught ") else lines[0]


def is_out_of_memory(material: Material) -> bool:
    """Tell whether an error says that a GPU's memory was full."""
    said = f"{material.ending.type} {material.ending.message}".lower()
    return material.ending.status == "crashed" and ("outofmemory" in said or "out of memory" in said)


def what_to_change(material: Material, learned: Learned) -> tuple[str, Tone]:
    """Say what to change first: what the gravest finding suggests, else what the evaluations ask for."""
    gravest = [one for one in _grave(material) if one.suggestions]
    status = material.ending.status
    if material.has_training and status in ("crashed", "killed", "interrupted", "terminated"):
        return _of_the_dead(material, gravest)
    if gravest and gravest[0].severity == "error":
        return f"Try this: {_advice(gravest[0], material)}.", "bad"
    alert = _stopping_alert(material) if status == "finished" else None
    if alert is not None and (told := _of_the_alert(alert, gravest, material)):
        return told, "bad"
    if learned.is_urgent:
        return learned.advice, "warn"
    if gravest:
        doubtful = gravest[0].rule == "divergence" and learned.tone == "bad"
        return f"Try this: {_advice(gravest[0], material, doubts=not doubtful)}.", "bad" if doubtful else "warn"
    if not material.run.rows:
        return "Attach the monitor before the training begins: attach(trainer), then trainer.train().", "warn"
    if not material.has_training:
        return "Nothing needs changing, by what was recorded.", "quiet"
    if status == "unknown":
        host = next((str(one["host"]) for one in reversed(material.run.attempts) if one.get("host")), "")
        where = f"on {words.quoted(host)}" if host else "on the machine it ran on"
        return f"Look {where} whether it still runs, and make this report there.", "quiet"
    if learned.n < 2 and not learned.advice:
        is_steps = material.config.get("eval_strategy") == "steps"
        more = ("smaller eval_steps" if is_steps else 'eval_strategy="steps"') + ", eval_on_start=True"
        return f"Evaluate more often during a training ({more}), so that it can be told whether it learns.", "warn"
    if learned.advice:
        return learned.advice, "quiet" if learned.tone == "quiet" else "warn"
    if grave := _grave(material):  # a warning that no rule has a remedy for is not nothing
        tone: Tone = "bad" if grave[0].severity == "error" else "warn"
        return "The rules have no advice for what they found: look at the evidence among the findings.", tone
    return f"Nothing needs changing{' so far' if status == 'running' else ''}, by what was recorded.", "good"


def _advice(finding: Finding, material: Material, *, doubts: bool = True) -> str:
    """Give its first suggestion; of a training that is over not that it should go on, nor a doubt that is none."""
    left_out = [] if material.ending.status == "running" else ["train on,"]
    left_out += [] if doubts else ["shuffled data, or"]
    told = [one for one in finding.suggestions if not one.startswith(tuple(left_out))]
    return (told or finding.suggestions)[0].rstrip(".")


def _of_the_alert(alert: Mapping[str, Any], gravest: Sequence[Finding], material: Material) -> str:
    """Give the advice of the alert that stopped a training: the whole run may no longer show what it saw."""
    if same := [one for one in gravest if one.rule == alert.get("rule")]:
        return f"Try this: {_advice(same[0], material)}."
    given = alert.get("suggestions")
    told = [one for one in given if isinstance(one, str) and one.strip()] if isinstance(given, list) else []
    if told:
        return f"Try this: {words.quoted(told[0].strip().rstrip('.'), 500)}."
    return f"Look at what the alert saw at step {number(alert.get('step')) or 0:,.0f}, or mute its rule: mute=[...]."


def _of_the_dead(material: Material, gravest: Sequence[Finding]) -> tuple[str, Tone]:
    status, checkpoint = material.ending.status, material.checkpoint
    error = gravest[0] if gravest and gravest[0].severity == "error" else None
    memory = next((one for one in gravest if one.rule in ("host_memory_edge", "memory_edge")), None)
    if is_out_of_memory(material):
        do = _advice(memory, material) if memory is not None else _smaller_batch(material)
    elif error is not None:
        do = _advice(error, material)
    elif status == "crashed":
        do = "mend the error (its traceback stands below)" if material.ending.traceback else "mend the error"
    elif status == "killed" and memory is not None:
        do = _advice(memory, material)
    elif status == "killed":
        do = "look who ended it (dmesg, the batch system's record) and how much memory it had"
    else:
        do = _advice(gravest[0], material) if gravest else ""
    sound = material.sound_checkpoint
    if checkpoint is None:
        then = "begin anew, with save_steps for checkpoints: none was saved"
    elif sound != checkpoint:
        told = f"do not go on from its last checkpoint: that of step {checkpoint[0]:,} came after the fault"
        return f"{f'Try this: {do}; {told}' if do else told[0].upper() + told[1:]}.", "bad"
    else:
        then = f"go on from its checkpoint of step {checkpoint[0]:,} (the command stands below)"
    if not do:
        return f"Nothing, if that was meant; else {then}.", "quiet"
    return f"Try this: {do}; then {then}.", "bad" if status in _WITH_ERROR_STATUS else "warn"


def _smaller_batch(material: Material) -> str:
    batch = number(material.config.get("per_device_train_batch_size"), 2.0, 1e6)
    steps = number(material.config.get("gradient_accumulation_steps"), 1.0, 1e6)
    if batch is None or steps is None or batch % 2:
        return "a smaller batch, or gradient_checkpointing=True"
    return (
        f"per_device_train_batch_size={batch / 2:.0f} and gradient_accumulation_steps={2 * steps:.0f} "
        f"(they are {batch:.0f} and {steps:.0f}; the effective batch stays the same)"
    )

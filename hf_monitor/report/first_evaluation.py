"""When the first evaluation of a training is due, by its arguments."""

from __future__ import annotations

from math import ceil

from hf_monitor.diagnosis.rows import number
from hf_monitor.report.material import Material

__all__ = ["first_evaluation"]


def first_evaluation(material: Material) -> str:
    """Say when the first evaluation comes (or would have come) of a training that has not reached it.

    Parameters
    ----------
    material : Material

    Returns
    -------
    str
        Such as ``"at step 20"``; empty where none is due, where it has been, and where it is not known.
    """
    config, strategy = material.config, str(material.config.get("eval_strategy") or "").rpartition(".")[2].lower()
    if not material.has_training or config.get("eval_on_start") is True:
        return ""
    if any(row.get("kind") == "eval" for row in material.run.rows):
        return ""
    delay = number(config.get("eval_delay")) or 0.0
    if strategy == "steps":
        every = number(config.get("eval_steps")) or number(config.get("logging_steps"))
        if every is not None and 0 < every < 1:  # a share of all steps
            every = ceil(every * material.max_steps) if material.max_steps else None
        if not every:
            return ""
        first = int(every) * max(1, ceil(delay / int(every)))
        is_due = material.last_step < first and (material.max_steps is None or first <= material.max_steps)
        return f"at step {first:,}" if is_due else ""
    if strategy == "epoch":
        epochs = [number(row.get("epoch")) or 0.0 for row in material.metrics if row.get("kind") == "train"]
        whole = max(1, ceil(delay))
        return f"at the end of epoch {whole}" if max(epochs, default=0.0) < whole else ""
    return ""

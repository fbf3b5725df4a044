"""Which way a metric is better, where that is known: what nobody knows has no best value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hf_monitor.run.better import greater_is_better, lower_is_better

__all__ = ["direction"]

_GREATER = {
    *("acc", "accuracy", "auc", "auroc", "bertscore", "bleu", "chrf", "dice", "em", "exact", "f1", "iou", "map"),
    *("match", "mcc", "meteor", "pearson", "precision", "psnr", "r2", "recall", "reward", "rouge", "rouge1", "rouge2"),
    *("rougel", "rougelsum", "sacrebleu", "score", "spearman", "ssim", "neg", "negative"),
}
_NEITHER = {"lr", "learning_rate", "grad_norm", "epoch", "loss_raw", "loss_scale"}


def direction(metric: str, config: Mapping[str, Any]) -> bool | None:
    """Tell whether greater is better.

    Parameters
    ----------
    metric : str
    config : mapping
        ``greater_is_better`` counts for its ``metric_for_best_model``, as :mod:`hf_monitor.run.better` has it.

    Returns
    -------
    bool or None
        None where neither the config nor a word of the name tells.
    """
    wanted = config.get("metric_for_best_model")
    own = isinstance(wanted, str) and wanted.removeprefix("eval_") == metric.removeprefix("eval_")
    if own and isinstance(config.get("greater_is_better"), bool):
        return greater_is_better(metric, config)
    if metric.rpartition("/")[2].removeprefix("eval_") in _NEITHER or metric.endswith("gen_len"):
        return None
    if lower_is_better(metric):
        return False
    words = re.split(r"[^a-z0-9]+", metric.lower())
    return None if _GREATER.isdisjoint(words) else True

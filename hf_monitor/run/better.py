"""Which end of a metric is good: by the run's own arguments and by the metric's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["greater_is_better", "is_direction_known", "lower_is_better", "name_says_lower"]

_LOWER = {"loss", "wer", "cer", "ter", "perplexity", "ppl", "nll", "error", "errors", "mse", "mae", "rmse", "mape"}
_LOWER |= {"losses", "err", "kl", "bpc", "bpb", "손실", "오차", "오류율"}
#: Turned round: ``neg_mean_squared_error`` of scikit-learn.
_NEGATIVE = {"neg", "negative"}
#: What a name ends with is what it is, whatever the evaluation set is called: ``eval_ter_rougeL``.
_GREATER = {"rouge1", "rouge2", "rougel", "rougelsum", "bleu", "sacrebleu", "chrf", "meteor", "f1", "accuracy", "match"}
#: Further words of which nobody doubts that high is good.
_HIGH = {"acc", "score", "precision", "recall", "auc", "auroc", "map", "ndcg", "mrr", "iou", "dice", "psnr", "ssim"}
_HIGH |= {"r2", "em", "mcc", "matthews", "kappa", "pearson", "spearman", "cider", "bertscore", "comet", "reward"}
_HIGH |= {"rouge", "정확도", "점수"}


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.lower()) if word]


def lower_is_better(metric: str) -> bool:
    """Tell by its name whether a small value of a metric is a good one.

    So it is where a word of the name is loss, error, perplexity, WER, CER, TER, MSE, MAE, RMSE or the like:
    ``eval_loss``, ``word_error_rate``, ``cer_score``.
    """
    words = _words(metric)
    return not _LOWER.isdisjoint(words) and _NEGATIVE.isdisjoint(words) and words[-1] not in _GREATER


def name_says_lower(metric: str) -> bool:
    """Tell whether a name leaves no doubt that small is good: it ends so (``eval_wer``, ``word_error_rate``)."""
    words = _words(metric)
    return lower_is_better(metric) and (words[-1] in _LOWER or words[-2:] == ["error", "rate"])


def is_direction_known(metric: str, config: Mapping[str, Any]) -> bool:
    """Tell whether the arguments or the name say which way a metric is better; else :func:`greater_is_better` guesses.

    Of ``eval_rougeL``, ``accuracy`` and ``loss`` everybody knows; of ``lr``, ``time`` and ``weights`` nobody does.
    """
    wanted = config.get("metric_for_best_model")
    own = isinstance(wanted, str) and wanted.removeprefix("eval_") == metric.removeprefix("eval_")
    if own and isinstance(config.get("greater_is_better"), bool):
        return True
    words = set(_words(metric))
    return lower_is_better(metric) or not words.isdisjoint(_GREATER | _HIGH | _NEGATIVE)


def greater_is_better(metric: str, config: Mapping[str, Any]) -> bool:
    """Tell which way a metric is better.

    Parameters
    ----------
    metric : str
        As it stands in the rows: ``"eval_rougeL"``.
    config : mapping
        The training arguments. ``greater_is_better`` counts for their own ``metric_for_best_model``; but True does not
        where :func:`name_says_lower`: transformers sets it for every name that does not end with ``loss``, so that
        a training that was to keep the best WER keeps the worst.

    Returns
    -------
    bool
        True where neither tells.

    Examples
    --------
    >>> greater_is_better("eval_wer", {"metric_for_best_model": "wer", "greater_is_better": True})
    False
    >>> greater_is_better("eval_mine", {"metric_for_best_model": "mine", "greater_is_better": False})
    False
    """
    wanted, said = config.get("metric_for_best_model"), config.get("greater_is_better")
    own = isinstance(wanted, str) and wanted.removeprefix("eval_") == metric.removeprefix("eval_")
    if own and isinstance(said, bool):
        return said and not name_says_lower(metric)
    return not lower_is_better(metric)

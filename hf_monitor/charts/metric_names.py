"""What a logged number is, by its name: a loss, a text score, a share, or the Trainer's bookkeeping."""

from __future__ import annotations

import re
from collections.abc import Container

import numpy as np

from hf_monitor.charts.curves import Curve

__all__ = ["is_bookkeeping", "is_loss", "is_share", "is_text_score", "score_of", "set_of"]

_BOOKKEEPING = re.compile(r"_(runtime|per_second|samples|gen_len|steps)$|^((\w+_)?loss_(raw|scale)|nonfinite_steps)$")
_SCORES = ("score", "rouge1", "rouge2", "rougeL", "rougeLsum", "bleu")


def is_loss(name: str) -> bool:
    """Tell ``loss`` and ``eval_<set>_loss``."""
    return name == "loss" or (name.startswith("eval_") and name.endswith("_loss"))


def is_text_score(name: str, names: Container[str]) -> bool:
    """Tell ROUGE, BLEU and our ``score`` from metrics that only end like them (``eval_f1_score``).

    Parameters
    ----------
    name : str
    names : container of str
        All that were logged.
    """
    score = next((score for score in _SCORES if name == f"eval_{score}" or name.endswith(f"_{score}")), None)
    if score is None or not name.startswith("eval_"):
        return False
    prefix = name.removesuffix(f"_{score}")
    return prefix == "eval" or score != "score" or any(f"{prefix}_{other}" in names for other in ("loss", "rouge1"))


def score_of(name: str) -> str:
    """Give the score that a text score's name ends with: ``"rougeL"``."""
    return next(score for score in _SCORES if name.endswith(f"_{score}"))


def is_share(curve: Curve) -> bool:
    """Tell a metric from 0 to 1."""
    values = curve.finite[1]
    return bool(len(values)) and bool(np.all((values >= 0) & (values <= 1)))


def is_bookkeeping(name: str) -> bool:
    """Tell what says nothing about how well a model learns: run times, numbers of samples, lengths."""
    return _BOOKKEEPING.search(name) is not None


def set_of(name: str) -> str:
    """Name of the evaluation set of ``eval_<set>_loss``; empty where there is one set without a name."""
    return name.removeprefix("eval_").removesuffix("loss").rstrip("_")

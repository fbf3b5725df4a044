"""What several rules suggest, as the run's own arguments have it; and which checkpoints there are to go back to."""

from __future__ import annotations

from collections import deque

from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.diagnosis.rules.base import About, Row

__all__ = ["Saves", "clipping", "is_adam", "lower_rate", "optimizer", "shown", "warm_up"]

_REMEMBERED = 1000  # checkpoints: more than a disk holds


def shown(value: float) -> str:
    """Say a loss, a norm or a rate."""
    return f"{value:.4g}"


def optimizer(about: About) -> str:
    """Name the optimizer in lower case: its class, if that was recorded, else what the arguments ask for.

    Empty where it is not known, also where a rate above that of the arguments was logged: it is the user's own.
    """
    recorded = mapping(about.facts.get("optimizer")).get("class")
    if isinstance(recorded, str):
        return recorded.lower()
    asked = about.argument("optim")
    return asked.lower() if isinstance(asked, str) and not _other_rate(about) else ""


def is_adam(about: About) -> bool:
    """Whether a step of the optimizer is surely about as large as its rate: Adam and its kin."""
    return any(name in optimizer(about) for name in ("adam", "lion"))


def _other_rate(about: About) -> bool:
    """Whether a rate above that of the arguments was logged."""
    now = number(about.argument("learning_rate"))
    return now is not None and about.peak_rate > 1.01 * now


def _own_rate(about: About) -> bool:
    """Whether the rates are the user's own, as far as one can see: then ``learning_rate`` has no effect."""
    asked = about.argument("optim")
    recorded = mapping(about.facts.get("optimizer")).get("class")
    kinds = ("adam", "sgd", "adafactor", "lion", "rmsprop", "adagrad")
    kind = next((kind for kind in kinds if isinstance(asked, str) and kind in asked.lower()), None)
    return _other_rate(about) or (isinstance(recorded, str) and kind is not None and kind not in recorded.lower())


def lower_rate(about: About, rate: float | None = None, *, factor: float = 10.0) -> str | None:
    """Suggest a lower learning rate.

    Parameters
    ----------
    about : About
    rate : float, optional
        That to take; without it, a `factor`-th of the present one.
    factor : float
    """
    now, peak = number(about.argument("learning_rate")), about.peak_rate
    if not now or _own_rate(about):
        was = f" (its peak was {peak:.4g})" if peak else ""
        if rate is None:
            return f"a learning rate {factor:g} times lower{was}"
        return f"a learning rate of {rate:.2g}{was}" if not peak or rate < peak else None
    if rate is None:
        return f"learning_rate={now / factor:.2g} (now {now:.4g})"
    return f"learning_rate={rate:.2g} (now {now:.4g})" if rate < now else None


def clipping(about: About) -> str | None:
    """Suggest to clip the gradient, where it is not."""
    limit = number(about.argument("max_grad_norm"))
    return None if limit is None or limit > 0 else "max_grad_norm=1.0 (now 0: the gradient is not clipped)"


def warm_up(about: About) -> str | None:
    """Suggest a warm-up, where there is none."""
    steps, ratio = number(about.argument("warmup_steps")), number(about.argument("warmup_ratio")) or 0.0
    if steps is None or steps > 0 or ratio > 0 or not about.max_steps:
        return None
    return f"warmup_steps={max(1, about.max_steps // 20)} (now 0)"


class Saves:
    """The checkpoints of a training, by its ``save`` events."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._steps: deque[int] = deque(maxlen=_REMEMBERED)

    def see(self, row: Row) -> None:
        """Look at an event."""
        if row.get("event") == "save" and (step := number(row.get("step"))) is not None:
            self._steps.append(int(step))

    @property
    def kept(self) -> list[int]:
        """Steps of those that ``save_total_limit`` has left."""
        limit = number(self._about.argument("save_total_limit"), 1.0)
        steps = sorted(set(self._steps))
        return steps if limit is None else steps[-int(limit) :]

    def before(self, step: float, *, going_back: str = "go back to") -> str | None:
        """Suggest the last checkpoint up to `step`, if there is one."""
        earlier = [saved for saved in self.kept if saved <= step]
        return f"{going_back} checkpoint-{earlier[-1]}" if earlier else None

    def anew(self, step: float, change: str | None) -> str | None:
        """Suggest to begin anew with a change that a resume would undo (it restores the rate and its schedule).

        From the weights of the last checkpoint up to `step`, if there is one; without one the change alone.
        """
        weights = self.before(step, going_back="begin anew from the weights of")
        return change if weights is None or change is None else f"{weights} (from_pretrained, no resume) with {change}"

    def says_of(self, step: int) -> str:
        """Say whether there is a checkpoint of a step, as the end of a sentence."""
        if step in self.kept:
            return f"checkpoint-{step} has been saved"
        if step in self._steps:
            return f"checkpoint-{step} was saved, and is deleted since (save_total_limit)"
        return f"no checkpoint of step {step} was saved"

"""A loss or a gradient that is not a finite number."""

from __future__ import annotations

from math import isfinite, isinf
from typing import Any, ClassVar

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.advice import Saves, clipping, lower_rate, shown
from hf_monitor.diagnosis.rules.base import About, Row, Rule, any_number, eval_losses
from hf_monitor.diagnosis.suggestions import can_bf16

__all__ = ["NotFinite"]

_EVENT = ("loss", "grad_norm")


class NotFinite(Rule):
    """Finds a training loss, gradient norm or validation loss that is NaN or infinite.

    With ``logging_nan_inf_filter`` (the Trainer's default) such a loss is logged as 0.0 or as the mean of the others;
    the norm of the gradient, and the number of such steps that ``attach`` counts, tell of it. fp16's loss scaling makes
    gradients infinite now and then, leaves out that step and lowers its factor (torch.amp.GradScaler): a norm alone
    counts there only if it lasts. A validation loss alone, beside training losses that are finite, is a warning: it may
    be that of the evaluation (half precision, samples without a label), with sound weights.
    """

    name: ClassVar[str] = "nan"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "eval", "event", "train_summary"})
    may_worsen: ClassVar[bool] = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._saves = Saves(about)
        self._n = 0
        self._loss: float | None = None
        self._loss_step = 0
        self._said = False  # of an evaluation
        self._norm_logs = 0  # in a row
        self._norm_step = 0.0  # before the first of them

    def see(self, row: Row) -> Finding | None:
        """Look at the losses and the norm of a row."""
        kind = row.get("kind")
        if kind == "train":
            return self._train(row)
        if kind == "eval":
            return None if self._said else self._evaluation(row)
        if kind == "train_summary":
            return self._summary(row)
        if row.get("event") == "nonfinite":
            return self._event(row)
        if row.get("event") == "save" and number(row.get("nonfinite_steps"), 1.0):  # not logged yet
            return self._found("loss", None, None, number(row.get("step")) or 0.0)
        self._saves.see(row)
        return None

    def _train(self, row: Row) -> Finding | None:
        loss, norm = row.get("loss"), row.get("grad_norm")
        if (
            type(loss) is float
            and type(norm) is float
            and isfinite(loss)
            and isfinite(norm)
            and "nonfinite_steps" not in row
        ):  # nearly every row
            self._n += 1
            self._loss, self._loss_step = loss, row.get("step")  # type: ignore[assignment]  # looked at when it is said
            self._norm_logs = 0
            return None
        loss, norm = any_number(loss), any_number(norm)
        step = number(row.get("step")) or 0.0
        self._n += 1
        bad_loss = loss is not None and not isfinite(loss)
        bad_norm = norm is not None and not isfinite(norm)
        hidden = not bad_loss and (bool(number(row.get("nonfinite_steps"), 1.0)) or (bad_norm and loss == 0.0))
        if bad_loss or hidden:
            return self._found("loss", loss if bad_loss else None, norm if bad_norm else None, step)
        if bad_norm:
            return self._norm(norm, step)
        self._norm_logs = 0
        if loss is not None:
            self._loss, self._loss_step = loss, int(step)
        return None

    def _norm(self, norm: float | None, step: float) -> Finding | None:
        """Count how long a norm lasts that is not finite beside a loss that is."""
        if not self.about.in_fp16:
            return self._found("grad_norm", None, norm, step)
        if not self._norm_logs:
            self._norm_step = step
        self._norm_logs += 1
        lasted = self._norm_logs >= self.limits.nan_fp16_logs and step - self._norm_step >= self.limits.nan_fp16_steps
        return self._found("grad_norm", None, norm, step) if lasted else None

    def _evaluation(self, row: Row) -> Finding | None:
        for name, loss in eval_losses(row):
            if not isfinite(loss):
                self._said = True
                return self._found(f"{name}_loss", loss, None, number(row.get("step")) or 0.0)
        return None

    def _summary(self, row: Row) -> Finding | None:
        """Look at what is counted over all steps: they may not all have been logged."""
        loss = any_number(row.get("train_loss"))
        bad = loss is not None and not isfinite(loss)
        if not bad and not number(row.get("nonfinite_steps"), 1.0):
            return None
        return self._found("loss", loss if bad else None, None, number(row.get("step")) or 0.0)

    def _event(self, row: Row) -> Finding | None:
        for key in _EVENT:
            value = any_number(row.get(key))
            if value is None or isfinite(value) or (key == "grad_norm" and self.about.in_fp16):
                continue
            loss, norm = (value, None) if key == "loss" else (None, value)
            return self._found(key, loss, norm, number(row.get("step")) or 0.0)
        return None

    def _found(self, which: str, loss: float | None, norm: float | None, step: float) -> Finding:
        last_step = int(number(self._loss_step) or 0)
        evidence: dict[str, Any] = {"which": which}
        evidence |= {name: str(value) for name, value in (("loss", loss), ("grad_norm", norm)) if value is not None}
        before = "no finite training loss was logged before"
        if self._loss is not None:
            evidence |= {"last_finite_loss": self._loss, "last_finite_step": last_step}
            before = f"the last finite training loss was {shown(self._loss)} at step {last_step}"
        what = {
            "loss": "the training loss was not a finite number",
            "grad_norm": "the gradient was not finite, and with it the weights after that step",
        }.get(which, f"{which} was not a finite number")
        if which == "loss" and loss is not None:
            what = f"the training loss was not a finite number ({_word(loss)})"
        elif which == "loss":
            what += ", which the Trainer's filter hides (logging_nan_inf_filter)"
        elif loss is not None:
            what = f"{which} was not a finite number ({_word(loss)})"
        if which == "grad_norm" and self.about.in_fp16:
            what = f"the gradient was not finite in {self._norm_logs} logs in a row: no step of them was taken"
        alone = which.startswith("eval_") and self._loss is not None
        after = " If the next training losses are finite it is the evaluation's own." if alone else ""
        return Finding(
            rule=self.name,
            verdict="found",
            severity="warning" if alone else "error",
            sentence=f"At step {step:.0f} {what}; {before}.{after}",
            n_samples=self._n,
            steps=(min(last_step, int(step)), int(step)),
            suggestions=self._suggestions(which, last_step),
            evidence=evidence,
        )

    def _suggestions(self, which: str, step: int) -> tuple[str, ...]:
        if which.startswith("eval_") and self._loss is not None:
            full = self.about.argument("fp16_full_eval") is True
            found = [
                "fp16_full_eval=False (now True)" if full else None,
                self._saves.before(step, going_back="if later training losses are not finite, either: resume from"),
                "look whether the weights are still finite, and for evaluation samples without a label (all -100)",
            ]
            return tuple(one for one in found if one)
        back = step if self._loss is not None else -1.0
        if self.about.in_fp16:
            found = [self._saves.before(back, going_back="resume from"), _half(self.about), clipping(self.about)]
            found.append(lower_rate(self.about))
        else:
            found = [self._saves.anew(back, lower_rate(self.about)), clipping(self.about)]
        found.append("look for samples without a label (all -100) or with values that are not finite")
        return tuple(one for one in found if one)[:3]

    def verdict(self) -> Finding:
        """Say that all were finite, if any were seen."""
        if not self._n:
            return self.nothing("Whether loss and gradient stayed finite is not known.", missing="no training log.")
        return self.nothing(f"Loss and gradient were finite in all {self._n} training logs.", n=self._n)


def _half(about: About) -> str:
    """Suggest another precision than fp16, as far as the card is known to have it."""
    known = Known(about.facts)
    if known.own_gpu is not None and known.gpu_info(known.own_gpu) and not can_bf16(known, known.own_gpu):
        return "fp16=False (fp32; this card does not compute in bf16)"
    return "bf16=True instead of fp16=True (its numbers reach as far as fp32's)"


def _word(value: float) -> str:
    return ("infinite" if value > 0 else "minus infinity") if isinf(value) else "NaN"

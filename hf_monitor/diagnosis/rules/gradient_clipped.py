"""A gradient that is cut at ``max_grad_norm`` in every step, by a large factor."""

from __future__ import annotations

from math import exp, inf, log
from typing import ClassVar

from hf_monitor.diagnosis.finding import Finding, Severity
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.advice import optimizer, shown
from hf_monitor.diagnosis.rules.base import About, Row, Rule
from hf_monitor.diagnosis.wording import percent, rounded

__all__ = ["GradientClipped"]

_HORIZON = 100  # logs that the means remember
_LEAST, _MOST = 1e-9, 1e9  # factors
_SCALES = ("sgd", "rmsprop", "adagrad")  # whose step grows with the gradient, or has a memory without end


class GradientClipped(Rule):
    """Finds a gradient norm that is far above ``max_grad_norm`` in nearly all logs.

    Clipping (Pascanu et al. 2013, On the difficulty of training recurrent neural networks) is for single steps. Adam
    and its kin divide by the gradient's own size (Kingma & Ba 2015, section 2.1): a factor that is always there cancels
    out, so it is no more than a sign. Under SGD it divides the learning rate.
    """

    name: ClassVar[str] = "gradient_clipped"
    kinds: ClassVar[frozenset[str]] = frozenset({"train"})

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._n = 0
        self._share = 0.0
        self._log_factor = 0.0
        self._first_step = 0.0

    def see(self, row: Row) -> Finding | None:
        """Look at a norm."""
        norm = row.get("grad_norm")
        if type(norm) is not float or not 0.0 < norm < inf:
            return None
        limit = number(self.about.argument("max_grad_norm"))
        if not limit:
            return None
        self._n += 1
        part = 1.0 / min(self._n, _HORIZON)
        self._share += ((norm > limit) - self._share) * part
        self._log_factor += (log(min(max(norm / limit, _LEAST), _MOST)) - self._log_factor) * part
        if self._n == 1:
            self._first_step = number(row.get("step")) or 0.0
        limits = self.limits
        if self._n < limits.gradient_clipped_logs or self._share < limits.gradient_clipped_share:
            return None
        step = number(row.get("step")) or 0.0
        factor = exp(self._log_factor)
        if factor < limits.gradient_clipped_factor or step - self._first_step < limits.gradient_clipped_steps:
            return None
        return self._found(limit, factor, int(step))

    def _found(self, limit: float, factor: float, step: int) -> Finding:
        name = optimizer(self.about)
        scales = any(kind in name for kind in _SCALES)
        severity: Severity = "warning" if scales else "info"
        what = (
            f"{name} takes steps that are as large as the gradient: the learning rate is in effect {factor:.3g} "
            "times lower than it is set."
            if scales
            else "Under Adam and its kin this alone is harmless; it may be the sign of a loss that is a sum."
        )
        found = [
            f"max_grad_norm={2 * factor * limit:.2g} (now {limit:g}): then only outliers are cut",
            "look whether the loss is a mean over tokens (loss_scaling in run.json; ensure_loss_scaling)",
        ]
        return Finding(
            rule=self.name,
            verdict="found",
            severity=severity,
            sentence=f"The gradient was cut in {percent(self._share)} of the last {min(self._n, _HORIZON)} logs: its "
            f"norm is {shown(factor * limit)} (geometric mean), {factor:.3g} times max_grad_norm ({limit:g}). {what}",
            value=factor,
            unit="times max_grad_norm",
            threshold=self.limits.gradient_clipped_factor,
            n_samples=min(self._n, _HORIZON),
            steps=(int(self._first_step), step),
            suggestions=tuple(found),
            evidence=rounded(share=self._share, norm=factor * limit, max_grad_norm=limit),
        )

    def verdict(self) -> Finding:
        """Say how often it was clipped, if it is known."""
        limit = number(self.about.argument("max_grad_norm"))
        if limit == 0:
            return self.nothing("The gradient is not clipped: max_grad_norm is 0.")
        if limit is None or self._n < self.limits.gradient_clipped_logs:
            missing = "max_grad_norm is not known." if limit is None else f"{self._n} logs with a gradient norm."
            return self.nothing("How often the gradient was clipped is not known.", missing=missing, n=self._n)
        factor = exp(self._log_factor)
        return self.nothing(
            f"The gradient was cut in {percent(self._share)} of the last {min(self._n, _HORIZON)} logs; its norm was "
            f"{shown(factor)} times max_grad_norm (geometric mean).",
            n=self._n,
            value=factor,
            unit="times max_grad_norm",
            threshold=self.limits.gradient_clipped_factor,
        )

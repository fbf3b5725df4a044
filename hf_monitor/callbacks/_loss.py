"""What the Trainer logs as loss, and what the loss was: too large by the accumulation, 0.0 where it was NaN."""

from __future__ import annotations

import itertools
import logging
import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from hf_monitor.callbacks import _loss_share
from hf_monitor.callbacks._facts import mixed_precision
from hf_monitor.callbacks._loss_verdict import (
    AS_LOGGED,
    SCALED,
    UNDETERMINED,
    Verdict,
    by_use,
    decide,
    first_sample,
    is_own,
    n_processes,
    name_of,
)
from hf_monitor.seq2seq.loss_scaling import uses_num_items

__all__ = ["LossRecord", "is_summary"]

log = logging.getLogger("hf_monitor")

_LONGEST_WINDOW = 64
"""Micro-batches whose losses are kept as tensors: a logging window longer than that (500 steps are the Trainer's
default) is read in between, so that a NaN is heard of soon. Each reading waits for the device once."""

_FIX = (
    "To mend it, put `hf_monitor.ensure_loss_scaling(model)` (or `model.accepts_loss_kwargs = False`) before the line "
    "that makes the Trainer."
)


_trainings = itertools.count(1)
"""Every process of a launch counts the same trainings."""


def is_summary(logs: Mapping[str, Any], state: Any) -> bool:
    """Say whether this is the Trainer's last line of a training.

    Without flos it is an evaluation with ``metric_key_prefix="train"``. The printing callback takes them out for all
    that come after it, but not out of the Trainer's own copy.
    """
    return "train_loss" in logs and ("total_flos" in logs or "total_flos" in (state.log_history or [{}])[-1])


@dataclass
class _Window:
    """Losses since the Trainer last logged, of this process.

    Attributes
    ----------
    total, honest : float
        Sum as the Trainer adds them, and of each times its scale.
    scales : set of float
    steps : set of int
        Steps with a loss that was not finite.
    """

    total: float = 0.0
    honest: float = 0.0
    n: int = 0
    scales: set[float] = field(default_factory=set)
    steps: set[int] = field(default_factory=set)

    @property
    def scale(self) -> float:
        """By what the logged loss is to be multiplied: for steps of different lengths, weighted by their losses."""
        if len(self.scales) == 1:
            return next(iter(self.scales))
        least, most = min(self.scales), max(self.scales)
        found = self.honest / self.total if self.total and math.isfinite(self.total) else math.nan
        return min(max(found, least), most) if math.isfinite(found) else (least + most) / 2


class LossRecord:
    """Turns the losses that a Trainer logs into what they were.

    Where :func:`hf_monitor.attach` has wrapped ``training_step`` it knows the loss of each micro-batch; else it goes by
    what is in the rows.

    Attributes
    ----------
    verdict : Verdict or None
        Of the running training, or the one that ended last.
    news : dict or None
        Evidence of a value that is not finite: the first of a training, until somebody takes it.
    """

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self.news: dict[str, Any] | None = None
        self._watched: list[tuple[weakref.ref[Any], weakref.ref[Any] | None]] = []
        self._reset(None)

    def _reset(self, state: Any) -> None:
        self._state = state
        self._trainer: weakref.ref[Any] | None = None
        self._args: Any = None
        self._pending: list[tuple[Any, int, bool, int]] = []
        self._window = _Window()
        self._logged_step = self._begin_step = 0 if state is None else state.global_step
        self._plain = True  # nothing to look at but a loss of exactly 0.0 and what is not finite
        self._told_news = False
        self._sum_raw = self._sum_honest = 0.0  # over the steps that were logged
        self._n_nonfinite = 0
        self._was_nonfinite = False
        self._key = ""
        self._joins = False  # with what other processes know of a window

    def watch(self, trainer: Any, wrapper: Any) -> None:
        """Take note of a Trainer whose ``training_step`` is about to become `wrapper`.

        The wrapper calls :meth:`before` and :meth:`add`.
        """
        self._watched = [seen for seen in self._watched if seen[0]() is not None]
        self._watched.append((weakref.ref(trainer), weakref.ref(wrapper) if is_own(trainer, "training_step") else None))

    def begin(self, args: Any, state: Any, model: Any) -> dict[str, Any]:
        """Decide for a training that begins; gives the facts for ``run.json``. Never raises."""
        self._reset(state)
        self._args = args
        self._key, self._joins = f"loss/{next(_trainings)}", args.world_size > 1
        trainer, wrapper = next(
            ((t, wrapper) for seen, wrapper in self._watched if (t := seen()) is not None and t.state is state),
            (None, None),
        )
        try:
            own_step = wrapper is not None and is_own(trainer, "training_step", wrapper())
            self.verdict = decide(args, model, trainer, own_step=own_step)
        except Exception as error:  # noqa: BLE001 - the policy: a Trainer that is otherwise built must still train
            self.verdict = Verdict(UNDETERMINED, f"could not be found out: {type(error).__name__}: {error}")
        self._trainer = None if trainer is None else weakref.ref(trainer)
        self._plain = trainer is None and self.verdict.verdict != UNDETERMINED
        self._warn()
        return self.verdict.facts()

    def is_unseen(self, state: Any) -> bool:
        """Say whether losses of this training's evaluations may be multiplied, and nobody sees how (no ``attach``)."""
        if state is not self._state or self.verdict is None or self._trainer is not None:
            return False
        return self.verdict.verdict == UNDETERMINED and n_processes(self._args) > 1

    def end(self) -> None:
        """Hear of no more steps."""
        self._trainer, self._pending = None, []

    def _warn(self) -> None:
        assert self.verdict is not None
        if not self._state.is_world_process_zero:
            return
        args, trainer = self._args, None if self._trainer is None else self._trainer()
        if self.verdict.verdict == AS_LOGGED or self.verdict.may_probe:  # the first batch may tell
            return
        k = 1 if getattr(trainer, "loss_is_scaled_for_ga", None) is False else args.gradient_accumulation_steps
        times = k * n_processes(args, trainer)
        if times == 1:  # several processes whose tokens are not averaged
            return
        if "ignores" not in self.verdict.reason:
            log.warning(
                "hf_monitor: whether the loss that the Trainer logs is right is not known (%s): it is recorded as "
                "logged, with loss_scale 'undetermined'. If it is the model's own mean, it is %d times too large "
                "(gradient accumulation %d, processes %d).",
                *(self.verdict.reason, times, args.gradient_accumulation_steps, max(args.world_size, args.n_gpu)),
            )
            return
        known = "" if self.verdict.verdict == SCALED else ", unless the Trainer was given a compute_loss_func"
        recorded = (
            "Recorded are the loss as it is and, as loss_raw, what the Trainer logs."
            if self.verdict.verdict == SCALED
            else "It is recorded as logged, with loss_scale 'undetermined'; attach(trainer) would know."
        )
        log.warning(
            "hf_monitor: the loss that the Trainer logs, and the gradient before it is clipped, are %d times too large"
            "%s (gradient accumulation %d, processes %d): %s. %s %s",
            *(times, known, args.gradient_accumulation_steps, max(args.world_size, args.n_gpu)),
            *(self.verdict.reason.split(",")[0], recorded, _FIX),
        )

    def before(self, trainer: Any, inputs: Any) -> Verdict | None:
        """Settle, with the first batch of a training, what :func:`decide` could not try with tokens of its own.

        On processes that write nothing, and so heard of no beginning, this is where a training begins.
        """
        state = trainer.state
        if state is not self._state and not state.is_world_process_zero and trainer.is_in_train:
            self.begin(trainer.args, state, trainer.model)
        verdict = self.verdict
        if verdict is None or not verdict.may_probe or not self._is_training(trainer):
            return None
        try:
            uses = uses_num_items(trainer.model, trainer._prepare_inputs(first_sample(inputs)))
        except Exception:  # noqa: BLE001 - the user's own batch
            uses = None
        if uses is None:
            self.verdict = Verdict(UNDETERMINED, verdict.reason)
        else:
            self.verdict = by_use(name_of(trainer.model), uses, seen=True)
        self._warn()
        return self.verdict

    def _is_training(self, trainer: Any) -> bool:
        watched = None if self._trainer is None else self._trainer()
        return watched is not None and watched is trainer and bool(watched.is_in_train)

    def add(self, trainer: Any, loss: Any, counted: bool) -> None:
        """Keep the loss of a micro-batch, without waiting for the device.

        Parameters
        ----------
        trainer : transformers.Trainer
        loss : torch.Tensor
            What ``training_step`` returned.
        counted : bool
            Whether it was given ``num_items_in_batch``.
        """
        if self._is_training(trainer):
            self._pending.append(
                (loss.detach(), trainer.current_gradient_accumulation_steps, counted, self._state.global_step)
            )
            if len(self._pending) >= _LONGEST_WINDOW:
                self._fold()
                if self._window.steps:
                    self.note({"loss": self._window.total})

    def _fold(self) -> None:
        """Read the losses that were kept: here, and only here, the device is waited for."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        if pending[0][0].is_cpu:
            values = [loss.item() for loss, *_ in pending]
        else:  # one transfer for all
            import torch

            values = torch.stack([loss.reshape(()).float() for loss, *_ in pending]).tolist()
        trainer = None if self._trainer is None else self._trainer()
        declared = getattr(trainer, "loss_is_scaled_for_ga", None)
        processes = n_processes(self._args, trainer)
        scaled = self.verdict is not None and self.verdict.verdict == SCALED
        window = self._window
        for value, (_, k, counted, step) in zip(values, pending, strict=True):
            # As in training_step and compute_loss: without a count the Trainer divides, and multiplies by nothing.
            scale = 1.0 / ((1 if declared is False else k) * processes) if scaled and counted else 1.0
            window.n += 1
            window.total += value
            window.honest += value * scale
            window.scales.add(scale)
            if not math.isfinite(value):
                window.steps.add(step)

    def _join(self, window: _Window, step: int) -> None:
        """Add what the other processes had in a window of steps of different lengths.

        The logged loss is the mean over all processes, and so its scale depends on their losses, too.
        """
        key, own = f"{self._key}/{step}", self._args.process_index
        try:
            if own:
                _loss_share.tell(key, own, (window.total, window.honest))
                return
            for total, honest in _loss_share.ask(key, list(range(1, self._args.world_size))):
                if math.isfinite(total):  # else its Trainer has put something else in its place
                    window.total += total
                    window.honest += honest
        except Exception as error:  # noqa: BLE001 - no attach() there, another backend: our own losses have to do
            self._joins = False
            if not own:
                log.warning(
                    "hf_monitor: the losses of the other processes are not known (%s): the loss of a logging window "
                    "with steps of different lengths is estimated from those of this process. Call attach() on every "
                    "process.",
                    type(error).__name__,
                )

    def nonfinite_steps(self, state: Any) -> int:
        """Count the steps since the last log whose loss was not finite: what is saved now may be broken by them."""
        if state is not self._state:
            return 0
        self._fold()
        return len(self._window.steps)

    def row(self, state: Any, logs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give what to record of a dict that was logged: `logs` itself where there is nothing to say.

        The dict is never changed. What the user logs himself is left as it is.
        """
        if self._plain:
            loss, norm = logs.get("loss"), logs.get("grad_norm")
            if type(loss) is not float or (
                loss and loss - loss == 0.0 and (type(norm) is not float or not norm - norm)
            ):
                return logs
        if state is not self._state:
            return logs
        if "loss" in logs:
            # The Trainer's own: it has a learning rate, and comes once for a step.
            if "learning_rate" not in logs or state.global_step <= self._logged_step or not _is_number(logs["loss"]):
                return logs
            trainer = None if self._trainer is None else self._trainer()
            if trainer is not None and trainer._globalstep_last_logged != state.global_step:
                return logs
            return self._train_row(state, logs)
        if is_summary(logs, state) and _is_number(logs["train_loss"]):
            return self._summary_row(state, logs)
        return logs

    def _train_row(self, state: Any, logs: Mapping[str, Any]) -> Mapping[str, Any]:
        raw, norm = logs["loss"], logs.get("grad_norm")
        n_steps = state.global_step - self._logged_step
        self._logged_step = state.global_step
        self._fold()
        window, self._window = self._window, _Window()
        bad_norm = _is_number(norm) and not math.isfinite(norm)
        added: dict[str, Any] = {}
        loss = raw
        if window.n:
            if self._joins and len(window.scales) > 1 and not (window.steps and self._state.is_world_process_zero):
                self._join(window, state.global_step)
            if window.steps:
                loss = math.nan if math.isnan(window.total) else window.total
                added = {"loss_raw": raw, "nonfinite_steps": len(window.steps)}
            elif not math.isfinite(raw) and max(self._args.world_size, self._args.n_gpu) <= 1:
                # Without logging_nan_inf_filter the Trainer's sum never recovers: NaN - NaN is not 0.
                loss, added = window.honest / n_steps, {"loss_raw": raw}
            elif self.verdict is not None and self.verdict.verdict == SCALED:
                loss = raw * window.scale
                added = {"loss_raw": raw, "loss_scale": window.scale}
        elif raw == 0.0 and bad_norm:  # logging_nan_inf_filter: every step of the window was NaN
            loss, added = math.nan, {"loss_raw": raw}
        elif raw == 0.0 and norm is None:
            added = {"loss_suspect": True}
        if self.verdict is not None and self.verdict.verdict == UNDETERMINED:
            added["loss_scale"] = UNDETERMINED
        self._sum_raw += raw * n_steps
        self._sum_honest += loss * n_steps
        self._n_nonfinite += len(window.steps)
        if not math.isfinite(loss):
            self._plain, self._was_nonfinite = False, True
        # fp16's loss scaling makes gradients infinite now and then, and leaves that step out.
        evidence = {"loss": loss, "loss_raw": raw} if not math.isfinite(loss) else {}
        if bad_norm and (evidence or mixed_precision(self._args) != "fp16"):
            evidence["grad_norm"] = norm
        self.note(evidence)
        if not added:
            return logs
        return {"loss": loss, **added, **{key: value for key, value in logs.items() if key != "loss"}}

    def _summary_row(self, state: Any, logs: Mapping[str, Any]) -> Mapping[str, Any]:
        raw = logs["train_loss"]
        added: dict[str, Any] = {}
        honest = raw
        if self.verdict is not None and self.verdict.verdict == UNDETERMINED:
            added = {"loss_scale": UNDETERMINED}
        self._fold()
        tail, self._window = self._window, _Window()  # steps after the last that was logged
        n_nonfinite = self._n_nonfinite + len(tail.steps)
        if self._trainer is not None and (n_nonfinite or not added):
            # Not as the Trainer up to 5.17, which divides by the steps of all trainings where one was resumed.
            n_steps = max(state.global_step - self._begin_step, 0.001)
            honest = (self._sum_honest + tail.honest) / n_steps
        if n_nonfinite or self._was_nonfinite:
            honest = honest if not math.isfinite(honest) else math.nan
            added = {"train_loss_raw": raw, **added}
            if n_nonfinite:
                added["nonfinite_steps"] = n_nonfinite
        elif not math.isclose(honest, raw, rel_tol=1e-4):
            added = {"train_loss_raw": raw, **added}
        if not added:
            return logs
        rest = {key: value for key, value in logs.items() if key != "train_loss"}
        return {"train_loss": honest, **added, **rest}

    def look_at_evaluation(self, values: Mapping[str, Any]) -> None:
        """Look for a loss that is not finite among the values of an evaluation during a training."""
        losses = {name: v for name, v in values.items() if name.startswith("eval_") and name.endswith("_loss")}
        self.note({name: value for name, value in losses.items() if _is_number(value) and not math.isfinite(value)})

    def note(self, evidence: dict[str, Any]) -> None:
        """Remember the first values of a training that are not finite, for the event."""
        if evidence and not self._told_news:
            self._told_news, self.news = True, evidence


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)

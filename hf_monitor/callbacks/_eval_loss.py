"""What the Trainer logs as the loss of an evaluation, and what it was: too large by the number of processes.

``Trainer.prediction_step`` (transformers 5.23) counts the labels of each batch, and ``compute_loss`` then multiplies by
the number of processes (``average_tokens_across_devices``), also where the model's loss ignores that count.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hf_monitor.callbacks._loss import LossRecord
from hf_monitor.callbacks._loss_verdict import (
    AS_LOGGED,
    SCALED,
    UNDETERMINED,
    Verdict,
    first_sample,
    is_own,
    n_processes,
    name_of,
)
from hf_monitor.seq2seq.loss_scaling import uses_num_items

__all__ = ["EvaluationLosses"]

log = logging.getLogger("hf_monitor")

_ORDER = (AS_LOGGED, SCALED, UNDETERMINED)


@dataclass
class _Evaluation:
    """An evaluation that runs."""

    own_loss: bool
    own_steps: bool
    processes: int
    uses: bool | None = None
    counted: int = 0
    uncounted: int = 0


@dataclass(frozen=True)
class _Result:
    logged: Any
    verdict: str
    scale: float


class EvaluationLosses:
    """Turns the losses that evaluations and predictions log into what they were.

    Of each it is seen whether the Trainer's own ``compute_loss`` was given the number of items, and tried whether the
    model divides by it. Only on several processes: else nothing is multiplied, and nothing is looked at.

    Parameters
    ----------
    training : LossRecord
        What is known of the training losses.

    Attributes
    ----------
    news : Verdict or None
        What the last evaluation's loss was worth, for ``run.json``.
    """

    def __init__(self, training: LossRecord) -> None:
        self.news: Verdict | None = None
        self._training = training
        self._results: dict[str, _Result] = {}
        self._tried: tuple[weakref.ref[Any], bool] | None = None
        self._warned = False
        self._said: dict[int, int] = {}

    @contextlib.contextmanager
    def watching(self, trainer: Any, prefix: str, *, own_loop: bool) -> Iterator[dict[str, Any]]:
        """Watch an evaluation; its metrics are to be put into what this gives.

        Parameters
        ----------
        trainer : transformers.Trainer
        prefix : str
            Of its metrics.
        own_loop : bool
            Whether the ``evaluation_loop`` is the Trainer's own.
        """
        metrics: dict[str, Any] = {}
        name = f"{prefix}_loss"
        self._results.pop(name, None)
        seen = None
        try:
            processes = n_processes(trainer.args, trainer)
            if processes > 1 and trainer.is_world_process_zero():
                own_steps = own_loop and _has_own_steps(trainer)
                seen = _Evaluation(is_own(trainer, "compute_loss"), own_steps, processes)
        except Exception as error:  # noqa: BLE001 - the policy: a Trainer that is otherwise built must still evaluate
            log.debug("hf_monitor: the losses of evaluations are not looked at: %s", type(error).__name__)
        if seen is None:
            yield metrics
            return
        with self._seeing(trainer, seen):
            yield metrics
        if name in metrics:
            verdict = _judge(trainer, seen)
            self._results[name] = _Result(metrics[name], verdict.verdict, 1.0 / seen.processes)
            self.news = verdict
            self._warn(name, verdict, seen.processes)

    @contextlib.contextmanager
    def _seeing(self, trainer: Any, seen: _Evaluation) -> Iterator[None]:
        """See the calls of ``compute_loss``; afterwards the Trainer is as it was."""
        placed, compute_loss = trainer.__dict__.get("compute_loss"), trainer.compute_loss

        def see(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            items = kwargs.get("num_items_in_batch", args[1] if len(args) > 1 else None)
            if items is None:
                seen.uncounted += 1
            else:
                seen.counted += 1
                if seen.counted == 1 and seen.own_loss and seen.own_steps and _is_left_to_the_model(trainer):
                    seen.uses = self._uses(trainer.model, inputs)
            return compute_loss(model, inputs, *args, **kwargs)

        trainer.compute_loss = see
        try:
            yield
        finally:
            if trainer.__dict__.get("compute_loss") is see:
                if placed is None:
                    del trainer.compute_loss
                else:
                    trainer.compute_loss = placed

    def _uses(self, model: Any, inputs: Any) -> bool | None:
        """Try whether a model divides by the number of items: once."""
        if self._tried is not None and self._tried[0]() is model:
            return self._tried[1]
        uses = uses_num_items(model)
        if uses is None:
            try:
                uses = uses_num_items(model, first_sample(inputs))
            except Exception:  # noqa: BLE001 - the user's own batch
                return None
        if uses is not None:
            self._tried = weakref.ref(model), uses
        return uses

    def _warn(self, name: str, verdict: Verdict, processes: int) -> None:
        if self._warned or verdict.verdict == AS_LOGGED:
            return
        self._warned = True
        if verdict.verdict == SCALED:
            log.warning(
                "hf_monitor: %s is logged %d times too large (processes %d): %s. Recorded are the loss as it is and, "
                "as %s_raw, what the Trainer logs; what you get from it, and metric_for_best_model, are the Trainer's.",
                *(name, processes, processes, verdict.reason, name),
            )
        else:
            log.warning(
                "hf_monitor: whether %s is right is not known (%s): it is recorded as logged, with %s_scale "
                "'undetermined'. If it is the model's own mean, it is %d times too large (processes %d).",
                *(name, verdict.reason, name, processes, processes),
            )

    def row(self, state: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give what to record of an evaluation's metrics: `values` itself where there is nothing to say."""
        found: dict[str, dict[str, Any]] = {}
        for name, result in self._results.items():
            if name not in values or result.verdict == AS_LOGGED:
                continue
            if result.verdict == SCALED and values[name] == result.logged:
                found[name] = {
                    name: result.logged * result.scale,
                    f"{name}_raw": result.logged,
                    f"{name}_scale": result.scale,
                }
            elif values[name] == values[name]:  # undetermined; or a log() or evaluate() of one's own made another of it
                found[name] = {name: values[name], f"{name}_scale": UNDETERMINED}
                self.news = Verdict(UNDETERMINED, f"{name} is not what the evaluation gave")
        if not self._results and self._training.is_unseen(state):  # callbacks alone
            names = [name for name in values if name.endswith("_loss") and f"{name[:-5]}_runtime" in values]
            found = {name: {name: values[name], f"{name}_scale": UNDETERMINED} for name in names}
        if not found:
            return values
        told: dict[str, Any] = {}
        for name, value in values.items():
            told |= found.get(name) or {name: value}
        return told

    def facts(self, attempt: int) -> dict[str, Any]:
        """Give what is new for an attempt in ``run.json``: of several evaluations what is known the least."""
        news, self.news = self.news, None
        if news is None or self._said.get(attempt, -1) >= (rank := _ORDER.index(news.verdict)):
            return {}
        self._said = {attempt: rank}
        return {"eval_loss_scaling": {"verdict": news.verdict, "reason": news.reason}}


def _judge(trainer: Any, seen: _Evaluation) -> Verdict:
    """Say what the loss of an evaluation that has ended is worth."""
    if not seen.counted:
        return Verdict(AS_LOGGED, "the evaluation does not count items: nothing is multiplied")
    if not seen.own_loss:
        return Verdict(UNDETERMINED, f"{type(trainer).__name__} has a compute_loss of its own")
    if not seen.own_steps:
        return Verdict(UNDETERMINED, f"{type(trainer).__name__} has an evaluation of its own")
    if trainer.compute_loss_func is not None:
        return Verdict(AS_LOGGED, "compute_loss_func is given num_items_in_batch")
    if trainer.label_smoother is not None:
        return Verdict(AS_LOGGED, "label_smoothing_factor: the Trainer computes the loss, over all tokens")
    name = name_of(trainer.model)
    if not trainer.model_accepts_loss_kwargs:
        return Verdict(AS_LOGGED, f"{name} is not handed num_items_in_batch")
    if seen.uses is None:
        return Verdict(UNDETERMINED, f"whether {name} uses num_items_in_batch could not be tried")
    if seen.uses:
        return Verdict(AS_LOGGED, f"{name} divides its loss by num_items_in_batch")
    if seen.uncounted:
        return Verdict(UNDETERMINED, f"{name} ignores num_items_in_batch, which only some batches have")
    return Verdict(SCALED, f"{name} ignores num_items_in_batch")


def _is_left_to_the_model(trainer: Any) -> bool:
    return trainer.model_accepts_loss_kwargs and trainer.compute_loss_func is None and trainer.label_smoother is None


def _has_own_steps(trainer: Any) -> bool:
    """Say whether the steps of an evaluation are those of transformers, not a subclass's."""
    from transformers import Seq2SeqTrainer, Trainer

    step = type(trainer).prediction_step
    return "prediction_step" not in trainer.__dict__ and step in (
        Trainer.prediction_step,
        Seq2SeqTrainer.prediction_step,
    )

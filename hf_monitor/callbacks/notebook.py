"""NotebookCallback: a training seen in the cell that runs it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._policy import guarded
from hf_monitor.callbacks._recorder import Recorder, kind_of, recorder_for, run_dir_for
from hf_monitor.callbacks._report import described, report_once
from hf_monitor.errors import InputError
from hf_monitor.notebook.area import Area
from hf_monitor.notebook.plain import PlainArea, make_area
from hf_monitor.notebook.shell import at_cell_end, in_notebook
from hf_monitor.notebook.training import EvaluationsView, TrainingView

__all__ = ["NotebookCallback"]


_showing: set[TrainerCallback] = set()
"""Held until the cell ends: a Trainer may be gone by then, of which the area should not say that it runs."""


class _Shown(NamedTuple):
    view: Any
    area: Area | PlainArea


class NotebookCallback(TrainerCallback):
    """Show a training in the cell that runs it: progress and time left, curves, texts, alerts, the GPU.

    One area of the cell's output is drawn anew in its place, at most twice a second, by a thread that reads the run
    folder; a step only says that it is done. At the end, also by an error or the stop button, a static picture stays in
    the notebook. ``evaluate()`` and ``predict()`` outside of a training have an area of their own, those in one cell
    together. Outside of a notebook lines of text are printed instead. Only the first process shows anything.

    In a notebook :func:`hf_monitor.attach` adds one where the Trainer has a progress display, and takes that of
    transformers out. Without ``attach`` both are seen, and it is for you to say
    ``trainer.remove_callback(NotebookProgressCallback)`` (of ``transformers.utils.notebook``). Alerts are shown in the
    area, and no longer on the console as well, unless ``clear_output()`` took the area away, which is then shown once
    more at the end; ``train.log`` has them as always.

    Its place is before an AlertCallback, so that the area is there when that speaks.

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    samples : int
        How many texts of the latest evaluation are shown, with their references; 0 for none.
    metrics : sequence of str
        The metrics to show, in this order; by default loss, validation loss and the score first, then the others.

    Raises
    ------
    InputError
        If `samples` is no number from 0 on, or `metrics` no sequence of names.

    Examples
    --------
    >>> trainer.add_callback(NotebookCallback(samples=5, metrics=["loss", "eval_rougeL"]))  # doctest: +SKIP
    """

    def __init__(
        self, run_dir: str | os.PathLike[str] | None = None, *, samples: int = 3, metrics: Sequence[str] = ()
    ) -> None:
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 0:
            raise InputError(f"samples is how many texts to show, a number from 0 on; got {samples!r}.")
        if isinstance(metrics, str) or not all(isinstance(name, str) for name in metrics):
            raise InputError(f'metrics is a list of names, as ["loss", "eval_rougeL"]; got {metrics!r}.')
        self.run_dir = run_dir
        self.samples = samples
        self.metrics = tuple(metrics)
        self.is_default = False  # added by attach(): one of the user's own takes its place
        self.attended = False  # attach() is there: it says when a training or an evaluation is over
        self._recorder: Recorder | None = None
        self._training: _Shown | None = None
        self._evaluation: _Shown | None = None
        self._last: Area | PlainArea | None = None  # of the last training that is over
        self._thread = self._evaluation_thread = 0  # in which a training runs, an evaluation
        self._hears_cells = False

    def _repr_html_(self) -> str | None:
        """Show the last training once more: a page that was reloaded while it ran has missed the rest."""
        area = self._last if self._training is None else self._training.area
        drawing = area.shown if isinstance(area, Area) else None
        return None if drawing is None else drawing.html

    def _open(self, args: Any) -> Recorder:
        if self._recorder is None:
            self._recorder = recorder_for(run_dir_for(self.run_dir, args))
        return self._recorder

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an attempt in the run folder, unless another callback has, and show the training."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        if state.is_world_process_zero:
            self._open(args).begin(args, state, **kwargs)
            self._begin(args, state, control)

    @guarded
    def _begin(self, args: Any, state: Any, control: Any) -> None:
        recorder = self._open(args)
        if recorder.first_to("show", self, state) is not self:
            report_once(self, "second", "this Trainer has several NotebookCallbacks: the first one shows it.")
            return
        self._thread = threading.get_ident()
        self.settle_evaluation()
        told = {
            "attempt": recorder.writer.attempt,
            "first_step": state.global_step,
            "max_steps": state.max_steps,
            "epochs": state.num_train_epochs,
        }
        if self._training is not None and self.attended:  # auto_find_batch_size: the same train() begins again
            self._training.view.begins(**told)
            self._training.area.changed()
            return
        self.settle()  # ended by an error, most likely, of which it has not heard
        self._training = self._show(TrainingView(recorder.writer.run_dir, **told, **self._options(recorder)))
        recorder.shown_in(self._training.area if isinstance(self._training.area, Area) else None)

    def _options(self, recorder: Recorder) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "metrics": self.metrics,
            "echo": recorder.expect_echo,
            "trouble": recorder.writer.trouble,
        }

    def _show(self, view: Any) -> _Shown:
        area = make_area(view.drawing, view.line)
        area.open()
        if in_notebook():
            _showing.add(self)
            if not self._hears_cells:
                self._hears_cells = True
                at_cell_end(self._cell_ended)
        return _Shown(view, area)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say how far it is."""
        if (shown := self._training) is not None:
            shown.view.step, shown.view.epoch = state.global_step, state.epoch or 0.0
            shown.area.changed()

    @guarded
    def on_prediction_step(
        self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **kwargs: Any
    ) -> None:
        """Say that a batch is evaluated."""
        if (shown := self._shown(args, state)) is not None:
            shown.view.batch(eval_dataloader)
            shown.area.changed()

    def _shown(self, args: Any, state: Any) -> _Shown | None:
        """Give where an evaluation is shown that comes now: within its training, or in an area of its own."""
        if not state.is_world_process_zero:
            return None
        if self._training is not None:
            return self._training
        recorder = self._open(args)
        if self._evaluation is None and recorder.first_to("show", self, state) is self:
            view = EvaluationsView(recorder.writer.run_dir, **self._options(recorder))
            view.evaluating, self._evaluation_thread = "evaluation", threading.get_ident()
            self._evaluation = self._show(view)
        return self._evaluation

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Record what was logged, where no other callback does."""
        kept = self._recorder is not None and self._recorder.keeps_logs
        if logs is not None and not kept and state.is_world_process_zero:
            self._record(args, state, control, logs=logs, model=kwargs.get("model"))
        if (shown := self._training) is not None:
            shown.area.changed()

    @guarded
    def _record(self, args: Any, state: Any, control: Any, *, logs: Mapping[str, Any], model: Any) -> None:
        recorder = self._open(args)
        recorder.ensure_attempt(args, model)
        recorder.values(self, "log", kind_of(logs, state), state, logs)

    @guarded
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Show what an evaluation gave."""
        self._evaluated(args, state, metrics)

    @guarded
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record a prediction, unless another callback has, and show what it gave."""
        if metrics is not None and state.is_world_process_zero:
            recorder = self._open(args)
            recorder.ensure_attempt(args, kwargs.get("model"))
            recorder.values(self, "predict", "predict", state, metrics)
        self._evaluated(args, state, metrics)

    def _evaluated(self, args: Any, state: Any, metrics: Mapping[str, Any] | None) -> None:
        shown = self._shown(args, state)
        if shown is None:
            return
        if shown is self._training or metrics is None:
            shown.view.evaluated()
        else:
            recorder = self._open(args)
            prefix = next((key.removesuffix("_runtime") for key in metrics if key.endswith("_runtime")), "eval")
            step = recorder.outside(state).get("weights_step", state.global_step)
            shown.view.add(prefix, recorder.told_evaluation(state, metrics), step)
        shown.area.changed()
        if shown is self._evaluation:
            if isinstance(shown.area, PlainArea):  # no cell whose end would be heard
                self.settle_evaluation()
            else:
                shown.area.flush()  # nor is it by a forked child

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end, unless another callback has, and show it."""
        if state.is_world_process_zero and self._recorder is not None:
            self._recorder.end(state)
            if (shown := self._training) is not None:
                shown.view.step = state.global_step
                shown.view.over("finished", "")
            if not self.attended:  # else there may be more to show: an alert, the report
                self.settle()

    @guarded
    def announce(self, args: Any, state: Any, control: Any, *, prefix: str) -> None:
        """Show what is evaluated from here on; :func:`hf_monitor.attach` hears of it."""
        if (shown := self._shown(args, state)) is not None:
            shown.view.announce(prefix)
            shown.area.changed()

    def settle(self, error: BaseException | None = None) -> None:
        """Show a training for the last time, with what ended it. Never raises."""
        shown, self._training = self._training, None
        self._let_go()
        if shown is not None:
            if self._recorder is not None:
                self._recorder.shown_in(None)
            shown.view.over(*(("stopped", "") if error is None else _how(error)))
            shown.area.close()
            self._last = shown.area

    def settle_evaluation(self, error: BaseException | None = None) -> None:
        """Show evaluations outside of a training for the last time. Never raises."""
        shown, self._evaluation = self._evaluation, None
        self._let_go()
        if shown is not None:
            if error is not None:
                shown.view.over(*_how(error))
            elif shown.view.evaluating:
                shown.view.over("stopped", "")
            shown.area.close()

    def _let_go(self) -> None:
        if self._training is None and self._evaluation is None:
            _showing.discard(self)

    def _cell_ended(self, error: BaseException | None) -> None:
        """Show for the last time what ended with its cell: without attach() nobody else hears of an error."""
        if self._training is not None and self._thread == threading.get_ident():
            self.settle(error)
        if self._evaluation is None:
            return
        if self._evaluation_thread == threading.get_ident():
            self.settle_evaluation(error)
        elif not self._evaluation.view.evaluating:  # made by another thread, which goes on with something else
            self.settle_evaluation()


def _how(error: BaseException) -> tuple[str, str]:
    """Say how an error ends what it meets: a status, and what stands behind it."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "by KeyboardInterrupt"
    return "crashed", f"by {described(error)}"

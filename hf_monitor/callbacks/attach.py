"""attach(trainer): the one line."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import sys
import traceback
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Self

from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_monitor.callbacks._loss_verdict import is_own
from hf_monitor.callbacks._notebook_place import notebook_callback
from hf_monitor.callbacks._recorder import Recorder, recorder_for, run_dir_for
from hf_monitor.callbacks._report import described
from hf_monitor.callbacks._wandb_place import wandb_callback
from hf_monitor.callbacks.alerts import AlertCallback
from hf_monitor.callbacks.defaults import default_callbacks
from hf_monitor.callbacks.file_logging import FileLoggingCallback
from hf_monitor.callbacks.gpu_monitor import GpuMonitorCallback
from hf_monitor.callbacks.notebook import NotebookCallback
from hf_monitor.callbacks.plotting import PlottingCallback
from hf_monitor.callbacks.report import ReportCallback
from hf_monitor.callbacks.text_metrics import TextMetricsCallback
from hf_monitor.callbacks.wandb import WandBCallback
from hf_monitor.errors import InputError
from hf_monitor.metrics.text_metrics import TextMetrics
from hf_monitor.run.reader import Run, load_run

__all__ = ["Monitor", "attach"]

log = logging.getLogger("hf_monitor")


_MOST_CALLERS = 20
_WRAPPED = (
    *("train", "training_step", "log", "evaluate", "predict", "evaluation_loop"),
    *("get_eval_dataloader", "get_test_dataloader", "get_batch_samples"),
)


def _earlier(trainer: Any, name: str) -> Any:
    """Give what `name` calls now, without holding the Trainer: its class's method, or what the user put there."""
    own = trainer.__dict__.get(name)
    if own is not None:
        return own
    reference = weakref.ref(trainer)

    def call(*args: Any, **kwargs: Any) -> Any:
        trainer = reference()
        return getattr(type(trainer), name)(trainer, *args, **kwargs)

    return call


class Monitor:
    """What :func:`attach` returns: where the run is recorded, and by whom.

    As a context manager it copies the console into ``train.log`` also before, between and after the trainings: what
    ``evaluate()`` and ``predict()`` show, and your own ``print``. At its end ``report.html`` is up to date.

    Attributes
    ----------
    run_dir : Path
        The run folder.
    callbacks : list of transformers.TrainerCallback
        Ours, as they sit in the Trainer.
    """

    def __init__(self, trainer: Any, recorder: Recorder, callbacks: list[Any]) -> None:
        self.run_dir: Path = recorder.writer.run_dir
        self.callbacks = callbacks
        self._trainer_ref = weakref.ref(trainer)
        self._recorder = recorder  # held here, so that all callbacks find the same one
        self._raw_dataset: Any = None
        self._copying = False
        self._seen = 0  # id of the error that was recorded last

    @property
    def _trainer(self) -> Any:
        return self._trainer_ref()

    def __repr__(self) -> str:
        return f"<Monitor of {type(self._trainer).__name__}, recording to {str(self.run_dir)!r}>"

    def _repr_html_(self) -> str | None:
        """Show a notebook the last training once more, where it was shown."""
        notebook = self.find(NotebookCallback)
        return None if notebook is None else notebook._repr_html_()

    def __enter__(self) -> Self:
        callback = self.find(FileLoggingCallback)
        self._copying = callback.redirect and self._trainer.state.is_world_process_zero
        if self._copying:
            callback.start(self._trainer.args)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, SystemExit | GeneratorExit) and id(error) != self._seen:
            self._recorder.callers = []
            self._record_outside(error, "")
        if self._copying:
            self.find(FileLoggingCallback).release()
        self.find(ReportCallback).settle(look=True)
        if (wandb := self.find(WandBCallback)) is not None:
            wandb.settle(failed=error is not None and not _is_orderly(error))

    def run(self) -> Run:
        """Read the run folder as it is now."""
        return load_run(self.run_dir)

    def record(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append a row of your own to metrics.jsonl, at the step that the training has come to.

        On other processes than the first nothing happens.

        Parameters
        ----------
        kind : str
            What it is called in ``run.metrics.of(kind)``.
        values : mapping of str to object
            Names and values.
        """
        if (recorder := self._opened()) is not None:
            recorder.writer.row(kind, self._trainer.state.global_step, values)
            self._owe_report()

    def record_texts(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append texts that nobody scored to predictions.jsonl, each with the step that the training has come to.

        Parameters
        ----------
        name : str
            Of the evaluation: ``"predict"``.
        rows : iterable of mapping
            ``index``, ``input``, ``prediction`` ...
        """
        if (recorder := self._opened()) is not None:
            state = self._trainer.state
            head = {"step": state.global_step, "name": name, **recorder.outside(state)}
            recorder.writer.rows("predictions.jsonl", ({**head, **row} for row in rows))
            self._owe_report()

    def _owe_report(self) -> None:
        self.find(ReportCallback).owe(self._trainer.args, self._trainer.state)
        if (wandb := self.find(WandBCallback)) is not None and not self._recorder.is_training:
            wandb.drain()

    def _opened(self) -> Recorder | None:
        trainer, recorder = self._trainer, self._recorder
        if not trainer.state.is_world_process_zero:
            return None
        recorder.ensure_attempt(trainer.args, trainer.model)
        return recorder

    def find(self, kind: type[Any]) -> Any:
        """Give the callback of a class."""
        return next((callback for callback in self.callbacks if isinstance(callback, kind)), None)

    def wrap(self) -> None:
        """Wrap what a callback cannot see: the error that ends a training, the data set and prefix of an evaluation.

        The wrappers reach the Trainer through a weak reference: ``del trainer`` still frees the model at once.
        """
        trainer = self._trainer
        call = {name: _earlier(trainer, name) for name in _WRAPPED}
        gpu_monitor = self.find(GpuMonitorCallback)
        own_loop = is_own(trainer, "evaluation_loop")

        @functools.wraps(type(trainer).train)
        def train(*args: Any, **kwargs: Any) -> Any:
            begun, failure = self._recorder.begun, None
            notebook = self._see_notebook()
            self._recorder.resume_path = kwargs.get("resume_from_checkpoint", args[0] if args else None)
            try:
                if self._trainer.state.is_world_process_zero:
                    self.find(FileLoggingCallback).start_early(self._trainer.args)
                return call["train"](*args, **kwargs)
            except BaseException as error:
                failure = error
                self._record_error(error, sys._getframe(1), began=self._recorder.begun > begun)
                raise
            finally:
                self._stop()
                self.find(ReportCallback).settle()
                if notebook is not None:
                    notebook.settle(failure)
                del failure  # its frames hold the model
                if (wandb := self.find(WandBCallback)) is not None and self._recorder.begun > begun:
                    wandb.end(self._trainer.args, self._trainer.state, self._trainer.control)

        def watched(name: str) -> Any:
            @functools.wraps(getattr(type(trainer), name))
            def method(*args: Any, **kwargs: Any) -> Any:
                notebook = self.find(NotebookCallback) if self._recorder.is_training else self._see_notebook()
                try:
                    return call[name](*args, **kwargs)
                except BaseException as error:
                    if not self._recorder.is_training:  # else train() will hear of it
                        self._come_to(error, sys._getframe(1))
                        self._record_outside(error, name)
                        if notebook is not None:
                            notebook.settle_evaluation(error)
                    raise

            return method

        @functools.wraps(type(trainer).evaluation_loop)
        def evaluation_loop(dataloader: Any, *args: Any, **kwargs: Any) -> Any:
            prefix = kwargs.get("metric_key_prefix", args[3] if len(args) > 3 else "eval")
            self._announce(dataloader, prefix)
            if (notebook := self.find(NotebookCallback)) is not None:
                notebook.announce(self._trainer.args, self._trainer.state, self._trainer.control, prefix=prefix)
            gpu_monitor.turn("evaluate")
            losses = self._recorder.evaluation_losses
            with losses.watching(self._trainer, prefix, own_loop=own_loop) as metrics:
                output = call["evaluation_loop"](dataloader, *args, **kwargs)
                metrics.update(output.metrics)
            return output

        @functools.wraps(type(trainer).get_eval_dataloader)
        def get_eval_dataloader(eval_dataset: Any = None, *args: Any, **kwargs: Any) -> Any:
            self._note(eval_dataset)
            return call["get_eval_dataloader"](eval_dataset, *args, **kwargs)

        @functools.wraps(type(trainer).get_test_dataloader)
        def get_test_dataloader(test_dataset: Any, *args: Any, **kwargs: Any) -> Any:
            self._note(test_dataset)
            return call["get_test_dataloader"](test_dataset, *args, **kwargs)

        @functools.wraps(type(trainer).training_step)
        def training_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            trainer, recorder = self._trainer, self._recorder
            recorder.before_step(trainer, inputs)
            gpu_monitor.count(inputs)
            loss = call["training_step"](model, inputs, *args, **kwargs)
            recorder.after_step(trainer, loss, args[0] if args else kwargs.get("num_items_in_batch"))
            return loss

        @functools.wraps(type(trainer).get_batch_samples)
        def get_batch_samples(epoch_iterator: Any, *args: Any, **kwargs: Any) -> Any:
            return call["get_batch_samples"](gpu_monitor.timed(epoch_iterator), *args, **kwargs)

        @functools.wraps(type(trainer).log)
        def log(logs: Any, *args: Any, **kwargs: Any) -> Any:
            self._recorder.told(self._trainer.state, logs)  # for the main process, which writes and may ask for it
            return call["log"](logs, *args, **kwargs)

        if not trainer.is_world_process_zero():
            trainer.log = log
        self._recorder.loss.watch(trainer, training_step)
        trainer.train, trainer.evaluation_loop, trainer.training_step = train, evaluation_loop, training_step
        trainer.evaluate, trainer.predict = watched("evaluate"), watched("predict")
        trainer.get_batch_samples = get_batch_samples
        trainer.get_eval_dataloader, trainer.get_test_dataloader = get_eval_dataloader, get_test_dataloader

    def _see_notebook(self) -> Any:
        """Give the NotebookCallback of this Trainer: maybe one added after attach(), or that served another Trainer."""
        found = known = self.find(NotebookCallback)
        if [one for one in self._trainer.callback_handler.callbacks if isinstance(one, NotebookCallback)] != [known]:
            found = notebook_callback(self._trainer, add=False)
        if found is not known:
            self.callbacks[:] = [callback for callback in self.callbacks if callback is not known]
            self.callbacks += [] if found is None else [found]
        if found is not None:
            if found.run_dir != self.run_dir:
                _put_into(found, self.run_dir)
            self._note_repetition()
        return found

    def _note_repetition(self) -> None:
        """Tell the log whether what the Trainer logs is printed as well."""
        printing = (PrinterCallback, ProgressCallback)
        present = self._trainer.callback_handler.callbacks
        self.find(FileLoggingCallback).is_repeated = any(isinstance(callback, printing) for callback in present)

    def _come_to(self, error: BaseException, caller: FrameType | None) -> None:
        """Take our frames out of an error's traceback, and remember those that it has not come to yet."""
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        error.__traceback__ = trace or error.__traceback__
        frames: list[tuple[FrameType, int]] = []
        while caller is not None and len(frames) < _MOST_CALLERS:
            frames.append((caller, caller.f_lineno))
            caller = None if caller.f_code.co_name == "<module>" else caller.f_back
        self._recorder.callers = []
        with contextlib.suppress(Exception):  # source lines are read, from wherever they come; the error comes first
            self._recorder.callers = traceback.StackSummary.extract(iter(reversed(frames))).format()

    def _record_outside(self, error: BaseException, during: str) -> None:
        self._seen = id(error)
        try:
            callback = self.find(FileLoggingCallback)
            trainer = self._trainer
            callback.record_error_outside(error, trainer.args, trainer.state.global_step, during)
            if during:
                self._owe_report()
                self.find(ReportCallback).settle()
        except Exception as failure:  # noqa: BLE001 - the user must see his error, not ours
            log.warning("hf_monitor: the error could not be recorded: %s: %s", type(failure).__name__, failure)

    def _note(self, dataset: Any) -> None:
        """Remember the data set with all its columns: the Trainer takes out those that the model does not know."""
        known = self._trainer.eval_dataset
        if isinstance(dataset, str):
            self._raw_dataset = known.get(dataset) if isinstance(known, dict) else None
        else:
            self._raw_dataset = known if dataset is None else dataset

    def _announce(self, dataloader: Any, prefix: str) -> None:
        callback = self.find(TextMetricsCallback)
        raw_dataset, self._raw_dataset = self._raw_dataset, None
        if callback is None:
            return
        if callback.text_metrics is None:  # set after attach()
            callback.text_metrics = _text_metrics_of(self._trainer)
        try:
            callback.begin_evaluation(
                self._trainer.args,
                dataloader,
                raw_dataset=raw_dataset,
                name=prefix,
                tokenizer=self._trainer.processing_class,
                model=self._trainer.model,
            )
        except Exception as error:  # noqa: BLE001 - the policy: nothing of ours may end an evaluation
            log.warning(
                "hf_monitor: the texts of this evaluation are not recorded: %s: %s", type(error).__name__, error
            )

    def _record_error(self, error: BaseException, caller: FrameType, began: bool) -> None:
        self._recorder.recorded_error = 0
        self._seen = id(error)
        self._owe_report()
        for last in (False, True):  # torch raises in the midst of anything when it hears that a worker has died
            try:
                self._come_to(error, caller)
                self._write_error(error, began)
                return
            except OSError as failure:
                self._recorder.writer.trouble.report("the end of the training", failure)
                return
            except Exception as failure:  # noqa: BLE001 - the user must see the error of the training, not ours
                if last:
                    log.warning("hf_monitor: the error could not be recorded: %s: %s", type(failure).__name__, failure)

    def _write_error(self, error: BaseException, began: bool) -> None:
        trainer = self._trainer
        logging_callback, plotting = self.find(FileLoggingCallback), self.find(PlottingCallback)
        if logging_callback is not None:
            logging_callback.record_error(error, trainer.args, trainer.state.global_step, began)
        if not trainer.state.is_world_process_zero:
            return
        if began and plotting is not None and trainer.state.log_history:
            try:
                plotting.draw(trainer.args, trainer.state.log_history)
            except OSError:
                raise
            except Exception as failure:  # the error is recorded
                log.warning("hf_monitor: the charts could not be drawn: %s", described(failure))
                log.debug("hf_monitor: traceback", exc_info=True)

    def _stop(self) -> None:
        for kind in (GpuMonitorCallback, PlottingCallback, FileLoggingCallback):
            callback = self.find(kind)
            if callback is not None:
                callback.stop()


def _is_orderly(error: BaseException) -> bool:
    return isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and error.code in (None, 0))


def _text_metrics_of(trainer: Any) -> TextMetrics | None:
    """Give the TextMetrics that ``compute_metrics`` is or can reach, if it is only one."""
    found: dict[int, TextMetrics] = {}
    try:
        _search(trainer.compute_metrics, found, depth=3)
    except Exception:  # noqa: BLE001 - proxies and the like may raise when they are only looked at
        return None
    return next(iter(found.values())) if len(found) == 1 else None


def _search(item: Any, found: dict[int, TextMetrics], depth: int) -> None:
    """Collect TextMetrics from a function, what it closes over and the globals that it uses, without calling it."""
    if isinstance(item, TextMetrics):
        found[id(item)] = item
        return
    parts: list[Any] = []
    if isinstance(item, functools.partial):
        parts = [item.func, *item.args, *item.keywords.values()]
    elif inspect.ismethod(item):
        parts = [item.__func__, *_attributes(item.__self__)]
    elif inspect.isfunction(item):
        try:
            seen = inspect.getclosurevars(item)
            parts = [*seen.nonlocals.values(), *seen.globals.values()]
        except (TypeError, ValueError):  # a variable that has no value yet
            pass
    elif callable(item) and not inspect.isclass(item):
        parts = [type(item).__call__, *_attributes(item)]
    if depth:
        for part in parts:
            _search(part, found, depth - 1)


def _attributes(item: Any) -> list[Any]:
    return [value for value in getattr(item, "__dict__", {}).values() if isinstance(value, TextMetrics)]


def _bring_forward(trainer: Any, callback: Any) -> None:
    """Put a callback where ``Trainer(callbacks=...)`` would: before the one that prints.

    The printing callback takes ``total_flos`` out of the dict that it shares with all that come after it, and its line
    is only known for a repetition of ours when ours was first.
    """
    callbacks = trainer.callback_handler.callbacks
    printing = [i for i, c in enumerate(callbacks) if isinstance(c, PrinterCallback | ProgressCallback)]
    if printing and (at := callbacks.index(callback)) > printing[0]:
        callbacks.insert(printing[0], callbacks.pop(at))


def _named_by_user(callback: Any) -> bool:
    """Whether a callback's folder is not that of another Trainer, to which it was attached before."""
    return callback.run_dir is not None and callback.__dict__.get("_put_into") != callback.run_dir


def _put_into(callback: Any, folder: Path) -> None:
    if callback.__dict__.get("_put_into") not in (None, folder):
        if isinstance(callback, NotebookCallback):
            callback.settle_evaluation()  # of the other Trainer
        if isinstance(callback, WandBCallback):
            callback.leave()
        elif "_recorder" in callback.__dict__:
            callback._recorder = None
    if not _named_by_user(callback):
        callback._put_into = folder
    callback.run_dir = folder


def attach(
    trainer: Any, run_dir: str | os.PathLike[str] | None = None, *, text_metrics: TextMetrics | None = None
) -> Monitor:
    """Make a Trainer record itself.

    Adds the callbacks of :func:`hf_monitor.default_callbacks` (unless the Trainer has them), links the
    :class:`~hf_monitor.TextMetrics` given as ``compute_metrics``, and wraps ``train()`` so that an error that ends the
    training is recorded before it goes on to you. With ``report_to="wandb"`` a :class:`~hf_monitor.WandBCallback` takes
    the place of transformers' own (``WANDB_PROJECT``, ``WANDB_LOG_MODEL`` and ``run_name`` mean the same to it). In a
    notebook a :class:`~hf_monitor.NotebookCallback` takes the place of transformers' progress display, where there is
    one; one of yours does so anywhere.

    Parameters
    ----------
    trainer : transformers.Trainer
        Any Trainer, before ``train()``.
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    text_metrics : TextMetrics, optional
        Only where it is not found by itself: ``compute_metrics`` is looked into (functions, partials, methods), and you
        are told when scores come from one that is not known.

    Returns
    -------
    Monitor
        A second call for the same Trainer returns the first one's.

    Raises
    ------
    InputError
        If `trainer` is not a Trainer, or is attached to another folder already; if `text_metrics` is something else.
    RunFolderError
        If the folder cannot be written.

    Examples
    --------
    >>> trainer = Seq2SeqTrainer(..., compute_metrics=TextMetrics(tokenizer))  # doctest: +SKIP
    >>> attach(trainer)  # doctest: +SKIP
    >>> trainer.train()  # doctest: +SKIP
    """
    missing = [
        name for name in ("add_callback", "callback_handler", "evaluation_loop", "args") if not hasattr(trainer, name)
    ]
    if missing:
        raise InputError(
            f"attach() needs a transformers Trainer, got {type(trainer).__name__} (without {', '.join(missing)}). "
            "For a loop of your own use hf_monitor.Logger and hf_monitor.RunWriter."
        )
    if not isinstance(text_metrics, TextMetrics | None):
        raise InputError(
            f"attach(text_metrics=...) takes the TextMetrics that your compute_metrics calls, got "
            f"{type(text_metrics).__name__}."
        )
    present = trainer.callback_handler.callbacks
    earlier: Monitor | None = trainer.__dict__.get("_hf_monitor")
    if run_dir is None and earlier is not None:
        return earlier
    if run_dir is None:  # callbacks that the user made himself may name the folder already
        ours = (*(type(callback) for callback in default_callbacks()), WandBCallback, NotebookCallback)
        named: Any = (callback for callback in present if isinstance(callback, ours))
        run_dir = next((callback.run_dir for callback in named if _named_by_user(callback)), None)
    folder = run_dir_for(run_dir, trainer.args)
    if earlier is not None:
        if folder.resolve() != earlier.run_dir.resolve():
            raise InputError(
                f"this Trainer already records to {str(earlier.run_dir)!r}, got run_dir={str(folder)!r}. "
                "Attach once, or make a new Trainer."
            )
        return earlier
    recorder = recorder_for(folder)
    recorder.eval_dataset = trainer.eval_dataset
    if trainer.state.is_world_process_zero:
        recorder.writer.open()
    text_metrics = text_metrics or _text_metrics_of(trainer)
    callbacks: list[Any] = []
    for callback in default_callbacks(folder, text_metrics):
        own: Any = next((c for c in present if isinstance(c, type(callback))), None)
        if own is None:
            trainer.add_callback(callback)
            own = callback
        if not isinstance(callback, GpuMonitorCallback):  # which hears a step's end best after all others
            _bring_forward(trainer, own)
        _put_into(own, folder)
        callbacks.append(own)
    for callback in present:  # a second one joins the first where both record to the same folder
        if isinstance(callback, AlertCallback) and callback.run_dir is None:
            _put_into(callback, folder)
    if (wandb := wandb_callback(trainer)) is not None:
        _put_into(wandb, folder)
        present.remove(wandb)  # its place is after the report, which it shows
        present.insert(1 + next(i for i, c in enumerate(present) if isinstance(c, ReportCallback)), wandb)
        callbacks.append(wandb)
    if (notebook := notebook_callback(trainer)) is not None:
        _put_into(notebook, folder)
        callbacks.append(notebook)
    monitor = Monitor(trainer, recorder, callbacks)
    texts = monitor.find(TextMetricsCallback)
    texts.text_metrics = texts.text_metrics or text_metrics
    logging_callback = monitor.find(FileLoggingCallback)
    logging_callback.attended = True
    if notebook is not None:
        monitor._note_repetition()
    monitor.wrap()
    trainer._hf_monitor = monitor
    return monitor

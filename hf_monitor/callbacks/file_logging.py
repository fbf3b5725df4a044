"""FileLoggingCallback: what the Trainer says and logs, in ``train.log`` and in ``metrics.jsonl``."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._policy import guarded, report_disk
from hf_monitor.callbacks._ranks import RankRecorder
from hf_monitor.callbacks._recorder import Recorder, kind_of, recorder_for, run_dir_for
from hf_monitor.run.secrets import HarmlessText

if TYPE_CHECKING:
    from hf_monitor.loggers.file_logger import Logger

__all__ = ["FileLoggingCallback"]

# Values of an evaluation that matter less than the scores; they stay in metrics.jsonl.
_QUIET_ENDINGS = ("_runtime", "_samples_per_second", "_steps_per_second", "_model_preparation_time")


log = logging.getLogger("hf_monitor")

_redirecting: weakref.WeakSet[FileLoggingCallback] = weakref.WeakSet()


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _line(head: str, logs: Mapping[str, Any], kind: str) -> str:
    parts = [head]
    for name, value in logs.items():
        if type(value) is float:
            if kind == "eval" and name.endswith(_QUIET_ENDINGS):
                continue
            parts.append(f"{name} {value:.4g}")
        else:
            parts.append(f"{name} {_shown(value)}")
    return "  ".join(parts)


def _keeps_out(logger: Logger) -> Callable[[str], None]:
    return lambda text: logger.expect_echo(lambda line: line == text)


class FileLoggingCallback(TrainerCallback):
    """Record every logged value and the console's output in the run folder.

    Each row and each line is with the operating system when the event returns, so that a crash loses nothing that was
    logged before it. Rank 0 writes; each process above it has a log of its own, of warnings and errors (``rank1.log``
    ...).

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    redirect : bool
        Whether ``train.log`` also gets what is printed, and what goes through :mod:`logging`, during the training. The
        console shows the same as without it. A callback does not hear of an error that ends a training: without
        :func:`hf_monitor.attach` the copying then goes on until the next training begins, or :meth:`stop` is called.
    capture_fd : bool
        Whether that includes what C code and subprocesses write; see :class:`hf_monitor.Logger`.

    Raises
    ------
    RunFolderError
        From ``on_train_begin``, if the folder cannot be written.
    """

    def __init__(
        self, run_dir: str | os.PathLike[str] | None = None, *, redirect: bool = True, capture_fd: bool = False
    ) -> None:
        self.run_dir = run_dir
        self.redirect = redirect
        self.capture_fd = capture_fd
        self._recorder: Recorder | None = None
        self._logger: Logger | None = None
        self._max_steps = 0
        self._echo: Mapping[str, Any] | None = None
        self._began = 0.0
        self._redirecting = False  # for a training
        self._held = 0  # by start(), whatever trainings there are
        self.attended = False  # attach() is there and ends what a training began
        self.is_repeated = True  # what is logged, by a callback of transformers that prints it
        self._training: Any = None  # the state of the training whose output is copied
        self._rank: RankRecorder | None = None  # in processes above rank 0

    def _open(self, args: Any, model: Any = None) -> tuple[Recorder, Logger]:
        recorder, logger = self._settle(args)
        recorder.ensure_attempt(args, model)
        return recorder, logger

    def _settle(self, args: Any) -> tuple[Recorder, Logger]:
        if self._recorder is None or self._logger is None:
            from hf_monitor.loggers.file_logger import Logger

            folder = run_dir_for(self.run_dir, args)
            self._recorder = recorder_for(folder)
            writer = self._recorder.writer
            writer.open()
            writer.learn(vars(args))  # `hub_token`, which its to_dict() leaves out
            trouble = writer.trouble
            self._logger = Logger(
                Path(folder) / "train.log",
                print_also=False,
                mask=writer.mask,
                capture_fd=self.capture_fd,
                on_trouble=lambda error: trouble.report("train.log", error),
            )
            writer.announce, writer.note = self._logger.announce, self._logger.write
            self._recorder.expect_echo = _keeps_out(self._logger)
        return self._recorder, self._logger

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an attempt in the run folder and start to copy the console's output into ``train.log``."""
        if not state.is_world_process_zero:
            if args.process_index:
                self._of_rank(args).begin(args, state)
            return
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        if self._recorder is None:
            self._recorder = recorder_for(run_dir_for(self.run_dir, args))
        self._recorder.begin(args, state, **kwargs)
        self._recorder.keeps_logs = True
        recorder, logger = self._open(args)
        self._max_steps, self._began = state.max_steps, time.perf_counter()
        if self.redirect:
            for other in list(_redirecting):
                if other._training is not state and other is not self and not other.attended:
                    other.stop()  # its training ended with an error, most likely, of which it has not heard
            self._training = state
            self._start(logger)
        model = kwargs.get("model")
        logger.write(
            f"training begins (attempt {recorder.writer.attempt}): {type(model).__name__}, "
            f"step {state.global_step} of {state.max_steps}, batch {args.train_batch_size} x accumulation "
            f"{args.gradient_accumulation_steps} x processes {args.world_size}, learning rate {args.learning_rate:g}, "
            f"seed {args.seed}, {args.device}"
        )
        if state.global_step:
            self._say_what_is_lost(recorder, logger)
        if changed := recorder.differs_from_before():
            log.warning(  # through logging: the console should have it, too
                "hf_monitor: %s holds an earlier run with other %s: this is attempt %d of the same run. Name another "
                "folder (run_dir) to keep them apart.",
                recorder.writer.run_dir,
                " and ".join(changed),
                recorder.writer.attempt,
            )

    def _of_rank(self, args: Any) -> RankRecorder:
        if self._rank is None:
            self._rank = RankRecorder(run_dir_for(self.run_dir, args), args.process_index, redirect=self.redirect)
        return self._rank

    @staticmethod
    def _say_what_is_lost(recorder: Recorder, logger: Logger) -> None:
        try:
            for lost in recorder.lost_steps():
                logger.write(
                    f"steps {lost.first} to {lost.last} of attempt {lost.attempt} are done again: not in a checkpoint"
                )
        except Exception as error:  # noqa: BLE001 - rows of any kind may lie there; a resume must not fail because of them
            log.warning("hf_monitor: earlier rows cannot be read: %s: %s", type(error).__name__, error)

    def _start(self, logger: Logger) -> None:
        if not self._redirecting:  # auto_find_batch_size begins again without an end
            logger.start_redirect()
            self._redirecting = True
            _redirecting.add(self)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write one row and one line."""
        if logs is None or not state.is_world_process_zero:
            return
        # The usual line of a training, numbers only, goes a short way: it is what a training pays at every logged step.
        recorder, logger = self._recorder, self._logger
        if logger is not None and recorder is not None and "loss" in logs and not self.__dict__.get("_set_aside"):
            step, told = state.global_step, recorder.told(state, logs)
            text = f"step {step}/{self._max_steps}" if self._max_steps else f"step {step}"
            for name, value in told.items():
                if type(value) is not float or value - value != 0.0:
                    break
                text += f"  {name} {value:.4g}"
            else:
                if self._log_numbers(recorder, logger, args, state, logs, told, text):
                    return
        self._log_anything(args, state, control, logs=logs, **kwargs)

    def _log_numbers(
        self,
        recorder: Recorder,
        logger: Logger,
        args: Any,
        state: Any,
        logs: dict[str, float],
        told: Any,
        text: str,
    ) -> bool:
        try:
            recorder.numbers(self, "log", state, logs, told)
            logger.write(HarmlessText(text) if recorder.writer.plain_names.issuperset(told) else text)
        except OSError as error:
            report_disk(self, args, error)
        except Exception:  # noqa: BLE001 - the policy; the long way takes it from here, and reports
            return False
        if self._redirecting and self.is_repeated:
            self._echo = logs
            logger.expect_echo(self._is_echo)
        return True

    @guarded
    def _log_anything(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        recorder, logger = self._open(args, kwargs.get("model"))
        kind = kind_of(logs, state)
        step = state.global_step
        recorder.values(self, "log", kind, state, logs)
        head = f"step {step}/{self._max_steps}" if self._max_steps else f"step {step}"
        if kind != "train":
            head += {"eval": "  evaluation", "train_summary": "  summary"}.get(kind, "  log")
        weights_step = recorder.outside(state).get("weights_step", step)
        if kind == "eval" and weights_step != step:
            head += f" (weights of step {weights_step})"
        shown = logs
        if kind in ("train", "train_summary"):
            shown = recorder.told(state, logs)
        elif kind == "eval":
            shown = recorder.told_evaluation(state, logs)
        logger.write(_line(head, recorder.writer.mask.values(shown), kind))  # which goes by their names, too
        if (self._redirecting or self._held) and self.is_repeated:
            # The Trainer's own callback prints this dict right after us; the line above says the same, better.
            self._echo = logs
            logger.expect_echo(self._is_echo)

    def _is_echo(self, line: str) -> bool:
        if not self._echo:
            return False
        return line[-1:] == "}" and line.startswith(f"{{'{next(iter(self._echo))}': ")

    @guarded
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record that a checkpoint was saved, and where."""
        if not state.is_world_process_zero:
            return
        recorder, logger = self._open(args, kwargs.get("model"))
        checkpoint = recorder.save(args, state)
        logger.write(f"step {state.global_step}/{state.max_steps}  checkpoint saved: {checkpoint}")

    @guarded
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record the metrics of ``trainer.predict()``, which fires no ``on_log``."""
        if metrics is None or not state.is_world_process_zero:
            return
        recorder, logger = self._open(args, kwargs.get("model"))
        recorder.values(self, "predict", "predict", state, metrics)
        told = recorder.told_evaluation(state, metrics)
        shown = [f"{name} {_shown(value)}" for name, value in told.items() if not name.endswith(_QUIET_ENDINGS)]
        logger.write("  ".join([f"step {state.global_step}", "prediction", *shown]))

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end and give the console back."""
        if self._rank is not None:
            self._rank.end(state)
        if not state.is_world_process_zero or self._recorder is None or self._logger is None:
            return
        self._logger.flush()
        self._recorder.end(state)
        self._logger.file.forget_if_gone()  # its file may have been deleted a moment ago
        seconds = time.perf_counter() - self._began
        self._logger.write(f"training ended at step {state.global_step} after {seconds:.1f} s")
        self._logger.flush()
        self.stop()

    def record_error(self, error: BaseException, args: Any, step: int, began: bool) -> None:
        """Write an error that ended the training to log and rows; called by :func:`hf_monitor.attach`."""
        if args.process_index:
            self._of_rank(args).error(error, step)
            return
        recorder, logger = self._open(args)
        recorder.error(error, step, began)
        if isinstance(error, KeyboardInterrupt):  # meant: nobody needs to see where
            logger.write(f"training stopped at step {step}: interrupted (KeyboardInterrupt)", level="WARNING")
        else:
            logger.file.forget_if_gone()  # its file may have been deleted a moment ago
            trace = recorder.describe(error)["traceback"]
            logger.write(f"training stopped at step {step}\n{trace.rstrip()}", level="ERROR")

    def record_error_outside(self, error: BaseException, args: Any, step: int, during: str) -> None:
        """Write an error that ended ``evaluate()`` or ``predict()`` to log and rows; of another place, to the log."""
        if args.process_index:
            return
        recorder, logger = self._open(args) if during else self._settle(args)
        if during:
            recorder.error_outside(error, step, during)
        trace = recorder.describe(error)["traceback"]
        logger.write(f"{during or 'the script'} stopped at step {step}\n{trace.rstrip()}", level="ERROR")

    def start_early(self, args: Any) -> None:
        """Copy the console from the first word of ``train()`` on, before ``on_train_begin``; :meth:`stop` ends it."""
        if self.redirect:
            self._start(self._settle(args)[1])

    def start(self, args: Any) -> None:
        """Copy the console to ``train.log`` from here on, whatever trainings begin and end, until :meth:`release`."""
        _, logger = self._settle(args)
        logger.start_redirect()
        self._held += 1

    def release(self) -> None:
        """End what :meth:`start` began."""
        if self._logger is not None and self._held:
            self._held -= 1
            self._logger.stop_redirect()

    def stop(self) -> None:
        """Give the console back; nothing happens where it was not taken."""
        if self._logger is not None and self._redirecting:
            self._redirecting, self._training = False, None
            _redirecting.discard(self)
            self._logger.stop_redirect()

"""WandBCallback: a training in W&B, as the run folder has it."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._mirrored import MirroredTraining, finish_those_that_ended
from hf_monitor.callbacks._policy import guarded
from hf_monitor.callbacks._recorder import Recorder, kind_of, recorder_for, run_dir_for
from hf_monitor.callbacks._report import report_once
from hf_monitor.errors import InputError
from hf_monitor.loggers.mirror.identity import mirrored_runs
from hf_monitor.loggers.mirror.link import announce
from hf_monitor.loggers.mirror.wishes import PROJECT, Wishes, require_wandb, switched_off

__all__ = ["WandBCallback"]

log = logging.getLogger("hf_monitor")


class WandBCallback(TrainerCallback):
    """Show a training in W&B: every row of the run folder, the texts, the charts and the report.

    A process of its own reads the run folder and tells W&B; no step waits for it, and what is wrong with W&B
    or the network does not touch it. A training that goes on from a checkpoint goes on in the same W&B run; one from
    the beginning has its own. An evaluation or prediction after it goes into its run, which is finished at the end of
    ``with attach(...)`` or of the process, or when the next training begins. Where a run of ``wandb`` is open already,
    that one is told, by a thread, and stays open. Only the first process speaks.

    Its place is after the other callbacks of this package; :func:`hf_monitor.attach` puts it there, and takes that of
    transformers (``report_to="wandb"``) out. Without ``attach`` it leaves W&B to that one.

    Parameters
    ----------
    project_name : str, optional
        Of W&B; by default what ``WANDB_PROJECT`` says, else ``"huggingface"``.
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    run : wandb.Run, optional
        An open run to tell.
    name, entity, group : str, optional
        As ``wandb.init`` takes them; the name is ``TrainingArguments.run_name`` by default.
    tags : sequence of str
    log_model : {None, "best", "all"}
        Whether checkpoints are kept as artifacts: each one whole, or at the end the best one (the last where none is
        known) without what only a resume needs. Their files are linked, not copied, so that ``save_total_limit`` may
        delete the checkpoint meanwhile.
    log_predictions : int
        Rows of a table of predictions; 0 for no tables.
    settings : mapping, optional
        For ``wandb.Settings``.

    Raises
    ------
    InputError
        If something given cannot be used.
    MissingPackageError
        If wandb is not installed.
    """

    def __init__(
        self,
        project_name: str | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        *,
        run: Any = None,
        name: str | None = None,
        entity: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        log_model: str | None = None,
        log_predictions: int = 200,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if log_model not in (None, "best", "all"):
            raise InputError(f'log_model is None, "best" or "all"; got {log_model!r}.')
        self._wishes = Wishes(
            project=project_name,
            run=run,
            name=name,
            entity=entity,
            tags=tags,
            group=group,
            settings=settings,
            most_predictions=log_predictions,
            given={"project": "project_name"},
        )
        if run is None and not switched_off(settings):
            require_wandb("WandBCallback")
        self.run_dir = run_dir
        self.log_model = log_model
        self.attended = False  # attach() is there, and has taken transformers' own out
        self.yields_to = ""  # whoever speaks in its place
        self._recorder: Recorder | None = None
        self._told: MirroredTraining | None = None
        self._ended: Any = None  # state of the training whose end was told
        self._silent = False

    @property
    def url(self) -> str | None:
        """Of the W&B run; None before it is known, and offline."""
        return None if self._told is None else self._told.link.url

    @property
    def id(self) -> str:
        """Of the W&B run; empty before there is one."""
        return "" if self._told is None else self._told.link.id

    def leave(self) -> None:
        """Let go of a Trainer: the callback goes on with another one. The W&B run is finished as that one's."""
        if self._told is not None:
            self._told.ended = True
        self._recorder, self._told = None, None

    def _open(self, args: Any) -> Recorder:
        if self._recorder is None:
            self._recorder = recorder_for(run_dir_for(self.run_dir, args))
        return self._recorder

    def _is_silent(self, recorder: Recorder, args: Any, state: Any) -> bool:
        """Whether W&B is not told; said once."""
        if off := switched_off(self._wishes.settings):
            if not self._silent:
                announce(recorder.writer, f"hf_monitor: W&B: {off}; the run folder has everything.")
        elif not self.attended and "wandb" in (args.report_to or ()):
            report_once(
                self,
                "report_to",
                'report_to has "wandb", so that transformers\' own callback tells W&B, and WandBCallback keeps silent'
                f"{self._lost()}. Take it out of report_to, or use attach(trainer), which does.",
            )
        elif recorder.first_to("mirror", self, state) is not self:
            report_once(self, "second", "this Trainer has several WandBCallbacks: the first one tells W&B.")
        elif not self.yields_to:
            self._silent = False
            return False
        self._silent = True
        return True

    def _lost(self) -> str:
        """Say which of the options that were given have no effect."""
        wishes = self._wishes
        given = {"project_name": wishes.project, **{n: getattr(wishes, n) for n in ("name", "entity", "tags", "group")}}
        given |= {"log_model": self.log_model, "settings": wishes.settings, "run": wishes.run}
        named = [name for name, value in given.items() if value]
        return f", so that {', '.join(named)} {'have' if len(named) > 1 else 'has'} no effect" if named else ""

    def _make(self, recorder: Recorder, args: Any, state: Any) -> MirroredTraining:
        wishes = self._wishes
        changes: dict[str, Any] = {}
        if wishes.project is None and not os.environ.get("WANDB_PROJECT"):
            changes["project"] = PROJECT
        named = args.run_name if args.run_name and args.run_name != args.output_dir else None
        if state.trial_name is not None:  # of a search for hyperparameters; as transformers does
            changes["name"], changes["group"] = str(state.trial_name), wishes.group or named or str(args.output_dir)
        elif wishes.name is None:
            changes["name"] = named
        return MirroredTraining(recorder.writer, dataclasses.replace(wishes, **changes))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an attempt in the run folder, unless another callback has, and open its W&B run."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        if state.is_world_process_zero:
            if self._recorder is not None and self._recorder.writer.run_dir != run_dir_for(self.run_dir, args):
                self.leave()  # another Trainer's
            self._open(args).begin(args, state, **kwargs)
            self._begin(args, state, control)

    @guarded
    def _begin(self, args: Any, state: Any, control: Any) -> None:
        recorder = self._open(args)
        known = (recorder.resumed.get("callbacks") or {}).get("wandb") or {}
        told, self._told = self._told, None
        if told is not None and not told.goes_on(known.get("id")):
            told.ended = True  # by an error, of which no callback hears
            told = None
        finish_those_that_ended(recorder.writer)
        recorder.told_run = None
        if self._is_silent(recorder, args, state):
            return
        if told is None:
            told = self._make(recorder, args, state)
            told.open(resumed=state.global_step > 0, known={"attempt": recorder.resumed.get("attempt"), **known})
        self._note(recorder, told)

    def _note(self, recorder: Recorder, told: MirroredTraining) -> None:
        recorder.kept["wandb"] = told.link.kept
        recorder.told_run = told.link.run
        self._told = told

    def _tell(self, recorder: Recorder, args: Any, state: Any) -> None:
        """Let W&B hear of an evaluation without a training, or after its run was finished."""
        if (self._told is not None and self._told.is_open) or self._is_silent(recorder, args, state):
            return
        known = mirrored_runs(recorder.writer.run_dir)
        mine = any(recorder.writer.attempt in one.attempts for one in known)
        told = self._make(recorder, args, state)
        told.ended = not recorder.is_training
        if known and not mine and not recorder.is_training:
            told.owe()
            self._told = told
        else:
            told.open(resumed=True)
            self._note(recorder, told)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Record what was logged, where no other callback does."""
        kept = self._recorder is not None and self._recorder.keeps_logs
        if kept and (self._silent or (self._told is not None and self._told.is_open)):
            return
        if logs is not None and state.is_world_process_zero:
            self._record(args, state, control, logs=logs, model=kwargs.get("model"))

    @guarded
    def _record(self, args: Any, state: Any, control: Any, *, logs: Mapping[str, Any], model: Any) -> None:
        recorder = self._open(args)
        recorder.ensure_attempt(args, model)
        recorder.values(self, "log", kind_of(logs, state), state, logs)
        self._tell(recorder, args, state)

    @guarded
    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let W&B hear of an evaluation outside of a training."""
        if state.is_world_process_zero and self._recorder is not None and not self._recorder.is_training:
            self.drain()

    @guarded
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record a prediction, unless another callback has, and let W&B hear of it."""
        if metrics is None or not state.is_world_process_zero:
            return
        recorder = self._open(args)
        recorder.ensure_attempt(args, kwargs.get("model"))
        recorder.values(self, "predict", "predict", state, metrics)
        self._tell(recorder, args, state)
        if not recorder.is_training:
            self.drain()

    @guarded
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Have the checkpoint sent, where that was asked for; it holds the id of the W&B run."""
        if not state.is_world_process_zero or self._recorder is None:
            return
        checkpoint, step = self._recorder.save(args, state), state.global_step
        if self._told is None or self.log_model is None:
            return
        if self.log_model == "best" and state.best_model_checkpoint is not None:
            checkpoint, step = Path(state.best_model_checkpoint), state.best_global_step or step
        self._told.saved(checkpoint, step, send=self.log_model == "all")

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end, unless another callback has, and show what the training leaves."""
        if state.is_world_process_zero and self._recorder is not None:
            self._recorder.end(state)
            self.end(args, state, control)

    @guarded
    def end(self, args: Any, state: Any, control: Any) -> None:
        """Show what a training leaves, once; :func:`hf_monitor.attach` calls it after an error."""
        if self._ended is state or self._told is None or not state.is_world_process_zero:
            return
        self._ended = state
        if self.log_model == "best" and self._told.at_end is None:
            report_once(self, "best", 'log_model="best": no checkpoint was saved, so that W&B is sent none.')
        self._told.end(state.global_step)

    def drain(self) -> None:
        """Wait until the user's open run has been told what was recorded; ours is told in its own time."""
        if self._told is not None:
            self._told.link.drain()

    def settle(self, *, failed: bool = False) -> None:
        """Finish the W&B run, unless a training runs; a later evaluation opens it again. Never raises."""
        if self._told is not None and self._told.ended:
            self._told.settle(1 if failed else None)

"""GpuMonitorCallback: what the GPU does while it trains, and where the time goes."""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._policy import guarded
from hf_monitor.callbacks._recorder import Recorder, kind_of, recorder_for, run_dir_for
from hf_monitor.callbacks._report import described, report_once
from hf_monitor.callbacks._step_clock import StepClock
from hf_monitor.gpu.sampler import SystemSampler, check_interval
from hf_monitor.loggers.mirror.spec import ORDERS
from hf_monitor.run.ranks import RankSamples
from hf_monitor.run.writer import announce_by_logging

if TYPE_CHECKING:
    from hf_monitor.run.writer import RunWriter

__all__ = ["Fetches", "GpuMonitorCallback"]

log = logging.getLogger("hf_monitor")

MOST_BYTES = 32 * 2**20
"""So much is read and judged in some seconds when a training ends; the user's next line waits for it."""


def _own_gpus(args: Any) -> list[int] | None:
    """Give torch's numbers of the cards whose allocator this process is to be asked about; None: wherever it is."""
    if args.device.type != "cuda":
        return []
    return [args.device.index or 0] if args.world_size > 1 else None


def _used_gpus(args: Any) -> list[int]:
    """Give the cards of this machine that the training uses, as far as the arguments tell.

    A launcher gives each process the card of its number. More may be in use (``device_map``): those hold tensors.
    """
    if args.device.type != "cuda":
        return []
    if args.n_gpu > 1:
        return [*range(args.n_gpu)]
    own = args.device.index or 0
    if args.world_size > 1 and own == args.local_process_index:
        return [*range(int(os.environ.get("LOCAL_WORLD_SIZE") or 1))]
    return [own]


class GpuMonitorCallback(TrainerCallback):
    """Sample GPU, host and process once a second into ``system.jsonl``, and record how the time of steps is spent.

    With every training log goes a row ``timing`` into ``metrics.jsonl``: time within steps, wait for data between them,
    time for all else (logging, evaluation, saving, other callbacks), samples and tokens a second (padding counted), and
    what the samples of that window say of the GPU. Nothing here waits for the GPU. :func:`hf_monitor.attach` tells it
    more than a callback hears: alone it counts what other callbacks do between steps as wait for data, samples as the
    arguments promise them, and no tokens.

    On several processes the first of each machine samples GPUs and host, the others themselves, with timings of their
    own (``system.rank1.jsonl`` ...). When the training ends, warnings among :func:`hf_monitor.hardware_findings` are
    shown and go into the log, unless the files are too large to be read in a moment.

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    interval_s : float
        Seconds between two samples; longer where sampling would cost more than 0.5 % of a core.

    Raises
    ------
    InputError
        If `interval_s` is not a positive number.
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None = None, *, interval_s: float = 1.0) -> None:
        check_interval(interval_s)
        self.run_dir = run_dir
        self.interval_s = interval_s
        self.clock = StepClock()
        self._recorder: Recorder | None = None
        self._samples: RankSamples | None = None  # in processes above rank 0
        self._sampler: SystemSampler | None = None
        self._stop_sampler: Any = None
        self._main = False
        self._counted = False  # attach() counts what comes
        self._batch = 0
        self._n_processes = 1
        self._counts_labels = False
        self._rest = "data"  # what comes after a step, where nobody tells of fetches

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to sample."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        self.stop()
        self.clock = StepClock()
        self._rest = "data"
        self._main, self._samples = state.is_world_process_zero, None
        self._batch = (state.train_batch_size or args.train_batch_size) * args.gradient_accumulation_steps
        self._n_processes = max(1, args.world_size)
        config = getattr(kwargs.get("model"), "config", None)
        self._counts_labels = bool(getattr(config, "is_encoder_decoder", False))
        if not self._main and not args.process_index:
            return
        folder = run_dir_for(self.run_dir, args)
        writer: Any
        if self._main:
            if self._recorder is None:
                self._recorder = recorder_for(folder)
            self._recorder.begin(args, state, **kwargs)
            writer = self._recorder.writer
        else:
            writer = self._samples = RankSamples(folder, args.process_index)
        own = _own_gpus(args)
        sampler = SystemSampler(writer, interval_s=self.interval_s, host=args.local_process_index == 0, own=own)
        sampler.step, sampler.phase = state.global_step, "begin"
        try:
            sampler.start(device=str(args.device), used_gpus=_used_gpus(args))
        except Exception as error:  # noqa: BLE001 - the policy: the run folder works, so this is about torch's devices
            report_once(self, "sampler", f"GPU and host are not sampled: {described(error)}")
            return
        self._sampler = sampler
        if self._recorder is not None:
            self._recorder.before_end = weakref.WeakMethod(self.stop)  # what is left then has to be counted
        self._stop_sampler = weakref.finalize(self, sampler.stop)  # a Trainer that is given up after an error

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that the data loader starts next."""
        self.clock.epoch_begin()
        self.turn("data")

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that the batches of a step are there."""
        self.clock.step_begin()
        if self._sampler is not None:
            self._sampler.turn("train")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that a step is done, and what comes next."""
        self.clock.step_end()
        if not self._counted:
            self.clock.n_samples += self._batch
        if self._sampler is not None:
            self._sampler.step = state.global_step
            self._sampler.turn(self._next(control))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that an epoch is done, and what comes next."""
        self._after(self._next(control))

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that an evaluation goes on."""
        self.turn("evaluate")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that an evaluation is done."""
        if self._recorder is None and state.is_world_process_zero:
            self._recorder = recorder_for(run_dir_for(self.run_dir, args))  # the others have theirs from now on, too
        self._after("save" if control.should_save else self._rest)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that a checkpoint is saved, and leave in it to which run it belongs, unless another callback has."""
        self._leave(args, state, control)
        self._after("end" if control.should_training_stop else self._rest)

    @guarded
    def _leave(self, args: Any, state: Any, control: Any) -> None:
        if self._main and self._recorder is not None:
            self._recorder.save(args, state)

    def _next(self, control: Any) -> str:
        if control.should_evaluate:
            return "evaluate"
        if control.should_save:
            return "save"
        return "end" if control.should_training_stop else self._rest

    def _after(self, phase: str) -> None:
        self.clock.other_end()
        self.turn(phase)

    def turn(self, phase: str) -> None:
        """Hear what the training does from now on."""
        if self._sampler is not None:
            self._sampler.turn(phase)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Record how the time since the last log was spent."""
        self.clock.other_end()
        if logs is not None and self.clock.steps:
            self._record(args, state, control, logs=logs)

    @guarded
    def _record(self, args: Any, state: Any, control: Any, *, logs: Mapping[str, Any]) -> None:
        if kind_of(logs, state) not in ("train", "train_summary"):
            return
        found = self.clock.window(self._n_processes)
        if self._sampler is not None:
            found |= self._sampler.drain()
        self._write(state.global_step, found)

    def _write(self, step: int, found: dict[str, float]) -> None:
        if self._main and self._recorder is not None:
            self._recorder.writer.numbers("timing", step, found)
        elif self._samples is not None:
            self._samples.rows("system.jsonl", [{"step": step, "kind": "timing", **found}])

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop sampling, record the end unless another callback has, and say in the log what stood out."""
        self.stop()
        if self._main and self._recorder is not None:
            self._recorder.end(state)
            if state.global_step:
                self._conclude(self._recorder.writer, self._recorder.alerted)

    @staticmethod
    def _conclude(writer: RunWriter, said: Collection[str] = ()) -> None:
        """Say what stood out, apart from what alerts have said while there was still something to be done about it."""
        say = log.warning if writer.announce is announce_by_logging else writer.announce
        files = (path for path in writer.run_dir.glob("*.jsonl") if path.name not in ("predictions.jsonl", ORDERS))
        size = sum(path.stat().st_size for path in files)
        if size > MOST_BYTES:
            say(
                f"hf_monitor: {size / 2**20:.0f} MiB were recorded, too much to judge in a moment: "
                f"hardware_findings(load_run({str(writer.run_dir)!r})) says what stood out."
            )
            return
        from hf_monitor.diagnosis.hardware import hardware_findings
        from hf_monitor.run.reader import Run

        run = Run(writer.run_dir)
        run.facts = dict(writer.facts)  # as they are, whatever the disk says now
        for finding in hardware_findings(run):
            if finding.verdict == "found" and finding.severity == "warning" and finding.rule not in said:
                say(f"hf_monitor: {finding}")

    def count(self, inputs: Any) -> None:
        """Count a micro-batch of a training (:func:`hf_monitor.attach`); never raises, never looks at values."""
        with contextlib.suppress(Exception):  # inputs are anything; what cannot be counted is not
            tokens = inputs.get("input_ids")
            self.clock.n_samples += len(next(iter(inputs.values())) if tokens is None else tokens)
            self._counted = True
            if tokens is not None:
                labels = inputs.get("labels") if self._counts_labels else None
                self.clock.n_tokens += tokens.numel() + (0 if labels is None else labels.numel())

    def timed(self, batches: Iterator[Any]) -> Fetches:
        """Hear of each fetch from an iterator over batches (:func:`hf_monitor.attach`)."""
        self.clock.hears_fetches, self._rest = True, "other"
        return Fetches(batches, self)

    def stop(self) -> None:
        """Stop sampling; nothing happens where nothing is sampled. Never raises."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            self._stop_sampler.detach()
            sampler.phase = "end"
            sampler.stop()
            if self.clock.steps:  # an error came before they were logged
                try:
                    self._write(sampler.step, self.clock.window(self._n_processes) | sampler.drain())
                except Exception as error:  # noqa: BLE001 - the policy: the error of the training is to be seen
                    report_once(self, "window", f"the last steps' timing is not recorded: {described(error)}")


class Fetches:
    """An iterator over batches that tells how long each took; in all else the iterator that it was made from."""

    def __init__(self, batches: Iterator[Any], callback: GpuMonitorCallback) -> None:
        self._batches, self._callback = batches, callback

    def __iter__(self) -> Fetches:
        return self

    def __next__(self) -> Any:
        callback = self._callback
        callback.turn("data")
        callback.clock.fetch_begin()
        try:
            return next(self._batches)
        finally:
            callback.clock.fetch_end()
            callback.turn("other")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

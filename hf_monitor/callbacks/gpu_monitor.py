"""GpuMonitorCallback: what the GPU does while it trains, and where the time goes."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._policy import guarded
from hf_monitor.callbacks._recorder import Recorder, kind_of, recorder_for, run_dir_for
from hf_monitor.callbacks._report import described, report_once
from hf_monitor.callbacks._step_clock import StepClock
from hf_monitor.run.ranks import RankSamples

if TYPE_CHECKING:
    from hf_monitor.gpu.sampler import SystemSampler
    from hf_monitor.run.writer import RunWriter

__all__ = ["GpuMonitorCallback"]


def _own_gpus(args: Any) -> list[int]:
    """Give torch's numbers of the cards that this process computes on."""
    if args.device.type != "cuda":
        return []
    return [*range(args.n_gpu)] if args.n_gpu > 1 else [args.device.index or 0]


def _used_gpus(args: Any, own: list[int]) -> list[int]:
    """Give the cards of this machine that the training uses: a launcher gives each process the one of its number."""
    if not own or args.parallel_mode.value != "distributed" or own != [args.local_process_index]:
        return own
    return [*range(int(os.environ.get("LOCAL_WORLD_SIZE") or 1))]


class GpuMonitorCallback(TrainerCallback):
    """Sample GPU, host and process once a second into ``system.jsonl``, and record how the time of steps is spent.

    With every training log goes a row ``timing`` into ``metrics.jsonl``: time within steps, wait for data between them,
    time for logging, evaluation and saving, samples and tokens a second (padding counted; under
    :func:`hf_monitor.attach` those that really came, alone those that the arguments promise, and no tokens), and what
    the samples of that window say of the GPU. Nothing here waits for the GPU.

    On several processes the first of each machine samples GPUs and host, the others themselves
    (``system.rank1.jsonl`` ...). When the training ends, warnings among :func:`hf_monitor.hardware_findings` go into
    ``train.log``.

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    interval_s : float
        Seconds between two samples; longer where sampling would cost more than 0.5 % of a core.

    Raises
    ------
    InputError
        From ``on_train_begin``, if `interval_s` is not a positive number.
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None = None, *, interval_s: float = 1.0) -> None:
        self.run_dir = run_dir
        self.interval_s = interval_s
        self.clock = StepClock()
        self._recorder: Recorder | None = None
        self._sampler: SystemSampler | None = None
        self._stop_sampler: Any = None
        self._main = False
        self._counted = False  # attach() counts what comes
        self._batch = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to sample."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        self.stop()
        self.clock = StepClock()
        self._main = state.is_world_process_zero
        self._batch = args.train_batch_size * args.gradient_accumulation_steps
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
            writer = RankSamples(folder, args.process_index)
        from hf_monitor.gpu.sampler import SystemSampler

        own = _own_gpus(args)
        sampler = SystemSampler(writer, interval_s=self.interval_s, host=args.local_process_index == 0, own=own)
        sampler.step = state.global_step
        try:
            sampler.start(device=str(args.device), used_gpus=_used_gpus(args, own))
        except Exception as error:  # noqa: BLE001 - the policy: the run folder works, so this is about torch's devices
            report_once(self, "sampler", f"GPU and host are not sampled: {described(error)}")
            return
        self._sampler = sampler
        self._stop_sampler = weakref.finalize(self, sampler.stop)  # a Trainer that is given up after an error

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that the batches of a step are there."""
        self.clock.step_begin()
        if self._sampler is not None:
            self._sampler.phase = "train"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that a step is done, and what comes next."""
        clock, sampler = self.clock, self._sampler
        clock.step_end()
        if not self._counted:
            clock.n_samples += self._batch
        if sampler is not None:
            sampler.step, sampler.heard_at = state.global_step, clock.heard_at
            if control.should_evaluate:
                sampler.phase = "evaluate"
            else:
                sampler.phase = "save" if control.should_save else "data"

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that an evaluation is done."""
        if self._recorder is None and state.is_world_process_zero:
            self._recorder = recorder_for(run_dir_for(self.run_dir, args))  # the others have theirs from now on, too
        self._after("save" if control.should_save else "data")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear that a checkpoint is saved, and leave in it to which run it belongs, unless another callback has."""
        self._leave(args, state, control)
        self._after("data")

    @guarded
    def _leave(self, args: Any, state: Any, control: Any) -> None:
        if self._main and self._recorder is not None:
            self._recorder.save(args, state)

    def _after(self, phase: str) -> None:
        self.clock.other_end()
        if self._sampler is not None:
            self._sampler.phase, self._sampler.heard_at = phase, self.clock.heard_at

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Record how the time since the last log was spent."""
        if logs is not None and self._main and self._recorder is not None and self.clock.steps:
            self._record(args, state, control, logs=logs)
        self.clock.other_end()

    @guarded
    def _record(self, args: Any, state: Any, control: Any, *, logs: Mapping[str, Any]) -> None:
        if kind_of(logs, state) not in ("train", "train_summary"):
            return
        found = self.clock.window(max(1, args.world_size))
        if self._sampler is not None:
            found |= self._sampler.drain()
        if found and self._recorder is not None:
            self._recorder.writer.numbers("timing", state.global_step, found)

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop sampling, record the end unless another callback has, and say in the log what stood out."""
        self.stop()
        if self._main and self._recorder is not None:
            self._recorder.end(state)
            if state.global_step:
                self._conclude(self._recorder.writer)

    @staticmethod
    def _conclude(writer: RunWriter) -> None:
        from hf_monitor.diagnosis.hardware import hardware_findings
        from hf_monitor.run.reader import load_run

        for finding in hardware_findings(load_run(writer.run_dir)):
            if finding.verdict == "found" and finding.severity == "warning":
                writer.announce(f"hf_monitor: {finding}")

    def count(self, inputs: Any) -> None:
        """Count a micro-batch of a training (:func:`hf_monitor.attach`); never raises, never looks at values."""
        with contextlib.suppress(Exception):  # inputs are anything; what cannot be counted is not
            tokens = inputs.get("input_ids")
            self.clock.n_samples += len(next(iter(inputs.values())) if tokens is None else tokens)
            self._counted = True
            if tokens is not None:
                labels = inputs.get("labels")
                self.clock.n_tokens += tokens.numel() + (0 if labels is None else labels.numel())

    def stop(self) -> None:
        """Stop sampling; nothing happens where nothing is sampled."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            self._stop_sampler.detach()
            sampler.phase = "end"
            sampler.stop()

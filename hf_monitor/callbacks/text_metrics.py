"""TextMetricsCallback: tells TextMetrics what only a callback sees, keeps the best score, writes the predictions."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence, Sized
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._policy import guarded, report_once
from hf_monitor.callbacks._recorder import Recorder, kind_of, recorder_for, run_dir_for

if TYPE_CHECKING:
    from hf_monitor.metrics.text_metrics import TextMetrics

__all__ = ["TextMetricsCallback"]

log = logging.getLogger("hf_monitor")

REFERENCES_COLUMN = "references"
"""Column of a data set that holds several references a sample (a list of texts)."""


def _in_order(dataloader: Any) -> bool:
    """Say whether an evaluation walks through its data set from first to last (not so with ``group_by_length``)."""
    seen: set[int] = set()
    stack = [dataloader]
    while stack:
        item = stack.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        if type(item).__name__ == "LengthGroupedSampler":
            return False
        stack.extend(getattr(item, name, None) for name in ("batch_sampler", "sampler", "base_dataloader"))
    return True


class TextMetricsCallback(TrainerCallback):
    """Record what a training writes: the scores of each evaluation, the best of them, and the texts themselves.

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    text_metrics : TextMetrics, optional
        The object given to the Trainer as ``compute_metrics``. Without it only the metrics of each evaluation are
        recorded, not the texts.

    Attributes
    ----------
    best : dict or None
        ``metric``, ``value`` and ``step`` of the best evaluation so far (``metric_for_best_model`` where that is one
        of the text scores, else ``score``; the first evaluation set where there are several).
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None = None, text_metrics: TextMetrics | None = None) -> None:
        self.run_dir = run_dir
        self.text_metrics = text_metrics
        self.best: dict[str, Any] | None = None
        self._recorder: Recorder | None = None
        self._begun = False
        self._signed: Any = None
        self._written: Any = None

    def _open(self, args: Any, model: Any = None) -> Recorder:
        if self._recorder is None:
            self._recorder = recorder_for(run_dir_for(self.run_dir, args))
        self._recorder.ensure_attempt(args, model)
        return self._recorder

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an attempt in the run folder, unless another callback has."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        self.best, self._begun, self._signed = None, False, None
        if state.is_world_process_zero:
            if self._recorder is None:
                self._recorder = recorder_for(run_dir_for(self.run_dir, args))
            self._recorder.begin(self, args, state, **kwargs)

    def begin_evaluation(
        self, args: Any, dataloader: Any, *, raw_dataset: Any = None, name: str = "", tokenizer: Any = None
    ) -> None:
        """Tell TextMetrics about the evaluation that is about to run: its length, inputs and references.

        Parameters
        ----------
        args : transformers.TrainingArguments
        dataloader : torch.utils.data.DataLoader
        raw_dataset : Dataset, optional
            The data set with all its columns (:func:`hf_monitor.attach` knows it); its column ``references``, a list
            of texts a sample, replaces the labels.
        name : str
            The prefix of the metrics: ``eval``, ``eval_korean``, ``test``.
        tokenizer : optional
            What decodes the inputs.
        """
        metrics = self.text_metrics
        self._begun = True
        if metrics is None:
            return
        dataset = getattr(dataloader, "dataset", None)
        n_samples = len(dataset) if isinstance(dataset, Sized) else None
        references = inputs = None
        if _in_order(dataloader):
            inputs = _input_reader(dataset, tokenizer)
            for candidate in (raw_dataset, dataset):
                columns = getattr(candidate, "column_names", None)
                if candidate is not None and isinstance(columns, list) and REFERENCES_COLUMN in columns:
                    references = candidate[REFERENCES_COLUMN][:]
                    break
        elif REFERENCES_COLUMN in (getattr(raw_dataset, "column_names", None) or ()):
            report_once(
                self,
                "order",
                "group_by_length shuffles the evaluation, so the column 'references' cannot be matched to the "
                "predictions: scored against the labels, and predictions.jsonl has no inputs.",
            )
        wanted = (args.metric_for_best_model or "").removeprefix("eval_")

        def on_problem(message: str) -> None:
            if wanted and wanted in metrics.keys:
                message += (
                    f" The Trainer will stop, since metric_for_best_model={args.metric_for_best_model!r} is one of the "
                    "scores that are missing now."
                )
            report_once(self, message, message)

        metrics.begin_evaluation(
            n_samples=n_samples, inputs=inputs, references=references, name=name, on_problem=on_problem
        )

    @guarded
    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """At the first batch of an evaluation: the data loader is seen here, before ``compute_metrics`` is called."""
        if not self._begun:
            self.begin_evaluation(args, kwargs.get("eval_dataloader"), tokenizer=kwargs.get("processing_class"))

    @guarded
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record scores and texts of an evaluation."""
        self._begun = False
        if metrics is not None and state.is_world_process_zero:
            recorder = self._open(args, kwargs.get("model"))
            recorder.values(self, "evaluate", kind_of(metrics), state.global_step, metrics)
            self._texts(recorder, args, state.global_step, metrics)

    @guarded
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record scores and texts of ``trainer.predict()``."""
        self._begun = False
        if metrics is not None and state.is_world_process_zero:
            recorder = self._open(args, kwargs.get("model"))
            recorder.values(self, "predict", "predict", state.global_step, metrics)
            self._texts(recorder, args, state.global_step, metrics, predict=True)

    def _texts(self, recorder: Recorder, args: Any, step: int, metrics: dict[str, Any], predict: bool = False) -> None:
        text_metrics = self.text_metrics
        last = None if text_metrics is None else text_metrics.last
        if text_metrics is None or last is None or last is self._written:  # a failing evaluation has none
            return
        self._written = last
        name = _prefix_of(metrics, text_metrics.keys) or last.name or ("test" if predict else "eval")
        if self._signed != last.signature:
            self._signed = last.signature
            recorder.writer.update_facts({"text_metrics": last.signature})
        summary: dict[str, Any] = {
            "name": name,
            "n_samples": last.n_samples,
            "sampled": last.sampled,
            "counts": last.counts,
            **last.scores,
        }
        if not predict:
            self._keep_best(args, step, name, last.scores)
            summary["best"] = self.best
        recorder.writer.row("text_scores", step, summary)
        recorder.writer.rows("predictions.jsonl", ({"step": step, "name": name, **row} for row in last.rows()))

    def _keep_best(self, args: Any, step: int, name: str, scores: dict[str, float]) -> None:
        wanted = (args.metric_for_best_model or "").removeprefix("eval_")
        metric = wanted if wanted in scores else "score"
        value = scores.get(metric)
        if value is None or (self.best is not None and self.best["name"] != name):
            return
        if self.best is None or value > self.best["value"]:
            self.best = {"name": name, "metric": metric, "value": value, "step": step}


def _prefix_of(metrics: dict[str, Any], keys: Sequence[str]) -> str:
    """Find the prefix that the Trainer gave the metrics of this evaluation."""
    for key in keys:
        for name in metrics:
            if name.endswith(f"_{key}"):
                return name.removesuffix(f"_{key}")
    return ""


def _input_reader(dataset: Any, tokenizer: Any) -> Callable[[int], str] | None:
    """Make a function that gives the text of a sample's input, as the model saw it."""
    columns = getattr(dataset, "column_names", None)
    if tokenizer is None or not isinstance(columns, list) or "input_ids" not in columns:
        return None

    def read(index: int) -> str:
        return str(tokenizer.decode(dataset[index]["input_ids"], skip_special_tokens=True))

    return read

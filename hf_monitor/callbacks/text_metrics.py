"""TextMetricsCallback: tells TextMetrics what only a callback sees, keeps the best score, writes the predictions."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._facts import length_of
from hf_monitor.callbacks._policy import guarded
from hf_monitor.callbacks._recorder import Recorder, recorder_for, run_dir_for
from hf_monitor.callbacks._report import described, report_once
from hf_monitor.metrics.decoding import Ending

if TYPE_CHECKING:
    from hf_monitor.metrics.text_metrics import TextMetrics

__all__ = ["TextMetricsCallback"]

log = logging.getLogger("hf_monitor")


_OWN_KEYS = ("rouge1", "rougeLsum", "gen_len", "score")
"""Names by which an evaluation is known to come from a TextMetrics; Hugging Face's example has no ``score``."""


def _in_order(dataloader: Any) -> bool:
    """Say whether an evaluation surely walks through its data set from first to last (``group_by_length`` does not)."""
    seen: set[int] = set()
    samplers: set[str] = set()
    stack = [dataloader]
    while stack:
        item = stack.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        inner = [getattr(item, name, None) for name in ("batch_sampler", "sampler", "base_dataloader")]
        if all(part is None for part in inner) and item is not dataloader:
            samplers.add(type(item).__name__)
        stack.extend(inner)
    return samplers == {"SequentialSampler"}


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
        ``name``, ``metric``, ``value`` and ``step`` of the best evaluation so far, as the Trainer judges it
        (``metric_for_best_model``, ``greater_is_better``); by the highest ``score`` of the first evaluation set where
        the Trainer was given no metric. A value that is not finite is never the best.
    sample_values : list of dict or None
        More values for the rows of predictions.jsonl, one dict a sample in the order of the evaluation
        (:func:`~hf_monitor.callbacks.confidence.confidence_recorded`). Those beyond the last sample are left aside.
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None = None, text_metrics: TextMetrics | None = None) -> None:
        self.run_dir = run_dir
        self.text_metrics = text_metrics
        self.best: dict[str, Any] | None = None
        self.sample_values: list[dict[str, Any]] | None = None
        self._first_set: str | None = None
        self._recorder: Recorder | None = None
        self._loader: Any = None  # of the evaluation that was announced
        self._signed: dict[str, Any] = {}
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
        self.best, self._first_set, self._loader, self._signed = None, None, None, {}
        if state.is_world_process_zero:
            if self._recorder is None:
                self._recorder = recorder_for(run_dir_for(self.run_dir, args))
            self._recorder.begin(args, state, **kwargs)
            if (kept := (self._recorder.resumed.get("callbacks") or {}).get("text_metrics")) is not None:
                self.best, self._first_set = kept.get("best"), kept.get("first_set")
                self._recorder.kept["text_metrics"] = kept

    def begin_evaluation(
        self,
        args: Any,
        dataloader: Any,
        *,
        raw_dataset: Any = None,
        name: str = "",
        tokenizer: Any = None,
        model: Any = None,
    ) -> None:
        """Tell TextMetrics about the evaluation that is about to run: its length, inputs and references.

        Parameters
        ----------
        args : transformers.TrainingArguments
        dataloader : torch.utils.data.DataLoader
        raw_dataset : Dataset, optional
            The data set with all its columns (:func:`hf_monitor.attach` knows it); its column ``references``
            (``TextMetrics(references_column=...)``) replaces the labels where it holds texts.
        name : str
            The prefix of the metrics: ``eval``, ``eval_korean``, ``test``.
        tokenizer : optional
            What decodes the inputs.
        model : optional
            Its generation settings tell which texts were cut at the length limit.
        """
        metrics = self.text_metrics
        self._loader = dataloader
        if metrics is None:
            return
        wanted = (args.metric_for_best_model or "").removeprefix("eval_")

        def on_problem(message: str) -> None:
            if wanted and wanted.endswith(metrics.keys):
                message += (
                    f" The Trainer will stop, since metric_for_best_model={args.metric_for_best_model!r} is one of the "
                    "scores that are missing now."
                )
            report_once(self, message, message)

        # First that this is inside a training: whatever fails below, a problem is then reported and not raised.
        metrics.begin_evaluation(n_samples=None, name=name, on_problem=on_problem)
        dataset = getattr(dataloader, "dataset", None)
        column = metrics.references_column
        references = inputs = None
        try:
            found = None if column is None else _column(column, raw_dataset, dataset)
            if found is not None and not _are_texts(found):
                self._say_once(
                    f"no texts {name}",
                    f"the column {column!r} of {name or 'the evaluation set'!r} does not hold a text or a list of "
                    "texts a sample: scored against the labels.",
                )
                found = None
            if _in_order(dataloader):
                references = found
                inputs = _input_reader(dataset, tokenizer)
            elif found is not None:
                report_once(
                    self,
                    "order",
                    "the evaluation does not go through its data set in order (group_by_length, an own sampler), "
                    f"so the column {column!r} cannot be matched to the predictions: scored against the labels, and "
                    "predictions.jsonl has no inputs.",
                )
        except Exception as error:  # noqa: BLE001 - reading a data set runs the user's code
            report_once(
                self,
                "dataset",
                f"references and inputs cannot be read from the evaluation set ({described(error)}); "
                "scored against the labels.",
            )
        if references is not None:
            self._say_once(
                f"column {name}",
                f"{name or 'the evaluation set'!r} is scored against its column {column!r}, not against the labels "
                "(TextMetrics(references_column=None): against the labels).",
            )
        metrics.begin_evaluation(
            n_samples=length_of(dataset),
            inputs=inputs,
            references=references,
            references_from=f"column {column!r}",
            name=name,
            ending=_ending(args, model),
            on_problem=on_problem,
        )

    def _say_once(self, topic: str, message: str) -> None:
        """Log what the user should be able to find, but need not be warned about."""
        reported: set[str] = self.__dict__.setdefault("_reported", set())
        if topic not in reported:
            reported.add(topic)
            log.info("hf_monitor: %s", message)

    @guarded
    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """At the first batch of an evaluation: the data loader is seen here, before ``compute_metrics`` is called."""
        loader = kwargs.get("eval_dataloader")
        if loader is not self._loader:
            self.begin_evaluation(args, loader, tokenizer=kwargs.get("processing_class"), model=kwargs.get("model"))

    @guarded
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record scores and texts of an evaluation."""
        self._loader = None
        if metrics is not None and state.is_world_process_zero:
            recorder = self._open(args, kwargs.get("model"))
            recorder.values(self, "evaluate", "eval", state, metrics)
            self._texts(recorder, args, state, metrics)

    @guarded
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record scores and texts of ``trainer.predict()``."""
        self._loader = None
        if metrics is not None and state.is_world_process_zero:
            recorder = self._open(args, kwargs.get("model"))
            recorder.values(self, "predict", "predict", state, metrics)
            self._texts(recorder, args, state, metrics, predict=True)

    @guarded
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave in the checkpoint what the best score is so far, unless another callback has."""
        if state.is_world_process_zero:
            self._open(args, kwargs.get("model")).save(args, state)

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end of the training, unless another callback has."""
        if state.is_world_process_zero and self._recorder is not None:
            self._recorder.end(state)

    def _texts(self, recorder: Recorder, args: Any, state: Any, metrics: dict[str, Any], predict: bool = False) -> None:
        text_metrics = self.text_metrics
        last = None if text_metrics is None else text_metrics.last
        if last is None and all(any(name.endswith(f"_{key}") for name in metrics) for key in _OWN_KEYS):
            report_once(
                self,
                "unlinked",
                "the scores of this evaluation look like TextMetrics', but the one that made them is not known here: "
                "its texts are not in predictions.jsonl, and samples that several processes score twice are not cut. "
                "Name it: attach(trainer, text_metrics=...) or default_callbacks(run_dir, text_metrics=...).",
            )
        if text_metrics is None or last is None or last is self._written:  # a failing evaluation has none
            return
        self._written = last
        step, outside = state.global_step, recorder.outside(state)
        name = _prefix_of(metrics, text_metrics.keys) or last.name or ("test" if predict else "eval")
        if self._signed.get(name) != last.signature:
            self._signed[name] = last.signature
            recorder.writer.update_facts({"text_metrics": self._signed})
        summary: dict[str, Any] = {
            "name": name,
            "n_samples": last.n_samples,
            "sampled": last.sampled,
            "counts": last.counts,
            **last.scores,
            "texts": last.texts,
            **outside,
        }
        if by_language := last.by_language:
            summary["by_language"] = by_language
        if not predict and "weights_step" not in outside:
            self._keep_best(args, step, name, metrics, last.scores["score"])
            summary["best"] = self.best
        recorder.writer.row("text_scores", step, summary)
        head = {"step": step, "name": name, **outside}
        more = self.sample_values or []
        if more and len(more) < last.n_samples:
            report_once(self, "confidence", f"{len(more)} confidences for {last.n_samples} texts: they are left out.")
            more = []
        rows = ({**head, **row, **(more[row["index"]] if more else {})} for row in last.rows())
        recorder.writer.rows("predictions.jsonl", rows)

    def _keep_best(self, args: Any, step: int, name: str, metrics: dict[str, Any], score: float) -> None:
        wanted, greater = args.metric_for_best_model, True
        if wanted is None:
            self._first_set = self._first_set or name
            metric, value = "score", score if name == self._first_set else None
        else:
            key = wanted if wanted.startswith("eval_") else f"eval_{wanted}"  # as the Trainer looks it up
            metric, value, greater = key.removeprefix(f"{name}_"), metrics.get(key), bool(args.greater_is_better)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return
        best = None if self.best is None else self.best["value"]
        if best is None or (value > best if greater else value < best):
            self.best = {"name": name, "metric": metric, "value": value, "step": step}
        if self._recorder is not None:
            self._recorder.kept["text_metrics"] = {"best": self.best, "first_set": self._first_set}


def _prefix_of(metrics: dict[str, Any], keys: Sequence[str]) -> str:
    """Find the prefix that the Trainer gave the metrics of this evaluation."""
    for key in keys:
        for name in metrics:
            if name.endswith(f"_{key}"):
                return name.removesuffix(f"_{key}")
    return ""


def _column(name: str, *datasets: Any) -> Any:
    """Read a column from the first data set that has it, past any transform of the user's."""
    for dataset in datasets:
        columns = getattr(dataset, "column_names", None)
        if isinstance(columns, list) and name in columns:
            return dataset.with_format(None)[name][:]
    return None


def _are_texts(column: Sequence[Any]) -> bool:
    """Say whether each sample holds a text or a list of texts (some may be missing), as references are."""
    entries = [entry if isinstance(entry, list) else [entry] for entry in column]
    texts = [text for entry in entries for text in entry if text is not None]
    return bool(texts) and all(isinstance(text, str) for text in texts)


def _ending(args: Any, model: Any) -> Ending | None:
    """Tell how the model ends a text, as its generation settings and the Trainer's arguments have it."""
    settings = getattr(model, "generation_config", None)
    if settings is None:
        return None
    ends = settings.eos_token_id
    end_ids = tuple(int(one) for one in ends) if isinstance(ends, list | tuple) else (ends,)
    limit = None
    if getattr(settings, "forced_eos_token_id", None) is not None:
        new = settings.max_new_tokens
        limit = getattr(args, "generation_max_length", None) or (settings.max_length if new is None else new + 1)
    return Ending(tuple(one for one in end_ids if isinstance(one, int)), limit)


def _input_reader(dataset: Any, tokenizer: Any) -> Callable[[int], str] | None:
    """Make a function that gives the text of a sample's input, as the model saw it."""
    columns = getattr(dataset, "column_names", None)
    if tokenizer is None or not isinstance(columns, list) or "input_ids" not in columns:
        return None
    plain = dataset.with_format(None)  # a transform of the user's may draw random numbers

    def read(index: int) -> str:
        return str(tokenizer.decode(plain[index]["input_ids"], skip_special_tokens=True))

    return read

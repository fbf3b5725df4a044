"""What of a table of runs is a hyperparameter, what is the score, and what is neither."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hf_monitor.charts.scales import is_drawable
from hf_monitor.errors import InputError, NothingToDraw

__all__ = [
    "NOT_TUNED",
    "NOT_TUNED_BEGINNINGS",
    "amount",
    "as_rows",
    "is_batch_trial",
    "is_run_trial",
    "parameters_of",
    "plain_value",
    "score_column",
]

NOT_TUNED = frozenset(
    {
        *("output_dir", "overwrite_output_dir", "run_name", "project", "report_to", "resume_from_checkpoint"),
        # Runs that differ in their seed alone are repeats of one configuration: the seed is luck, nothing to choose.
        *("seed", "data_seed", "full_determinism"),
        *("do_train", "do_eval", "do_predict", "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
        *("prediction_loss_only", "predict_with_generate", "batch_eval_metrics", "label_names", "length_column_name"),
        *("disable_tqdm", "debug", "local_rank", "use_cpu", "no_cuda", "skip_memory_metrics", "ignore_data_skip"),
        *("remove_unused_columns", "restore_callback_states_from_checkpoint", "jit_mode_eval", "mp_parameters"),
    }
)
"""Arguments of a training that are not hyperparameters."""

NOT_TUNED_BEGINNINGS = (
    *("logging_", "log_", "eval_", "save_", "hub_", "push_to_hub", "trackio_", "dataloader_", "ddp_", "include_"),
    *("per_device_eval_", "per_gpu_", "tpu_", "torch_compile", "_"),
)

_SCORES = ("value", "values_0", "objective", "score")
_NO_COLUMNS = frozenset(
    {
        *("number", "trial", "trial_id", "run", "run_id", "run_name", "name", "state", "status", "seed", "data_seed"),
        *("time", "datetime_start", "datetime_complete", "duration", "attempt", "kind", "step", "epoch", "index"),
        *("train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos"),
        *("output_dir", "run_dir", "path", "system_attrs", "user_attrs", "intermediate_values", *_SCORES),
    }
)
_NO_COLUMN_BEGINNINGS = ("eval_", "test_", "predict_", "values_", "user_attrs_", "system_attrs_")


def as_rows(data: Any, what: str) -> list[Mapping[str, Any]]:
    """Take rows from a list of mappings or a data frame; an Optuna study gives its trials.

    Parameters
    ----------
    data : iterable of mapping, DataFrame, or Study
    what : str
        Its name, for the error.

    Raises
    ------
    InputError
        If it is something else.
    """
    if callable(getattr(data, "trials_dataframe", None)):
        data = data.trials_dataframe()
    if hasattr(data, "columns") and hasattr(data, "to_dict"):
        return [{str(key): value for key, value in row.items()} for row in data.to_dict("records")]
    wanted = "a list of mappings or a DataFrame"
    if isinstance(data, str | bytes | Mapping) or not hasattr(data, "__iter__"):
        raise InputError(f"{what} must be {wanted}, got {type(data).__name__}: {what}=[{{...}}, {{...}}].")
    rows = list(data)
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"{what} must be {wanted}; its item {number} is {type(row).__name__}: {str(row)[:60]!r}.")
    return rows


def amount(value: Any, name: str, number: int) -> float | None:
    """Give a number from 0 on; None where there is none, or one that cannot be drawn.

    Raises
    ------
    InputError
        If it is something else.
    """
    value = value.item() if hasattr(value, "item") else value
    if value is None or (isinstance(value, int | float) and not value < 0 and not is_drawable(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InputError(
            f"{name} of row {number} must be a number from 0, got {value!r}. Mend the row, or leave it out."
        )
    return float(value)


def is_batch_trial(row: Mapping[str, Any]) -> bool:
    """Tell a row of ``trials.jsonl``: a batch size, and whether it fits or what it took."""
    return "batch_size" in row and not {"fits", "out_of_memory", "peak_bytes"}.isdisjoint(row)


def is_run_trial(row: Mapping[str, Any], metric: str | None = None) -> bool:
    """Tell a row of a search of hyperparameters: hyperparameters by name, or a score."""
    if any(isinstance(row.get(key), Mapping) for key in ("params", "hyperparameters")):
        return True
    return any(key.startswith("params_") or key in _SCORES or key == metric for key in row)


def score_column(rows: Sequence[Mapping[str, Any]], metric: str | None) -> str:
    """Find the column of the score.

    Raises
    ------
    InputError
        If there is none, or nobody can say which of several.
    NothingToDraw
        If there is no row.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise NothingToDraw("there is no run: pass runs with hyperparameters and a score.")
    if metric is not None:
        found = [name for name in (metric, f"eval_{metric}") if name in names]
    else:
        found = [name for name in _SCORES if name in names][:1]
        evaluations = [name for name in names if name.startswith("eval_")]
        if not found and len(evaluations) == 1:
            found = evaluations
    if not found:
        wanted = f"no column {metric!r}" if metric is not None else "no column says that it is the score"
        raise InputError(f"{wanted} (there are: {', '.join(map(str, names[:12]))}). Pass metric= with its name.")
    return found[0]


def parameters_of(row: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Give the hyperparameters of a row, with plain values.

    Parameters
    ----------
    row : mapping
    column : str
        The column of the score.
    """
    for key in ("params", "hyperparameters"):
        nested = row.get(key)
        if isinstance(nested, Mapping):
            return {str(name): plain_value(value) for name, value in nested.items() if name not in NOT_TUNED}
    tuned = {name.removeprefix("params_"): value for name, value in row.items() if name.startswith("params_")}
    if not tuned:
        tuned = {
            name: value
            for name, value in row.items()
            if name != column and name not in _NO_COLUMNS and not name.startswith(_NO_COLUMN_BEGINNINGS)
        }
    return {name: plain_value(value) for name, value in tuned.items() if name not in NOT_TUNED}


def plain_value(value: Any) -> Any:
    """Give a hyperparameter as a plain value: NaN is None, a number too large to be drawn is infinite."""
    value = value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float) and not is_drawable(value):
        return math.inf if value > 0 else -math.inf
    return value if isinstance(value, bool | int | float | str) else str(value)

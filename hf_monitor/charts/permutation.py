"""Which hyperparameters the score depends on: scikit-learn's permutation importance on held-out runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_monitor.charts.sweep import Sweep

__all__ = ["FEWEST", "Importance", "is_logarithmic", "permutation_importance_of"]

FOLDS = 5
FEWEST = 2 * FOLDS
"""Fewest configurations: shuffling a column of the held-out runs needs at least two of them in each of five folds."""
SPLITS = 3
SHUFFLES = 5
_TREES = 20


@dataclass
class Importance:
    """Permutation importances of a sweep.

    Attributes
    ----------
    names : list of str
        Hyperparameters, the most important first; those that always changed together are one, joined by `` = ``.
    values : list of list of float
        For each name the drop of the held-out R² when its values are shuffled among the held-out runs: one number for
        each of ``SPLITS`` splits into folds and ``SHUFFLES`` shuffles.
    r2 : list of float
        Held-out R² of the model, one a split. At 0 it predicts no better than the mean does.
    n_runs, n_configurations : int
    """

    names: list[str]
    values: list[list[float]]
    r2: list[float]
    n_runs: int
    n_configurations: int

    @property
    def means(self) -> list[float]:
        """Mean importance of each name."""
        return [sum(values) / len(values) for values in self.values]

    @property
    def mean_r2(self) -> float:
        """Mean held-out R²."""
        return sum(self.r2) / len(self.r2)


def is_logarithmic(values: Sequence[Any]) -> bool:
    """Tell whether numbers want a logarithmic scale: all above 0, the largest at least 10 times the least."""
    found = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(found) == len(values) > 0 and min(found) > 0 and max(found) / min(found) >= 10


def permutation_importance_of(sweep: Sweep) -> Importance:
    """Compute permutation importances (Breiman 2001, "Random Forests"; ``sklearn.inspection.permutation_importance``).

    On the runs that a model was fitted on they flatter, so each model (extremely randomized trees, Geurts et al. 2006)
    is fitted on four fifths of the configurations and asked about the others; runs that differ in their seed alone are
    on the same side. The drop is that of the squared error over all folds, in units of the variance of the score, so it
    is the drop of the held-out R², and at most about twice that. Numbers are taken by their rank, so that their scale
    does not matter; texts as codes in one column.

    Parameters
    ----------
    sweep : Sweep
        At least ``FEWEST`` configurations, scores that are not all equal.

    Returns
    -------
    Importance
        The same each time.
    """
    import numpy as np
    from sklearn import config_context
    from sklearn.inspection import permutation_importance

    joined = _joined(sweep)
    # float32 is what the trees compare in; of ranks it loses nothing.
    x = np.array([column for _, column in joined], dtype=np.float32).T.copy()
    y = np.array([run.score for run in sweep.runs])
    y = (y - y.mean()) / y.std()
    groups = np.array(sweep.configurations)
    n_groups = int(groups.max()) + 1

    def minus_squared_error(model: _Trees, rows: Any, scores: Any) -> float:
        return -float(((model.predict(rows) - scores) ** 2).mean())

    drops = np.zeros((len(joined), SPLITS, SHUFFLES))
    r2 = []
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(n_groups)
        error = 0.0
        for fold in range(FOLDS):
            held = np.isin(groups, order[fold::FOLDS])
            model = _Trees(split * FOLDS + fold).fit(x[~held], y[~held])
            share = held.sum() / len(y)
            error -= share * minus_squared_error(model, x[held], y[held])
            with config_context(skip_parameter_validation=True):
                found = permutation_importance(
                    *(model, x[held], y[held]),
                    scoring=minus_squared_error,
                    n_repeats=SHUFFLES,
                    random_state=split * FOLDS + fold,
                )
            drops[:, split] += share * found.importances
        r2.append(1.0 - float(error))
    values = drops.reshape(len(joined), -1)
    ranked = sorted(range(len(joined)), key=lambda index: (-values[index].mean(), joined[index][0]))
    return Importance(
        [joined[index][0] for index in ranked],
        [[float(value) for value in values[index]] for index in ranked],
        r2,
        len(sweep.runs),
        n_groups,
    )


class _Trees:
    """Extremely randomized trees, as those of ``ExtraTreesRegressor``, which takes several times as long."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.trees: list[Any] = []

    def fit(self, rows: Any, scores: Any) -> _Trees:
        from sklearn import config_context
        from sklearn.tree import ExtraTreeRegressor

        with config_context(skip_parameter_validation=True):
            self.trees = [
                ExtraTreeRegressor(random_state=1000 * self.seed + number).fit(rows, scores, check_input=False)
                for number in range(_TREES)
            ]
        return self

    def predict(self, rows: Any) -> Any:
        import numpy as np

        rows = np.ascontiguousarray(rows, dtype=np.float32)
        return sum(tree.tree_.predict(rows)[:, 0] for tree in self.trees) / len(self.trees)


def _joined(sweep: Sweep) -> list[tuple[str, list[float]]]:
    """Give a column of numbers for each hyperparameter; those that cannot be told apart share one."""
    found: dict[tuple[int, ...], list[str]] = {}
    columns: dict[tuple[int, ...], list[float]] = {}
    for name, values in sweep.varied.items():
        column = _encoded(values)
        pattern = _pattern(values)
        if len(set(pattern)) == len(pattern):  # no value comes twice: then only the same order means anything
            ranks = {value: rank for rank, value in enumerate(sorted(column))}
            pattern = tuple(ranks[value] for value in column)
            pattern = min(pattern, tuple(len(pattern) - 1 - rank for rank in pattern))
            pattern = (-1, *pattern)
        found.setdefault(pattern, []).append(name)
        columns.setdefault(pattern, column)
    return [(" = ".join(names), columns[pattern]) for pattern, names in found.items()]


def _pattern(values: Sequence[Any]) -> tuple[int, ...]:
    """Give in which runs the values are the same, whatever they are."""
    codes: dict[Any, int] = {}
    return tuple(codes.setdefault((isinstance(value, bool | str), value), len(codes)) for value in values)


def _encoded(values: Sequence[Any]) -> list[float]:
    there = [value for value in values if value is not None]
    if all(isinstance(value, bool | int | float) for value in there):
        ranks = {value: float(rank) for rank, value in enumerate(sorted(set(there)))}
        missing = -float(len(ranks))  # apart from all that have one
        return [missing if value is None else ranks[value] for value in values]
    codes = {text: float(code) for code, text in enumerate(sorted({str(value) for value in values}))}
    return [codes[str(value)] for value in values]

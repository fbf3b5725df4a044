"""Run: what is in a run folder, read without torch, whether the run is finished, still going or dead."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import orjson

from hf_monitor.errors import InputError, RunFolderError, did_you_mean
from hf_monitor.run.amounts import duration, number
from hf_monitor.run.better import greater_is_better as is_greater_better
from hf_monitor.run.better import is_direction_known
from hf_monitor.run.bulk import collector_paused, row_blocks, rows_backwards
from hf_monitor.run.ending import Ending, Outcome, Status, ending_of, outcome_of
from hf_monitor.run.lineage import Lost, merge
from hf_monitor.run.nearby import near_runs
from hf_monitor.run.odd import has_known_form
from hf_monitor.run.process import is_alive
from hf_monitor.run.ranks import read_rank_samples, read_ranks, time_of
from hf_monitor.run.run_json import FORMAT, number_of
from hf_monitor.run.signals import read_traces, was_cleared
from hf_monitor.run.views import (
    NEITHER_WAY,
    Curve,
    curve_of,
    html_tables,
    in_order_of_interest,
    last_and_best,
    metric_names,
    rows_by_step,
    trained_seconds,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Best", "Curve", "Rows", "Run", "load_run"]

_T = TypeVar("_T")
_P = ParamSpec("_P")

_MOST_SHOWN = 12

_KEPT_AS = {
    "metrics.jsonl": "rows",
    "predictions.jsonl": "predictions",
    "system.jsonl": "system",
    "trials.jsonl": "trials",
}


class Best(NamedTuple):
    """The best value of a metric, and where it was reached."""

    value: float
    step: int
    attempt: int


class Rows(list[dict[str, Any]]):
    """A list of rows that can become a data frame."""

    def __repr__(self) -> str:
        return f"<{len(self)} rows: {', '.join(f'{n} {kind}' for kind, n in self.kinds.items()) or 'none'}>"

    if not TYPE_CHECKING:

        def __getitem__(self, index: Any) -> Any:
            try:
                return list.__getitem__(self, index)
            except TypeError:
                if isinstance(index, str):
                    raise TypeError(f"rows are a list of dicts: .column({index!r}) gives one value a row") from None
                raise

    @property
    def kinds(self) -> dict[str, int]:
        """How many rows of each kind there are, for :meth:`of`.

        Examples
        --------
        >>> Rows([{"kind": "train"}, {"kind": "eval"}, {"kind": "train"}]).kinds
        {'train': 2, 'eval': 1}
        """
        return dict(Counter(str(row.get("kind", "row")) for row in self))

    def to_pandas(self) -> pd.DataFrame:
        """Give the rows as a :class:`pandas.DataFrame`, a column a key."""
        import pandas as pd

        return pd.DataFrame(list(self))

    def of(self, kind: str) -> Rows:
        """Give the rows of one kind: ``"train"``, ``"eval"``, ``"train_summary"``, ``"predict"``, ``"fold"`` ...

        None for a kind that is not there; :attr:`kinds` has those that are.
        """
        return Rows([row for row in self if row.get("kind") == kind])

    def column(self, name: str) -> list[Any]:
        """Give what each row has under a name; None where it has nothing.

        Examples
        --------
        >>> Rows([{"step": 1, "loss": 2.5}, {"step": 2}]).column("loss")
        [2.5, None]
        """
        return [row.get(name) for row in self]

    def by_step(self, *kinds: str) -> Rows:
        """Put what was logged and evaluated at the same step into one row, for a data frame of a line a step.

        Parameters
        ----------
        *kinds : str
            Kinds of rows; ``"train"`` and ``"eval"`` by default. Where two have one key the earlier row's value stays.

        Returns
        -------
        Rows
            Ascending in the step, without evaluations outside of the training; ``kind`` and ``time`` are left out.

        Examples
        --------
        >>> rows = [{"kind": "train", "step": 1, "loss": 2.5}, {"kind": "eval", "step": 1, "eval_loss": 2.25}]
        >>> list(Rows(rows).by_step())
        [{'step': 1, 'loss': 2.5, 'eval_loss': 2.25}]
        """
        return Rows(rows_by_step(self, kinds or ("train", "eval")))


def _coping(make: Callable[Concatenate[Run, _P], _T]) -> Callable[Concatenate[Run, _P], _T]:
    """Make an answer cope with rows that somebody else wrote: where they are in its way, it is given without them.

    To look at each row before would cost a tenth of the reading; hardly any run has such rows.
    """

    @wraps(make)
    def made(run: Run, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return make(run, *args, **kwargs)
        except (TypeError, ValueError, AttributeError, OverflowError):
            if not run._sift():
                raise
            return make(run, *args, **kwargs)

    return made


class Run:
    """A run folder, read. Files are read when first asked for, and once; make a new ``Run`` to see later rows.

    Rows are not copied: :attr:`rows`, :attr:`metrics` and :attr:`events` hold the same dicts, each time they are asked
    for. Copy one before you change it.

    Parameters
    ----------
    path : path-like
        The run folder. Use :func:`load_run`, which checks it.

    Attributes
    ----------
    broken_lines : dict of str to int
        Lines that could not be read, by file (a run that was killed leaves at most one); known once a file was read.
    odd_rows : int
        Rows of ``metrics.jsonl`` whose step, time, attempt, kind or name is of another form than hf_monitor writes.
        Only :attr:`rows` has them; 0 until they are in the way of something that is asked for.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.broken_lines: dict[str, int] = {}
        self.odd_rows = 0
        self._sizes: dict[str, int] = {}  # bytes that were read, by file

    def __repr__(self) -> str:
        return f"<Run {str(self.path)!r}: {self.ending}, {len(self.attempts)} attempt(s), step {self.last_step}>"

    @property
    def name(self) -> str:
        """Name of the folder; of one that is called ``monitor``, as by default, that of its ``output_dir``."""
        path = self.path.resolve()  # the same, through whatever link it was asked for
        return path.parent.name if path.name == "monitor" and path.parent.name else path.name

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` holds: command, arguments, model, data, git, packages, devices, precision, seed."""
        try:
            facts = orjson.loads((self.path / "run.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    @cached_property
    @_coping
    def training_facts(self) -> dict[str, Any]:
        """The :attr:`facts` as the latest attempt that trained had them: its command, arguments, data, git ...

        They differ from ``facts`` where another process only evaluated into the folder afterwards.
        """
        if not any(entry.get("facts") for entry in self.attempts):  # all had the same
            return self.facts
        trained = [
            number_of(row)
            for row in self.events
            if row.get("event") == "train_begin" or (row.get("event") == "error" and not row.get("during"))
        ]
        attempt = max(trained, default=self._trained_attempt())
        facts = dict(self.facts)
        for entry in sorted(self.attempts, key=number_of, reverse=True):
            own = entry.get("facts")
            if number_of(entry) >= attempt and isinstance(own, dict):
                facts.update(own)
        return facts

    @property
    def config(self) -> dict[str, Any]:
        """The training arguments of the latest attempt that trained."""
        arguments = self.training_facts.get("arguments")
        return arguments if isinstance(arguments, dict) else {}

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """One entry for each attempt: number, time, host, process."""
        attempts = self.facts.get("attempts")
        return [entry for entry in attempts if isinstance(entry, dict)] if isinstance(attempts, list) else []

    @cached_property
    def rows(self) -> Rows:
        """Every row of ``metrics.jsonl`` in the order written, all attempts."""
        return self._read("metrics.jsonl")

    @cached_property
    def _sound(self) -> Rows:
        """What everything is told from: all rows, until odd ones are in the way."""
        return self.rows

    def _sift(self) -> bool:
        """Leave odd rows out; False where there are none (any more)."""
        kept = Rows(row for row in self._sound if has_known_form(row))
        if len(kept) == len(self._sound):
            return False
        for name in ("training_facts", "metrics", "lost", "_merged", "events", "last_step", "ending", "_ranks"):
            vars(self).pop(name, None)  # made of rows some of which do not count any more
        self._sound, self.odd_rows = kept, len(self.rows) - len(kept)
        return True

    @cached_property
    def metrics(self) -> Rows:
        """Training, evaluation and summary rows, each (kind, step) once.

        A later attempt wins: a training that was resumed at step S goes on from what the attempt that saved the
        checkpoint had up to S, one that began anew leaves nothing of the earlier ones. An evaluation or prediction
        outside of ``train()`` (``standalone`` is true in its row) takes no row's place: it may have had other data, or
        other weights (``weights_step``). ``rows`` has them all.
        """
        return Rows(self._merged[0])

    @cached_property
    def lost(self) -> Rows:
        """Rows of steps that were taken after the last checkpoint and then done again by a resumed attempt.

        Each has ``lost_to``, the number of that attempt. They stand in ``rows`` too, and not in ``metrics``.
        """
        return Rows({**row, "lost_to": attempt} for row, attempt in self._merged[1])

    @property
    def lost_steps(self) -> list[Lost]:
        """Steps that were done again, logged or not: from which to which, of which attempt, and which attempt did so.

        As far as rows and events tell: of a process that was killed the steps after its last row are not known.
        """
        return self._merged[2]

    @cached_property
    @_coping
    def _merged(self) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], int]], list[Lost]]:
        rows = self._sound
        with collector_paused():
            return merge(rows)

    @cached_property
    def predictions(self) -> Rows:
        """Evaluated texts of all evaluations and attempts: input, references, prediction and scores."""
        return self._read("predictions.jsonl")

    def latest_predictions(self, name: str = "eval") -> Rows:
        """Give the texts of the latest evaluation of that name, each once.

        Parameters
        ----------
        name : str
            As in the rows: ``"eval"``, ``"eval_korean"``, ``"test"`` ...

        Returns
        -------
        Rows
            Empty where there was none.
        """
        if "predictions" in vars(self):
            return Rows(_latest_texts(reversed(self.predictions), name))
        try:
            return Rows(_latest_texts(rows_backwards(self.path / "predictions.jsonl"), name))
        except FileNotFoundError:
            return Rows()

    @cached_property
    @_coping
    def system(self) -> Rows:
        """Samples of GPU, processor and memory, in the order of time; of ranks above 0 those of their own processes."""
        own = self._read("system.jsonl")
        others = read_rank_samples(self.path, self._begins)
        return Rows(sorted([*own, *others], key=time_of)) if others else own

    @cached_property
    def trials(self) -> Rows:
        """Trials of batch sizes."""
        return self._read("trials.jsonl")

    def iter_rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a file one by one, in the order written, without keeping them all in memory.

        Parameters
        ----------
        name : str
            ``"metrics.jsonl"``, ``"predictions.jsonl"``, ``"system.jsonl"`` or ``"trials.jsonl"``. Of
            ``"system.jsonl"`` they come as in :attr:`system`, with the samples of other ranks.

        Examples
        --------
        >>> run = load_run("out/monitor")  # doctest: +SKIP
        >>> max(row["power_w"] for row in run.iter_rows("system.jsonl") if "power_w" in row)  # doctest: +SKIP
        349.1
        """
        kept = _KEPT_AS.get(name, "")
        if kept in vars(self) or (kept == "system" and any(self.path.glob("system.rank*.jsonl"))):
            yield from getattr(self, kept)
            return
        broken = 0
        try:
            for rows, n_broken, _ in row_blocks(self.path / name):
                yield from rows
                broken += n_broken
        except FileNotFoundError:
            pass
        self.broken_lines[name] = broken

    @cached_property
    def events(self) -> Rows:
        """Events: train_begin, save, train_end, error ..."""
        return self._sound.of("event")

    @cached_property
    @_coping
    def last_step(self) -> int:
        """The highest step of the latest attempt that trained; 0 where nothing was logged."""
        attempt = self._trained_attempt()
        return max((row.get("step") or 0 for row in self._sound if row.get("attempt") == attempt), default=0)

    def _trained_attempt(self) -> int:
        """Give the latest attempt that trained or tried to, else the latest of all; 0 where there is none."""
        trained = [row for row in self.events if row.get("event") in ("train_begin", "error")]
        return max((row.get("attempt") or 0 for row in trained or self._sound), default=0)

    @property
    def status(self) -> Status:
        """How the latest attempt that trained stands; an evaluation of its own afterwards does not change that.

        ``finished``: its training ended, or there only were evaluations. ``crashed``: an error, or a fault in C code.
        ``interrupted``: Ctrl-C. ``terminated``: SIGTERM and its like. Where none of this was left, the process decides:
        ``running`` when it lives (same boot, same pid, same start), ``killed`` when it is gone, ``unknown`` when it ran
        on another machine or in another container. :attr:`ending` says more.
        """
        return self.ending.status

    @cached_property
    @_coping
    def ending(self) -> Ending:
        """What ended the training: status, rank, step, time, type and message of the error, traceback."""
        found = self._judged()
        if found.status == "killed":  # the process is gone: its last words may have come after we had read
            again = Run(self.path)
            if self._is_all("metrics.jsonl"):
                again.rows, again._sound = self.rows, self._sound
            found = again._judged()
        return found

    def _judged(self) -> Ending:
        attempt = self._trained_attempt()
        found = [entry for entry in self.attempts if entry.get("attempt") == attempt] or self.attempts[-1:]
        entry: dict[str, Any] = found[0] if found else {}
        rows = [row for row in self._sound if row.get("attempt") == attempt]
        events = {row.get("event") for row in rows if row.get("kind") == "event"}
        if self._sound and not events & {"train_begin", "error"}:
            return Ending("finished", 0, max((row.get("step") or 0 for row in rows), default=0))

        def judge(rank: int, rows: list[dict[str, Any]], identity: dict[str, Any]) -> Outcome:
            stems = [str(row["signals"]) for row in rows if row.get("signals")]
            traces = read_traces(self.path, stems[-1]) if stems else []

            def alive(last: float) -> bool | None:
                found = is_alive(identity, last) if "pid" in identity else None
                # Gone, but it has cleared its files for signals away: it came to an end that it could not write.
                return None if found is False and stems and was_cleared(self.path, stems[-1]) else found

            return outcome_of(rank, rows, traces, alive)

        others = self._ranks.get(attempt, {})
        ahead = {rank: own for rank, own in self._ranks.get(0, {}).items() if own[0].get("time", 0.0) > _latest(rows)}
        if ahead:  # a launch in which rank 0 had not begun when another one failed
            return ending_of([judge(rank, own, own[0]) for rank, own in sorted(ahead.items())])
        return ending_of([judge(0, rows, entry), *(judge(rank, own, own[0]) for rank, own in sorted(others.items()))])

    @cached_property
    def _ranks(self) -> dict[int, dict[int, list[dict[str, Any]]]]:
        return read_ranks(self.path, self._begins)

    @property
    def _begins(self) -> list[dict[str, Any]]:
        launches = [(entry.get("attempt"), entry.get("launch")) for entry in self.attempts]
        return [
            {**row, "launch": next((launch for attempt, launch in launches if attempt == row.get("attempt")), None)}
            for row in self.events
            if row.get("event") == "train_begin"
        ]

    @_coping
    def best(self, metric: str, *, greater_is_better: bool | None = None) -> Best | None:
        """Find the best value of a metric during training; in evaluations outside of it only where there is no other.

        Parameters
        ----------
        metric : str
            As it stands in the rows: ``"eval_rougeL"``.
        greater_is_better : bool, optional
            By default as the training arguments say of their ``metric_for_best_model``, else by the name: False for a
            loss, perplexity, error, WER, CER and the like.

        Returns
        -------
        Best or None
            None where the metric was never a finite number.
        """
        greater = is_greater_better(metric, self.config) if greater_is_better is None else greater_is_better
        rows = [row for row in self.metrics if metric in row and _is_finite(row[metric])]
        rows = [row for row in rows if not row.get("standalone")] or rows
        if not rows:
            return None
        best = (max if greater else min)(rows, key=lambda row: row[metric])  # the first of equals
        return Best(best[metric], best.get("weights_step", best.get("step", 0)), best.get("attempt", 0))

    @_coping
    def curve(self, metric: str) -> Curve:
        """Give a metric over the steps of the training; of evaluations outside of it only where there is no other.

        Parameters
        ----------
        metric : str
            As it stands in the rows: ``"loss"``, ``"eval_rougeL"``; :attr:`metric_names` has them all.

        Returns
        -------
        Curve
            ``steps`` and ``values``, two lists of one length, empty where it was never a number; a NaN stays a NaN.

        Examples
        --------
        >>> steps, values = run.curve("eval_rougeL")  # doctest: +SKIP
        >>> plt.plot(steps, values)  # doctest: +SKIP
        """
        return curve_of(self.metrics, metric)

    @property
    @_coping
    def metric_names(self) -> list[str]:
        """Names of what was a finite number, for :meth:`best` and :meth:`curve`.

        Examples
        --------
        >>> [name for name in run.metric_names if "rouge" in name]  # doctest: +SKIP
        ['eval_rouge1', 'eval_rouge2', 'eval_rougeL']
        """
        return metric_names(self.metrics)

    @property
    @_coping
    def duration_seconds(self) -> float | None:
        """How long the training took, or has taken: all attempts together, without the time between them.

        An attempt that was killed counts up to its last row. None where nothing was trained.

        Examples
        --------
        >>> run.duration_seconds / 3600  # doctest: +SKIP
        1.7
        """
        return trained_seconds(self._sound)

    def _repr_html_(self) -> str:
        """Show a notebook how the run stands, and the last and the best value of each metric."""
        seconds, whole = self.duration_seconds, self.training_facts.get("max_steps")
        of = ""
        if type(whole) is int and whole >= self.last_step > 0:
            of = f" of {whole} ({100 * self.last_step // whole} %)"
        facts = [("status", str(self.ending)), ("attempts", str(len(self.attempts))), ("step", f"{self.last_step}{of}")]
        facts += [] if seconds is None else [("trained for", duration(seconds))]
        lines, more = self._last_and_best()
        facts += [("shown", f"{len(lines)} metrics, and there are {more} more: .metric_names")] if more else []
        return html_tables(str(self.path), facts, ("metric", "last", "best", "at step"), lines)

    @_coping
    def _last_and_best(self) -> tuple[list[tuple[str, ...]], int]:
        """Give the first metrics: last value, best one where one way is good; and how many are left."""
        names = in_order_of_interest(self.metrics, self.config)
        lines: list[tuple[str, ...]] = []
        for name, (last, best) in last_and_best(self.metrics, names[:_MOST_SHOWN], self.config).items():
            if best is None or name in NEITHER_WAY or not is_direction_known(name, self.config):
                lines.append((name, number(last.value), "", ""))
            else:
                lines.append((name, number(last.value), number(best.value), f"{best.step:,}"))
        return lines, max(len(names) - len(lines), 0)

    def _read(self, name: str) -> Rows:
        found = Rows()
        self.broken_lines[name] = self._sizes[name] = 0
        try:
            with collector_paused():
                for rows, n_broken, n_bytes in row_blocks(self.path / name):
                    found += rows
                    self.broken_lines[name] += n_broken
                    self._sizes[name] += n_bytes
        except FileNotFoundError:
            pass
        return found

    def _is_all(self, name: str) -> bool:
        """Whether nothing was written to a file since it was read."""
        try:
            return (self.path / name).stat().st_size == self._sizes.get(name)
        except OSError:
            return False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


def load_run(path: str | os.PathLike[str]) -> Run:
    """Open a run folder for reading.

    Parameters
    ----------
    path : path-like
        The run folder (``run.json`` lies in it), or the Trainer's ``output_dir`` with the run folder ``monitor`` in it.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If `path` is no path.
    RunFolderError
        If there is no such folder, no run in it, or one that a newer hf_monitor wrote.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"a run is given by its folder, got {path!r} ({type(path).__name__}).")
    folder = Path(path).expanduser()
    if not folder.exists():
        near = did_you_mean(str(folder), near_runs(folder))
        raise RunFolderError(
            f"there is no run folder {str(folder)!r}.{near} Pass the folder that was given to attach()."
        )
    if folder.suffix.lower() == ".zip" and folder.is_file():
        raise RunFolderError(
            f"{str(folder)!r} is an archive; a run is a folder. Unpack it, and pass the folder that this makes: "
            f"python -m zipfile -e {shlex.quote(str(folder))} ."
        )
    if not folder.is_dir():
        raise RunFolderError(f"{str(folder)!r} is a file; a run is a folder. Pass the folder that the file lies in.")
    if not _has_run(folder):
        inner = folder / "monitor"
        if not _has_run(inner):
            if any(folder.glob("rank*.jsonl")) or any(inner.glob("rank*.jsonl")):
                raise RunFolderError(
                    f"{str(folder)!r} holds the logs of one node of a launch of several; the run itself is in the "
                    "folder of the same name on the node of rank 0. Copy the rank files there, or read that one."
                )
            inside = [one for one in _folders(folder) if _has_run(one) or _has_run(one / "monitor")]
            if inside:
                names = ", ".join(repr(str(one)) for one in inside[:4]) + (" ..." if len(inside) > 4 else "")
                raise RunFolderError(f"{str(folder)!r} is not a run folder, but has runs in it. Pass one: {names}.")
            there = sorted(entry.name for entry in folder.iterdir())
            shown = ", ".join(there[:8]) + (" ..." if len(there) > 8 else "") if there else "nothing"
            raise RunFolderError(
                f"{str(folder)!r} is not a run folder: run.json and metrics.jsonl are missing (found: {shown}). "
                "Pass the folder that was given to attach(); by default it is <output_dir>/monitor."
            )
        folder = inner
    run = Run(folder)
    written = run.facts.get("format", FORMAT)
    if not isinstance(written, int) or written > FORMAT:
        raise RunFolderError(
            f"the run folder {str(folder)!r} has format {written!r}, this hf_monitor reads up to format {FORMAT}. "
            "Update it: pip install -U hf-monitor"
        )
    return run


def _latest(rows: list[dict[str, Any]]) -> float:
    return max((row.get("time") or 0.0 for row in rows), default=0.0)


def _latest_texts(rows: Iterable[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Find the texts of the latest evaluation among rows that come from the last to the first, and put them in order.

    They were written together and share their time. Two processes may have written to one file at the same time: only
    an earlier evaluation of the same attempt tells that there are no more.
    """
    found: list[dict[str, Any]] = []
    for row in rows:
        if row.get("name") != name:
            continue
        if not found or row.get("time") == found[0].get("time"):
            found.append(row)
        elif found[0].get("time") is not None and row.get("attempt") == found[0].get("attempt"):
            break
    return found[::-1]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def _has_run(folder: Path) -> bool:
    if (folder / "metrics.jsonl").is_file():
        return True
    facts = Run(folder).facts  # other programs have a run.json, too
    return "run_id" in facts or "format" in facts

"""WandBLogger: a loop of one's own in a run folder, and the same in W&B."""

from __future__ import annotations

import atexit
import operator
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hf_monitor.errors import InputError
from hf_monitor.loggers.console import say
from hf_monitor.loggers.error_facts import error_facts
from hf_monitor.loggers.levels import INFO
from hf_monitor.loggers.mirror import orders
from hf_monitor.loggers.mirror.identity import mirrored_runs
from hf_monitor.loggers.mirror.link import Link
from hf_monitor.loggers.mirror.wishes import Wishes, require_wandb, switched_off
from hf_monitor.run.rows import plain
from hf_monitor.run.run_json import rows_on_disk
from hf_monitor.run.writer import RunWriter

__all__ = ["WandBLogger"]

_LEVELS = ("INFO", "WARN", "ERROR")
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".svg")
_ODD = re.compile(r"[^\w.-]+")  # in the name of a file


class WandBLogger:
    """Record any loop in a run folder, and show the same in W&B.

    What is logged is in the folder when the call returns; a process of its own tells W&B, and the loop waits for
    nothing. Without a network or a key the files of an offline run are in the folder, too. Where a run of ``wandb`` is
    open already, that one is told, by a thread, and it stays open. On several processes make it in the first one only.

    Parameters
    ----------
    project_name : str, optional
        Of W&B; by default what ``WANDB_PROJECT`` says.
    config : mapping, argparse.Namespace or dataclass, optional
        Hyperparameters. Secrets in it are masked.
    run_dir : path-like, optional
        The run folder; by default ``wandb/hf_monitor-<time>-<id>`` within ``WANDB_DIR``, or within the working folder.
    run : wandb.Run, optional
        An open run to tell.
    name, entity, group, notes, job_type : str, optional
        As ``wandb.init`` takes them.
    tags : sequence of str
    resume : bool
        Whether to go on in the W&B run that `run_dir` had last; where it had none, one begins.
    settings : mapping, optional
        For ``wandb.Settings``.

    Attributes
    ----------
    run_dir : Path
    id : str
        Of the W&B run; empty where W&B is switched off.
    url : str or None
        Of the W&B run; None before it is known, and offline.

    Raises
    ------
    InputError
        If something given cannot be used; also from the methods.
    MissingPackageError
        If wandb is not installed.
    RunFolderError
        If the folder cannot be written. Later nothing raises because of the disk, or of W&B.

    Examples
    --------
    >>> with WandBLogger("summaries", {"learning_rate": 3e-4}) as logger:  # doctest: +SKIP
    ...     for step in range(1, 101):
    ...         logger.log({"loss": train_one(step)}, step)
    ...     logger.log_summary({"best_rouge": 0.41})
    """

    def __init__(
        self,
        project_name: str | None = None,
        config: Any = None,
        *,
        run_dir: str | os.PathLike[str] | None = None,
        run: Any = None,
        name: str | None = None,
        entity: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        notes: str | None = None,
        job_type: str | None = None,
        resume: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        wishes = Wishes(
            project=project_name,
            config=config,
            run=run,
            name=name,
            entity=entity,
            tags=tags,
            group=group,
            notes=notes,
            job_type=job_type,
            settings=settings,
            rewrite=False,
            given={"project": "project_name"},
        )
        if run_dir is not None and (not isinstance(run_dir, str | os.PathLike) or not os.fspath(run_dir)):
            raise InputError(f"run_dir must be the path of a folder, got {run_dir!r}.")
        if resume and run_dir is None:
            raise InputError("resume=True goes on in an earlier run: name its folder (run_dir=...).")
        off = switched_off(settings)
        if not off and run is None:
            require_wandb("WandBLogger")
        self.run_dir = (Path(run_dir).expanduser() if run_dir is not None else _new_folder()).absolute()
        self._writer = RunWriter(self.run_dir)
        self._writer.open()
        before = rows_on_disk(self.run_dir) if resume else []
        known = mirrored_runs(self.run_dir)
        steps = [row["step"] for row in before if row.get("kind") == "log" and isinstance(row.get("step"), int)]
        self._step = max(steps, default=-1)  # the largest so far
        self._last = self._step
        self._link = Link(self._writer, wishes)
        self._done = False
        self._pid = os.getpid()
        config = wishes.config
        self._writer.begin_attempt({"arguments": dict(config)} if config else {})
        self._writer.event("train_begin", max(self._step, 0))
        if off:
            say(f"hf_monitor: W&B: {off}; recording to {self.run_dir}", INFO)
        else:
            self._link.open(resumed=resume)
            new = "; resume=True found none to go on in, and a new one begins" if resume and not known else ""
            say(f"hf_monitor: recording to {self.run_dir}, W&B run {self._link.id}{new}", INFO)
        atexit.register(self._at_exit)

    @property
    def id(self) -> str:
        """Of the W&B run."""
        return self._link.id

    @property
    def url(self) -> str | None:
        """Of the W&B run; None before it is known, and offline."""
        return self._link.url

    def __repr__(self) -> str:
        return f"<WandBLogger recording to {str(self.run_dir)!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        orderly = isinstance(error, SystemExit) and error.code in (None, 0)
        if error is None or orderly or isinstance(error, GeneratorExit):
            self.finish(0)
        else:
            self._end(1, error)

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Record values at a step: one row of kind ``log``, which W&B shows under the same names.

        Parameters
        ----------
        values : mapping of str to object
            Numbers, texts, lists; tensors and arrays are recorded as what they hold. NaN stays NaN.
        step : int, optional
            By default one more than the largest so far; the first is 0.
        """
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise InputError(f'log() takes a mapping of names to values, such as {{"loss": 0.5}}; got {values!r:.200}.')
        for name, value in values.items():
            if type(value).__module__.partition(".")[0] in ("wandb", "PIL") or _is_figure(value):
                raise InputError(
                    f"log() records numbers and texts, got {type(value).__name__} for {name!r}: pictures go to "
                    "log_image(), tables to log_table()."
                )
        step = self._at(step, self._step + 1)
        self._check_open()
        self._writer.row("log", step, values)
        self._last = step
        self._step = max(self._step, step)

    def _at(self, step: Any, default: int) -> int:
        if step is None:
            return max(default, 0)
        try:
            found = operator.index(step)
        except TypeError:
            found = -1
        if found < 0 or isinstance(step, bool):
            raise InputError(f"step must be a whole number from 0 on, got {step!r}.")
        return found

    def _check_open(self) -> None:
        if self._done:
            raise InputError(f"this WandBLogger has finished. WandBLogger(run_dir={str(self.run_dir)!r}, resume=True).")

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Set values that stand for the run as a whole: ``best_rouge``, ``total_time`` ..."""
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise InputError(f"log_summary() takes a mapping of names to values, got {values!r:.200}.")
        self._check_open()
        self._link.values(orders.summary, values)

    def log_image(self, name: str, path_or_figure: Any, step: int | None = None) -> None:
        """Show a picture.

        Parameters
        ----------
        name : str
        path_or_figure : path-like, matplotlib.figure.Figure or PIL.Image.Image
            It is copied into ``media`` of the run folder, as it is now.
        step : int, optional
            By default that of the last row.
        """
        _named(name)
        step = self._at(step, self._last)
        self._check_open()
        try:
            kept = self._kept(name, path_or_figure, step)
        except OSError as error:
            self._link.say("image", f"the picture {name!r} cannot be kept: {error.strerror or error}")
            return
        self._link.order(orders.images({name: kept}, step))

    def _kept(self, name: str, given: Any, step: int) -> Path:
        media = self.run_dir / "media"
        stem = f"{_ODD.sub('_', name)}-{step}"
        if isinstance(given, str | os.PathLike):
            source = Path(given).expanduser()
            if not source.is_file():
                raise InputError(f"log_image(): there is no file {str(source)!r}.")
            if source.suffix.lower() not in _PICTURES:
                raise InputError(f"log_image() takes pictures ({', '.join(_PICTURES)}), got {source.name!r}.")
            place = _free(media, stem, source.suffix.lower())
            shutil.copyfile(source, place)
            return place
        if _is_figure(given):
            place = _free(media, stem, ".png")
            given.savefig(place, format="png", bbox_inches="tight")
            return place
        if callable(getattr(given, "save", None)) and hasattr(given, "size"):
            place = _free(media, stem, ".png")
            given.save(place, "PNG")
            return place
        raise InputError(
            f"log_image() takes the path of a picture, a matplotlib Figure or a PIL Image, got {type(given).__name__}."
        )

    def log_table(
        self, name: str, rows: Iterable[Any], columns: Sequence[str] | None = None, *, step: int | None = None
    ) -> None:
        """Show a table: predictions, say.

        Parameters
        ----------
        name : str
        rows : iterable of mapping or of sequence, or pandas.DataFrame
            With `columns` each row holds their values; without, each one is a mapping.
        columns : sequence of str, optional
        step : int, optional
            By default that of the last row.
        """
        _named(name)
        if hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # a DataFrame; pandas is not imported for it
            columns = list(rows.columns) if columns is None else columns
            rows = rows.to_dict("records")
        if isinstance(rows, str | bytes | Mapping):
            raise InputError(f"log_table() takes a list of rows, got {type(rows).__name__}.")
        heads, found = _table(list(rows), columns)
        step = self._at(step, self._last)
        self._check_open()
        self._link.order(orders.table(name, heads, plain(found), step))

    def log_checkpoint(
        self, folder: str | os.PathLike[str], aliases: Sequence[str] = (), *, name: str | None = None
    ) -> None:
        """Keep a checkpoint's files as an artifact of type ``model``; large ones are linked, not copied.

        The folder may be deleted when this returns. What is written into a large file in its place later may be sent.

        Parameters
        ----------
        folder : path-like
        aliases : sequence of str
            ``"best"``, say.
        name : str, optional
            Of the artifact; ``model-<id>`` by default.
        """
        place = Path(folder).expanduser() if isinstance(folder, str | os.PathLike) else None
        if place is None or not place.is_dir() or not any(place.iterdir()):
            raise InputError(f"log_checkpoint() takes a folder with the files of a checkpoint, got {folder!r}.")
        if isinstance(aliases, str) or not all(isinstance(alias, str) and alias for alias in aliases):
            raise InputError(f'aliases must be a list of texts, such as ["best"]; got {aliases!r}.')
        self._check_open()
        if not self._link.is_open:  # switched off: nobody would take it away again
            return
        try:
            self._link.checkpoint(place, aliases, max(self._last, 0), name=name or "")
        except OSError as error:
            self._link.say("checkpoint", f"{str(place)!r} is not sent to W&B: {error.strerror or error}")

    def alert(self, title: str, text: str = "", level: str = "WARN") -> None:
        """Send an alert (e-mail or Slack, as the user's W&B settings say); `level`: INFO, WARN or ERROR."""
        if level not in _LEVELS:
            raise InputError(f"level is one of {', '.join(_LEVELS)}, got {level!r}.")
        _named(title, "title")
        self._check_open()
        self._link.order(orders.alert(title, str(text), level))

    def finish(self, exit_code: int | None = None) -> None:
        """End the recording, and wait up to 6 s (60 s while a checkpoint moves) for W&B; the rest goes on alone.

        Parameters
        ----------
        exit_code : int, optional
            Other than 0: the run failed.
        """
        self._end(exit_code, None)

    def _end(self, exit_code: int | None, error: BaseException | None) -> None:
        if self._done or self._pid != os.getpid():
            return
        self._done = True
        atexit.unregister(self._at_exit)
        step = max(self._step, 0)
        if error is not None:
            self._writer.event("error", step, **error_facts(error, self._writer.mask))
        elif exit_code:
            self._writer.event("error", step, type="SystemExit", message=f"exit code {exit_code}", traceback="")
        else:
            self._writer.event("train_end", step)
        self._writer.flush(last=True)
        self._link.drain()
        self._link.finish(exit_code)
        self._writer.close()

    def _at_exit(self) -> None:
        """End it for who has not; Python leaves the error that ended a script in :mod:`sys`."""
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        self._end(None, None if hasattr(sys, "ps1") else error)


def _new_folder() -> Path:
    parent = Path(os.environ.get("WANDB_DIR") or ".") / "wandb"
    return parent.expanduser() / f"hf_monitor-{time.strftime('%Y%m%d_%H%M%S')}-{secrets.token_hex(3)}"


def _is_figure(value: Any) -> bool:
    return callable(getattr(value, "savefig", None))


def _named(name: Any, what: str = "name") -> None:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{what} must be a text that is not empty, got {name!r}.")


def _free(folder: Path, stem: str, suffix: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    place, number = folder / f"{stem}{suffix}", 1
    while place.exists():
        number += 1
        place = folder / f"{stem}-{number}{suffix}"
    return place


def _table(rows: list[Any], columns: Sequence[str] | None) -> tuple[list[str], list[list[Any]]]:
    if columns is None:
        if not rows or not all(isinstance(row, Mapping) for row in rows):
            raise InputError("log_table() takes a list of mappings, or rows and columns=[names]; there must be one.")
        heads = list(dict.fromkeys(str(name) for row in rows for name in row))
        return heads, [[row.get(name) for name in heads] for row in rows]
    heads = [str(name) for name in columns]
    found = [[row.get(name) for name in heads] if isinstance(row, Mapping) else list(row) for row in rows]
    wrong = next((row for row in found if len(row) != len(heads)), None)
    if wrong is not None:
        raise InputError(
            f"log_table(): there are {len(heads)} columns, and a row of {len(wrong)} values: {wrong!r:.200}."
        )
    return heads, found

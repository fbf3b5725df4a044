"""Applier: tells an open wandb run what is in a run folder, whichever process or thread it is in.

Nothing of it raises: what wandb refuses is one note for each kind of trouble, and the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_monitor.loggers.mirror.artifacts import Artifacts
from hf_monitor.loggers.mirror.endresult import config_of, final_summary
from hf_monitor.loggers.mirror.media import free_name, ordered_page, ordered_pictures, said, table
from hf_monitor.loggers.mirror.prediction_table import table_of
from hf_monitor.loggers.mirror.spec import STEP_AXIS, MirrorSpec
from hf_monitor.loggers.mirror.translate import HIDDEN, fit, plain_value, single_values, size, translate
from hf_monitor.run.secrets import SecretMask

__all__ = ["SLOTS", "Applier"]

SLOTS = 10
"""W&B steps a line of ``metrics.jsonl``: the row has the first, the others are for pictures and tables after it."""
_WANDB_LEVELS = {"error": "ERROR", "warning": "WARN"}
_FRESH_S = 3600.0  # an alert that is older rings nobody any more
_FOLDED = ("event", "alert", "text_scores")  # kinds of rows that would crowd out the charts, and the summary
_LONGEST_TITLE = 63  # characters; wandb's own limit
_DEFINED = frozenset((STEP_AXIS, *HIDDEN))
_NO_SERVER = ("AuthenticationError", "CommError")  # wandb 0.31 says of a server that is gone that the key is not taken
_MOST_NAMES = 2000  # of metrics without a prefix that get the axis
_SUMMARY_VALUE_BYTES = 100_000  # a longer one is in the history only: the summary is one line of 10 MB at most
_SUMMARY_BYTES = 4_000_000  # of all values that are no number


class Applier:
    """Tells an open wandb run.

    Parameters
    ----------
    run : wandb.Run
        Never finished here.
    spec : MirrorSpec
    numbered : bool
        Whether the run is the mirror's own: then ``_step`` is made of the line's number, the same whoever sends it and
        whenever. False for a run that the user has opened: wandb counts, and what the user has set in its config stays.
    first_line : int
        Rows up to this line of ``metrics.jsonl`` are there already: the last ``_step`` that W&B has // SLOTS, less
        `base`.
    first_slot : int
        The last ``_step`` that W&B has % SLOTS.
    base : int
        Lines that the W&B run has of elsewhere (another run folder, or the user himself): ours are counted from there.

    Attributes
    ----------
    notes : list of str
        What could not be told, and why; once for each kind of trouble.
    line : int
        Number of the last line that was told.
    global_step : int or None
        Step of its row.
    missed : int
        Rows that came when the user had finished his run.
    """

    def __init__(
        self, run: Any, spec: MirrorSpec, *, numbered: bool, first_line: int = 0, first_slot: int = 0, base: int = 0
    ) -> None:
        self.run = run
        self.spec = spec
        self.notes: list[str] = []
        self.line = first_line
        self.global_step: Any = None
        self.missed = 0
        self._base = base
        self._first_line = first_line
        self._slot = first_slot
        self._numbered = numbered
        self._crowded: set[str] = set()  # names in the last slot of a line
        self._defined: set[str] = set()
        self._in_summary: dict[str, int] = {}  # bytes of what is no number
        self._noted: set[str] = set()
        self._scores: dict[str, Any] = {}
        self._own_config: set[str] = set()
        self._mask = SecretMask.of_process()
        self._artifacts = Artifacts(run, self._note)

    @property
    def step(self) -> int:
        """The last ``_step`` that was told, where we number them."""
        return SLOTS * (self._base + self.line) + self._slot

    @property
    def is_over(self) -> bool:
        """Whether the user has finished his run: nothing more can be told."""
        return not self._numbered and getattr(self.run, "_is_finished", False) is True

    def define(self) -> None:
        """Tell W&B the axis, and the config as far as the run folder has it."""

        def axis() -> None:
            self.run.define_metric(STEP_AXIS, hidden=True)
            for name in HIDDEN:
                self.run.define_metric(name, hidden=True, summary="none")

        self._guarded("the axis of the charts cannot be set", axis)
        self._guarded("the config cannot be told", self._configure)

    def _configure(self) -> None:
        self._set_config(config_of(self.spec))

    def _set_config(self, values: Mapping[str, Any]) -> None:
        config = self._mask.values(plain_value(values))
        if not self._numbered or self.spec.users:
            config = {k: v for k, v in config.items() if k in self._own_config or k not in self.run.config}
            self._own_config |= config.keys()
        self.run.config.update(config, allow_val_change=True)

    def row(self, line_number: int, row: Mapping[str, Any]) -> None:
        """Tell a row; one that is there already, or is of an attempt of another W&B run, is passed over.

        Parameters
        ----------
        line_number : int
            In ``metrics.jsonl``, from 1.
        row : mapping
            Decoded: :func:`hf_monitor.run.rows.decode_line`.
        """
        if line_number <= self._first_line or row.get("attempt") not in self.spec.attempts:
            return
        if not self.is_over:
            self._guarded("a row cannot be told", lambda: self._tell(line_number, row))
        if self.is_over and self.line != line_number:
            self.missed += 1

    def _tell(self, line_number: int, row: Mapping[str, Any]) -> None:
        values = translate(row, rewrite=self.spec.rewrite)
        if self.spec.attempts_before:
            values["attempt"] = row["attempt"] + self.spec.attempts_before
        kind = row.get("kind")
        self._guarded("a name has no axis", lambda: self._define(values, hidden=kind in _FOLDED))
        if self._numbered:
            self.line, self._slot = line_number, 0
            self.run.log(values, step=self.step, commit=True)
        else:
            self.run.log(values, commit=True)
            self.line = line_number
        self.global_step = row.get("step")
        if kind == "alert":
            self._alert_of(row)
        elif kind == "train_summary":
            self.run.summary.update(single_values(row))
        elif kind == "eval":
            self._scores |= {
                name: value
                for name, value in values.items()
                if name.startswith("eval/") and isinstance(value, int | float)
            }

    def _define(self, values: Mapping[str, Any], *, hidden: bool = False) -> None:
        """Give names the axis when they first come.

        Of two patterns that fit a name wandb takes either, by chance: so there is none for all of them.
        """
        for name in values:
            head, slash, _ = name.partition("/")
            pattern = f"{head}/*" if slash else name.replace("\\", "\\\\").replace(".", "\\.")
            if name in _DEFINED or name.startswith("_") or pattern in self._defined or len(self._defined) > _MOST_NAMES:
                continue
            self._defined.add(pattern)
            kept = {"hidden": True, "summary": "none"} if hidden else {}
            self.run.define_metric(pattern, step_metric=STEP_AXIS, **kept)
        for name, value in values.items():
            if isinstance(value, str | list | dict) and name not in _DEFINED and self._is_too_much(name, value):
                self._defined.add(name)
                escaped = name.replace("\\", "\\\\").replace(".", "\\.")
                self.run.define_metric(escaped, step_metric=STEP_AXIS, summary="none", hidden=hidden or None)

    def _is_too_much(self, name: str, value: Any) -> bool:
        """Whether the last value of a name is not to be in the summary, with what is there already."""
        bytes_ = self._in_summary[name] = max(size(value), self._in_summary.get(name, 0))
        too_much = bytes_ > _SUMMARY_VALUE_BYTES or sum(self._in_summary.values()) > _SUMMARY_BYTES
        if too_much:
            self._in_summary[name] = 0
        return too_much

    def _alert_of(self, row: Mapping[str, Any]) -> None:
        level = _WANDB_LEVELS.get(str(row.get("severity")))
        told = row.get("time")
        if level is None or (isinstance(told, int | float) and time.time() - told > _FRESH_S):
            return
        text = str(row.get("sentence") or "")
        if row.get("suggestions"):
            text += f"\nTry: {'; '.join(map(str, row['suggestions']))}"
        self._alert(f"hf_monitor: {row.get('rule')}", text, level)

    def _alert(self, title: str, text: str, level: str) -> None:
        self.run.alert(title=title[:_LONGEST_TITLE], text=text, level=level)

    def _show(self, values: Mapping[str, Any], step: Any) -> None:
        """Log media into the free slots after the last row; the last one takes all that is left."""
        if not values:
            return
        self._guarded("a name has no axis", lambda: self._define(values))
        told = {**values, **({} if step is None else {STEP_AXIS: step})}
        if not self._numbered:
            self.run.log(told, commit=True)
            return
        if self._slot < SLOTS - 1:
            self._slot += 1
            self._crowded = set()
        elif again := sorted(self._crowded & values.keys()):
            self._note("of pictures with one name and no row between them only the last is shown", ", ".join(again))
        self._crowded |= values.keys()
        self.run.log(told, step=self.step, commit=self._slot < SLOTS - 1)

    def _table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: Any) -> None:
        name = free_name(name)
        shown = table(columns, rows)
        try:
            self._show({name: shown}, step)
        except Exception as error:  # noqa: BLE001 - the policy: wandb sends a table as an artifact, too, and has no server
            gone = type(error).__name__ in _NO_SERVER
            why = "the server does not answer as it should; the file goes when it does" if gone else said(error)
            self._note("a table is sent as a file only, not as an artifact", why)
            shown = table(columns, rows)
            shown.bind_to_run(self.run, name, self.step)
            self._show({name: shown}, step)

    def predictions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show the texts of one evaluation as a table ``predictions/<name>``.

        Parameters
        ----------
        rows : sequence of mapping
            Of ``predictions.jsonl``, one attempt, step and name. At most ``spec.most_predictions`` are shown, evenly
            spread; the summary says of how many (``predictions_shown``).
        """
        if not rows or not self.spec.most_predictions or rows[0].get("attempt") not in self.spec.attempts:
            return

        def show() -> None:
            name = str(rows[0].get("name", "eval"))
            columns, data = table_of(rows, self.spec.most_predictions)
            self._table(f"predictions/{name}", columns, data, rows[0].get("step"))
            if len(data) < len(rows):
                told = f"{len(data):,} of {len(rows):,}, evenly spread; predictions.jsonl has all"
                self.run.summary.update({f"predictions_shown/{name}": told})

        self._guarded("the predictions cannot be shown", show)

    def order(self, order: Mapping[str, Any], sent: Callable[[], None] = lambda: None) -> None:
        """Do what an order says (``orders.py``); a missing file is a note. `sent`: when a checkpoint is in W&B."""
        known: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "images": lambda order: self._show(ordered_pictures(order, self._note), order.get("step")),
            "html": lambda order: self._show(ordered_page(order, self._note), order.get("step")),
            "table": lambda order: self._table(order["name"], order["columns"], order["rows"], order.get("step")),
            "checkpoint": lambda order: self._artifacts.send(order, plain_value(self._scores), sent),
            "summary": lambda order: self.run.summary.update(fit(plain_value(order["values"]))),
            "config": lambda order: self._set_config(order["values"]),
            "alert": lambda order: self._alert(str(order["title"]), str(order["text"]), str(order["level"])),
        }
        kind = str(order.get("do"))
        if kind in known:
            self._guarded(f"{_WORDS[kind]} cannot be sent", lambda: known[kind](order))
        else:
            self._note(f"an order of an unknown kind ({kind!r}) is passed over", "another hf_monitor wrote it")

    def logs(self, text: str) -> None:
        """Add lines to the Logs tab."""
        if text:
            self._guarded("the log cannot be told", lambda: self.run.write_logs(text))

    @property
    def unsent(self) -> str:
        """Which checkpoint could not be sent, and why."""
        return self._artifacts.failed

    def drop(self) -> None:
        """Try nothing again: the run is no longer open."""
        self._artifacts.drop()

    def pending(self) -> int:
        """Tell how many checkpoints are still being sent."""
        return self._artifacts.pending()

    def hand_over(self, seconds: float) -> bool:
        """Wait until wandb has been given all checkpoints; what sends them is then its business."""
        return self._artifacts.hand_over(seconds)

    def settle(self, seconds: float) -> bool:
        """Wait until all checkpoints are sent (offline: written down); what was staged is deleted as it is sent.

        To be called before the run is finished, or they are lost.

        Returns
        -------
        bool
            False where time ran out.
        """
        return self._artifacts.settle(seconds)

    def close(self, run_dir: Path | None = None) -> None:
        """Tell the final summary (:func:`~hf_monitor.loggers.mirror.endresult.final_summary`), and facts come late.

        Parameters
        ----------
        run_dir : Path, optional
            That of the spec by default.
        """
        folder = self.spec.folder if run_dir is None else Path(run_dir)
        self._guarded("the config cannot be told", self._configure)
        self._guarded(
            "the final summary cannot be told",
            lambda: self.run.summary.update(plain_value(final_summary(folder, self.spec.attempts))),
        )

    def _guarded(self, trouble: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the policy: whatever wandb raises is a note, the training goes on
            self._note(trouble, said(error))

    def _note(self, trouble: str, why: str) -> None:
        if trouble not in self._noted and not self.is_over:
            self._noted.add(trouble)
            self.notes.append(self._mask.text(f"{trouble}: {why}"))


_WORDS = {
    "images": "pictures",
    "html": "a page",
    "table": "a table",
    "checkpoint": "a checkpoint",
    "summary": "a summary",
    "config": "a config",
    "alert": "an alert",
}

"""``hf-monitor watch``: a run on its way, in the terminal."""

from __future__ import annotations

import argparse
import math
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import RunFolderError, did_you_mean
from hf_monitor.run.nearby import near_runs

if TYPE_CHECKING:
    from rich.text import Text

    from hf_monitor.report.watch.follow import Follower

__all__ = ["add_watch", "run_watch"]

_WELL, _ENDED, _WRONG_USAGE = 0, 1, 2
_LIVE_SECONDS, _LINE_SECONDS = 1.0, 10.0
_LOOK_SECONDS = 1.0  # without a terminal too: an end is told soon, whatever the interval of the lines
_GRACE_SECONDS = 4.0  # so soon a launcher begins anew what died
_LONGEST = 3600.0


def add_watch(commands: Any) -> None:
    """Add the command to the parser of ``hf-monitor``."""
    parser = commands.add_parser(
        "watch",
        help="follow a run on its way",
        description=(
            "Show how a training goes on: progress and time left, metrics with their curves, GPU, alerts, and how it "
            "ended. It reads what the run appends and writes nothing. A run that is not there yet is waited for. "
            "Without a terminal (a pipe, a log) it prints a plain line where something changed. docs/watch.md"
        ),
        epilog="Ends with the training. Exit code: 0 it finished (or goes on, with --once), 1 it ended otherwise, "
        "2 wrong usage, or no run with --once, 130 after Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the run folder, or the output_dir it lies in")
    parser.add_argument(
        "--interval",
        type=_interval,
        metavar="SECONDS",
        help=f"how often to show it anew (default: {_LIVE_SECONDS:g}; without a terminal {_LINE_SECONDS:g})",
    )
    parser.add_argument("--once", action="store_true", help="show it once, and end")
    parser.add_argument("--follow", action="store_true", help="do not end with the training: wait for it to be resumed")
    parser.add_argument(
        "--metric", nargs="+", default=[], metavar="NAME", help="metrics to show, such as eval_loss eval_rougeL"
    )
    parser.set_defaults(command=run_watch)


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= _LONGEST:  # also for nan
        raise argparse.ArgumentTypeError(f"must be a number of seconds, 0.1 to {_LONGEST:g}, got {text!r}")
    return seconds


def run_watch(options: argparse.Namespace) -> int:
    """Do the command, and give its exit code.

    Parameters
    ----------
    options : argparse.Namespace
        Of `add_watch`.

    Raises
    ------
    HfMonitorError
        If what is at the path is no run and will not become one; with ``--once`` also if there is none yet.
    KeyboardInterrupt
        After Ctrl-C; the terminal is as it was.
    """
    from hf_monitor.report.watch.follow import Follower
    from hf_monitor.report.watch.screen import is_live

    watch = _Watch(Follower(options.run), options)
    try:
        if options.once:
            watch.once()
        elif is_live(sys.stdout):
            watch.live()
        else:
            watch.plain()
    except BrokenPipeError:  # the reader has what it wanted
        pass
    except RunFolderError:  # an OSError too, but of the run, not of the view
        raise
    except OSError as error:
        print(f"hf-monitor: error: the view cannot be written: {error}", file=sys.stderr)
        return _WRONG_USAGE
    return _WELL if watch.follower.state.ending.status in ("finished", "running", "unknown") else _ENDED


class _Watch:
    def __init__(self, follower: Follower, options: argparse.Namespace) -> None:
        self.follower = follower
        self.metrics: Sequence[str] = options.metric
        self.follow: bool = options.follow
        self.interval: float | None = options.interval
        self._ended_at: float | None = None
        self._was_running = False
        self._near: str | None = None  # a question for which its neighbours were looked through

    def once(self) -> None:
        """Print the view as it is now."""
        from hf_monitor.report.watch.screen import printed
        from hf_monitor.run.reader import load_run

        load_run(self.follower.path)  # says what is wrong, where there is no run
        self.follower.look()
        if sys.stdout is not None:
            printed(self._lines(whole=True), sys.stdout)

    def live(self) -> None:
        """Paint the view on the terminal until the training ends."""
        from rich.text import Text

        from hf_monitor.report.watch.screen import Screen, printed

        with Screen(sys.stdout) as screen:

            def tell(share: float) -> None:
                screen.paint([Text(f"reading what is there: {100 * share:.0f} %")])

            while True:
                self.follower.look(tell)
                screen.paint(self._lines())
                if self._is_over():
                    break
                time.sleep(self.interval or _LIVE_SECONDS)
        printed(self._lines(whole=True), sys.stdout)

    def plain(self) -> None:
        """Print a line where something changed, until the training ends."""
        from hf_monitor.report.watch.view import plain_line
        from hf_monitor.report.words import moment

        interval = self.interval or _LINE_SECONDS
        state, told, before, at = None, 0, None, -math.inf
        while True:
            self.follower.look()
            if state is not self.follower.state:  # also where the file is another one now
                state, told = self.follower.state, sum(self.follower.state.alert_counts.values())
            over = self._is_over()
            alerts = sum(state.alert_counts.values())
            urgent = (self.follower.folder, state.ending.status, state.attempt, state.n_evaluations, alerts)
            now = (*urgent, state.last_time, self.follower.problem)
            due = time.monotonic() - at >= interval or before is None or urgent != before[: len(urgent)]
            if now != before and (due or over):
                for alert in list(state.alerts)[max(len(state.alerts) - (alerts - told), 0) :] if alerts > told else ():
                    self._print(f"{moment(alert.time)}  {alert.severity} at step {alert.step:,.0f}: {alert.sentence}")
                line = self._wanted() or self.follower.problem or plain_line(state, time.time())
                self._print(f"{moment(time.time())}  {line}")
                told, before, at = alerts, now, time.monotonic()
            if over:
                return
            time.sleep(min(interval, _LOOK_SECONDS))

    @staticmethod
    def _print(line: str) -> None:
        from hf_monitor.gpu.report_text import encodable, one_line

        if sys.stdout is not None:
            print(encodable(one_line(line, 500), sys.stdout), flush=True)

    def _is_over(self) -> bool:
        status = self.follower.state.ending.status
        if self.follow or self.follower.folder is None or status in ("running", "unknown"):
            self._was_running = self._was_running or self.follower.folder is not None
            self._ended_at = None
            return False
        if status == "finished" or not self._was_running:
            return True
        if self._ended_at is None:
            self._ended_at = time.monotonic()
        return time.monotonic() - self._ended_at >= _GRACE_SECONDS

    def _wanted(self) -> str:
        """Say what is waited for; empty once there is a run."""
        if self.follower.folder is not None:
            return ""
        path = self.follower.path
        there = "nothing is there yet" if not path.exists() else "the folder is there, no run in it yet"
        if not path.exists():
            if self._near is None:
                self._near = did_you_mean(str(path), near_runs(path))
            return f"waiting for a run in {str(path)!r} ({there}){'.' if self._near else ''}{self._near}"
        if any(path.glob("rank*.jsonl")) or any((path / "monitor").glob("rank*.jsonl")):
            there = "only files of ranks above 0 are there: the run is in the folder of that name on the node of rank 0"
        return f"waiting for a run in {str(path)!r} ({there})"

    def _lines(self, *, whole: bool = False) -> list[Text]:
        from rich.text import Text

        from hf_monitor.gpu.report_text import one_line
        from hf_monitor.report.watch.screen import has_blocks, size_of
        from hf_monitor.report.watch.view import Look, lines

        columns, rows = size_of(sys.stdout)
        wanted = self._wanted()
        if wanted:
            return [Text(line) for line in textwrap.wrap(one_line(wanted), max(columns, 10))][:rows]
        follower = self.follower
        notes = [follower.problem] if follower.problem else []
        if follower.broken_lines:
            notes.append(f"lines that cannot be read: {follower.broken_lines}")
        look = Look(columns, None if whole else rows, has_blocks(sys.stdout), self.metrics)
        assert follower.folder is not None
        return lines(follower.state, time.time(), look, name=_name(follower.folder), notes=notes)


def _name(folder: Path) -> str:
    """Give the name of a run: of its output_dir, where the folder has the usual one."""
    folder = folder.absolute()
    return folder.parent.name if folder.name == "monitor" else folder.name

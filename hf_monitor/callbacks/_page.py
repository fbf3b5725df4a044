"""The report of a run, from a training's own process: owed from the first news on, until it is written."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from hf_monitor.callbacks._exit import before_exit, no_more_before_exit
from hf_monitor.callbacks._report import described
from hf_monitor.loggers.apart import how_it_ended, start_apart
from hf_monitor.loggers.mirror.spec import ORDERS
from hf_monitor.run.trouble import reason_of
from hf_monitor.run.writer import RunWriter

__all__ = ["Page", "take_away"]

log = logging.getLogger("hf_monitor")

MOST_BYTES = 48 * 2**20
"""Of rows that are read in the training's own process; more of them are read in another."""
LIMIT_S = 60.0
"""A report in a process of its own that takes longer is given up."""

_QUICK_S, _QUICK_BYTES = 0.5, 8 * 2**20
_SHARE = 10.0  # after a writing that took a second, so many go by without one
_LONGEST_REASON = 300  # characters
_OURS = b"style-src 'sha256-"  # in the policy that each page of ours begins with


def take_away(run_dir: Path) -> None:
    """Take ``report.html`` of an earlier training away: what it says is no longer true of the folder. Never raises.

    If this training is killed there is none, rather than one that says "finished"; ``hf-monitor report`` makes it. A
    file that is no page of ours stays; so does a link, without what it leads to.
    """
    path = run_dir / "report.html"
    try:
        with path.open("rb") as file:
            if _OURS in file.read(1024):
                path.resolve().unlink()
    except (FileNotFoundError, IsADirectoryError):
        return
    except OSError as error:
        log.warning("hf_monitor: %s is of an earlier training, and cannot be taken away: %s.", path, reason_of(error))


class Page:
    """``report.html`` of a run folder.

    Whoever adds to the folder owes a page; it is written at the end of the training, at an evaluation after it, or when
    the process ends. A failure is one line in the log.

    Parameters
    ----------
    writer : RunWriter
        Of the folder.

    Attributes
    ----------
    path : Path
        Where it is written.
    owed : bool
        Whether there is something that it does not say yet.
    is_linked : bool
        Whether where it is will be shown elsewhere, and is not to be printed.
    """

    def __init__(self, writer: RunWriter) -> None:
        self.path = writer.run_dir / "report.html"
        self.owed = self.is_linked = False
        self._writer = writer
        self._pid = os.getpid()
        self._ended, self._seconds = 0.0, 0.0  # the last writing: when, and how long it took
        self._said: set[str] = set()

    def announce(self) -> None:
        """Say where it will be, and how to have it before."""
        command = f"hf-monitor report {shlex.quote(str(self._writer.run_dir))}"
        self._writer.note(f"report.html comes when the training ends; before that, or after a kill: {command}")

    def owe(self) -> None:
        """Note that there is something new."""
        if self._pid == os.getpid():
            self.owed = True
            before_exit(self)

    def forget(self) -> None:
        """Owe nothing: another page takes over."""
        self.owed = False
        no_more_before_exit(self)

    def owe_if_older(self) -> None:
        """Owe the page if a file of rows or a picture is as young as it: whoever wrote that has told nobody."""
        try:
            written = self.path.stat().st_mtime_ns
            folder = self._writer.run_dir
            others = [*folder.glob("*.json*"), *folder.glob("plots/**/*.png")]
            if any(other.stat().st_mtime_ns >= written for other in others):
                self.owe()
        except OSError:  # never written; a file that has just been taken away
            return

    def settle_soon(self) -> None:
        """Write what is owed, unless that takes long or was done a moment ago: there may be many evaluations."""
        rested = time.monotonic() - self._ended >= _SHARE * self._seconds
        if rested and self._seconds < _QUICK_S and self._rows_bytes() < _QUICK_BYTES:
            self.settle()

    def settle(self) -> None:
        """Write what is owed; never raises. What the disk did not take stays owed until the process ends."""
        if not self.owed or self._pid != os.getpid():  # a forked child's copy
            return
        self.forget()
        if not os.path.exists(self._writer.run_dir / "metrics.jsonl"):  # noqa: PTH110 - it never raises
            return  # the folder is gone, or nothing could be recorded: that was said
        imports = "hf_monitor.report.one_page" not in sys.modules  # once in a process: it says nothing of the next time
        began = time.monotonic()
        try:
            problem = self._write()
        except OSError as error:
            self._say_of_disk(error)
            self.owe()
        except Exception as error:
            self._say("failed", f"the report could not be made, the training is not affected: {described(error)}")
            log.debug("hf_monitor: traceback", exc_info=True)
        else:
            self._say_where(problem)
        self._ended = time.monotonic()
        self._seconds = 0.0 if imports else self._ended - began

    def _rows_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._writer.run_dir.glob("*.jsonl") if path.name != ORDERS)

    def _write(self) -> str:
        """Write it; give what went wrong in the other process, empty where nothing did."""
        if self._rows_bytes() > MOST_BYTES:
            return self._write_apart()
        from hf_monitor.report.one_page import write_report

        try:
            write_report(self._writer.run_dir, self.path)
        except RuntimeError:  # torch raises in the midst of anything when it hears that a worker has died
            write_report(self._writer.run_dir, self.path)
        return ""

    def _write_apart(self) -> str:
        from hf_monitor.report.page_process import ANSWER

        with start_apart("hf_monitor.report.page_process", str(self._writer.run_dir), os.getpid()) as process:
            try:
                said, _ = process.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                return f"not done after {LIMIT_S:g} s"
            finally:
                process.kill()
        lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
        answers = [json.loads(line) for line in lines if f'"{ANSWER}"' in line]
        if not answers:
            ended = how_it_ended(process.returncode)
            return f"{lines[-1][:_LONGEST_REASON]} ({ended})" if lines else ended
        if answers[-1]["kind"] == "disk":
            raise OSError(answers[-1]["reason"])
        return str(answers[-1]["reason"])[:_LONGEST_REASON]

    def _say_where(self, problem: str) -> None:
        if problem:
            self._say(
                "failed",
                f"the report could not be made: {problem}. `hf-monitor report "
                f"{shlex.quote(str(self._writer.run_dir))}` makes it.",
            )
        elif "made" not in self._said:
            self._said.add("made")
            tell = self._writer.note if self.is_linked else self._writer.announce
            tell(f"hf_monitor: report: {self.path}")

    def _say(self, topic: str, message: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            log.warning("hf_monitor: %s", message)

    def _say_of_disk(self, error: OSError) -> None:
        if "disk" in self._said:
            return
        self._said.add("disk")
        reason = reason_of(error)
        message = (
            f"report.html could not be written in {str(self._writer.run_dir)!r}: {reason}. The rows are there: "
            f"`hf-monitor report {shlex.quote(str(self._writer.run_dir))} --output FILE` makes it elsewhere."
        )
        trouble = self._writer.trouble
        if not trouble.say(message, reason, lasting=False) and trouble.since is None:
            self._writer.announce(f"hf_monitor: {message}")  # no second warning, but a report is missed

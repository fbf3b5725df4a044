"""Kill trainings with SIGKILL at seeded random moments, and look whether each leaves a run that a report is made of.

    python scripts/stress_reports.py                      # 20 kills: half a minute on 2 cores
    python scripts/stress_reports.py --kills 1 --seed 17  # the kill with seed 17 again
    python scripts/stress_reports.py --keep kills         # leave run folders and reports there

The training is that of stress_kills.py: a small T5 in a real ``Seq2SeqTrainer`` with ``attach(trainer)``, evaluations,
checkpoints and a burst of rows at each step. A process is killed after a random part of the time that one takes which
is not killed: while it starts, trains, evaluates, saves, draws, writes its report. Every fourth one trains in a folder
that has a finished run and its report. A kill that came before anything was recorded is *too early*, and the next seed
is taken.

After each kill ``hf-monitor report`` has to make a page that an HTML parser reads to its end, with the right status
(killed; finished, if the end of the training had been written) and the last step whose row is on the disk. What is
right is read from the lines of metrics.jsonl here, by nothing of the package. The report that the training itself may
have left has to be whole. The exit code is 1 if anything is not as it should be. Linux and macOS only.
"""

from __future__ import annotations

import argparse
import contextlib
import html.parser
import io
import json
import os
import platform
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stress_kills import Wire, preload, train

TOO_EARLY = 20  # kills in a row, and the harness gives up
_VOID = {"meta", "br", "hr", "img", "input", "link", "col", "wbr"}
_SHAPES = {"path", "line", "rect", "circle", "polyline", "polygon", "use"}


class Page(html.parser.HTMLParser):
    """Reads a page: its text, and what is not closed as it was opened."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.ids: Counter[str] = Counter()
        self._open: list[str] = []
        self._section: str | None = None
        self._texts: dict[str | None, list[str]] = {}
        self.feed(page.decode("utf-8"))
        self.close()
        self.problems += [f"<{name}> is never closed" for name in self._open]
        self.problems += [f"id {name!r} is there {n} times" for name, n in self.ids.items() if n > 1]
        if not page.rstrip().endswith(b"</html>"):
            self.problems.append("it does not end with </html>")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that opens."""
        self.ids.update(value or "" for name, value in attrs if name == "id")
        if tag == "section":
            self._section = dict(attrs).get("id")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that is closed at once."""
        self.ids.update(value or "" for name, value in attrs if name == "id")

    def handle_endtag(self, tag: str) -> None:
        """Note a tag that closes."""
        if tag in self._open and tag in _SHAPES | {self._open[-1]}:
            while self._open.pop() != tag:
                pass
        else:
            self.problems.append(f"</{tag}> closes <{self._open[-1] if self._open else ''}>")

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if "style" not in self._open:
            self._texts.setdefault(self._section, []).append(data)

    def text(self, section: str) -> str:
        """Give what can be read in a section, with single spaces."""
        return " ".join(" ".join(self._texts.get(section, [])).split())


def on_disk(run_dir: Path) -> tuple[str, int]:
    """Give what is true of a run whose process was killed: status, and the last step of its latest training."""
    rows = []
    with contextlib.suppress(FileNotFoundError):
        for line in (run_dir / "metrics.jsonl").read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError):  # torn
                rows.append(json.loads(line))
    attempts = [row["attempt"] for row in rows if row.get("event") == "train_begin"]
    if not attempts:
        return "nothing recorded", 0
    own = [row for row in rows if row["attempt"] == attempts[-1]]
    ended = any(row.get("event") == "train_end" for row in own)
    return "finished" if ended else "killed", max(row["step"] for row in own)


def look(run_dir: Path) -> tuple[str, int, list[str]]:
    """Make the report of a run whose process was killed, and read it.

    Returns
    -------
    tuple
        Status and last step that it should tell, and what is wrong.
    """
    from hf_monitor.cli import main as hf_monitor

    status, step = on_disk(run_dir)
    path, problems = run_dir / "report.html", []
    if path.exists():
        problems = [f"the training's own report: {problem}" for problem in Page(path.read_bytes()).problems]
        path.unlink()
    said, told = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            code = hf_monitor(["report", str(run_dir)])
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no report
        return status, step, [*problems, f"not made: {type(error).__name__}: {error}"]
    lines = said.getvalue().splitlines()  # the verdict's three sentences, and where the page is
    if code or not path.exists() or len(lines) != 4 or lines[-1] != str(path):
        return status, step, [*problems, f"not made: exit code {code}, {said.getvalue()!r}, {told.getvalue()!r}"]
    page = Page(path.read_bytes())
    problems += page.problems
    verdict = page.text("verdict")
    if not verdict.startswith(f"Verdict {status} "):
        problems.append(f"it does not say that the run is {status}: {verdict[:100]!r}")
    if step and not any(f"{start} {step:,}" in verdict for start in ("at step", "after")):
        problems.append(f"it does not show the last step, {step}: {verdict!r}")
    problems += [sentence for sentence in (page.text("gaps"),) if "could not be made" in sentence]
    return status, step, problems


@dataclass
class Case:
    """One killed training."""

    seed: int
    seconds: float = 0.0  # after which it was killed
    exit: int = 0
    status: str = ""
    step: int = 0
    had_page: bool = False  # by the training itself
    problems: list[str] = field(default_factory=list)


def run_process(folder: Path, steps: int, seconds: float | None = None) -> tuple[int, float]:
    """Train in a forked process, and kill it after so many seconds; give its exit code and how long it took."""
    began = time.monotonic()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "console.txt").open("ab", buffering=0) as console, Path(os.devnull).open("wb") as nowhere:
                os.dup2(console.fileno(), 1)
                os.dup2(console.fileno(), 2)
                train(folder / "out", None, steps, Wire(nowhere.fileno(), -1, None))
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is must not unwind into the harness, of which this is a copy
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # not yet in its own group
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, time.monotonic() - began


def run_case(folder: Path, seed: int, steps: int, whole_s: float) -> Case:
    """Kill one training as `seed` says, and look at its report."""
    rng = random.Random(seed)
    case, run_dir = Case(seed, rng.random() * whole_s), folder / "out" / "monitor"
    if seed % 4 == 3 and run_process(folder, steps)[0]:
        case.problems.append(f"the training itself failed, see {folder / 'console.txt'}")
        return case
    case.exit = run_process(folder, steps, case.seconds)[0]
    if case.exit not in (0, -signal.SIGKILL):
        case.problems.append(f"the training failed, see {folder / 'console.txt'}")
    if not (run_dir / "run.json").exists():
        case.status = "too early"
        return case
    case.had_page = (run_dir / "report.html").exists()
    case.status, case.step, problems = look(run_dir)
    case.problems += problems
    return case


def run_cases(folder: Path, kills: int, first_seed: int, steps: int) -> list[Case]:
    """Run until there are so many kills that left something."""
    code, whole_s = run_process(folder / "whole", steps)
    whole = look(folder / "whole" / "out" / "monitor")
    print(f"not killed: exit code {code} after {whole_s:.1f} s, {whole}", flush=True)
    if code or whole != ("finished", steps, []):
        raise RuntimeError(f"the training that is not killed is not as it should be, see {folder / 'whole'}")
    cases: list[Case] = []
    seed, early = first_seed, 0
    while len(cases) < kills and early < TOO_EARLY:
        case = run_case(folder / f"seed-{seed}", seed, steps, whole_s)
        print(
            f"seed {seed:>4}  killed after {case.seconds:5.2f} s: {case.status} at step {case.step}"
            f"{', with a report of its own or of before' if case.had_page else ''}",
            flush=True,
        )
        for problem in case.problems:
            print(f"           {problem}", flush=True)
        early = early + 1 if case.status == "too early" else 0
        cases += [case] if case.status != "too early" else []
        seed += 1
    return cases


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="that left something on the disk (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the first kill; the others follow (default 0)")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of each run (default 20)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave everything there; must not exist")
    options = parser.parse_args(argv)
    if options.kills < 1 or options.steps < 6:
        parser.error("--kills must be at least 1 and --steps at least 6 (an evaluation and a checkpoint)")
    if options.keep and options.keep.exists():
        parser.error(f"--keep {options.keep} is there already; name another")
    preload()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stress-reports-")))
        cases = run_cases(folder.absolute(), options.kills, options.seed, options.steps)
    found = Counter(case.status for case in cases)
    problems = [f"seed {case.seed}: {problem}" for case in cases for problem in case.problems]
    print(f"\n{len(cases)} kills: {', '.join(f'{n} {status}' for status, n in sorted(found.items()))}", end="; ")
    print(f"steps {', '.join(str(step) for step in sorted(case.step for case in cases))}")
    print(f"{time.monotonic() - began:.0f} s on {platform.platform()}, {os.cpu_count()} cores; Python", end=" ")
    print(f"{platform.python_version()}; reports made with the right status and step: ", end="")
    print(f"{sum(not case.problems for case in cases)} of {len(cases)}")
    return 1 if problems or len(cases) < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())

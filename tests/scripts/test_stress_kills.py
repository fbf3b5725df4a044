"""The kills of scripts/stress_kills.py: a few of them, and that the script notices what it is there to notice."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import untraced

import hf_monitor

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="it forks")]

ROOT = Path(hf_monitor.__file__).parent.parent

# All in one process, which has torch imported once; the faults reach the trainings, which are forks of it.
CODE = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT / "scripts")!r})
import stress_kills
from stress_kills import Stop, checkpoints, look, main, run_trainee

def told(title, code):
    print(f"=== {{title}}: {{code}}", flush=True)

told("as it is", main(["--kills", "4"]))

from hf_monitor.run.files import AppendFile
append, waiting = AppendFile.append, []

def late(self, lines):  # as with a buffer: rows go to the disk three steps at a time
    if self.path.name != "metrics.jsonl":
        return append(self, lines)
    waiting.append(lines)
    if len(waiting) >= 3 * (stress_kills.BURST + 1) or b'"train_end"' in lines:
        append(self, b"".join(waiting))
        waiting.clear()

AppendFile.append = late
told("rows kept back", main(["--kills", "1", "--steps", "8"]))
AppendFile.append = append

def killed(folder, *second):  # in the fifth step, then once more, resumed from the third
    first = run_trainee(folder, None, 8, Stop("logging", 5))
    (checkpoint,), _ = checkpoints(folder / "out")
    return [first, run_trainee(folder, checkpoint, 8, *second)]

from hf_monitor.run.reader import Rows, Run
trainees = killed(Path("not-merged"), Stop("logging", 5))
assert look(Path("not-merged/out/monitor"), trainees)[0].problems == []
merged = Run.metrics
Run.metrics = property(lambda self: Rows(row for row in self.rows if row["kind"] != "event"))
found = look(Path("not-merged/out/monitor"), trainees)[0]
Run.metrics = merged
told(found.problems, len(found.duplicate) > 0)

def in_place(path, data):  # without a temporary name
    with open(path, "wb") as file:
        file.write(data[:100])
        file.flush()
        time.sleep(1.0)
        file.write(data[100:])

from hf_monitor.run import run_json
run_json.replace_file = in_place
found = look(Path("in-place/out/monitor"), killed(Path("in-place"), Stop("beginning", 3), 0.5))[0]
told(found.problems, len(found.unreadable) > 0)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What was printed, and the exit code or what was found, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path_factory.mktemp("kills"),
        capture_output=True,
        text=True,
        env=untraced.ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parts = re.split(r"^=== (.*): (\w+)\n", done.stdout, flags=re.MULTILINE)
    return list(zip(parts[::3], parts[1::3], parts[2::3], strict=False))


def test_a_kill_of_each_kind_loses_nothing(said):
    text, _, code = said[0]
    assert code == "0", text
    assert "4 kills: 0 lost flushed rows, 0 duplicate steps, 0 unreadable folders" in text
    for kind in ("logging", "saving", "evaluation", "resumed attempt"):
        assert re.search(rf"^seeds, {kind}: \d+$", text, re.MULTILINE)
        row = re.search(rf"^\| {kind} +\|(.*)\|$", text, re.MULTILINE)
        kills, _, rows, *_ = (int(cell) for cell in row[1].split("|"))
        assert kills == 1
        assert rows > 400  # those of 20 steps, at least


def test_rows_kept_back_are_noticed(said):
    text, _, code = said[1]
    assert code == "1", text
    assert re.search(r"LOST: row \{'step': \d+, 'kind': '(log|train)'", text), text


def test_attempts_that_are_not_merged_are_noticed(said):
    _, problems, noticed = said[2]
    assert noticed == "True"
    assert "DUPLICATE: (kind, step) ('train', 4) is there 2 times" in problems


def test_a_half_written_run_json_is_noticed(said):
    _, problems, noticed = said[3]
    assert noticed == "True", problems
    assert "run.json has no run_id" in problems

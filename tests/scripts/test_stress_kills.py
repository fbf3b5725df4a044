"""The kills of scripts/stress_kills.py: a few of them, and that the script notices what it is there to notice."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hf_monitor

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="it forks")]

ROOT = Path(hf_monitor.__file__).parent.parent

# All in one process, which has torch imported once; the faults reach the trainings, which are forks of it.
CODE = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "scripts")!r})
import stress_kills

def stress(title, *arguments):
    code = stress_kills.main(arguments)
    print(f"=== {{title}}: {{code}}", flush=True)

stress("as it is", "--kills", "4")

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
stress("rows kept back", "--kills", "1", "--steps", "8")
AppendFile.append = append

from hf_monitor.run import writer
replace = writer.replace_file

def in_place(path, data):  # without a temporary name
    with open(path, "wb") as file:
        file.write(data[:100])
        file.flush()
        time.sleep(0.3)
        file.write(data[100:])

writer.replace_file = in_place
stress("run.json in place", "--kills", "1", "--steps", "8", "--seed", "7")
writer.replace_file = replace

from hf_monitor.run.reader import Rows, Run
Run.metrics = property(lambda self: Rows(row for row in self.rows if row["kind"] != "event"))
stress("attempts not merged", "--kills", "1", "--steps", "8", "--seed", "4")
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the script printed, and its exit code, by what was wrong in that run."""
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path_factory.mktemp("kills"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    parts = re.split(r"^=== (.*): (\d)\n", done.stdout, flags=re.MULTILINE)
    return {title: (text, int(code)) for text, title, code in zip(parts[::3], parts[1::3], parts[2::3], strict=False)}


def test_a_kill_of_each_kind_loses_nothing(said):
    text, code = said["as it is"]
    assert code == 0, text
    assert "4 kills: 0 lost flushed rows, 0 duplicate steps, 0 unreadable folders" in text
    for kind in ("logging", "saving", "evaluation", "resumed attempt"):
        assert re.search(rf"^seeds, {kind}: \d+$", text, re.MULTILINE)
        row = re.search(rf"^\| {kind} +\|(.*)\|$", text, re.MULTILINE)
        kills, _, rows, *_ = (int(cell) for cell in row[1].split("|"))
        assert kills == 1
        assert rows > 400  # those of 20 steps, at least


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("rows kept back", "LOST: row {'step': "),
        ("run.json in place", "UNREADABLE: "),
        ("attempts not merged", "DUPLICATE: (kind, step) ('train', "),
    ],
)
def test_the_script_notices(said, fault, problem):
    text, code = said[fault]
    assert code == 1, text
    assert problem in text

"""Part of the table of scripts/check_loss.py: real trainings on two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import untraced

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_recorded_loss_is_the_reference_computed_by_hand(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "scripts" / "check_loss.py"), "--json", "table.json"),
            *("--models", "t5", "llama", "--accumulation", "4", "--ranks", "2"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=untraced.ENVIRONMENT | {"OMP_NUM_THREADS": "1"},
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads((tmp_path / "table.json").read_text())
    assert len(table) == 16
    assert max(row["deviation"] for row in table) <= 0.02
    assert min(row["spread"] for row in table) > 3  # else wrong weights would not show
    wrong = [row for row in table if row["model"] == "t5" and not row["smoothing"]]
    assert all(row["raw"] > 1.5 for row in wrong)  # what the Trainer logged is far from it
    assert all(row["raw"] < 0.02 for row in table if row not in wrong)

"""Half of the matrix of faults, run as anybody would run it; see scripts/check_faults.py for what makes a cell good."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import untraced

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_faults.py"


def check(*arguments):
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=untraced.ENVIRONMENT)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="faults are made with LD_PRELOAD, on Linux")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc): the faults are made by a library in C")
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="something else is preloaded")
def test_no_fault_of_the_disk_reaches_a_training():
    done = check("--half")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = re.findall(
        r"^(\w+) +(E\w+) +(1st|10th|last) = \d+ +(once|on) .* equal +1 ",
        done.stdout,
        re.M,
    )
    # each operation at each place, once and from then on, with ENOSPC and with another error
    assert len(set(cells)) == len(cells) == (5 * 2 + 1) * 3 * 2
    assert {error for _, error, _, _ in cells} == {"ENOSPC", "EIO", "EACCES", "EROFS"}
    assert "66 cells, all good" in done.stdout


def test_what_it_does_not_know_is_refused():
    done = check("--ops", "open,seek")
    assert done.returncode == 2
    assert "--ops: there is no seek; choose from open,write" in done.stderr

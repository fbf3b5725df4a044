import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_no_module_is_imported_with_fake_tensors_in_it():
    """PEFT makes tensors while it is imported, which happens behind the first optimizer."""
    pytest.importorskip("peft")
    script = Path(__file__).parent / "fake_import_script.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "fake tensors: 0"
